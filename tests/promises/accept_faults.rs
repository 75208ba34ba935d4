//! J8, J9: accept(2) fails, or an option of an accepted socket does. strace makes them fail, in a
//! process of their own.

use crate::kit::places::{
    TempDir, can_run, end_in_time, in_own_process_by, is_own_process, unix_peer,
};
use crate::kit::{Kit, echo, peer, read_n, spawn, write};
use sockeye::{Config, Listen};
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Runs an ignored test of this file while strace injects a fault.
#[track_caller]
fn with_fault(test: &str, fault: &str) {
    let strace = || {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "signal=none"]);
        command.args(["-e", &format!("inject={fault}")]);
        command
    };
    if can_run(strace()) {
        in_own_process_by(strace(), test);
    }
}

/// Warnings that the process has logged.
static WARNINGS: AtomicUsize = AtomicUsize::new(0);

struct Count;

impl log::Log for Count {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let counts = record.level() <= log::Level::Warn;
        WARNINGS.fetch_add(counts.into(), Ordering::Relaxed);
    }

    fn flush(&self) {}
}

fn count_warnings() -> usize {
    // Only the first call of a process does anything.
    let _ = log::set_logger(&Count);
    log::set_max_level(log::LevelFilter::Warn);
    WARNINGS.load(Ordering::Relaxed)
}

/// Five peers of each kind, and each gets its echo. A rest would last longer than the test.
fn five_of_each_are_served(options: impl Fn(Listen) -> Listen) -> Option<usize> {
    if !is_own_process() {
        return None;
    }
    end_in_time();
    count_warnings();
    let dir = TempDir::new();
    let path = dir.file("s");
    let mut config = Config::default();
    config.accept_backoff = Duration::from_secs(3600);
    let mut kit = Kit::with_config(config, echo);
    let addr = kit.listen_on(options(Listen::new("127.0.0.1:0")));
    kit.listen_on(options(Listen::new(&path)));
    let talk = spawn(move || {
        for _ in 0..5 {
            talk(peer(addr.ip().unwrap()));
            talk(unix_peer(&path));
        }
    });
    kit.until_done(talk);
    kit.until_all_closed();
    assert_eq!((kit.log().accepts, kit.log().accept_errors), (10, 0));
    assert_eq!(kit.cx().stats().accept_errors, 0);
    kit.end();
    Some(count_warnings())
}

fn talk(mut peer: impl Read + Write) {
    write(&mut peer, "hello");
    assert_eq!(read_n(&mut peer, 5), b"hello");
}

// J8
#[test]
fn an_error_of_accept_that_concerns_one_peer_rests_nobody() {
    let errors = [
        "ENETDOWN",
        "EPROTO",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "EOPNOTSUPP",
        "ENETUNREACH",
        "EPERM",
        "ECONNABORTED",
        "ECONNRESET",
        "EINTR",
    ];
    for error in errors {
        with_fault(
            "accept_faults::peers_are_lost",
            &format!("accept4:error={error}:when=1..9+2"),
        );
    }
}

#[test]
#[ignore = "runs in a process of its own, under strace"]
fn peers_are_lost() {
    if let Some(warnings) = five_of_each_are_served(|listen| listen) {
        assert_eq!(warnings, 0);
    }
}

// J8, L1
#[test]
fn an_error_of_accept_that_does_not_go_away_is_no_spin() {
    for error in ["EPERM", "EPROTO", "EINVAL", "EMFILE", "ENOBUFS", "ENOMEM"] {
        with_fault(
            "accept_faults::nobody_can_be_accepted",
            &format!("accept4:error={error}:when=1+"),
        );
    }
}

#[test]
#[ignore = "runs in a process of its own, under strace"]
fn nobody_can_be_accepted() {
    if !is_own_process() {
        return;
    }
    end_in_time();
    let mut kit = Kit::new(echo);
    let addr = kit.listen();
    let _peer = peer(addr);
    kit.until("the listener rests", |log| log.accept_errors > 0);
    kit.end();
}

// J9
#[test]
fn an_accepted_socket_that_takes_no_option_is_kept_and_told_of_once() {
    with_fault(
        "accept_faults::options_fail",
        "setsockopt:error=EINVAL:when=5+",
    );
}

#[test]
#[ignore = "runs in a process of its own, under strace"]
fn options_fail() {
    if !is_own_process() {
        return;
    }
    end_in_time();
    count_warnings();
    let dir = TempDir::new();
    let path = dir.file("s");
    let mut kit = Kit::new(echo);
    // Four options of listeners: these are set.
    kit.listen_on(
        Listen::new(&path)
            .receive_buffer(10_000)
            .send_buffer(10_000),
    );
    let other = dir.file("t");
    kit.listen_on(
        Listen::new(&other)
            .receive_buffer(10_000)
            .send_buffer(10_000),
    );
    let talk = spawn(move || {
        for path in [&path, &other, &path, &other] {
            talk(std::os::unix::net::UnixStream::connect(path).unwrap());
        }
    });
    kit.until_done(talk);
    kit.until_all_closed();
    assert_eq!((kit.log().accepts, kit.log().accept_errors), (4, 0));
    assert_eq!(count_warnings(), 2, "one for each listener");
    kit.end();
}
