//! The room: the handler of every act.

use crate::Act;
use sockeye::{Closed, ConnId, ConnMap, Context, Handler, Input, Origin, Sent, TimerId};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// Clients of a chat.
pub const CLIENTS: usize = 5;
/// Lines that come from the host, outside of turns.
pub const COMMANDS: u64 = 10;
const TIMERS: u64 = 20;
const GRACE: Duration = Duration::from_secs(5);

/// What other threads say to the room.
pub enum Word {
    /// To be told to all.
    Line(String),
    /// What a host would command, where there is none.
    Command,
    /// Count the turns from here on.
    Mark,
    /// Count them until here.
    Count,
    /// Come to an end.
    Finish,
    /// A fault of the program.
    Panic,
}

/// What the room has to say at the end, for whoever still listens then.
#[derive(Default)]
pub struct Notes {
    idle_turns: AtomicU64,
    pub counted: AtomicBool,
    pub finish_from_outside: AtomicBool,
    /// Nanoseconds that the loop's thread has run for the stream; 0: it was not one thread.
    spent: AtomicU64,
    late_sum: AtomicU64,
    late_max: AtomicU64,
}

impl Notes {
    pub fn tell(&self, act: Act) -> String {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        match act {
            Act::Timers => format!(
                "late_mean_us={:.1} late_max_us={:.1}",
                micros(self.late_sum.load(SeqCst) / TIMERS),
                micros(self.late_max.load(SeqCst))
            ),
            Act::Stream if self.spent.load(SeqCst) > 0 => {
                format!("stream_cpu={:.4}", self.spent.load(SeqCst) as f64 / 1e9)
            }
            Act::Idle => format!("idle_turns={}", self.idle_turns.load(SeqCst)),
            _ => String::new(),
        }
    }
}

pub struct Room {
    act: Act,
    notes: Arc<Notes>,
    members: ConnMap<()>,
    /// When each timer is due, and how many have not fired.
    due: Vec<Instant>,
    unfired: u64,
    commands: u64,
    mark: u64,
    /// The thread at the beginning of the stream, and how long it had run.
    began: Option<(ThreadId, u64)>,
}

/// This thread, and the nanoseconds that it has run.
fn thread_time() -> Option<(ThreadId, u64)> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = stat.split_whitespace().next()?.parse().ok()?;
    Some((thread::current().id(), nanos))
}

impl Room {
    pub fn new(act: Act, notes: Arc<Notes>) -> Room {
        Room {
            act,
            notes,
            members: ConnMap::new(),
            due: Vec::new(),
            unfired: TIMERS,
            commands: 0,
            mark: 0,
            began: None,
        }
    }

    /// Ten of them, at odd times.
    fn set_timers(&mut self, cx: &mut Context) {
        for _ in 0..TIMERS / 2 {
            let after = Duration::from_micros(7_300 + 11_700 * self.due.len() as u64);
            self.due.push(Instant::now() + after);
            cx.set_timer(after, self.due.len() as u64 - 1);
        }
    }

    /// Has the host something to command?
    pub fn has_commands(&self) -> bool {
        match self.act {
            Act::Chat | Act::Frugal => self.members.len() == CLIENTS && self.commands < COMMANDS,
            Act::Timers => self.due.len() < TIMERS as usize,
            Act::Idle => self.notes.finish_from_outside.swap(false, SeqCst),
            _ => false,
        }
    }

    /// What the host commands.
    pub fn command(&mut self, cx: &mut Context) {
        match self.act {
            Act::Timers => self.set_timers(cx),
            Act::Idle => cx.finish(GRACE),
            _ => {
                cx.broadcast(self.members.ids(), format!("host {}\n", self.commands));
                self.commands += 1;
            }
        }
    }
}

impl Handler<Word> for Room {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        self.members.insert(conn, ());
        self.began = thread_time().filter(|_| self.act == Act::Stream);
        if self.act != Act::Stream && self.members.len() == CLIENTS {
            cx.broadcast(self.members.ids(), "go\n");
        }
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if self.act == Act::Stream {
            if cx.send(conn, input.take_all()) == Sent::Wait {
                cx.pause_until_drained(conn);
            }
        } else if let Some(end) = input.iter().rposition(|byte| *byte == b'\n') {
            cx.broadcast(self.members.ids(), input.take(end + 1));
        }
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.members.remove(conn);
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, key: u64) {
        let late = self.due[key as usize].elapsed().as_nanos() as u64;
        assert!(Instant::now() >= self.due[key as usize], "early");
        self.notes.late_sum.fetch_add(late, SeqCst);
        self.notes.late_max.fetch_max(late, SeqCst);
        self.unfired -= 1;
        if self.unfired == 0 {
            cx.finish(GRACE);
        }
    }

    fn on_message(&mut self, cx: &mut Context, word: Word) {
        match word {
            Word::Line(line) => drop(cx.broadcast(self.members.ids(), line)),
            Word::Command if self.has_commands() => self.command(cx),
            Word::Command => {}
            Word::Mark => self.mark = cx.stats().turns,
            Word::Count => {
                // Less the turn of this message.
                let turns = cx.stats().turns - self.mark - 1;
                self.notes.idle_turns.store(turns, SeqCst);
                self.notes.counted.store(true, SeqCst);
                self.notes.finish_from_outside.store(true, SeqCst);
            }
            Word::Finish => {
                if let Some(((thread, since), now)) = self.began.zip(thread_time())
                    && thread == now.0
                {
                    self.notes.spent.store(now.1 - since, SeqCst);
                }
                cx.finish(GRACE);
            }
            Word::Panic => panic!("a fault of the program"),
        }
    }
}
