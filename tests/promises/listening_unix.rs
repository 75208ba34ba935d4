//! L: listening on Unix paths.

use crate::kit;
use crate::kit::places::{TempDir, unix_peer};
use crate::kit::{Kit, default, echo, read_n, spawn, write};
use rustix::net::SocketAddrUnix;
use socket2::{Domain, SockAddr, Socket, Type};
use sockeye::{Addr, Context, EventKind, Reason};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

fn is_served(kit: &mut Kit<impl FnMut(&mut Context, EventKind<'_>)>, path: &Path) {
    let mut peer = unix_peer(path);
    let talk = spawn(move || {
        write(&mut peer, "hello");
        read_n(&mut peer, 5)
    });
    assert_eq!(kit.until_done(talk), b"hello");
    kit.until_all_closed();
}

fn is_in_use(kit: &mut Kit<impl FnMut(&mut Context, EventKind<'_>)>, path: &Path) {
    let error = kit.reactor.listen(path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
    let path = path.display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
}

// L7
#[test]
fn a_stale_socket_file_is_replaced_and_the_new_one_removed_at_the_end() {
    let dir = TempDir::new();
    let path = dir.file("s");
    drop(UnixListener::bind(&path).unwrap());
    let stale = fs::symlink_metadata(&path).unwrap();
    assert!(stale.file_type().is_socket());
    let mut kit = Kit::new(echo);
    let addr = kit.listen_on(&path);
    assert_eq!(addr.path(), Some(path.as_path()));
    is_served(&mut kit, &path);
    kit.end();
    assert!(!path.exists(), "dropping the reactor removes its file");
}

// L7
#[test]
fn unlisten_removes_the_file_and_leaves_those_connected() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let mut kit = Kit::new(echo);
    let listener = kit.reactor.listen(&path).unwrap();
    let mut peer = unix_peer(&path);
    kit.until("it is open", |log| log.count("open") == 1);
    kit.cx().unlisten(listener);
    assert!(!path.exists());
    write(&mut peer, "hello");
    let answer = spawn(move || read_n(&mut peer, 5));
    assert_eq!(kit.until_done(answer), b"hello");
    kit.until_all_closed();
    // The path is free again.
    kit.reactor.listen(&path).unwrap();
    is_served(&mut kit, &path);
    kit.end();
}

// L7
#[test]
fn a_live_server_is_not_replaced() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let live = UnixListener::bind(&path).unwrap();
    let inode = fs::symlink_metadata(&path).unwrap().ino();
    let mut kit = Kit::new(echo);
    is_in_use(&mut kit, &path);
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), inode);
    // It got a visit, at most; and it still serves.
    let _peer = unix_peer(&path);
    live.accept().unwrap();
    kit.end();
    assert!(path.exists());
}

// L7
#[test]
fn a_live_server_whose_backlog_is_full_is_not_replaced() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let live = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    live.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    live.listen(0).unwrap();
    let _fills_it = UnixStream::connect(&path).unwrap();
    let mut kit = Kit::new(echo);
    is_in_use(&mut kit, &path);
    assert!(path.exists());
    kit.end();
}

// L7
#[test]
fn our_own_live_listener_is_not_replaced_and_only_briefly_disturbed() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let mut kit = Kit::new(echo);
    kit.listen_on(&path);
    is_in_use(&mut kit, &path);
    is_served(&mut kit, &path);
    kit.until_all_closed();
    kit.end();
    assert!(!path.exists());
}

