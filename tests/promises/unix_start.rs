//! J11: several servers start on one Unix path at the same time.

use crate::kit;
use crate::kit::places::{TempDir, end_in_time, is_own_process, own_process, unix_peer};
use crate::kit::{Kit, default, echo, read_n, spawn, write};
use rustix::fs::{FlockOperation, flock};
use sockeye::{Addr, ConnId, Context, Handler, Input, Reactor};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Barrier;
use std::thread;

/// What is in a directory.
fn files(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.file("")).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The path as it is before a start: with the file of a server that died, or with none.
fn prepare(path: &Path, round: usize) {
    let _ = fs::remove_file(path);
    if round.is_multiple_of(2) {
        drop(UnixListener::bind(path).unwrap());
    }
}

struct Idle;

impl Handler for Idle {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
}

// J11
#[test]
fn of_many_threads_that_start_at_once_exactly_one_gets_the_path() {
    let dir = TempDir::new();
    let path = dir.file("s");
    for round in 0..300 {
        prepare(&path, round);
        let start = Barrier::new(4);
        let mut reactors = thread::scope(|scope| {
            let servers = [(); 4].map(|()| {
                scope.spawn(|| {
                    let mut reactor = Reactor::new().unwrap();
                    start.wait();
                    (reactor.listen(Addr::unix(&path)), reactor)
                })
            });
            servers.map(|server| server.join().unwrap())
        });
        let started = reactors.iter().filter(|(result, _)| result.is_ok()).count();
        assert_eq!(started, 1, "round {round}");
        for (result, reactor) in &mut reactors {
            match result {
                // It is the one that is reached; the others may have looked whether it lives.
                Ok(_) => {
                    let _peer = unix_peer(&path);
                    reactor.turn(&mut Idle, Some(kit::PATIENCE)).unwrap();
                    assert!(reactor.context().stats().accepted >= 1);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
            }
        }
        assert_eq!(files(&dir), ["s"], "nothing else is left");
        drop(reactors);
        assert!(files(&dir).is_empty());
    }
}

/// A process that listens on a path when it is told.
struct Server {
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Server {
    fn start(path: &Path, go: &Path) -> Server {
        let mut child = own_process("unix_start::listens_when_told")
            .env("SOCKEYE_TEST_PATH", path)
            .env("SOCKEYE_TEST_GO", go)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Server {
            told: child.stdin.take().unwrap(),
            says: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.told, "{what}").unwrap();
    }

    /// What it says after a `#`, past what the test harness says.
    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.says.read_line(&mut line).unwrap(), 0, "it has ended");
            if let Some((_, answer)) = line.trim_end().split_once('#') {
                return answer.to_owned();
            }
        }
    }
}

// J11
#[test]
fn of_many_processes_that_start_at_once_exactly_one_gets_the_path() {
    let dir = TempDir::new();
    let path = dir.file("s");
    // Told one after the other they would start one after the other. So all look for this file.
    let signals = TempDir::new();
    let go = signals.file("go");
    let mut servers: Vec<Server> = (0..3).map(|_| Server::start(&path, &go)).collect();
    for server in &mut servers {
        assert_eq!(server.answer(), "ready");
    }
    for round in 0..200 {
        prepare(&path, round);
        let _ = fs::remove_file(&go);
        servers.iter_mut().for_each(|server| server.tell("listen"));
        for server in &mut servers {
            assert_eq!(server.answer(), "waits");
        }
        File::create(&go).unwrap();
        let mut answers: Vec<String> = servers.iter_mut().map(Server::answer).collect();
        answers.sort();
        let in_use = "AddrInUse".to_owned();
        let expected = [in_use.clone(), in_use, "listens".to_owned()];
        assert_eq!(answers, expected, "round {round}");
        assert_eq!(files(&dir), ["s"]);
        servers.iter_mut().for_each(|server| server.tell("close"));
        for server in &mut servers {
            assert_eq!(server.answer(), "closed");
        }
        assert!(files(&dir).is_empty());
    }
    // One that is killed leaves its file, and the next start takes the path over.
    servers[0].tell("listen");
    assert_eq!(servers[0].answer(), "waits");
    assert_eq!(servers[0].answer(), "listens");
    servers[0].child.kill().unwrap();
    servers[0].child.wait().unwrap();
    assert_eq!(files(&dir), ["s"]);
    servers[1].tell("listen");
    assert_eq!(servers[1].answer(), "waits");
    assert_eq!(servers[1].answer(), "listens");
    for server in &mut servers[1..] {
        server.tell("end");
        assert!(server.child.wait().unwrap().success());
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn listens_when_told() {
    if !is_own_process() {
        return;
    }
    end_in_time();
    let path = std::env::var_os("SOCKEYE_TEST_PATH").unwrap();
    let go = std::env::var_os("SOCKEYE_TEST_GO").unwrap();
    let mut reactor = Reactor::new().unwrap();
    let mut listener = None;
    println!("#ready");
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "listen" => {
                println!("#waits");
                while !Path::new(&go).exists() {
                    std::hint::spin_loop();
                }
                match reactor.listen(Addr::unix(&path)) {
                    Ok(id) => {
                        listener = Some(id);
                        println!("#listens");
                    }
                    Err(error) => println!("#{:?}", error.kind()),
                }
            }
            "close" => {
                if let Some(listener) = listener.take() {
                    reactor.context().unlisten(listener);
                }
                println!("#closed");
            }
            _ => return,
        }
    }
}

