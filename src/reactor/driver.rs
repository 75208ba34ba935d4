//! A reactor behind one descriptor, for a loop of somebody else's.

use super::Reactor;
use crate::backend::Alarm;
use crate::clock::Tick;
use crate::context::Context;
use crate::handler::Handler;
use crate::mailbox::Sender;
use crate::stats::Turn;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// A reactor for use in another event loop, behind one descriptor that says everything (Linux).
///
/// There is one rule: **when the descriptor is readable, [`turn`](Driver::turn) once.** It is
/// readable when the system has events, when a message has come, when a timer is due, when a turn
/// or a command has left work over, and when a graceful stop has ended. This works for hosts that
/// wait for levels and for hosts that wait for edges. While there is nothing to do, nobody is
/// woken.
///
/// ```
/// use rustix::event::{PollFd, PollFlags, poll};
/// use sockeye::{ConnId, Context, Handler, Input, Reactor, TimerId};
/// use std::time::Duration;
///
/// struct App;
///
/// impl Handler for App {
///     fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
///
///     fn on_timer(&mut self, cx: &mut Context, _: TimerId, _: u64) {
///         cx.finish(Duration::from_secs(1));
///     }
/// }
///
/// let mut driver = Reactor::new()?.into_driver()?;
/// driver.with(|cx| cx.set_timer(Duration::from_millis(5), 0));
/// loop {
///     poll(&mut [PollFd::new(&driver, PollFlags::IN)], None)?; // and descriptors of your own
///     if driver.turn(&mut App)?.report.is_some() {
///         break;
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Commands from outside a turn go through [`with`](Driver::with), so that the descriptor knows of
/// what they have left. The descriptor is the driver's (`AsFd`); a host that wants to own what it
/// waits for gets a duplicate (`as_fd().try_clone_to_owned()`), which it gives up before or after
/// the driver is dropped.
///
/// If a callback panics and the host catches that, the driver can only be dropped: each later turn
/// is an error, and only the network can make the descriptor readable, once for what it tells.
pub struct Driver<M = ()> {
    reactor: Reactor<M>,
    alarm: Alarm,
    /// The tick for which the alarm is set.
    set_for: Option<Tick>,
}

impl<M> fmt::Debug for Driver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("reactor", &self.reactor)
            .finish_non_exhaustive()
    }
}

impl<M> Reactor<M> {
    /// Puts the reactor behind one descriptor that says everything, for use in another event loop.
    ///
    /// It costs three more descriptors. Linux only: elsewhere, and with mio's poll(2) selector, ask
    /// [`next_wakeup`](Reactor::next_wakeup).
    ///
    /// # Errors
    ///
    /// The system's error, usually that no descriptors are left.
    #[doc(alias("fileno", "as_raw_fd", "uv_backend_fd"))]
    pub fn into_driver(self) -> io::Result<Driver<M>> {
        let mut driver = Driver {
            alarm: Alarm::new(self.as_fd())?,
            reactor: self,
            set_for: None,
        };
        driver.arm();
        Ok(driver)
    }
}

impl<M> Driver<M> {
    /// One pass that does not sleep: what the host calls when the descriptor is readable.
    ///
    /// One pass is bounded. If it leaves work over, the descriptor stays readable, so that the
    /// host's other sources get their turn in between. A host that does nothing else may go on
    /// while [`Turn::more`], for some milliseconds. A turn that has nothing to do does no harm.
    ///
    /// [`Turn::report`] is set once, when a graceful stop has ended.
    ///
    /// # Errors
    ///
    /// Only what makes waiting impossible; or that a callback panicked in an earlier turn.
    pub fn turn<H: Handler<M>>(&mut self, app: &mut H) -> io::Result<Turn> {
        let armed = Armed(self);
        let reactor = &mut armed.0.reactor;
        let turn = reactor.turn(app, Some(Duration::ZERO))?;
        if turn.report.is_some() {
            reactor.take_report();
        }
        Ok(turn)
    }

    /// Gives access to every command and question outside of turns. If the commands leave something
    /// to do, the descriptor becomes readable.
    pub fn with<T>(&mut self, commands: impl FnOnce(&mut Context) -> T) -> T {
        let armed = Armed(self);
        commands(armed.0.reactor.context())
    }

    /// The other threads' end of the mailbox: clone it and give it away.
    pub fn sender(&self) -> Sender<M> {
        self.reactor.sender()
    }

    /// Is work left over? The descriptor is then readable, too.
    pub fn has_work(&self) -> bool {
        self.reactor.has_work()
    }

    /// Gives the reactor back, for example to `run` it.
    pub fn into_reactor(self) -> Reactor<M> {
        self.reactor
    }

    /// Makes the descriptor say what is due.
    fn arm(&mut self) {
        if let Err(error) = self.try_arm() {
            // The calls are right, and their descriptors are ours.
            log::error!(target: "sockeye", "cannot arm the descriptor of a driver: {error}");
        }
    }

    fn try_arm(&mut self) -> io::Result<()> {
        let reactor = &self.reactor;
        let schedule = reactor.cx.schedule();
        // After a panic nothing is due any more.
        let is_alive = !reactor.in_turn;
        let next = schedule.next_tick().filter(|_| is_alive);
        // What is due already is rung for: its time may be one for which the alarm has gone off.
        let is_due = next.is_some_and(|at| at <= schedule.tick());
        if is_due || reactor.has_work() || (is_alive && reactor.cx.is_over()) {
            // The next turn comes at once, and sees to the time.
            return self.alarm.ring();
        }
        self.alarm.hush()?;
        if self.set_for != next {
            self.alarm.set(next.and_then(|_| schedule.until_next()))?;
            self.set_for = next;
        }
        Ok(())
    }
}

