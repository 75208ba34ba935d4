//! The service: who is here, what they say, and when they have to go.

use crate::Args;
use log::info;
use sockeye::codec::{CodecError, Lines};
use sockeye::{
    Chunk, Closed, ConnId, ConnMap, Context, Deadline, FrameHandler, Framed, Origin, Sent, TimerId,
};
use std::collections::BTreeMap;
use std::mem::replace;
use std::sync::mpsc;
use std::time::Duration;

/// Bytes of a line at most.
pub(crate) const LINE_LIMIT: usize = 4096;

/// Who has said more than this is not read until the time is over, so that nobody fills the queues
/// of the others faster than they can read. A line counts for its bytes and some for the name.
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
                    /join ROOM: go there; /leave: back to the lobby; /msg NAME TEXT: tell only \
                    NAME; /me TEXT: say what you do; /quit: leave; /help: this. Anything else goes \
                    to everybody in your room.";

/// What other threads post.
pub(crate) enum News {
    Signal(i32),
    /// To be told to everybody. The next one is read when the second part is dropped.
    Announcement(Vec<u8>, mpsc::Sender<()>),
}

#[derive(Clone)]
struct Member {
    name: String,
    room: String,
    /// Idle, and told so.
    warned: bool,
    /// What was said since the last `LET_SPEAK`.
    said: usize,
}

pub(crate) struct Chat {
    members: ConnMap<Member>,
    args: Args,
    /// Bytes of announcements since the last `LET_SPEAK`: they may flood nobody either.
    announced: usize,
    /// Keeps the next one waiting.
    hold: Option<mpsc::Sender<()>>,
    /// Somebody has spoken, and `LET_SPEAK` will come.
    measuring: bool,
    stopping: bool,
}

impl Chat {
    /// The service as the loop sees it: lines in, the last one too when it has no end.
    pub(crate) fn framed(cx: &mut Context, args: Args) -> Framed<Lines, Chat> {
        cx.set_timer(args.stats, STATS);
        let chat = Chat {
            members: ConnMap::new(),
            args,
            announced: 0,
            hold: None,
            measuring: false,
            stopping: false,
        };
        Framed::new(Lines::new(LINE_LIMIT).or_eof(), chat)
    }

    /// Does what a command says. What it gives is for who gave the command.
    fn on_command(&mut self, cx: &mut Context, conn: ConnId, command: &str) -> Option<String> {
        let Member { name, room, .. } = self.members.get(conn)?.clone();
        let (command, text) = command.split_once(' ').unwrap_or((command, ""));
        match (command, text.trim()) {
            ("nick", new) if !is_name(new) => return Some(NAME_RULE.to_owned()),
            ("nick", new) if self.find(new).is_some_and(|other| other != conn) => {
                return Some(format!("the name {new} is taken"));
            }
            ("nick", new) => {
                info!("{conn}: {name} is now {new}");
                new.clone_into(&mut self.members.get_mut(conn)?.name);
                self.say(cx, &room, None, format!("* {name} is now {new}\n"));
            }
            ("who", "") => {
                let names: Vec<&str> = self.in_room(&room).map(|(_, one)| &one.name[..]).collect();
                return Some(format!("in the {room}: {}", names.join(", ")));
            }
            ("rooms", "") => {
                let mut rooms = BTreeMap::new();
                for (_, one) in self.members.iter() {
                    *rooms.entry(&one.room).or_insert(0) += 1;
                }
                let rooms = rooms.iter().map(|(room, n)| format!("{room} ({n})"));
                return Some(rooms.collect::<Vec<_>>().join(", "));
            }
            ("join", to) if !is_name(to) => {
                return Some(format!("a room is called like somebody: {NAME_RULE}"));
            }
            ("join", to) => return self.go(cx, conn, &to.to_lowercase()),
            ("leave", "") => return self.go(cx, conn, LOBBY),
            ("msg", message) if message.contains(' ') => {
                let (to, text) = message.split_once(' ')?;
                let line = format!("{name} (to you only): {text}\n");
                let sent = |found| cx.send(found, line) != Sent::Gone;
                return Some(match self.find(to).is_some_and(sent) {
                    true => format!("to {to} only: {text}"),
                    false => format!("nobody is called {to}"),
                });
            }
            // Not with the `*` of the server: nobody may speak for it.
            ("me", action) if !action.is_empty() => {
                self.say(cx, &room, Some(conn), format!("~ {name} {action}\n"));
            }
            ("help", _) => return Some(HELP.to_owned()),
            ("quit", "") => {
                tell(cx, conn, "goodbye");
                cx.close(conn);
            }
            _ => {
                // If it is a command at all, then the help says how it is used.
                let is_it = |help: &&str| help[1..].split([' ', ':']).next() == Some(command);
                return Some(match HELP.split("; ").find(is_it) {
                    Some(help) => format!("write {help}"),
                    None => format!("what is /{command}? Try /help"),
                });
            }
        }
        None
    }

    /// Somebody has spoken: so much and no more until `LET_SPEAK`.
    fn measure(&mut self, cx: &mut Context) {
        if !replace(&mut self.measuring, true) {
            cx.set_timer(FLOOD_TIME, LET_SPEAK);
        }
    }

