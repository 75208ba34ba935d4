//! Wrong uses of the simulated network, and what is said of them: in clear words, and at the line
//! of the test that is wrong.

use sockeye::sim::{Faults, Link, Node, World};
use sockeye::{ConnId, Context, Handler, Input};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::time::Duration;

thread_local! {
    /// Where the last panic of this thread was, and what it said.
    static LAST: RefCell<(String, String)> = RefCell::default();
}

/// Runs what is wrong, and answers what is said; the place must be in this file.
fn said(wrong: impl FnOnce()) -> String {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        // Those of other tests are told as ever.
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            before(panic);
            let place = panic.location().map(|at| at.file().to_owned());
            let payload = panic.payload();
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or(payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned()));
            let now = (place.unwrap_or_default(), text.unwrap_or_default());
            LAST.with(|last| *last.borrow_mut() = now);
        }));
    });
    assert!(
        catch_unwind(AssertUnwindSafe(wrong)).is_err(),
        "nothing is said"
    );
    let (place, text) = LAST.with(RefCell::take);
    assert!(place.ends_with("errors.rs"), "{place}: {text}");
    text
}

struct Sink;

impl Handler for Sink {
    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        input.take_all();
    }
}

fn world() -> (World, Node<Sink>) {
    let mut world = World::seeded(7, Faults::default());
    let node = world.start("sink", Sink, |reactor| {
        reactor.listen("10.0.0.1:7").map(drop)
    });
    (world, node)
}

/// The connection that the node has.
fn conn(world: &mut World, node: Node<Sink>) -> ConnId {
    world.settle();
    world.with(node, |_, cx| cx.connections().next()).unwrap()
}

#[test]
fn a_peer_that_has_closed_or_finished_does_not_send() {
    let (mut world, node) = world();
    let ann = world.connect("10.0.0.1:7");
    ann.shutdown();
    let text = said(|| ann.send("late"));
    assert!(text.contains("has shut its writing side"), "{text}");
    world.settle();
    ann.close();
    let text = said(|| ann.send("late"));
    assert!(text.contains("has closed"), "{text}");
    // But to send to one who has reset is no mistake of the test: that may happen at any time.
    let bob = world.connect("10.0.0.1:7");
    let conn = conn(&mut world, node);
    world.with(node, |_, cx| cx.abort(conn));
    world.settle();
    assert!(bob.was_reset());
    bob.send("to nobody");
}

#[test]
fn a_connect_to_nowhere_is_told_of_when_something_is_sent() {
    let (mut world, _) = world();
    let ann = world.connect("10.0.0.1:8");
    assert!(ann.was_reset() && !ann.is_connected());
    let text = said(|| ann.send("hi"));
    assert!(text.contains("nobody listens there"), "{text}");
    let text = said(|| drop(world.connect("localhost:7")));
    assert!(text.contains("localhost:7"), "{text}");
    let bob = world.connect("unix:/nowhere");
    assert!(bob.was_reset() && !bob.is_open());
    let text = said(|| bob.send("hi"));
    assert!(text.contains("nobody listens there"), "{text}");
    assert_eq!(format!("{bob:?}"), "Peer(unix: refused)");
}

#[test]
fn a_node_or_a_server_that_cannot_start_says_why() {
    let (mut world, _) = world();
    let listening =
        |addr: &'static str| move |reactor: &mut sockeye::Reactor| reactor.listen(addr).map(drop);
    let text = said(|| {
        world.start("other", Sink, listening("10.0.0.1:7"));
    });
    assert!(text.contains("other failed to start"), "{text}");
    assert!(
        text.contains("10.0.0.1 is not here: this host is 10.0.0.2"),
        "{text}"
    );
    let text = said(|| drop(world.listen("10.0.0.1:7")));
    assert!(text.contains("cannot listen on 10.0.0.1:7"), "{text}");
    let mut config = sockeye::Config::default();
    config.reads_per_turn = 0;
    let text = said(|| {
        world.start_with("idle", config, Sink, |_| Ok(()));
    });
    assert!(text.contains("reads_per_turn"), "{text}");
}