/// Arms the descriptor when it is dropped, also by a panic.
struct Armed<'a, M>(&'a mut Driver<M>);

impl<M> Drop for Armed<'_, M> {
    fn drop(&mut self) {
        self.0.arm();
    }
}

/// Readable when there is something to do: then `turn`.
impl<M> AsFd for Driver<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }
}

impl<M> AsRawFd for Driver<M> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::id::{ConnId, TimerId};
    use crate::{Input, Sent};
    use std::io::{Read, Write};
    use std::net::TcpStream;

    struct Echo;

    impl Handler for Echo {
        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
            assert_eq!(cx.send(conn, input.take_all()), Sent::Queued);
        }

        fn on_timer(&mut self, _: &mut Context, _: TimerId, _: u64) {}
    }

    const FAR: Duration = Duration::from_secs(3600);

    /// A driver, and a peer that is connected to it.
    fn connected(config: Config) -> (Driver, TcpStream) {
        let mut reactor = Reactor::with_config(config).unwrap();
        let listener = reactor.listen("127.0.0.1:0").unwrap();
        let addr = reactor.context().listener_addr(listener).unwrap().ip();
        let peer = TcpStream::connect(addr.unwrap()).unwrap();
        let mut driver = reactor.into_driver().unwrap();
        while driver.with(|cx| cx.connections().count()) == 0 {
            driver.turn(&mut Echo).unwrap();
        }
        driver.turn(&mut Echo).unwrap();
        assert!(!driver.has_work());
        (driver, peer)
    }

    /// A hundred echoes, and how often the timer was set and the bell touched meanwhile.
    fn echoes(driver: &mut Driver, peer: &mut TcpStream) -> (usize, usize) {
        let (sets, rings) = driver.alarm.calls;
        let before = driver.reactor.cx.stats().bytes_out;
        for count in 1..=100 {
            peer.write_all(b"x").unwrap();
            while driver.reactor.cx.stats().bytes_out < before + count {
                driver.turn(&mut Echo).unwrap();
            }
            peer.read_exact(&mut [0]).unwrap();
        }
        (driver.alarm.calls.0 - sets, driver.alarm.calls.1 - rings)
    }

    // H1: what is not needed is not called.
    #[test]
    fn turns_that_leave_nothing_and_move_no_deadline_make_no_call_for_the_descriptor() {
        let (mut driver, mut peer) = connected(Config::default());
        assert_eq!(echoes(&mut driver, &mut peer), (0, 0));
        driver.with(|cx| cx.set_timer(FAR, 0));
        assert_eq!(echoes(&mut driver, &mut peer), (0, 0));
        // Progress of a connection with an idle time moves no timer.
        let conn = driver.with(|cx| cx.connections().next().unwrap());
        driver.with(|cx| cx.set_idle(conn, Some(FAR / 2)));
        assert_eq!(echoes(&mut driver, &mut peer), (0, 0));
    }

    // H1
    #[test]
    fn the_timer_is_set_when_the_earliest_deadline_has_moved_and_only_then() {
        let (mut driver, _peer) = connected(Config::default());
        let (start, rings) = driver.alarm.calls;
        let first = driver.with(|cx| cx.set_timer(FAR, 0));
        assert_eq!(driver.alarm.calls.0 - start, 1);
        // Another one behind it, and many moves in one go.
        driver.with(|cx| cx.set_timer(FAR * 2, 0));
        assert_eq!(driver.alarm.calls.0 - start, 1);
        driver.with(|cx| (2..100).for_each(|n| assert!(cx.reset_timer(first, FAR / n))));
        assert_eq!(driver.alarm.calls.0 - start, 2);
        driver.with(|cx| cx.cancel_timer(first));
        assert_eq!(driver.alarm.calls.0 - start, 3);
        driver.turn(&mut Echo).unwrap();
        assert_eq!(driver.alarm.calls, (start + 3, rings));
    }

    // H1: an expiry that is gone already makes no edge.
    #[test]
    fn a_timer_that_is_due_at_once_rings() {
        let mut driver = Reactor::new().unwrap().into_driver().unwrap();
        driver.with(|cx| cx.set_timer(Duration::ZERO, 0));
        assert_eq!(driver.alarm.calls, (0, 1));
        driver.turn(&mut Echo).unwrap();
        assert_eq!(driver.alarm.calls, (0, 2));
    }

    // H1: each turn that leaves work rings once, and the last one hushes.
    #[test]
    fn work_that_is_left_rings_once_a_turn() {
        let config = Config {
            messages_per_turn: 1,
            ..Config::default()
        };
        let mut reactor = Reactor::with_messages_and_config(config).unwrap();
        reactor.context().set_timer(FAR, 0);
        let mut driver = reactor.into_driver().unwrap();
        let start = driver.alarm.calls;
        assert_eq!(start, (1, 0));
        let sender = driver.sender();
        (0..10).for_each(|_| sender.send(()).unwrap());
        let mut turns = 0;
        while driver.turn(&mut Echo).unwrap().more {
            turns += 1;
        }
        assert_eq!((turns, driver.alarm.calls), (9, (1, 10)));
    }
}
