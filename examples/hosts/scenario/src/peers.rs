//! Who talks to the room: blocking clients, and a thread that posts.

use crate::room::{CLIENTS, COMMANDS, Notes, Word};
use crate::{Act, seconds_since};
use sockeye::Sender;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Sender as Channel, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of each client, and messages of the thread.
const LINES: u64 = 10_000;
const MESSAGES: u64 = 50;

pub struct Peers(JoinHandle<String>);

impl Peers {
    pub fn start(act: Act, addr: SocketAddr, sender: Sender<Word>, notes: Arc<Notes>) -> Peers {
        Peers(thread::spawn(move || match act {
            Act::Chat | Act::Frugal => chat(addr, &sender),
            Act::Timers => String::new(),
            Act::Idle => idle(addr, &sender, &notes),
            Act::Panic => panics(addr, &sender),
            Act::Stream => stream(addr, &sender),
        }))
    }

    pub fn end(self) -> String {
        self.0.join().expect("the peers are content")
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

fn post(sender: &Sender<Word>, word: Word) {
    assert!(sender.send(word).is_ok(), "the room is gone");
}

fn chat(addr: SocketAddr, sender: &Sender<Word>) -> String {
    let start = Instant::now();
    let (all_in, is_all_in) = channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let all_in = all_in.clone();
            thread::spawn(move || client(addr, number, &all_in))
        })
        .collect();
    // Who is not in yet does not hear of it.
    is_all_in.recv_timeout(PATIENCE).expect("all are in");
    for number in 0..MESSAGES {
        post(sender, Word::Line(format!("thread {number}\n")));
    }
    for client in clients {
        client.join().expect("a client");
    }
    let time = seconds_since(start);
    post(sender, Word::Finish);
    format!("chat={time}")
}

/// Says its lines when all are in, and hears every line of everybody, each speaker's in order.
fn client(addr: SocketAddr, number: usize, all_in: &Channel<()>) {
    let stream = connect(addr);
    let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
    let mut hear = || lines.next().expect("more lines").expect("a line");
    assert_eq!(hear(), "go");
    let _ = all_in.send(());
    let mut writer = stream.try_clone().expect("a descriptor");
    let speaks = thread::spawn(move || {
        for line in 0..LINES {
            let line = format!("client-{number} {line}\n");
            writer.write_all(line.as_bytes()).expect("it is sent");
        }
    });
    let all = CLIENTS as u64 * LINES + MESSAGES + COMMANDS;
    let mut heard = HashMap::<String, u64>::new();
    for _ in 0..all {
        let line = hear();
        let (speaker, count) = line.split_once(' ').expect("two words");
        let next = heard.entry(speaker.to_owned()).or_default();
        assert_eq!(
            count,
            next.to_string(),
            "{speaker}'s lines are out of order"
        );
        *next += 1;
    }
    assert_eq!((heard["thread"], heard["host"]), (MESSAGES, COMMANDS));
    speaks.join().expect("all was said");
    // Its end, and then the room's.
    stream.shutdown(Shutdown::Write).expect("an end");
    assert!(lines.next().is_none(), "somebody said more");
}

/// All are in, and nobody speaks.
fn idle(addr: SocketAddr, sender: &Sender<Word>, notes: &Notes) -> String {
    let mut all: Vec<_> = (0..CLIENTS).map(|_| connect(addr)).collect();
    for client in &mut all {
        client.read_exact(&mut [0; 3]).expect("go");
    }
    thread::sleep(Duration::from_millis(100));
    post(sender, Word::Mark);
    thread::sleep(Duration::from_secs(2));
    post(sender, Word::Count);
    // The host finishes from outside, and everybody is sent away.
    for client in &mut all {
        assert_eq!(client.read(&mut [0]).expect("an end"), 0);
    }
    assert!(notes.counted.load(SeqCst));
    String::new()
}

/// A callback panics: the connection ends with the reactor, and messages come back.
fn panics(addr: SocketAddr, sender: &Sender<Word>) -> String {
    let mut client = connect(addr);
    post(sender, Word::Panic);
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert!(
        sender.send(Word::Finish).is_err(),
        "nobody would deliver it"
    );
    String::new()
}

/// Much, there and back.
fn stream(addr: SocketAddr, sender: &Sender<Word>) -> String {
    const MIB: usize = 1 << 20;
    let mib = std::env::var("HOSTS_MIB")
        .ok()
        .and_then(|mib| mib.parse().ok());
    let all = mib.unwrap_or(1024) * MIB;
    let mut stream = connect(addr);
    let start = Instant::now();
    let mut writer = stream.try_clone().expect("a descriptor");
    let writes = thread::spawn(move || {
        let block = vec![7; MIB];
        for _ in 0..all / MIB {
            writer.write_all(&block).expect("it is sent");
        }
    });
    let (mut block, mut got) = (vec![0; MIB], 0);
    while got < all {
        let count = stream.read(&mut block).expect("it comes back");
        assert!(count > 0 && block[..count].iter().all(|byte| *byte == 7));
        got += count;
    }
    let time = seconds_since(start);
    writes.join().expect("all was sent");
    post(sender, Word::Finish);
    format!("stream={time}")
}
