//! The simulated network, as the users of `sockeye::sim` see it.

use sockeye::sim::{Faults, Link, World};
use sockeye::{ConnId, Context, Handler, Input, Sent};
use std::time::Duration;

struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_until_drained(conn);
        }
    }
}

fn echo_world(faults: Faults) -> World {
    let seed = World::new().seed();
    let mut world = World::seeded(seed, faults);
    world.start("echo", Echo, |reactor| {
        reactor.listen("10.0.0.1:7").map(drop)
    });
    world
}

#[test]
fn an_echo_reads_like_a_transcript() {
    let mut world = echo_world(Faults::default());
    let ann = world.connect("10.0.0.1:7");
    ann.send("hi");
    world.settle();
    assert_eq!(ann.received(), "hi");
    ann.shutdown();
    world.settle();
    assert!(ann.is_closed() && !ann.was_reset());
    let trace = "echo accept 10.1.0.1:40001\necho c1 open accepted\necho c1 data \"hi\"\n\
                 echo c1 eof \"\"\necho c1 close closed by peer\n";
    assert_eq!(world.trace(), trace);
    world.assert_no_leaks();
}

#[test]
fn a_link_has_latency_and_the_clock_moves_only_when_told() {
    let mut world = echo_world(Faults::default());
    world.default_link(Link::latency(Duration::from_millis(10)));
    let ann = world.connect("10.0.0.1:7");
    ann.send("hi");
    world.settle();
    assert_eq!(ann.received(), "");
    world.advance(Duration::from_millis(39));
    assert_eq!(ann.received(), "");
    world.advance(Duration::from_millis(1));
    assert_eq!(ann.received(), "hi");
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    let mut world = echo_world(Faults::default());
    let ann = world.connect("10.0.0.1:7");
    ann.ignore();
    ann.send(vec![b'x'; 10 << 20]);
    world.settle();
    assert!(ann.unsent() > 9 << 20, "{}", ann.unsent());
    ann.hear();
    world.settle();
    assert_eq!(ann.received_bytes().len(), 10 << 20);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_every_byte_whatever_goes_wrong() {
    let run = |seed| {
        let mut faults = Faults::some();
        faults.resets = 0;
        let mut world = World::seeded(seed, faults);
        world.start("echo", Echo, |reactor| {
            reactor.listen("10.0.0.1:7").map(drop)
        });
        let peers: Vec<_> = (0..5).map(|_| world.connect("10.0.0.1:7")).collect();
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i ^ (i >> 8)) as u8).collect();
        for chunk in bytes.chunks(7001) {
            peers.iter().for_each(|peer| peer.send(chunk));
            world.advance(Duration::from_millis(1));
        }
        world.advance(Duration::from_secs(5));
        for peer in peers {
            let (received, lost) = (peer.received_bytes(), peer.was_reset());
            assert!(
                lost || received == bytes,
                "{} of {}",
                received.len(),
                bytes.len()
            );
        }
        world.trace_hash()
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1), run(2));
}

#[test]
fn a_handler_that_connects_meets_a_scripted_server() {
    struct Client;
    impl Handler for Client {
        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
            cx.send(conn, input.take_all());
        }
    }
    let mut world = World::new();
    let server = world.listen("10.2.0.1:80");
    world.start("client", Client, |reactor| {
        let cx = reactor.context();
        let conn = cx.connect("10.2.0.1:80".parse::<std::net::SocketAddr>().unwrap());
        cx.send(conn, "hello");
        Ok(())
    });
    assert!(server.accept().is_none());
    world.settle();
    let bob = server.accept().unwrap();
    assert!(bob.is_connected());
    assert_eq!(bob.received(), "hello");
    bob.send("back");
    world.settle();
    assert_eq!(bob.received(), "back");
    bob.close();
    world.settle();
    world.assert_no_leaks();
}

struct Keeps(Option<ConnId>, Option<String>);

impl Handler for Keeps {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: sockeye::Origin) {
        self.0 = Some(conn);
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: sockeye::Closed) {
        self.1 = Some(closed.to_string());
    }
}

// X4; the swarm's seed 2
#[test]
fn a_close_long_after_the_last_turn_has_all_its_time_to_flush() {
    let mut config = sockeye::Config::default();
    config.limits.write_stall = Duration::from_secs(7200);
    let mut world = World::new();
    let node = world.start_with("server", config, Keeps(None, None), |reactor| {
        reactor.listen("10.0.0.1:7").map(drop)
    });
    let ann = world.connect("10.0.0.1:7");
    world.settle();
    ann.ignore();
    world.with(node, |app, cx| cx.send(app.0.unwrap(), vec![b'x'; 1 << 20]));
    world.advance(Duration::from_secs(3600));
    world.with(node, |app, cx| cx.close(app.0.unwrap()));
    world.advance(sockeye::Limits::default().close_flush - Duration::from_millis(1));
    ann.hear();
    world.settle();
    assert_eq!(ann.received_bytes().len(), 1 << 20);
    assert!(ann.is_closed() && !ann.was_reset());
    ann.close();
    world.settle();
    assert_eq!(world.app(node).1.as_deref(), Some("closed locally"));
    world.assert_no_leaks();
}

/// Says a lot to whoever comes, and closes.
struct Talker;

impl Handler for Talker {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: sockeye::Origin) {
        cx.send(conn, vec![b'x'; 1 << 20]);
        cx.close(conn);
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {
        panic!("closing, it is told of nothing");
    }
}

