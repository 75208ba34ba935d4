//! The least that several threads can be: one that accepts, a list and a wake for each receiver,
//! and receivers that register what they find there; or threads that accept for themselves. No
//! handlers, no tables, no ends.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;
use socket2::{Domain, Socket, Type};
use std::io::ErrorKind::WouldBlock;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Nothing is missed for longer.
const SOON: Option<Duration> = Some(Duration::from_millis(100));
const WAKE: Token = Token(usize::MAX);

pub(crate) struct Bare {
    pub(crate) addr: SocketAddr,
    pub(crate) opened: Arc<AtomicU64>,
    stops: Arc<AtomicBool>,
    wakers: Vec<Arc<Waker>>,
    threads: Vec<JoinHandle<()>>,
}

/// How a receiver gets a stream.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// It is woken, and registers the stream.
    Wake,
    /// The thread that accepts registers it there, and its readiness to be written wakes.
    Registry,
}

/// A receiver, as the thread that accepts sees it.
struct Mate {
    mail: Arc<Mail>,
    waker: Arc<Waker>,
    registry: Registry,
}

impl Mate {
    fn hand(&self, mut stream: TcpStream, by: By, token: usize) {
        let mut mail = self.mail.lock();
        if let By::Registry = by {
            // Under the lock: whoever is woken finds the stream.
            let both = Interest::READABLE | Interest::WRITABLE;
            let registered = self.registry.register(&mut stream, Token(token), both);
            return registered.map(|()| mail.push(stream)).expect("room");
        }
        mail.push(stream);
        let first = mail.len() == 1;
        drop(mail);
        if first {
            self.waker.wake().expect("a descriptor");
        }
    }
}

/// Streams on their way to a receiver.
#[derive(Default)]
struct Mail(Mutex<Vec<TcpStream>>);

impl Mail {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.0.lock().expect("nobody panics")
    }
}

/// With a backlog that a storm does not fill before the first is accepted.
fn listen() -> TcpListener {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors");
    let listening = socket
        .bind(&any.into())
        .and_then(|()| socket.listen(4096))
        .and_then(|()| socket.set_nonblocking(true));
    listening.expect("a port");
    TcpListener::from_std(socket.into())
}

/// A loop that waits, with what wakes it.
fn looping() -> (Poll, Arc<Waker>) {
    let poll = Poll::new().expect("descriptors");
    let waker = Waker::new(poll.registry(), WAKE).expect("descriptors");
    (poll, Arc::new(waker))
}

/// Streams that a loop has registered. Edge-triggered, as all that mio registers.
struct Kept<'a> {
    poll: &'a Poll,
    streams: Vec<TcpStream>,
    opened: &'a AtomicU64,
}

impl Kept<'_> {
    fn keep(&mut self, mut stream: TcpStream) {
        let both = Interest::READABLE | Interest::WRITABLE;
        let token = Token(self.streams.len());
        let registered = self.poll.registry().register(&mut stream, token, both);
        registered.expect("room");
        self.streams.push(stream);
        self.opened.fetch_add(1, Relaxed);
    }
}

