//! The examples that speak RESP and WebSocket, each as a process, driven by plain sockets. What
//! other people's clients make of them, `.ci/resp` and `.ci/websocket` show.

use crate::kit::programs::{self, Process, Signal, peer, read_all, until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const ANY: &str = "127.0.0.1:0";

/// It sleeps when it has nothing to do, and SIGTERM, which it does not handle, ends it.
#[track_caller]
fn ends_on_sigterm(mut process: Process) {
    process.sleeps();
    process.signal(Signal::TERM);
    assert!(programs::system::was_ended_by(process.wait(), Signal::TERM));
}

/// Reads exactly this, and shows what came instead.
#[track_caller]
fn reads(mut stream: &TcpStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    let mut len = 0;
    while len < got.len() && got[..len] == wanted[..len] {
        match stream.read(&mut got[len..]) {
            Ok(count @ 1..) => len += count,
            // A read with a timeout is not made again by the system: socket(7), signal(7).
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => panic!(
                "{other:?} after {:?}",
                got[..len].escape_ascii().to_string()
            ),
        }
    }
    assert_eq!(
        got.escape_ascii().to_string(),
        wanted.escape_ascii().to_string()
    );
}

/// Sends commands, as one types them, and compares the replies.
#[track_caller]
fn ask(mut stream: &TcpStream, commands: &str, replies: &str) {
    stream
        .write_all(commands.replace('\n', "\r\n").as_bytes())
        .unwrap();
    reads(stream, replies.replace('\n', "\r\n").as_bytes());
}

// R8, F1
#[test]
fn the_small_redis_knows_its_commands() {
    let mut server = Process::start("resp", &["--listen", ANY]);
    let addr = server.ip();
    let stream = peer(addr);
    ask(&stream, "PING\nping a\nECHO b\n", "+PONG\n$1\na\n$1\nb\n");
    ask(
        &stream,
        "GET k\nSET k v\nGET k\nDEL k j\nGET k\n",
        "$-1\n+OK\n$1\nv\n:1\n$-1\n",
    );
    ask(
        &stream,
        "*3\n$3\nSET\n$1\nk\n$3\na\n\n*2\n$3\nGET\n$1\nk\n",
        "+OK\n$3\na\n\n",
    );
    ask(
        &stream,
        "SET k w NX\nSET n 1 NX\nINCR n\nINCR m\nINCR k\n",
        "$-1\n+OK\n:2\n:1\n-ERR value is not an integer or out of range\n",
    );
    ask(
        &stream,
        "SET n 9223372036854775807\nINCR n\n",
        "+OK\n-ERR value is not an integer or out of range\n",
    );
    ask(&stream, "SET n -3\nINCR n\nGET n\n", "+OK\n:-2\n$2\n-2\n");
    ask(
        &stream,
        "RPUSH l a b\nLPUSH l 0\nLRANGE l 0 -1\n",
        ":2\n:3\n*3\n$1\n0\n$1\na\n$1\nb\n",
    );
    ask(
        &stream,
        "LRANGE l -2 9\nLRANGE l 2 1\nLRANGE none 0 -1\nLRANGE l -9 0\n",
        "*2\n$1\na\n$1\nb\n*0\n*0\n*1\n$1\n0\n",
    );
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\n";
    ask(
        &stream,
        "GET l\nINCR l\nRPUSH k a\nLRANGE k 0 1\n",
        &wrong.repeat(4),
    );
    ask(
        &stream,
        "TTL k\nTTL none\nEXPIRE k 100\nTTL k\nEXPIRE none 1\nSET k v\nTTL k\n",
        ":-1\n:-2\n:1\n:100\n:0\n+OK\n:-1\n",
    );
    ask(
        &stream,
        "EXPIRE k -1\nTTL k\nSET k v EX 0\nSET k v XX\n",
        ":1\n:-2\n-ERR invalid expire time in 'set' command\n-ERR syntax error\n",
    );
    ask(
        &stream,
        "CONFIG GET save\nCOMMAND DOCS\nCLIENT SETNAME x\nHELLO 3\n",
        "*2\n$4\nsave\n$0\n\n*0\n+OK\n-ERR unknown command or wrong number of arguments\n",
    );
    expires_and_ends(&stream);
    // A browser that a page tells to write here is obeyed in nothing.
    let mut browser = peer(addr);
    browser
        .write_all(b"POST / HTTP/1.1\r\nSET browser 1\r\n")
        .unwrap();
    assert_eq!(read_all(&browser), b"");
    ask(&peer(addr), "GET browser\n", "$-1\n");
    ends_on_sigterm(server);
}

#[track_caller]
fn expires_and_ends(mut stream: &TcpStream) {
    // A key that expires is gone, and its timer with it.
    ask(stream, "SET k v EX 1\nEXPIRE l 1\nTTL k\n", "+OK\n:1\n:1\n");
    until("it expires", || {
        stream.write_all(b"TTL l\r\n").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer[..4]).unwrap();
        if answer[..4] == *b":-2\r" {
            stream.read_exact(&mut answer[4..]).unwrap();
        }
        answer[1] == b'-'
    });
    ask(stream, "GET k\n", "$-1\n");
    // What is no command ends the connection, after the replies to those that were.
    stream.write_all(b"PING\r\n*1\r\n!\r\nPING\r\n").unwrap();
    assert_eq!(read_all(stream), b"+PONG\r\n-ERR Protocol error\r\n");
}

