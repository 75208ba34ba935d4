//! A game's loop of 60 frames a second. Between two frames it waits for the network.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use scenario::Net;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// What the network may take of a frame.
const SHARE: Duration = Duration::from_millis(4);

// The glue.
fn host(mut net: Net) -> io::Result<()> {
    let mut next = Instant::now();
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&net.driver, PollFlags::IN)];
        let (mut more, start) = (
            retry_on_intr(|| poll(&mut fds, Some(&timeout)))? > 0,
            Instant::now(),
        );
        while more && start.elapsed() < SHARE {
            let turn = net.driver.turn(&mut net.room)?;
            if turn.report.is_some() {
                return Ok(());
            }
            more = turn.more;
        }
        if Instant::now() >= next {
            net.outside(); // the frame: update, draw
            next += FRAME;
        }
    }
}
// End of the glue.

fn main() -> ExitCode {
    scenario::play(host)
}
