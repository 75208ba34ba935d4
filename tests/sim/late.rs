//! A late loop, a kernel that says "writable" late, a full batch and a peer in mid-sending, on the
//! simulated network: nobody is judged by what the last wait told.

use sockeye::sim::{Clock, Faults, Node, Pace, Peer, World, seeds};
use sockeye::{
    Closed, Config, ConnId, Context, Deadline, Handler, Input, Limits, Origin, Reason, Sent,
};
use std::time::{Duration, Instant};

/// Does to each input what its first byte says.
struct Server {
    clock: Clock,
    conns: Vec<ConnId>,
    idle: Vec<(ConnId, Deadline)>,
    closed: Vec<(Instant, Closed)>,
    answer: Vec<u8>,
    /// How long a callback for `b` takes.
    busy: Duration,
}

impl Handler for Server {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.conns.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        match input.take_all().first() {
            // An answer, and the end, whatever else comes.
            Some(b'a') => {
                self.clock.spend(self.busy);
                cx.send(conn, self.answer.clone());
                cx.close(conn);
            }
            Some(b'p') => drop(cx.pause_reads(conn)),
            Some(b'b') => self.clock.spend(self.busy),
            _ => {}
        }
    }

    fn on_deadline(&mut self, _: &mut Context, conn: ConnId, which: Deadline) {
        self.idle.push((conn, which));
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        self.closed.push((self.clock.now(), closed));
    }
}

const PLACE: &str = "10.0.0.1:7";

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn start(world: &mut World, config: Config, answer: usize, busy: Duration) -> Node<Server> {
    let server = Server {
        clock: world.clock(),
        conns: Vec::new(),
        idle: Vec::new(),
        closed: Vec::new(),
        answer: vec![b'x'; answer],
        busy,
    };
    world.start_with("server", config, server, |reactor| {
        reactor.listen(PLACE).map(drop)
    })
}

fn with(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(&mut config.limits);
    config
}

fn heard(world: &mut World, peer: &Peer, time: Duration) -> usize {
    world.advance(time);
    peer.received_bytes().len()
}

// J2
#[test]
fn a_peer_that_reads_slowly_but_all_the_time_gets_everything() {
    let config = with(|limits| {
        limits.hard_limit = 1 << 30;
        limits.close_flush = Duration::from_secs(5);
    });
    let mut world = World::new();
    let node = start(&mut world, config, 12 << 20, Duration::ZERO);
    let ann = world.connect(PLACE);
    // 100 KB/s: a third of what the system's buffer has grown to takes it longer than 5 s.
    ann.hear_at(Pace::new(10_000, ms(100)));
    ann.send("a");
    assert_eq!(heard(&mut world, &ann, Duration::from_secs(200)), 12 << 20);
    assert!(ann.is_closed() && !ann.was_reset());
    ann.close();
    world.settle();
    assert!(matches!(world.app(node).closed[0].1.reason, Reason::Local));
    world.assert_no_leaks();
}

// X4
#[test]
fn a_peer_that_stops_reading_is_given_up_all_the_same() {
    let mut world = World::new();
    let config = with(|limits| {
        limits.hard_limit = 1 << 30;
        limits.close_flush = Duration::from_secs(5);
    });
    let node = start(&mut world, config, 12 << 20, Duration::ZERO);
    let ann = world.connect(PLACE);
    ann.ignore();
    ann.send("a");
    world.advance(Duration::from_secs(6));
    let reason = &world.app(node).closed[0].1.reason;
    assert!(matches!(reason, Reason::TimedOut(Deadline::CloseFlush)));
}

// J1
#[test]
fn bytes_that_came_while_a_callback_took_long_are_no_silence() {
    for batch in [1, 1024] {
        let mut config = with(|limits| limits.idle = Some(ms(500)));
        config.events_per_wait = batch;
        let mut world = World::new();
        let node = start(&mut world, config, 0, ms(2000));
        let peers: Vec<Peer> = (0..5).map(|_| world.connect(PLACE)).collect();
        world.settle();
        for peer in &peers {
            peer.send_at([b'.'; 100], Pace::new(1, ms(100)));
        }
        world.advance(ms(1000));
        let busy = world.connect(PLACE);
        busy.send("b");
        world.settle();
        // And the process is stopped for as long, between two turns.
        world.clock().spend(ms(2000));
        world.settle();
        busy.close();
        world.advance(ms(3000));
        let app = world.app(node);
        let wrong = |(conn, _): &&(ConnId, Deadline)| app.conns[..5].contains(conn);
        let idle: Vec<_> = app.idle.iter().filter(wrong).collect();
        assert!(idle.is_empty(), "batch {batch}: {idle:?}");
    }
}

// J6
#[test]
fn a_timeout_counts_from_its_command_however_late_the_turn_is() {
    let mut world = World::new();
    let config = with(|limits| limits.close_flush = ms(200));
    let node = start(&mut world, config, 1 << 20, ms(400));
    let ann = world.connect(PLACE);
    ann.ignore();
    ann.send("a");
    world.send_buffers(1000, 1000);
    world.settle();
    let closed = world.now();
    world.advance(ms(199));
    assert!(world.app(node).closed.is_empty());
    world.advance(ms(1));
    assert_eq!(world.app(node).closed[0].0, closed + ms(200));
}

