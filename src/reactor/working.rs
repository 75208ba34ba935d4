//! A reactor that is one of several workers.

use super::Reactor;
use crate::context::{Context, Socket};
use crate::handler::{EventKind, Handler};
use crate::id::Tag;
use crate::mailbox::{Mailbox, Sender};
use crate::stats::Report;
use std::io;
use std::time::Duration;

impl<M> Reactor<M> {
    /// A reactor of this context, for those who send already.
    pub(crate) fn of_worker(cx: Context, sender: &Sender<M>) -> Reactor<M> {
        let mailbox = Mailbox::attach(sender, cx.wake());
        Reactor::with_parts(cx, mailbox)
    }

    /// One turn of a worker. Answers its report, if it is over.
    ///
    /// # Errors
    ///
    /// As [`turn`](Reactor::turn).
    pub(crate) fn work<H: Handler<M>>(
        &mut self,
        app: &mut H,
        timeout: Option<Duration>,
    ) -> io::Result<Option<Report>> {
        self.pass_by(app, timeout, |reactor, app| {
            reactor.cx.take_mail();
            reactor.tell_failures(app);
            reactor.phases(app);
        })?;
        let report = self.cx.end_turn_of_worker();
        match std::mem::take(self.cx.parts().stopping) {
            true => Ok(Some(Report::default())),
            false => Ok(report),
        }
    }

    /// Tells that nobody can be accepted for a while.
    fn tell_failures<H: Handler<M>>(&mut self, app: &mut H) {
        for (listener, error) in self.cx.take_failures() {
            let tag = self.cx.listener_tag(listener).unwrap_or_default();
            self.call(app, tag, EventKind::AcceptError { listener, error });
        }
        *self.cx.parts().tag = Tag::default();
    }

    /// The worker is over: what waits in its mail is for others.
    pub(crate) fn leave(&mut self) -> Vec<Socket> {
        self.cx.leave()
    }

    /// Is it finishing?
    pub(crate) fn finishes(&self) -> bool {
        self.cx.finishes()
    }
}
