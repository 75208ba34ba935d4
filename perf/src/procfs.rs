//! What `/proc` tells of a server: its CPU time, its memory, its descriptors.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// What the scheduler says of a process: nanoseconds that its threads have run, and that they
/// could have run and had to wait for a core.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scheduled {
    pub(crate) ran: u64,
    pub(crate) waited: u64,
}

pub(crate) fn scheduled(pid: u32) -> Scheduled {
    let mut sum = Scheduled::default();
    for task in fs::read_dir(of(pid, "task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        // A thread may end meanwhile.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let mut numbers = text.split(' ').map(|word| word.parse().unwrap_or(0));
        sum.ran += numbers.next().unwrap_or(0);
        sum.waited += numbers.next().unwrap_or(0);
    }
    sum
}

/// Resident bytes of a process.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    // `status` is kept by each core for itself and only nearly right; this one is counted.
    let text = fs::read_to_string(of(pid, "smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line
        .and_then(first_number)
        .ok_or("no Rss in smaps_rollup")?;
    Ok(kib * 1024)
}

pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(of(pid, "fd"))?.count())
}

/// Waits until a process has so many descriptors: has accepted all connections.
pub(crate) fn wait_for_descriptors(pid: u32, count: usize) -> Result<()> {
    let start = Instant::now();
    while descriptors(pid)? < count {
        if start.elapsed() > Duration::from_secs(20) {
            return Err("the server does not accept all connections".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn of(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}
