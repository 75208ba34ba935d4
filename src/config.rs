//! Every number that the loop goes by, with the reason for its default.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The configuration of a reactor. Start from `Config::default()` and change what you need, by the
/// fields or by the setters of the same names.
///
/// Invalid values (a budget of zero, a low watermark above the high one) are refused by
/// [`Reactor::with_config`](crate::Reactor::with_config) with a message that names them.
///
/// ```
/// use sockeye::{Config, Limits, Reactor};
///
/// let limits = Limits::default().at_most_pending(256 * 1024);
/// let reactor = Reactor::with_config(Config::default().max_connections(10_000).limits(limits))?;
/// # drop(reactor);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The limits of every connection whose listener or connect has none of its own.
    pub limits: Limits,
    /// Connections accepted in one turn, over all listeners; default 64: a storm of connects delays
    /// open connections by 0.3 ms a turn, and a larger budget would not make an accept cheaper.
    pub accepts_per_turn: usize,
    /// Connections read in one turn, one receive buffer each at most; default 1024, which is a full
    /// batch of events: so members of a room that speak at once cost each other member one write.
    pub reads_per_turn: usize,
    /// Messages from other threads delivered in one turn; default 1024: the turn's own cost is then
    /// a small part of theirs.
    pub messages_per_turn: usize,
    /// Timers and deadlines fired in one turn; default 1024, as for reads: ten thousand of them,
    /// due at once, do not hold up connections that have data.
    pub expiries_per_turn: usize,
    /// Steps of TLS handshakes in one turn; default 16: one may cost a tenth of a millisecond, and
    /// open connections wait for all of them.
    pub handshakes_per_turn: usize,
    /// How often a turn flushes and reaps before it looks for readiness again; default 8, so that a
    /// handler that refills in `on_drain` keeps a fast consumer busy, and timers still fire.
    pub rounds_per_turn: usize,
    /// Bytes that all sources ([`Context::send_from`](crate::Context::send_from)) may give in one
    /// turn; default 4 MiB, which takes about a millisecond from a file in memory. Sources that had
    /// no chance come first in the next turn.
    pub source_bytes_per_turn: usize,
    /// Events taken from the operating system in one wait, 1 Mi at most; default 1024.
    pub events_per_wait: usize,
    /// Bytes of the loop's one receive buffer, 1 GiB at most (it takes a quarter more memory: what
    /// was left goes in front of what is read); default 256 KiB: a stream that is echoed costs 1.4
    /// times as much a byte with 64 KiB, 2.2 times with 16 KiB, and 0.8 times with 1 MiB
    /// (`cargo bench --bench thresholds`).
    pub receive_buffer: usize,
    /// Maximum number of connections, accepted and outbound; more are refused. Connections that
    /// only wait for their peer's end after a `close` give way; of several workers each can give up
    /// its own only, so one may refuse while somebody waits at another. Default: limited only by
    /// the descriptors of the process.
    pub max_connections: usize,
    /// Maximum number of TLS handshakes of accepted peers at a time; more peers are refused,
    /// without `on_accept`. Default 1024, each about 10 KB.
    pub max_handshakes: usize,
    /// Maximum number of these handshakes from the same IP address; default 256.
    pub max_handshakes_from_one: usize,
    /// Maximum number of messages from other threads that wait; above it `Sender::send` gives the
    /// message back. Default: unlimited.
    pub message_limit: usize,
    /// How long a listener rests when `accept` finds no descriptor or memory; default 100 ms: long
    /// enough not to spin, short enough that a waiting peer does not give up.
    pub accept_backoff: Duration,
    /// How long a wait polls for readiness before it sleeps; default zero: not at all. Events that
    /// arrive while it polls save the microseconds of a wakeup; the price is a processor that does
    /// nothing else. It is a part of the turn's timeout and never adds to it. `docs/performance.md`
    /// says what it gains and costs.
    pub busy_poll: Duration,
    /// A callback that takes longer is logged as a warning; default `None`: then the clock is not
    /// read for this at all.
    pub slow_callback: Option<Duration>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            limits: Limits::default(),
            accepts_per_turn: 64,
            reads_per_turn: 1024,
            messages_per_turn: 1024,
            expiries_per_turn: 1024,
            handshakes_per_turn: 16,
            rounds_per_turn: 8,
            source_bytes_per_turn: 4 * 1024 * 1024,
            events_per_wait: 1024,
            receive_buffer: 256 * 1024,
            max_connections: usize::MAX,
            max_handshakes: 1024,
            max_handshakes_from_one: 256,
            message_limit: usize::MAX,
            accept_backoff: Duration::from_millis(100),
            busy_poll: Duration::ZERO,
            slow_callback: None,
        }
    }
}

