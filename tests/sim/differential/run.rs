//! Runs a script on one edge, and notes after each step what can be seen of each connection.

use super::script::{Act, Conn, On, OnData, Origin, Script, Step};
use crate::kit;
use crate::kit::edge::{self, Edge, Peer, Server};
use sockeye::{Addr, Config, ConnId, Context, EventKind, Listen, ListenerId, Reason, Sent};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What can be seen of a connection. `None`: that is up to the buffers, or to chance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// The callbacks but `data` and `drain`.
    callbacks: Vec<&'static str>,
    reason: Option<String>,
    undelivered: Option<u64>,
    drains: Option<usize>,
    pending: Option<usize>,
    /// Timers that have fired.
    fired: usize,
    /// Bytes that the handler was offered.
    got: Option<usize>,
    /// Bytes that the peer has read.
    heard: Option<usize>,
    /// How the peer sees the connection.
    end: Option<&'static str>,
    /// The peer has sent all that it was told to.
    sent_all: Option<bool>,
}

impl Seen {
    /// Is this what was foretold, where anything was?
    fn agrees(&self, foretold: &Seen) -> bool {
        fn same<T: PartialEq>(seen: &Option<T>, foretold: &Option<T>) -> bool {
            foretold.is_none() || seen == foretold
        }
        self.callbacks == foretold.callbacks
            && self.fired == foretold.fired
            && same(&self.reason, &foretold.reason)
            && same(&self.undelivered, &foretold.undelivered)
            && same(&self.drains, &foretold.drains)
            && same(&self.pending, &foretold.pending)
            && same(&self.got, &foretold.got)
            && same(&self.heard, &foretold.heard)
            && same(&self.end, &foretold.end)
            && same(&self.sent_all, &foretold.sent_all)
    }
}

/// What a whole run has shown.
pub(crate) struct Outcome {
    /// After each step, of each connection.
    pub steps: Vec<Vec<Seen>>,
    /// The bytes at the end: offered to the handler, and read by the peer.
    pub bytes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What the handler's closure and the run share.
struct Shared {
    conns: Vec<Conn>,
    ids: Vec<Option<ConnId>>,
    index: HashMap<ConnId, usize>,
    /// The one that is being opened.
    opening: usize,
    /// Bytes taken and sent so far, per connection.
    taken: Vec<usize>,
    sent: Vec<usize>,
    /// Timers: to whom, and how much.
    timers: Vec<(ConnId, usize)>,
    fired: Vec<usize>,
}

type SharedRef = Rc<RefCell<Shared>>;

/// A stretch of the stream that a side sends: every place has a byte of its own.
fn stretch(conn: usize, from: usize, len: usize) -> Vec<u8> {
    (from..from + len)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16) ^ (conn << 5)) as u8)
        .collect()
}

fn send(cx: &mut Context, shared: &SharedRef, conn: ConnId, len: usize) {
    let mut shared = shared.borrow_mut();
    let index = shared.index[&conn];
    let bytes = stretch(index + 4, shared.sent[index], len);
    if cx.send(conn, bytes) != Sent::Gone {
        shared.sent[index] += len;
    }
}

fn react(shared: &SharedRef, cx: &mut Context, event: EventKind<'_>) {
    let on = |conn: ConnId, which: fn(&Conn) -> On| {
        let shared = shared.borrow();
        which(&shared.conns[shared.index[&conn]])
    };
    match event {
        EventKind::Open { conn, .. } => {
            let opening = shared.borrow().opening;
            let known = shared.borrow_mut().index.insert(conn, opening);
            assert!(known.is_none_or(|known| known == opening));
            shared.borrow_mut().ids[opening] = Some(conn);
            answer(shared, cx, conn, on(conn, |conn| conn.on_open), |_| {});
        }
        EventKind::Data { conn, input } => data(shared, cx, conn, input),
        EventKind::Drain { conn } => resume_echo(shared, cx, conn),
        EventKind::Eof { conn, .. } => {
            let close = |cx: &mut Context| _ = cx.close(conn);
            answer(shared, cx, conn, on(conn, |conn| conn.on_eof), close);
        }
        EventKind::Deadline { conn, which } => {
            let default = |cx: &mut Context| kit::default(cx, EventKind::Deadline { conn, which });
            answer(shared, cx, conn, on(conn, |conn| conn.on_deadline), default);
        }
        EventKind::Finish { conn } => {
            let close = |cx: &mut Context| _ = cx.close(conn);
            answer(shared, cx, conn, on(conn, |conn| conn.on_finish), close);
        }
        EventKind::Timer { key, .. } => {
            let (conn, len) = shared.borrow().timers[key as usize];
            let index = shared.borrow().index[&conn];
            shared.borrow_mut().fired[index] += 1;
            send(cx, shared, conn, len);
        }
        other => kit::default(cx, other),
    }
}

