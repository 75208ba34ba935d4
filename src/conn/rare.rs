//! The part of a connection's state that few of them need: one allocation for those who do.

use super::Conn;
#[cfg(unix)]
use super::Flags;
use super::dial::Dial;
use crate::addr::Addr;
use crate::buffer::line::Line;
use crate::clock::Tick;
#[cfg(unix)]
use crate::hold::Hold;
use crate::id::Key;
use crate::names::Wanted;
use crate::options::Connect;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Rare {
    /// Deadlines behind the earliest, which the connection itself has: their keys and times, in the
    /// order of setting.
    pub(super) deadlines: Vec<(u32, Tick)>,
    /// Bytes that were queued when the write side failed.
    lost: u64,
    /// How much unconsumed input there may be, where that is more than in the connection's limits.
    pub(super) raised_input: usize,
    /// How it connects, by a name or to a full backlog.
    dialing: Option<Box<Dialing>>,
    /// When the handshake that `start_tls` began must be through.
    #[cfg(feature = "tls")]
    pub(super) handshake_at: Option<Tick>,
    /// What gives it output, and what was sent after that.
    pub(super) line: Line,
    /// A source was dropped before its end.
    pub(super) is_cut_short: bool,
    /// Given away at the end of the turn.
    releasing: bool,
}

impl Rare {
    /// Is there anything in it, besides a dial?
    fn is_needed(&self) -> bool {
        #[cfg(feature = "tls")]
        let handshakes = self.handshake_at.is_some();
        #[cfg(not(feature = "tls"))]
        let handshakes = false;
        let counts = self.lost > 0 || self.raised_input > 0 || self.is_cut_short;
        counts || handshakes || !self.deadlines.is_empty() || !self.line.is_empty()
    }
}

/// A connect that may take several attempts.
pub(crate) struct Dialing {
    pub(crate) dial: Dial,
    pub(crate) connect: Connect,
    /// The slots of the attempts that are alive.
    pub(crate) attempts: Vec<u32>,
    /// When the next attempt is due.
    pub(crate) timer: Option<Key>,
    /// Keeps its look-up wanted.
    pub(crate) lookup: Option<Wanted>,
    /// A Unix socket whose backlog is full, and how long it is left alone.
    pub(crate) busy: Option<(Addr, Duration)>,
    /// An attempt has won; `true`: and its peer has reset the connection since.
    pub(crate) through: Option<bool>,
}

impl Conn {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Bytes that were sent to it and can never go out.
    pub(super) fn lost(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.lost)
    }

    /// From now on it dials.
    pub(crate) fn begin_dialing(&mut self, connect: Connect) {
        self.rare().dialing = Some(Box::new(Dialing {
            dial: Dial::new(),
            connect,
            attempts: Vec::new(),
            timer: None,
            lookup: None,
            busy: None,
            through: None,
        }));
    }

    #[cfg(test)]
    pub(crate) fn has_rare(&self) -> bool {
        self.rare.is_some()
    }

    pub(crate) fn dialing(&mut self) -> Option<&mut Dialing> {
        self.rare.as_mut()?.dialing.as_deref_mut()
    }

    /// Ends the dial. What was needed for it goes.
    pub(crate) fn end_dialing(&mut self) -> Option<Box<Dialing>> {
        let rare = self.rare.as_mut()?;
        let dialing = rare.dialing.take();
        if !rare.is_needed() {
            self.rare = None;
        }
        dialing
    }

    /// Nothing but its end is told of it from now on, which comes at the end of the turn. What it
    /// has is kept until then.
    #[cfg(unix)]
    pub(crate) fn begin_releasing(&mut self) {
        self.hold(Hold::NAMELESS);
        self.forget_deadlines();
        self.set_idle(None, 0);
        self.lift_limit();
        self.clear(Flags::WAITING);
        // No command reaches it any more.
        self.set(Flags::CLOSE_ASKED);
        self.rare().releasing = true;
    }

    pub(crate) fn is_releasing(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.releasing)
    }

    /// So many bytes more are lost.
    pub(crate) fn lose(&mut self, bytes: usize) {
        if bytes > 0 {
            self.rare().lost += bytes as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::source::Source;

    #[test]
    fn all_but_the_dial_outlives_the_dial() {
        assert!(!Rare::default().is_needed());
        let changes: [fn(&mut Rare); 5] = [
            |rare| rare.lost = 1,
            |rare| rare.raised_input = 1,
            |rare| rare.is_cut_short = true,
            |rare| rare.deadlines.push((0, 1)),
            |rare| rare.line.push(Source::each([""; 0])),
        ];
        for change in changes {
            let mut rare = Rare::default();
            change(&mut rare);
            assert!(rare.is_needed());
        }
        #[cfg(feature = "tls")]
        assert!(
            Rare {
                handshake_at: Some(1),
                ..Rare::default()
            }
            .is_needed()
        );
    }
}
