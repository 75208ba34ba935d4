//! The service: who is here, what they say, and when they have to go.

use crate::Args;
use crate::text::{clean, is_name};
use log::info;
use sockeye::{Closed, ConnId, ConnMap, Context, Deadline, Handler, Input, Origin, TimerId};
use std::time::{Duration, Instant};

/// Bytes of a line at most.
const LINE_LIMIT: usize = 4096;

/// What one user may say at once; who says more is not read until the time is over. So nobody can
/// fill the others' queues faster than they can read. A short line costs the name before it, too.
/// What all say in one turn must stay below the limit of unread bytes, or those who do read would
/// be dropped: 1 MiB is enough for 250 who speak at once.
const FLOOD_BYTES: usize = 4096;
const LINE_COST: usize = 64;
const FLOOD_TIME: Duration = Duration::from_millis(100);

/// How long users may take to receive what is still queued for them when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Keys of timers.
const STATS: u64 = 0;
const LET_SPEAK: u64 = 1;

const LOBBY: &str = "lobby";
const HELP: &str = "/nick NAME: change your name; /who: who is here; /quit: leave; /help: this. \
                    Anything else goes to everybody in your room.";

struct Member {
    name: String,
    room: String,
    /// Idle, and told so.
    warned: bool,
    /// What was said since when: see `FLOOD_BYTES`.
    said: usize,
    said_since: Instant,
}

pub(crate) struct Chat {
    members: ConnMap<Member>,
    args: Args,
    guests: u64,
    lines: u64,
    /// Those who spoke too much, and are read again when the timer fires.
    held: Vec<ConnId>,
    stopping: bool,
}

impl Chat {
    pub(crate) fn new(cx: &mut Context, args: Args) -> Chat {
        cx.set_timer(args.stats, STATS);
        Chat {
            members: ConnMap::new(),
            args,
            guests: 0,
            lines: 0,
            held: Vec::new(),
            stopping: false,
        }
    }

    fn on_line(&mut self, cx: &mut Context, conn: ConnId, line: &[u8]) {
        let Some(member) = self.members.get_mut(conn) else {
            return;
        };
        // Not `set_idle`: that counts what a user receives, too.
        cx.set_deadline(conn, self.args.idle_warn);
        member.warned = false;
        self.lines += 1;
        let text = clean(line);
        let text = text.trim_end();
        match text.strip_prefix('/') {
            Some(command) => self.on_command(cx, conn, command),
            None if text.is_empty() => {}
            None => {
                let line = format!("{}: {text}\n", member.name);
                let room = member.room.clone();
                self.say(cx, &room, Some(conn), line);
            }
        }
    }

    fn on_command(&mut self, cx: &mut Context, conn: ConnId, command: &str) {
        let (command, argument) = command.split_once(' ').unwrap_or((command, ""));
        match (command, argument.trim()) {
            ("nick", name) => self.rename(cx, conn, name),
            ("who", "") => {
                let room = self.members.get(conn).map_or(LOBBY, |member| &member.room);
                let here = self.members.iter().filter(|(_, one)| one.room == room);
                let names: Vec<&str> = here.map(|(_, one)| one.name.as_str()).collect();
                tell(cx, conn, &format!("in the {room}: {}", names.join(", ")));
            }
            ("help", "") => tell(cx, conn, HELP),
            ("quit", "") => {
                tell(cx, conn, "goodbye");
                cx.close(conn);
            }
            _ => tell(cx, conn, &format!("what is /{command}? Try /help")),
        }
    }

    fn rename(&mut self, cx: &mut Context, conn: ConnId, name: &str) {
        if !is_name(name) {
            let rule = "a name has 1 to 20 letters, digits, dots, dashes or underscores";
            return tell(cx, conn, rule);
        }
        if self.is_taken(name, conn) {
            return tell(cx, conn, &format!("the name {name} is taken"));
        }
        if let Some(member) = self.members.get_mut(conn) {
            let old = std::mem::replace(&mut member.name, name.to_owned());
            let room = member.room.clone();
            info!("{conn}: {old} is now {name}");
            self.say(cx, &room, None, format!("* {old} is now {name}\n"));
        }
    }

    fn is_taken(&self, name: &str, by_other_than: ConnId) -> bool {
        let same = |one: &str| one.to_lowercase() == name.to_lowercase();
        let mut members = self.members.iter();
        members.any(|(conn, one)| conn != by_other_than && same(&one.name))
    }

