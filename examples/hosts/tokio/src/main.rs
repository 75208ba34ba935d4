//! tokio: on one thread with a `LocalSet`, or as a task of a runtime with many (`--spawn`).

// Since 1.54, for who passes a number that he does not own. Here it is an `OwnedFd`.
#![allow(deprecated, reason = "its successor is an unsafe function")]

use scenario::{Net, TICK};
use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;
use tokio::io::{Interest, unix::AsyncFd};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::interval;

// The glue: a task of one thread, whose other tasks give commands.
async fn local(net: Net) -> io::Result<()> {
    let fd = net.driver.as_fd().try_clone_to_owned()?;
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    let (net, mut ticks) = (Rc::new(RefCell::new(net)), interval(TICK));
    let other = net.clone();
    spawn_local(async move {
        loop {
            ticks.tick().await;
            other.borrow_mut().outside();
        }
    });
    loop {
        fd.readable().await?.clear_ready();
        let Net { driver, room } = &mut *net.borrow_mut();
        if driver.turn(room)?.report.is_some() {
            return Ok(());
        }
    }
}
// End of the glue.

// The glue: a task that may move from thread to thread, to which others post messages.
async fn task(mut net: Net) -> io::Result<()> {
    let fd = net.driver.as_fd().try_clone_to_owned()?;
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    let mut ticks = interval(TICK);
    loop {
        tokio::select! {
            ready = fd.readable() => {
                ready?.clear_ready();
                if net.driver.turn(&mut net.room)?.report.is_some() {
                    return Ok(());
                }
            }
            _ = ticks.tick() => net.outside(),
        }
    }
}
// End of the glue.

fn on_one_thread(net: Net) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, local(net))
}

fn spawned(net: Net) -> io::Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(runtime.spawn(task(net))) {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn main() -> ExitCode {
    match std::env::args().any(|arg| arg == "--spawn") {
        true => scenario::play(spawned),
        false => scenario::play(on_one_thread),
    }
}
