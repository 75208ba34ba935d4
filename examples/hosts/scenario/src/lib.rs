//! What each host is put through: acts of a chat room, each in a process of its own.
//!
//! A host gets a [`Net`], and does two things with it: it calls `driver.turn` whenever the driver's
//! descriptor is readable, until a turn tells of the report, and `outside` every [`TICK`], as a
//! timer of its own. It knows nothing of what is played.

mod peers;
mod room;

pub use room::{Room, Word};

use peers::Peers;
use sockeye::{Config, Context, Driver, Listen, Reactor};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub use sockeye;

/// How often a host calls [`Net::outside`].
pub const TICK: Duration = Duration::from_millis(5);

/// What a host is given.
pub struct Net {
    pub driver: Driver<Word>,
    pub room: Room,
}

impl Net {
    /// What the host does to the reactor by itself: commands from outside of a turn.
    pub fn outside(&mut self) {
        let Net { driver, room } = self;
        if room.has_commands() {
            driver.with(|cx: &mut Context| room.command(cx));
        }
    }
}

/// What is played.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Five clients, who tell each other everything; messages from a thread; commands from outside.
    Chat,
    /// The same with every budget at one.
    Frugal,
    /// Twenty timers, and how late they are.
    Timers,
    /// Two seconds in which nothing happens, and how many turns there were; then a finish.
    Idle,
    /// A callback panics.
    Panic,
    /// Much is echoed, and then once more by `run`.
    Stream,
}

impl Act {
    fn named(name: &str) -> Option<Act> {
        Some(match name {
            "chat" => Act::Chat,
            "frugal" => Act::Frugal,
            "timers" => Act::Timers,
            "idle" => Act::Idle,
            "panic" => Act::Panic,
            "stream" => Act::Stream,
            _ => return None,
        })
    }

    fn config(self) -> Config {
        let mut config = Config::default();
        if self == Act::Frugal {
            config.accepts_per_turn = 1;
            config.reads_per_turn = 1;
            config.messages_per_turn = 1;
            config.expiries_per_turn = 1;
            config.rounds_per_turn = 1;
            config.events_per_wait = 1;
        }
        config
    }
}

/// A performance that has begun: the other half of a [`Net`].
pub struct Show {
    act: Act,
    peers: Peers,
    notes: Arc<room::Notes>,
}

impl Show {
    /// Begins an act: the peers are on their way.
    pub fn begin(act: &str) -> io::Result<(Net, Show)> {
        let act = Act::named(act).ok_or(io::ErrorKind::InvalidInput)?;
        let mut reactor = Reactor::with_messages_and_config(act.config())?;
        let listener = reactor.listen(Listen::new("127.0.0.1:0"))?;
        let addr = reactor.context().listener_addr(listener);
        let addr = addr.and_then(|addr| addr.ip()).expect("an IP address");
        let notes = Arc::new(room::Notes::default());
        let room = Room::new(act, notes.clone());
        let driver = reactor.into_driver()?;
        let peers = Peers::start(act, addr, driver.sender(), notes.clone());
        Ok((Net { driver, room }, Show { act, peers, notes }))
    }

    /// Ends it: what was seen, as words for a table. A stream is echoed once more, by `run`.
    pub fn end(self) -> String {
        let is_stream = self.act == Act::Stream;
        let seen = self.end_alone();
        match is_stream {
            true => format!("{seen} {}", run("stream").replace("stream", "run")),
            false => seen,
        }
    }

    fn end_alone(self) -> String {
        let said = self.peers.end();
        let noted = self.notes.tell(self.act);
        [said, noted].join(" ").trim().to_owned()
    }
}

/// Plays the act that the last argument names, in this host, and prints what was seen.
pub fn play(host: impl FnOnce(Net) -> io::Result<()>) -> ExitCode {
    let act = std::env::args().next_back().unwrap_or_default();
    let (net, show) = match Show::begin(&act) {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("cannot begin {act:?}: {error}");
            return ExitCode::FAILURE;
        }
    };
    match catch_unwind(AssertUnwindSafe(|| host(net))) {
        Err(_) if act == "panic" => println!("panic=caught {}", show.end()),
        Err(_) => return ExitCode::FAILURE,
        Ok(Ok(())) if act != "panic" => println!("{}", show.end()),
        Ok(result) => {
            eprintln!("the host ended: {result:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Plays an act in the reactor's own loop. A thread posts what a host would command.
pub fn run(act: &str) -> String {
    let (net, show) = Show::begin(act).expect("an act");
    let Net { driver, mut room } = net;
    let sender = driver.sender();
    let act_has_commands = act != "stream";
    let commands = thread::spawn(move || {
        while act_has_commands && sender.send(Word::Command).is_ok() {
            thread::sleep(TICK);
        }
    });
    let mut reactor = driver.into_reactor();
    reactor.run(&mut room).expect("it runs");
    drop(reactor); // so that the thread ends
    commands.join().expect("the thread of the commands");
    show.end_alone()
}

fn seconds_since(start: Instant) -> String {
    format!("{:.4}", start.elapsed().as_secs_f64())
}
