//! Threads of the crate's own, and the processors that they run on.

use std::io;
use std::num::NonZero;
use std::thread::{self, JoinHandle};

/// A thread. Dropping it lets it go on.
pub(crate) struct Thread<T>(JoinHandle<T>);

impl<T: Send + 'static> Thread<T> {
    pub(crate) fn spawn(
        name: String,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Self> {
        thread::Builder::new().name(name).spawn(run).map(Thread)
    }

    /// Waits for its end. An error is what it has panicked with.
    pub(crate) fn join(self) -> thread::Result<T> {
        self.0.join()
    }
}

/// How many processors this process may use; 1 if the system does not say.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Can a thread be bound to a processor here?
pub(crate) fn pins_threads() -> bool {
    cfg!(any(target_os = "linux", target_os = "android"))
}

/// Binds this thread to one of the processors that it may use: the first for 0, and so on, and
/// around again.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn pin_thread(number: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let may = sched_getaffinity(None)?;
    let all: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| may.is_set(*cpu))
        .collect();
    let Some(cpu) = all.get(number % all.len().max(1)) else {
        return Ok(());
    };
    let mut one = CpuSet::new();
    one.set(*cpu);
    Ok(sched_setaffinity(None, &one)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn pin_thread(_: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
