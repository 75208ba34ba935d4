//! What a reactor has done, in numbers.

use crate::closed::Reason;
use std::fmt;

/// Counts since the reactor was made: [`Context::stats`](crate::Context::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Connections accepted and kept.
    pub accepted: u64,
    /// Connections refused by `on_accept` or by the cap on connections.
    pub refused: u64,
    /// Errors of `accept`, each reported by `on_accept_error`.
    pub accept_errors: u64,
    /// Names that were looked up for a connect. Literals and `localhost` are none.
    pub lookups: u64,
    /// Look-ups that a resolver answered with an error, for connections that were still there.
    pub lookups_failed: u64,
    /// Attempts at the addresses of names; a connect to an address alone counts none.
    pub attempts: u64,
    /// Outbound connections established.
    pub connected: u64,
    /// Connections adopted.
    pub adopted: u64,
    /// `on_open` callbacks: accepted and connected.
    pub opened: u64,
    /// `on_close` callbacks, by reason.
    pub closed: ClosedStats,
    /// Calls of `recv` that gave bytes.
    pub reads: u64,
    /// Calls of `send` that took bytes.
    pub writes: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the operating system took.
    pub bytes_out: u64,
    /// Bytes that were queued and could not be delivered.
    pub bytes_lost: u64,
    /// Messages from other threads delivered.
    pub messages: u64,
    /// Timers fired.
    pub timers: u64,
    /// Deadlines of connections passed.
    pub deadlines: u64,
    /// TLS handshakes (feature `tls`).
    pub tls: TlsStats,
    /// Times that a turn left work over because a budget was used up.
    pub budget_hits: BudgetHits,
}

/// `on_close` callbacks by [`Reason`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "each field is named after the reason that it counts"
)]
pub struct ClosedStats {
    pub local: u64,
    pub aborted: u64,
    pub eof: u64,
    pub reset: u64,
    pub timed_out: u64,
    pub connect_failed: u64,
    pub connect_timed_out: u64,
    pub input_limit: u64,
    pub pending_limit: u64,
    pub protocol: u64,
    pub finished: u64,
    pub tls: u64,
    pub truncated: u64,
    pub source: u64,
    pub released: u64,
    pub io: u64,
}

/// `12 closed, 3 aborted, 0 bytes lost`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            closed,
            aborted,
            bytes_lost,
            ..
        } = self;
        write!(
            f,
            "{closed} closed, {aborted} aborted, {bytes_lost} bytes lost"
        )
    }
}

impl Stats {
    /// The system took bytes.
    #[inline]
    pub(crate) fn wrote(&mut self, count: usize) {
        self.writes += 1;
        self.bytes_out += count as u64;
    }
}

impl ClosedStats {
    pub(crate) fn count(&mut self, reason: &Reason) {
        let counter = match reason {
            Reason::Local => &mut self.local,
            Reason::Aborted => &mut self.aborted,
            Reason::Eof => &mut self.eof,
            Reason::Reset => &mut self.reset,
            Reason::TimedOut(_) => &mut self.timed_out,
            Reason::ConnectFailed(_) => &mut self.connect_failed,
            Reason::ConnectTimedOut => &mut self.connect_timed_out,
            Reason::InputLimit => &mut self.input_limit,
            Reason::PendingLimit => &mut self.pending_limit,
            Reason::Protocol(_) => &mut self.protocol,
            Reason::Finished => &mut self.finished,
            Reason::Tls(_) => &mut self.tls,
            Reason::Truncated => &mut self.truncated,
            Reason::Source(_) => &mut self.source,
            #[cfg(unix)]
            Reason::Released(_) => &mut self.released,
            Reason::Io(_) => &mut self.io,
        };
        *counter += 1;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        let clean = self.local + self.eof + self.aborted + self.finished + self.released;
        let failed = self.reset + self.connect_failed + self.protocol + self.source + self.io;
        let failed = failed + self.tls + self.truncated;
        let limits = self.input_limit + self.pending_limit;
        clean + failed + limits + self.timed_out + self.connect_timed_out
    }
}

/// TLS handshakes, by what came of them. One of `start_tls` counts here only if it comes through:
/// that it fails is told by `on_close`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsStats {
    /// Handshakes that came through.
    pub secured: u64,
    /// Those of them that resumed an earlier session.
    pub resumed: u64,
    /// Handshakes that failed because a rule was broken, or one side refused the other.
    pub failed: u64,
    /// Handshakes that a peer has left, by its end or by a reset.
    pub left: u64,
    /// Handshakes that took longer than [`Limits::handshake`](crate::Limits::handshake).
    pub timed_out: u64,
    /// Peers that were refused, for as many handshakes as
    /// [`Config::max_handshakes`](crate::Config::max_handshakes) or
    /// [`Config::max_handshakes_from_one`](crate::Config::max_handshakes_from_one) were under way.
    pub refused: u64,
}

/// Which budgets were used up, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetHits {
    /// The wait gave as many events as it has room for.
    pub events: u64,
    /// More connections waited than [`Config::accepts_per_turn`](crate::Config::accepts_per_turn).
    pub accepts: u64,
    /// More connections were readable than
    /// [`Config::reads_per_turn`](crate::Config::reads_per_turn), or a queue grew above its high
    /// watermark and had to be flushed first.
    pub reads: u64,
    /// More messages waited than
    /// [`Config::messages_per_turn`](crate::Config::messages_per_turn).
    pub messages: u64,
    /// More timers and deadlines were due than
    /// [`Config::expiries_per_turn`](crate::Config::expiries_per_turn).
    pub expiries: u64,
    /// More TLS handshakes were to go on than
    /// [`Config::handshakes_per_turn`](crate::Config::handshakes_per_turn).
    pub handshakes: u64,
    /// Sources had more to give than
    /// [`Config::source_bytes_per_turn`](crate::Config::source_bytes_per_turn): once for each of
    /// them that has to wait for the next turn.
    pub sources: u64,
    /// Flushing and reaping had not come to rest after
    /// [`Config::rounds_per_turn`](crate::Config::rounds_per_turn).
    pub rounds: u64,
}

/// What one `turn` has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Readiness events from the operating system.
    pub events: usize,
    /// Callbacks made.
    pub callbacks: usize,
    /// Work was left over: the next turn will not sleep.
    pub more: bool,
    /// [`Context::stop`](crate::Context::stop) was called, in this turn or before it. `run` returns
    /// then; a foreign loop may do the same.
    pub stopped: bool,
    /// A graceful stop has come to its end, and this is its report. A [`Reactor`](crate::Reactor)
    /// tells it again until [`take_report`](crate::Reactor::take_report) takes it; a `Driver` tells
    /// it once.
    pub report: Option<Report>,
}

/// What `run` returns: how it came to an end. After a `stop` all is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// `finish` came to its end; `false`: `stop` was called.
    pub finished: bool,
    /// Connections that closed by themselves within the grace of `finish`.
    pub closed: u64,
    /// Connections that were aborted when the grace ended.
    pub aborted: u64,
    /// Bytes that were queued on connections which ended since `finish` began, and that the
    /// operating system never took.
    pub bytes_lost: u64,
}
