//! A network that is made of memory, with a clock that moves when it is told.
//!
//! The edge of the simulation: reactors see a [`Stream`], an [`Acceptor`] and a [`Sim`] as they see
//! those of the operating system. All of them share one [`Net`], which is where TCP happens.

pub(crate) mod faults;
mod names;
pub(crate) mod net;
mod packets;
mod random;
mod scripted;
mod socket;

pub(crate) use faults::name_of_exhausted;
pub(crate) use net::Net;
pub(crate) use socket::{Owner, SockId, State};

pub(crate) use names::SimNames;

use super::{Source, Wake};
use crate::addr::Addr;
use crate::options::{Connect, Listen};
use crate::readiness::Readiness;
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The network, shared by all who are on it. One thread drives it; the lock is for `Send`.
#[derive(Clone)]
pub(crate) struct SharedNet(Arc<Mutex<Net>>);

/// What another thread does at a moment that chance chooses. `false`: it could not yet.
pub(crate) type Post = Box<dyn FnMut() -> bool + Send>;

impl SharedNet {
    pub(crate) fn new(net: Net) -> SharedNet {
        SharedNet(Arc::new(Mutex::new(net)))
    }

    /// A handler that panicked left the network as it was: go on.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Net> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For every call that a reactor makes: other threads may do something right before it. They
    /// wake reactors, so the lock is not held meanwhile.
    fn enter(&self) -> MutexGuard<'_, Net> {
        let mut net = self.lock();
        while let Some(post) = net.next_post() {
            drop(net);
            let done = self.run(post);
            net = self.lock();
            if !done {
                break;
            }
        }
        net
    }

    /// Other threads do now all that they have waited with. Answers whether there was something.
    pub(crate) fn run_posts(&self) -> bool {
        let mut any = false;
        while let Some(post) = self.take_post() {
            any = true;
            if !self.run(post) {
                break;
            }
        }
        any
    }

    fn take_post(&self) -> Option<Post> {
        self.lock().posts.pop_front()
    }

    /// What could not be done is to be done next.
    fn run(&self, mut post: Post) -> bool {
        let done = post();
        if !done {
            self.lock().posts.push_front(post);
        }
        done
    }
}

impl std::fmt::Debug for SharedNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedNet")
    }
}

/// One reactor's place on the network.
pub(crate) struct Sim {
    net: SharedNet,
    poller: usize,
}

pub(crate) struct Stream {
    net: SharedNet,
    id: SockId,
}

pub(crate) struct Acceptor {
    net: SharedNet,
    key: Addr,
    local: Addr,
}

impl Sim {
    /// A reactor of its own on this host, with at most so many events in one wait.
    pub(crate) fn new(net: &SharedNet, host: std::net::IpAddr, events_per_wait: usize) -> Sim {
        let poller = net.lock().add_poller(host, events_per_wait);
        Sim {
            net: net.clone(),
            poller,
        }
    }

    pub(crate) fn poller(&self) -> usize {
        self.poller
    }

    pub(crate) fn net(&self) -> SharedNet {
        self.net.clone()
    }

    #[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
    #[track_caller]
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        panic!("a simulated reactor has no descriptor; its world turns it");
    }

    pub(crate) fn wake(&self) -> Wake {
        let (net, poller) = (self.net.clone(), self.poller);
        Box::new(move || net.lock().wake(poller))
    }

    /// Never sleeps: the world moves the clock when every reactor would.
    pub(crate) fn wait(
        &mut self,
        _: Option<Duration>,
        mut each: impl FnMut(Source, Readiness),
    ) -> io::Result<(usize, bool)> {
        // Between the loop's last look at its mailbox and its sleep, and right after that.
        let (events, full) = self.net.enter().poll(self.poller);
        drop(self.net.enter());
        let count = events.len();
        events
            .into_iter()
            .for_each(|(source, readiness)| each(source, readiness));
        Ok((count, full))
    }

    pub(crate) fn listen(
        &mut self,
        listen: &Listen,
        addr: &Addr,
        slot: u32,
    ) -> io::Result<Acceptor> {
        let listened = self.net.lock().listen(self.poller, listen, addr, slot);
        let (key, local) = listened?;
        Ok(Acceptor {
            net: self.net.clone(),
            key,
            local,
        })
    }

    pub(crate) fn connect(
        &mut self,
        connect: &Connect,
        addr: &Addr,
        to: Source,
    ) -> io::Result<(Stream, bool)> {
        let (id, done) = self.net.lock().connect(self.poller, connect, addr, to)?;
        Ok((
            Stream {
                net: self.net.clone(),
                id,
            },
            done,
        ))
    }

    pub(crate) fn resolver(&self) -> SimNames {
        SimNames(self.net.clone())
    }

    pub(crate) fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.net.lock().names.find(host, port)
    }

    pub(crate) fn register(&mut self, stream: &mut Stream, slot: u32) -> io::Result<()> {
        self.net.lock().register(self.poller, stream.id, slot);
        Ok(())
    }
}

impl Stream {
    /// What is written is ciphertext from now on.
    #[cfg(feature = "tls")]
    pub(crate) fn carry_ciphertext(&mut self) {
        self.net.enter().socket(self.id).is_sealed = true;
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.net.enter().read(self.id, buffer)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.net.enter().write(self.id, bytes)
    }

    /// As writev(2): the pieces are one write.
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let joined: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.write(&joined)
    }

    /// A network of memory takes no files: they are read and sent.
    pub(crate) fn send_file(&mut self, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn sends_files(&self) -> bool {
        false
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        self.net.enter().shutdown_write(self.id)
    }

    pub(crate) fn reset_on_drop(&mut self) {
        self.net.lock().reset_on_close(self.id);
    }

    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        self.net.enter().is_connected(self.id)
    }

    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        self.is_connected().err()
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        Ok(self.net.lock().local_addr(self.id))
    }

    pub(crate) fn short_is_proof(&self) -> bool {
        self.net.lock().short_is_proof(self.id)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.net.lock().close(self.id);
    }
}

impl Acceptor {
    pub(crate) fn accept(&mut self) -> io::Result<(Stream, Addr)> {
        let (id, peer) = self.net.enter().accept(&self.key)?;
        Ok((
            Stream {
                net: self.net.clone(),
                id,
            },
            peer,
        ))
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        Ok(self.local.clone())
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.net.lock().unlisten(&self.key);
    }
}
