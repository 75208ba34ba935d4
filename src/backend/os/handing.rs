//! Sockets that come from elsewhere, and those that are given away.

use super::sockets::{Acceptor, Stream};
use super::{Os, both, token};
use crate::addr::Addr;
use crate::backend::Source;
use mio::Interest;
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;

/// Refuses what is no stream of a kind that we know. Answers whether it listens.
fn check(socket: &SockRef<'_>) -> io::Result<bool> {
    let refuse = |kind, text: &str| Err(io::Error::new(kind, text));
    match socket.r#type() {
        Ok(Type::STREAM) => {}
        Ok(Type::DGRAM) => {
            let text = "the socket is a datagram socket";
            return refuse(io::ErrorKind::InvalidInput, text);
        }
        Ok(_) => {
            return refuse(
                io::ErrorKind::InvalidInput,
                "the socket is not a stream socket",
            );
        }
        Err(error) => {
            let text = format!("not a socket: {error}");
            return refuse(io::ErrorKind::InvalidInput, &text);
        }
    }
    is_known(socket)?;
    listens(socket)
}

/// Of another family its addresses would mean nothing to us.
fn is_known(socket: &SockRef<'_>) -> io::Result<()> {
    let domain = socket.local_addr()?.domain();
    match [Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the socket's address family is not supported",
        )),
    }
}

#[cfg(not(any(target_vendor = "apple", target_os = "netbsd", target_os = "openbsd")))]
fn listens(socket: &SockRef<'_>) -> io::Result<bool> {
    socket.is_listener()
}

/// There is no question for it here: one that listens has no peer, and says so otherwise.
#[cfg(any(target_vendor = "apple", target_os = "netbsd", target_os = "openbsd"))]
fn listens(socket: &SockRef<'_>) -> io::Result<bool> {
    Ok(socket.peer_addr().is_err())
}

/// Refuses what is no connected stream.
pub(crate) fn check_stream(socket: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let refuse = |kind, text| Err(io::Error::new(kind, text));
    if check(&socket)? {
        let text = "the socket is a listener: use `adopt_listener`";
        return refuse(io::ErrorKind::InvalidInput, text);
    }
    match socket.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            refuse(io::ErrorKind::NotConnected, "the socket is not connected")
        }
        result => result.map(drop),
    }
}

/// What our own sockets have from the beginning.
fn prepare(socket: &Socket) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)
}

impl Os {
    pub(crate) fn adopt(&mut self, socket: OwnedFd, slot: u32) -> io::Result<(Stream, Addr)> {
        let socket = Socket::from(socket);
        prepare(&socket)?;
        let (mut stream, peer) = Stream::adopt(socket)?;
        let token = token(Source::Conn(slot));
        self.registry().register(stream.source(), token, both())?;
        Ok((stream, peer))
    }

    pub(crate) fn adopt_listener(&mut self, socket: OwnedFd, slot: u32) -> io::Result<Acceptor> {
        let socket = Socket::from(socket);
        if !check(&SockRef::from(&socket))? {
            let text = "it does not listen: `adopt` takes what is connected";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        prepare(&socket)?;
        let mut acceptor = Acceptor::adopt(socket)?;
        let token = token(Source::Listener(slot));
        self.registry()
            .register(acceptor.source(), token, Interest::READABLE)?;
        Ok(acceptor)
    }

    pub(crate) fn release(&mut self, mut stream: Stream) -> io::Result<OwnedFd> {
        self.registry().deregister(stream.source())?;
        Ok(stream.into_descriptor())
    }
}
