//! smol.

use async_io::{Async, Timer};
use scenario::{Net, TICK};
use smol::future::or;
use smol::stream::StreamExt;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

// The glue.
fn host(mut net: Net) -> io::Result<()> {
    smol::block_on(async {
        let fd = Async::new_nonblocking(net.driver.as_fd().try_clone_to_owned()?)?;
        let mut ticks = Timer::interval(TICK);
        loop {
            let readable = async { fd.readable().await.map(|()| true) };
            let tick = async { Ok(ticks.next().await.is_none()) };
            match or(readable, tick).await? {
                true if net.driver.turn(&mut net.room)?.report.is_some() => return Ok(()),
                true => {}
                false => net.outside(),
            }
        }
    })
}
// End of the glue.

fn main() -> ExitCode {
    scenario::play(host)
}
