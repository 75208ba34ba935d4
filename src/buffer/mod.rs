//! Bytes on their way: what was received and not yet consumed, and what was sent and not yet taken.

pub(crate) mod input;
pub(crate) mod line;
pub(crate) mod outbox;
pub(crate) mod payload;
mod pool;
pub(crate) mod receive;
pub(crate) mod source;
pub(crate) mod store;
pub(crate) mod write_queue;
