//! The chat client as a process, with a keyboard and a server of the test.
//!
//! `cargo test` builds it first; for one shelf alone run `cargo build --examples`.

use crate::kit::programs;
use crate::kit::programs::system::accept;
use crate::kit::programs::{Process, example, nobody, read_all, read_line};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::thread;

const ANY: &str = "127.0.0.1:0";

/// What is said of a Unix path where there is no file, and where there are no Unix sockets.
const NO_SUCH_PATH: &str = match cfg!(unix) {
    true => "No such file",
    false => "not supported on this system",
};

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
        let mut stream = accept(&server);
        stream.set_read_timeout(Some(programs::PATIENCE)).unwrap();
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
    let stream = accept(&server);
    client.sleeps();
    drop(keyboard);
    assert_eq!(read_all(stream), b"");
    assert!(client.wait().success());
    let log = client.log();
    assert_eq!(log.matches("[connected to 127.0.0.1").count(), 3, "{log}");
    assert_eq!(
        log.matches(": closed by peer; again in 10ms]").count(),
        2,
        "{log}"
    );
}

#[test]
fn a_chat_client_whose_server_is_gone_tries_ever_less_often() {
    let (mut client, mut keyboard) = left_alone("5");
    client.until_log("it has tried four times", |log| {
        log.contains("again in 80ms")
    });
    for time in ["10ms", "20ms", "40ms"] {
        let words = format!("; again in {time}]");
        let log = client.log();
        let line = log.lines().find(|line| line.ends_with(&words));
        assert!(line.is_some_and(|line| line.contains("refused")), "{log}");
    }
    client.until_log("it says that a line is lost", |log| {
        // Between two attempts it is sure to be.
        writeln!(keyboard, "hello?").is_ok() && log.contains("that was not sent")
    });
    drop(keyboard);
    assert_eq!(client.wait().code(), Some(1));
}

// The first connect says whether the address is any good.
#[test]
fn a_client_that_never_was_in_fails_and_says_why() {
    let (_bound, nobody) = nobody();
    for (server, why) in [
        (nobody.to_string(), "refused"),
        ("no.such.name.invalid:7004".to_owned(), "look-up failed"),
        ("unix:/no/such/socket".to_owned(), NO_SUCH_PATH),
    ] {
        let mut client = Process::start_with("chat_client", &[&server], Stdio::piped());
        let mut keyboard = client.stdin();
        let _ = writeln!(keyboard, "hello");
        assert_eq!(client.wait().code(), Some(1), "{server}");
        let log = client.log();
        let words = format!("{server}: ");
        assert!(log.contains(&words) && log.contains(why), "{log}");
        assert!(!log.contains("again in"), "{log}");
    }
}

/// A client that was in, whose server is gone and will not come back.
fn left_alone(retry: &str) -> (Process, ChildStdin) {
    let server = TcpListener::bind(ANY).unwrap();
    let (client, keyboard) = chat_client(server.local_addr().unwrap(), retry);
    let stream = accept(&server);
    client.until_log("it is in", |log| log.contains("connected to"));
    drop(server);
    drop(stream);
    client.until_log("it is out", |log| log.contains("again in"));
    (client, keyboard)
}

#[test]
fn who_leaves_while_the_server_is_away_has_left() {
    let (mut client, mut keyboard) = left_alone("3600000");
    writeln!(keyboard, "/quit").unwrap();
    assert!(client.wait().success());
    let (mut client, keyboard) = left_alone("3600000");
    drop(keyboard);
    assert!(client.wait().success());
}

#[test]
fn a_line_that_was_not_sent_is_a_failure_in_the_end() {
    let (mut client, mut keyboard) = left_alone("3600000");
    writeln!(keyboard, "hello?").unwrap();
    client.until_log("it says so", |log| log.contains("that was not sent"));
    drop(keyboard);
    assert_eq!(client.wait().code(), Some(1), "{}", client.log());
}

