//! Tables of the loop and of its users: what is looked up by a key that may be stale, and what is
//! due at a time.

pub(crate) mod conn_map;
pub(crate) mod slots;
pub(crate) mod timers;
