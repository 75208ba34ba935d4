//! The examples, each as a process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../kit/mod.rs"]
mod kit;

mod chat_client;
mod chat_crowd;
mod chat_server;
#[cfg(target_os = "linux")]
mod http_files;
mod protocols;
mod small;
#[cfg(unix)]
mod upgrade;