// J3
#[test]
fn an_answer_reaches_a_peer_that_goes_on_sending_after_our_end() {
    let mut world = World::new();
    let node = start(&mut world, Config::default(), 200_000, Duration::ZERO);
    let ann = world.connect(PLACE);
    ann.hear_at(Pace::new(20_000, ms(10)));
    ann.send("a");
    world.settle();
    // Another 2 s of input, to a connection that is closed and will have been flushed.
    ann.send_at([b'.'; 2000], Pace::new(10, ms(10)));
    assert_eq!(heard(&mut world, &ann, ms(1900)), 200_000);
    assert!(!ann.was_reset() && world.app(node).closed.is_empty());
    // It ends by silence.
    let before = world.now();
    world.advance(Duration::from_secs(10));
    let (at, closed) = &world.app(node).closed[0];
    assert!(matches!(closed.reason, Reason::Local));
    assert_eq!(*at, before + ms(100) + Limits::default().linger_silence);
}

// J4
#[test]
fn a_reset_in_a_pause_is_told_within_the_time_of_a_stall() {
    let mut world = World::new();
    let config = with(|limits| limits.write_stall = ms(500));
    let node = start(&mut world, config, 0, Duration::ZERO);
    let ann = world.connect(PLACE);
    ann.send("p");
    world.settle();
    ann.reset();
    world.advance(ms(499));
    assert!(world.app(node).closed.is_empty());
    world.advance(ms(1));
    assert!(matches!(world.app(node).closed[0].1.reason, Reason::Reset));
    world.assert_no_leaks();
}

#[test]
fn a_buffer_grows_with_use_unless_its_size_was_asked_for() {
    let mut held = Vec::new();
    for asked in [None, Some(64 * 1024)] {
        let mut world = World::new();
        let config = with(|limits| limits.hard_limit = 1 << 30);
        let node = start(&mut world, config, 0, Duration::ZERO);
        let mut listen = sockeye::Listen::new("10.0.0.1:8");
        if let Some(bytes) = asked {
            listen = listen.send_buffer(bytes);
        }
        world.with(node, |_, cx| cx.listen(listen)).unwrap();
        let ann = world.connect("10.0.0.1:8");
        world.settle();
        let conn = world.app(node).conns[0];
        let send = |world: &mut World| {
            world.with(node, |_, cx| {
                assert_ne!(cx.send(conn, vec![0; 3 << 20]), Sent::Gone);
            });
            world.settle();
        };
        send(&mut world);
        world.settle();
        ann.ignore();
        send(&mut world);
        let pending = world.with(node, |_, cx| cx.pending(conn));
        held.push((3 << 20) - pending);
    }
    assert!(held[0] > 3_000_000 && held[1] <= 2 * 64 * 1024, "{held:?}");
}

#[test]
fn callbacks_that_take_long_make_timers_late_and_never_early() {
    let mut long = Duration::ZERO;
    for seed in seeds(0..10) {
        let mut faults = Faults::default();
        faults.slow_callbacks = 300;
        let mut world = World::seeded(seed, faults);
        let node = start(&mut world, Config::default(), 0, Duration::ZERO);
        let ann = world.connect(PLACE);
        let before = world.now();
        for _ in 0..10 {
            ann.send("?");
            world.settle();
        }
        long = long.max(world.now() - before);
        assert!(world.app(node).closed.is_empty());
    }
    assert!(long > ms(500), "{long:?}");
}

#[test]
fn a_pace_is_kept_and_an_end_brings_the_rest_at_once() {
    let mut world = World::new();
    start(&mut world, Config::default(), 5000, Duration::ZERO);
    let ann = world.connect(PLACE);
    ann.hear_at(Pace::new(1000, ms(10)));
    ann.send_at("a....", Pace::new(1, ms(5)));
    assert_eq!(ann.unsent(), 5);
    world.advance(ms(5));
    assert_eq!(ann.unsent(), 4);
    assert_eq!(heard(&mut world, &ann, ms(30)), 3000);
    let traffic = ann.traffic().unwrap();
    assert_eq!((traffic.unread, traffic.waiting), (0, 0));
    assert!(traffic.read.is_some() && traffic.read <= traffic.read_tried);
    assert!(traffic.arrived == traffic.read && traffic.written <= traffic.write_tried);
    ann.send_at("......", Pace::new(1, ms(5)));
    ann.send("!");
    assert_eq!(ann.unsent(), 7);
    ann.hurry();
    assert_eq!(ann.unsent(), 0);
    ann.send_at("......", Pace::new(1, ms(5)));
    ann.shutdown();
    assert_eq!(heard(&mut world, &ann, ms(100)), 2000);
    assert_eq!(ann.unsent(), 0);
}
