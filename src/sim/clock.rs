//! The virtual clock, for a handler.

use crate::backend::simnet::SharedNet;
use crate::backend::simnet::net::nanos;
use std::time::{Duration, Instant, SystemTime};

/// The clock of a world, for a handler under test: what it finds when it looks at the time itself,
/// and what it spends when it works for long.
///
/// ```
/// use sockeye::sim::{Clock, World};
/// use sockeye::{ConnId, Context, Handler, Input};
/// use std::time::Duration;
///
/// /// Computes for two seconds.
/// struct Busy(Clock);
/// impl Handler for Busy {
///     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
///         self.0.spend(Duration::from_secs(2));
///         cx.send(conn, input.take_all());
///     }
/// }
///
/// let mut world = World::new();
/// let clock = world.clock();
/// world.start("busy", Busy(clock.clone()), |reactor| reactor.listen("10.0.0.1:7").map(drop));
/// let ann = world.connect("10.0.0.1:7");
/// ann.send("hi");
/// let before = clock.now();
/// world.settle();
/// assert_eq!(ann.received(), "hi");
/// assert_eq!(clock.now() - before, Duration::from_secs(2));
/// ```
#[derive(Clone, Debug)]
pub struct Clock {
    net: SharedNet,
}

impl Clock {
    pub(super) fn of(net: &SharedNet) -> Clock {
        Clock { net: net.clone() }
    }

    /// The time now. In a callback this may be later than `cx.now()`, which is that of the turn.
    pub fn now(&self) -> Instant {
        self.net.lock().instant()
    }

    /// What a clock on the wall shows now: every world begins with the year 2000, in UTC.
    pub fn wall_clock(&self) -> SystemTime {
        self.net.lock().wall()
    }

    /// Time passes, and no reactor turns: within a callback it is one that takes long, outside the
    /// process is stopped. The network goes on: what is due arrives, and waits to be read.
    pub fn spend(&self, time: Duration) {
        self.net.lock().pass(nanos(time));
    }
}