// J3: each discards what the other sends, so that both can finish.
#[test]
fn two_that_close_with_full_buffers_do_not_wait_for_each_other() {
    let mut world = World::new();
    world.start("one", Talker, |reactor| {
        reactor.listen("10.0.0.1:7").map(drop)
    });
    world.start("other", Talker, |reactor: &mut sockeye::Reactor| {
        reactor.context().connect("10.0.0.1:7");
        Ok(())
    });
    world.settle();
    let trace = world.trace();
    let closes = trace.matches("close closed locally").count();
    assert_eq!(closes, 2, "{trace}");
    world.assert_no_leaks();
}

#[test]
fn the_hash_tells_what_handlers_send() {
    let run = |sent: &str| {
        struct Says(String);
        impl Handler for Says {
            fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
                input.take_all();
                cx.send(conn, self.0.clone());
            }
        }
        let mut world = World::new();
        world.start("says", Says(sent.to_owned()), |reactor| {
            reactor.listen("10.0.0.1:7").map(drop)
        });
        let ann = world.connect("10.0.0.1:7");
        ann.send("x");
        world.settle();
        (world.trace(), world.trace_hash())
    };
    let once = run("ab");
    assert_eq!(once, run("ab"));
    let other = run("ba");
    assert_eq!(once.0, other.0);
    assert_ne!(once.1, other.1);
}

#[test]
fn a_simulated_reactor_refuses_to_run() {
    let mut world = World::new();
    let echo = world.start("echo", Echo, |_| Ok(()));
    let error = world.reactor(echo).run(&mut Echo).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}

#[test]
fn connections_are_numbered_as_they_come() {
    let mut world = echo_world(Faults::default());
    for number in 1..=3 {
        let ann = world.connect("10.0.0.1:7");
        ann.close();
        world.settle();
        let close = format!("echo c{number} close closed by peer");
        assert_eq!(world.trace().lines().last(), Some(&*close));
    }
}

#[test]
fn what_a_cut_held_back_takes_the_way_of_the_link_and_keeps_its_order() {
    let mut world = echo_world(Faults::default());
    let (here, there) = ([10, 0, 0, 1].into(), [10, 1, 0, 1].into());
    let ms = Duration::from_millis;
    world.default_link(Link::latency(ms(50)));
    let ann = world.connect("10.0.0.1:7");
    world.advance(ms(100));
    world.cut(here, there);
    ann.send("a");
    world.advance(ms(60)); // "a" is held, "b" and "c" are on their way when it sets out again
    ann.send("b");
    world.advance(ms(20));
    world.heal(here, there);
    world.link(here, there, Link::latency(ms(1)));
    ann.send("c");
    world.advance(ms(49));
    assert!(!world.trace().contains("data"), "{}", world.trace());
    world.advance(ms(10));
    assert_eq!(ann.received(), "abc");
}

#[test]
fn a_refusal_does_not_cross_a_cut() {
    let mut world = World::new();
    let (here, there) = ([10, 1, 0, 1].into(), [10, 9, 9, 9].into());
    let ms = Duration::from_millis;
    world.default_link(Link::latency(ms(10)));
    let ann = world.connect("10.9.9.9:7");
    world.advance(ms(15)); // the refusal is on its way
    world.cut(here, there);
    world.advance(ms(100));
    assert!(!ann.was_reset());
    world.heal(here, there);
    world.advance(ms(9));
    assert!(!ann.was_reset());
    world.advance(ms(1));
    assert!(ann.was_reset());
}

#[test]
fn a_character_that_comes_in_two_steps_is_received_whole() {
    let mut world = echo_world(Faults::default());
    let ann = world.connect("10.0.0.1:7");
    let mut heard = Vec::new();
    for piece in [&b"a\xc3"[..], b"\xa9\xffb\xe2\x82", b"\xac", b"c\xe2"] {
        ann.send(piece);
        world.settle();
        heard.push(ann.received());
    }
    assert_eq!(heard, ["a", "\u{e9}\u{fffd}b", "\u{20ac}", "c"]);
    ann.shutdown();
    world.settle();
    // It will never be whole.
    assert_eq!(ann.received(), "\u{fffd}");
}

#[test]
fn ports_that_are_in_use_are_not_given_twice() {
    let mut world = echo_world(Faults::default());
    let ann = world.connect("10.0.0.1:7");
    let listener = world.listen("10.2.0.1:40003");
    let bob = world.connect("10.0.0.1:7");
    let mut round: Vec<_> = vec![world.connect("10.0.0.1:7").addr()];
    for _ in 10_000..=u16::MAX {
        // Refused: its port is free again.
        round.push(world.connect("10.9.9.9:9").addr());
    }
    let again = round.iter().filter(|addr| **addr == round[1]).count();
    assert_eq!(again, 2, "they begin anew");
    let used = [ann.addr(), bob.addr(), listener.addr().clone()];
    let ports = used.map(|addr| addr.ip().unwrap().port());
    assert_eq!(ports, [40001, 40002, 40003]);
    let taken = |addr: &sockeye::Addr| ports.contains(&addr.ip().unwrap().port());
    assert!(!round.iter().any(taken));
}

#[test]
fn a_node_can_be_compared_and_shown() {
    let mut world = World::new();
    let (one, other) = (
        world.start("one", Echo, |_| Ok(())),
        world.start("other", Echo, |_| Ok(())),
    );
    let same: sockeye::sim::Node<Echo> = one;
    assert!(one == same && one != other);
    assert_eq!(format!("{other:?}"), "Node(10.0.0.2)");
}

#[test]
fn the_wall_clock_is_virtual_and_begins_with_the_year_2000() {
    use std::time::SystemTime;
    let mut world = World::new();
    let node = world.start("idle", Echo, |_| Ok(()));
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800);
    assert_eq!(world.reactor(node).context().wall_clock(), begin);
    world.advance(Duration::from_secs(90));
    let now = world.reactor(node).context().wall_clock();
    assert_eq!(now, begin + Duration::from_secs(90));
    assert_eq!(now, world.clock().wall_clock());
}
