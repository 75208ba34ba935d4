//! A backend that does what a test tells it: short writes, `WouldBlock`, errors, spurious edges.

use super::{Backend, Source, Wake};
use crate::addr::Addr;
use crate::config::Config;
use crate::names::{Lookup, Resolver};
use crate::options::{Connect, Listen};
use crate::reactor::Reactor;
use crate::readiness::Readiness;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What the next write does. Without one, it takes everything.
pub(crate) enum WriteStep {
    Take(usize),
    Fail(io::ErrorKind),
}

/// One scripted socket, as a test sees it.
#[derive(Default)]
pub(crate) struct Socket {
    /// Whom its events are for.
    pub(crate) to: Option<Source>,
    /// What reads give, in turn; then `WouldBlock`. An empty one is an end.
    pub(crate) reads: VecDeque<Result<Vec<u8>, io::ErrorKind>>,
    pub(crate) writes: VecDeque<WriteStep>,
    /// Takes nothing: writes would block, once the steps above are used up.
    pub(crate) full: bool,
    pub(crate) written: Vec<u8>,
    /// Calls of read and write.
    pub(crate) calls: usize,
    pub(crate) shut: bool,
    /// The peer does not end when we do.
    pub(crate) stays: bool,
    pub(crate) reset: bool,
    pub(crate) dropped: bool,
    /// What `is_connected` answers, in turn; then that it is through.
    pub(crate) connects: VecDeque<io::Result<bool>>,
    /// Is a short read or write proof?
    pub(crate) proof: bool,
    /// Does it take files?
    pub(crate) sends_files: bool,
    /// What was taken of files, call by call.
    pub(crate) of_files: Vec<usize>,
}

struct World {
    now: Instant,
    sockets: Vec<Socket>,
    accepts: VecDeque<io::Result<usize>>,
    /// What the next `listen`s answer; then that they listen.
    listens: VecDeque<io::Result<SocketAddr>>,
    /// What was to be listened on.
    listened: Vec<Addr>,
    /// How the next connects fail at once.
    refusals: VecDeque<io::Error>,
    /// Each batch of events is as large as the buffer for it.
    fills_batches: bool,
    events: Vec<(Source, Readiness)>,
    /// Timeouts of the waits that slept.
    sleeps: Vec<Option<Duration>>,
    /// Look-ups that a test answers.
    lookups: Vec<Lookup>,
}

/// The backend, and the test's hand on it: clones share one world.
#[derive(Clone)]
pub(crate) struct Script(Arc<Mutex<World>>);

pub(crate) struct Stream {
    script: Script,
    index: usize,
}

pub(crate) struct Acceptor {
    script: Script,
    local: Addr,
}

impl Script {
    /// A reactor on a script, and the test's hand on it.
    pub(crate) fn reactor(config: Config) -> (Reactor<u64>, Script) {
        let script = Script::new();
        let reactor = Reactor::on_backend(Backend::Script(script.clone()), config);
        (reactor, script)
    }

