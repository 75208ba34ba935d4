//! How a process is told to end, and how a socket is kept from it.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus};

#[cfg(unix)]
pub use rustix::process::Signal;

#[cfg(unix)]
pub fn send(child: &Child, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Did this signal, which it does not handle, end it?
#[cfg(unix)]
pub fn was_ended_by(status: ExitStatus, signal: Signal) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(signal.as_raw())
}

/// Starts a program, and does so again if wine has an internal error: of some thousand that were
/// started beside others it had one with two.
pub fn start<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const INTERNAL_ERROR: i32 = 1359;
    for _ in 0..4 {
        match start() {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(INTERNAL_ERROR) => {}
            started => return started,
        }
    }
    start()
}

#[cfg(unix)]
pub fn with_own_console(command: &mut Command) -> &mut Command {
    command
}

/// On Windows there is Ctrl-C alone.
#[cfg(windows)]
#[derive(Clone, Copy)]
pub struct Signal;

#[cfg(windows)]
impl Signal {
    pub const INT: Signal = Signal;
    pub const TERM: Signal = Signal;
}

/// Presses Ctrl-C on the console of a process. Nobody can without unsafe code, so a program does
/// it, which `.ci/windows` builds.
#[cfg(windows)]
pub fn send(child: &Child, _: Signal) {
    let program = std::env::var_os("SOCKEYE_INTERRUPT").expect("a program that presses Ctrl-C");
    let id = child.id().to_string();
    let pressed = start(|| Command::new(&program).arg(&id).status());
    assert!(pressed.unwrap().success());
}

/// The status says nothing of it everywhere.
#[cfg(windows)]
pub fn was_ended_by(_: ExitStatus, _: Signal) -> bool {
    true
}

/// A console of its own, with no window: so that a Ctrl-C is for this process alone.
#[cfg(windows)]
pub fn with_own_console(command: &mut Command) -> &mut Command {
    use std::os::windows::process::CommandExt;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    command.creation_flags(CREATE_NO_WINDOW)
}

#[cfg(unix)]
pub fn accept(server: &TcpListener) -> TcpStream {
    server.accept().unwrap().0
}

/// Accepts a peer. std leaves such a socket to every process that is started meanwhile, by another
/// test for instance, and until that ends nobody is told that it was closed.
#[cfg(windows)]
pub fn accept(server: &TcpListener) -> TcpStream {
    let (stream, _) = server.accept().unwrap();
    socket2::SockRef::from(&stream)
        .set_no_inherit(true)
        .unwrap();
    stream
}
