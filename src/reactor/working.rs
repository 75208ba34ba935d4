//! A reactor that is one of several workers.

use super::Reactor;
use crate::context::Context;
use crate::handler::{EventKind, Handler};
use crate::mailbox::{Mailbox, Sender};
#[cfg(feature = "sim")]
use crate::stats::Report;

impl<M> Reactor<M> {
    /// A reactor of this context, for those who send already.
    pub(crate) fn of_worker(cx: Context, sender: &Sender<M>) -> Reactor<M> {
        let mailbox = Mailbox::attach(sender, cx.wake());
        Reactor::with_parts(cx, mailbox)
    }

    /// Seldom work, which has one place in the turn: mail, attempts, connections that are given
    /// away. Then what a worker has heard of errors of accepting is told.
    #[inline(never)]
    pub(super) fn do_seldom_work<H: Handler<M>>(&mut self, app: &mut H) {
        self.cx.do_seldom_work(&mut self.receive);
        for (listener, error) in self.cx.take_failures() {
            self.cx.parts().stats.accept_errors += 1;
            // Closed here meanwhile, it has no more to tell.
            if let Some(tag) = self.cx.listener_tag(listener) {
                self.call(app, tag, EventKind::AcceptError { listener, error });
            }
        }
    }

    /// The worker is over: what waits in its mail is for others. That is said at once (`None`), and
    /// again when it is known whether it returns.
    pub(crate) fn be_gone(&mut self, returns: Option<bool>) {
        self.cx.be_gone(returns);
    }

    /// A turn of a worker is over that others turn. Answers the report, if the worker is.
    #[cfg(feature = "sim")]
    pub(crate) fn end_turn(&mut self) -> Option<Report> {
        self.cx.end_turn()
    }

    /// Was it asked to stop, in a turn that had no end?
    pub(crate) fn is_stopping(&mut self) -> bool {
        *self.cx.parts().stopping
    }

    /// Is it finishing?
    pub(crate) fn finishes(&self) -> bool {
        self.cx.finishes()
    }
}
