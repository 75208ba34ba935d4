//! calloop, the loop of Wayland compositors.

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventLoop, Interest, LoopSignal, Mode, PostAction};
use scenario::{Net, TICK};
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

// The glue.
fn host(mut net: Net) -> io::Result<()> {
    let mut event_loop = EventLoop::<Net>::try_new()?;
    let (handle, signal): (_, LoopSignal) = (event_loop.handle(), event_loop.get_signal());
    let fd = net.driver.as_fd().try_clone_to_owned()?;
    let source = Generic::new(fd, Interest::READ, Mode::Level);
    let inserted = handle.insert_source(source, move |_, _, net| {
        if net.driver.turn(&mut net.room)?.report.is_some() {
            signal.stop();
        }
        Ok(PostAction::Continue)
    });
    inserted.map_err(|error| error.error)?;
    let ticks = handle.insert_source(Timer::from_duration(TICK), |_, _, net| {
        net.outside();
        TimeoutAction::ToDuration(TICK)
    });
    ticks.map_err(|error| error.error)?;
    Ok(event_loop.run(None, &mut net, |_| {})?)
}
// End of the glue.

fn main() -> ExitCode {
    scenario::play(host)
}