// L7
#[test]
fn a_file_that_is_no_stream_socket_is_never_deleted() {
    let dir = TempDir::new();
    let mut kit = Kit::new(default);
    fs::write(dir.file("file"), "precious").unwrap();
    fs::create_dir(dir.file("dir")).unwrap();
    drop(UnixListener::bind(dir.file("stale")).unwrap());
    symlink(dir.file("file"), dir.file("link")).unwrap();
    symlink(dir.file("stale"), dir.file("link-to-socket")).unwrap();
    symlink(dir.file("nothing"), dir.file("dangling")).unwrap();
    let _datagram = UnixDatagram::bind(dir.file("datagram")).unwrap();
    let names = [
        "file",
        "dir",
        "link",
        "link-to-socket",
        "dangling",
        "datagram",
    ];
    for name in names {
        let path = dir.file(name);
        let before = fs::symlink_metadata(&path).unwrap().ino();
        is_in_use(&mut kit, &path);
        let after = fs::symlink_metadata(&path).unwrap().ino();
        assert_eq!(after, before, "{name}");
    }
    assert_eq!(fs::read(dir.file("file")).unwrap(), b"precious");
    assert!(!dir.file("nothing").exists());
    assert!(dir.file("stale").exists());
    kit.end();
}

// L7
#[test]
fn at_the_end_only_the_file_that_we_made_is_removed() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let mut kit = Kit::new(echo);
    let listener = kit.reactor.listen(&path).unwrap();
    // Somebody else takes the path over, without asking.
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    assert!(kit.cx().unlisten(listener));
    assert!(path.exists(), "the other server's file is gone");
    let _peer = unix_peer(&path);
    other.accept().unwrap();

    // The same with a file that is no socket, and with no file at all.
    let listener = kit.reactor.listen(dir.file("t")).unwrap();
    fs::remove_file(dir.file("t")).unwrap();
    fs::write(dir.file("t"), "precious").unwrap();
    kit.cx().unlisten(listener);
    assert_eq!(fs::read(dir.file("t")).unwrap(), b"precious");
    kit.reactor.listen(dir.file("u")).unwrap();
    fs::remove_file(dir.file("u")).unwrap();
    kit.end();
}

// L7
#[test]
fn a_file_that_was_moved_is_not_looked_for() {
    let dir = TempDir::new();
    let mut kit = Kit::new(echo);
    let listener = kit.reactor.listen(dir.file("s")).unwrap();
    fs::rename(dir.file("s"), dir.file("moved")).unwrap();
    is_served(&mut kit, &dir.file("moved"));
    kit.cx().unlisten(listener);
    // It is no longer where we made it; nobody listens there any more.
    assert!(dir.file("moved").exists());
    kit.end();
}

