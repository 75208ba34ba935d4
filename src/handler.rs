//! The contract between the loop and an application.

use crate::addr::Addr;
use crate::buffer::input::Input;
use crate::closed::{Closed, Deadline};
use crate::conn::Origin;
use crate::context::Context;
use crate::id::{ConnId, ListenerId, Tag, TimerId, WatchId};
use crate::readiness::Readiness;
use std::fmt;
use std::io;

/// What to do with a peer that asks to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// Keep it: `on_open` comes next.
    #[default]
    Keep,
    /// Close it at once. It has cost nothing but the accept, and no other callback comes.
    Refuse,
}

/// An application: what it does when something has happened.
///
/// The loop calls these methods; they are the *callbacks*. Only [`on_data`](Handler::on_data) is
/// required. The life of a listener, and of a connection, as a regular expression:
///
/// ```text
/// listener:    listen (on_accept | on_accept_error)* unlisten
/// connection:  [connect (on_deadline | on_finish)*]
///              [on_open (on_data | on_drain | on_deadline | on_finish)*
///               [on_eof (on_drain | on_deadline | on_finish)*]]
///              on_close
/// ```
///
/// Every connection whose id you were given ends with exactly one `on_close`, and nothing follows
/// it. A connect that fails has no `on_open` before it.
///
/// No callback is ever called while another one runs, because commands only change state. In every
/// callback every command is legal, even one that ends the callback's own connection or another
/// one. From then on nothing but `on_close` comes for that connection, even if more of its bytes
/// have already been read.
///
/// A callback holds up all connections until it returns, so it should be quick, and it must not
/// block. Give long work to another thread, and let that answer with a [`Sender`](crate::Sender).
/// `M` is the type of the messages that a `Sender` posts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler that a `Reactor<{M}>` can run",
    label = "not a `Handler<{M}>`",
    note = "write `impl Handler<{M}> for {Self}`, with `on_data`; `()` means no messages",
    note = "a handler of messages runs on the reactor that `Reactor::with_messages()` makes",
    note = "a `FrameHandler` needs a codec: `Framed::new(codec, handler)`"
)]
#[allow(
    unused_variables,
    reason = "the defaults ignore most of what they are given"
)]
pub trait Handler<M = ()> {
    /// A peer wants to be accepted. Called once for each peer, before anything is allocated for it;
    /// not called for peers that [`Config::max_connections`](crate::Config::max_connections) turns
    /// away. Default: keep it.
    fn on_accept(&mut self, cx: &mut Context, listener: ListenerId, peer: &Addr) -> Accept {
        Accept::Keep
    }

    /// The connection is open: accepted, or connected. Called once, before any data. You may send
    /// at once. For an accepted connection this is the first that you hear of its id: set up your
    /// own state for it here. Default: nothing.
    #[doc(alias = "connection_made")]
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {}