    pub(crate) fn new() -> Script {
        Script(Arc::new(Mutex::new(World {
            now: Instant::now(),
            sockets: Vec::new(),
            accepts: VecDeque::new(),
            listens: VecDeque::new(),
            listened: Vec::new(),
            refusals: VecDeque::new(),
            fills_batches: false,
            events: Vec::new(),
            sleeps: Vec::new(),
            lookups: Vec::new(),
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// A socket that the next accept gives.
    pub(crate) fn incoming(&self) -> usize {
        let index = self.socket_to(None);
        let mut world = self.world();
        world.accepts.push_back(Ok(index));
        world
            .events
            .push((Source::Listener(0), Readiness::READABLE));
        index
    }

    /// A stream that another loop has accepted.
    pub(crate) fn accepted(&self) -> (usize, super::Stream) {
        let (script, index) = (self.clone(), self.socket_to(None));
        (index, super::Stream::Script(Stream { script, index }))
    }

    fn socket_to(&self, to: Option<Source>) -> usize {
        let mut world = self.world();
        world.sockets.push(Socket {
            proof: true,
            to,
            ..Socket::default()
        });
        world.sockets.len() - 1
    }

    /// What the next `listen`s answer, in turn.
    pub(crate) fn listens(&self, answers: impl IntoIterator<Item = io::Result<SocketAddr>>) {
        self.world().listens.extend(answers);
    }

    /// What was to be listened on since the last time.
    pub(crate) fn listened(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.world().listened);
        asked.iter().map(Addr::to_string).collect()
    }

    /// The next connect fails so, at once.
    pub(crate) fn connect_fails(&self, error: io::Error) {
        self.world().refusals.push_back(error);
    }

    /// From now on each batch of events is as large as the buffer for it.
    pub(crate) fn fill_batches(&self) {
        self.world().fills_batches = true;
    }

    /// What the next wait would have told is lost.
    pub(crate) fn lose_events(&self) {
        self.world().events.clear();
    }

    /// The next accept fails so.
    pub(crate) fn accept_fails(&self, kind: io::ErrorKind) {
        self.world().accepts.push_back(Err(kind.into()));
    }

    /// Changes a socket, or asks it.
    pub(crate) fn socket<T>(&self, index: usize, with: impl FnOnce(&mut Socket) -> T) -> T {
        with(&mut self.world().sockets[index])
    }

    /// An edge for the next wait.
    pub(crate) fn edge(&self, index: usize, readiness: Readiness) {
        let mut world = self.world();
        let to = world.sockets[index].to.unwrap();
        world.events.push((to, readiness));
    }

    /// Bytes arrive, with an edge.
    pub(crate) fn arrives(&self, index: usize, bytes: &[u8]) {
        self.socket(index, |socket| socket.reads.push_back(Ok(bytes.to_vec())));
        self.edge(index, Readiness::READABLE);
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.world().now += time;
    }

    /// Are there events for the next wait?
    pub(crate) fn has_events(&self) -> bool {
        !self.world().events.is_empty()
    }

    /// The look-ups that nobody has answered.
    pub(crate) fn lookups(&self) -> Vec<Lookup> {
        std::mem::take(&mut self.world().lookups)
    }

    pub(crate) fn addresses(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok([1, 2].map(|last| ([127, 0, 0, last], port).into()).into())
    }

    pub(crate) fn sleeps(&self) -> usize {
        self.world().sleeps.len()
    }

    pub(crate) fn now(&self) -> Instant {
        self.world().now
    }

    pub(crate) fn wall(&self) -> std::time::SystemTime {
        std::time::SystemTime::UNIX_EPOCH
    }

    #[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        panic!("a script has no descriptor");
    }

    pub(crate) fn wake(&self) -> Wake {
        let script = self.clone();
        let event = (Source::Wake, Readiness::READABLE);
        Box::new(move || script.world().events.push(event))
    }

    /// With nothing to tell, a wait passes its timeout.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut each: impl FnMut(Source, Readiness),
    ) -> io::Result<(usize, bool)> {
        let events = std::mem::take(&mut self.world().events);
        if events.is_empty() && timeout != Some(Duration::ZERO) {
            let mut world = self.world();
            world.sleeps.push(timeout);
            world.now += timeout.unwrap_or_default();
        }
        events
            .iter()
            .for_each(|(source, readiness)| each(*source, *readiness));
        Ok((events.len(), self.world().fills_batches))
    }

    pub(crate) fn listen(&mut self, _: &Listen, addr: &Addr, _: u32) -> io::Result<Acceptor> {
        let mut world = self.world();
        world.listened.push(addr.clone());
        let local = match world.listens.pop_front() {
            Some(answer) => Addr::Ip(answer?),
            None => Addr::Unix(None),
        };
        drop(world);
        let script = self.clone();
        Ok(Acceptor { script, local })
    }

    pub(crate) fn connect(
        &mut self,
        _: &Connect,
        _: &Addr,
        to: Source,
    ) -> io::Result<(Stream, bool)> {
        if let Some(error) = self.world().refusals.pop_front() {
            return Err(error);
        }
        let (script, index) = (self.clone(), self.socket_to(Some(to)));
        Ok((Stream { script, index }, false))
    }

    pub(crate) fn register(&mut self, stream: &mut Stream, slot: u32) -> io::Result<()> {
        self.socket(stream.index, |socket| socket.to = Some(Source::Conn(slot)));
        Ok(())
    }
}

impl Resolver for Script {
    fn look_up(&mut self, lookup: Lookup) {
        self.world().lookups.push(lookup);
    }
}

impl Acceptor {
    pub(crate) fn accept(&mut self) -> io::Result<(Stream, Addr)> {
        let next = self.script.world().accepts.pop_front();
        let index = next.unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
        Ok((
            Stream {
                script: self.script.clone(),
                index,
            },
            Addr::Unix(None),
        ))
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        Ok(self.local.clone())
    }
}

impl Stream {
    fn with<T>(&self, with: impl FnOnce(&mut Socket) -> T) -> T {
        self.script.socket(self.index, with)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|socket| {
            socket.calls += 1;
            let mut bytes = match socket.reads.pop_front() {
                Some(read) => read?,
                None if socket.shut && !socket.stays => return Ok(0),
                None => return Err(io::ErrorKind::WouldBlock.into()),
            };
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            if count < bytes.len() {
                socket.reads.push_front(Ok(bytes.split_off(count)));
            }
            Ok(count)
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|socket| {
            socket.calls += 1;
            let count = match socket.writes.pop_front() {
                None if socket.full => return Err(io::ErrorKind::WouldBlock.into()),
                None => bytes.len(),
                Some(WriteStep::Take(count)) => count.min(bytes.len()),
                Some(WriteStep::Fail(kind)) => return Err(kind.into()),
            };
            socket.written.extend_from_slice(&bytes[..count]);
            Ok(count)
        })
    }

    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(
            &slices
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect::<Vec<_>>(),
        )
    }

    /// As a write of what the file holds there.
    pub(crate) fn send_file(&mut self, file: &File, at: u64, most: usize) -> io::Result<usize> {
        let mut bytes = Vec::new();
        super::read_file(file, at, most, &mut bytes)?;
        let count = self.write(&bytes)?;
        self.with(|socket| socket.of_files.push(count));
        Ok(count)
    }

    pub(crate) fn sends_files(&self) -> bool {
        self.with(|socket| socket.sends_files)
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        let answers = self.with(|socket| {
            socket.shut = true;
            !socket.stays
        });
        if answers {
            let eof = Readiness::READABLE | Readiness::HANG_UP;
            self.script.edge(self.index, eof);
        }
        Ok(())
    }

    pub(crate) fn reset_on_drop(&mut self) {
        self.with(|socket| socket.reset = true);
    }

    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        self.with(|socket| socket.connects.pop_front().unwrap_or(Ok(true)))
    }

    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        self.is_connected().err()
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        Ok(Addr::Unix(None))
    }

    pub(crate) fn short_is_proof(&self) -> bool {
        self.with(|socket| socket.proof)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.with(|socket| socket.dropped = true);
    }
}
