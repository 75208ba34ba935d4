//! The service: who is here, what they say, and when they have to go.

use super::Args;
use log::info;
use sockeye::codec::{CodecError, Encoder, LengthPrefixed, Lines};
use sockeye::{Closed, ConnId, ConnMap, Context, Deadline, Frames, Handler, Hold, Input};
use sockeye::{Origin, Payload, Tag, TimerId};
use std::time::Duration;

/// Bytes of a line at most.
const LINE_LIMIT: usize = 4096;

/// Who comes by a listener with this tag says the length of a text in four bytes before it, and is
/// spoken to in the same way; all others are for lines.
pub(crate) const FRAMED: Tag = Tag(1);
const HEARD: LengthPrefixed = LengthPrefixed::u32(LINE_LIMIT);
const SAID: LengthPrefixed = LengthPrefixed::u32(u32::MAX as usize);

/// Who has said more than this is not read until the time is over, so that nobody fills the queues
/// of the others faster than they can read. A line counts for its bytes and some for the name.
const FLOOD_BYTES: usize = 4096;
const LINE_COST: usize = 64;
const FLOOD_TIME: Duration = Duration::from_millis(100);
const FLOOD: Hold = Hold::new(0);

/// How long users may take to receive what is still queued for them when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Keys of the deadlines of a user.
const LET_SPEAK: u32 = 0;
const WARN: u32 = 1;
const DROP: u32 = 2;

const LOBBY: &str = "lobby";
const NAME_RULE: &str = "a name has 1 to 20 letters, digits, dots, dashes or underscores";
const HELP: &str = "/nick NAME: change your name; /who: who is here; /rooms: where others are; \
                    /join ROOM: go there; /leave: back to the lobby; /msg NAME TEXT: tell only \
                    NAME; /me TEXT: say what you do; /quit: leave; /help: this. Anything else goes \
                    to everybody in your room.";

/// Somebody wants the server to stop.
pub(crate) struct Stop;

#[derive(Clone)]
struct Member {
    name: String,
    room: String,
    framed: bool,
    /// What was said since the last `LET_SPEAK`.
    said: usize,
}

pub(crate) struct Chat {
    args: Args,
    members: ConnMap<Member>,
    /// Each member has a decoder in one of these.
    lines: Frames<Lines>,
    frames: Frames<LengthPrefixed>,
    stopping: bool,
}

impl Chat {
    pub(crate) fn new(cx: &mut Context, args: Args) -> Chat {
        cx.set_interval(args.stats, 0);
        Chat {
            args,
            members: ConnMap::new(),
            lines: Frames::default(),
            frames: Frames::default(),
            stopping: false,
        }
    }

    fn on_text(&mut self, cx: &mut Context, conn: ConnId, text: &[u8]) {
        let Some(member) = self.members.get_mut(conn) else {
            return;
        };
        // Not `set_idle`: that counts what a user receives, too.
        cx.set_deadline(conn, WARN, self.args.idle_warn);
        cx.clear_deadline(conn, DROP);
        if member.said == 0 {
            cx.set_deadline(conn, LET_SPEAK, FLOOD_TIME);
        }
        member.said += text.len() + LINE_COST;
        if member.said > FLOOD_BYTES {
            cx.pause_reads_for(conn, FLOOD); // also what has been read already waits
        }
        let text = clean(text);
        let text = text.trim_end();
        if let Some(command) = text.strip_prefix('/') {
            if let Some(answer) = self.on_command(cx, conn, command) {
                tell(cx, conn, &answer);
            }
        } else if !text.is_empty() {
            let (room, text) = (member.room.clone(), format!("{}: {text}", member.name));
            self.say(cx, &text, |other, one| other != conn && one.room == room);
        }
    }

