//! The service: who is here, what they say, and when they have to go.

use crate::Args;
use crate::text::{clean, is_name};
use log::info;
use sockeye::codec::{CodecError, Lines};
use sockeye::{
    Chunk, Closed, ConnId, ConnMap, Context, Deadline, FrameHandler, Framed, Origin, TimerId,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bytes of a line at most.
const LINE_LIMIT: usize = 4096;

/// What one user may say at once; who has said more is not read until the time is over. So nobody
/// can fill the others' queues faster than they can read. A short line costs the name before it,
/// too. What all say in one turn must stay below the limit of unread bytes, or those who do read
/// would be dropped: 1 MiB is enough for 125 who speak at once, with one line above this each.
const FLOOD_BYTES: usize = 4096;
const LINE_COST: usize = 64;
const FLOOD_TIME: Duration = Duration::from_millis(100);

/// How long users may take to receive what is still queued for them when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Keys of timers.
const STATS: u64 = 0;
const LET_SPEAK: u64 = 1;

const LOBBY: &str = "lobby";
const NAME_RULE: &str = "a name has 1 to 20 letters, digits, dots, dashes or underscores";
const HELP: &str = "/nick NAME: change your name; /who: who is here; /rooms: where others are; \
                    /join ROOM, /leave: go there, or back to the lobby; /msg NAME TEXT: tell only \
                    NAME; /me TEXT: say what you do; /quit: leave; /help: this. Anything else goes \
                    to everybody in your room.";

/// What other threads post.
pub(crate) enum News {
    Signal(i32),
    /// To be told to everybody.
    Announcement(String),
}

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

    /// The service as the loop sees it: lines in, the last one too when it has no end.
    pub(crate) fn framed(self) -> Framed<Lines, Chat> {
        Framed::new(Lines::new(LINE_LIMIT).or_eof(), self)
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
            ("rooms", "") => {
                let mut rooms = BTreeMap::new();
                for (_, member) in self.members.iter() {
                    *rooms.entry(&member.room).or_insert(0) += 1;
                }
                let rooms = rooms
                    .iter()
                    .map(|(room, count)| format!("{room} ({count})"));
                tell(cx, conn, &rooms.collect::<Vec<_>>().join(", "));
            }
            ("join", room) => self.go(cx, conn, &room.to_lowercase()),
            ("leave", "") => self.go(cx, conn, LOBBY),
            ("msg", message) => self.whisper(cx, conn, message),
            ("me", action) if !action.is_empty() => {
                // Not with the `*` of the server: nobody may speak for it.
                self.say_as(cx, conn, |name| format!("~ {name} {action}\n"));
            }
            ("help", "") => tell(cx, conn, HELP),
            ("quit", "") => {
                tell(cx, conn, "goodbye");
                cx.close(conn);
            }
            _ => tell(cx, conn, &format!("what is /{command}? Try /help")),
        }
    }

    /// To another room.
    fn go(&mut self, cx: &mut Context, conn: ConnId, room: &str) {
        if !is_name(room) {
            return tell(
                cx,
                conn,
                &format!("a room is called like somebody: {NAME_RULE}"),
            );
        }
        let Some(member) = self.members.get_mut(conn).filter(|one| one.room != room) else {
            return tell(cx, conn, &format!("you are in the {room} already"));
        };
        let old = std::mem::replace(&mut member.room, room.to_owned());
        let name = member.name.clone();
        self.say(cx, &old, None, format!("* {name} goes to the {room}\n"));
        self.say(cx, room, None, format!("* {name} comes from the {old}\n"));
    }

    /// To one other, wherever that is.
    fn whisper(&self, cx: &mut Context, conn: ConnId, message: &str) {
        let (name, text) = message.split_once(' ').unwrap_or((message, ""));
        let mut members = self.members.iter();
        let to = members.find(|(_, one)| is_same_name(&one.name, name));
        match (to, self.members.get(conn)) {
            (Some((to, _)), Some(from)) => {
                cx.send(to, format!("{} (to you only): {text}\n", from.name));
            }
            _ => tell(cx, conn, &format!("nobody is called {name}")),
        }
    }

    fn rename(&mut self, cx: &mut Context, conn: ConnId, name: &str) {
        if !is_name(name) {
            return tell(cx, conn, NAME_RULE);
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
        let mut members = self.members.iter();
        members.any(|(conn, one)| conn != by_other_than && is_same_name(&one.name, name))
    }

    /// Sends a line of this member to the others in the room.
    fn say_as(&self, cx: &mut Context, conn: ConnId, line: impl FnOnce(&str) -> String) {
        if let Some(member) = self.members.get(conn) {
            self.say(cx, &member.room, Some(conn), line(&member.name));
        }
    }

    /// Sends a line to everybody in a room. Slow readers are no matter here: their limits are.
    fn say(&self, cx: &mut Context, room: &str, but: Option<ConnId>, line: String) {
        let here = self.members.iter().filter(|(_, one)| one.room == room);
        let others = here.map(|(conn, _)| conn).filter(|conn| Some(*conn) != but);
        cx.broadcast(others, line);
    }

    /// Has this member said enough for now? Then it is not read for a moment: what it has sent
    /// already waits here, and the rest with it.
    fn hold(&mut self, cx: &mut Context, conn: ConnId, bytes: usize) {
        let Some(member) = self.members.get_mut(conn) else {
            return;
        };
        if cx.now() >= member.said_since + FLOOD_TIME {
            (member.said, member.said_since) = (0, cx.now());
        }
        member.said += bytes;
        if member.said > FLOOD_BYTES && cx.pause_reads(conn) {
            if self.held.is_empty() {
                cx.set_timer(FLOOD_TIME, LET_SPEAK);
            }
            self.held.push(conn);
        }
    }
}

fn is_same_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// An answer of the server to one user.
fn tell(cx: &mut Context, conn: ConnId, text: &str) {
    cx.send(conn, format!("* {text}\n"));
}

impl FrameHandler<Lines, News> for Chat {
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

    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, line: Chunk<'_>) {
        let Some(member) = self.members.get_mut(conn) else {
            return;
        };
        // Not `set_idle`: that counts what a user receives, too.
        cx.set_deadline(conn, self.args.idle_warn);
        member.warned = false;
        self.lines += 1;
        let text = clean(&line);
        let text = text.trim_end();
        match text.strip_prefix('/') {
            Some(command) => self.on_command(cx, conn, command),
            None if text.is_empty() => {}
            None => self.say_as(cx, conn, |name| format!("{name}: {text}\n")),
        }
        self.hold(cx, conn, line.len() + LINE_COST);
    }

    fn on_frame_error(&mut self, cx: &mut Context, conn: ConnId, _: &CodecError) {
        let text = format!("a line may have {LINE_LIMIT} bytes, and yours has more: goodbye");
        tell(cx, conn, &text);
        cx.close_because(conn, "line too long");
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

    fn on_message(&mut self, cx: &mut Context, news: News) {
        match news {
            News::Announcement(text) => {
                let line = format!("* announcement: {}\n", clean(text.as_bytes()));
                cx.broadcast(self.members.ids(), line);
            }
            // A first one stops in peace, a second one at once.
            News::Signal(signal) => {
                let here = self.members.len();
                info!("signal {signal}: stopping, {here} users are here");
                cx.finish(if self.stopping { Duration::ZERO } else { GRACE });
                self.stopping = true;
            }
        }
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        tell(cx, conn, "the server stops: goodbye");
        cx.close(conn);
    }
}
