//! The chat server, end to end, as a process: F2, X4, X5, X10, T8 in one service.
//!
//! `cargo test` builds it first; for `cargo test --test examples`: `cargo build --examples`.

use crate::kit::programs::chat::{GOODBYE, User, deaf, ignore, server, stop};
use crate::kit::programs::{PATIENCE, Signal, peer};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn a_session_goes_as_the_help_says() {
    let (server, addr) = server(&[]);
    let mut ann = User::new(peer(addr));
    ann.hears(&["* you are guest1, in the lobby; /help says more"]);
    ann.say("/who\r\n/help\n");
    ann.hears(&["* in the lobby: guest1"]);
    assert!(ann.hear().contains("/nick NAME"));
    ann.say("/nick ann\n");
    ann.hears(&["* guest1 is now ann"]);

    let mut bob = User::new(peer(addr));
    ann.hears(&["* guest2 has joined"]);
    bob.hear();
    bob.say("/nick ANN\n/nick a:b\n/nick \n/nick guest3\n/frob \n/who me\n");
    bob.hears(&["* the name ANN is taken"]);
    let rule = "* a name has 1 to 20 letters, digits, dots, dashes or underscores";
    bob.hears(&[rule, rule, "* guest2 is now guest3"]);
    bob.hears(&["* what is /frob? Try /help", "* write /who: who is here"]);
    ann.hears(&["* guest2 is now guest3"]);
    // The name of the next guest is taken, so the guest gets another.
    let mut cid = User::new(peer(addr));
    cid.hears(&["* you are guest4, in the lobby; /help says more"]);
    ann.hears(&["* guest4 has joined"]);
    cid.say("/nick cid\n");
    ann.hears(&["* guest4 is now cid"]);

    // LF and CRLF, lines in pieces and several in one, empty ones, one that is no UTF-8.
    ann.say("one\r");
    ann.say("\ntwo\n\n  \nth");
    ann.say("ree\r\n\u{ff}\n");
    ann.say([b'f', 0xff, b'r', 0xc3, b'\n']);
    bob.hears(&["* guest4 has joined"]);
    for one in [&mut bob, &mut cid] {
        one.hears(&["* guest4 is now cid", "ann: one", "ann: two", "ann: three"]);
        one.hears(&["ann: \u{ff}", "ann: f\u{fffd}r\u{fffd}"]);
    }
    // A last line without an end is a line; then the connection ends in order.
    cid.say("/nick d\nlast");
    cid.stream.shutdown(Shutdown::Write).unwrap();
    cid.hears(&["* cid is now d", ""]);
    bob.hears(&["* cid is now d", "d: last", "* d has left: closed by peer"]);
    bob.say("/quit\nnobody hears this\n");
    bob.hears(&["* goodbye", ""]);
    ann.hears(&["* cid is now d", "d: last", "* d has left: closed by peer"]);
    ann.hears(&["* guest3 has left: closed locally"]);

    let (report, log) = stop(server, Signal::INT);
    ann.hears(&[GOODBYE, ""]);
    assert_eq!(
        report,
        "finished: 1 users left in peace, 0 were cut off, 0 bytes lost"
    );
    for line in [
        "guest1 joins from 127.0.0.1",
        "d leaves: closed by peer",
        "ann leaves",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

/// A text as framed members say and hear it.
fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&length, text.as_bytes()].concat()
}

/// Reads what must be these texts, framed.
#[track_caller]
fn hears_frames(mut stream: &TcpStream, texts: &[&str]) {
    for text in texts {
        let mut heard = vec![0; 4 + text.len()];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, frame(text), "{text}");
    }
}

