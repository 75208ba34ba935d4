//! The codecs by themselves, without a loop, and beside other people's.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod agree;
mod bytes;
mod choices;
mod resp;
#[cfg(feature = "websocket")]
mod websocket;
