//! One watched descriptor: a pipe, a terminal, a socket of another library.

use crate::id::Tag;
use crate::readiness::Readiness;

pub(crate) struct Watch {
    /// Our own duplicate: the caller may close its descriptor at any time.
    #[cfg(unix)]
    pub(crate) fd: std::os::fd::OwnedFd,
    pub(crate) tag: Tag,
    /// The caller's own, handed back by `on_ready`.
    pub(crate) key: u64,
    /// What was reported since the last `on_ready`.
    pub(crate) readiness: Readiness,
    /// The watch is on the list of those to report.
    pub(crate) listed: bool,
}
