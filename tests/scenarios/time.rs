//! Timers, deadlines, messages and fairness: T1 to T8, M2, M4, E3, E6, J12, F8.

use crate::kit::edge::{On, on_both_edges};
use crate::kit::{default, echo, pattern};
use sockeye::{Config, Deadline, EventKind, Listen, Origin, Reason, TimerId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

on_both_edges! {
    a_timer_that_is_due_at_once_again_starves_nobody,
    a_cancelled_timer_does_not_fire,
    earlier_deadlines_fire_first_and_equal_ones_in_the_order_of_setting,
    timers_are_never_early,
    times_too_long_for_the_clock_never_come,
    progress_in_either_direction_puts_off_the_idle_deadline,
    a_set_deadline_is_not_put_off_by_traffic,
    deadlines_of_a_connection_go_with_it,
    a_periodic_timer_ticks_until_it_is_cancelled,
    a_flood_of_messages_starves_nobody,
    no_wakeup_by_another_thread_is_lost,
    messages_come_in_order,
    one_that_blasts_does_not_starve_the_others,
    ten_thousand_timers_due_at_once_hold_nobody_up,
    no_callback_runs_inside_another,
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

// T1
fn a_timer_that_is_due_at_once_again_starves_nobody(on: On) {
    let mut left = 2000;
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Timer { key: 0, .. } => {
            left -= 1;
            if left > 0 {
                cx.set_timer(Duration::ZERO, 0);
            }
        }
        other => echo(cx, other),
    });
    edge.cx().set_timer(Duration::ZERO, 0);
    edge.cx().set_timer(ms(1), 1);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send("hi");
    edge.until("all is done", |edge| {
        peer.count() == 2 && edge.log().timers.len() == 2001
    });
    edge.end();
}

// T2
fn a_cancelled_timer_does_not_fire(on: On) {
    let ids: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let known = ids.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Timer { key: 0, timer } => {
            assert!(!cx.cancel_timer(timer), "it has fired");
            assert!(cx.cancel_timer(known.borrow()[1]) && cx.cancel_timer(known.borrow()[3]));
        }
        EventKind::Timer { key: 2, .. } => assert!(!cx.cancel_timer(known.borrow()[0])),
        other => default(cx, other),
    });
    for (key, delay) in [(0, 5), (1, 5), (2, 5), (3, 9), (4, 9)] {
        let id = edge.cx().set_timer(ms(delay), key);
        ids.borrow_mut().push(id);
    }
    // All five are due in one turn, or in several: a cancelled one never fires.
    edge.until("the last has fired", |edge| edge.log().timers.contains(&4));
    edge.pass(ms(3));
    assert_eq!(edge.log().timers, [0, 2, 4]);
    edge.end();
}

// T3
fn earlier_deadlines_fire_first_and_equal_ones_in_the_order_of_setting(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        // At one moment of the loop's clock, as all delays within a turn of real time are not.
        EventKind::Timer { key: 100, .. } => {
            for (key, delay) in [(1, 9), (2, 3), (3, 6), (4, 1)] {
                cx.set_timer(ms(delay), key);
            }
        }
        other => default(cx, other),
    });
    edge.cx().set_timer(Duration::ZERO, 100);
    edge.until("all have fired", |edge| edge.log().timers.len() == 5);
    assert_eq!(edge.log().timers, [100, 4, 2, 3, 1]);
    edge.log().timers.clear();
    for key in 0..50 {
        edge.cx().set_timer(ms(2), key);
    }
    edge.until("all have fired", |edge| edge.log().timers.len() == 50);
    assert_eq!(edge.log().timers, (0..50).collect::<Vec<_>>());
    edge.end();
}

// T4
fn timers_are_never_early(on: On) {
    let mut edge = on.edge(default);
    for micros in [0, 1, 999, 1000, 1001, 4567] {
        let (start, delay) = (edge.now(), Duration::from_micros(micros));
        edge.cx().set_timer(delay, micros);
        edge.until("it fires", |edge| edge.log().timers.last() == Some(&micros));
        assert!(edge.now() - start >= delay);
    }
    edge.end();
}

// T5
fn times_too_long_for_the_clock_never_come(on: On) {
    let mut edge = on.edge(default);
    let days = Duration::from_secs(50 * 24 * 3600);
    for long in [Duration::MAX, Duration::from_millis(u64::MAX), days] {
        edge.cx().set_timer(long, 1);
    }
    edge.cx().set_timer(ms(10), 2);
    edge.until("the short one fires", |edge| !edge.log().timers.is_empty());
    assert_eq!(edge.log().timers, [2]);
    edge.end();
}