impl Bare {
    /// Without receivers one loop accepts and registers.
    pub(crate) fn start(receivers: usize, by: By) -> Bare {
        let listener = listen();
        let addr = listener.local_addr().expect("an address");
        let (opened, stops) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (mut wakers, mut threads, mut mates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..receivers {
            let ((poll, waker), mail) = (looping(), Arc::<Mail>::default());
            wakers.push(waker.clone());
            mates.push(Mate {
                mail: mail.clone(),
                waker,
                registry: poll.registry().try_clone().expect("descriptors"),
            });
            let (opened, stops) = (opened.clone(), stops.clone());
            threads.push(thread::spawn(move || {
                receive(poll, &mail, by, &opened, &stops);
            }));
        }
        let (poll, waker) = looping();
        wakers.push(waker);
        let (its, ends) = (opened.clone(), stops.clone());
        threads.push(thread::spawn(move || {
            accept(poll, listener, (&mates, by), &its, &ends);
        }));
        Bare {
            addr,
            opened,
            stops,
            wakers,
            threads,
        }
    }

    /// Each thread accepts for itself from one listener that all wait for, and one of them is woken
    /// for each who comes (`EPOLLEXCLUSIVE`): nothing is handed over, nor evened out.
    pub(crate) fn start_alike(count: usize) -> Bare {
        let listener = listen();
        let addr = listener.local_addr().expect("an address");
        let (opened, stops) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let listener = Arc::new(listener);
        let start = |_| {
            let (listener, opened, stops) = (listener.clone(), opened.clone(), stops.clone());
            thread::spawn(move || accept_alike(&listener, &opened, &stops))
        };
        Bare {
            addr,
            wakers: Vec::new(),
            threads: (0..count).map(start).collect(),
            opened,
            stops,
        }
    }

    pub(crate) fn stop(self) {
        self.stops.store(true, Relaxed);
        let woken = self.wakers.iter().map(|waker| waker.wake());
        woken.for_each(|woken| woken.expect("a descriptor"));
        let ended = self.threads.into_iter().map(JoinHandle::join);
        ended.for_each(|ended| ended.expect("no panic"));
    }
}

fn receive(mut poll: Poll, mail: &Mail, by: By, opened: &AtomicU64, stops: &AtomicBool) {
    let mut events = Events::with_capacity(1024);
    let mut streams = Vec::new();
    while !stops.load(Relaxed) {
        poll.poll(&mut events, SOON).expect("it waits");
        if let By::Wake = by
            && events.iter().all(|event| event.token() != WAKE)
        {
            continue;
        }
        let found = std::mem::take(&mut *mail.lock());
        if let By::Registry = by {
            opened.fetch_add(found.len() as u64, Relaxed);
            streams.extend(found);
            continue;
        }
        let mut kept = Kept {
            poll: &poll,
            streams,
            opened,
        };
        found.into_iter().for_each(|stream| kept.keep(stream));
        streams = kept.streams;
    }
}

fn accept(
    mut poll: Poll,
    mut listener: TcpListener,
    (mates, by): (&[Mate], By),
    opened: &AtomicU64,
    stops: &AtomicBool,
) {
    let readable = Interest::READABLE;
    let registered = poll.registry().register(&mut listener, Token(0), readable);
    registered.expect("room");
    let mut events = Events::with_capacity(1024);
    let mut streams = Vec::new();
    let mut next = 0;
    while !stops.load(Relaxed) {
        poll.poll(&mut events, SOON).expect("it waits");
        let mut kept = Kept {
            poll: &poll,
            streams,
            opened,
        };
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == WouldBlock => break,
                Err(error) => {
                    eprintln!("accept: {error}");
                    continue;
                }
            };
            next += 1;
            if mates.is_empty() {
                kept.keep(stream);
                continue;
            }
            mates[next % mates.len()].hand(stream, by, next);
        }
        streams = kept.streams;
    }
}

fn accept_alike(listener: &TcpListener, opened: &AtomicU64, stops: &AtomicBool) {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("descriptors");
    let edge = EventFlags::ET | EventFlags::IN;
    let (nobody, alone) = (EventData::new_u64(0), edge | EventFlags::EXCLUSIVE);
    epoll::add(&poll, listener, nobody, alone).expect("room");
    let mut events = Vec::with_capacity(1024);
    let mut streams = Vec::new();
    let soon = SOON.map(|soon| Timespec::try_from(soon).expect("it is short"));
    while !stops.load(Relaxed) {
        events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&poll, buffer, soon.as_ref()).expect("it waits");
        while let Ok((stream, _)) = listener.accept() {
            epoll::add(&poll, &stream, nobody, edge | EventFlags::OUT).expect("room");
            streams.push(stream);
            opened.fetch_add(1, Relaxed);
        }
    }
}