#[test]
fn a_node_of_another_world_is_told_apart() {
    let (world, _) = world();
    let mut other = World::seeded(7, Faults::default());
    let node = other.start("sink", Sink, |_| Ok(()));
    let text = said(|| {
        world.app(node);
    });
    assert!(text.contains("another world"), "{text}");
}

#[test]
fn a_leak_is_named() {
    let (mut world, node) = world();
    let ann = world.connect("10.0.0.1:7");
    world.settle();
    let text = said(|| world.assert_no_leaks());
    let (here, there) = ("10.0.0.1:7", ann.addr());
    assert!(text.contains(&format!("{here} - {there}")), "{text}");
    assert!(text.contains("seed 7"), "{text}");
    assert!(text.contains("that the test has not closed"), "{text}");
    drop(ann); // it stays open
    let text = said(|| world.assert_no_leaks());
    assert!(text.contains("that the test has not closed"), "{text}");
    // Who is closed by the handler is no leak, closed or not.
    let conn = conn(&mut world, node);
    world.with(node, |_, cx| cx.abort(conn));
    world.settle();
    world.assert_no_leaks();
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let (mut world, _) = world();
    let text = said(|| {
        world.start("sink", Sink, |_| Ok(()));
    });
    assert!(text.contains("there is a sink already"), "{text}");
}

#[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
#[test]
fn a_simulated_reactor_has_no_descriptor() {
    use std::os::fd::{AsFd, AsRawFd};
    let (mut world, node) = world();
    // Through `&Reactor`: std's own `AsFd for &mut T` does not pass the caller on.
    let reactor = &*world.reactor(node);
    let text = said(|| {
        reactor.as_fd();
    });
    assert!(text.contains("no descriptor"), "{text}");
    let text = said(|| {
        reactor.as_raw_fd();
    });
    assert!(text.contains("no descriptor"), "{text}");
}

#[test]
fn a_spin_of_signals_names_the_node_and_the_fault() {
    let (mut world, _) = world();
    let mut faults = Faults::default();
    faults.interrupts = 1000;
    world.faults(faults);
    let _ann = world.connect("10.0.0.1:7");
    let text = said(|| world.settle());
    assert!(text.starts_with("sink: a spin"), "{text}");
    assert!(text.contains("Faults::interrupts ends 1000"), "{text}");
}

struct Restless;

impl Handler for Restless {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_timer(&mut self, cx: &mut Context, _: sockeye::TimerId, _: u64) {
        cx.set_timer(Duration::ZERO, 0);
    }
}

#[test]
fn work_without_an_end_is_a_spin() {
    let mut world = World::seeded(7, Faults::default());
    world.start("restless", Restless, |reactor| {
        reactor.context().set_timer(Duration::ZERO, 0);
        Ok(())
    });
    for time in [Duration::ZERO, Duration::from_secs(1)] {
        let text = said(|| world.advance(time));
        assert!(text.starts_with("restless: a spin"), "{text}");
        assert!(text.ends_with("still work (seed 7)"), "{text}");
    }
}

#[test]
fn no_time_and_all_time_may_pass() {
    let (mut world, node) = world();
    world.default_link(Link::latency(Duration::from_millis(1)));
    world.advance(Duration::ZERO);
    let now = world.now();
    world.advance(Duration::from_secs(3600 * 24 * 365));
    assert_eq!(world.now() - now, Duration::from_secs(3600 * 24 * 365));
    // The clock stops at its end, as it must; nothing else breaks.
    world.advance(Duration::MAX);
    world.advance(Duration::MAX);
    let ann = world.connect("10.0.0.1:7");
    ann.send("hi");
    assert!(world.rest(Duration::MAX));
    assert!(ann.is_open());
    let conn = conn(&mut world, node);
    assert!(world.with(node, |_, cx| cx.is_open(conn)));
}