// T8
fn progress_in_either_direction_puts_off_the_idle_deadline(on: On) {
    let idle = ms(if on.is_real() { 250 } else { 50 });
    let start = Rc::new(Cell::new(None));
    let told = start.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Deadline { conn, which } => {
            assert_eq!(which, Deadline::Idle);
            told.set(Some(cx.now()));
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen_on(Listen::new("127.0.0.1:0").idle(idle));
    let peer = edge.peer(&addr);
    edge.until_open(1);
    let id = edge.id(0);
    let begin = edge.now();
    for round in 0..4 {
        edge.pass(idle * 2 / 5);
        match round % 2 {
            0 => peer.send("x"),
            _ => drop(edge.cx().send(id, "y")),
        }
    }
    edge.until_all_closed();
    let at = start.get().unwrap();
    assert!(at - begin >= idle * 8 / 5 + idle, "{:?}", at - begin);
    assert_eq!(edge.log().life(id).count("deadline"), 1);
    edge.end();
}

// T8
fn a_set_deadline_is_not_put_off_by_traffic(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, .. } => drop(cx.set_deadline(conn, 0, ms(30))),
        EventKind::Deadline { conn, which } => {
            assert_eq!(which, Deadline::Set(0));
            cx.close(conn);
        }
        other => echo(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until_open(1);
    let start = edge.now();
    edge.until("it passes", |_| {
        peer.send("x");
        peer.is_closed()
    });
    assert!(edge.now() - start < Duration::from_secs(10));
    peer.close();
    edge.until_all_closed();
    edge.end();
}

// F8: several by key; one of them acts and does not close; what is left is silent after the close.
fn deadlines_of_a_connection_go_with_it(on: On) {
    const CALM: u32 = 1;
    const DROP: u32 = 2;
    let seen: Rc<RefCell<Vec<Deadline>>> = Rc::default();
    let told = seen.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.set_deadline(conn, 3, ms(30));
            cx.set_deadline(conn, DROP, ms(20));
            cx.set_deadline(conn, CALM, ms(10));
            cx.set_timer(ms(40), 0);
        }
        EventKind::Deadline { conn, which } => {
            told.borrow_mut().push(which);
            match which {
                Deadline::Set(CALM) => drop(cx.send(conn, "calm")),
                which => drop(cx.close_timed_out(conn, which)),
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until("the last would have passed", |edge| {
        edge.log().timers.len() == 1 && peer.count() == 4
    });
    peer.close();
    edge.until_all_closed();
    assert_eq!(*seen.borrow(), [Deadline::Set(CALM), Deadline::Set(DROP)]);
    let conn = edge.id(0);
    let log = edge.log();
    let reason = log.life(conn).reason();
    assert!(
        matches!(reason, Reason::TimedOut(Deadline::Set(DROP))),
        "{reason}"
    );
    edge.end();
}

// F8
fn a_periodic_timer_ticks_until_it_is_cancelled(on: On) {
    let (period, ticks) = (ms(2), Rc::new(Cell::new(0)));
    let (due, start) = (ticks.clone(), Rc::new(Cell::new(None)));
    let begun = start.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Timer { timer, .. } => {
            // Those told and those missed are all that can have passed, and none is early.
            due.set(due.get() + 1 + cx.missed_ticks(timer) as u32);
            let start: std::time::Instant = begun.get().unwrap();
            let passed = cx.now() - start;
            assert!(
                passed >= period * due.get(),
                "{passed:?}: {} ticks",
                due.get()
            );
            if due.get() >= 10 {
                assert!(cx.cancel_timer(timer), "it is set as long as it ticks");
            }
        }
        other => default(cx, other),
    });
    start.set(Some(edge.now()));
    edge.cx().set_interval(period, 7);
    edge.until("it has been cancelled", |_| ticks.get() >= 10);
    edge.pass(ms(10));
    assert!(edge.log().timers.iter().all(|key| *key == 7));
    assert!(edge.log().timers.len() as u32 <= ticks.get());
    assert_eq!(edge.reactor().next_wakeup(), None);
    edge.end();
}

// M2
fn a_flood_of_messages_starves_nobody(on: On) {
    let mut config = Config::default();
    config.messages_per_turn = 10;
    let mut edge = on.edge_with(config, echo);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until_open(1);
    let sender = edge.sender();
    for number in 0..5000 {
        sender.send(number).unwrap();
    }
    edge.cx().set_timer(Duration::ZERO, 1);
    peer.send("hi");
    let seen: Rc<RefCell<Vec<&str>>> = Rc::default();
    let (order, mut messages) = (seen.clone(), 0);
    edge.app().on_message = Some(Box::new(move |cx, _| {
        messages += 1;
        if messages == 5000 {
            let timers = cx.stats().timers;
            order
                .borrow_mut()
                .push(if timers == 1 { "late" } else { "never" });
        }
    }));
    edge.until("all are told", |edge| {
        edge.log().messages.len() == 5000 && peer.count() == 2
    });
    assert_eq!(
        *seen.borrow(),
        ["late"],
        "the timer fired before the flood was over"
    );
    edge.end();
}

