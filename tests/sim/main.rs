//! The simulated network: what it promises, handlers that run on it, and the kernel beside it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../kit/mod.rs"]
mod kit;

#[cfg(target_os = "linux")]
mod buffers;
#[cfg(feature = "sim")]
mod chat_server;
#[cfg(all(feature = "sim", target_os = "linux"))]
mod differential;
#[cfg(feature = "sim")]
mod errors;
#[cfg(feature = "sim")]
mod faults;
#[cfg(feature = "sim")]
mod handlers;
#[cfg(feature = "sim")]
mod late;
#[cfg(feature = "sim")]
mod names;
#[cfg(feature = "sim")]
mod resp;
#[cfg(feature = "sim")]
mod swarm;
#[cfg(all(feature = "sim", feature = "websocket"))]
mod websocket;
#[cfg(feature = "sim")]
mod workers;
