//! Messages from other threads.

#[cfg(feature = "sim")]
mod staged;

#[cfg(feature = "sim")]
pub(crate) use staged::Round;
use std::collections::VecDeque;
use std::fmt;
#[cfg(feature = "sim")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Posts messages to a reactor from any thread; each comes to `on_message`.
///
/// Clone it freely. Many messages posted while the loop is busy wake it once.
#[doc(alias("channel", "mpsc", "uv_async_t", "eventfd", "Waker"))]
pub struct Sender<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Sender<M> {
        Sender {
            shared: self.shared.clone(),
        }
    }
}

impl<M> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("waiting", &self.shared.lock().messages.len())
            .finish()
    }
}

/// The message that could not be posted, and why.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<M> {
    /// As many messages wait as [`Config::message_limit`](crate::Config::message_limit) allows.
    Full(M),
    /// The reactor is gone, or a callback has panicked in it.
    Closed(M),
}

impl<M> SendError<M> {
    /// The message, given back.
    pub fn into_inner(self) -> M {
        match self {
            SendError::Full(message) | SendError::Closed(message) => message,
        }
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "the mailbox is full",
            SendError::Closed(_) => "the reactor is gone",
        })
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "Full(..)",
            SendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<M> std::error::Error for SendError<M> {}

impl<M> Sender<M> {
    /// Posts a message, from any thread, without waiting for the loop; it comes to `on_message`.
    /// Messages of one thread arrive in the order of posting.
    ///
    /// # Errors
    ///
    /// The message comes back if the mailbox is full, the reactor is gone, or a callback has
    /// panicked in it.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        let mut inbox = self.shared.lock();
        if inbox.closed {
            return Err(SendError::Closed(message));
        }
        if self.shared.is_full(&inbox) {
            return Err(SendError::Full(message));
        }
        #[cfg(feature = "sim")]
        let Some(message) = self.keep(&mut inbox, message) else {
            return Ok(());
        };
        inbox.messages.push_back(message);
        let first = inbox.messages.len() == 1;
        self.shared.waiting.store(true, Ordering::Release);
        drop(inbox);
        // The loop empties the mailbox under the lock before it sleeps, so only the message that
        // finds it empty has to wake it.
        if first {
            self.shared.wake();
        }
        Ok(())
    }
}

/// What the crate's own threads need besides.
impl<M> Sender<M> {
    /// One whose loop is still to come: what is posted waits for it.
    pub(crate) fn detached(limit: usize) -> Sender<M> {
        let inbox = Mutex::new(Inbox {
            messages: VecDeque::new(),
            closed: false,
            #[cfg(feature = "sim")]
            staged: Vec::new(),
        });
        Sender {
            shared: Arc::new(Shared {
                inbox,
                waiting: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                limit,
                held: AtomicUsize::new(0),
                wake: Mutex::new(None),
                #[cfg(feature = "sim")]
                round: OnceLock::new(),
            }),
        }
    }

    /// Was the loop asked to stop, and has not seen it?
    pub(crate) fn has_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Posts all of them together, whatever the limit: one lock, and one wake at most. `false`: the
    /// loop is gone, and they are left where they are.
    pub(crate) fn send_all(&self, messages: &mut Vec<M>) -> bool {
        if messages.is_empty() {
            return true;
        }
        let mut inbox = self.shared.lock();
        if inbox.closed {
            return false;
        }
        let first = inbox.messages.is_empty();
        inbox.messages.extend(messages.drain(..));
        self.shared.waiting.store(true, Ordering::Release);
        drop(inbox);
        if first {
            self.shared.wake();
        }
        true
    }
}

impl<M> Sender<M> {
    /// Stops the loop from any thread, as [`Context::stop`](crate::Context::stop) does from inside:
    /// `run` returns at the end of the turn that learns of it. The stop is remembered until then,
    /// even if `run` has not been called yet. Messages that have not been delivered by then wait
    /// for the next `run`. `false`: the reactor is gone, or a callback has panicked in it.
    pub fn stop(&self) -> bool {
        let inbox = self.shared.lock();
        if inbox.closed {
            return false;
        }
        self.shared.stop.store(true, Ordering::Release);
        self.shared.waiting.store(true, Ordering::Release);
        drop(inbox);
        self.shared.wake();
        true
    }

    /// Is the reactor gone, or has a callback panicked in it? Then every message comes back. An
    /// answer of `false` may be outdated when you get it; only `send` is certain.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }
}