    /// Bytes have arrived: one call for each read of the loop, of one receive buffer at most. Take
    /// from `input` what you understand, and leave the rest: it is offered again, in front of the
    /// next bytes. A stream has no messages: two of them may come in one call, or one in pieces, so
    /// take them in a loop. The loop ends by itself if you close the connection in it or pause its
    /// reads, because the input looks empty from then on.
    ///
    /// When the peer sends no more, what is left is offered once more, without new bytes:
    /// [`Input::is_ended`] says so. A loop that looks for whole messages can ignore this.
    ///
    /// If more than [`Limits::input_limit`](crate::Limits::input_limit) is left and reads are not
    /// paused, the connection is closed.
    #[doc(alias("recv", "read", "data_received"))]
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input);

    /// The handshake that [`Context::start_tls`] began has succeeded. From now on all bytes are
    /// encrypted, and [`Context::tls`] says what was negotiated. Called once for each `start_tls`,
    /// unless the connection ends first. Default: nothing.
    #[cfg(feature = "tls")]
    fn on_secure(&mut self, cx: &mut Context, conn: ConnId) {}

    /// You may send again: the pending bytes have fallen to the low watermark, or can never be sent
    /// because a write failed. This ends the wait that a [`Sent::Wait`](crate::Sent::Wait) or
    /// [`Context::await_drain`](crate::Context::await_drain) began. Called once for each such wait,
    /// never from inside a `send`, and not after `close`. Default: nothing.
    #[doc(alias("backpressure", "writable", "EPOLLOUT", "resume_writing"))]
    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {}

    /// The peer sends no more (`recv` returned 0 bytes): it closed, or it shut down its writing
    /// side and waits for an answer, which look the same. Called at most once; no `on_data`
    /// follows. `input` is what was never consumed, usually a truncated message, which was offered
    /// to `on_data` once more before; what you leave is gone then. Sending is still possible.
    ///
    /// Default: close, after a flush. That is right for both cases if all that you have to say is
    /// queued by now. If you continue in `on_drain`, or an answer is still to come, override this,
    /// or the peer gets only a part, followed by a clean end.
    #[doc(alias("half-close", "recv", "FIN", "UV_EOF", "eof_received"))]
    fn on_eof(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        cx.close(conn);
    }

    /// A deadline has passed: `Set` once for each `set_deadline`, with its key; `Idle` each time
    /// that nothing has moved for the idle time; no other kind comes here. It may come while the
    /// connection is still connecting. Default: close after a flush, with reason
    /// `TimedOut(which)`, whatever the key.
    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        cx.close_timed_out(conn, which);
    }

    /// A graceful stop ([`Context::finish`]) has begun: say goodbye. Called once for each
    /// connection, even if it is still connecting; for
    /// [`messages_per_turn`](crate::Config::messages_per_turn) of them in a turn. The connection
    /// may stay open until the grace period is over; who was not told by then (a grace of zero ends
    /// at once) is aborted untold. Default: close, after a flush.
    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        cx.close(conn);
    }

    /// The connection is over. Called exactly once for every id that you were given, always last,
    /// even for connects that failed. `closed` says why, and what was lost; drop your own state for
    /// the connection here. Questions about it still answer; commands say that it is gone. Its
    /// descriptor is released when this returns. Default: nothing.
    #[doc(alias("connection_lost", "disconnect"))]
    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {}

    /// A timer of [`Context::set_timer`] has fired: once, unless it was cancelled; its id is stale
    /// now. Or one of [`Context::set_interval`] has ticked: it stays set, and
    /// [`Context::missed_ticks`] says how many ticks a late loop has skipped.
    /// `key` is what it was set with. Default: nothing.
    fn on_timer(&mut self, cx: &mut Context, timer: TimerId, key: u64) {}

    /// A message from another thread: once for each, in the order of posting. It does not pass
    /// through `on_event`; what it creates has the default tag. Default: drop it.
    #[doc(alias("call_soon_threadsafe", "uv_async_t"))]
    fn on_message(&mut self, cx: &mut Context, message: M) {}

    /// A listener cannot accept, usually for lack of descriptors or memory. It rests for
    /// [`Config::accept_backoff`](crate::Config::accept_backoff) and tries again by itself. Called
    /// once for each such rest. Default: nothing (it is logged as a warning).
    fn on_accept_error(&mut self, cx: &mut Context, listener: ListenerId, error: io::Error) {}

    /// The readiness of a descriptor of `Context::watch` has changed. Called once for each change,
    /// with all that was reported since the last call. `key` is the one given to `watch`. Default:
    /// nothing.
    fn on_ready(&mut self, cx: &mut Context, watch: WatchId, key: u64, readiness: Readiness) {}

    /// Every event except messages comes through here. The default calls the method above that is
    /// for it ([`Event::dispatch`]). An application of several parts overrides it with one
    /// `match event.tag`, and hands the event to the part's own `on_event`. It must
    /// [`dispatch`](Event::dispatch) every other event to itself, or that event's default is lost:
    /// an end then does not close the connection.
    #[inline(always)]
    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        event.dispatch(self, cx);
    }
}

/// Something that has happened, and the part of the application that it is for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Chosen at `listen` or `connect`, or inherited: see [`Tag`].
    pub tag: Tag,
    /// What has happened.
    pub kind: EventKind<'a>,
}

