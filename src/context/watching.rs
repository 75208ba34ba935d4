//! Descriptors that are not sockets of the loop: pipes, terminals, sockets of other libraries.

use super::Context;
use crate::id::WatchId;
use crate::readiness::{Interest, Readiness};
use crate::watch::Watch;
use std::io;
use std::os::fd::AsFd;

impl Context {
    /// Watches a descriptor: `on_ready` is called once whenever its readiness changes, with `key`,
    /// which is yours. Read or write until the call would block (the descriptor must be
    /// non-blocking), or [`rearm`](Self::rearm).
    ///
    /// The descriptor is duplicated: yours stays yours, and may be closed at any time. If it is
    /// ready already, `on_ready` comes in the next turn. On Windows there is no such call: let a
    /// thread wait, and post what it gets through a [`Sender`](crate::Sender).
    ///
    /// # Errors
    ///
    /// Files that the system cannot poll are refused (`EPERM`, epoll_ctl(2)): plain files and
    /// directories are always ready, so read them without waiting.
    #[doc(alias("add_reader", "uv_poll_start", "EventedFd"))]
    pub fn watch(&mut self, fd: impl AsFd, interest: Interest, key: u64) -> io::Result<WatchId> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        let id = self.watches.next_key();
        self.backend
            .watch(&fd, interest, id.slot)
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    let text = "this kind of file cannot be polled: it is always ready";
                    io::Error::new(io::ErrorKind::PermissionDenied, text)
                }
                _ => error,
            })?;
        let (tag, readiness) = (self.current_tag, Readiness::default());
        self.watches.insert(Watch {
            fd,
            tag,
            key,
            readiness,
            listed: false,
        });
        Ok(WatchId(id))
    }

    /// Asks again, with this interest from now on: if the descriptor is ready now, `on_ready` comes
    /// once more. For handlers that do not read to the end, and for those that want to write only
    /// now and then: so a descriptor that can nearly always be written to wakes nobody for nothing.
    /// `false`: the id is stale, or the system no longer knows of it.
    pub fn rearm(&mut self, id: WatchId, interest: Interest) -> bool {
        let Some(watch) = self.watches.get_mut(id.0) else {
            return false;
        };
        self.backend.rearm(&watch.fd, interest, id.0.slot).is_ok()
    }

    /// Watches it no more: no `on_ready` from now on. `false`: the id is stale.
    pub fn unwatch(&mut self, id: WatchId) -> bool {
        match self.watches.get(id.0) {
            Some(watch) => self.backend.unwatch(&watch.fd),
            None => return false,
        }
        self.watches.remove(id.0.slot).is_some()
    }
}