/// The first of two workers has the keys: the other's commands go there and come back in order, and
/// what is published is heard by subscribers of both.
#[test]
fn workers_share_the_keys_and_the_channels() {
    let mut server = Process::start("resp", &["--listen", ANY, "--workers", "2"]);
    let addr = server.ip();
    // By turns: two for each worker. The keys' worker tells how many it has.
    let all = [(); 4].map(|()| {
        let stream = peer(addr);
        ask(&stream, "PING\n", "+PONG\n");
        stream
    });
    let info = "$43\nserver:sockeye\nconnected_clients:2\nkeys:0\n";
    for stream in &all {
        ask(stream, "INFO\n", info);
    }
    ask(&all[0], "SET a 0\nSET b v\n", "+OK\n+OK\n");
    // More at once than one asks for in one message.
    const COUNT: usize = 1000;
    let threads = all.each_ref().map(|stream| {
        let stream = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            (&stream)
                .write_all("INCR a\r\nGET b\r\n".repeat(COUNT).as_bytes())
                .unwrap();
            let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let mut last = 0;
            for _ in 0..COUNT {
                let next = lines.next().unwrap()[1..].parse().unwrap();
                assert!(next > last, "{next} after {last}");
                last = next;
                assert_eq!(
                    [lines.next(), lines.next()].map(Option::unwrap),
                    ["$1", "v"]
                );
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    ask(&all[1], "GET a\n", "$4\n4000\n");
    // Two of each worker; the speaker hears itself, behind the replies so far.
    let subscribed = "*3\n$9\nsubscribe\n$1\nc\n:1\n";
    let heard = "*3\n$7\nmessage\n$1\nc\n$1\nx\n";
    for stream in &all {
        ask(stream, "SUBSCRIBE c\n", subscribed);
    }
    ask(
        &all[3],
        "PING\nPUBLISH c x\nPING\n",
        &format!("+PONG\n{heard}:4\n+PONG\n"),
    );
    for stream in &all[..3] {
        reads(stream, heard.replace('\n', "\r\n").as_bytes());
    }
    // Of one of the other worker that goes nothing is left, and what is no command ends it.
    let [first, second, third, last] = all;
    drop((second, third));
    (&last).write_all(b"PING\r\n*1\r\n!\r\nPING\r\n").unwrap();
    assert_eq!(read_all(&last), b"+PONG\r\n-ERR Protocol error\r\n");
    until("it is forgotten", || {
        (&first).write_all(b"PUBLISH c x\r\n").unwrap();
        reads(&first, heard.replace('\n', "\r\n").as_bytes());
        let mut reply = [0; 4];
        (&first).read_exact(&mut reply).unwrap();
        reply == *b":1\r\n"
    });
    ends_on_sigterm(server);
}

// W1
#[test]
fn who_does_not_read_is_not_read_or_cut_off() {
    let mut server = Process::start("resp", &["--listen", ANY, "--unread", "256"]);
    let addr = server.ip();
    let (deaf, ear, speaker) = (peer(addr), peer(addr), peer(addr));
    for stream in [&deaf, &ear] {
        ask(
            stream,
            "SUBSCRIBE c d\n",
            "*3\n$9\nsubscribe\n$1\nc\n:1\n*3\n$9\nsubscribe\n$1\nd\n:2\n",
        );
    }
    let text = "x".repeat(60_000);
    let publish = format!("*3\n$7\nPUBLISH\n$1\nc\n$60000\n{text}\n");
    let heard = format!("*3\n$7\nmessage\n$1\nc\n$60000\n{text}\n").replace('\n', "\r\n");
    let mut last = 2;
    until("the deaf one is cut off", || {
        (&speaker)
            .write_all(publish.replace('\n', "\r\n").as_bytes())
            .unwrap();
        let mut reply = [0; 4];
        (&speaker).read_exact(&mut reply).unwrap();
        reads(&ear, heard.as_bytes());
        let count = reply[1] - b'0';
        assert!(count <= last && count >= 1, "{reply:?}");
        last = count;
        count == 1
    });
    ask(&speaker, "PUBLISH none x\n", ":0\n");
    // One that asks and asks and does not read is held back, and gets all in the end.
    let set = format!("*3\n$3\nSET\n$3\nbig\n$60000\n{text}\n");
    ask(&speaker, &set, "+OK\n");
    let greedy = peer(addr);
    let mut asking = greedy.try_clone().unwrap();
    let asker = std::thread::spawn(move || {
        (0..2000).for_each(|_| asking.write_all(b"GET big\r\n").unwrap());
    });
    until("it is answered", || greedy.peek(&mut [0; 1]).is_ok());
    server.sleeps();
    let reply = format!("$60000\r\n{text}\r\n");
    (0..2000).for_each(|_| reads(&greedy, reply.as_bytes()));
    asker.join().unwrap();
    let memory = server.memory("VmHWM");
    assert!(memory < 16 * 1024, "{memory} KiB");
    drop((deaf, ear, speaker, greedy));
    ends_on_sigterm(server);
}

#[cfg(feature = "websocket")]
mod websocket {
    use super::*;
    use sockeye::codec::websocket::{CloseCode, Handshake, Masks, close, ping, text};

    /// The head of an answer.
    fn head(mut stream: &TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        String::from_utf8(head).unwrap()
    }

    /// A peer that has asked for a WebSocket.
    fn asked(addr: std::net::SocketAddr, target: &str, origin: &str) -> (TcpStream, String) {
        let mut stream = peer(addr);
        let host = addr.to_string();
        let handshake = Handshake::new(&host, target, &mut Masks::seeded(1));
        let mut wire = Vec::new();
        handshake
            .field("Origin", origin)
            .request()
            .put_into(&mut wire);
        stream.write_all(&wire).unwrap();
        let answer = head(&stream);
        (stream, answer)
    }

    // F2
    #[test]
    fn a_websocket_is_echoed_and_what_is_none_is_told_why() {
        let mut server = Process::start("websocket_echo", &["--listen", ANY, "--max", "1"]);
        let addr = server.ip();
        let (mut stream, answer) = asked(addr, "/", "http://anywhere");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let mut masks = Masks::random();
        stream.write_all(&masks.mask(text("grüß"))).unwrap();
        stream.write_all(&masks.mask(ping("p").unwrap())).unwrap();
        reads(&stream, b"\x81\x06gr\xc3\xbc\xc3\x9f\x8a\x01p");
        stream
            .write_all(&masks.mask(close(CloseCode::NORMAL, "")))
            .unwrap();
        assert_eq!(read_all(&stream), b"\x88\x02\x03\xe8");
        let (mut stream, _) = asked(addr, "/", "http://anywhere");
        stream.write_all(b"\x82\xff\0\0\0\0\0\x10\0\x01").unwrap();
        assert_eq!(read_all(&stream), b"\x88\x02\x03\xf1"); // too big, by one byte
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "426"),
            ("nonsense\r\n\r\n", "400"),
            (&"x".repeat(8192), "431"),
        ] {
            let mut stream = peer(addr);
            stream.write_all(request.as_bytes()).unwrap();
            let answer = String::from_utf8(read_all(stream)).unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
        ends_on_sigterm(server);
    }

    /// The text of the next frame, without its number.
    fn hears(mut stream: &TcpStream) -> String {
        let mut header = [0; 2];
        stream.read_exact(&mut header).unwrap();
        assert_eq!(header[0], 0x81);
        let mut text = vec![0; header[1].into()];
        stream.read_exact(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.split_once(' ').unwrap().1.to_owned()
    }

    // F2
    #[test]
    fn browsers_and_lines_share_rooms_and_who_was_away_hears_what_was_said() {
        let args = ["--listen", ANY, "--listen-lines", ANY];
        let mut server = Process::start("websocket_chat", &args);
        let (web, lines) = (server.ip(), server.ip());
        let page = peer(web);
        (&page)
            .write_all(b"GET /?name=ann HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let answer = head(&page);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        reads(&page, b"<!doctype html>");
        let own = format!("http://{web}");
        let (_, answer) = asked(web, "/chat?room=blue&name=eve", "http://elsewhere");
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

        let (ann, answer) = asked(web, "/chat?room=blue&name=ann&since=0", &own);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert_eq!(hears(&ann), "* ann is here");
        let bob = peer(lines);
        (&bob)
            .write_all(b"/name b\x1bob\n/join blue\nhello\n")
            .unwrap();
        assert_eq!(hears(&ann), "* bob is here");
        assert_eq!(hears(&ann), "bob: hello");
        let mut masks = Masks::random();
        (&ann).write_all(&masks.mask(text("hi\nb%20b"))).unwrap();
        assert_eq!(hears(&ann), "ann: hi b%20b");
        until("bob hears ann", || {
            programs::read_line(&bob) == "ann: hi b%20b\n"
        });
        // Ann is gone, and comes back with what she has not heard.
        drop(ann);
        until("bob hears that", || {
            programs::read_line(&bob) == "* ann has gone\n"
        });
        (&bob).write_all(b"are you there?\n").unwrap();
        let (ann, _) = asked(web, "/chat?room=blue&name=a%6En&since=0", &own);
        let all = [
            "* ann is here",
            "* bob is here",
            "bob: hello",
            "ann: hi b%20b",
            "* ann has gone",
            "bob: are you there?",
            "* ann is here",
        ];
        all.iter().for_each(|text| assert_eq!(hears(&ann), *text));
        drop((page, ann, bob));
        ends_on_sigterm(server);
    }
}