    /// Does what a command says, and gives the answer to it.
    fn on_command(&mut self, cx: &mut Context, conn: ConnId, command: &str) -> Option<String> {
        let Member { name, room, .. } = self.members.get(conn)?.clone();
        let (command, text) = command.split_once(' ').unwrap_or((command, ""));
        Some(match (command, text.trim()) {
            ("nick", new) if !is_name(new) => NAME_RULE.to_owned(),
            ("nick", new) if self.find(new).is_some_and(|other| other != conn) => {
                format!("the name {new} is taken")
            }
            ("nick", new) => {
                info!("{conn}: {name} is now {new}");
                new.clone_into(&mut self.members.get_mut(conn)?.name);
                self.say_in(cx, &room, &format!("* {name} is now {new}"));
                return None;
            }
            ("who", "") => {
                let here = self.members.iter().filter(|(_, one)| one.room == room);
                let names: Vec<&str> = here.map(|(_, one)| &one.name[..]).collect();
                format!("in the {room}: {}", names.join(", "))
            }
            ("rooms", "") => {
                let mut rooms: Vec<_> = self.members.iter().map(|(_, one)| &one.room).collect();
                rooms.sort();
                let rooms = rooms.chunk_by(|one, next| one == next);
                let rooms = rooms.map(|room| format!("{} ({})", room[0], room.len()));
                rooms.collect::<Vec<_>>().join(", ")
            }
            ("join", to) if !is_name(to) => format!("a room is called like somebody: {NAME_RULE}"),
            ("join", to) if to.to_lowercase() == room => format!("you are in the {room} already"),
            ("join", to) => {
                let to = to.to_lowercase();
                self.members.get_mut(conn)?.room.clone_from(&to);
                self.say_in(cx, &room, &format!("* {name} goes to the {to}"));
                self.say_in(cx, &to, &format!("* {name} comes from the {room}"));
                return None;
            }
            ("leave", "") => return self.on_command(cx, conn, &format!("join {LOBBY}")),
            ("msg", message) if message.contains(' ') => {
                let (to, text) = message.split_once(' ')?;
                let Some(found) = self.find(to).filter(|found| cx.is_open(*found)) else {
                    return Some(format!("nobody is called {to}"));
                };
                let line = format!("{name} (to you only): {text}");
                self.say(cx, &line, |other, _| other == found);
                format!("to {to} only: {text}")
            }
            // Not with the `*` of the server: nobody may speak for it.
            ("me", action) if !action.is_empty() => {
                let text = format!("~ {name} {action}");
                self.say(cx, &text, |other, one| other != conn && one.room == room);
                return None;
            }
            ("help", _) => HELP.to_owned(),
            ("quit", "") => {
                tell(cx, conn, "goodbye");
                cx.close(conn);
                return None;
            }
            _ => {
                // If it is a command at all, then the help says how it is used.
                let is_it = |help: &&str| help[1..].split([' ', ':']).next() == Some(command);
                match HELP.split("; ").find(is_it) {
                    Some(help) => format!("write {help}"),
                    None => format!("what is /{command}? Try /help"),
                }
            }
        })
    }

    /// Who is called so, in whatever case.
    fn find(&self, name: &str) -> Option<ConnId> {
        let mut members = self.members.iter();
        let found = members.find(|(_, one)| one.name.to_lowercase() == name.to_lowercase());
        found.map(|(conn, _)| conn)
    }

    /// Sends a text to all members that `to` is true of. Slow readers are no matter here: their
    /// limits are.
    fn say(&self, cx: &mut Context, text: &str, to: impl Fn(ConnId, &Member) -> bool) {
        for framed in [false, true] {
            let to = |(conn, one): &(ConnId, &Member)| one.framed == framed && to(*conn, one);
            let members = self.members.iter().filter(to).map(|(conn, _)| conn);
            let mut members = members.peekable();
            if members.peek().is_some() {
                cx.broadcast(members, message(framed, text));
            }
        }
    }

    fn say_in(&self, cx: &mut Context, room: &str, text: &str) {
        self.say(cx, text, |_, one| one.room == room);
    }
}

/// An answer of the server to one user.
fn tell(cx: &mut Context, conn: ConnId, text: &str) {
    let text = format!("* {text}");
    cx.send(conn, message(cx.tag(conn) == Some(FRAMED), &text));
}