fn resume_echo(shared: &SharedRef, cx: &mut Context, conn: ConnId) {
    let shared = shared.borrow();
    if shared.conns[shared.index[&conn]].on_data == OnData::Echo {
        cx.resume_reads(conn);
    }
}

fn answer(
    shared: &SharedRef,
    cx: &mut Context,
    conn: ConnId,
    on: On,
    default: impl FnOnce(&mut Context),
) {
    match on {
        On::Default => default(cx),
        On::Ignore => {}
        On::Send(len) => send(cx, shared, conn, len),
        On::SendAndClose(len) => {
            send(cx, shared, conn, len);
            cx.close(conn);
        }
        On::Shut => drop(cx.shutdown_write(conn)),
        On::Pause => drop(cx.pause_reads(conn)),
        On::Abort => drop(cx.abort(conn)),
    }
}

fn data(shared: &SharedRef, cx: &mut Context, conn: ConnId, input: &mut sockeye::Input) {
    let index = shared.borrow().index[&conn];
    let on_data = shared.borrow().conns[index].on_data;
    let before = shared.borrow().taken[index];
    let left = usize::from(on_data == OnData::LeaveOne);
    let take = input.len() - left;
    let after = before + take;
    shared.borrow_mut().taken[index] = after;
    let reached = |at: usize| before < at && after >= at;
    match on_data {
        OnData::Echo => return kit::echo(cx, EventKind::Data { conn, input }),
        OnData::Relay => {
            let shared = shared.borrow();
            let next = (index + 1) % shared.ids.len();
            if let Some(to) = shared.ids[next] {
                cx.send(to, input.take_all());
            }
        }
        OnData::CloseAt(at) if reached(at) => drop(cx.close(conn)),
        OnData::AnswerAndCloseAt(at) if reached(at) => {
            send(cx, shared, conn, at);
            cx.close(conn);
        }
        OnData::AbortAt(at) if reached(at) => drop(cx.abort(conn)),
        OnData::PauseAt(at) if reached(at) => drop(cx.pause_reads(conn)),
        OnData::ShutAt(at) if reached(at) => drop(cx.shutdown_write(conn)),
        _ => {}
    }
    input.take(take);
}

pub(crate) struct Run<'a> {
    script: &'a Script,
    edge: Edge,
    shared: SharedRef,
    addr: Addr,
    listener: ListenerId,
    /// One for each that connects, so that it is known who comes.
    servers: Vec<Server>,
    refusing: Addr,
    peers: Vec<Option<Peer>>,
    /// What each peer has sent, and whether it reads and is still there.
    sent: Vec<usize>,
    deaf: Vec<bool>,
    left: Vec<bool>,
    /// Peers' acts that cannot be compared were left out: by step and act.
    foretold: Option<&'a Foretold>,
    skipped: Vec<(usize, usize)>,
}

/// What a run on the simulated network says about the one on real sockets.
pub(crate) struct Foretold {
    pub outcome: Outcome,
    skipped: Vec<(usize, usize)>,
}

