//! The attempts of one connect: which address is next, and when (RFC 8305, sections 4 to 6).
//!
//! Nothing here has a socket or a clock. Whoever dials asks [`Dial::next`] after everything that
//! happens, does what it says, and reports how each attempt has failed. The first that comes
//! through wins, and then there is nothing more to ask.

use crate::clock::{NEVER, Tick};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

/// The next attempt begins so long after the last one, if that has not failed before: 250 ms
/// (RFC 8305, section 8, "Connection Attempt Delay").
pub(crate) const DELAY: Tick = 250_000_000;

/// Attempts at most: a name may have hundreds of addresses, and each attempt is a socket.
pub(crate) const MOST: u8 = 8;

/// Attempts that may be alive at the same time. An earlier one is never given up for a later one:
/// what is slower than the delay may still be the only one that answers.
pub(crate) const ALIVE: usize = 4;

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Begin an attempt at this address, and ask again.
    Begin(SocketAddr),
    /// Nothing before this time, unless something happens. `NEVER`: only if something happens.
    Wait(Tick),
    /// All is tried, and all has failed.
    GiveUp,
}

/// The attempts of one connect.
pub(crate) struct Dial {
    /// Not tried yet, of each family in the order of their coming: IPv6, and IPv4.
    left: [VecDeque<SocketAddr>; 2],
    /// The family whose turn it is, once an address has come.
    turn: Option<usize>,
    /// The look-up may bring more of them.
    more: bool,
    begun: u8,
    alive: usize,
    /// The next attempt need not wait for a failure from then on.
    next_at: Tick,
    /// An attempt has failed: the next need not wait for its time.
    hurry: bool,
    /// What is told if all fails, and whether it says nothing of those who were to be reached.
    error: Option<(io::Error, bool)>,
}

impl Dial {
    /// Nothing is known yet.
    pub(crate) fn new() -> Dial {
        Dial {
            left: [VecDeque::new(), VecDeque::new()],
            turn: None,
            more: true,
            begun: 0,
            alive: 0,
            next_at: 0,
            hurry: false,
            error: None,
        }
    }

    /// Addresses have come, the best one first, as getaddrinfo(3) sorts them (RFC 6724). The family
    /// of the very first begins; then the families take turns.
    pub(crate) fn add(&mut self, addrs: impl IntoIterator<Item = SocketAddr>) {
        for addr in addrs {
            let family = usize::from(addr.is_ipv4());
            self.turn.get_or_insert(family);
            if !self.left[family].contains(&addr) {
                self.left[family].push_back(addr);
            }
        }
    }

    /// No more will come.
    pub(crate) fn complete(&mut self) {
        self.more = false;
    }

    /// So many attempts have begun.
    pub(crate) fn begun(&self) -> u8 {
        self.begun
    }

    /// What is to be done now. An attempt that it says to begin has begun, also if it fails at
    /// once.
    pub(crate) fn next(&mut self, now: Tick) -> Move {
        if self.begun == MOST || (self.left.iter().all(VecDeque::is_empty) && !self.more) {
            return match self.alive {
                0 => Move::GiveUp,
                _ => Move::Wait(NEVER),
            };
        }
        if self.alive == ALIVE || self.left.iter().all(VecDeque::is_empty) {
            return Move::Wait(NEVER);
        }
        if now < self.next_at && !self.hurry && self.alive > 0 {
            return Move::Wait(self.next_at);
        }
        match self.take() {
            Some(addr) => {
                self.hurry = false;
                self.begun += 1;
                self.alive += 1;
                self.next_at = now.saturating_add(DELAY);
                Move::Begin(addr)
            }
            None => Move::Wait(NEVER),
        }
    }

    /// The next address: of the family whose turn it is, if it has one left.
    fn take(&mut self) -> Option<SocketAddr> {
        let turn = self.turn.unwrap_or(0);
        let family = match self.left[turn].is_empty() {
            true => 1 - turn,
            false => turn,
        };
        self.turn = Some(1 - family);
        self.left[family].pop_front()
    }

    /// An attempt has failed. `about_us`: the error says that this machine cannot reach such
    /// addresses, and nothing of who is there.
    pub(crate) fn failed(&mut self, error: io::Error, about_us: bool) {
        self.alive = self.alive.saturating_sub(1);
        self.hurry = true;
        let keeps = self
            .error
            .as_ref()
            .is_some_and(|(_, first)| about_us || !first);
        if !keeps {
            self.error = Some((error, about_us));
        }
    }

    /// The error to tell: the first that says something of who was to be reached, or else the very
    /// first.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take().map(|(error, _)| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind::{ConnectionRefused, NetworkUnreachable, TimedOut};

    const MS: Tick = 1_000_000;

