//! Dialing: the attempts of a connect whose name has several addresses, or whose peer is busy.
//!
//! Each attempt is a socket with a slot of its own. The first that comes through becomes the stream
//! of its connection; the others are closed, and no handler hears of them.

use super::{Context, Due};
use crate::addr::Addr;
use crate::backend::{Source, Stream, is_exhaustion, is_lack};
use crate::buffer::receive::Receive;
use crate::clock::{NEVER, Tick};
use crate::closed::{ConnectError, ConnectStep, Reason};
use crate::conn::dial::Move;
use crate::conn::{Conn, Flags};
use crate::id::Key;
use crate::options::Connect;
use std::io;
use std::io::ErrorKind::{BrokenPipe, ConnectionReset, NotFound};
use std::net::SocketAddr;
use std::time::Duration;

/// One attempt of a connect.
pub(super) struct Attempt {
    /// The slot of its connection, which takes its attempts along when it ends.
    conn: u32,
    addr: SocketAddr,
    stream: Stream,
}

/// Is a connect through? An error is the connect's. The second answer: it was through, and the peer
/// has reset it since. For a connect that is not through is refused, never reset.
pub(super) fn is_through(answer: io::Result<bool>) -> io::Result<(bool, bool)> {
    match answer {
        Err(error) if matches!(error.kind(), ConnectionReset | BrokenPipe) => Ok((true, true)),
        answer => answer.map(|through| (through, false)),
    }
}

impl Context {
    /// Goes on with a dial: begins what attempts are to begin now, sets the time of the next, or
    /// ends it. `look_up`: why its look-up has failed.
    pub(super) fn dial(&mut self, slot: u32, look_up: Option<io::Error>) {
        let mut look_up = look_up;
        loop {
            let now = self.schedule.fresh();
            let conn = self.conns.listed_mut(slot);
            let Some(dialing) = conn.dialing() else {
                return;
            };
            if dialing.through.is_some() {
                return;
            }
            match dialing.dial.next(now) {
                Move::Begin(addr) => {
                    if let Err(error) = self.begin_attempt(slot, addr) {
                        self.fail_attempt(slot, addr, error);
                    }
                }
                Move::Wait(at) => return self.dial_at(slot, at),
                Move::GiveUp => {
                    let attempts = dialing.dial.begun();
                    let error = dialing.dial.take_error();
                    let none = || io::Error::new(NotFound, "the name has no addresses");
                    let (step, error) = match error {
                        Some(error) => (ConnectStep::Dial, error),
                        None => (ConnectStep::LookUp, look_up.take().unwrap_or_else(none)),
                    };
                    let failed = ConnectError::new(step, attempts, error);
                    return self.end(slot, Reason::ConnectFailed(failed));
                }
            }
        }
    }

    /// The next attempt is due at this time, if nothing happens before.
    fn dial_at(&mut self, slot: u32, at: Tick) {
        let (key, conn) = self.conns.listed_key(slot);
        let Some(dialing) = conn.dialing() else {
            return;
        };
        if let Some(timer) = dialing.timer.take() {
            self.schedule.cancel(timer);
        }
        if at != NEVER {
            dialing.timer = Some(self.schedule.set(at, Due::Dial(key)));
        }
    }

    /// The time of the next attempt has come.
    pub(crate) fn dial_on(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let Some(dialing) = conn.dialing() else {
            return;
        };
        dialing.timer = None;
        // One that is through needs no other; what the wait has told of it is not looked at yet.
        self.ask_attempts(key.slot);
        let Some(dialing) = self.conns.get_mut(key).and_then(|conn| conn.dialing()) else {
            return;
        };
        match dialing.busy.take() {
            None => self.dial(key.slot, None),
            Some((addr, pause)) => {
                let connect = dialing.connect.clone();
                if let Err(error) = self.start_connect(key.slot, &connect, &addr) {
                    self.knock(key.slot, connect, addr, pause, error);
                }
            }
        }
    }

    /// A connect has failed at once. A Unix socket whose backlog is full says so by `WouldBlock`,
    /// and no edge tells that there is room again (connect(2), `EAGAIN`): so it is asked now and
    /// then, within the timeout of the connect.
    pub(super) fn knock(
        &mut self,
        slot: u32,
        connect: Connect,
        addr: Addr,
        pause: Duration,
        error: io::Error,
    ) {
        /// How often a server is asked that does not accept for long.
        const LONGEST: Duration = Duration::from_millis(50);

        if !addr.is_unix() || error.kind() != io::ErrorKind::WouldBlock {
            let failed = ConnectError::new(ConnectStep::Dial, 1, error);
            return self.end(slot, Reason::ConnectFailed(failed));
        }
        let at = self.schedule.after(pause);
        let (key, conn) = self.conns.listed_key(slot);
        if conn.dialing().is_none() {
            conn.begin_dialing(connect);
        }
        if let Some(dialing) = conn.dialing() {
            dialing.busy = Some((addr, LONGEST.min(pause * 2)));
            dialing.timer = Some(self.schedule.set(at, Due::Dial(key)));
        }
    }

