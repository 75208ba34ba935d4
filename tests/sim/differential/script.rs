//! Random scripts: who connects, and what both sides do, step by step.
//!
//! Between two steps everything comes to rest, so a step is where races could be. What would be a
//! race on a real kernel is not generated; each place says so.

/// Bytes that fit into every buffer, whoever reads; and bytes that fit into none.
const FEW: usize = 3000;
const MANY: usize = 400 * 1024;

/// splitmix64, as the simulator has it.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5eed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    fn one_in(&mut self, limit: usize) -> bool {
        self.below(limit) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn few(&mut self) -> usize {
        match self.below(3) {
            0 => 1,
            1 => self.below(50) + 1,
            _ => self.below(FEW) + 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Accepted,
    Connected,
    /// A connect to where nobody listens.
    Refused,
}

/// What the handler does with data: once so many bytes have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnData {
    Swallow,
    Echo,
    /// Takes all but the last byte.
    LeaveOne,
    /// To the next connection.
    Relay,
    CloseAt(usize),
    AnswerAndCloseAt(usize),
    AbortAt(usize),
    PauseAt(usize),
    ShutAt(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Default,
    Ignore,
    Send(usize),
    SendAndClose(usize),
    Shut,
    Pause,
    Abort,
}

#[derive(Clone, Debug)]
pub(crate) struct Conn {
    pub origin: Origin,
    pub on_open: On,
    pub on_data: OnData,
    pub on_eof: On,
    pub on_deadline: On,
    pub on_finish: On,
    /// More is sent than the buffers hold. How much of it has moved at some moment is then up to
    /// the buffers, so nothing may depend on that.
    pub many: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    // The handler's side.
    Send(usize),
    Pause,
    Resume,
    ShutWrite,
    Close,
    CloseBecause,
    Abort,
    Deadline,
    /// A timer that sends.
    Timer(usize),
    // The peer's side.
    PeerSend(usize),
    PeerShut,
    PeerClose,
    PeerReset,
    PeerIgnore,
    PeerHear,
    // Everybody.
    Unlisten,
    Finish,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub conn: usize,
    /// The connection is made first.
    pub opens: bool,
    pub acts: Vec<Act>,
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub conns: Vec<Conn>,
    pub steps: Vec<Step>,
    pub receive_buffer: usize,
    /// Unix sockets.
    pub unix: bool,
}

pub(crate) fn script(seed: u64) -> Script {
    let mut random = Random::new(seed);
    let mut conns: Vec<Conn> = (0..1 + random.below(3))
        .map(|_| conn(&mut random))
        .collect();
    // The same race as in `acts`: where in the echo of a long stream the relayed bytes come.
    for index in 0..conns.len() {
        let next = &conns[(index + 1) % conns.len()];
        let races = next.many && next.on_data == OnData::Echo;
        if races && conns[index].on_data == OnData::Relay {
            conns[index].on_data = OnData::Swallow;
        }
    }
    let mut steps = Vec::new();
    let mut opened = 0;
    for _ in 0..4 + random.below(10) {
        let opens = opened < conns.len() && (opened == 0 || random.one_in(3));
        let conn = if opens { opened } else { random.below(opened) };
        opened += usize::from(opens);
        let count = random.below(3) + usize::from(!opens);
        let acts = acts(&mut random, &conns[conn], count);
        steps.push(Step { conn, opens, acts });
    }
    if random.one_in(4) {
        let acts = vec![random.pick(&[Act::Finish, Act::Finish, Act::Unlisten])];
        let at = steps.len() - random.below(2);
        let (conn, opens) = (0, false);
        steps.insert(at, Step { conn, opens, acts });
    }
    Script {
        conns,
        steps,
        receive_buffer: random.pick(&[1000, 4096, 256 * 1024]),
        unix: random.one_in(4) && cfg!(unix),
    }
}

fn conn(random: &mut Random) -> Conn {
    use On::*;
    let origins = [Origin::Accepted, Origin::Accepted, Origin::Connected];
    let origin = match random.one_in(12) {
        true => Origin::Refused,
        false => random.pick(&origins),
    };
    let at = random.below(2 * FEW) + 1;
    let many = random.one_in(6);
    // A race: of a stream longer than a read, what is unread at some byte is up to the cutting.
    let on_data = match (many, random.below(16)) {
        (_, 0..6) => OnData::Echo,
        (true, _) => OnData::Swallow,
        (_, 6) => OnData::LeaveOne,
        (_, 7) => OnData::Relay,
        (_, 8) => OnData::CloseAt(at),
        (_, 9) => OnData::AnswerAndCloseAt(at),
        (_, 10) => OnData::AbortAt(at),
        (_, 11) => OnData::PauseAt(at),
        (_, 12) => OnData::ShutAt(at),
        _ => OnData::Swallow,
    };
    // A race: where in the echo of a long stream something else is said, or it is paused or ended.
    let echoes_many = many && on_data == OnData::Echo;
    let size = random.few();
    let mut rarely = |what: &[On]| match random.one_in(2) {
        true => random.pick(what),
        false => Default,
    };
    Conn {
        origin,
        on_open: rarely(&[
            Ignore,
            Ignore,
            Send(size),
            SendAndClose(size),
            Pause,
            Shut,
            Abort,
        ]),
        on_data,
        on_eof: rarely(&[Ignore, Send(size), SendAndClose(size), Shut, Abort]),
        on_deadline: rarely(&[Ignore, Send(size), SendAndClose(size), Abort]),
        on_finish: match echoes_many {
            true => Ignore,
            false => rarely(&[Ignore, SendAndClose(size), Shut, Abort]),
        },
        many,
    }
}

fn acts(random: &mut Random, conn: &Conn, count: usize) -> Vec<Act> {
    let mut acts = Vec::new();
    let echoes_many = conn.many && conn.on_data == OnData::Echo;
    for _ in 0..count {
        let size = match conn.many && random.one_in(2) {
            true => MANY + random.below(1000),
            false => random.few(),
        };
        acts.push(match random.below(34) {
            0..5 if !echoes_many => Act::Send(size),
            5 if !echoes_many => Act::Pause,
            6..8 if !echoes_many => Act::Resume,
            8 if !echoes_many => Act::ShutWrite,
            9 if !echoes_many => Act::Close,
            10 if !echoes_many => Act::CloseBecause,
            11 => Act::Abort,
            // A race: how much of a long stream has moved when a time is over.
            12 if !conn.many => Act::Deadline,
            13 if !conn.many => Act::Timer(random.few()),
            14..17 => Act::PeerShut,
            17 => Act::PeerClose,
            18 => Act::PeerReset,
            19..22 => Act::PeerIgnore,
            22 => Act::PeerHear,
            _ => Act::PeerSend(size),
        });
    }
    // Races: a reset or a close of the peer that meets a close of ours, on the way. Whoever looks
    // first decides; so the handler's acts of a step come without the peer's last ones.
    let handler_ends = acts.iter().any(|act| ends_here(*act));
    // And a time that passes while a peer acts.
    let times = acts
        .iter()
        .any(|act| matches!(act, Act::Deadline | Act::Timer(_)));
    acts.retain(|act| !((handler_ends || times) && is_peers(*act)));
    acts
}

/// Does it end something on the handler's side?
fn ends_here(act: Act) -> bool {
    matches!(
        act,
        Act::Close | Act::CloseBecause | Act::Abort | Act::ShutWrite
    )
}

fn is_peers(act: Act) -> bool {
    use Act::{PeerClose, PeerHear, PeerIgnore, PeerReset, PeerSend, PeerShut};
    matches!(
        act,
        PeerSend(_) | PeerShut | PeerClose | PeerReset | PeerIgnore | PeerHear
    )
}