/// A text as it goes out: as a frame or as a line.
fn message(framed: bool, text: &str) -> Payload<'_> {
    match framed {
        true => SAID.frame(text).expect("no text has 4 GiB"),
        false => (text, "\n").into(),
    }
}

impl Handler<Stop> for Chat {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let framed = cx.tag(conn) == Some(FRAMED);
        match framed {
            true => self.frames.set(cx, conn, HEARD),
            // The last one is a line, too, when it has no end.
            false => self.lines.set(cx, conn, Lines::new(LINE_LIMIT).or_eof()),
        };
        let mut names = (cx.stats().accepted..).map(|number| format!("guest{number}"));
        let free = names.find(|name| self.find(name).is_none());
        let name = free.expect("there are more numbers than users");
        if let Some(peer) = cx.peer_addr(conn) {
            info!("{conn}: {name} joins from {peer}");
        }
        let hello = format!("you are {name}, in the {LOBBY}; /help says more");
        tell(cx, conn, &hello);
        self.say_in(cx, LOBBY, &format!("* {name} has joined"));
        cx.set_deadline(conn, WARN, self.args.idle_warn);
        let member = Member {
            name,
            room: LOBBY.to_owned(),
            framed,
            said: 0,
        };
        self.members.insert(conn, member);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let mut hear = || {
            while let Some(line) = self.lines.try_next(cx, conn, input)? {
                self.on_text(cx, conn, &line);
            }
            while let Some(frame) = self.frames.try_next(cx, conn, input)? {
                self.on_text(cx, conn, &frame);
            }
            Ok(())
        };
        match hear() {
            Ok(()) => {}
            Err(CodecError::TooLong { .. }) => {
                let limit = format!("a line may have {LINE_LIMIT} bytes");
                tell(cx, conn, &format!("{limit}, and yours has more: goodbye"));
                cx.close_because(conn, "line too long");
            }
            // The error would tell the others what was begun.
            Err(_) => drop(cx.close_because(conn, "half a line")),
        }
    }

    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        match which {
            Deadline::Set(LET_SPEAK) => {
                if let Some(member) = self.members.get_mut(conn) {
                    member.said = 0;
                }
                cx.resume_reads_for(conn, FLOOD);
            }
            Deadline::Set(WARN) => {
                let left = self.args.idle_drop;
                let text = format!("are you there? Say something within {left:?}");
                tell(cx, conn, &text);
                cx.set_deadline(conn, DROP, left);
            }
            _ => {
                tell(cx, conn, "you have been silent for too long: goodbye");
                cx.close_because(conn, "silent for too long");
            }
        }
    }

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {
        if let Some(Member { name, room, .. }) = self.members.remove(conn) {
            info!("{conn}: {name} leaves: {closed}");
            let text = format!("* {name} has left: {}", closed.reason);
            self.say_in(cx, &room, &text);
        }
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, _: u64) {
        let (users, stats) = (self.members.len(), cx.stats());
        info!("{users} users, {} so far; {stats:?}", stats.accepted);
    }

    /// A first one stops in peace, a second one at once.
    fn on_message(&mut self, cx: &mut Context, _: Stop) {
        let users = self.members.len();
        info!("stopping, {users} users are here");
        cx.finish(if self.stopping { Duration::ZERO } else { GRACE });
        self.stopping = true;
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        tell(cx, conn, "the server stops: goodbye");
        cx.close(conn);
    }
}

/// The text of a line. What is no UTF-8 is shown as U+FFFD, and so is what could steer the terminal
/// of another: control characters, and marks that break lines or turn the direction of writing.
fn clean(line: &[u8]) -> String {
    let clean = |c: char| match c {
        '\t' => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    String::from_utf8_lossy(line).chars().map(clean).collect()
}

/// May somebody be called so? No blanks and no `*` or `:`, so that nobody can pass for the server.
fn is_name(name: &str) -> bool {
    let is_good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=20).contains(&name.chars().count()) && name.chars().all(is_good)
}
