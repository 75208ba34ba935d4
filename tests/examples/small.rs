//! The examples, each as a process, driven by plain sockets: W11, R2, X10 among others.
//!
//! `cargo test` builds them first; for `cargo test --test examples` run `cargo build --examples`.

use crate::kit::programs;
use crate::kit::programs::{
    Process, Signal, example, nobody, peer, read_all, read_line, run, until,
};
use socket2::SockRef;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const ANY: &str = "127.0.0.1:0";
const MIB: usize = 1024 * 1024;

/// Bytes that differ from place to place.
fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8)
        .collect()
}

/// Writes it all from a thread, then finishes sending.
fn feed(stream: &TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || {
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

/// It sleeps when it has nothing to do, and SIGTERM, which it does not handle, ends it.
#[track_caller]
fn ends_on_sigterm(mut process: Process) {
    process.sleeps();
    process.signal(Signal::TERM);
    assert!(programs::system::was_ended_by(process.wait(), Signal::TERM));
}

/// Is it built with the features that there are, and can it run here?
fn is_built(name: &str) -> bool {
    match name {
        "swarm" => cfg!(feature = "sim"),
        "tls_echo" => cfg!(feature = "tls"),
        "http_files" | "things" => cfg!(target_os = "linux"),
        "upgrade" => cfg!(unix),
        "hosts" | "tls" => false, // packages of their own, and a part of others
        "websocket_echo" | "websocket_chat" => cfg!(feature = "websocket"),
        _ => true,
    }
}

#[test]
fn every_example_explains_itself() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if !is_built(name) {
            continue;
        }
        let output = run(name, &["--help"]);
        assert!(output.status.success(), "{name}: {output:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Usage"), "{name}: {help}");
        assert!(!run(name, &["--no-such-option"]).status.success());
        assert!(example(name).exists());
        count += 1;
    }
    assert!(count >= 8);
}

// So that any of them can be tried while another runs.
#[test]
fn every_server_has_a_default_port_of_its_own() {
    let mut places = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "swarm" || !is_built(name) {
            continue; // that one listens nowhere
        }
        let help = String::from_utf8(run(name, &["--help"]).stdout).unwrap();
        let options = help.lines().map(str::trim);
        let listens = options.filter(|l| l.starts_with("--listen") || l.starts_with("--admin"));
        places.extend(listens.map(|l| l.split_once("[default: ").expect(l).1.to_owned()));
    }
    let count = places.len();
    assert!(count >= 10, "{places:?}");
    places.sort();
    places.dedup();
    assert_eq!(places.len(), count, "two are the same: {places:?}");
}

// A run that checks nothing must not say that all is well.
#[cfg(feature = "sim")]
#[test]
fn the_swarm_refuses_options_that_it_would_not_obey() {
    for args in [
        &["--seeds", "0"][..],
        &["--seeds", "5", "--threads", "0"],
        &["--seeds", "5", "--cut", "fuel=3"],
    ] {
        let output = run("swarm", args);
        assert!(!output.status.success(), "{output:?}");
    }
    let alone = run("swarm", &["--seeds", "5", "--threads", "1"]);
    assert!(alone.status.success(), "{alone:?}");
    assert!(run("swarm", &["--seed", "7"]).status.success());
    assert!(
        run("swarm", &["--seed", "7", "--cut", "fuel=3"])
            .status
            .success()
    );
}

#[test]
fn an_address_that_is_in_use_is_a_clear_error() {
    let taken = TcpListener::bind(ANY).unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for name in ["chat_server", "echo", "daytime", "proxy"] {
        let output = run(name, &["--listen", &addr]);
        assert!(!output.status.success(), "{name}");
        let error = String::from_utf8(output.stderr).unwrap();
        // Windows has no short word for it.
        let why = if cfg!(unix) {
            "Address already in use"
        } else {
            ""
        };
        let first = format!("Error: cannot listen on {addr}: {why}");
        assert!(error.starts_with(&first), "{error}");
    }
}

#[test]
fn echo_sends_back_all_it_gets() {
    let mut echo = Process::start("echo", &["--listen", ANY]);
    let stream = peer(echo.ip());
    let feeder = feed(&stream, pattern(4 * MIB));
    assert_eq!(read_all(&stream), pattern(4 * MIB));
    feeder.join().unwrap();
    ends_on_sigterm(echo);
}