    /// What an address does with an attempt.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Host {
        Refuses(u64),
        Connects(u64),
        Silent,
    }

    use Host::{Connects, Refuses, Silent};

    /// How a dial went: the attempts with their times, in milliseconds, and who came through when.
    #[derive(Debug, PartialEq, Eq)]
    struct Went {
        begun: Vec<(u64, usize)>,
        won: Option<(u64, usize)>,
        gave_up: Option<u64>,
    }

    const TIMEOUT: u64 = 10_000;

    fn addr(index: usize, is_v6: bool) -> SocketAddr {
        let port = 1000 + index as u16;
        match is_v6 {
            true => ([0, 0, 0, 0, 0, 0, 0, 1], port).into(),
            false => ([127, 0, 0, 1], port).into(),
        }
    }

    fn index(addr: SocketAddr) -> usize {
        usize::from(addr.port()) - 1000
    }

    /// Runs the machine on a virtual clock, from event to event.
    fn run(hosts: &[Host], families: &[bool]) -> Went {
        let mut dial = Dial::new();
        dial.add((0..hosts.len()).map(|at| addr(at, families[at])));
        dial.complete();
        let mut went = Went {
            begun: Vec::new(),
            won: None,
            gave_up: None,
        };
        let mut events: Vec<(u64, usize)> = Vec::new();
        let mut now = 0;
        loop {
            events.sort_unstable();
            while let Some(at) = events.iter().position(|(at, _)| *at == now) {
                let (_, who) = events.remove(at);
                if matches!(hosts[who], Connects(_)) {
                    went.won = Some((now, who));
                    return went;
                }
                dial.failed(ConnectionRefused.into(), false);
            }
            match dial.next(now * MS) {
                Move::Begin(addr) => {
                    let who = index(addr);
                    went.begun.push((now, who));
                    if let Connects(after) | Refuses(after) = hosts[who] {
                        events.push((now + after, who));
                    }
                }
                Move::Wait(until) => {
                    let event = events.iter().map(|(at, _)| *at).min();
                    let next = event
                        .unwrap_or(TIMEOUT)
                        .min(until.div_ceil(MS))
                        .min(TIMEOUT);
                    if next >= TIMEOUT {
                        return went;
                    }
                    assert!(next > now, "a spin at {now}: {hosts:?}");
                    now = next;
                }
                Move::GiveUp => {
                    went.gave_up = Some(now);
                    return went;
                }
            }
        }
    }

    /// The order in which the addresses are to be tried: the families take turns.
    fn order(families: &[bool]) -> Vec<usize> {
        let mut left: Vec<usize> = (0..families.len()).collect();
        let mut order = Vec::new();
        let mut wanted = families.first().copied();
        while let Some(family) = wanted.filter(|_| !left.is_empty()) {
            let at = left.iter().position(|at| families[*at] == family);
            let taken = left.remove(at.unwrap_or(0));
            wanted = Some(!families[taken]);
            order.push(taken);
        }
        order
    }

    /// What RFC 8305 asks for, as a table that is filled from left to right: when an attempt
    /// begins, and when it is over.
    fn model(hosts: &[Host], families: &[bool]) -> Went {
        let mut begun: Vec<(u64, usize)> = Vec::new();
        let over = |(start, who): (u64, usize)| match hosts[who] {
            Refuses(after) => Some(start + after),
            _ => None,
        };
        let through = |(start, who): (u64, usize)| match hosts[who] {
            Connects(after) => Some((start + after, who)),
            _ => None,
        };
        for who in order(families) {
            // A failure begins the next one, if it comes after the last start; else the delay does.
            let start = begun.last().map_or(0, |&last| {
                let news =
                    |one: &(u64, usize)| over(*one).filter(|at| *one == last || *at > last.0);
                let failure = begun.iter().filter_map(news).min();
                failure.unwrap_or(u64::MAX).min(last.0 + 250)
            });
            let won = begun.iter().filter_map(|one| through(*one)).min();
            if won.is_some_and(|(at, _)| at <= start) {
                break;
            }
            begun.push((start, who));
        }
        let won = begun.iter().filter_map(|one| through(*one)).min();
        let all = begun
            .iter()
            .map(|one| over(*one))
            .collect::<Option<Vec<_>>>();
        let gave_up = all.map(|all| all.into_iter().max().unwrap_or(0));
        Went {
            begun,
            won,
            gave_up,
        }
    }

    /// Every list of so many out of these.
    fn lists<T: Copy>(of: &[T], length: usize) -> Vec<Vec<T>> {
        (0..length).fold(vec![Vec::new()], |lists, _| {
            let longer = |list: Vec<T>| of.iter().map(move |one| [&list[..], &[*one]].concat());
            lists.into_iter().flat_map(longer).collect()
        })
    }

    // N2
    #[test]
    fn up_to_four_addresses_are_tried_as_a_plain_model_has_it() {
        let hosts = [
            Refuses(0),
            Refuses(100),
            Connects(0),
            Connects(100),
            Connects(300),
            Silent,
        ];
        let mut cases = 0;
        for length in 0..=4 {
            for families in lists(&[true, false], length) {
                for hosts in lists(&hosts, length) {
                    let (went, modelled) = (run(&hosts, &families), model(&hosts, &families));
                    assert_eq!(went, modelled, "{hosts:?} {families:?}");
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 1 + 2 * 6 + 4 * 36 + 8 * 216 + 16 * 1296);
    }

    // N2: the table that one looks at.
    #[test]
    fn what_a_dial_does_by_hand() {
        let both = [true, false, true, false];
        let went = |hosts: &[Host]| {
            let went = run(hosts, &both[..hosts.len()]);
            (went.begun, went.won, went.gave_up)
        };
        // The first answers within the delay: nobody else is asked.
        assert_eq!(
            went(&[Connects(100), Connects(0)]),
            (vec![(0, 0)], Some((100, 0)), None)
        );
        // It is dead: the next begins at once.
        let dead = (vec![(0, 0), (0, 1)], Some((0, 1)), None);
        assert_eq!(went(&[Refuses(0), Connects(0)]), dead);
        // It is black-holed: the next begins after 250 ms.
        let hole = (vec![(0, 0), (250, 1)], Some((350, 1)), None);
        assert_eq!(went(&[Silent, Connects(100)]), hole);
        // It is slower than the delay, and the only one that answers.
        let slow = (vec![(0, 0), (250, 1)], Some((300, 0)), None);
        assert_eq!(went(&[Connects(300), Refuses(0)]), slow);
        // All refuse.
        let none = (vec![(0, 0), (100, 1), (100, 2)], None, Some(200));
        assert_eq!(went(&[Refuses(100), Refuses(0), Refuses(100)]), none);
        // All are silent: the timeout of the connect ends it.
        let silent = (vec![(0, 0), (250, 1), (500, 2), (750, 3)], None, None);
        assert_eq!(went(&[Silent; 4]), silent);
        assert_eq!(went(&[]), (vec![], None, Some(0)));
    }

    #[test]
    fn the_family_of_the_first_begins_and_then_they_take_turns() {
        let tried = |families: &[bool]| {
            let went = run(&vec![Refuses(0); families.len()], families);
            went.begun.iter().map(|(_, who)| *who).collect::<Vec<_>>()
        };
        assert_eq!(tried(&[true, true, true, false, false]), [0, 3, 1, 4, 2]);
        assert_eq!(tried(&[false, true, true, true]), [0, 1, 2, 3]);
        assert_eq!(tried(&[false, false]), [0, 1]);
    }

    // N3
    #[test]
    fn of_two_hundred_addresses_eight_are_tried_and_four_at_a_time() {
        let mut dial = Dial::new();
        dial.add((0..200).map(|at| addr(at, at % 2 == 0)));
        dial.complete();
        for at in 0..4 {
            let begun = matches!(dial.next(at * DELAY), Move::Begin(_));
            assert!(begun && dial.next(at * DELAY) != Move::GiveUp);
        }
        assert_eq!(dial.next(100 * DELAY), Move::Wait(NEVER));
        for _ in 0..4 {
            dial.failed(TimedOut.into(), false);
            assert!(matches!(dial.next(100 * DELAY), Move::Begin(_)));
        }
        assert_eq!(
            (dial.begun(), dial.next(200 * DELAY)),
            (8, Move::Wait(NEVER))
        );
        (0..4).for_each(|_| dial.failed(ConnectionRefused.into(), false));
        assert_eq!(dial.next(200 * DELAY), Move::GiveUp);
    }

    // N2: RFC 8305, section 6.
    #[test]
    fn addresses_that_come_later_take_their_turn() {
        let mut dial = Dial::new();
        assert_eq!(dial.next(0), Move::Wait(NEVER));
        dial.add([addr(0, false), addr(1, false)]);
        assert_eq!(dial.next(0), Move::Begin(addr(0, false)));
        dial.failed(ConnectionRefused.into(), false);
        dial.add([addr(2, true), addr(1, false)]);
        assert_eq!(dial.next(0), Move::Begin(addr(2, true)));
        dial.failed(ConnectionRefused.into(), false);
        assert_eq!(dial.next(0), Move::Begin(addr(1, false)));
        dial.failed(ConnectionRefused.into(), false);
        assert_eq!(dial.next(0), Move::Wait(NEVER));
        dial.complete();
        assert_eq!(dial.next(0), Move::GiveUp);
    }

    #[test]
    fn the_error_to_tell_is_the_first_that_says_something_of_the_host() {
        let told = |errors: &[(io::ErrorKind, bool)]| {
            let mut dial = Dial::new();
            for (kind, about_us) in errors {
                dial.failed((*kind).into(), *about_us);
            }
            dial.take_error().map(|error| error.kind())
        };
        let (away, refused, late) = (
            (NetworkUnreachable, true),
            (ConnectionRefused, false),
            (TimedOut, false),
        );
        assert_eq!(told(&[away, refused, late]), Some(ConnectionRefused));
        assert_eq!(told(&[late, refused, away]), Some(TimedOut));
        assert_eq!(told(&[away, away]), Some(NetworkUnreachable));
        assert_eq!(told(&[]), None);
    }
}
