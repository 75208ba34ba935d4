//! A great many connects at once, beside one connection that is already there.

use super::child::{Server, answer, on_other_core};
use super::measure::{figure, percentile};
use crate::Result;
use crate::peers::by_sockeye::{Echo, listening};
use crate::report::Table;
use crate::run::Run;
use crate::stats::median;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};
use sockeye::{Listen, Reactor};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SIZE: usize = 64;
/// No connect of a storm is to be turned away and tried again a second later.
const BACKLOG: i32 = 4096;

const SYSTEMS: [(&str, &str); 3] = [
    ("sockeye", "sockeye"),
    ("mio", "mio alone"),
    ("tokio", "tokio, current_thread"),
];

/// What one storm gave: connects per second, milliseconds until all of the first wave were served,
/// the server's CPU microseconds for each, and the p50 and p99 of the neighbour in microseconds.
type Sample = [f64; 5];

pub(crate) fn run(run: &mut Run) -> Result<()> {
    let (wave, total, rounds) =
        run.scale
            .pick((200, 400, 1), (2_000, 6_000, 2), (2_000, 20_000, 9));
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); SYSTEMS.len()];
    let mut calm = vec![Vec::new(); SYSTEMS.len()];
    for round in 1..=rounds {
        for (index, (system, name)) in SYSTEMS.iter().enumerate() {
            run.progress
                .message(format!("connect storm, {name}, round {round}"));
            let mut server = Server::start(&format!("storm {system}"))?;
            calm[index].push(on_other_core(|| alone(server.addrs[0]))?);
            let sample = on_other_core(|| storm(&mut server, wave, total));
            samples[index].push(sample?);
            server.end()?;
        }
    }
    let mut table = Table::new([
        "server",
        "connects per second",
        "first wave served, ms",
        "CPU µs each",
        "neighbour alone: p99 µs",
        "in the storm: p50 µs",
        "p99 µs",
    ]);
    for ((samples, calm), (_, name)) in samples.iter().zip(&calm).zip(SYSTEMS) {
        let middle = |column: usize| {
            let column: Vec<f64> = samples.iter().map(|sample| sample[column]).collect();
            figure(median(&column))
        };
        let mut row = vec![name.to_owned()];
        row.extend([0, 1, 2].map(middle));
        row.push(figure(median(calm)));
        row.extend([3, 4].map(middle));
        table.row(row);
    }
    let text = format!(
        "{wave} connects at once to one listener, each sends {SIZE} bytes, reads them back and \
         resets; for each that ends another begins, {total} in all. Beside them one connection \
         that was there before sends {SIZE} bytes and waits for the answer, again and again. \
         The server has a core, and all others have the other one. A backlog of {BACKLOG} for \
         all. Median of {rounds} rounds in turn."
    );
    run.report.section("Connect storms").text(text).table(table);
    Ok(())
}

/// Sends and waits for the answer, until it is told to stop: the times, in microseconds.
fn neighbour(addr: SocketAddr, stop: &AtomicBool) -> Result<Vec<f64>> {
    let mut stream = std::net::TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let (message, mut reply, mut trips) = ([b'x'; SIZE], [0; SIZE], Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut reply)?;
        trips.push(sent.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(trips)
}

/// The p99 of the neighbour while nothing else happens.
fn alone(addr: SocketAddr) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let thread = thread::spawn(move || neighbour(addr, &flag));
    thread::park_timeout(Duration::from_millis(200));
    stop.store(true, Ordering::Relaxed);
    let trips = thread.join().map_err(|_| "the neighbour panicked")??;
    Ok(percentile(&trips, 99.0))
}

fn storm(server: &mut Server, wave: usize, total: usize) -> Result<Sample> {
    let addr = server.addrs[0];
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let thread = thread::spawn(move || neighbour(addr, &flag));
    let (cpu, started) = (server.cpu()?, Instant::now());
    let first = Storm::new(addr, total)?.run(wave)?;
    let took = started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let trips = thread.join().map_err(|_| "the neighbour panicked")??;
    let cpu = (server.cpu()? - cpu).as_nanos() as f64 / 1e3;
    // The neighbour's messages are not the storm's: but they are few beside it, and for all.
    Ok([
        total as f64 / took,
        first.as_secs_f64() * 1e3,
        cpu / total as f64,
        percentile(&trips, 50.0),
        percentile(&trips, 99.0),
    ])
}

/// The connects of a storm.
struct Storm {
    addr: SocketAddr,
    poll: Poll,
    conns: Vec<Option<Visit>>,
    /// Connects still to be made.
    left: usize,
    served: usize,
}

