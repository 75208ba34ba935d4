//! What connections hold that do nothing: before they have spoken, and after they have once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::wire::Pattern;
use super::{Options, Sample, Target};
use crate::Result;
use crate::procfs;

/// These speak first, so that what the server needs for any connection at all is not counted.
const FIRST: usize = 64;

/// So many are connected before the server is waited for: no backlog is shorter.
const BATCH: usize = 100;

pub(super) fn measure(options: &Options, target: &Target) -> Result<Sample> {
    let pattern = Pattern::new();
    let mut first = open(target, FIRST)?;
    speak(&mut first, &pattern, options.size)?;
    let before = procfs::resident(target.pid)?;
    let mut idle = open(target, options.conns)?;
    let silent = procfs::resident(target.pid)?;
    speak(&mut idle, &pattern, options.size)?;
    let spoken = procfs::resident(target.pid)?;
    let each = |bytes: u64| (bytes as f64 - before as f64) / options.conns as f64;
    Ok(Sample {
        silent: each(silent),
        spoken: each(spoken),
        ..Sample::default()
    })
}

fn open(target: &Target, count: usize) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    let before = procfs::descriptors(target.pid)?;
    for number in 1..=count {
        streams.push(TcpStream::connect(target.addr)?);
        if number % BATCH == 0 || number == count {
            procfs::wait_for_descriptors(target.pid, before + number)?;
        }
    }
    Ok(streams)
}

/// Each sends one message and gets it back.
fn speak(streams: &mut [TcpStream], pattern: &Pattern, size: usize) -> Result<()> {
    let mut back = vec![0; size];
    for (number, stream) in streams.iter_mut().enumerate() {
        let message = pattern.slice(number as u64, size as u64);
        stream.write_all(message)?;
        stream.read_exact(&mut back)?;
        if back != message {
            return Err("wrong bytes came back".into());
        }
    }
    Ok(())
}
