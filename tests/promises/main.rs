//! What the loop keeps, on the edges that can show it: real sockets, and, in `tests/scenarios`, the
//! simulated network too. The codes above the tests are those of docs/promises.md.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../kit/mod.rs"]
mod kit;

#[cfg(target_os = "linux")]
mod accept_faults;
#[cfg(unix)]
mod busy_poll;
mod children;
#[cfg(target_os = "linux")]
mod connect_options;
mod connecting;
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
mod driver;
#[cfg(target_os = "linux")]
mod dropping;
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
mod embedding;
mod fairness;
mod finishing;
mod framed;
#[cfg(unix)]
mod handing;
mod judging;
mod lent_input;
mod listening;
#[cfg(unix)]
mod listening_unix;
mod messages;
mod names;
mod options;
mod reading;
mod reading_paused;
mod sources;
mod tags;
mod timers;
#[cfg(unix)]
mod unix_start;
#[cfg(unix)]
mod watching;
mod workers;
mod workers_ends;
#[cfg(unix)]
mod writing_signals;