/// Hands the fields of `Config` to a macro, so that everything that sets them has all of them.
macro_rules! with_config_fields {
    ($macro:ident) => {
        $macro! {
            limits: Limits,
            accepts_per_turn: usize,
            reads_per_turn: usize,
            messages_per_turn: usize,
            expiries_per_turn: usize,
            handshakes_per_turn: usize,
            rounds_per_turn: usize,
            source_bytes_per_turn: usize,
            events_per_wait: usize,
            receive_buffer: usize,
            max_connections: usize,
            max_handshakes: usize,
            max_handshakes_from_one: usize,
            message_limit: usize,
            accept_backoff: Duration,
            busy_poll: Duration,
            slow_callback: Option<Duration>,
        }
    };
}
pub(crate) use with_config_fields;

macro_rules! config_setters {
    ($($name:ident: $type:ty,)+) => {
        /// Setters, to be chained; each field has one of its name.
        impl Config {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](field@Config::",
                    stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Config {
                    self.$name = $name;
                    self
                }
            )+
        }
    };
}
with_config_fields!(config_setters);

macro_rules! limit_setters {
    ($($name:ident: $type:ty,)+) => {
        /// Setters, to be chained; each field has one of its name.
        impl Limits {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](field@Limits::",
                    stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Limits {
                    self.$name = $name;
                    self
                }
            )+
        }
    };
}
limit_setters! {
    high_watermark: usize,
    low_watermark: usize,
    hard_limit: usize,
    overflow: Overflow,
    input_limit: usize,
    idle: Option<Duration>,
    connect_timeout: Duration,
    handshake: Duration,
    write_stall: Duration,
    close_flush: Duration,
    close_time: Duration,
    linger_time: Duration,
    linger_silence: Duration,
}

impl Limits {
    /// Lets at most so many bytes be pending. This sets the hard limit, and lowers the high
    /// watermark to at most a quarter of it and the low one to at most a quarter of that, so that
    /// there is room between a `Wait` and the limit.
    ///
    /// As with every hard limit, what is sent between two flushes comes on top, and a send that is
    /// made before a `Wait` is taken whatever its size: keep each send small compared to the limit.
    #[must_use]
    pub fn at_most_pending(mut self, bytes: usize) -> Limits {
        self.hard_limit = bytes;
        self.high_watermark = self.high_watermark.min(bytes / 4);
        self.low_watermark = self.low_watermark.min(self.high_watermark / 4);
        self
    }
}