struct Shared<M> {
    inbox: Mutex<Inbox<M>>,
    /// A hint that saves the loop the lock: true before any message can be missed.
    waiting: AtomicBool,
    /// A sender has asked to stop; `waiting` is set with it, so that the loop looks at one of them.
    stop: AtomicBool,
    limit: usize,
    /// How many the loop has taken out and not delivered yet; only kept if there is a limit.
    held: AtomicUsize,
    /// Gone with the reactor: it holds a descriptor, which a sender must not keep open.
    wake: Mutex<Option<Wake>>,
    /// Of a worker in a world: its messages wait for the end of a round.
    #[cfg(feature = "sim")]
    round: OnceLock<Arc<Round>>,
}

/// Wakes the loop, from any thread.
type Wake = Box<dyn Fn() + Send + Sync>;

struct Inbox<M> {
    messages: VecDeque<M>,
    closed: bool,
    /// Messages of a round that is not over, and who has posted them.
    #[cfg(feature = "sim")]
    staged: Vec<(usize, M)>,
}

impl<M> Inbox<M> {
    fn len(&self) -> usize {
        #[cfg(feature = "sim")]
        let staged = self.staged.len();
        #[cfg(not(feature = "sim"))]
        let staged = 0;
        self.messages.len() + staged
    }

    fn take_all(&mut self) -> VecDeque<M> {
        #[cfg(feature = "sim")]
        let staged = self.staged.drain(..).map(|(_, message)| message);
        #[cfg(feature = "sim")]
        self.messages.extend(staged);
        std::mem::take(&mut self.messages)
    }
}

impl<M> Shared<M> {
    fn is_full(&self, inbox: &Inbox<M>) -> bool {
        // Without a limit the senders do not touch what the loop writes for each message.
        self.limit != usize::MAX && inbox.len() + self.held.load(Ordering::Relaxed) >= self.limit
    }

    /// A sender that panicked (in an allocation, say) left a whole queue behind: go on.
    fn lock(&self) -> MutexGuard<'_, Inbox<M>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waker(&self) -> MutexGuard<'_, Option<Wake>> {
        self.wake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(wake) = &*self.waker() {
            wake();
        }
    }
}

/// Room for so many messages is kept when none waits.
const KEEP: usize = 4096;

/// The loop's end of it.
pub(crate) struct Mailbox<M> {
    shared: Arc<Shared<M>>,
    /// Taken out together, so that the lock is not fought for at each message.
    batch: VecDeque<M>,
}

impl<M> Mailbox<M> {
    /// `wake` is called, from any thread, when a message comes into an empty mailbox.
    pub(crate) fn new(limit: usize, wake: Wake) -> Mailbox<M> {
        Mailbox::attach(&Sender::detached(limit), wake)
    }

    /// The mailbox of a loop whose senders are there already, before the loop or from a loop before
    /// it, which is gone. What waits is not lost.
    pub(crate) fn attach(sender: &Sender<M>, wake: Wake) -> Mailbox<M> {
        let shared = sender.shared.clone();
        *shared.waker() = Some(wake);
        let mut inbox = shared.lock();
        inbox.closed = false;
        // A stop that was taken while the loop before it ended is for this one.
        let waits = !inbox.messages.is_empty() || shared.stop.load(Ordering::Acquire);
        shared.waiting.store(waits, Ordering::Release);
        drop(inbox);
        if waits {
            shared.wake();
        }
        Mailbox {
            shared,
            batch: VecDeque::new(),
        }
    }

    pub(crate) fn sender(&self) -> Sender<M> {
        Sender {
            shared: self.shared.clone(),
        }
    }

    pub(crate) fn has_messages(&self) -> bool {
        !self.batch.is_empty() || self.shared.waiting.load(Ordering::Acquire)
    }

    /// How many wait now: a snapshot, for those that are posted meanwhile come next time.
    pub(crate) fn waiting(&self) -> usize {
        let posted = match self.shared.waiting.load(Ordering::Acquire) {
            true => self.shared.lock().messages.len(),
            false => 0,
        };
        self.batch.len() + posted
    }

    /// Has a sender asked to stop? Answers so once.
    pub(crate) fn take_stop(&self) -> bool {
        if !self.shared.stop.load(Ordering::Acquire) {
            return false;
        }
        let inbox = self.shared.lock();
        self.shared.stop.store(false, Ordering::Release);
        let is_left = !inbox.messages.is_empty();
        self.shared.waiting.store(is_left, Ordering::Release);
        true
    }

    pub(crate) fn take(&mut self) -> Option<M> {
        if self.batch.is_empty() {
            // What a flood needed is given back.
            self.batch.shrink_to(KEEP);
            let mut inbox = self.shared.lock();
            std::mem::swap(&mut inbox.messages, &mut self.batch);
            // A stop may have come since the loop last looked for one.
            let stops = self.shared.stop.load(Ordering::Acquire);
            self.shared.waiting.store(stops, Ordering::Release);
            self.note_held();
        }
        let message = self.batch.pop_front();
        self.note_held();
        message
    }