// F2
#[test]
fn members_of_lines_and_of_frames_are_in_one_room() {
    let (mut server, addr) = server(&["--framed", "127.0.0.1:0"]);
    let mut ann = User::join(addr, "ann");
    let mut bob = peer(server.ip());
    hears_frames(&bob, &["* you are guest2, in the lobby; /help says more"]);
    ann.hears(&["* guest2 has joined"]);
    // Two and a half at once, then the other half.
    let said = [
        frame("/nick bob"),
        frame("one\nann: two"),
        frame("/join rust"),
    ]
    .concat();
    let (half, rest) = said.split_at(said.len() - 7);
    bob.write_all(half).unwrap();
    ann.hears(&["* guest2 is now bob", "bob: one\u{fffd}ann: two"]);
    bob.write_all(rest).unwrap();
    ann.hears(&["* bob goes to the rust"]);
    ann.say("/join rust\nhello\n/who\n");
    ann.hears(&["* ann comes from the lobby", "* in the rust: ann, bob"]);
    hears_frames(&bob, &["* guest2 is now bob", "* bob comes from the lobby"]);
    hears_frames(&bob, &["* ann comes from the lobby", "ann: hello"]);
    // A long one, each way.
    let long = "x".repeat(4096);
    bob.write_all(&frame(&long)).unwrap();
    ann.hears(&[&format!("bob: {long}")]);
    ann.say(format!("{long}\n"));
    hears_frames(&bob, &[&format!("ann: {long}")]);
    bob.write_all(&4097_u32.to_be_bytes()).unwrap();
    hears_frames(
        &bob,
        &["* a line may have 4096 bytes, and yours has more: goodbye"],
    );
    assert_eq!(bob.read(&mut [0]).unwrap(), 0);
    drop(bob);
    ann.hears(&["* bob has left: closed because: line too long"]);
    stop(server, Signal::TERM);
    ann.hears(&[GOODBYE, ""]);
}

#[test]
fn rooms_keep_to_themselves_and_a_whisper_goes_to_one() {
    let (server, addr) = server(&[]);
    let mut ann = User::join(addr, "ann");
    let mut bob = User::join(addr, "bob");
    let mut cid = User::join(addr, "cid");
    ann.until("is now cid");
    bob.until("is now cid");
    ann.say("/join Rust\n/rooms\n/who\nalone\n/leave x\n");
    ann.hears(&["* ann comes from the lobby", "* lobby (2), rust (1)"]);
    ann.hears(&["* in the rust: ann", "* write /leave: back to the lobby"]);
    bob.hears(&["* ann goes to the rust"]);
    bob.say("/join rust\n/join rust\n/join a:b\n/me waves\n/me\n");
    let rule = "a name has 1 to 20 letters, digits, dots, dashes or underscores";
    bob.hears(&[
        "* bob comes from the lobby",
        "* you are in the rust already",
    ]);
    bob.hears(&[&format!("* a room is called like somebody: {rule}")]);
    bob.hears(&["* write /me TEXT: say what you do"]);
    ann.hears(&["* bob comes from the lobby", "~ bob waves"]);
    cid.hears(&["* ann goes to the rust", "* bob goes to the rust"]);
    // Wherever they are, and whatever case the name is in.
    ann.say("/msg CID psst: you\n/msg nobody hi\n/leave\n/leave\n");
    ann.hears(&["* to CID only: psst: you", "* nobody is called nobody"]);
    ann.hears(&["* ann comes from the rust"]);
    ann.hears(&["* you are in the lobby already"]);
    cid.hears(&["ann (to you only): psst: you", "* ann comes from the rust"]);
    bob.hears(&["* ann goes to the lobby"]);
    bob.say("/quit\n");
    ann.say("hello\n");
    cid.hears(&["ann: hello"]);
    stop(server, Signal::TERM);
}

