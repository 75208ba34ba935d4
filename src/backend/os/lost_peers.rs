//! Errors of `accept` that concern one peer and not the listener.

use super::system::is_of_one_peer;
use std::io::{self, ErrorKind};

/// So many in a row are not peers who have left: whatever it is does not go away by trying again
/// (a sandbox that forbids the call says EPERM), and to go on would spin. As many as a backlog
/// holds by default.
const TOO_MANY: u32 = 1024;

/// Peers lost since one was accepted.
#[derive(Default)]
pub(crate) struct LostPeers(u32);

impl LostPeers {
    /// Calls every error that concerns one peer `ConnectionAborted`, unless there are too many.
    pub(super) fn name<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        match result {
            Err(error) if is_of_one_peer(&error) => {
                self.0 = self.0.saturating_add(1);
                Err(match self.0 > TOO_MANY {
                    true => io::Error::other(format!("{TOO_MANY} peers in a row: {error}")),
                    false => io::Error::new(ErrorKind::ConnectionAborted, error),
                })
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            result => {
                self.0 = 0;
                result
            }
        }
    }
}
