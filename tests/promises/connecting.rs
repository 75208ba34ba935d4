//! C: what only real sockets show of connecting.

use crate::kit::places::{
    TempDir, end_in_time, in_own_process, is_own_process, refusing, refusing_at, until_acked,
};
use crate::kit::{Kit, default, descriptors, echo, read_n, reset};
use crate::kit::{slot_of, spawn, write};
use sockeye::{Connect, Reason, ToAddr};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::TcpListener;

/// What a connect to a Unix path ends with where there is no file.
const NO_SUCH_PATH: ErrorKind = match cfg!(unix) {
    true => ErrorKind::NotFound,
    false => ErrorKind::Unsupported, // there is no such kind of socket
};

/// Connects where nobody listens, again and again: each is reported once, and later.
fn is_refused(addr: impl ToAddr, rounds: usize, kind: ErrorKind) {
    let connect = Connect::new(addr);
    let mut kit = Kit::new(default);
    let mut slots = HashSet::new();
    for round in 0..rounds {
        let conn = kit.connect(connect.clone());
        assert_eq!(kit.log().ids.len(), round, "reported from inside connect");
        kit.until_closed(conn);
        let life = kit.log().life(conn);
        assert_eq!(life.callbacks, ["close"]);
        let Reason::ConnectFailed(error) = life.reason() else {
            panic!("{life:?}");
        };
        assert_eq!(error.kind(), kind);
        slots.insert(slot_of(conn));
    }
    assert!(slots.len() <= 2, "slots leak: {slots:?}");
    assert_eq!(kit.cx().stats().closed.connect_failed, rounds as u64);
    kit.end();
}

// C1
#[test]
fn a_thousand_refused_connects_leak_no_descriptor() {
    in_own_process("connecting::a_thousand_refused_connects");
}

#[test]
#[ignore = "runs in a process of its own, whose descriptors it counts"]
fn a_thousand_refused_connects() {
    if !is_own_process() {
        return;
    }
    let dir = TempDir::new();
    let (_port, addr) = refusing();
    let before = descriptors();
    is_refused(addr, 1000, ErrorKind::ConnectionRefused);
    is_refused(dir.file("nobody"), 1000, NO_SUCH_PATH);
    assert_eq!(descriptors(), before);
}

// C1
#[test]
fn a_connect_over_ipv6_is_refused_and_accepted_too() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return;
    };
    let addr = listener.local_addr().unwrap();
    let mut kit = Kit::new(echo);
    let conn = kit.connect(addr);
    let (mut peer, _) = listener.accept().unwrap();
    write(&mut peer, "six");
    let answer = spawn(move || read_n(&mut peer, 3));
    assert_eq!(kit.until_done(answer), b"six");
    kit.until_closed(conn);
    assert_eq!(kit.log().life(conn).callbacks[0], "open");
    let (_port, addr) = refusing_at("[::1]:0");
    let refused = kit.connect(addr);
    kit.until_closed(refused);
    assert_eq!(kit.log().life(refused).callbacks, ["close"]);
    kit.end();
}

// C2, R3
#[test]
fn a_reset_right_after_the_handshake_does_not_hide_that_it_was_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut kit = Kit::new(default);
    let conn = kit.connect(listener.local_addr().unwrap());
    kit.cx().send(conn, "question");
    // All of this before the loop gets to see any of it.
    let (mut peer, _) = listener.accept().unwrap();
    write(&mut peer, "busy");
    until_acked(&peer);
    reset(peer);
    kit.until_closed(conn);
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["open", "data", "close"]);
    assert_eq!(life.received, b"busy");
    assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
    kit.end();
}

// C2, R3
#[test]
fn an_end_right_after_the_handshake_does_not_hide_that_it_was_open() {
    let mut kit = Kit::new(default);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let conn = kit.connect(listener.local_addr().unwrap());
    let (mut peer, _) = listener.accept().unwrap();
    write(&mut peer, "busy");
    drop(peer);
    kit.until_closed(conn);
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["open", "data", "eof", "close"]);
    assert_eq!(life.received, b"busy");
    kit.end();
}

/// In a network of its own with a few ports to choose from, so that it takes a moment and not an
/// hour until the system chooses the one that is connected to.
// J7
#[cfg(target_os = "linux")]
#[test]
fn a_connection_to_itself_is_a_connect_that_failed() {
    use crate::kit::places::{can_run, in_own_process_by};

    let setup = "ip link set lo up && \
        echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range";
    let in_network = || {
        let mut command = std::process::Command::new("unshare");
        command.args(["-rn", "sh", "-c", &format!("{setup} && exec \"$0\" \"$@\"")]);
        command
    };
    if can_run(in_network()) {
        in_own_process_by(in_network(), "connecting::connects_to_itself");
    }
}

#[test]
#[ignore = "runs in a process and a network of its own"]
fn connects_to_itself() {
    if !is_own_process() {
        return;
    }
    end_in_time();
    let mut kit = Kit::new(default);
    let (mut tries, mut itself) = (0, 0);
    while itself < 3 {
        tries += 1;
        assert!(tries < 1000, "the system never chose that port");
        let conn = kit.connect("127.0.0.1:40004");
        kit.cx().send(conn, "who?");
        kit.until_closed(conn);
        let life = kit.log().life(conn);
        assert_eq!(life.callbacks, ["close"]);
        let closed = life.closed.as_ref().unwrap();
        assert_eq!(closed.undelivered, 4);
        match &closed.reason {
            Reason::ConnectFailed(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                itself += usize::from(error.to_string().contains("itself"));
            }
            other => panic!("{other:?}"),
        }
        // A server that starts now gets its port.
        TcpListener::bind("127.0.0.1:40004").unwrap();
    }
    kit.end();
}