/// The limits of one connection; a listener or a connect may have its own.
///
/// ```
/// use sockeye::{Limits, Listen};
/// use std::time::Duration;
///
/// let limits = Limits::default().idle(Some(Duration::from_secs(300)));
/// let listen = Listen::new("127.0.0.1:7000").limits(limits);
/// # drop(listen);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias("backpressure", "watermark", "timeout"))]
pub struct Limits {
    /// Pending bytes above which `send` answers `Wait`; default 64 KiB: a stream that `on_drain`
    /// refills costs 2.5 times as much with 8 KiB, and 0.65 times with 256 KiB
    /// (`cargo bench --bench thresholds`). Each peer that does not read may occupy this much.
    pub high_watermark: usize,
    /// Pending bytes at which `on_drain` ends the wait; default 16 KiB, so that the socket does not
    /// run dry while the handler refills.
    pub low_watermark: usize,
    /// Pending bytes that a send after a `Wait` may not exceed; default 1 MiB: memory per
    /// connection stays bounded even for handlers that ignore `Wait`.
    ///
    /// It judges the peer, so what counts is what the last flush of the connection left, plus the
    /// send itself. The peer has had no chance to take what was queued since then. While a flush
    /// leaves less than the high watermark, sends of any size are taken. So the bound is this limit
    /// plus what is sent between two flushes: in one callback to its own connection, or in one
    /// turn.
    pub hard_limit: usize,
    /// What to do with a send above the hard limit; default `Close`.
    pub overflow: Overflow,
    /// Bytes that `on_data` may leave unconsumed; default 64 KiB. This is checked when it returns
    /// and reads are not paused: if more is left, the connection is closed after a flush, with
    /// reason `InputLimit`. A paused connection keeps at most this much plus one
    /// [`receive_buffer`](Config::receive_buffer), because it is read no further. Zero: anything
    /// left closes the connection.
    pub input_limit: usize,
    /// If no byte moves in either direction for this long, `on_deadline` is called with `Idle`;
    /// default `None`, because only the application knows how long its peers may be silent.
    pub idle: Option<Duration>,
    /// How long a connect may take; default 10 s (Linux itself gives up after about two minutes).
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take in all, from the first byte, whatever the peer sends;
    /// default 10 s.
    pub handshake: Duration,
    /// How long a peer may take none of the bytes that are pending before it is reset; default
    /// 60 s. Every byte that the system takes starts it again. So a peer that reads nothing at all
    /// may be kept for twice as long: the kernel's buffer may grow once more.
    pub write_stall: Duration,
    /// How long, after `close`, a peer may take none of the bytes that are pending before it is
    /// reset; default 60 s. Every byte taken starts it again.
    pub close_flush: Duration,
    /// How long the flush after `close` may take in all; default 10 min, because a peer that takes
    /// one byte a minute is not worth a connection. It is reset then, as above.
    pub close_time: Duration,
    /// How long a connection that is closed and flushed waits for its peer to end, in all; default
    /// 30 s, as nginx does. Input is discarded meanwhile, so that no RST destroys what the peer has
    /// not read yet (RFC 9112, section 9.6). Zero: it does not wait.
    pub linger_time: Duration,
    /// How long the peer may be silent while its connection lingers; default 5 s. Every byte starts
    /// it again. It begins when the kernel has taken the last byte, which may be long before the
    /// peer has read it: a peer that reads on in silence for longer, and then sends again, is
    /// reset. For slow peers that send while they read, set this and `linger_time` higher.
    pub linger_silence: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            high_watermark: 64 * 1024,
            low_watermark: 16 * 1024,
            hard_limit: 1024 * 1024,
            overflow: Overflow::Close,
            input_limit: 64 * 1024,
            idle: None,
            connect_timeout: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            close_flush: Duration::from_secs(60),
            close_time: Duration::from_secs(600),
            linger_time: Duration::from_secs(30),
            linger_silence: Duration::from_secs(5),
        }
    }
}

/// What happens to a send that would exceed the hard limit. It acts on whole sends, never on one
/// that is partly written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection is reset, with reason `PendingLimit`: its peer does not read.
    Close,
    /// The send is not queued and answers `Dropped`; the connection stays.
    DropNewest,
}

/// An invalid value of [`Config`] or [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration: {}", self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Says which value is invalid, if any.
    pub fn check(&self) -> Result<(), ConfigError> {
        let budgets = [
            ("accepts_per_turn", self.accepts_per_turn),
            ("reads_per_turn", self.reads_per_turn),
            ("messages_per_turn", self.messages_per_turn),
            ("expiries_per_turn", self.expiries_per_turn),
            ("rounds_per_turn", self.rounds_per_turn),
            ("source_bytes_per_turn", self.source_bytes_per_turn),
            ("events_per_wait", self.events_per_wait),
            ("receive_buffer", self.receive_buffer),
            ("max_connections", self.max_connections),
            ("message_limit", self.message_limit),
        ];
        for (name, value) in budgets {
            at_least_one(name, value)?;
        }
        // Both are allocated at once, and an allocation that cannot be is a panic.
        below("events_per_wait", self.events_per_wait, MAX_EVENTS)?;
        below("receive_buffer", self.receive_buffer, MAX_RECEIVE_BUFFER)?;
        not_zero("accept_backoff", self.accept_backoff)?;
        self.limits.check()
    }
}