fn config(script: &Script) -> Config {
    let mut config = Config::default();
    config.receive_buffer = script.receive_buffer;
    // Only what a script asks for passes in its time.
    let long = Duration::from_secs(100);
    config.limits.close_flush = long;
    config.limits.linger_time = long;
    config.limits.linger_silence = long;
    config.limits.hard_limit = usize::MAX;
    config
}

impl<'a> Run<'a> {
    pub(crate) fn new(on: edge::On, script: &'a Script, foretold: Option<&'a Foretold>) -> Run<'a> {
        let count = script.conns.len();
        let shared = Rc::new(RefCell::new(Shared {
            conns: script.conns.clone(),
            ids: vec![None; count],
            index: HashMap::new(),
            opening: 0,
            taken: vec![0; count],
            sent: vec![0; count],
            timers: Vec::new(),
            fired: vec![0; count],
        }));
        let told = shared.clone();
        let mut edge = on.edge_with(config(script), move |cx, event| react(&told, cx, event));
        let unix = script.unix;
        let place = match unix {
            true => Listen::new(kit::unix_path()),
            false => Listen::new("127.0.0.1:0"),
        };
        let listener = edge.reactor().listen(place.send_buffer(16 * 1024)).unwrap();
        let addr = edge.cx().listener_addr(listener).unwrap().clone();
        let server = |edge: &mut Edge| match unix {
            true => edge.unix_server(),
            false => edge.server(),
        };
        let servers = (0..count).map(|_| server(&mut edge)).collect();
        let refusing = match unix {
            true => Addr::unix(kit::unix_path()),
            false => edge.refusing(),
        };
        Run {
            script,
            edge,
            shared,
            addr,
            listener,
            servers,
            refusing,
            peers: vec![None; count],
            sent: vec![0; count],
            deaf: vec![false; count],
            left: vec![false; count],
            foretold,
            skipped: Vec::new(),
        }
    }

    /// Runs it. On real sockets each step is over when what was foretold is seen; if it never is,
    /// that is the error.
    pub(crate) fn run(mut self) -> Result<Foretold, String> {
        let script = self.script;
        let mut steps = Vec::new();
        for (number, step) in script.steps.iter().enumerate() {
            self.step(number, step);
            steps.push(self.settle(number)?);
        }
        for end in 0..4 {
            for index in 0..script.conns.len() {
                self.end_step(end, index);
            }
            steps.push(self.settle(script.steps.len() + end)?);
        }
        let mut bytes = Vec::new();
        for index in 0..script.conns.len() {
            let got = match self.id(index) {
                // What is left is offered again, as often as new bytes come.
                _ if script.conns[index].on_data == OnData::LeaveOne => Vec::new(),
                Some(id) if self.edge.log().ids.contains(&id) => {
                    self.edge.log().life(id).received.clone()
                }
                _ => Vec::new(),
            };
            let heard = self.peers[index].as_ref().map(Peer::received);
            bytes.push((got, heard.unwrap_or_default()));
        }
        Ok(Foretold {
            outcome: Outcome { steps, bytes },
            skipped: self.skipped,
        })
    }

    fn id(&self, index: usize) -> Option<ConnId> {
        self.shared.borrow().ids[index]
    }

    fn step(&mut self, number: usize, step: &Step) {
        if step.opens {
            self.open(step.conn);
        }
        for (place, act) in step.acts.iter().enumerate() {
            let skip = match self.foretold {
                Some(foretold) => foretold.skipped.contains(&(number, place)),
                None => self.is_racy(step.conn, *act),
            };
            match skip {
                true => self.skipped.push((number, place)),
                false => self.act(step.conn, *act),
            }
        }
    }

    /// A close would lose what a peer has not sent yet; how much that is, the buffers say. A Unix
    /// socket's buffers are small, and its reset is a close.
    fn is_racy(&self, index: usize, act: Act) -> bool {
        let unix = self.script.unix;
        let closes = act == Act::PeerClose || unix && act == Act::PeerReset;
        let unsent = |peer: &Peer| peer.unsent() > 0;
        let many = unix && self.script.conns[index].many;
        closes && (many || self.peers[index].as_ref().is_some_and(unsent))
    }

    fn open(&mut self, index: usize) {
        self.shared.borrow_mut().opening = index;
        let to = match self.script.conns[index].origin {
            Origin::Accepted => {
                self.peers[index] = Some(self.edge.peer(&self.addr));
                return;
            }
            Origin::Connected => self.servers[index].addr(),
            Origin::Refused => self.refusing.clone(),
        };
        let connect = sockeye::Connect::new(to).send_buffer(16 * 1024);
        let conn = self.edge.connect(connect);
        self.shared.borrow_mut().ids[index] = Some(conn);
        self.shared.borrow_mut().index.insert(conn, index);
    }

    fn act(&mut self, index: usize, act: Act) {
        let peer = self.peers[index].clone().filter(|_| !self.left[index]);
        let id = self.id(index);
        if let Some(id) = id {
            self.command(id, act);
        }
        match (act, peer) {
            (Act::PeerSend(len), Some(peer)) => {
                peer.send(stretch(index, self.sent[index], len));
                self.sent[index] += len;
            }
            (Act::PeerShut, Some(peer)) => peer.shutdown(),
            (Act::PeerClose, Some(peer)) => {
                peer.close();
                self.left[index] = true;
            }
            (Act::PeerReset, Some(peer)) => {
                peer.reset();
                self.left[index] = true;
            }
            (Act::PeerIgnore, Some(peer)) => {
                peer.ignore();
                self.deaf[index] = true;
            }
            (Act::PeerHear, Some(peer)) => {
                peer.hear();
                self.deaf[index] = false;
            }
            (Act::Unlisten, _) => drop(self.edge.cx().unlisten(self.listener)),
            (Act::Finish, _) => self.edge.cx().finish(Duration::from_secs(100)),
            _ => {}
        }
    }

    /// What the handler's side does.
    fn command(&mut self, id: ConnId, act: Act) {
        let shared = self.shared.clone();
        let cx = self.edge.cx();
        match act {
            Act::Send(len) => send(cx, &shared, id, len),
            Act::Pause => drop(cx.pause_reads(id)),
            Act::Resume => drop(cx.resume_reads(id)),
            Act::ShutWrite => drop(cx.shutdown_write(id)),
            Act::Close => drop(cx.close(id)),
            Act::CloseBecause => drop(cx.close_because(id, "of a script")),
            Act::Abort => drop(cx.abort(id)),
            Act::Deadline => drop(cx.set_deadline(id, 0, Duration::from_millis(1))),
            Act::Timer(len) => {
                let key = shared.borrow().timers.len() as u64;
                shared.borrow_mut().timers.push((id, len));
                cx.set_timer(Duration::from_millis(1), key);
            }
            _ => {}
        }
    }

    /// Everybody reads and is read; then peers finish, then they leave, then we do.
    fn end_step(&mut self, end: usize, index: usize) {
        match end {
            0 => {
                self.act(index, Act::PeerHear);
                self.act(index, Act::Resume);
            }
            1 => self.act(index, Act::PeerShut),
            2 => {
                let racy = match self.foretold {
                    Some(told) => told.skipped.contains(&(usize::MAX, index)),
                    None => self.is_racy(index, Act::PeerClose),
                };
                match racy {
                    true => self.skipped.push((usize::MAX, index)),
                    false => self.act(index, Act::PeerClose),
                }
            }
            _ => self.act(index, Act::Abort),
        }
    }

    /// Lets a step come to rest.
    fn settle(&mut self, number: usize) -> Result<Vec<Seen>, String> {
        let Some(foretold) = self.foretold else {
            self.edge.pass(Duration::from_millis(5));
            self.take_in();
            self.edge.pass(Duration::from_millis(5));
            return Ok(self.seen());
        };
        let foretold = &foretold.outcome.steps[number];
        let start = Instant::now();
        self.edge.turn_a_few_times();
        loop {
            self.take_in();
            let seen = self.seen();
            let agrees = seen
                .iter()
                .zip(foretold)
                .all(|(seen, told)| seen.agrees(told));
            if agrees {
                return Ok(seen);
            }
            if start.elapsed() > Duration::from_secs(2) {
                return Err(difference(number, &seen, foretold));
            }
            self.edge.pass(Duration::from_micros(50));
        }
    }

    /// The servers take in whom the handler has connected.
    fn take_in(&mut self) {
        for index in 0..self.servers.len() {
            if let Some(peer) = self.edge.try_accept(&self.servers[index]) {
                self.peers[index] = Some(peer);
            }
        }
    }

    fn seen(&mut self) -> Vec<Seen> {
        (0..self.script.conns.len())
            .map(|index| self.see(index))
            .collect()
    }

    fn see(&mut self, index: usize) -> Seen {
        let mut seen = Seen {
            fired: self.shared.borrow().fired[index],
            ..Seen::default()
        };
        let many = self.script.conns[index].many;
        let echoes = self.script.conns[index].on_data == OnData::Echo;
        let (mut stuck_in, mut stuck_out) = (false, false);
        if let Some(id) = self.id(index) {
            let pending = self.edge.cx().pending(id);
            stuck_out |= pending > 0;
            seen.pending = Some(pending).filter(|_| !many);
            if self.edge.log().ids.contains(&id) {
                let life = self.edge.log().life(id);
                let told = life.callbacks.iter().copied();
                seen.callbacks = told
                    .filter(|name| !matches!(*name, "data" | "drain"))
                    .collect();
                seen.got = Some(self.shared.borrow().taken[index]);
                seen.drains = Some(life.count("drain"));
                if let Some(closed) = &life.closed {
                    seen.reason = Some(name_of(&closed.reason));
                    seen.undelivered = Some(closed.undelivered);
                }
            }
        }
        if let Some(peer) = &self.peers[index] {
            stuck_in |= peer.unsent() > 0;
            if !self.left[index] {
                seen.sent_all = (peer.unsent() == 0).then_some(true);
            }
            seen.heard = Some(peer.count());
            if !self.deaf[index] && !self.left[index] {
                seen.end = Some(match (peer.was_reset(), peer.is_closed()) {
                    (true, _) => "reset",
                    (false, true) => "end",
                    (false, false) => "open",
                });
            }
        }
        if !many {
            return seen;
        }
        // Of a long stream, how much has moved is up to the buffers while it is held up, and for
        // ever if a reset cut it short. Whether the last of it makes an `on_drain` is, too.
        if echoes && (stuck_in || stuck_out) {
            (stuck_in, stuck_out) = (true, true);
        }
        let echo = if echoes { self.sent[index] } else { 0 };
        let cut_out = seen.heard != Some(self.shared.borrow().sent[index] + echo);
        if stuck_in || seen.got != Some(self.sent[index]) {
            (seen.got, seen.sent_all) = (None, None);
        }
        if stuck_out || cut_out {
            (seen.heard, seen.undelivered) = (None, None);
        }
        if stuck_out || cut_out || echoes || seen.reason.is_some() {
            seen.drains = None;
        }
        // An abort of a Unix socket is a reset only if input is unread (script 28748).
        if self.script.unix && seen.reason.as_deref() == Some("Aborted") {
            seen.end = None;
        }
        seen
    }
}

fn name_of(reason: &Reason) -> String {
    match reason {
        Reason::ConnectFailed(error) => format!("ConnectFailed({:?})", error.kind()),
        Reason::Protocol(_) => "Protocol".to_owned(),
        Reason::Io(error) => format!("Io({:?})", error.kind()),
        other => format!("{other:?}"),
    }
}

fn difference(number: usize, seen: &[Seen], foretold: &[Seen]) -> String {
    let mut text = format!("after step {number}:\n");
    for (index, (seen, told)) in seen.iter().zip(foretold).enumerate() {
        if !seen.agrees(told) {
            text +=
                &format!("  connection {index}\n    real      {seen:?}\n    simulated {told:?}\n");
        }
    }
    text
}
