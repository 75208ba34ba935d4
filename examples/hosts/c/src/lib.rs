//! The reactor for hosts that are not written in Rust: five functions of C.
//!
//! `unsafe` is for the border alone: what comes from C is a pointer that `net_new` gave, not freed
//! yet, and used by one thread. A panic does not unwind into C: it ends the process.

use scenario::{Net, Show};
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::AsRawFd;

/// A reactor and its handler.
pub struct Guest(Net, Show);

/// Makes one. NULL: there is no such act.
///
/// # Safety
///
/// `act` is a string of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn net_new(act: *const c_char) -> Option<Box<Guest>> {
    // SAFETY: the caller says so.
    let act = unsafe { CStr::from_ptr(act) };
    let (net, show) = Show::begin(act.to_str().ok()?).ok()?;
    Some(Box::new(Guest(net, show)))
}

/// The descriptor to wait for.
#[unsafe(no_mangle)]
pub extern "C" fn net_fd(guest: &Guest) -> c_int {
    guest.0.driver.as_raw_fd()
}

/// One turn, when the descriptor is readable. 0: go on; 1: it has finished; -1: an error.
#[unsafe(no_mangle)]
pub extern "C" fn net_turn(Guest(net, _): &mut Guest) -> c_int {
    match net.driver.turn(&mut net.room) {
        Ok(turn) => turn.report.is_some().into(),
        Err(_) => -1,
    }
}

/// Commands from outside of a turn.
#[unsafe(no_mangle)]
pub extern "C" fn net_outside(guest: &mut Guest) {
    guest.0.outside();
}

/// Drops it, and says what was seen.
#[unsafe(no_mangle)]
pub extern "C" fn net_free(guest: Box<Guest>) {
    let Guest(net, show) = *guest;
    drop(net);
    println!("{}", show.end());
}