#[test]
fn what_is_no_text_is_passed_on_and_ends_nothing() {
    let server = TcpListener::bind(ANY).unwrap();
    let (mut client, mut keyboard) = chat_client(server.local_addr().unwrap(), "10");
    let stream = accept(&server);
    keyboard.write_all(b"one\r\ncaf\xe9\n\ntwo").unwrap();
    drop(keyboard);
    assert_eq!(read_all(&stream), b"one\r\ncaf\xe9\n\ntwo");
    drop(stream);
    assert!(client.wait().success(), "{}", client.log());
}

#[cfg(unix)]
#[test]
fn a_keyboard_that_cannot_be_read_is_a_failure() {
    let server = TcpListener::bind(ANY).unwrap();
    let addr = server.local_addr().unwrap().to_string();
    let directory = File::open("/").unwrap();
    let mut client = Process::start_with("chat_client", &[&addr], directory.into());
    let stream = accept(&server);
    assert_eq!(read_all(&stream), b"");
    drop(stream);
    assert_eq!(client.wait().code(), Some(1));
    assert!(client.log().contains("Is a directory"), "{}", client.log());
}

/// Its status and log, if it prints a line to there.
fn printing_to(stdout: Stdio, stderr: Stdio) -> Output {
    let server = TcpListener::bind(ANY).unwrap();
    let client = Command::new(example("chat_client"))
        .arg(server.local_addr().unwrap().to_string())
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut stream = accept(&server);
    // It leaves for this alone: neither the keyboard nor the server has ended.
    stream.write_all(b"one\ntwo\n").unwrap();
    let _ = stream.read(&mut [0]);
    client.wait_with_output().unwrap()
}

fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn whoever_reads_it_may_go_and_a_full_disk_is_a_failure() {
    let quiet = printing_to(closed(), Stdio::piped());
    assert!(quiet.status.success(), "{quiet:?}");
    let log = String::from_utf8(quiet.stderr).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}"); // `[connected to ...]`
    let quieter = printing_to(closed(), closed());
    assert!(quieter.status.success(), "{quieter:?}");
    if cfg!(target_os = "linux") {
        let full = File::create("/dev/full").unwrap();
        let full = printing_to(full.into(), Stdio::piped());
        assert_eq!(full.status.code(), Some(1));
        let log = String::from_utf8(full.stderr).unwrap();
        assert!(log.contains("No space left"), "{log}");
    }
}

// A file is typed faster than any server reads.
#[test]
fn the_keyboard_waits_for_a_server_that_does_not_read() {
    // Of more, each through a pipe, wine would take minutes.
    const LINES: usize = if cfg!(windows) { 20_000 } else { 100_000 };
    let server = TcpListener::bind(ANY).unwrap();
    let (mut client, mut keyboard) = chat_client(server.local_addr().unwrap(), "10");
    let stream = accept(&server);
    let typing = thread::spawn(move || {
        for number in 0..LINES {
            writeln!(keyboard, "{number} {}", "and some words more".repeat(5)).unwrap();
        }
    });
    // 10 MB do not fit into the kernel.
    client.sleeps();
    assert!(!typing.is_finished(), "it has taken everything");
    let memory = client.memory("VmHWM");
    let mut all = BufReader::new(&stream).lines();
    for number in 0..LINES {
        let line = all.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("{number} ")), "{line}");
    }
    typing.join().unwrap();
    assert!(all.next().is_none());
    drop(stream);
    assert!(client.wait().success(), "{}", client.log());
    assert!(memory < 12 * 1024, "{memory} KiB");
}

#[test]
fn a_line_of_any_length_goes_through() {
    let server = TcpListener::bind(ANY).unwrap();
    let (mut client, mut keyboard) = chat_client(server.local_addr().unwrap(), "10");
    let stream = accept(&server);
    let typing = thread::spawn(move || keyboard.write_all(&[b'x'; 20_000_000]));
    client.sleeps();
    let memory = client.memory("VmHWM");
    assert!(memory < 12 * 1024, "{memory} KiB");
    assert!(read_all(&stream) == [b'x'; 20_000_000]);
    typing.join().unwrap().unwrap();
    drop(stream);
    assert!(client.wait().success(), "{}", client.log());
}