    /// To another room.
    fn go(&mut self, cx: &mut Context, conn: ConnId, room: &str) -> Option<String> {
        let member = self.members.get_mut(conn)?;
        let name = member.name.clone();
        let old = replace(&mut member.room, room.to_owned());
        if old == room {
            return Some(format!("you are in the {room} already"));
        }
        self.say(cx, &old, None, format!("* {name} goes to the {room}\n"));
        self.say(cx, room, None, format!("* {name} comes from the {old}\n"));
        None
    }

    /// Who is called so, in whatever case.
    fn find(&self, name: &str) -> Option<ConnId> {
        let mut members = self.members.iter();
        let found = members.find(|(_, one)| one.name.to_lowercase() == name.to_lowercase());
        found.map(|(conn, _)| conn)
    }

    fn in_room(&self, room: &str) -> impl Iterator<Item = (ConnId, &Member)> {
        self.members.iter().filter(move |(_, one)| one.room == room)
    }

    /// Sends a line to everybody in a room. Slow readers are no matter here: their limits are.
    fn say(&self, cx: &mut Context, room: &str, but: Option<ConnId>, line: String) {
        let here = self.in_room(room).map(|(conn, _)| conn);
        cx.broadcast(here.filter(|conn| Some(*conn) != but), line);
    }
}

/// An answer of the server to one user.
fn tell(cx: &mut Context, conn: ConnId, text: &str) {
    cx.send(conn, format!("* {text}\n"));
}

impl FrameHandler<Lines, News> for Chat {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let mut number = cx.stats().accepted;
        while self.find(&format!("guest{number}")).is_some() {
            number += 1;
        }
        let name = format!("guest{number}");
        if let Some(peer) = cx.peer_addr(conn) {
            info!("{conn}: {name} joins from {peer}");
        }
        let hello = format!("you are {name}, in the {LOBBY}; /help says more");
        tell(cx, conn, &hello);
        self.say(cx, LOBBY, None, format!("* {name} has joined\n"));
        cx.set_deadline(conn, 0, self.args.idle_warn);
        let member = Member {
            name,
            room: LOBBY.to_owned(),
            warned: false,
            said: 0,
        };
        self.members.insert(conn, member);
    }

    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, line: Chunk<'_>) {
        self.measure(cx);
        let Some(member) = self.members.get_mut(conn) else {
            return;
        };
        // Not `set_idle`: that counts what a user receives, too.
        cx.set_deadline(conn, 0, self.args.idle_warn);
        member.warned = false;
        member.said += line.len() + LINE_COST;
        if member.said > FLOOD_BYTES {
            cx.pause_reads(conn); // also what has been read already waits
        }
        let text = clean(&line);
        let text = text.trim_end();
        if let Some(command) = text.strip_prefix('/') {
            if let Some(answer) = self.on_command(cx, conn, command) {
                tell(cx, conn, &answer);
            }
        } else if !text.is_empty() {
            let line = format!("{}: {text}\n", member.name);
            let room = member.room.clone();
            self.say(cx, &room, Some(conn), line);
        }
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
        if replace(&mut member.warned, true) {
            tell(cx, conn, "you have been silent for too long: goodbye");
            cx.close_because(conn, "silent for too long");
        } else {
            let left = self.args.idle_drop;
            tell(
                cx,
                conn,
                &format!("are you there? Say something within {left:?}"),
            );
            cx.set_deadline(conn, 0, left);
        }
    }

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {
        let Some(Member { name, room, .. }) = self.members.remove(conn) else {
            return;
        };
        info!("{conn}: {name} leaves: {closed}");
        if !self.stopping {
            self.say(
                cx,
                &room,
                None,
                format!("* {name} has left: {}\n", closed.reason),
            );
        }
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, key: u64) {
        if key == LET_SPEAK {
            self.measuring = false;
            self.announced = 0;
            self.hold = None;
            for (conn, member) in self.members.iter_mut() {
                member.said = 0;
                cx.resume_reads(conn);
            }
            return;
        }
        let (users, stats) = (self.members.len(), cx.stats());
        let (come, lost) = (stats.accepted, stats.bytes_lost);
        let (bytes_in, bytes_out) = (stats.bytes_in, stats.bytes_out);
        info!("{users} users, {come} so far; bytes: {bytes_in} in, {bytes_out} out, {lost} lost");
        cx.set_timer(self.args.stats, STATS);
    }

    fn on_message(&mut self, cx: &mut Context, news: News) {
        match news {
            News::Announcement(text, hold) => {
                self.announced += text.len() + LINE_COST;
                self.hold = (self.announced > FLOOD_BYTES).then_some(hold);
                self.measure(cx);
                let line = format!("* announcement: {}\n", clean(text.trim_ascii_end()));
                cx.broadcast(self.members.ids(), line);
            }
            // A first one stops in peace, a second one at once.
            News::Signal(signal) => {
                info!(
                    "signal {signal}: stopping, {} users are here",
                    self.members.len()
                );
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
