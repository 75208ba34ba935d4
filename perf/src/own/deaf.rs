//! A broadcast to a thousand members of whom some never read.

use super::child::{Server, answer, instructions_of, on_server_core};
use super::measure::figure;
use crate::Result;
use crate::peers::by_sockeye::listening;
use crate::report::Table;
use crate::run::{Run, Scale};
use crate::stats::median;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use sockeye::{
    Closed, ConnId, Context, Handler, Input, Limits, Listen, Origin, Overflow, Reactor, Tag,
};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const MEMBERS: usize = 1_000;
const SIZE: usize = 64;
/// What the system holds for each direction of each socket, about.
const BUFFER: usize = 8 * 1024;
/// What the loop holds for a member who does not read.
const HARD: usize = 64 * 1024;
/// Frames with which the queues of those who do not read are filled.
const FILL: usize = 4 * 1024;

pub(crate) fn run(run: &mut Run) -> Result<()> {
    let (frames, rounds) = run.scale.pick((10, 1), (40, 3), (100, 25));
    let mut rooms = Vec::new();
    for deaf in [0, MEMBERS / 10] {
        run.progress
            .message(format!("broadcast, {deaf} members are deaf"));
        let server = Server::start("deaf")?;
        let room = Room::open(&server.addrs, deaf)?;
        rooms.push((server, room, Vec::new()));
    }
    for round in 0..=rounds {
        run.progress.message(format!("broadcast, round {round}"));
        for (server, room, samples) in &mut rooms {
            let before = server.cpu()?;
            let deliveries = on_server_core(|| room.broadcasts(frames))?;
            let nanos = (server.cpu()? - before).as_nanos() as f64;
            if round > 0 {
                samples.push(nanos / deliveries as f64); // the first round warms up
            }
        }
    }
    let ratios: Vec<f64> = (0..rounds)
        .map(|round| rooms[1].2[round] / rooms[0].2[round])
        .collect();
    let mut table = Table::new([
        "members that read",
        "that never read",
        "CPU ns per delivery",
        "instructions",
    ]);
    for (_, room, samples) in &rooms {
        let (live, deaf) = (room.live.len(), room.deaf.len());
        run.progress.message("broadcast, counting instructions");
        let mut row = vec![live.to_string(), deaf.to_string(), figure(median(samples))];
        if run.scale != Scale::Smoke {
            row.extend(instructions(deaf, run.scale.pick(1, 50, 200)).map(figure));
        }
        table.row(row);
    }
    let text = format!(
        "One frame of {SIZE} bytes to every member, and the next one when all who read have it; \
         `Overflow::DropNewest` above {} KiB, socket buffers of {} KiB, both sides on one core. \
         The server's CPU time for each delivery to a member who reads, once the queues of the \
         others are full; and the instructions of the program itself, by callgrind where it is \
         installed. Median of {rounds} rounds in turn. **Ratio of the two: {:.3}** (median of \
         the rounds' ratios).",
        HARD / 1024,
        BUFFER / 1024,
        median(&ratios),
    );
    run.report
        .section("A broadcast past members who never read")
        .text(text)
        .table(table);
    Ok(())
}

/// User instructions per delivery.
fn instructions(deaf: usize, frames: usize) -> Option<f64> {
    let mut deliveries = 0;
    let all = instructions_of("deaf", frames, |server, frames| {
        let mut room = Room::open(&server.addrs, deaf)?;
        deliveries = room.broadcasts(frames)?;
        Ok(room)
    });
    // The second of its runs made twice as many.
    all.map(|all| all / (deliveries / 2) as f64)
}

/// The members of a server.
struct Room {
    publisher: TcpStream,
    live: Vec<mio::net::TcpStream>,
    deaf: Vec<TcpStream>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
}

impl Room {
    /// Nine hundred members who read, and so many among them who do not.
    fn open(addrs: &[SocketAddr], deaf: usize) -> Result<Room> {
        let publisher = TcpStream::connect(addrs[0])?;
        publisher.set_nodelay(true)?;
        let mut room = Room {
            publisher,
            live: Vec::new(),
            deaf: Vec::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; 64 * 1024],
        };
        let live = MEMBERS * 9 / 10;
        for index in 0..live {
            room.join(addrs[1])?;
            if index % 9 == 0 && room.deaf.len() < deaf {
                room.deaf.push(member(addrs[1])?);
            }
        }
        // More than the buffers of the system and of the loop hold together.
        for _ in 0..(HARD + 4 * BUFFER) / FILL * 2 {
            room.broadcast(FILL)?;
        }
        Ok(room)
    }

    fn join(&mut self, addr: SocketAddr) -> Result<()> {
        let stream = member(addr)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let token = Token(self.live.len());
        let registry = self.poll.registry();
        registry.register(&mut stream, token, Interest::READABLE)?;
        self.live.push(stream);
        Ok(())
    }

    /// One frame to all: it is over when all who read have it.
    fn broadcast(&mut self, size: usize) -> Result<()> {
        self.publisher.write_all(&vec![b'x'; size])?;
        let mut left = size * self.live.len();
        let give_up = Instant::now() + Duration::from_secs(20);
        while left > 0 {
            self.poll
                .poll(&mut self.events, Some(Duration::from_secs(1)))?;
            if Instant::now() > give_up {
                return Err(format!("{left} bytes of a broadcast have not come").into());
            }
            for event in &self.events {
                let stream = &mut self.live[event.token().0];
                loop {
                    match stream.read(&mut self.buffer) {
                        Ok(0) => return Err("a member was closed".into()),
                        Ok(count) => left -= count,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    }

    /// So many frames, one after the other: how many deliveries that makes.
    fn broadcasts(&mut self, frames: usize) -> Result<usize> {
        for _ in 0..frames {
            self.broadcast(SIZE)?;
        }
        Ok(frames * self.live.len())
    }
}

/// A member whose system holds little for it, and whom the server has greeted.
fn member(addr: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.connect(&addr.into())?;
    let mut stream = TcpStream::from(socket);
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

const PUBLISHER: Tag = Tag(1);

/// The server: what the publisher sends goes to every member.
#[derive(Default)]
struct Members(Vec<ConnId>);

impl Handler for Members {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        if cx.tag(conn) != Some(PUBLISHER) {
            self.0.push(conn);
            cx.send(conn, "!"); // until then the member would miss what is sent
        }
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let frame = input.take_all();
        if cx.tag(conn) == Some(PUBLISHER) {
            cx.broadcast(self.0.iter().copied(), frame);
        }
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.0.retain(|member| *member != conn);
    }
}

pub(crate) fn child(_: &[String]) -> Result<()> {
    let mut limits = Limits::default();
    limits.overflow = Overflow::DropNewest;
    limits.low_watermark = HARD / 8;
    limits.high_watermark = HARD / 4;
    limits.hard_limit = HARD;
    // Nobody is to be given up while this runs.
    limits.write_stall = Duration::from_secs(3600);
    let local = || Listen::new("127.0.0.1:0");
    let members = local().limits(limits).send_buffer(BUFFER);
    let mut reactor = Reactor::new()?;
    let publisher = reactor.listen(local().tag(PUBLISHER))?;
    let members = reactor.listen(members)?;
    answer(&[
        listening(&mut reactor, publisher)?,
        listening(&mut reactor, members)?,
    ])?;
    reactor.run(&mut Members::default())?;
    Ok(())
}
