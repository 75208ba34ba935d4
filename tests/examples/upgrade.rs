//! `examples/upgrade` as processes that give way to each other under load.
//!
//! `cargo test` builds it first; for one shelf alone run `cargo build --examples`.

use crate::kit::programs::{PATIENCE, example};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// The program, and whoever has taken over from it. All of them print on one pipe.
struct Program {
    first: Child,
    /// The one that listens now.
    now: Pid,
    addr: SocketAddr,
    lines: Receiver<String>,
}

impl Program {
    fn start(command: &mut Command) -> Program {
        let mut first = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(first.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let now = Pid::from_child(&first);
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut program = Program {
            first,
            now,
            addr,
            lines,
        };
        program.listens();
        program
    }

    /// One listens: it says where, and who it is.
    #[track_caller]
    fn listens(&mut self) {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line");
        let (addr, process) = line.split_once("; process ").expect(&line);
        let addr = addr.strip_prefix("listening on ").expect(&line);
        self.addr = addr.parse().unwrap();
        self.now = Pid::from_raw(process.parse().unwrap()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.now, signal).unwrap();
    }

    /// Ends the one that listens. Then all others have ended too, or end now.
    fn end(self) {
        self.signal(Signal::TERM);
        // The pipe ends when nobody is left who could print.
        assert!(self.lines.recv_timeout(PATIENCE).is_err());
        assert!(self.lines.try_recv().is_err());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = kill_process(self.now, Signal::KILL);
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

fn upgrade() -> Command {
    let mut command = Command::new(example("upgrade"));
    command.args(["--listen", "127.0.0.1:0"]);
    command
}

/// Connects, sends so many bytes, and must get the same back, and then an end.
fn round(addr: SocketAddr, len: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    stream.write_all(&bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    match back == bytes {
        true => Ok(()),
        false => Err(std::io::Error::other(format!(
            "{} of {len} bytes came back",
            back.len()
        ))),
    }
}

/// As many clients as connect all the time.
const CLIENTS: usize = 100;

/// One after the other.
const UPGRADES: usize = 20;

// A1: no connect is refused, and no byte is lost.
#[test]
fn twenty_programs_give_way_to_each_other_and_a_hundred_clients_do_not_notice() {
    let mut program = Program::start(&mut upgrade());
    let (addr, started) = (program.addr, program.now);
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, done) = channel();
        for client in 0..CLIENTS {
            let (sender, stop, rounds) = (sender.clone(), &stop, &rounds);
            scope.spawn(move || {
                let mut len = client * 37;
                while !stop.load(Ordering::Relaxed) {
                    len = (len * 31 + 7) % 40_000;
                    rounds.fetch_add(1, Ordering::Relaxed);
                    let failed = round(addr, len).err();
                    let ends = failed.is_some();
                    let _ = sender.send(failed.map(|error| format!("{len} bytes: {error}")));
                    if ends {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let work = |times: usize| -> Result<(), String> {
            for _ in 0..times {
                match done.recv_timeout(PATIENCE) {
                    Ok(None) => {}
                    Ok(Some(error)) => return Err(error),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(())
        };
        let mut result = work(CLIENTS);
        for _ in 0..UPGRADES {
            if result.is_err() {
                break;
            }
            let old = program.now;
            program.signal(Signal::HUP);
            program.listens();
            assert!(program.now != old && program.addr == addr);
            result = work(CLIENTS);
        }
        stop.store(true, Ordering::Relaxed);
        // And those that were under way.
        assert_eq!(result.err().or(done.iter().flatten().next()), None);
    });
    assert!(program.now != started);
    let rounds = rounds.load(Ordering::Relaxed);
    assert!(rounds >= CLIENTS * UPGRADES, "{rounds}");
    assert!(program.first.wait().unwrap().success());
    program.end();
}

// A1
#[test]
fn a_listener_is_taken_over_from_whoever_starts_it_with_those_who_wait_in_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut early = TcpStream::connect(addr).unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    early.write_all(b"early").unwrap();
    // A copy that exec(2) does not close.
    let copy = rustix::io::dup(&listener).unwrap();
    let mut command = upgrade();
    command
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDS_FIRST_FD", copy.as_raw_fd().to_string());
    let program = Program::start(&mut command);
    drop((listener, copy));
    assert_eq!(program.addr, addr);
    let mut back = [0; 5];
    early.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"early");
    round(addr, 1000).unwrap();
    drop(early);
    program.end();
}

// What does not start costs nothing.
#[test]
fn a_program_that_does_not_start_leaves_the_old_one_in_its_place() {
    for program in ["/no/such/program", "/bin/false"] {
        let mut command = upgrade();
        command.arg0(program).stderr(Stdio::piped());
        let mut program = Program::start(&mut command);
        let mut log = BufReader::new(program.first.stderr.take().unwrap());
        for _ in 0..2 {
            program.signal(Signal::HUP);
            let mut line = String::new();
            log.read_line(&mut line).unwrap();
            assert!(line.starts_with("the new program "), "{line}");
            round(program.addr, 1000).unwrap();
        }
        program.end();
    }
}
