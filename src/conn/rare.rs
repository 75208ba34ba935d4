//! The part of a connection's state that few of them need: one allocation for those who do.

use super::Conn;
use crate::buffer::line::Line;
use crate::clock::Tick;

#[derive(Default)]
pub(super) struct Rare {
    /// Deadlines behind the earliest, which the connection itself has: their keys and times, in the
    /// order of setting.
    pub(super) deadlines: Vec<(u32, Tick)>,
    /// Bytes that were queued when the write side failed.
    lost: u64,
    /// How much unconsumed input there may be, where that is more than in the connection's limits.
    pub(super) raised_input: usize,
    /// When the handshake that `start_tls` began must be through.
    #[cfg(feature = "tls")]
    pub(super) handshake_at: Option<Tick>,
    /// What gives it output, and what was sent after that.
    pub(super) line: Line,
    /// A source was dropped before its end.
    pub(super) is_cut_short: bool,
}

impl Conn {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Bytes that were sent to it and can never go out.
    pub(super) fn lost(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.lost)
    }

    /// So many bytes more are lost.
    pub(crate) fn lose(&mut self, bytes: usize) {
        if bytes > 0 {
            self.rare().lost += bytes as u64;
        }
    }
}
