//! The numbers of `Config` and the thresholds of broadcasting, each at several values through the
//! real loop: `cargo bench --bench thresholds`. `docs/design.md` says what follows from it.
//!
//! What is measured is the processor time of the loop's thread alone; the peers have threads of
//! their own, or are served while nothing is measured.

mod common;

use bytes::Bytes;
use common::{Rival, compare, compare_few, rival_timed, timed, title};
use sockeye::{Addr, Config, ConnId, Context, Handler, Input, Origin, Reactor, Sender, Sent};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

const ANY: &str = "127.0.0.1:0";

/// Bytes of a stream.
const STREAM: usize = 32 << 20;

fn main() {
    title("receive_buffer: a stream, a KiB");
    let sizes = [16, 32, 64, 128, 256, 512, 1024];
    variants("taken", &sizes, |kib| stream(kib << 10, false));
    variants("echoed", &sizes, |kib| stream(kib << 10, true));

    title("broadcast to 50 members: in the turn's block, or shared; a delivery");
    for (frames, kib) in [(1, 4), (1, 8), (1, 16), (1, 32), (4, 4), (4, 8), (4, 16)] {
        block_or_share(frames, kib << 10);
    }

    title("watermarks: high, low a quarter of it, in KiB; a stream that is sent, a KiB");
    variants("sent", &[8, 16, 64, 256, 1024], |kib| produce(kib << 10, 8));
    title("rounds_per_turn: a stream that is sent, a KiB");
    variants("sent", &[1, 2, 4, 8, 16], |rounds| {
        produce(64 << 10, rounds)
    });

    title("accepts_per_turn: 512 connects that wait, an accept");
    variants("accepted", &[1, 8, 64, 512], accept);
    title("reads_per_turn: an echo on each of 500 connections, a message");
    let rivals = [8, 64, 256, 1024].map(|budget: usize| {
        let mut config = Config::default();
        config.reads_per_turn = budget;
        let mut crowd = Crowd::new(500, config);
        rival_timed(budget.to_string().leak(), move || crowd.echo())
    });
    compare_few("echoed", Vec::from(rivals));
    title("messages_per_turn: 8192 messages that wait, a message");
    variants("delivered", &[1, 16, 128, 1024, 8192], deliver);
}

/// One rival for each value.
fn variants(what: &str, values: &[usize], run: impl Fn(usize) -> (usize, Duration)) {
    let run = &run;
    let rivals = values.iter().map(|value| {
        let name: &'static str = value.to_string().leak();
        rival_timed(name, move || run(*value))
    });
    compare_few(what, rivals.collect::<Vec<Rival<'_>>>());
}

fn listen<M>(reactor: &mut Reactor<M>) -> SocketAddr {
    let listener = reactor.listen(ANY).expect("a free port");
    let addr = reactor.context().listener_addr(listener).and_then(Addr::ip);
    addr.expect("it listens")
}

/// Takes what comes, or sends it back, and stops at the end.
struct Taker {
    echo: bool,
}

impl Handler for Taker {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let all = input.take_all();
        if self.echo && cx.send(conn, all) == Sent::Wait {
            cx.pause_reads(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        cx.resume_reads(conn);
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, _: sockeye::Closed) {
        cx.stop();
    }
}

fn stream(receive_buffer: usize, echo: bool) -> (usize, Duration) {
    let mut config = Config::default();
    config.receive_buffer = receive_buffer;
    let mut reactor = Reactor::with_config(config).expect("a reactor");
    let addr = listen(&mut reactor);
    let peer = thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).expect("a server");
        let mut back = stream.try_clone().expect("a descriptor");
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while back.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..STREAM / piece.len() {
            stream.write_all(&piece).expect("a server");
        }
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("a server");
        reader.join().expect("the end");
    });
    let result = timed(|| {
        reactor.run(&mut Taker { echo }).expect("it can wait");
        STREAM / 1024
    });
    peer.join().expect("it has sent all");
    result
}

/// Sends a stream to whoever comes, as much at a time as it may.
struct Producer {
    left: usize,
    frame: Bytes,
}

impl Producer {
    fn go_on(&mut self, cx: &mut Context, conn: ConnId) {
        while self.left > 0 {
            self.left -= self.frame.len();
            if cx.send(conn, &self.frame) == Sent::Wait {
                return;
            }
        }
        cx.close(conn);
    }
}

impl Handler for Producer {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        self.go_on(cx, conn);
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        self.go_on(cx, conn);
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, _: sockeye::Closed) {
        cx.stop();
    }
}

fn produce(high: usize, rounds: usize) -> (usize, Duration) {
    let mut config = Config::default();
    config.rounds_per_turn = rounds;
    config.limits.high_watermark = high;
    config.limits.low_watermark = high / 4;
    config.limits.hard_limit = config.limits.hard_limit.max(high);
    let mut reactor = Reactor::with_config(config).expect("a reactor");
    let addr = listen(&mut reactor);
    let peer = thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).expect("a server");
        let (mut buffer, mut all) = (vec![0; 1 << 20], 0);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            all += count;
        }
        assert_eq!(all, STREAM);
    });
    let mut app = Producer {
        left: STREAM,
        frame: Bytes::from(vec![b'x'; 2048]),
    };
    let result = timed(|| {
        reactor.run(&mut app).expect("it can wait");
        STREAM / 1024
    });
    peer.join().expect("it has got all");
    result
}

