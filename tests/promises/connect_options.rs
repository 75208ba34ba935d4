//! By which way a connect goes, and what Unix sockets know of each other.

use crate::kit;
use crate::kit::places::TempDir;
use crate::kit::{Kit, default, echo, peer};
use sockeye::{Addr, Connect, Listen, Reason};
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    (server, addr)
}

/// Fails at once; answers the kind and the text.
fn fails(connect: Connect) -> (ErrorKind, String) {
    let mut kit = Kit::new(default);
    let conn = kit.connect(connect);
    kit.until("it fails", |log| log.is_closed(conn));
    let told = match kit.log().life(conn).reason() {
        Reason::ConnectFailed(error) => (error.kind(), error.to_string()),
        other => panic!("{other:?}"),
    };
    kit.end();
    told
}

// J10
#[test]
fn a_connect_comes_from_the_address_and_by_the_device_that_were_asked_for() {
    let (server, addr) = server();
    let mut kit = Kit::new(default);
    let local: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let connect = Connect::new(addr)
        .local_addr(local)
        .device("lo")
        .ttl(3)
        .tos(0x28);
    let conn = kit.connect(connect);
    kit.until("it is open", |log| log.count("open") == 1);
    let (_stream, from) = server.accept().unwrap();
    assert_eq!(from.ip(), local.ip());
    assert_eq!(kit.cx().local_addr(conn).unwrap().ip(), Some(from));
    kit.cx().abort(conn);
    kit.until("it ends", |log| log.is_closed(conn));
    // With its port, which an earlier connection may have left in TIME_WAIT.
    let conn = kit.connect(Connect::new(addr).local_addr(from));
    kit.until("it is open", |log| log.count("open") == 2);
    assert_eq!(server.accept().unwrap().1, from);
    kit.cx().abort(conn);
    kit.end();
}

// J10
#[test]
fn a_way_that_cannot_be_gone_is_refused_by_name() {
    let (_server, addr) = server();
    let connect = || Connect::new(addr);
    let nowhere: SocketAddr = "203.0.113.1:0".parse().unwrap();
    let (kind, text) = fails(connect().local_addr(nowhere));
    assert!(
        kind == ErrorKind::AddrNotAvailable && text.contains("local_addr"),
        "{text}"
    );
    let (_, text) = fails(connect().local_addr("[::1]:0".parse().unwrap()));
    assert!(text.contains("address family"), "{text}");
    for device in ["no-such-device", "", "l\0o"] {
        let (_, text) = fails(connect().device(device));
        assert!(text.contains("device"), "{text}");
    }
    for (ttl, tos) in [(0, 0), (256, 0), (1, 256)] {
        let (kind, _) = fails(connect().ttl(ttl).tos(tos));
        assert_eq!(kind, ErrorKind::InvalidInput);
    }
    let (kind, text) = fails(Connect::new("unix:/nowhere").ttl(1));
    assert!(
        kind == ErrorKind::InvalidInput && text.contains("Unix"),
        "{text}"
    );
}

// J9
#[test]
fn an_abstract_name_is_no_file_and_goes_with_its_socket() {
    let name = Addr::unix(format!("\0sockeye-test-{}", std::process::id()));
    let mut kit = Kit::new(echo);
    let listener = kit.reactor.listen(&name).unwrap();
    assert_eq!(kit.cx().listener_addr(listener), Some(&name));
    assert!(name.to_string().starts_with("unix:@sockeye-test-"));
    let again = kit.reactor.listen(name.to_string()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AddrInUse);
    let conn = kit.connect(name.to_string());
    kit.until("both are open", |log| log.count("open") == 2);
    assert_eq!(kit.cx().peer_addr(conn), Some(&name));
    kit.cx().close(conn);
    kit.until_all_closed();
    assert!(kit.cx().unlisten(listener));
    let after = kit.reactor.listen(&name).unwrap();
    assert!(kit.cx().unlisten(after));
    kit.end();
}

#[test]
fn a_unix_socket_knows_who_is_at_the_other_end() {
    let path = kit::unix_path();
    let mut kit = Kit::new(default);
    let listener = kit.listen_on(Listen::new(path.clone()));
    let conn = kit.connect(listener);
    kit.until("both are open", |log| log.count("open") == 2);
    let ids: Vec<_> = kit.log().ids.clone();
    for id in ids {
        let known = kit.cx().peer_credentials(id).unwrap();
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        assert_eq!((known.uid, known.gid), (uid.as_raw(), gid.as_raw()));
        assert_eq!(known.pid as u32, std::process::id());
    }
    kit.cx().close(conn);
    kit.until_all_closed();
    assert_eq!(kit.cx().peer_credentials(conn), None);
    let addr = kit.listen();
    let _peer = peer(addr);
    kit.until("a TCP one is open", |log| log.count("open") == 3);
    let tcp = *kit.log().ids.last().unwrap();
    assert_eq!(kit.cx().peer_credentials(tcp), None);
    kit.cx().abort(tcp);
    kit.end();
}

// J11
#[test]
fn the_file_of_a_socket_has_the_mode_that_was_asked_for() {
    let dir = TempDir::new();
    let mut kit = Kit::new(default);
    for mode in [0o600, 0o660, 0o666, 0o777, 0o000] {
        let path = dir.file("s");
        let listener = kit
            .reactor
            .listen(Listen::new(path.clone()).mode(mode))
            .unwrap();
        let made = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(made, mode, "{made:o}");
        assert!(kit.cx().unlisten(listener));
        assert!(!path.exists());
    }
    let error = kit
        .reactor
        .listen(Listen::new("127.0.0.1:0").mode(0o600))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    kit.end();
}
