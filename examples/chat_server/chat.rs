//! The service: who is here, what they say, and when they have to go.
//!
//! Each worker knows all members and speaks to its own. What changes what they know, or is said, is
//! an [`Event`]: it goes to one of them, which passes it on to all, so that all see the same events
//! in the same order, and come to the same answers. A service alone sees each event at once.

use super::Args;
use log::info;
use sockeye::codec::{CodecError, Encoder, LengthPrefixed, Lines};
use sockeye::{Closed, ConnId, ConnMap, Context, Deadline, Frames, Handler, Hold, Input};
use sockeye::{Origin, Payload, Tag, Team, TimerId, Worker};
use std::collections::BTreeMap;
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
pub(crate) const GRACE: Duration = Duration::from_secs(5);

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

/// What the server is told by others.
#[derive(Clone)]
pub(crate) enum Word {
    /// Somebody wants it to stop.
    Stop,
    /// An event, to be passed on to all workers.
    Order(Event),
    /// The next event of all.
    Next(Event),
}

/// A member: the number of its worker, and its connection there.
type Who = (usize, ConnId);

/// Something that a member does, for all workers.
#[derive(Clone)]
pub(crate) struct Event {
    who: Who,
    what: What,
}

#[derive(Clone)]
enum What {
    /// It speaks in frames or in lines.
    Joins {
        framed: bool,
    },
    Says(String),
    /// Its time is over, and all that it has said before has been heard.
    MaySpeak,
    /// Why it has left.
    Leaves(String),
}

#[derive(Clone)]
struct Member {
    name: String,
    room: String,
    framed: bool,
    /// What it says from now on is nobody's.
    quits: bool,
}