/// What has happened; each is the method of [`Handler`] of the same name.
#[derive(Debug)]
#[allow(
    missing_docs,
    reason = "each variant is documented at the method of its name"
)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// [`Handler::on_accept`]; the verdict is `Keep` unless it is changed.
    Accept {
        listener: ListenerId,
        peer: &'a Addr,
        verdict: &'a mut Accept,
    },
    /// [`Handler::on_open`].
    Open { conn: ConnId, origin: Origin },
    /// [`Handler::on_data`].
    Data { conn: ConnId, input: &'a mut Input },
    /// [`Handler::on_secure`].
    #[cfg(feature = "tls")]
    Secure { conn: ConnId },
    /// [`Handler::on_drain`].
    Drain { conn: ConnId },
    /// [`Handler::on_eof`]. It comes once, but for a handler that pauses in the one frame that
    /// [`Framed`](crate::Framed) with [`UntilEof`](crate::codec::UntilEof) makes of a stream of
    /// nothing: then it comes again after `resume_reads`, and the `on_eof` of the handler of frames
    /// is still called once.
    Eof { conn: ConnId, input: &'a mut Input },
    /// [`Handler::on_deadline`].
    Deadline { conn: ConnId, which: Deadline },
    /// [`Handler::on_finish`].
    Finish { conn: ConnId },
    /// [`Handler::on_close`].
    Close { conn: ConnId, closed: Closed },
    /// [`Handler::on_timer`].
    Timer { timer: TimerId, key: u64 },
    /// [`Handler::on_accept_error`].
    AcceptError {
        listener: ListenerId,
        error: io::Error,
    },
    /// [`Handler::on_ready`].
    Ready {
        watch: WatchId,
        key: u64,
        readiness: Readiness,
    },
}

impl<'a> Event<'a> {
    pub(crate) fn new(tag: Tag, kind: EventKind<'a>) -> Event<'a> {
        Event { tag, kind }
    }

    /// Calls the handler's method for this event, as `on_event` does by default. If your own
    /// `on_event` handles only some events, hand on the others: `event.dispatch(self, cx)`. If you
    /// drop an event instead, its default is lost: an end does not close, and a deadline passes
    /// without effect.
    #[inline(always)]
    pub fn dispatch<M, H: Handler<M> + ?Sized>(self, handler: &mut H, cx: &mut Context) {
        match self.kind {
            EventKind::Accept {
                listener,
                peer,
                verdict,
            } => {
                *verdict = handler.on_accept(cx, listener, peer);
            }
            EventKind::Open { conn, origin } => handler.on_open(cx, conn, origin),
            EventKind::Data { conn, input } => handler.on_data(cx, conn, input),
            #[cfg(feature = "tls")]
            EventKind::Secure { conn } => handler.on_secure(cx, conn),
            EventKind::Drain { conn } => handler.on_drain(cx, conn),
            EventKind::Eof { conn, input } => handler.on_eof(cx, conn, input),
            EventKind::Deadline { conn, which } => handler.on_deadline(cx, conn, which),
            EventKind::Finish { conn } => handler.on_finish(cx, conn),
            EventKind::Close { conn, closed } => handler.on_close(cx, conn, closed),
            EventKind::Timer { timer, key } => handler.on_timer(cx, timer, key),
            EventKind::AcceptError { listener, error } => {
                handler.on_accept_error(cx, listener, error);
            }
            EventKind::Ready {
                watch,
                key,
                readiness,
            } => handler.on_ready(cx, watch, key, readiness),
        }
    }
}

/// Which callback it is, and whose, for a log: nothing in it was chosen by a peer.
#[derive(Clone, Copy)]
pub(crate) enum Called {
    Conn(&'static str, ConnId),
    Listener(&'static str, ListenerId),
    Key(&'static str, u64),
    Message,
}

impl EventKind<'_> {
    /// The callback that an event is for. Asked only where `slow_callback` is set.
    #[cold]
    pub(crate) fn called(&self) -> Called {
        match *self {
            EventKind::Accept { listener, .. } => Called::Listener("on_accept", listener),
            EventKind::Open { conn, .. } => Called::Conn("on_open", conn),
            EventKind::Data { conn, .. } => Called::Conn("on_data", conn),
            #[cfg(feature = "tls")]
            EventKind::Secure { conn } => Called::Conn("on_secure", conn),
            EventKind::Drain { conn } => Called::Conn("on_drain", conn),
            EventKind::Eof { conn, .. } => Called::Conn("on_eof", conn),
            EventKind::Deadline { conn, .. } => Called::Conn("on_deadline", conn),
            EventKind::Finish { conn } => Called::Conn("on_finish", conn),
            EventKind::Close { conn, .. } => Called::Conn("on_close", conn),
            EventKind::Timer { key, .. } => Called::Key("on_timer", key),
            EventKind::AcceptError { listener, .. } => {
                Called::Listener("on_accept_error", listener)
            }
            EventKind::Ready { key, .. } => Called::Key("on_ready", key),
        }
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Called::Conn(name, conn) => write!(f, "{name} of {conn}"),
            Called::Listener(name, listener) => write!(f, "{name} of {listener}"),
            Called::Key(name, key) => write!(f, "{name} with key {key}"),
            Called::Message => f.write_str("on_message"),
        }
    }
}