// L6, L7
#[test]
fn a_path_that_cannot_be_bound_is_an_error_and_leaves_no_file() {
    let dir = TempDir::new();
    let mut kit = Kit::new(default);
    let missing = dir.file("no/such/dir");
    let error = kit.reactor.listen(&missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let long = dir.file(&"x".repeat(200));
    assert!(kit.reactor.listen(long.as_path()).is_err());
    assert!(!long.exists());
    kit.end();
}

/// Connects a peer that has given itself a name: `None` leaves it without one.
fn named_peer(path: &Path, name: Option<SocketAddrUnix>) -> UnixStream {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    if let Some(name) = name {
        rustix::net::bind(&socket, &name).unwrap();
    }
    socket.connect(&SockAddr::unix(path).unwrap()).unwrap();
    socket.set_read_timeout(Some(kit::PATIENCE)).unwrap();
    std::os::fd::OwnedFd::from(socket).into()
}

/// The longest path that fits: it fills `sun_path`, and no NUL follows.
fn full_path(dir: &TempDir) -> PathBuf {
    let start = dir.file("").as_os_str().len();
    dir.file(&"z".repeat(108 - start))
}

#[track_caller]
fn is_welcome(kit: &mut Kit<impl FnMut(&mut Context, EventKind<'_>)>, mut peer: UnixStream) {
    let talk = spawn(move || {
        write(&mut peer, "hello");
        read_n(&mut peer, 5)
    });
    assert_eq!(kit.until_done(talk), b"hello");
    kit.until_all_closed();
}

// J9
#[test]
fn a_peer_whose_name_is_odd_is_accepted_and_served() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let full = full_path(&dir);
    assert_eq!(full.as_os_str().len(), 108);
    let odd = dir.file("").join(OsStr::from_bytes(b"\x1b[2J\n\xff"));
    let names = [
        (Some(SocketAddrUnix::new(&full)), Addr::unix(&full)),
        (Some(SocketAddrUnix::new(&odd)), Addr::unix(&odd)),
        (None, Addr::Unix(None)),
    ];
    let mut accepted = Vec::new();
    let mut kit = Kit::new(|cx, event| {
        match &event {
            EventKind::Accept { peer, .. } => accepted.push(Addr::clone(peer)),
            EventKind::Open { conn, .. } => {
                assert_eq!(cx.local_addr(*conn), Some(Addr::unix(&path)));
            }
            _ => {}
        }
        echo(cx, event);
    });
    kit.listen_on(&path);
    let (names, expected): (Vec<_>, Vec<_>) = names.into_iter().unzip();
    for name in names {
        is_welcome(&mut kit, named_peer(&path, name.map(Result::unwrap)));
    }
    assert_eq!(kit.log().accept_errors, 0);
    kit.end();
    assert_eq!(accepted, expected);
    for addr in accepted {
        // They go to logs and terminals.
        let text = format!("{addr} {addr:?}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

// J9: abstract names, of which the longest fills `sun_path` too, have no path.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_with_an_abstract_name_is_accepted_and_served() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let unique = dir.file("").into_os_string();
    let mut full = [b'z'; 107];
    full[..unique.len()].copy_from_slice(unique.as_bytes());
    let names = [
        SocketAddrUnix::new_abstract_name(&full),
        SocketAddrUnix::new_abstract_name(unique.as_bytes()),
        Ok(SocketAddrUnix::new_unnamed()), // the system chooses an abstract name
    ];
    let mut kit = Kit::new(|cx, event| {
        if let EventKind::Accept { peer, .. } = event {
            assert!(peer.path().is_none() && peer.abstract_name().is_some());
        }
        echo(cx, event);
    });
    kit.listen_on(&path);
    for name in names {
        is_welcome(&mut kit, named_peer(&path, Some(name.unwrap())));
    }
    assert_eq!((kit.log().accepts, kit.log().accept_errors), (3, 0));
    kit.end();
}

// J9
#[test]
fn a_path_that_leaves_no_room_for_a_nul_is_refused() {
    let dir = TempDir::new();
    let full = full_path(&dir);
    let mut kit = Kit::new(default);
    let error = kit.reactor.listen(&full).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(!full.exists());
    // Somebody else can listen there. To us the path is too long all the same.
    let live = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    rustix::net::bind(&live, &SocketAddrUnix::new(&full).unwrap()).unwrap();
    live.listen(8).unwrap();
    let conn = kit.connect(&full);
    kit.until("the connect has failed", |log| log.closed() == 1);
    match kit.log().life(conn).reason() {
        Reason::ConnectFailed(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        other => panic!("{other:?}"),
    }
    kit.end();
}

// J10
#[test]
fn a_path_with_a_nul_in_it_reaches_no_other_socket_and_leaves_no_file() {
    let dir = TempDir::new();
    let other = UnixListener::bind(dir.file("admin")).unwrap();
    other.set_nonblocking(true).unwrap();
    let mut kit = Kit::new(default);
    let cases = [
        (
            dir.file("admin\0-of-somebody"),
            ErrorKind::InvalidInput,
            "NUL",
        ),
        (dir.file("mine\0"), ErrorKind::InvalidInput, "NUL"),
        (PathBuf::new(), ErrorKind::Unsupported, "needs a path"),
    ];
    for (path, kind, word) in cases {
        let error = kit.reactor.listen(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        let closed = kit.log().closed();
        let conn = kit.connect(&path);
        kit.until("the connect fails", |log| log.closed() > closed);
        let life = kit.log().life(conn);
        assert_eq!(life.count("open"), 0, "{path:?}");
        match life.reason() {
            Reason::ConnectFailed(error) => assert_eq!(error.kind(), kind, "{error}"),
            other => panic!("{path:?}: {other:?}"),
        }
    }
    let visited = other.accept().unwrap_err();
    assert_eq!(visited.kind(), ErrorKind::WouldBlock);
    let files = fs::read_dir(dir.file("")).unwrap().count();
    assert_eq!(files, 1, "only that of the other server");
    kit.end();
}