struct Visit {
    stream: TcpStream,
    sent: bool,
    got: usize,
}

impl Storm {
    fn new(addr: SocketAddr, total: usize) -> Result<Storm> {
        Ok(Storm {
            addr,
            poll: Poll::new()?,
            conns: Vec::new(),
            left: total,
            served: 0,
        })
    }

    /// Connects so many at once, and again and again; when as many as the first wave were served.
    fn run(&mut self, wave: usize) -> Result<Duration> {
        let (total, started) = (self.left, Instant::now());
        let (mut events, mut first) = (Events::with_capacity(1024), None);
        for slot in 0..wave {
            self.conns.push(None);
            self.connect(slot)?;
        }
        while self.served < total {
            self.poll.poll(&mut events, Some(Duration::from_secs(20)))?;
            if events.is_empty() {
                return Err(format!("{} of {total} were served, then none", self.served).into());
            }
            for event in &events {
                self.advance(event.token().0)?;
            }
            if self.served >= wave {
                first.get_or_insert_with(|| started.elapsed());
            }
        }
        Ok(first.unwrap_or_default())
    }

    fn connect(&mut self, slot: usize) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let mut stream = TcpStream::connect(self.addr)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(slot), both)?;
        self.conns[slot] = Some(Visit {
            stream,
            sent: false,
            got: 0,
        });
        Ok(())
    }

    fn advance(&mut self, slot: usize) -> Result<()> {
        let Some(visit) = &mut self.conns[slot] else {
            return Ok(());
        };
        if visit.step()? {
            // A reset, or there would soon be no port left to connect from.
            SockRef::from(&visit.stream).set_linger(Some(Duration::ZERO))?;
            self.conns[slot] = None;
            self.served += 1;
            self.connect(slot)?;
        }
        Ok(())
    }
}

impl Visit {
    /// Sends once it is connected, then reads. `true`: it has all of its answer.
    fn step(&mut self) -> Result<bool> {
        if !self.sent {
            match self.stream.write(&[b'x'; SIZE]) {
                Ok(SIZE) => self.sent = true,
                Ok(_) => return Err("a new socket takes 64 bytes".into()),
                Err(error) if is_early(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        match self.stream.read(&mut [0; SIZE]) {
            Ok(0) => Err("the server closed".into()),
            Ok(count) => {
                self.got += count;
                Ok(self.got == SIZE)
            }
            Err(error) if is_early(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Not connected yet, or nothing to read yet.
fn is_early(error: &io::Error) -> bool {
    use io::ErrorKind::{NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | NotConnected)
}

pub(crate) fn child(words: &[String]) -> Result<()> {
    match words.first().map(String::as_str) {
        Some("sockeye") => by_sockeye(),
        Some("mio") => by_mio(),
        _ => by_tokio(),
    }
}

/// A listening socket for those that do not make it with a backlog themselves.
fn listen() -> Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn by_sockeye() -> Result<()> {
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(Listen::new("127.0.0.1:0").backlog(BACKLOG as u32))?;
    answer(&[listening(&mut reactor, listener)?])?;
    reactor.run(&mut Echo)?;
    Ok(())
}

const LISTENER: Token = Token(usize::MAX);

fn by_mio() -> Result<()> {
    let mut listener = TcpListener::from_std(listen()?);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    answer(&[listener.local_addr()?])?;
    let (mut conns, mut buffer) = (slab::Slab::<TcpStream>::new(), vec![0; 64 * 1024]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() != LISTENER {
                let slot = event.token().0;
                if conns
                    .get_mut(slot)
                    .is_some_and(|stream| !echo(stream, &mut buffer))
                {
                    conns.remove(slot);
                }
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                let entry = conns.vacant_entry();
                let token = Token(entry.key());
                poll.registry()
                    .register(&mut stream, token, Interest::READABLE)?;
                entry.insert(stream);
            }
        }
    }
}

/// Echoes what is there; `false`: the connection is over.
fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    loop {
        match stream.read(buffer) {
            Ok(0) => return false,
            // So few bytes always fit: a server for more would keep what does not.
            Ok(count) => match stream.write(&buffer[..count]) {
                Ok(written) if written == count && count < buffer.len() => return true,
                Ok(written) if written == count => {}
                _ => return false,
            },
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn by_tokio() -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listen()?)?;
        answer(&[listener.local_addr()?])?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(count) = stream.read(&mut buffer).await {
                    if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    })
}
