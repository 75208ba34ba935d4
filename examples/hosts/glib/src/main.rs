//! GLib's main loop, that of GTK. Its sources are called from C: a panic there ends the process.

use glib::{ControlFlow, IOCondition, MainLoop, SourceId};
use scenario::{Net, TICK};
use std::cell::RefCell;
use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::rc::Rc;

// The glue.
fn host(net: Net) -> io::Result<()> {
    let main_loop = MainLoop::new(None, false);
    let fd = net.driver.as_raw_fd();
    let net = Rc::new(RefCell::new(net));
    let (other, the_loop) = (net.clone(), main_loop.clone());
    let source = glib::source::unix_fd_add_local(fd, IOCondition::IN, move |_, _| {
        let Net { driver, room } = &mut *net.borrow_mut();
        if driver.turn(room).map_or(true, |turn| turn.report.is_some()) {
            the_loop.quit();
        }
        ControlFlow::Continue
    });
    let ticks = glib::timeout_add_local(TICK, move || {
        other.borrow_mut().outside();
        ControlFlow::Continue
    });
    main_loop.run();
    [source, ticks].into_iter().for_each(SourceId::remove);
    Ok(())
}
// End of the glue.

fn main() -> ExitCode {
    scenario::play(host)
}