#[cfg(unix)]
#[test]
fn what_one_types_steers_neither_the_terminal_of_another_nor_that_of_the_log() {
    use socket2::{Domain, SockAddr, Socket, Type};

    let dir = std::env::temp_dir().join(format!("sockeye-chat-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("chat.sock");
    let unix = format!("unix:{}", path.display());
    let (mut server, addr) = server(&["--listen", &unix, "--unread", "512"]);
    assert_eq!(server.addr().path(), Some(path.as_path()));
    let mut victim = User::join(addr, "victim");

    // Who comes by a Unix socket may choose its own path, which the log shows.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let evil_path = dir.join("\x1b[2J\u{9b}\n2J");
    socket.bind(&SockAddr::unix(&evil_path).unwrap()).unwrap();
    socket.connect(&SockAddr::unix(&path).unwrap()).unwrap();
    let mut evil = socket;

    let all: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    evil.write_all(b"\x1b]0;title\x07\x1b[31mred\x1b[0m\n")
        .unwrap();
    evil.write_all(&[&all[..], b"all bytes\n"].concat())
        .unwrap();
    let marks: String = ('\u{80}'..'\u{a0}')
        .chain(['\u{202e}', '\u{2028}'])
        .collect();
    evil.write_all(format!("{marks}marks\n/nick \x1b[2J\n/\x1b[2J\n").as_bytes())
        .unwrap();
    evil.write_all(b"/nick evil\n").unwrap();
    let mut heard = String::new();
    while !heard.ends_with("is now evil") {
        heard.push_str(&victim.hear());
    }
    for text in ["\u{fffd}[31mred", "all bytes", "marks"] {
        assert!(heard.contains(text), "{text}: {heard}");
    }
    assert!(
        !heard
            .chars()
            .any(|c| c.is_control() || c == '\u{202e}' || c == '\u{2028}')
    );
    // The library logs the address, too, when it drops somebody who does not read.
    for _ in 0..3 {
        clamour(addr, &mut victim);
    }

    let (_, log) = stop(server, Signal::TERM);
    assert!(
        log.contains("evil leaves: pending output exceeds `hard_limit`"),
        "{log}"
    );
    assert!(!log.chars().any(|c| c.is_control() && c != '\n'));
    assert!(log.lines().all(|line| line.starts_with('[')));
    assert!(!path.exists());
    std::fs::remove_dir_all(dir).unwrap();
}

// X5
#[test]
fn a_line_above_the_limit_ends_its_connection_with_a_word_about_it() {
    let (server, addr) = server(&[]);
    let mut ann = User::join(addr, "ann");
    let error = "* a line may have 4096 bytes, and yours has more: goodbye";
    let long = "x".repeat(4096);
    for (name, rest) in [("a", "\n"), ("b", "")] {
        let mut user = User::join(addr, name);
        user.say(format!("{long}\n"));
        ann.until(&format!("{name}: {long}"));
        // The other end is still sending when it is told.
        user.say(format!("{long}x{rest}"));
        let _ = user.stream.write_all(&[b'y'; 100_000]);
        user.until(error);
        assert_eq!(user.hear(), "");
        drop(user); // so that the server need not linger
        let left = ann.until(&format!("{name} has left: closed because: line too long"));
        assert!(left.starts_with("* "));
    }
    ann.say("/who\n");
    ann.hears(&["* in the lobby: ann"]);
    stop(server, Signal::TERM);
}

// T8: what others say keeps nobody awake.
#[test]
fn who_says_nothing_is_warned_and_then_dropped() {
    let times = ["--idle-warn", "0.3", "--idle-drop", "1", "--stats", "0.2"];
    let (server, addr) = server(&times);
    let start = Instant::now();
    let mut sleeper = User::join(addr, "sleeper");
    let mut talker = User::join(addr, "talker");
    let mut heard = Vec::new();
    // The talker speaks for as long as the sleeper is there.
    talker.say("tick\n");
    loop {
        let line = sleeper.hear();
        assert!(start.elapsed() < PATIENCE, "the sleeper is still there");
        match line.as_str() {
            "" => break,
            "talker: tick" => talker.say("tick\n"),
            _ if line.starts_with("* talker") || line.ends_with("is now talker") => {}
            _ => heard.push(line),
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(1300));
    drop(sleeper);
    heard.retain(|line| !line.ends_with("has joined"));
    let warning = "* are you there? Say something within 1s";
    let goodbye = "* you have been silent for too long: goodbye";
    assert_eq!(heard, [warning, goodbye]);
    talker.until("sleeper has left: closed because: silent for too long");
    // The talker is warned, says something, and is warned again instead of dropped.
    talker.until(warning);
    talker.say("/who\n");
    talker.until(warning);
    server.until_log("statistics", |log| {
        log.matches(" users, 2 so far").count() >= 2
    });
    stop(server, Signal::TERM);
}

/// One that floods is slowed down; the others are neither dropped nor kept waiting.
#[test]
fn a_flood_is_slowed_down_and_loses_nothing() {
    let (server, addr) = server(&["--unread", "64"]);
    let mut listener = User::join(addr, "listener");
    let mut talker = User::join(addr, "talker");
    let mut flooder = User::join(addr, "flooder");
    const LINES: usize = 600;
    let flood: String = (0..LINES).map(|n| format!("{n:05}\n")).collect();
    let start = Instant::now();
    flooder.say(flood);
    let mut next = 0;
    let mut before = None;
    talker.say("may I?\n");
    while next < LINES {
        let line = listener.hear();
        if let Some(number) = line.strip_prefix("flooder: ") {
            assert_eq!(number, format!("{next:05}"));
            next += 1;
        } else if line == "talker: may I?" {
            before = Some(next);
        }
    }
    assert!(before.is_some_and(|next| next < LINES), "{before:?}");
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(800),
        "a flood of 640 lines a second: {took:?}"
    );
    drop((talker, flooder));
    stop(server, Signal::TERM);
}

// X10, X4: the grace is bounded by the second signal.
#[test]
fn a_second_signal_does_not_wait_for_those_who_do_not_read() {
    let (mut server, addr) = server(&[]);
    let _deaf = deaf(addr);
    let mut other = User::join(addr, "other");
    // What is said is more than the system takes for it, and less than its limit.
    clamour(addr, &mut other);
    server.signal(Signal::INT);
    other.until(GOODBYE);
    assert_eq!(other.hear(), "");
    server.signal(Signal::INT);
    let report = server.line();
    assert!(
        report.contains("1 users left in peace, 1 were cut off"),
        "{report}"
    );
    assert!(!report.contains(" 0 bytes lost"), "{report}");
    assert!(server.wait().success());
}

/// Two workers have two members each: all are in one room, in one order, and end together.
#[test]
fn workers_share_the_rooms_and_keep_the_order_of_each_sender() {
    let (server, addr) = server(&["--workers", "2"]);
    let [mut ann, mut bob, mut cid, mut dan] =
        ["ann", "bob", "cid", "dan"].map(|name| User::join(addr, name));
    for user in [&mut ann, &mut bob, &mut cid] {
        user.until("is now dan");
    }
    // Those of one worker stand together.
    dan.say("/who\n/nick ANN\n/nick dan2\n/msg cid psst\n");
    dan.hears(&["* in the lobby: ann, cid, bob, dan"]);
    dan.hears(&["* the name ANN is taken", "* dan is now dan2"]);
    dan.hears(&["* to cid only: psst"]);
    cid.hears(&["* dan is now dan2", "dan2 (to you only): psst"]);
    for user in [&mut ann, &mut bob] {
        user.hears(&["* dan is now dan2"]);
    }

    const LINES: usize = 150;
    let lines = |from: usize| (from..from + LINES).map(|n| format!("{n:05}\n"));
    ann.say(lines(0).collect::<String>());
    bob.say(lines(LINES).collect::<String>());
    let heard = [&mut cid, &mut dan].map(|one| [(); 2 * LINES].map(|()| one.hear()));
    assert_eq!(heard[0], heard[1], "one order for all");
    for (name, from, other) in [("ann", 0, &mut bob), ("bob", LINES, &mut ann)] {
        let said: Vec<String> = lines(from)
            .map(|line| format!("{name}: {}", line.trim_end()))
            .collect();
        let of_one = heard[0].iter().filter(|line| line.starts_with(name));
        assert!(of_one.eq(&said), "{name}: {:?}", heard[0]);
        said.iter().for_each(|line| other.hears(&[line]));
    }

    // Who has said that it goes says nothing more; the others hear that it has gone.
    bob.say("/quit\nnobody hears this\n");
    bob.hears(&["* goodbye", ""]);
    drop(bob);
    for user in [&mut ann, &mut cid, &mut dan] {
        user.hears(&["* bob has left: closed locally"]);
    }
    let (report, log) = stop(server, Signal::TERM);
    let wanted = "finished: 3 users left in peace, 0 were cut off, 0 bytes lost";
    assert_eq!(report, wanted, "{log}");
    for user in [&mut ann, &mut cid, &mut dan] {
        user.until(GOODBYE);
        while !user.hear().is_empty() {}
    }
}

/// Thirty come, say three long lines each, and go, while a listener reads it all: 360 KB, more
/// than the system takes for one who does not read.
fn clamour(addr: SocketAddr, listener: &mut User) {
    let line = [[b'x'; 4000].as_slice(), b"\n"].concat();
    for _ in 0..30 {
        let mut speaker = peer(addr);
        speaker.write_all(&line.repeat(3)).unwrap();
        speaker.shutdown(Shutdown::Write).unwrap();
        ignore(speaker);
    }
    for _ in 0..30 {
        listener.until("has left: closed by peer");
    }
}
