//! By which way a connect goes: the address of this end, the device, and what routers are told.

use super::sockets::named;
use crate::options::Route;
use socket2::Socket;
use std::io;

/// Sets it before the connect; the error is the first one, with the name of its option.
pub(super) fn set(socket: &Socket, route: &Route, is_v6: bool) -> io::Result<()> {
    let told = |name: &str, result: io::Result<()>| result.map_err(|error| named(name, &error));
    if let Some(ttl) = route.ttl {
        told(
            "ttl",
            match is_v6 {
                true => socket.set_unicast_hops_v6(ttl),
                false => socket.set_ttl_v4(ttl),
            },
        )?;
    }
    if let Some(tos) = route.tos {
        told(
            "tos",
            match is_v6 {
                true => tclass(socket, tos),
                false => socket.set_tos_v4(tos),
            },
        )?;
    }
    if let Some(device) = &route.device {
        told("device", bind_device(socket, device))?;
    }
    match route.local {
        Some(local) => {
            // Old connections of a port of our own choice may be in TIME_WAIT. On Windows the
            // option means something else.
            #[cfg(unix)]
            if local.port() != 0 {
                told("local_addr", socket.set_reuse_address(true))?;
            }
            told("local_addr", socket.bind(&local.into()))
        }
        None => Ok(()),
    }
}

// socket2 knows it on macOS, and not on Apple's other systems.
#[cfg(all(unix, any(not(target_vendor = "apple"), target_os = "macos")))]
fn tclass(socket: &Socket, tos: u32) -> io::Result<()> {
    socket.set_tclass_v6(tos)
}

#[cfg(not(all(unix, any(not(target_vendor = "apple"), target_os = "macos"))))]
fn tclass(_: &Socket, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_device(socket: &Socket, device: &str) -> io::Result<()> {
    // The empty name would take back what was asked for.
    if device.is_empty() || device.contains('\0') {
        let text = "no device has such a name";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    #[test]
    fn what_routers_are_told_is_set_for_both_families() {
        let route = Route {
            ttl: Some(7),
            tos: Some(0x28),
            ..Route::default()
        };
        let v4 = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        set(&v4, &route, false).unwrap();
        assert_eq!((v4.ttl_v4().unwrap(), v4.tos_v4().unwrap()), (7, 0x28));
        let Ok(v6) = Socket::new(Domain::IPV6, Type::STREAM, None) else {
            return; // no IPv6 here
        };
        set(&v6, &route, true).unwrap();
        let told = (v6.unicast_hops_v6().unwrap(), v6.tclass_v6().unwrap());
        assert_eq!(told, (7, 0x28));
    }
}
