//! The loop's own mail: what its helpers on other threads have found, beside the user's mailbox.

use crate::mailbox::Mailbox;
use crate::names::Found;

/// What a helper of the loop has to say.
pub(crate) enum Letter {
    /// A resolver has found addresses, or none.
    Found(Found),
}

/// The loop's end of its own mail. It has no limit of its own: each letter answers a question, and
/// those have one.
pub(crate) type Post = Mailbox<Letter>;
