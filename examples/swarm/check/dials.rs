//! Connects of the swarm's handlers: the names of a world, whose addresses refuse, are silent, slow
//! or somebody's, and what must hold of each connect, by name or by address.

use super::actor::{Actor, Asked, Life, Note};
use super::ledger::{Shared, Side};
use super::plan::Role;
use super::random::Random;
use sockeye::sim::{Link, Node, World};
use sockeye::{ConnId, ConnectStep, Context, Reason};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A name, and what is behind it.
pub struct Name {
    pub text: String,
    pub addrs: Vec<IpAddr>,
    /// One of its addresses never answers.
    pub is_stuck: bool,
}

/// The names of a world.
pub type Names = Rc<Vec<Name>>;

/// How one connects, as its handler sees it.
pub struct Dialed {
    /// Which name it was given.
    name: Option<usize>,
    begun: Instant,
    /// What was sent before it was known from which address it goes.
    pub early: Option<Vec<u8>>,
}

/// Attempts at most.
const MOST: usize = 8;

/// A look-up has been answered after this time, and its addresses have been tried.
const ANSWERED: Duration = Duration::from_secs(75);

/// What an exact world may be late by: an edge, and what a few turns take.
const EXACT: Duration = Duration::from_millis(20);

/// Where a scripted server listens that is far away, and one of the other family.
pub const FAR: &str = "10.2.0.2:7000";
pub const SIXTH: &str = "[fd00::2]:7000";

/// There and back to the first of these; an attempt at it is slower than the delay of RFC 8305.
const FAR_AWAY: Duration = Duration::from_millis(150);

