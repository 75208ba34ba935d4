//! What is counted or changed for a whole process: system calls, processor time, the
//! logger. Whatever needs a process with nothing else in it starts that itself (`go_on_alone!`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../kit/mod.rs"]
mod kit;

// poll(2) itself costs more with each descriptor.
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
mod crowd;
mod records;
// Edge-triggered readiness saves the calls that are counted here; poll(2) cannot.
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
mod syscalls;
