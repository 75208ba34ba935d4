//! What the operating system says of a descriptor, and what it is asked.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// What the operating system says of a descriptor: hints, in any combination.
///
/// "Ready" means that a call would not block, not that it would succeed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness(u8);

impl Readiness {
    pub(crate) const READABLE: Readiness = Readiness(1);
    pub(crate) const WRITABLE: Readiness = Readiness(2);
    pub(crate) const ERROR: Readiness = Readiness(4);
    /// The peer will send no more, or the whole connection is gone.
    pub(crate) const HANG_UP: Readiness = Readiness(8);
    /// Urgent data: a read stops at its mark.
    pub(crate) const URGENT: Readiness = Readiness(16);

    /// A read would not block: there are bytes, an end, an error, or something to accept.
    pub fn is_readable(self) -> bool {
        self.has(Readiness::READABLE)
    }

    /// A write would not block: there is room, or an error.
    pub fn is_writable(self) -> bool {
        self.has(Readiness::WRITABLE)
    }

    /// An error waits to be asked for (`select`'s third list also means urgent data: see
    /// [`is_urgent`](Readiness::is_urgent)).
    pub fn is_error(self) -> bool {
        self.has(Readiness::ERROR)
    }

    /// The other end has closed, or shut down its writing side.
    pub fn is_hang_up(self) -> bool {
        self.has(Readiness::HANG_UP)
    }

    /// Urgent (out-of-band) data is there, where the system says so (Linux).
    pub fn is_urgent(self) -> bool {
        self.has(Readiness::URGENT)
    }

    /// The bits for readable and writable.
    #[inline]
    pub(crate) const fn directions(self) -> u8 {
        self.0 & (Readiness::READABLE.0 | Readiness::WRITABLE.0)
    }

    /// Is there more to it than that?
    #[inline]
    pub(crate) fn is_unusual(self) -> bool {
        self.0 != self.directions()
    }

    pub(crate) fn has(self, any_of: Readiness) -> bool {
        self.0 & any_of.0 != 0
    }

    pub(crate) fn when(self, condition: bool) -> Readiness {
        match condition {
            true => self,
            false => Readiness(0),
        }
    }
}

impl BitOr for Readiness {
    type Output = Readiness;

    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Readiness) {
        self.0 |= other.0;
    }
}

/// `readable+hang-up`.
impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["readable", "writable", "error", "hang-up", "urgent"];
        let set = names
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0);
        f.write_str(&set.map(|(_, name)| *name).collect::<Vec<_>>().join("+"))
    }
}

/// What `Context::watch` watches a descriptor for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Tell when it becomes readable.
    Readable,
    /// Tell when it becomes writable.
    Writable,
    /// Tell both.
    Both,
}
