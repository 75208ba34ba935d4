//! Time inside the loop: nanoseconds since the reactor was made, in eight bytes.

use std::time::{Duration, Instant};

/// Nanoseconds since the reactor was made. They last for 584 years.
pub(crate) type Tick = u64;

/// Later than anything.
pub(crate) const NEVER: Tick = Tick::MAX;

/// Turns instants into ticks and back. It reads no clock.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(pub(crate) Instant);

impl Epoch {
    pub(crate) fn tick(self, at: Instant) -> Tick {
        nanos(at.saturating_duration_since(self.0))
    }

    /// `None`: too far away for an `Instant` of this system, as `NEVER` is.
    pub(crate) fn instant(self, tick: Tick) -> Option<Instant> {
        match tick {
            NEVER => None,
            tick => self.0.checked_add(Duration::from_nanos(tick)),
        }
    }
}

/// `Duration::MAX` is longer than any tick: it saturates, and `NEVER` comes of it.
pub(crate) fn nanos(duration: Duration) -> Tick {
    Tick::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// The tick so much later.
pub(crate) fn after(now: Tick, duration: Duration) -> Tick {
    now.saturating_add(nanos(duration))
}
