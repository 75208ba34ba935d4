//! J9, J10: options of sockets that the system would take for something else, or refuse.

use crate::kit::{Kit, default};
use sockeye::{Connect, KeepAlive, Listen, Reason};
use std::io::ErrorKind;
use std::time::Duration;

const NOWHERE: &str = "127.0.0.1:1";
const USUAL: KeepAlive = KeepAlive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(10),
    count: 3,
};

/// Neither a listener nor a connection can have this, and both errors say what is wrong.
#[track_caller]
fn is_refused(listen: Listen, connect: Connect, why: &str) {
    let mut kit = Kit::new(default);
    let error = kit.reactor.listen(listen).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains(why), "{error}");
    let conn = kit.connect(connect);
    kit.until("it fails", |log| log.closed() == 1);
    match kit.log().life(conn).reason() {
        Reason::ConnectFailed(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
        other => panic!("{other:?}"),
    }
    kit.end();
}

// C1
#[test]
fn a_text_without_a_host_and_a_port_is_no_address() {
    let forms = "is not an address: expected IP:PORT, NAME:PORT, [IPV6]:PORT or unix:PATH";
    for (text, why) in [
        ("10.255.255.1", forms),
        ("foo", forms),
        ("foo:", forms),
        ("foo:http", forms),
        (":80", forms),
        ("::1", forms),
        ("::1:80", forms),
        ("[::1]", forms),
        (
            "127.0.0.1:99999",
            "is not an address: a port is at most 65535",
        ),
        ("unix:", forms),
        ("[::1:80", forms),
    ] {
        let mut kit = Kit::new(default);
        let conn = kit.connect(text);
        kit.until("it fails", |log| log.closed() == 1);
        match kit.log().life(conn).reason() {
            Reason::ConnectFailed(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
                let words = error.to_string();
                assert!(words.contains(&format!("{text:?}")), "{words}");
                assert!(words.contains(why), "{words}");
            }
            other => panic!("{other:?}"),
        }
        kit.end();
    }
}

// J10
#[test]
fn a_buffer_of_more_bytes_than_the_system_can_be_told_is_refused() {
    // The low 32 bits of the first are 0; a usize of 32 bits has no such number.
    let low_zero = 1_usize.checked_shl(40).unwrap_or(usize::MAX);
    for bytes in [low_zero, 1 << 31, usize::MAX] {
        let (listen, connect) = (Listen::new("127.0.0.1:0"), Connect::new(NOWHERE));
        let name = format!("`receive_buffer` ({bytes}) must be at most 2147483647");
        let (listen, connect) = (listen.receive_buffer(bytes), connect.receive_buffer(bytes));
        is_refused(listen, connect, &name);
        let (listen, connect) = (Listen::new("127.0.0.1:0"), Connect::new(NOWHERE));
        let name = format!("`send_buffer` ({bytes}) must be at most 2147483647");
        is_refused(listen.send_buffer(bytes), connect.send_buffer(bytes), &name);
    }
    let mut kit = Kit::new(default);
    kit.listen_on(Listen::new("127.0.0.1:0").receive_buffer((1 << 31) - 1));
    kit.end();
}

// J10
#[test]
fn a_keep_alive_of_zero_is_refused_by_name() {
    let cases = [
        (
            KeepAlive {
                idle: Duration::ZERO,
                ..USUAL
            },
            "`keep_alive`: `idle` must not be zero",
        ),
        (
            KeepAlive {
                interval: Duration::ZERO,
                ..USUAL
            },
            "`keep_alive`: `interval` must not be zero",
        ),
        (
            KeepAlive { count: 0, ..USUAL },
            "`keep_alive`: `count` must not be zero",
        ),
    ];
    for (times, why) in cases {
        let listen = Listen::new("127.0.0.1:0").keep_alive(times);
        is_refused(listen, Connect::new(NOWHERE).keep_alive(times), why);
    }
}

// J10
#[cfg(target_os = "linux")]
#[test]
fn what_the_system_refuses_is_told_with_the_name_of_the_option() {
    let (idle, count) = (Duration::from_secs(40_000), 200);
    for times in [KeepAlive { idle, ..USUAL }, KeepAlive { count, ..USUAL }] {
        let listen = Listen::new("127.0.0.1:0").keep_alive(times);
        let connect = Connect::new(NOWHERE).keep_alive(times);
        is_refused(listen, connect, "keep_alive: Invalid argument");
    }
}

// J10
#[test]
fn a_keep_alive_below_a_second_is_a_second() {
    let brief = Duration::from_millis(1);
    let times = KeepAlive {
        idle: brief,
        interval: brief,
        count: 1,
    };
    let mut kit = Kit::new(default);
    let addr = kit.listen_on(Listen::new("127.0.0.1:0").keep_alive(times));
    kit.connect(Connect::new(&addr).keep_alive(times));
    kit.until("both ends are open", |log| log.count("open") == 2);
    kit.end();
}