// M1
fn no_wakeup_by_another_thread_is_lost(on: On) {
    let mut edge = on.edge(default);
    for number in 0..200 {
        edge.post(number);
        edge.until("it comes", |edge| {
            edge.log().messages.len() > number as usize
        });
    }
    (200..300).for_each(|number| edge.post(number));
    edge.until("all come", |edge| edge.log().messages.len() == 300);
    edge.end();
}

// M4
fn messages_come_in_order(on: On) {
    let mut edge = on.edge(default);
    let sender = edge.sender();
    // Before the first turn already.
    for number in 0..100 {
        sender.send(number).unwrap();
    }
    edge.until("all are told", |edge| edge.log().messages.len() == 100);
    sender.send(100).unwrap();
    edge.until("one more", |edge| edge.log().messages.len() == 101);
    assert_eq!(edge.log().messages, (0..=100).collect::<Vec<_>>());
    edge.end();
}

// E3
fn one_that_blasts_does_not_starve_the_others(on: On) {
    let mut config = Config::default();
    config.receive_buffer = 1024;
    config.reads_per_turn = 4;
    let mut edge = on.edge_with(config, |cx, event| match event {
        EventKind::Data { conn, input } => {
            if input.len() < 100 {
                cx.send(conn, input.take_all());
            }
            input.take_all();
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let blasting = edge.peer(&addr);
    let quiet: Vec<_> = (0..6).map(|_| edge.peer(&addr)).collect();
    edge.until_open(7);
    blasting.send(pattern(300_000));
    quiet.iter().for_each(|peer| peer.send("hi"));
    edge.cx().set_timer(Duration::ZERO, 1);
    let blaster = edge.id(0);
    edge.until("the quiet are served", |edge| {
        let served = quiet.iter().all(|peer| peer.count() == 2);
        served && !edge.log().timers.is_empty()
    });
    edge.until("the blast is over", |edge| {
        edge.log().life(blaster).received.len() == 300_000
    });
    edge.end();
}

// J12: two connections of the loop play ping-pong, and go on between two parts of the timers.
fn ten_thousand_timers_due_at_once_hold_nobody_up(on: On) {
    let hits = Rc::new(Cell::new(0));
    let (counted, mut over) = (hits.clone(), false);
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Open {
            conn,
            origin: Origin::Connected,
        } => {
            cx.send(conn, "ball");
            for key in 0..10_000 {
                cx.set_timer(Duration::ZERO, key);
            }
        }
        EventKind::Timer { key, .. } => over |= key == 9_999,
        EventKind::Data { conn, input } if !over => {
            counted.set(counted.get() + 1);
            cx.send(conn, input.take_all());
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let conn = edge.connect(&addr);
    edge.until("all have fired", |edge| edge.log().timers.len() == 10_000);
    assert_eq!(edge.log().timers, (0..10_000).collect::<Vec<_>>());
    // A fault may hold the ball back.
    let hits = hits.get();
    assert!(hits > 3 || matches!(on, On::Faulty(_)), "{hits}");
    edge.cx().close(conn);
    edge.end();
}

// E6: the recorder panics when a callback begins inside another; here every command is given in
// every callback.
fn no_callback_runs_inside_another(on: On) {
    let mut edge = on.edge(|cx, event| {
        let conn = match &event {
            EventKind::Open { conn, .. } | EventKind::Data { conn, .. } => Some(*conn),
            EventKind::Eof { conn, .. } | EventKind::Close { conn, .. } => Some(*conn),
            EventKind::Drain { conn } => Some(*conn),
            _ => None,
        };
        let all: Vec<_> = cx.connections().collect();
        for other in all.into_iter().chain(conn) {
            cx.send(other, "hello");
            cx.pause_reads(other);
            cx.resume_reads(other);
            cx.set_deadline(other, 0, ms(1));
        }
        cx.broadcast(conn, "all");
        match event {
            EventKind::Deadline { .. } => {}
            other => default(cx, other),
        }
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..4).map(|_| edge.peer(&addr)).collect();
    peers.iter().for_each(|peer| peer.send("hi"));
    edge.until("some have been heard", |edge| edge.log().count("data") >= 4);
    for (number, peer) in peers.iter().enumerate() {
        match number % 2 {
            0 => peer.reset(),
            _ => peer.shutdown(),
        }
    }
    edge.until_all_closed();
    edge.end();
}