/// Draws the names of a world of so many nodes. Nobody is at 10.9.0.0 and fd00:9::, and what goes
/// to 10.8.0.0 and fd00:8:: is lost.
pub fn names(random: &mut Random, nodes: usize) -> Vec<Name> {
    let mut names: Vec<Name> = (1..=nodes)
        .map(|number| Name {
            text: format!("n{number}"),
            addrs: vec![Ipv4Addr::new(10, 0, 0, number as u8).into()],
            is_stuck: false,
        })
        .collect();
    for number in 0..random.range(1, 4) {
        let count = match random.percent(10) {
            true => random.range(MOST, MOST + 6),
            false => random.range(1, 5),
        };
        let stuck = random.percent(60);
        let mut addrs = Vec::new();
        for place in 0..count {
            let kind = random.below(match stuck {
                true => 10,
                false => 7,
            });
            let text = match kind {
                0..2 => format!("10.9.{number}.{place}"),
                2..4 => format!("fd00:9::{number}:{place}"),
                4 => "10.2.0.2".to_owned(),
                5 => "fd00::2".to_owned(),
                6 => format!("10.0.0.{}", random.range(1, nodes)),
                7 => format!("10.8.{number}.{place}"),
                _ => format!("fd00:8::{number}:{place}"),
            };
            let addr = text.parse().expect("an address");
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        let is_stuck = addrs.iter().any(is_silent);
        let text = format!("m{number}.test");
        names.push(Name {
            text,
            addrs,
            is_stuck,
        });
    }
    names
}

/// Gives all names their addresses, and sees to it that these do what is said of them.
pub fn name_all(world: &mut World, nodes: &[Node<Actor, Note>], names: &[Name]) {
    let far = FAR.parse::<SocketAddr>().expect("an address");
    for node in nodes {
        world.link(node.host(), far.ip(), Link::latency(FAR_AWAY));
    }
    for name in names {
        world.name(&name.text, name.addrs.iter().copied());
        for addr in name.addrs.iter().filter(|addr| is_silent(addr)) {
            for node in nodes {
                world.cut(node.host(), *addr);
            }
        }
    }
}

/// Nothing goes wrong any more: all connects come through, or fail. A look-up may take a minute.
pub fn all_end(world: &mut World, nodes: &[Node<Actor, Note>]) {
    if nodes.iter().any(|node| world.app(*node).is_dialing()) {
        world.advance(ANSWERED);
    }
    for node in nodes {
        world.app(*node).nobody_dials_for_ever();
    }
}

/// Everybody leaves: who still connects somewhere where nothing answers gives up, and look-ups that
/// nobody waits for end some time.
pub fn forget_all(world: &mut World, nodes: &[Node<Actor, Note>]) {
    for node in nodes {
        world.with(*node, |actor, cx| actor.give_up_dials(cx));
    }
    world.advance(ANSWERED);
}

/// Is nothing ever heard from there?
fn is_silent(addr: &IpAddr) -> bool {
    let text = addr.to_string();
    text.starts_with("10.8.") || text.starts_with("fd00:8:")
}

impl Asked {
    /// Does the peer see an end, and no reset?
    pub fn says_end(self) -> bool {
        self != Asked::Abort
    }
}

impl Life {
    /// Bytes count as sent to the other end, if it is known which that is; or else once it is.
    pub fn note_sent(&mut self, ledger: &Shared, bytes: &[u8]) {
        let early = self.dial.as_mut().and_then(|dial| dial.early.as_mut());
        match (self.end, early) {
            (Some(end), _) => ledger.borrow_mut().sent(end, bytes),
            (None, Some(early)) => early.extend_from_slice(bytes),
            (None, None) => {}
        }
    }
}

impl Actor {
    /// A name instead of an address, now and then. What nobody answers is nothing for a proxy,
    /// whose other side would wait with it.
    pub fn pick_name(&mut self, role: Role) -> Option<(usize, String)> {
        if self.names.is_empty() || !self.dials.percent(35) {
            return None;
        }
        let which = self.dials.below(self.names.len());
        let name = &self.names[which];
        let fits = role != Role::Proxy || !name.is_stuck;
        fits.then(|| (which, format!("{}:7000", name.text)))
    }

    /// A connect has begun.
    pub fn dials(&mut self, conn: ConnId, name: Option<usize>) {
        let begun = self.clock.now();
        if let Some(life) = self.lives.get_mut(&conn) {
            let early = name.map(|_| Vec::new());
            life.dial = Some(Dialed { name, begun, early });
        }
    }

    /// From which address it goes is known when one of its attempts has come through.
    pub fn learn_its_end(&mut self, cx: &Context, conn: ConnId) {
        let Some(life) = self.lives.get_mut(&conn) else {
            return;
        };
        let Some(dial) = life.dial.as_mut() else {
            return;
        };
        let local = cx.local_addr(conn).filter(|addr| addr.ip().is_some());
        let Some(local) = local.filter(|_| dial.early.is_some()) else {
            return;
        };
        let early = dial.early.take().unwrap_or_default();
        let mut ledger = self.ledger.borrow_mut();
        let end = ledger.end(&local, Side::Client);
        ledger.sent(end, &early);
        let half = ledger.half(end);
        half.finished = life.shut || life.asked.is_some_and(|asked| asked.says_end());
        life.end = Some(end);
    }

    /// The same, of all that connect.
    pub fn learn_all_ends(&mut self, cx: &Context) {
        let unknown = |life: &Life| life.dial.as_ref().is_some_and(|dial| dial.early.is_some());
        let lives = self.lives.iter().filter(|(_, life)| unknown(life));
        let all: Vec<ConnId> = lives.map(|(conn, _)| *conn).collect();
        all.into_iter()
            .for_each(|conn| self.learn_its_end(cx, conn));
    }

    /// `on_open`: it is one of those that its name has.
    pub fn has_reached(&self, cx: &Context, conn: ConnId, life: &Life) {
        let dial = life.dial.as_ref().expect("it connects");
        let Some(name) = dial.name.map(|which| &self.names[which]) else {
            return;
        };
        let peer = cx.peer_addr(conn).and_then(|peer| peer.ip());
        let peer = peer.expect("an open connection has a peer");
        assert!(
            name.addrs.contains(&peer.ip()) && peer.port() == 7000,
            "{conn}: asked for {}, and has reached {peer}",
            name.text
        );
    }

    /// `on_close` of one that was never open.
    pub fn has_failed_well(&self, conn: ConnId, life: &Life, reason: &Reason) {
        let Some(dial) = life.dial.as_ref().filter(|_| !life.opened) else {
            return;
        };
        match reason {
            Reason::ConnectTimedOut => {
                let (now, timeout) = (self.clock.now(), self.limits().connect_timeout);
                let took = now - dial.begun;
                assert!(took >= timeout, "{conn}: timed out early, after {took:?}");
                assert!(
                    !self.plan.exact || took <= timeout + EXACT,
                    "{conn}: timed out late, after {took:?} instead of {timeout:?}"
                );
            }
            Reason::ConnectFailed(error) => {
                let attempts = usize::from(error.attempts);
                let most = match (error.step, dial.name) {
                    (ConnectStep::Dial, Some(which)) => self.names[which].addrs.len().min(MOST),
                    (ConnectStep::Dial, None) => 1,
                    _ => 0,
                };
                assert!(
                    attempts == most,
                    "{conn}: given up after {attempts} of {most} attempts: {error}"
                );
            }
            _ => {}
        }
    }

    fn give_up_dials(&mut self, cx: &mut Context) {
        let waits = |life: &Life| !life.opened && life.dial.is_some();
        let lives = self.lives.iter().filter(|(_, life)| waits(life));
        let all: Vec<ConnId> = lives.map(|(conn, _)| *conn).collect();
        for conn in all {
            let done = cx.abort(conn);
            self.asks(conn, Asked::Abort, done);
        }
    }

    /// Does one still connect, of those that must come to an end by themselves?
    fn is_dialing(&self) -> bool {
        self.lives.values().any(|life| self.must_answer(life))
    }

    fn must_answer(&self, life: &Life) -> bool {
        let which = life.dial.as_ref().and_then(|dial| dial.name);
        let name = which.map(|which| &self.names[which]);
        let waits = !life.opened && life.asked.is_none();
        waits && name.is_some_and(|name| !name.is_stuck)
    }

    /// Nothing goes wrong any more, and this for long: all connects have come through, or failed.
    fn nobody_dials_for_ever(&self) {
        let now = self.clock.now();
        for (conn, life) in &self.lives {
            let begun = life.dial.as_ref().map(|dial| dial.begun);
            let late = begun.is_some_and(|begun| now > begun + ANSWERED);
            assert!(
                !late || !self.must_answer(life),
                "{conn}: it neither comes through nor fails"
            );
        }
    }
}
