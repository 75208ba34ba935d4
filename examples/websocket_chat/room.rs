//! Rooms: who is in them, and what was said there.

use crate::line;
use sockeye::codec::websocket;
use sockeye::{ConnId, ConnMap, Context};
use std::collections::{BTreeMap, VecDeque};
use std::time::UNIX_EPOCH;

/// Lines that a room remembers for those who come, or come back.
const REMEMBERED: usize = 100;

/// Characters of a name, and rooms at most.
const NAME: usize = 24;
const ROOMS: usize = 1000;

#[derive(Default)]
pub(crate) struct Rooms {
    rooms: BTreeMap<String, Room>,
    members: ConnMap<Member>,
}

struct Member {
    name: String,
    room: String,
    is_web: bool,
}

#[derive(Default)]
struct Room {
    web: Vec<ConnId>,
    lines: Vec<ConnId>,
    /// The last lines; the first of them has this number.
    said: VecDeque<String>,
    first: u64,
}

impl Room {
    /// Says a line to all, each in the encoding of their protocol.
    fn say(&mut self, cx: &mut Context, text: String) {
        if self.said.len() == REMEMBERED {
            self.said.pop_front();
            self.first += 1;
        }
        let number = self.first + self.said.len() as u64;
        let frame = websocket::text(format!("{number} {text}"));
        cx.broadcast(self.web.iter().copied(), frame);
        cx.broadcast(self.lines.iter().copied(), line(&text));
        self.said.push_back(text);
    }

    /// Tells one member what was said after the line with this number.
    fn recall(&self, cx: &mut Context, conn: ConnId, is_web: bool, since: u64) {
        for (number, text) in (self.first..).zip(&self.said) {
            if number > since && is_web {
                cx.send(conn, websocket::text(format!("{number} {text}")));
            } else if number > since {
                cx.send(conn, line(text));
            }
        }
    }
}

impl Rooms {
    pub(crate) fn join(
        &mut self,
        cx: &mut Context,
        conn: ConnId,
        is_web: bool,
        room: &str,
        name: &str,
        since: Option<u64>,
    ) {
        let clean = |text: &str| {
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_".contains(*c));
            kept.take(NAME).collect::<String>()
        };
        let (mut room, mut name) = (clean(room), clean(name));
        if room.is_empty() || (self.rooms.len() >= ROOMS && !self.rooms.contains_key(&room)) {
            room = "lobby".to_owned();
        }
        if name.is_empty() {
            name = format!("guest{}", conn.to_u64() & 0xffff);
        }
        // Numbers that no earlier server has given: a page that knows those asks for what is new.
        let now = cx.wall_clock().duration_since(UNIX_EPOCH);
        let place = self.rooms.entry(room.clone()).or_insert_with(|| Room {
            first: now.map_or(1, |now| now.as_millis() as u64),
            ..Room::default()
        });
        place.recall(cx, conn, is_web, since.unwrap_or(0));
        match is_web {
            true => place.web.push(conn),
            false => place.lines.push(conn),
        }
        place.say(cx, format!("* {name} is here"));
        let member = Member { name, room, is_web };
        self.members.insert(conn, member);
    }

    pub(crate) fn said(&mut self, cx: &mut Context, conn: ConnId, text: &str) {
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let Some(member) = self.members.get(conn) else {
            return;
        };
        let (is_web, name, room) = (member.is_web, member.name.clone(), member.room.clone());
        match text.trim().split_once(' ').unwrap_or((text.trim(), "")) {
            ("", _) => {}
            ("/join", other) => {
                self.leave(cx, conn, "is elsewhere");
                self.join(cx, conn, is_web, other, &name, None);
            }
            ("/name", other) => {
                self.leave(cx, conn, "is elsewhere");
                self.join(cx, conn, is_web, &room, other, Some(u64::MAX));
            }
            _ => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.say(cx, format!("{name}: {}", text.trim()));
                }
            }
        }
    }

    pub(crate) fn leave(&mut self, cx: &mut Context, conn: ConnId, how: &str) {
        let Some(Member { name, room, .. }) = self.members.remove(conn) else {
            return;
        };
        let Some(place) = self.rooms.get_mut(&room) else {
            return;
        };
        place.web.retain(|member| *member != conn);
        place.lines.retain(|member| *member != conn);
        place.say(cx, format!("* {name} {how}"));
    }
}
