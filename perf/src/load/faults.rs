//! Does the load generator notice? Servers that are right, and servers that are wrong once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::drive::drive;
use super::{Load, Options, Sample, Target, churn, echo, fan};
use crate::Result;

/// What a server does to the bytes or the lines that it has read so far.
type Fault<T> = fn(count: usize, data: &mut Vec<T>);

fn target(addr: SocketAddr, count: u64) -> Target {
    Target {
        addr,
        pid: std::process::id(),
        warm: 0,
        millis: 0,
        count: Some(count),
        spin: false,
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// An echo server with a thread for each connection.
fn echo_server(fault: Fault<u8>) -> SocketAddr {
    let (listener, addr) = listener();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut count = 0;
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    count += read;
                    let mut data = buffer[..read].to_vec();
                    fault(count, &mut data);
                    if stream.write_all(&data).is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

fn echo_with(fault: Fault<u8>) -> Result<Sample> {
    let options = Options {
        conns: 3,
        depth: 4,
        size: 1000,
        ..Options::plain(Load::Echo)
    };
    let target = target(echo_server(fault), 300);
    drive(&target, |poll| echo::Echo::new(&options, &target, poll))
}

/// A room of so many members and one sender. The fault is for what the last member gets.
fn room(members: usize, fault: Fault<Vec<u8>>) -> SocketAddr {
    let (listener, addr) = listener();
    thread::spawn(move || {
        let mut streams: Vec<TcpStream> = Vec::new();
        for _ in 0..members {
            streams.push(listener.accept().unwrap().0);
            let mut hello = Vec::new();
            let newcomer = streams[streams.len() - 1].try_clone().unwrap();
            BufReader::new(newcomer)
                .read_until(b'\n', &mut hello)
                .unwrap();
            for mut stream in &streams {
                stream.write_all(&hello).unwrap();
            }
        }
        let mut lines = BufReader::new(streams[0].try_clone().unwrap());
        for count in 0.. {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                return;
            }
            for (number, mut stream) in streams.iter().enumerate() {
                let mut due = vec![line.clone()];
                if number == members - 1 {
                    fault(count, &mut due);
                }
                if stream.write_all(&due.concat()).is_err() {
                    return;
                }
            }
        }
    });
    addr
}

fn fan_with(fault: Fault<Vec<u8>>) -> Result<Sample> {
    let options = Options {
        conns: 3,
        depth: 8,
        ..Options::plain(Load::Fan)
    };
    let target = target(room(3, fault), 200);
    drive(&target, |poll| fan::Fan::new(&options, &target, poll))
}

fn text(result: Result<Sample>) -> String {
    result.expect_err("a fault that went unseen").to_string()
}

#[test]
fn a_right_server_passes() {
    let sample = echo_with(|_, _| {}).unwrap();
    assert_eq!(sample.ops, 300.0);
    let sample = fan_with(|_, _| {}).unwrap();
    assert_eq!(sample.ops, 200.0 * 3.0);
    let options = Options {
        conns: 4,
        ..Options::plain(Load::Churn)
    };
    let target = target(echo_server(|_, _| {}), 50);
    let sample = drive(&target, |poll| churn::Churn::new(&options, &target, poll));
    assert_eq!(sample.unwrap().ops, 50.0);
}

#[test]
fn a_wrong_byte_is_seen() {
    let result = echo_with(|count, data| {
        if count > 20_000 {
            data[0] ^= 1;
        }
    });
    assert!(text(result).contains("wrong bytes"));
}

#[test]
fn a_lost_byte_and_a_doubled_one_are_seen() {
    let lost = echo_with(|count, data| {
        if count > 20_000 {
            data.remove(0);
        }
    });
    assert!(text(lost).contains("wrong bytes"));
    let doubled = echo_with(|count, data| {
        if count > 20_000 {
            data.insert(0, data[0]);
        }
    });
    assert!(text(doubled).contains("wrong bytes"));
}

#[test]
fn a_byte_too_many_is_seen() {
    let result = echo_with(|count, data| {
        if count > 20_000 {
            data.extend_from_within(..);
        }
    });
    let text = text(result);
    assert!(text.contains("wrong bytes") || text.contains("more came back"));
}

#[test]
fn a_lost_line_a_doubled_one_and_a_wrong_one_are_seen() {
    let faults: [Fault<Vec<u8>>; 3] = [
        |count, due| due.truncate(usize::from(count != 50)),
        |count, due| due.extend((count == 50).then(|| due[0].clone())),
        |count, due| due[0][40] ^= u8::from(count == 50),
    ];
    for fault in faults {
        assert!(text(fan_with(fault)).contains("wrong line"));
    }
}
