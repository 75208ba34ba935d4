//! What happened, as text that can be compared.

use crate::backend::simnet::{SharedNet, name_of_exhausted};
use crate::buffer::input::Input;
use crate::closed::{Closed, Reason};
use crate::context::Context;
use crate::handler::{Event, EventKind, Handler};
use crate::id::ConnId;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The trace of a world: a line for each callback.
#[derive(Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    text: String,
    /// The rest is not kept.
    full: bool,
    hash: u64,
}

/// Text that is kept; the hash goes on.
const KEEP: usize = 1 << 20;

impl Trace {
    pub(super) fn of(&self, name: &str) -> NodeTrace {
        NodeTrace {
            trace: self.clone(),
            name: name.to_owned(),
            conns: HashMap::new(),
            seen: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn text(&self) -> String {
        self.lock().text.clone()
    }

    pub(super) fn hash(&self) -> u64 {
        self.lock().hash
    }

    /// FNV-1a, 64 bits: the same everywhere.
    fn line(&self, line: &str) {
        let mut lines = self.lock();
        for byte in line.bytes().chain([b'\n']) {
            lines.hash = (lines.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if lines.full {
            return;
        }
        lines.full = lines.text.len() + line.len() >= KEEP;
        let kept = if lines.full { "..." } else { line };
        lines.text.push_str(kept);
        lines.text.push('\n');
    }
}

/// One node's part of the trace: connections are numbered as they are first seen.
pub(super) struct NodeTrace {
    trace: Trace,
    name: String,
    /// The connections that are not over.
    conns: HashMap<ConnId, usize>,
    seen: usize,
}

impl NodeTrace {
    fn conn(&mut self, conn: ConnId) -> usize {
        *self.conns.entry(conn).or_insert_with(|| {
            self.seen += 1;
            self.seen
        })
    }

    fn event(&mut self, kind: &EventKind<'_>) {
        let mut line = format!("{} ", self.name);
        // Writing to a String cannot fail.
        let _ = match kind {
            EventKind::Accept { peer, .. } => write!(line, "accept {peer}"),
            EventKind::Open { conn, origin } => {
                let how = match origin {
                    crate::conn::Origin::Accepted(_) => "accepted",
                    crate::conn::Origin::Connected => "connected",
                    #[cfg(unix)]
                    crate::conn::Origin::Adopted => "adopted",
                };
                write!(line, "c{} open {how}", self.conn(*conn))
            }
            EventKind::Data { conn, input } => {
                write!(line, "c{} data {}", self.conn(*conn), shown(input))
            }
            #[cfg(feature = "tls")]
            EventKind::Secure { conn } => write!(line, "c{} secure", self.conn(*conn)),
            EventKind::Drain { conn } => write!(line, "c{} drain", self.conn(*conn)),
            EventKind::Eof { conn, input } => {
                write!(line, "c{} eof {}", self.conn(*conn), shown(input))
            }
            EventKind::Deadline { conn, which } => {
                write!(line, "c{} deadline {which}", self.conn(*conn))
            }
            EventKind::Finish { conn } => write!(line, "c{} finish", self.conn(*conn)),
            EventKind::Close { conn, closed } => {
                let number = self.conn(*conn);
                self.conns.remove(conn);
                write!(line, "c{number} close {}", ending(closed))
            }
            EventKind::Timer { key, .. } => write!(line, "timer {key}"),
            EventKind::AcceptError { error, .. } => match name_of_exhausted(error) {
                Some(name) => write!(line, "accept error {name}"),
                None => write!(line, "accept error {error}"),
            },
            EventKind::Ready { readiness, .. } => write!(line, "ready {readiness:?}"),
        };
        self.trace.line(&line);
    }
}

/// What a reason's `Display` says, but for an error whose text is the system's own.
fn ending(closed: &Closed) -> String {
    let name = match &closed.reason {
        Reason::ConnectFailed(failed) => name_of_exhausted(&failed.error),
        Reason::Io(error) => name_of_exhausted(error),
        _ => None,
    };
    match name {
        Some(name) => format!("{name}, {} bytes undelivered", closed.undelivered),
        None => closed.to_string(),
    }
}

/// Short bytes as text, long ones by their number.
fn shown(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=60 => format!("{:?}", String::from_utf8_lossy(bytes)),
        len => format!("{len} bytes"),
    }
}

/// A handler whose callbacks are written down.
pub(super) struct Traced<H> {
    pub(super) inner: H,
    trace: NodeTrace,
    net: SharedNet,
}

impl<H> Traced<H> {
    pub(super) fn new(inner: H, trace: NodeTrace, net: SharedNet) -> Traced<H> {
        Traced { inner, trace, net }
    }

    /// The next handler of a worker: the connections of the last one are gone.
    pub(super) fn begin_again(&mut self, inner: H) {
        self.inner = inner;
        self.trace.conns.clear();
        self.note("begins again");
    }

    /// What no callback says.
    pub(super) fn note(&self, what: &str) {
        let line = format!("{} {what}", self.trace.name);
        self.trace.trace.line(&line);
    }
}

impl<M, H: Handler<M>> Handler<M> for Traced<H> {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        self.inner.on_data(cx, conn, input);
    }

    fn on_message(&mut self, cx: &mut Context, message: M) {
        let line = format!("{} message", self.trace.name);
        self.trace.trace.line(&line);
        self.inner.on_message(cx, message);
        self.net.lock().after_callback();
    }

    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        self.trace.event(&event.kind);
        self.inner.on_event(cx, event);
        self.net.lock().after_callback();
    }
}
