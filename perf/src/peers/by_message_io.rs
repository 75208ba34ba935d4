//! message-io: `Transport::Tcp`, which is bytes as they come, and `for_each`.

use std::collections::HashMap;
use std::fs;
use std::io;

use message_io::network::{Endpoint, NetEvent, Transport};
use message_io::node;
use rustix::net::sockopt;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::lines::Lines;
use super::{Mode, announce};
use crate::Result;

pub(super) fn serve(mode: Mode) -> Result<()> {
    let (handler, listener) = node::split::<()>();
    let addr = "127.0.0.1:0";
    let (_, addr) = handler.network().listen(Transport::Tcp, addr)?;
    if let Err(error) = no_delay() {
        eprintln!("message-io: no TCP_NODELAY: {error}");
    }
    announce(addr)?;
    let mut members: HashMap<Endpoint, Lines> = HashMap::new();
    listener.for_each(move |event| match event.network() {
        NetEvent::Message(endpoint, data) => match mode {
            Mode::Echo => {
                handler.network().send(endpoint, data);
            }
            Mode::Broadcast => {
                let mut block = Vec::new();
                if let Some(lines) = members.get_mut(&endpoint) {
                    lines.complete(data, &mut block);
                }
                if !block.is_empty() {
                    for member in members.keys() {
                        handler.network().send(*member, &block);
                    }
                }
            }
        },
        NetEvent::Accepted(endpoint, _) => {
            members.insert(endpoint, Lines::default());
        }
        NetEvent::Disconnected(endpoint) => {
            members.remove(&endpoint);
        }
        NetEvent::Connected(..) => {}
    });
    Ok(())
}

/// Sets `TCP_NODELAY` on the listener, from which accepted sockets inherit it: message-io has no
/// option for it, and Nagle's algorithm would be measured instead of the library.
fn no_delay() -> io::Result<()> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(fd) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else {
            continue; // the descriptor of the directory is gone already
        };
        if sockopt::socket_acceptconn(&fd) == Ok(true) {
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
    }
    Ok(())
}