    fn note_held(&self) {
        if self.shared.limit != usize::MAX {
            self.shared.held.store(self.batch.len(), Ordering::Relaxed);
        }
    }
}

impl<M> Mailbox<M> {
    /// Takes no more messages, and drops those that wait.
    pub(crate) fn close(&mut self) {
        // Outside the lock: a message's destructor may itself post.
        drop(self.close_and_take());
    }

    /// Takes no more messages, and gives back those that wait.
    pub(crate) fn close_and_take(&mut self) -> VecDeque<M> {
        let mut posted = {
            let mut inbox = self.shared.lock();
            inbox.closed = true;
            self.shared.waiting.store(false, Ordering::Release);
            inbox.take_all()
        };
        drop(self.shared.waker().take());
        let mut all = std::mem::take(&mut self.batch);
        self.note_held();
        all.append(&mut posted);
        all
    }
}

impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(limit: usize) -> (Mailbox<u32>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = wakes.clone();
        let wake = Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        (Mailbox::new(limit, wake), wakes)
    }

    #[test]
    fn many_messages_wake_once_and_come_in_order() {
        let (mut mailbox, wakes) = mailbox(usize::MAX);
        (0..100).for_each(|n| mailbox.sender().send(n).unwrap());
        assert_eq!((wakes.load(Ordering::SeqCst), mailbox.waiting()), (1, 100));
        assert_eq!(
            std::iter::from_fn(|| mailbox.take()).collect::<Vec<_>>(),
            Vec::from_iter(0..100)
        );
        assert!(!mailbox.has_messages());
        mailbox.sender().send(1).unwrap();
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_full_or_closed_mailbox_gives_the_message_back() {
        let (mailbox, _) = mailbox(1);
        let sender = mailbox.sender();
        assert_eq!(
            (sender.send(1), sender.send(2)),
            (Ok(()), Err(SendError::Full(2)))
        );
        drop(mailbox);
        assert_eq!(sender.send(3), Err(SendError::Closed(3)));
        assert_eq!(sender.send(3).unwrap_err().into_inner(), 3);
    }

    #[test]
    fn a_sender_does_not_keep_what_wakes_a_loop_that_is_gone() {
        let (mailbox, wakes) = mailbox(usize::MAX);
        let sender = mailbox.sender();
        assert_eq!(Arc::strong_count(&wakes), 2);
        drop(mailbox);
        assert_eq!(Arc::strong_count(&wakes), 1);
        assert_eq!(sender.send(1), Err(SendError::Closed(1)));
    }

    #[test]
    fn a_stop_that_its_loop_has_not_seen_is_for_the_next_one() {
        let (mailbox, _) = mailbox(usize::MAX);
        let sender = mailbox.sender();
        assert!(sender.stop() && sender.has_stopped());
        drop(mailbox);
        assert!(!sender.stop());
        let next = Mailbox::attach(&sender, Box::new(|| {}));
        assert!(next.has_messages() && next.take_stop());
        assert!(!next.has_messages() && !next.take_stop() && !sender.has_stopped());
    }

    #[test]
    fn a_stop_that_comes_before_a_message_is_taken_is_still_to_be_seen() {
        let (mut mailbox, _) = mailbox(usize::MAX);
        let sender = mailbox.sender();
        sender.send(1).unwrap();
        assert!(!mailbox.take_stop() && sender.stop());
        assert_eq!(mailbox.take(), Some(1));
        assert!(mailbox.has_messages() && mailbox.take_stop() && !mailbox.has_messages());
    }

    /// The loop takes all out together, but what it has not delivered still waits.
    #[test]
    fn what_the_loop_holds_counts_as_waiting() {
        let (mut mailbox, wakes) = mailbox(3);
        let sender = mailbox.sender();
        (0..3).for_each(|n| sender.send(n).unwrap());
        assert_eq!(mailbox.take(), Some(0));
        assert_eq!(sender.send(3), Ok(()));
        assert_eq!(sender.send(4), Err(SendError::Full(4)));
        assert_eq!((mailbox.waiting(), wakes.load(Ordering::SeqCst)), (3, 2));
        assert_eq!(mailbox.take(), Some(1));
        assert_eq!(sender.send(4), Ok(()));
        assert_eq!(
            std::iter::from_fn(|| mailbox.take()).collect::<Vec<_>>(),
            [2, 3, 4]
        );
        assert!(!mailbox.has_messages());
    }
}
