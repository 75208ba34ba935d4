//! What was the user's, dropped so that a panic in it ends nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What was the user's may panic as it is dropped, and so may what it panicked with.
pub(crate) fn drop_quietly<T>(what: T) {
    let mut dropped = catch_unwind(AssertUnwindSafe(|| drop(what)));
    while let Err(panic) = dropped {
        dropped = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    }
}