    /// Sends a line to everybody in a room. Slow readers are no matter here: their limits are.
    fn say(&self, cx: &mut Context, room: &str, but: Option<ConnId>, line: String) {
        let here = self.members.iter().filter(|(_, one)| one.room == room);
        let others = here.map(|(conn, _)| conn).filter(|conn| Some(*conn) != but);
        cx.broadcast(others, line);
    }

    /// Has this member said enough for now? Then it is not read for a moment.
    fn hold(&mut self, cx: &mut Context, conn: ConnId, bytes: usize) -> bool {
        let Some(member) = self.members.get_mut(conn) else {
            return false;
        };
        if cx.now() >= member.said_since + FLOOD_TIME {
            (member.said, member.said_since) = (0, cx.now());
        }
        if member.said > 0 && member.said + bytes > FLOOD_BYTES {
            cx.pause_reads(conn);
            if self.held.is_empty() {
                cx.set_timer(FLOOD_TIME, LET_SPEAK);
            }
            self.held.push(conn);
            return true;
        }
        member.said += bytes;
        false
    }
}

/// An answer of the server to one user.
fn tell(cx: &mut Context, conn: ConnId, text: &str) {
    cx.send(conn, format!("* {text}\n"));
}

fn too_long(cx: &mut Context, conn: ConnId) {
    let text = format!("a line may have {LINE_LIMIT} bytes, and yours has more: goodbye");
    tell(cx, conn, &text);
    cx.close_because(conn, "line too long");
}

/// The messages are signals, by number.
impl Handler<i32> for Chat {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let name = loop {
            self.guests += 1;
            let name = format!("guest{}", self.guests);
            if !self.is_taken(&name, conn) {
                break name;
            }
        };
        if let Some(peer) = cx.peer_addr(conn) {
            info!("{conn}: {name} joins from {peer}");
        }
        tell(
            cx,
            conn,
            &format!("you are {name}, in the {LOBBY}; /help says more"),
        );
        self.say(cx, LOBBY, None, format!("* {name} has joined\n"));
        cx.set_deadline(conn, self.args.idle_warn);
        let member = Member {
            name,
            room: LOBBY.to_owned(),
            warned: false,
            said: 0,
            said_since: cx.now(),
        };
        self.members.insert(conn, member);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            if end > LINE_LIMIT {
                return too_long(cx, conn);
            }
            if self.hold(cx, conn, end + LINE_COST) {
                return; // the rest is offered again after `resume_reads`
            }
            self.on_line(cx, conn, &input.take(end + 1));
            if !cx.is_open(conn) {
                return;
            }
        }
        if input.len() > LINE_LIMIT {
            too_long(cx, conn);
        }
    }

    fn on_eof(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if !input.is_empty() {
            self.on_line(cx, conn, &input.take_all());
        }
        cx.close(conn);
    }

    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, _: Deadline) {
        let Some(member) = self.members.get_mut(conn) else {
            return;
        };
        if !std::mem::replace(&mut member.warned, true) {
            let left = self.args.idle_drop;
            tell(
                cx,
                conn,
                &format!("are you there? Say something within {left:?}"),
            );
            cx.set_deadline(conn, left);
        } else {
            tell(cx, conn, "you have been silent for too long: goodbye");
            cx.close_because(conn, "silent for too long");
        }
    }

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {
        let Some(member) = self.members.remove(conn) else {
            return;
        };
        info!("{conn}: {} leaves: {closed}", member.name);
        if !self.stopping {
            let line = format!("* {} has left: {}\n", member.name, closed.reason);
            self.say(cx, &member.room, None, line);
        }
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, key: u64) {
        if key == LET_SPEAK {
            for conn in self.held.drain(..) {
                cx.resume_reads(conn);
            }
            return;
        }
        let stats = cx.stats();
        info!(
            "{} users, {} so far; {} lines, {} bytes in, {} bytes out, {} bytes lost",
            self.members.len(),
            stats.accepted,
            self.lines,
            stats.bytes_in,
            stats.bytes_out,
            stats.bytes_lost
        );
        cx.set_timer(self.args.stats, STATS);
    }

    /// A first signal stops in peace, a second one at once.
    fn on_message(&mut self, cx: &mut Context, signal: i32) {
        info!(
            "signal {signal}: stopping, {} users are here",
            self.members.len()
        );
        cx.finish(if self.stopping { Duration::ZERO } else { GRACE });
        self.stopping = true;
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        tell(cx, conn, "the server stops: goodbye");
        cx.close(conn);
    }
}