impl Limits {
    /// These limits, or others in their place, with an idle time of its own.
    pub(crate) fn or(
        self: &Arc<Limits>,
        others: &Option<Limits>,
        idle: Option<Duration>,
    ) -> Result<Arc<Limits>, ConfigError> {
        if others.is_none() && idle.is_none() {
            return Ok(self.clone());
        }
        let mut limits = others.clone().unwrap_or_else(|| Limits::clone(self));
        limits.idle = idle.or(limits.idle);
        limits.check()?;
        Ok(Arc::new(limits))
    }

    /// Says which value is invalid, if any.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Limits {
            low_watermark: low,
            high_watermark: high,
            hard_limit: hard,
            ..
        } = *self;
        at_most("low_watermark", low, "high_watermark", high)?;
        at_most("high_watermark", high, "hard_limit", hard)?;
        not_zero("idle", self.idle.unwrap_or(Duration::MAX))?;
        not_zero("connect_timeout", self.connect_timeout)?;
        not_zero("write_stall", self.write_stall)?;
        not_zero("close_flush", self.close_flush)?;
        not_zero("close_time", self.close_time)?;
        not_zero("linger_silence", self.linger_silence)
    }
}

const MAX_EVENTS: usize = 1 << 20;
const MAX_RECEIVE_BUFFER: usize = 1 << 30;

fn at_most(name: &str, value: usize, limit: &str, most: usize) -> Result<(), ConfigError> {
    match value > most {
        true => Err(ConfigError(format!(
            "`{name}` ({value}) must not exceed `{limit}` ({most})"
        ))),
        false => Ok(()),
    }
}

fn below(name: &str, value: usize, most: usize) -> Result<(), ConfigError> {
    match value > most {
        true => Err(ConfigError(format!(
            "`{name}` ({value}) must be at most {most}"
        ))),
        false => Ok(()),
    }
}

/// For a budget, without which nothing would ever be done.
fn at_least_one(name: &str, value: usize) -> Result<(), ConfigError> {
    match value {
        0 => Err(ConfigError(format!("`{name}` must be at least 1"))),
        _ => Ok(()),
    }
}

fn not_zero(name: &str, time: Duration) -> Result<(), ConfigError> {
    match time.is_zero() {
        true => Err(ConfigError(format!("`{name}` must not be zero"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn at_most_so_many_pending_moves_the_marks_and_makes_sense_for_any_number() {
        for bytes in [0, 1, 3, 5, 17, 1000, 64 * 1024, 256 * 1024, usize::MAX] {
            let limits = Limits::default().at_most_pending(bytes);
            assert_eq!((limits.hard_limit, limits.check()), (bytes, Ok(())));
            let marks = (limits.high_watermark, limits.low_watermark);
            assert!(marks.0 <= bytes / 4 && marks.1 <= marks.0 / 4);
        }
        let much = Limits::default().at_most_pending(1 << 30);
        assert_eq!(
            (much.high_watermark, much.low_watermark),
            (64 * 1024, 16 * 1024)
        );
    }

    #[test]
    fn an_invalid_value_is_refused_by_name() {
        let refused = |change: fn(&mut Config), name: &str| {
            let mut config = Config::default();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        };
        let error = Config::default().reads_per_turn(0).check().unwrap_err();
        let text = "invalid configuration: `reads_per_turn` must be at least 1";
        assert_eq!(error.to_string(), text);
        refused(|c| c.accepts_per_turn = 0, "accepts_per_turn");
        refused(|c| c.receive_buffer = 0, "receive_buffer");
        refused(|c| c.accept_backoff = Duration::ZERO, "accept_backoff");
        refused(|c| c.limits.low_watermark = 1 << 30, "low_watermark");
        refused(|c| c.limits.high_watermark = 1 << 30, "hard_limit");
        refused(|c| c.limits.idle = Some(Duration::ZERO), "idle");
        refused(|c| c.limits.close_flush = Duration::ZERO, "close_flush");
    }
}
