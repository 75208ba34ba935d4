//! The chat client as a process, with a keyboard and a server of the test.
//!
//! `cargo test` builds it first; for this file alone run `cargo build --examples`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod process;

use process::{Process, nobody, read_all, read_line};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{ChildStdin, Stdio};

const ANY: &str = "127.0.0.1:0";

/// A chat client, and its keyboard.
fn chat_client(addr: SocketAddr, retry: &str) -> (Process, ChildStdin) {
    let args = [&addr.to_string(), "--retry", retry];
    let mut client = Process::start_with("chat_client", &args, Stdio::piped());
    let keyboard = client.stdin();
    (client, keyboard)
}

// C6
#[test]
fn a_chat_client_sends_lines_prints_lines_and_connects_again() {
    let server = TcpListener::bind(ANY).unwrap();
    let (mut client, mut keyboard) = chat_client(server.local_addr().unwrap(), "10");
    for round in 0..2 {
        let (mut stream, _) = server.accept().unwrap();
        stream.set_read_timeout(Some(process::PATIENCE)).unwrap();
        stream.write_all(b"one\r\n\x1b[2Jtw").unwrap();
        assert_eq!(client.line(), "one");
        writeln!(keyboard, "line {round}").unwrap();
        assert_eq!(read_line(&stream), format!("line {round}\n"));
        stream.write_all(b"o\nthe last").unwrap();
        assert_eq!(client.line(), "\u{fffd}[2Jtwo");
        drop(stream);
        assert_eq!(client.line(), "the last");
    }
    // The end of the keyboard is ours: then the server's comes, and that is all.
    let (stream, _) = server.accept().unwrap();
    client.sleeps();
    drop(keyboard);
    assert_eq!(read_all(stream), b"");
    assert!(client.wait().success());
    let log = client.log();
    assert_eq!(log.matches("[connected to 127.0.0.1").count(), 3, "{log}");
    assert_eq!(
        log.matches("[peer closed; again in 10ms]").count(),
        2,
        "{log}"
    );
}

#[test]
fn a_chat_client_without_a_server_tries_ever_less_often() {
    let (_bound, nobody) = nobody();
    let (mut client, mut keyboard) = chat_client(nobody, "5");
    client.until_log("it has tried four times", |log| {
        log.contains("again in 40ms")
    });
    for time in ["5ms", "10ms", "20ms"] {
        let words = format!("refused (os error 111); again in {time}]");
        assert!(client.log().contains(&words), "{}", client.log());
    }
    client.until_log("it says that a line is lost", |log| {
        // Between two attempts it is sure to be.
        writeln!(keyboard, "hello?").is_ok() && log.contains("that was not sent")
    });
    drop(keyboard);
    assert!(client.wait().success());
}
