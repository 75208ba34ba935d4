//! winit, which waits for no descriptor of others: a thread waits for it and wakes the loop.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use scenario::{Net, TICK};
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;
use winit::application::ApplicationHandler;
use winit::event::{StartCause, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::window::WindowId;

// The glue.
struct App {
    net: Net,
    look_again: Sender<()>,
}

impl ApplicationHandler<()> for App {
    fn user_event(&mut self, event_loop: &ActiveEventLoop, (): ()) {
        match self.net.driver.turn(&mut self.net.room) {
            Ok(turn) if turn.report.is_none() => drop(self.look_again.send(())),
            _ => event_loop.exit(),
        }
    }

    fn new_events(&mut self, event_loop: &ActiveEventLoop, cause: StartCause) {
        if !matches!(cause, StartCause::WaitCancelled { .. }) {
            self.net.outside();
            event_loop.set_control_flow(ControlFlow::WaitUntil(Instant::now() + TICK));
        }
    }

    fn resumed(&mut self, _: &ActiveEventLoop) {}
    fn window_event(&mut self, _: &ActiveEventLoop, _: WindowId, _: WindowEvent) {}
}

fn host(net: Net) -> io::Result<()> {
    let event_loop = EventLoop::new().map_err(io::Error::other)?;
    let (proxy, fd) = (
        event_loop.create_proxy(),
        net.driver.as_fd().try_clone_to_owned()?,
    );
    let (look_again, looks) = channel();
    let waiter = thread::spawn(move || {
        // One look for each turn, or the loop would be flooded.
        while retry_on_intr(|| poll(&mut [PollFd::new(&fd, PollFlags::IN)], None)).is_ok()
            && proxy.send_event(()).is_ok()
            && looks.recv().is_ok()
        {}
    });
    event_loop
        .run_app(&mut App { net, look_again })
        .map_err(io::Error::other)?;
    waiter.join().map_err(|_| io::ErrorKind::Other.into())
}
// End of the glue.

fn main() -> ExitCode {
    scenario::play(host)
}