// X5
#[test]
fn daytime_speaks_first_and_closes() {
    let mut daytime = Process::start("daytime", &["--listen", ANY]);
    let addr = daytime.ip();
    let answer = String::from_utf8(read_all(peer(addr))).unwrap();
    assert!(answer.ends_with(" seconds since 1970 began\n"), "{answer}");
    // Whoever sends something gets the answer all the same.
    let mut talker = peer(addr);
    let _ = talker.write_all(&pattern(MIB)[..64 * 1024]);
    let mut line = String::new();
    BufReader::new(&talker).read_line(&mut line).unwrap();
    assert!(line.ends_with("began\n"), "{line}");
    drop(talker);
    ends_on_sigterm(daytime);
}

/// A proxy, and the two ends that it joins: the client's and the server's.
fn proxied() -> (Process, TcpStream, TcpStream) {
    let server = TcpListener::bind(ANY).unwrap();
    let to = server.local_addr().unwrap().to_string();
    let mut proxy = Process::start("proxy", &["--listen", ANY, "--to", &to]);
    let client = peer(proxy.ip());
    let server = programs::system::accept(&server);
    server.set_read_timeout(Some(programs::PATIENCE)).unwrap();
    (proxy, client, server)
}

// W11
#[test]
fn a_proxy_passes_all_bytes_both_ways_and_each_half_close_for_itself() {
    let (proxy, mut client, mut server) = proxied();
    let (there, back) = (pattern(16 * MIB), pattern(9 * MIB));
    let feeder = feed(&client, there.clone());
    // The proxy must not take more than a few buffers while nobody reads here.
    until("the proxy holds the client back", || {
        let mut probe = [0; 1];
        server.peek(&mut probe).is_ok() && !feeder.is_finished()
    });
    proxy.sleeps();
    assert!(!feeder.is_finished());
    assert_eq!(read_all(&mut server), there);
    feeder.join().unwrap();
    // That way is at its end, and the other one still goes.
    let feeder = feed(&server, back.clone());
    assert_eq!(read_all(&mut client), back);
    feeder.join().unwrap();
    let memory = proxy.memory("VmHWM");

    // Without traffic it is 4 MiB; the queues and the receive buffer are below 1 MiB.
    assert!(memory < 14 * 1024, "{memory} KiB");
    ends_on_sigterm(proxy);
}

#[test]
fn a_reset_goes_through_a_proxy_as_a_reset() {
    let (proxy, mut client, server) = proxied();
    SockRef::from(&server)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(server);
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    ends_on_sigterm(proxy);
}

// C1, C5
#[test]
fn a_proxy_without_a_server_resets_its_clients_and_lives() {
    let (_bound, nobody) = nobody();
    let to = nobody.to_string();
    let mut proxy = Process::start("proxy", &["--listen", ANY, "--to", &to]);
    let addr = proxy.ip();
    for _ in 0..3 {
        // Whichever of the three comes after the reset meets it, and the others do not.
        let met = TcpStream::connect(addr).and_then(|mut client| {
            client.write_all(b"too early")?;
            client.read(&mut [0; 1])
        });
        assert_eq!(met.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let words = format!("{to}: connect failed: ");
    proxy.until_log("it says where and why", |log| {
        log.contains(&words) && log.contains("refused")
    });
    ends_on_sigterm(proxy);
}

// X10
#[test]
fn three_parts_live_in_one_loop_and_one_stops_it() {
    let mut daytime = Process::start("daytime", &["--listen", ANY]);
    let news = daytime.ip().to_string();
    let args = ["--listen", ANY, "--admin", ANY, "--news", &news];
    let mut app = Process::start("three_in_one", &args);
    let (chat, admin) = (app.ip(), app.ip());

    let (mut one, two) = (peer(chat), peer(chat));
    let mut admin = peer(admin);
    let mut ask = |question: &str| {
        writeln!(admin, "{question}").unwrap();
        read_line(&admin)
    };
    until("both are there", || ask("who") == "2 are chatting\n");
    assert_eq!(ask("what"), "who or stop?\n");
    one.write_all(b"hello\n").unwrap();
    // News may come between.
    until("two hears one", || read_line(&two) == "hello\n");
    until("one hears the news", || {
        read_line(&one).ends_with("began\n")
    });
    admin.write_all(b"stop\n").unwrap();
    assert!(app.wait().success());
    for stream in [one, two, admin] {
        read_all(stream);
    }
    ends_on_sigterm(daytime);
}

fn request_reply(addr: SocketAddr, request: &str) -> std::process::Output {
    run("request_reply", &["--listen", &addr.to_string(), request])
}

// R2, X8
#[test]
fn a_reply_comes_after_the_end_of_the_request_and_not_before() {
    let mut server = Process::start("request_reply", &["--serve", "--listen", ANY]);
    let addr = server.ip();
    let mut slow = peer(addr);
    slow.write_all(b"abc").unwrap();
    let output = request_reply(addr, "stressed");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"desserts");
    // Another one was served meanwhile, and this one got nothing yet.
    slow.set_nonblocking(true).unwrap();
    let error = slow.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    slow.set_nonblocking(false).unwrap();
    slow.write_all(b"def").unwrap();
    slow.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(slow), b"fedcba");
    // An empty request has an empty reply.
    assert_eq!(request_reply(addr, "").stdout, b"");
    ends_on_sigterm(server);
}

