//! Names for what the loop owns: small, `Copy`, and safe to keep after the thing itself is gone.

use std::fmt;

/// A slot in a table and the generation of its occupant.
///
/// A slot is reused; a generation is not (it wraps after 2³² occupants of one slot). A key whose
/// generation is no longer the slot's names nothing, and never somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

macro_rules! id {
    ($name:ident, $letter:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// `Copy`, and safe to keep for as long as you like: once its owner is gone the id is
        /// *stale*, every command given with it says so and does nothing, and it never comes to
        /// name another (a slot's generation wraps after 2³² owners). To another reactor it may
        /// name anything: give it only to the one that it is from.
        #[doc = concat!("\nIt prints as `", $letter, "3.7`: slot 3, generation 7.")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) Key);

        impl $name {
            /// The id as a number: for a map, a log, or the key of a timer.
            pub const fn to_u64(self) -> u64 {
                (self.0.generation as u64) << 32 | self.0.slot as u64
            }

            /// The id that `to_u64` made this number of. One that no id made is a stale id, or by
            /// chance somebody else's, but never a panic.
            pub const fn from_u64(number: u64) -> $name {
                $name(Key {
                    slot: number as u32,
                    generation: (number >> 32) as u32,
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}.{}"), self.0.slot, self.0.generation)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    ConnId,
    "c",
    "Names a connection, from `connect` or `on_open` until its `on_close` has returned."
);
id!(
    ListenerId,
    "l",
    "Names a listener, from `listen` until `unlisten` or `finish`."
);
id!(
    TimerId,
    "t",
    "Names a timer, from `set_timer` until it fires or is cancelled."
);
id!(
    WatchId,
    "w",
    "Names a watched descriptor, from `watch` until `unwatch`."
);

/// Says which part of an application an event belongs to.
///
/// Chosen at `listen` or `connect`; accepted connections have their listener's. Whatever a callback
/// creates (connection, listener, timer, watch) has the tag of the event that the callback is for,
/// unless its builder names another. An application of several parts overrides
/// [`Handler::on_event`](crate::Handler::on_event) with one `match event.tag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u32);