// J11
#[test]
fn a_lock_that_a_crash_has_left_is_no_hindrance_and_goes() {
    let dir = TempDir::new();
    let path = dir.file("s");
    fs::write(dir.file("s.sockeye-lock"), "").unwrap();
    let mut kit = Kit::new(echo);
    kit.listen_on(&path);
    assert_eq!(files(&dir), ["s"]);
    let mut peer = unix_peer(&path);
    let talk = spawn(move || {
        write(&mut peer, "hello");
        read_n(&mut peer, 5)
    });
    assert_eq!(kit.until_done(talk), b"hello");
    kit.end();
}

// J11
#[test]
fn while_another_server_starts_the_path_is_in_use() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let lock = File::create(dir.file("s.sockeye-lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut kit = Kit::new(default);
    let error = kit.reactor.listen(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
    assert!(error.to_string().contains("starting"), "{error}");
    assert_eq!(files(&dir), ["s.sockeye-lock"]);
    drop(lock);
    kit.listen_on(&path);
    assert_eq!(files(&dir), ["s"]);
    kit.end();
    assert!(files(&dir).is_empty());
}

// L6
#[test]
fn a_path_that_can_hold_no_socket_is_told_as_it_was_asked_for() {
    let dir = TempDir::new();
    fs::write(dir.file("file"), "precious").unwrap();
    let mut kit = Kit::new(default);
    for (path, kind) in [
        ("nothing/s", ErrorKind::NotFound),
        ("file/s", ErrorKind::NotADirectory),
    ] {
        let path = dir.file(path);
        let error = kit.reactor.listen(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let words = error.to_string();
        assert!(words.contains(&*path.to_string_lossy()), "{words}");
        assert!(!words.contains("sockeye-lock"), "{words}");
    }
    assert_eq!(files(&dir), ["file"]);
    kit.end();
}

// L7
#[test]
fn a_file_that_happens_to_have_the_name_of_the_lock_is_not_harmed() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let mut kit = Kit::new(default);
    fs::write(dir.file("s.sockeye-lock"), "precious").unwrap();
    let listener = kit.reactor.listen(&path).unwrap();
    kit.cx().unlisten(listener);
    assert_eq!(fs::read(dir.file("s.sockeye-lock")).unwrap(), b"precious");

    // A link is not followed: it may be somebody's trap.
    fs::remove_file(dir.file("s.sockeye-lock")).unwrap();
    std::os::unix::fs::symlink(dir.file("target"), dir.file("s.sockeye-lock")).unwrap();
    let error = kit.reactor.listen(&path).unwrap_err();
    assert!(error.to_string().contains("s.sockeye-lock"), "{error}");
    assert_eq!(files(&dir), ["s.sockeye-lock"], "nothing was made");
    kit.end();
}
