//! The chat server with many members, as a process: W1, W3, W4, W12, X10.
//!
//! `cargo test` builds it first; for `cargo test --test examples`: `cargo build --examples`.

use crate::kit::programs::chat::{GOODBYE, User, deaf, ignore, server, stop};
use crate::kit::programs::{PATIENCE, Signal, peer};
use socket2::SockRef;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Clients of each kind, and what those who behave say: so much reaches everybody in time that
/// those who never read meet their limit.
const MEMBERS: usize = 160;
const SPEAKERS: usize = 60;
const DEAF: usize = 20;
const ODD: usize = 20;
const ROUNDS: usize = 12;

/// What a speaker says in a round: a kilobyte that no other speaker and round has.
fn speech(speaker: usize, round: usize) -> String {
    let word = format!("{speaker}-{round} ");
    let mut text = word.repeat(1024 / word.len());
    text.truncate(text.trim_end().len());
    text
}

/// What a member tells the test.
#[derive(Debug, PartialEq)]
enum News {
    Named,
    HeardRound(usize),
}

/// One who reads all there is: every speech must come once, and those of a speaker in order.
/// Answers whether it was told of the end.
fn member(me: usize, stream: TcpStream, news: Sender<News>) -> bool {
    let mut user = User::new(stream);
    user.until(&format!("is now m{me}"));
    news.send(News::Named).unwrap();
    let mut next = [0; SPEAKERS];
    let (mut heard, per_round) = (0, SPEAKERS - usize::from(me < SPEAKERS));
    let mut told = false;
    loop {
        let line = user.hear();
        if line.is_empty() {
            assert!(
                next.iter()
                    .enumerate()
                    .all(|(s, n)| *n == ROUNDS || s == me)
            );
            return told;
        }
        told |= line == GOODBYE;
        assert!(!line.chars().any(char::is_control), "{line:?}");
        // What guests say is not for this count, nor is what the server says.
        let Some((speaker, text)) = line.strip_prefix('m').and_then(|l| l.split_once(": ")) else {
            continue;
        };
        let speaker: usize = speaker.parse().unwrap();
        assert_ne!(speaker, me, "nobody hears what he says");
        assert!(text == speech(speaker, next[speaker]), "m{me} heard {line}");
        next[speaker] += 1;
        heard += 1;
        if heard % per_round == 0 {
            news.send(News::HeardRound(heard / per_round - 1)).unwrap();
        }
    }
}

/// One more of those who do not behave.
fn odd(addr: SocketAddr, number: usize) {
    let mut stream = peer(addr);
    // The server may close while it writes: that is the point.
    let mut write = |bytes: &[u8]| drop(stream.write_all(bytes));
    match number % 5 {
        0 => write(b"half a line, and then silence"),
        1 => write(&[b'z'; 50_000]),
        2 => {
            let garbage: Vec<u8> = (0..3_000_u32).map(|i| ((i * i) >> 3) as u8).collect();
            return write(&garbage); // with unread input, this close is a reset
        }
        3 => {
            write(b"hello\nand");
            let linger = Some(Duration::ZERO);
            return SockRef::from(&stream).set_linger(linger).unwrap();
        }
        _ => {
            write(b"a last line without an end");
            stream.shutdown(Shutdown::Write).unwrap();
        }
    }
    ignore(stream);
}

#[track_caller]
fn all_say(news: &Receiver<News>, what: &News) {
    for count in 0..MEMBERS {
        match news.recv_timeout(PATIENCE) {
            Ok(got) => assert_eq!(got, *what),
            Err(error) => panic!("{what:?}: {count} of {MEMBERS}: {error}"),
        }
    }
}

// W1, W3, W4, W12, X10
#[test]
fn in_a_crowd_everybody_who_behaves_hears_every_line_once_and_in_order() {
    let (mut server, addr) = server(&["--unread", "256"]);
    let before = server.memory("VmRSS");
    let deaf: Vec<TcpStream> = (0..DEAF).map(|_| deaf(addr)).collect();
    let (sender, news) = channel();
    let mut writers = Vec::new();
    let mut readers: Vec<JoinHandle<bool>> = Vec::new();
    for me in 0..MEMBERS {
        let mut stream = peer(addr);
        stream
            .write_all(format!("/nick m{me}\n").as_bytes())
            .unwrap();
        writers.push(stream.try_clone().unwrap());
        let sender = sender.clone();
        readers.push(thread::spawn(move || member(me, stream, sender)));
    }
    all_say(&news, &News::Named);

    for round in 0..ROUNDS {
        for (speaker, writer) in writers[..SPEAKERS].iter_mut().enumerate() {
            let line = speech(speaker, round) + "\n";
            // In pieces, as the network may have it.
            let (one, two) = line.split_at(speaker * 17 % line.len());
            writer.write_all(one.as_bytes()).unwrap();
            writer.write_all(two.as_bytes()).unwrap();
        }
        (0..ODD)
            .filter(|n| n % ROUNDS == round)
            .for_each(|n| odd(addr, n));
        // Nobody says more until everybody has heard this: who reads is never behind.
        all_say(&news, &News::HeardRound(round));
    }

    // They came first, and have kept the names that they got.
    server.until_log("those who do not read are dropped", |log| {
        (1..=DEAF).all(|n| log.contains(&format!(": guest{n} leaves: pending output exceeds")))
    });
    // At most what may wait for each who does not read, a round (in a vector that has doubled) for
    // each who does, and 4 MiB for the program.
    let bound = DEAF * 256 + MEMBERS * SPEAKERS * 2 + 4096;
    let most = server.memory("VmHWM") - before;
    assert!(most < bound, "{most} KiB, and {bound} would be right");

    server.signal(Signal::TERM);
    for (me, reader) in readers.into_iter().enumerate() {
        assert!(reader.join().unwrap(), "m{me} was not told of the end");
    }
    let report = server.line();
    assert!(report.contains(" 0 were cut off, 0 bytes lost"), "{report}");
    assert!(server.wait().success());
    drop(deaf);
}

// W1: those who do not read cost what they may, however much is said.
#[test]
fn many_who_never_read_cost_a_bounded_amount_of_memory() {
    const MANY: usize = 300;
    let (server, addr) = server(&["--unread", "64"]);
    let before = server.memory("VmRSS");
    let many: Vec<TcpStream> = (0..MANY).map(|_| deaf(addr)).collect();
    // A megabyte and a half goes to each: 450 MiB, if all of it were kept.
    let speakers: Vec<_> = (0..40)
        .map(|n| {
            let mut stream = peer(addr);
            let reader = ignore(stream.try_clone().unwrap());
            let lines: String = (0..38).map(|round| speech(n, round) + "\n").collect();
            stream.write_all(lines.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            reader
        })
        .collect();
    // Their connections end when all that they said is heard.
    for speaker in speakers {
        speaker.join().unwrap();
    }
    // Each has its limit in vectors that have doubled, and the program and the speakers 6 MiB.
    let bound = MANY * 64 * 2 + 6 * 1024;
    let check = || {
        let most = server.memory("VmHWM") - before;
        assert!(most < bound, "{most} KiB, and {bound} would be right");
    };
    check();
    server.until_log("all are dropped", |log| {
        log.matches("leaves: pending output exceeds `hard_limit`")
            .count()
            >= MANY
    });
    check();
    drop(many);
    stop(server, Signal::TERM);
}