pub(crate) struct Chat {
    args: Args,
    /// The number of this worker, and all of them; `None`: it is alone.
    me: usize,
    team: Option<Team<Word>>,
    /// All members, those of other workers too.
    members: BTreeMap<Who, Member>,
    joined: u64,
    /// What each of its own has said since it may speak.
    said: ConnMap<usize>,
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
            me: 0,
            team: None,
            members: BTreeMap::new(),
            joined: 0,
            said: ConnMap::new(),
            lines: Frames::default(),
            frames: Frames::default(),
            stopping: false,
        }
    }

    pub(crate) fn of_worker(worker: &mut Worker<'_, Word>, args: Args) -> Chat {
        let (me, team) = (worker.number(), Some(worker.team().clone()));
        let chat = Chat::new(worker.context(), args);
        Chat { me, team, ..chat }
    }

    /// Tells all workers of an event, this one too, and those of one member in turn.
    fn post(&mut self, cx: &mut Context, conn: ConnId, what: What) {
        let who = (self.me, conn);
        let event = Event { who, what };
        match &self.team {
            None => self.on_event(cx, event),
            // The first of them that lives says which is the next; if none does, nobody listens.
            Some(team) => {
                let mut team = team.iter();
                team.find(|one| one.send(Word::Order(event.clone())).is_ok());
            }
        }
    }

    /// Every worker has the same events in the same order, so what they know is the same.
    fn on_event(&mut self, cx: &mut Context, Event { who, what }: Event) {
        match what {
            What::Joins { framed } => self.join(cx, who, framed),
            What::Says(text) => self.hear(cx, who, &text),
            What::MaySpeak if who.0 == self.me => {
                if let Some(said) = self.said.get_mut(who.1) {
                    *said = 0;
                }
                cx.resume_reads_for(who.1, FLOOD);
            }
            What::MaySpeak => {}
            What::Leaves(why) => {
                if let Some(Member { name, room, .. }) = self.members.remove(&who) {
                    self.say_in(cx, &room, &format!("* {name} has left: {why}"));
                }
            }
        }
    }

    fn join(&mut self, cx: &mut Context, who: Who, framed: bool) {
        self.joined += 1;
        let mut names = (self.joined..).map(|number| format!("guest{number}"));
        let free = names.find(|name| self.find(name).is_none());
        let name = free.expect("there are more numbers than users");
        let conn = who.1;
        if let Some(peer) = cx.peer_addr(conn).filter(|_| who.0 == self.me) {
            info!("{conn}: {name} joins from {peer}");
        }
        let hello = format!("you are {name}, in the {LOBBY}; /help says more");
        self.answer(cx, who, &hello);
        self.say_in(cx, LOBBY, &format!("* {name} has joined"));
        let member = Member {
            name,
            room: LOBBY.to_owned(),
            framed,
            quits: false,
        };
        self.members.insert(who, member);
    }

    fn on_text(&mut self, cx: &mut Context, conn: ConnId, text: &[u8]) {
        let Some(said) = self.said.get_mut(conn) else {
            return;
        };
        // Not `set_idle`: that counts what a user receives, too.
        cx.set_deadline(conn, WARN, self.args.idle_warn);
        cx.clear_deadline(conn, DROP);
        if *said == 0 {
            cx.set_deadline(conn, LET_SPEAK, FLOOD_TIME);
        }
        *said += text.len() + LINE_COST;
        if *said > FLOOD_BYTES {
            cx.pause_reads_for(conn, FLOOD); // also what has been read already waits
        }
        let text = clean(text).trim_end().to_owned();
        self.post(cx, conn, What::Says(text));
    }

    fn hear(&mut self, cx: &mut Context, who: Who, text: &str) {
        let Some(member) = self.members.get(&who).filter(|one| !one.quits) else {
            return;
        };
        if let Some(command) = text.strip_prefix('/') {
            if let Some(answer) = self.on_command(cx, who, command) {
                self.answer(cx, who, &answer);
            }
        } else if !text.is_empty() {
            let (room, text) = (member.room.clone(), format!("{}: {text}", member.name));
            self.say(cx, &text, |other, one| other != who && one.room == room);
        }
    }

    /// Does what a command says, and gives the answer to it.
    fn on_command(&mut self, cx: &mut Context, who: Who, command: &str) -> Option<String> {
        let Member { name, room, .. } = self.members.get(&who)?.clone();
        let (command, text) = command.split_once(' ').unwrap_or((command, ""));
        Some(match (command, text.trim()) {
            ("nick", new) if !is_name(new) => NAME_RULE.to_owned(),
            ("nick", new) if self.find(new).is_some_and(|other| other != who) => {
                format!("the name {new} is taken")
            }
            ("nick", new) => {
                if who.0 == self.me {
                    info!("{}: {name} is now {new}", who.1);
                }
                new.clone_into(&mut self.members.get_mut(&who)?.name);
                self.say_in(cx, &room, &format!("* {name} is now {new}"));
                return None;
            }
            ("who", "") => {
                let here = self.members.iter().filter(|(_, one)| one.room == room);
                let names: Vec<&str> = here.map(|(_, one)| &one.name[..]).collect();
                format!("in the {room}: {}", names.join(", "))
            }
            ("rooms", "") => {
                let mut rooms: Vec<_> = self.members.values().map(|one| &one.room).collect();
                rooms.sort();
                let rooms = rooms.chunk_by(|one, next| one == next);
                let rooms = rooms.map(|room| format!("{} ({})", room[0], room.len()));
                rooms.collect::<Vec<_>>().join(", ")
            }
            ("join", to) if !is_name(to) => format!("a room is called like somebody: {NAME_RULE}"),
            ("join", to) if to.to_lowercase() == room => format!("you are in the {room} already"),
            ("join", to) => {
                let to = to.to_lowercase();
                self.members.get_mut(&who)?.room.clone_from(&to);
                self.say_in(cx, &room, &format!("* {name} goes to the {to}"));
                self.say_in(cx, &to, &format!("* {name} comes from the {room}"));
                return None;
            }
            ("leave", "") => return self.on_command(cx, who, &format!("join {LOBBY}")),
            ("msg", message) if message.contains(' ') => {
                let (to, text) = message.split_once(' ')?;
                let Some(found) = self.find(to).filter(|found| self.is_here(cx, *found)) else {
                    return Some(format!("nobody is called {to}"));
                };
                let line = format!("{name} (to you only): {text}");
                self.say(cx, &line, |other, _| other == found);
                format!("to {to} only: {text}")
            }
            // Not with the `*` of the server: nobody may speak for it.
            ("me", action) if !action.is_empty() => {
                let text = format!("~ {name} {action}");
                self.say(cx, &text, |other, one| other != who && one.room == room);
                return None;
            }
            ("help", _) => HELP.to_owned(),
            ("quit", "") => {
                self.members.get_mut(&who)?.quits = true;
                let is_mine = self.answer(cx, who, "goodbye");
                is_mine.then(|| cx.close(who.1));
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
    fn find(&self, name: &str) -> Option<Who> {
        let mut members = self.members.iter();
        let found = members.find(|(_, one)| one.name.to_lowercase() == name.to_lowercase());
        found.map(|(who, _)| *who)
    }

    /// May it still be told something? Of those of others nobody here knows that they leave.
    fn is_here(&self, cx: &Context, (worker, conn): Who) -> bool {
        worker != self.me || cx.is_open(conn)
    }

    /// An answer to one user, by the worker that has it. `true`: that is this one.
    fn answer(&self, cx: &mut Context, (worker, conn): Who, text: &str) -> bool {
        let is_mine = worker == self.me;
        if is_mine {
            tell(cx, conn, text);
        }
        is_mine
    }

    /// Sends a text to all members here that `to` is true of. Slow readers do not matter: their
    /// limits do.
    fn say(&self, cx: &mut Context, text: &str, to: impl Fn(Who, &Member) -> bool) {
        for framed in [false, true] {
            let is_mine = |who: &Who| who.0 == self.me; // the others have theirs
            let to = |(who, one): &(&Who, &Member)| {
                is_mine(who) && one.framed == framed && to(**who, one)
            };
            let members = self.members.iter().filter(to).map(|(who, _)| who.1);
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

impl Handler<Word> for Chat {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let framed = cx.tag(conn) == Some(FRAMED);
        match framed {
            true => self.frames.set(cx, conn, HEARD),
            // The last one is a line, too, when it has no end.
            false => self.lines.set(cx, conn, Lines::new(LINE_LIMIT).or_eof()),
        };
        cx.set_deadline(conn, WARN, self.args.idle_warn);
        self.said.insert(conn, 0);
        self.post(cx, conn, What::Joins { framed });
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
            Deadline::Set(LET_SPEAK) => self.post(cx, conn, What::MaySpeak),
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
        self.said.remove(conn);
        if let Some(Member { name, .. }) = self.members.get(&(self.me, conn)) {
            info!("{conn}: {name} leaves: {closed}");
        }
        self.post(cx, conn, What::Leaves(closed.reason.to_string()));
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, _: u64) {
        let (users, stats) = (self.members.len(), cx.stats());
        info!("{users} users, {} so far; {stats:?}", stats.accepted);
    }

    fn on_message(&mut self, cx: &mut Context, word: Word) {
        match word {
            Word::Order(event) => {
                self.team
                    .as_ref()
                    .map(|team| team.broadcast(Word::Next(event)));
            }
            Word::Next(event) => self.on_event(cx, event),
            // A first one stops in peace, a second one at once.
            Word::Stop => {
                let users = self.members.len();
                info!("stopping, {users} users are here");
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
