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

/// Apple's systems, NetBSD and OpenBSD declare `SO_ACCEPTCONN`, and do not know it (`sogetopt()`).
#[cfg(not(any(target_vendor = "apple", target_os = "netbsd", target_os = "openbsd")))]
fn listens(socket: &SockRef<'_>) -> io::Result<bool> {
    socket.is_listener()
}

#[cfg(any(target_vendor = "apple", target_os = "netbsd", target_os = "openbsd"))]
fn listens(socket: &SockRef<'_>) -> io::Result<bool> {
    seems_to_listen(socket)
}

/// Without that question: one that listens has a name, and was never connected. A look at what has
/// come takes nothing away, and tells this from a stream whose peer has left: that has bytes, an
/// end or another error. Who is bound and does neither is taken for one that listens.
#[cfg(any(
    test,
    target_vendor = "apple",
    target_os = "netbsd",
    target_os = "openbsd"
))]
fn seems_to_listen(socket: &SockRef<'_>) -> io::Result<bool> {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match recv(&**socket, &mut [0; 1], flags) {
        // Linux, where this is only tested, has the second for Unix sockets.
        Err(Errno::NOTCONN | Errno::INVAL) => {}
        _ => return Ok(false),
    }
    let name = socket.local_addr()?;
    Ok(match name.as_socket() {
        Some(addr) => addr.port() != 0,
        None => !name.is_unnamed(),
    })
}

/// Refuses what is no connected stream.
pub(crate) fn check_stream(socket: &OwnedFd) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, NotConnected};
    let socket = SockRef::from(socket);
    let refuse = |kind, text| Err(io::Error::new(kind, text));
    if check(&socket)? {
        let text = "the socket is a listener: use `adopt_listener`";
        return refuse(InvalidInput, text);
    }
    match socket.peer_addr() {
        // The second is what Apple's systems say of one that is shut in both directions.
        Err(error) if [NotConnected, InvalidInput].contains(&error.kind()) => {
            refuse(NotConnected, "the socket is not connected")
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn answers(socket: impl Into<OwnedFd>) -> bool {
        let socket = socket.into();
        seems_to_listen(&SockRef::from(&socket)).unwrap()
    }

    // A1
    #[test]
    fn who_listens_is_known_without_the_option_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let pair = || {
            (
                TcpStream::connect(addr).unwrap(),
                listener.accept().unwrap().0,
            )
        };
        let (ours, theirs) = pair();
        drop(theirs);
        assert!(!answers(ours), "its peer has left");
        let (ours, mut theirs) = pair();
        theirs.write_all(b"hi").unwrap();
        assert!(!answers(ours.try_clone().unwrap()));
        ours.shutdown(Shutdown::Both).unwrap();
        assert!(!answers(ours));
        let (ours, theirs) = pair();
        SockRef::from(&theirs)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        drop(theirs);
        assert!(!answers(ours), "its peer has reset it");
        assert!(!answers(UnixStream::pair().unwrap().0));
        for domain in [Domain::IPV4, Domain::UNIX] {
            assert!(!answers(Socket::new(domain, Type::STREAM, None).unwrap()));
        }
        let _waits = TcpStream::connect(addr).unwrap();
        assert!(answers(listener));

        let path = std::env::temp_dir().join(format!("sockeye-seems-{}", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(answers(unix));
    }
}