/// Does nothing by itself; what comes goes back.
struct Passive(Vec<ConnId>);

impl<M> Handler<M> for Passive {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.0.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        cx.send(conn, input.take_all());
    }
}

/// A server with so many peers, on one thread.
struct Crowd {
    reactor: Reactor,
    app: Passive,
    peers: Vec<TcpStream>,
}

impl Crowd {
    fn new(count: usize, config: Config) -> Crowd {
        let mut crowd = Crowd {
            reactor: Reactor::with_config(config).expect("a reactor"),
            app: Passive(Vec::new()),
            peers: Vec::new(),
        };
        let addr = listen(&mut crowd.reactor);
        while crowd.app.0.len() < count {
            let peer = TcpStream::connect(addr).expect("a server");
            peer.set_nodelay(true).expect("a socket");
            crowd.peers.push(peer);
            crowd.turn();
        }
        crowd
    }

    fn turn(&mut self) {
        let nothing = Some(Duration::ZERO);
        self.reactor
            .turn(&mut self.app, nothing)
            .expect("it can wait");
    }

    /// Turns until so many bytes more are written; answers how long that took.
    fn write(&mut self, bytes: usize) -> Duration {
        let end = self.reactor.context().stats().bytes_out + bytes as u64;
        let (_, time) = timed(|| {
            while self.reactor.context().stats().bytes_out < end {
                self.turn();
            }
            1
        });
        time
    }

    fn read(&mut self, bytes: usize) {
        let mut buffer = vec![0; bytes];
        for peer in &mut self.peers {
            peer.read_exact(&mut buffer).expect("the frames");
        }
    }

    fn echo(&mut self) -> (usize, Duration) {
        let mut all = Duration::ZERO;
        for _ in 0..20 {
            for peer in &mut self.peers {
                peer.write_all(&[b'x'; 64]).expect("a server");
            }
            all += self.write(self.peers.len() * 64);
            self.read(64);
        }
        (self.peers.len() * 20, all)
    }
}

/// So many frames in a turn to all members: through the block, in pieces that are small enough for
/// it, which a member then writes as one; or each shared by itself.
fn block_or_share(frames: usize, size: usize) {
    const ROUNDS: usize = 10;
    let crowd = || Crowd::new(50, Config::default());
    let (mut one, mut other) = (crowd(), crowd());
    let frame = Bytes::from(vec![b'x'; size]);
    let run = |crowd: &mut Crowd, send: &dyn Fn(&mut Context, &[ConnId])| {
        let mut all = Duration::ZERO;
        for _ in 0..ROUNDS {
            let members = crowd.app.0.clone();
            let (_, time) = timed(|| {
                (0..frames).for_each(|_| send(crowd.reactor.context(), &members));
                1
            });
            all += time + crowd.write(members.len() * frames * size);
            crowd.read(frames * size);
        }
        (ROUNDS * frames * crowd.peers.len(), all)
    };
    let rivals = vec![
        rival_timed("block", || {
            run(&mut one, &|cx, members| {
                for piece in frame.chunks(8 << 10) {
                    cx.broadcast(members.iter().copied(), piece);
                }
            })
        }),
        rival_timed("shared", || {
            run(&mut other, &|cx, members| {
                for conn in members {
                    cx.send(*conn, &frame);
                }
            })
        }),
    ];
    compare(&format!("{frames} of {} KiB in a turn", size >> 10), rivals);
}

fn accept(budget: usize) -> (usize, Duration) {
    const WAITING: usize = 512;
    let mut config = Config::default();
    config.accepts_per_turn = budget;
    let mut reactor = Reactor::with_config(config).expect("a reactor");
    let addr = listen(&mut reactor);
    let connect = |_| TcpStream::connect(addr).expect("a server");
    let peers: Vec<TcpStream> = (0..WAITING).map(connect).collect();
    let mut app = Passive(Vec::new());
    let result = timed(|| {
        while app.0.len() < WAITING {
            let nothing = Some(Duration::ZERO);
            reactor.turn(&mut app, nothing).expect("it can wait");
        }
        WAITING
    });
    drop(peers);
    result
}

fn deliver(budget: usize) -> (usize, Duration) {
    const WAITING: usize = 8192;
    struct Count(usize);
    impl Handler<usize> for Count {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
        fn on_message(&mut self, _: &mut Context, _: usize) {
            self.0 += 1;
        }
    }
    let mut config = Config::default();
    config.messages_per_turn = budget;
    let mut reactor = Reactor::with_messages_and_config(config).expect("a reactor");
    let sender: Sender<usize> = reactor.sender();
    (0..WAITING).for_each(|message| sender.send(message).expect("a reactor"));
    let mut app = Count(0);
    timed(|| {
        while app.0 < WAITING {
            let nothing = Some(Duration::ZERO);
            reactor.turn(&mut app, nothing).expect("it can wait");
        }
        WAITING
    })
}