#[test]
fn a_client_without_a_server_fails_and_says_why() {
    let (_bound, nobody) = nobody();
    let listen = nobody.to_string();
    for output in [
        request_reply(nobody, "hello"),
        run("length_prefixed", &["--listen", &listen, "a"]),
    ] {
        assert!(!output.status.success());
        let error = String::from_utf8(output.stderr).unwrap();
        let words = format!("{listen}: connect failed: ");
        assert!(
            error.contains(&words) && error.contains("refused"),
            "{error}"
        );
    }
}

// R8, R9
#[test]
fn a_typed_binary_protocol_answers_in_order_and_survives_what_is_none() {
    let mut server = Process::start("length_prefixed", &["--serve", "--listen", ANY]);
    let addr = server.ip();
    let client = |requests: &[&str]| {
        let listen = addr.to_string();
        run(
            "length_prefixed",
            &[&["--listen", &listen], requests].concat(),
        )
    };
    let output = client(&["a=3", "a", "b", "a=18446744073709551615", "a", "\u{e4}=0"]);
    assert!(output.status.success(), "{output:?}");
    let lines = "a=3: 3\na: 3\nb: unknown\na=18446744073709551615: 18446744073709551615\n\
                 a: 18446744073709551615\n\u{e4}=0: 0\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), lines);

    // A prefix in two pieces, a name with a NUL in it, and two messages in one piece.
    let mut raw = peer(addr);
    raw.set_nodelay(true).unwrap();
    raw.write_all(b"\0\0").unwrap();
    raw.write_all(b"\0\x0b\x02\0\0\0\0\0\0\x01\x02n\0\0\0\0\x03\x01n\0")
        .unwrap();
    let mut answers = [0; 26];
    raw.read_exact(&mut answers).unwrap();
    assert_eq!(answers, *b"\0\0\0\x09\x03\0\0\0\0\0\0\x01\x02".repeat(2));
    // None of these is a message; the server says why, closes, and goes on.
    let bad: [(&[u8], &str); 5] = [
        (b"\0\0\0\0", "without a kind"),
        (b"\0\0\0\x03\x02\0\0", "no known kind and size"),
        (b"\0\0\0\x02\x01\xff", "no UTF-8"),
        (b"\0\0\0\x01\x04", "a reply as a request"),
        (b"\xff\xff\xff\xff", "frame of 4294967295 bytes"),
    ];
    for (bytes, why) in bad {
        let mut stream = peer(addr);
        stream.write_all(bytes).unwrap();
        assert_eq!(read_all(stream), b"");
        server.until_log(why, |log| log.contains(why));
    }
    assert!(!client(&["a=many"]).status.success());
    assert!(client(&["a"]).status.success());
    ends_on_sigterm(server);
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

// Who starts a server may not read what it prints, and that is no reason to stop.
#[cfg(unix)]
#[test]
fn a_server_whose_output_nobody_reads_serves_all_the_same() {
    let dir = std::env::temp_dir().join(format!("sockeye-stdout-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let place = |name: &str| format!("unix:{}", dir.join(name).display());
    let (_bound, nobody) = nobody();
    for (name, args) in [
        ("echo", &[][..]),
        ("daytime", &[]),
        ("broadcast", &[]),
        ("proxy", &["--to", &nobody.to_string()]),
        ("request_reply", &["--serve"]),
        ("length_prefixed", &["--serve"]),
        ("three_in_one", &["--admin", &place("admin")]),
        ("embed_poll", &[]),
        ("embed_turn", &[]),
        ("chat_server", &[]),
    ] {
        if name == "embed_poll" && cfg!(mio_unsupported_force_poll_poll) {
            continue; // the reactor is no descriptor there
        }
        let mut server = Command::new(example(name))
            .args(["--listen", &place(name)])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(closed())
            .stderr(closed())
            .spawn()
            .unwrap();
        // What some of them log cannot be told to anybody either.
        for _ in 0..2 {
            let mut user = None;
            until("it listens", || {
                let ended = server.try_wait().unwrap();
                assert!(ended.is_none(), "{name} has stopped: {ended:?}");
                user = std::os::unix::net::UnixStream::connect(dir.join(name)).ok();
                user.is_some()
            });
            let mut user = user.unwrap();
            user.set_read_timeout(Some(programs::PATIENCE)).unwrap();
            let _ = user.write_all(b"\xff\xff\xff\xff\n");
            let _ = user.shutdown(Shutdown::Write);
            let _ = user.read(&mut [0; 64]);
        }
        // Whatever it had to say it has tried to say now.
        until("it has nothing more to do", || {
            let ended = server.try_wait().unwrap();
            assert!(ended.is_none(), "{name} has stopped: {ended:?}");
            programs::is_asleep(&server)
        });
        programs::system::send(&server, Signal::TERM);
        let status = server.wait().unwrap();
        // The chat server says what it has finished; the others do not handle the signal.
        let ended = programs::system::was_ended_by(status, Signal::TERM);
        assert!(ended || name == "chat_server" && status.success());
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_client_whose_output_nobody_reads_leaves_without_a_panic() {
    for (name, request) in [("request_reply", "hello"), ("length_prefixed", "a=1")] {
        let mut server = Process::start(name, &["--serve", "--listen", ANY]);
        let addr = server.ip().to_string();
        let mut client = Command::new(example(name));
        client
            .args(["--listen", &addr, request])
            .stdin(Stdio::null());
        for (stdout, stderr) in [(closed(), Stdio::piped()), (closed(), closed())] {
            let output = client.stdout(stdout).stderr(stderr).spawn().unwrap();
            let output = output.wait_with_output().unwrap();
            assert!(output.status.success(), "{name}: {output:?}");
            assert_eq!(output.stderr, b"", "{name}");
        }
        if cfg!(target_os = "linux") {
            let full = fs::File::create("/dev/full").unwrap();
            let full = client.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
            let full = full.wait_with_output().unwrap();
            assert_eq!(full.status.code(), Some(1), "{name}: {full:?}");
        }
        ends_on_sigterm(server);
    }
}

// What is typed faster than a client reads waits, and nobody is cut off.
#[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
#[test]
fn the_embedded_example_types_no_faster_than_its_clients_read() {
    let mut server = Process::start_with("embed_poll", &["--listen", ANY], Stdio::piped());
    let stream = peer(server.ip());
    let mut input = server.stdin();
    until("it knows its client", || {
        input.write_all(b"x").unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.peek(&mut [0]).is_ok()
    });
    stream.set_nonblocking(false).unwrap();
    let typing = thread::spawn(move || input.write_all(&vec![b'y'; 16 * MIB]));
    server.sleeps();
    assert!(!typing.is_finished(), "it has taken everything");
    assert!(server.memory("VmHWM") < 16 * 1024);
    let all = read_all(&stream);
    typing.join().unwrap().unwrap();
    assert_eq!(all.iter().filter(|byte| **byte == b'y').count(), 16 * MIB);
    drop(stream);
    assert!(server.wait().success());
}

// The steps come by the clock of the loop, and between them everything is served at once.
#[test]
fn a_loop_with_a_rhythm_steps_by_its_clock_and_serves_between_the_steps() {
    let start = |step| {
        let args = ["--listen", ANY, "--step", step];
        let mut process = Process::start_with("embed_turn", &args, Stdio::piped());
        let (addr, keyboard) = (process.ip(), process.stdin());
        (process, peer(addr), keyboard)
    };
    let (mut quick, stream, keyboard) = start("10");
    let mut lines = BufReader::new(&stream).lines();
    let mut before = None;
    let mut until_at = |wanted: usize| {
        let mut least = wanted;
        loop {
            let now = lines.next().unwrap().unwrap().len();
            // A place a step.
            assert!(before.is_none_or(|before| now.abs_diff(before) == 1));
            before = Some(now);
            least = least.min(now);
            if now == wanted {
                return least;
            }
        }
    };
    until_at(40);
    until_at(30);
    // On its way back somebody says something: it turns round, and does not come to the other end.
    (&stream).write_all(b"\n").unwrap();
    assert!(until_at(40) > 1);
    drop(keyboard);
    drop(stream);
    assert!(quick.wait().success());

    // No step comes for an hour, and what is typed is heard all the same.
    let (mut slow, stream, mut keyboard) = start("3600000");
    let mut heard = [0; 6];
    until("it is heard", || {
        writeln!(keyboard, "hello").unwrap();
        stream.set_nonblocking(true).unwrap();
        let is_there = stream.peek(&mut heard).is_ok_and(|count| count == 6);
        stream.set_nonblocking(false).unwrap();
        is_there
    });
    assert_eq!(heard, *b"hello\n");
    slow.sleeps();
    drop(keyboard);
    read_all(&stream);
    drop(stream);
    assert!(slow.wait().success());
}

#[cfg(feature = "sim")]
#[test]
fn a_swarm_whose_output_nobody_reads_says_by_its_status_how_it_went() {
    for args in [&["--seed", "7"][..], &["--seeds", "5", "--threads", "1"]] {
        let mut swarm = Command::new(example("swarm"));
        swarm.args(args).stdout(closed()).stderr(closed());
        assert!(swarm.status().unwrap().success());
    }
}

/// Lines that begin with `what`, read until one of them ends with `last`.
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
fn told(from: &mut impl BufRead, what: &str, last: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    while !found.last().is_some_and(|line| line.ends_with(last)) {
        let mut line = String::new();
        assert!(from.read_line(&mut line).unwrap() > 0, "no {what}{last}");
        found.extend(line.starts_with(what).then(|| line.trim_end().to_owned()));
    }
    found
}

// mio's poll(2) selector tells of a change only after it was asked again.
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
#[test]
fn things_of_every_kind_are_told_by_one_loop() {
    let dir = std::env::temp_dir().join(format!("sockeye-things-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let args = ["--listen", ANY, "--dir", dir.to_str().unwrap(), "cat"];
    let mut things = Process::start_with("things", &args, Stdio::piped());
    let peer = peer(things.ip());
    let mut keyboard = things.stdin();
    // It hears of a client later than the client itself: type until that one is told.
    peer.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    until("the peer is told", || {
        keyboard.write_all(b"typed\n").unwrap();
        peer.peek(&mut [0]).is_ok()
    });
    peer.set_read_timeout(Some(programs::PATIENCE)).unwrap();
    let mut peer = BufReader::new(peer);
    fs::write(dir.join("new"), "").unwrap();
    assert_eq!(told(&mut peer, "changed: ", "new"), ["changed: new"]);
    fs::remove_dir_all(&dir).unwrap();
    // More than the pipes hold: the keyboard waits for the child, and nothing is lost.
    let numbers: String = (0..30_000).map(|number| format!("{number}\n")).collect();
    let typist = thread::spawn(move || keyboard.write_all(numbers.as_bytes()).unwrap());
    let mut lines = told(&mut peer, "output: ", " 29999");
    lines.retain(|line| line != "output: typed");
    let expected = (0..30_000).map(|number| format!("output: {number}"));
    assert!(lines.into_iter().eq(expected));
    // The end of what is typed ends the child, and its end the program.
    typist.join().unwrap();
    assert_eq!(told(&mut peer, "end: ", "0"), ["end: exit status: 0"]);
    assert_eq!(read_all(peer), b"");
    assert!(things.wait().success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_comes_to_the_loop_and_goes_to_the_child() {
    let args = ["--listen", ANY, "--dir", "/proc", "sleep", "1000"];
    let mut things = Process::start("things", &args);
    things.ip();
    things.sleeps();
    things.signal(Signal::INT);
    assert_eq!(things.line(), "signal: the child is asked to end");
    assert_eq!(things.line(), "end: signal: 15 (SIGTERM)");
    assert!(things.wait().success());
}