    fn begin_attempt(&mut self, slot: u32, addr: SocketAddr) -> io::Result<()> {
        let conn = self.conns.listed_mut(slot);
        let Some(dialing) = conn.dialing() else {
            return Ok(());
        };
        let connect = dialing.connect.clone();
        let attempt = self.attempts.next_key().slot;
        let at = Addr::Ip(addr);
        log::debug!(target: "sockeye", "trying {at} for {}", connect.target);
        self.stats.attempts += 1;
        let (stream, done) = self.begin(&connect, &at, Source::Attempt(attempt))?;
        self.attempts.insert(Attempt {
            conn: slot,
            addr,
            stream,
        });
        if let Some(dialing) = self.conns.listed_mut(slot).dialing() {
            dialing.attempts.push(attempt);
        }
        if done {
            self.lists.want_attempt(attempt);
        }
        Ok(())
    }

    /// Begins to connect. Who only waits for a peer's end gives its descriptor to one who begins.
    pub(super) fn begin(
        &mut self,
        connect: &Connect,
        addr: &Addr,
        to: Source,
    ) -> io::Result<(Stream, bool)> {
        let begun = self.backend.connect(connect, addr, to);
        if begun.as_ref().is_err_and(is_exhaustion) && self.release_lingering(1) > 0 {
            return self.backend.connect(connect, addr, to);
        }
        begun
    }

    fn fail_attempt(&mut self, slot: u32, addr: SocketAddr, error: io::Error) {
        log::debug!(target: "sockeye", "attempt at {addr} failed: {error}");
        let about_us = is_lack(&error);
        if let Some(dialing) = self.conns.listed_mut(slot).dialing() {
            dialing.dial.failed(error, about_us);
        }
    }

    /// Work of the loop itself, of which no handler is told at once, and which is seldom: its own
    /// mail, the attempts that the system has told of, and connections to be given away. It has one
    /// place in the turn, behind the callbacks, so that all of it costs a turn one look. (Mail of a
    /// worker that is there when the loop accepts is read then; this is for what came since.)
    #[cold]
    pub(crate) fn do_seldom_work(&mut self, receive: &mut Receive) {
        self.lists.begin_seldom_work();
        self.read_mail();
        self.take_mail();
        self.notices_mail();
        // They may be through, or have failed.
        for attempt in self.lists.take_attempts() {
            self.look_at_attempt(attempt);
        }
        #[cfg(unix)]
        self.hand_out(receive);
        #[cfg(not(unix))]
        let _ = receive;
    }

    /// A connection is asked whether it is through, before its time is over: so are its attempts,
    /// for what the last wait told may be old.
    pub(super) fn ask_attempts(&mut self, slot: u32) {
        let dialing = self.conns.listed_mut(slot).dialing();
        let attempts = dialing.map(|dialing| dialing.attempts.clone());
        for attempt in attempts.unwrap_or_default() {
            self.look_at_attempt(attempt);
        }
    }

    fn look_at_attempt(&mut self, slot: u32) {
        // What the system tells of a socket that is gone is no news.
        let Some(attempt) = self.attempts.peek(slot) else {
            return;
        };
        let (conn, addr) = (attempt.conn, attempt.addr);
        let error = match is_through(attempt.stream.is_connected()) {
            Ok((false, _)) => return,
            Ok((true, reset)) => match self.win(slot, reset) {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        self.drop_attempt(conn, slot);
        self.fail_attempt(conn, addr, error);
        self.dial(conn, None);
    }

    /// An attempt has come through: it is the connection now.
    fn win(&mut self, attempt: u32, reset: bool) -> io::Result<()> {
        let Some(won) = self.attempts.peek(attempt) else {
            return Ok(());
        };
        let (slot, peer) = (won.conn, Addr::from_system(won.addr));
        self.backend.promote(&mut won.stream, slot)?;
        let won = self.attempts.remove(attempt);
        self.hang_up(slot);
        let conn = self.conns.listed_mut(slot);
        if let Some(dialing) = conn.dialing() {
            dialing.through = Some(reset);
        }
        won.into_iter().for_each(|won| conn.attach(won.stream));
        conn.set_peer(peer);
        #[cfg(feature = "tls")]
        if let Some(side) = conn
            .dialing()
            .and_then(|dialing| dialing.connect.tls.clone())
            && let Err(error) = conn.secure(side, 0)
        {
            let tried = conn.dialing().map_or(1, |dialing| dialing.dial.begun());
            let failed = ConnectError::new(ConnectStep::Dial, tried, error);
            self.end(slot, Reason::ConnectFailed(failed));
            return Ok(());
        }
        conn.set(Flags::WRITABLE);
        self.lists.want_read(slot, conn);
        Ok(())
    }

    fn drop_attempt(&mut self, conn: u32, attempt: u32) {
        self.attempts.free(attempt);
        if let Some(dialing) = self.conns.listed_mut(conn).dialing() {
            dialing.attempts.retain(|other| *other != attempt);
        }
    }

    /// Ends everything that a dial has begun: its attempts, its look-up, its timer.
    #[cold]
    pub(super) fn hang_up(&mut self, slot: u32) {
        let Some(dialing) = self.conns.listed_mut(slot).dialing() else {
            return;
        };
        dialing.lookup = None;
        let timer = dialing.timer.take();
        for attempt in std::mem::take(&mut dialing.attempts) {
            self.attempts.free(attempt);
        }
        if let Some(timer) = timer {
            self.schedule.cancel(timer);
        }
    }
}

/// What a connection that dials is asked as it comes through: has an attempt won, and was that
/// reset since? `None`: it did not dial.
pub(super) fn take_through(conn: &mut Conn) -> Option<bool> {
    let reset = conn.dialing()?.through?;
    conn.end_dialing();
    Some(reset)
}
