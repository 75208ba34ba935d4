//! Timers and deadlines: T1 to T5, T8, F8, J12.

use crate::kit::edge::On;
use crate::kit::{default, echo, let_pass, pattern};
use crate::on_every_edge;
use sockeye::{Deadline, EventKind, Origin, Reason, Sent, TimerId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

on_every_edge! {
    a_timer_that_is_due_at_once_again_starves_nobody,
    a_deadline_that_is_due_at_once_again_starves_nobody,
    a_cancelled_timer_does_not_fire,
    a_timer_that_was_moved_fires_once_at_its_new_time,
    a_deadline_cleared_or_replaced_does_not_fire,
    earlier_deadlines_fire_first_and_equal_ones_in_the_order_of_setting,
    timers_are_never_early,
    times_too_long_for_the_clock_never_come,
    progress_in_either_direction_puts_off_the_idle_deadline,
    bytes_that_trickle_out_put_off_the_idle_deadline,
    a_deadline_closes_its_connection_by_default,
    a_set_deadline_is_not_put_off_by_traffic,
    deadlines_of_a_connection_go_with_it,
    a_periodic_timer_ticks_until_it_is_cancelled,
    ten_thousand_timers_due_at_once_hold_nobody_up,
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

// T1: it fires once a turn.
fn a_timer_that_is_due_at_once_again_starves_nobody(on: On) {
    let (mut left, mut last) = (2000, 0);
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Timer { key: 0, .. } => {
            let turn = cx.stats().turns;
            assert!(std::mem::replace(&mut last, turn) < turn, "twice in a turn");
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

// T1: nor does the deadline of a connection.
fn a_deadline_that_is_due_at_once_again_starves_nobody(on: On) {
    let (mut left, mut last) = (500, 0);
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Open { conn, .. } => drop(cx.set_deadline(conn, 0, Duration::ZERO)),
        EventKind::Deadline { conn, .. } => {
            let turn = cx.stats().turns;
            assert!(std::mem::replace(&mut last, turn) < turn, "twice in a turn");
            left -= 1;
            if left > 0 {
                cx.set_deadline(conn, 0, Duration::ZERO);
            }
        }
        other => echo(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send("hi");
    edge.until("all is done", |edge| {
        peer.count() == 2 && edge.log().count("deadline") == 500
    });
    peer.close();
    edge.until_all_closed();
    edge.end();
}

/// On real sockets some time passes without a turn, so that what is set is due in the same one. In
/// the simulation what is due at the same time is.
fn pass_without_a_turn(on: On) {
    if on.is_real() {
        let_pass(ms(5));
    }
}

// T2: of two that are due in the same turn the first cancels the second, itself, one that has
// fired, and one that is far away.
fn a_cancelled_timer_does_not_fire(on: On) {
    let ids: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let answers: Rc<RefCell<Vec<bool>>> = Rc::default();
    let (timers, told) = (ids.clone(), answers.clone());
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Timer { key: 9, .. } => {
            for (key, delay) in [(0, 1), (1, 2), (2, 2), (3, 3), (4, 60_000)] {
                timers.borrow_mut().push(cx.set_timer(ms(delay), key));
            }
            pass_without_a_turn(on);
        }
        EventKind::Timer { key: 1, timer } => {
            let timers = timers.borrow();
            for timer in [timer, timers[2], timers[2], timers[0], timers[4]] {
                told.borrow_mut().push(cx.cancel_timer(timer));
            }
        }
        other => default(cx, other),
    });
    edge.cx().set_timer(Duration::ZERO, 9);
    edge.until("the last has fired", |edge| edge.log().timers.contains(&3));
    assert_eq!(*answers.borrow(), [false, true, false, false, true]);
    assert_eq!(edge.reactor().next_wakeup(), None);
    // Its id is stale, whoever has its place now.
    let (stale, new) = (ids.borrow()[2], edge.cx().set_timer(ms(1), 5));
    assert!(stale != new && !edge.cx().cancel_timer(stale));
    edge.until("the new one fires", |edge| edge.log().timers.contains(&5));
    assert_eq!(edge.log().timers, [9, 0, 1, 3, 5]);
    edge.end();
}

// T2, T3
fn a_timer_that_was_moved_fires_once_at_its_new_time(on: On) {
    let answers: Rc<RefCell<Vec<bool>>> = Rc::default();
    let (told, mut moved) = (answers.clone(), None);
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Timer { key: 9, .. } => {
            let late = cx.set_timer(ms(60_000), 4);
            for key in 0..2 {
                cx.set_timer(ms(1), key);
            }
            moved = Some(cx.set_timer(ms(1), 2));
            let cancelled = cx.set_timer(ms(1), 3);
            assert!(cx.cancel_timer(cancelled) && !cx.reset_timer(cancelled, ms(1)));
            assert!(cx.reset_timer(late, ms(1)));
            pass_without_a_turn(on);
        }
        // Itself, which has fired; and one that was due in this turn, too, until now.
        EventKind::Timer { key: 0, timer } => {
            told.borrow_mut().push(cx.reset_timer(timer, ms(1)));
        }
        EventKind::Timer { key: 1, .. } => {
            told.borrow_mut()
                .push(cx.reset_timer(moved.unwrap(), ms(1)));
        }
        other => default(cx, other),
    });
    edge.cx().set_timer(Duration::ZERO, 9);
    edge.until("the moved one fires", |edge| edge.log().timers.contains(&2));
    assert_eq!(*answers.borrow(), [false, true]);
    assert_eq!(edge.log().timers, [9, 0, 1, 4, 2]);
    assert_eq!(edge.reactor().next_wakeup(), None);
    edge.end();
}

// T2: deadlines of connections are taken back in the same way.
fn a_deadline_cleared_or_replaced_does_not_fire(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let _peers = [edge.peer(&addr), edge.peer(&addr)];
    edge.until_open(2);
    let (one, two) = (edge.id(0), edge.id(1));
    for conn in [one, two] {
        assert!(edge.cx().set_deadline(conn, 0, ms(2)));
    }
    pass_without_a_turn(on);
    assert!(edge.cx().clear_deadline(one, 0));
    assert!(edge.cx().set_deadline(two, 0, ms(60_000)));
    edge.pass(ms(20));
    assert_eq!(edge.log().count("deadline"), 0);
    edge.end();
}

// T3
fn earlier_deadlines_fire_first_and_equal_ones_in_the_order_of_setting(on: On) {
    let mut edge = on.edge(default);
    let mut expected = Vec::new();
    for key in 0..200 {
        // Nothing tells two deadlines of the same delay apart but the order of setting.
        let group = key * 7 % 4;
        edge.cx().set_timer(ms(100 * group), key);
        expected.push((group, key));
    }
    expected.sort_unstable();
    let mut order: Vec<u64> = expected.into_iter().map(|(_, key)| key).collect();
    edge.until("all have fired", |edge| edge.log().timers.len() == 200);
    assert_eq!(edge.log().timers, order);
    // All are due in one turn.
    for key in order.clone() {
        edge.cx().set_timer(ms(1), key);
    }
    pass_without_a_turn(on);
    edge.until("all have fired", |edge| edge.log().timers.len() == 400);
    order.extend_from_within(..);
    assert_eq!(edge.log().timers, order);
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

// T5: of timers, deadlines and idle times; and no wait is cut short by them.
fn times_too_long_for_the_clock_never_come(on: On) {
    const DAY: u64 = 24 * 60 * 60;
    let long = [
        Duration::MAX,
        Duration::from_millis(u64::MAX),
        Duration::from_nanos(u64::MAX),
        // 2^64 ns, which is nothing in 64 bits.
        Duration::new(18_446_744_073, 709_551_616),
        Duration::from_secs(50 * DAY),
        Duration::from_millis(1 << 32),
        Duration::from_millis(1 << 31),
    ];
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let _peer = edge.peer(&addr);
    edge.until_open(1);
    let conn = edge.id(0);
    for (key, delay) in long.into_iter().enumerate() {
        edge.cx().set_timer(delay, key as u64);
        edge.cx().set_deadline(conn, 0, delay);
        edge.cx().set_idle(conn, Some(delay));
        assert!(edge.turns_at_rest() <= 20 || on.is_faulty(), "it spins");
        edge.reactor().next_wakeup();
    }
    edge.cx().set_timer(ms(10), 99);
    edge.until("the short one fires", |edge| !edge.log().timers.is_empty());
    assert_eq!(edge.log().timers, [99]);
    assert_eq!(edge.log().count("deadline"), 0);
    edge.end();
}

// T8. A busy machine may stand still for longer than the idle time, so what counts on real sockets
// is the silence since the last progress that was seen.
fn progress_in_either_direction_puts_off_the_idle_deadline(on: On) {
    let idle = ms(if on.is_real() { 250 } else { 50 });
    // And whether no more will come.
    let progress = Rc::new(Cell::new((None, false)));
    let seen = progress.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Deadline { conn, which } => {
            assert_eq!(which, Deadline::Idle);
            let (last, is_over) = seen.get();
            let silence = last.map(|last| cx.now() - last);
            assert!(silence >= last.map(|_| idle), "after {silence:?}");
            if is_over {
                cx.close(conn);
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.idle(idle));
    let peer = edge.peer(&addr);
    edge.until_open(1);
    let id = edge.id(0);
    for round in 0..4 {
        // One direction alone is silent for longer than the idle time.
        edge.pass(idle * 3 / 5);
        let (before, stats) = (edge.now(), edge.cx().stats().clone());
        match round % 2 {
            0 => peer.send("x"),
            _ => drop(edge.cx().send(id, "y")),
        }
        edge.until("it moves", |edge| {
            let now = edge.cx().stats();
            now.bytes_in > stats.bytes_in || now.bytes_out > stats.bytes_out
        });
        progress.set((Some(before), round == 3));
        assert!(edge.log().count("deadline") == 0 || on.is_real());
    }
    edge.until("it has its end", |_| peer.is_closed());
    peer.close();
    edge.until_all_closed();
    let count = edge.log().life(id).count("deadline");
    assert!(count == 1 || count > 1 && on.is_real(), "{count}");
    edge.end();
}

// T8: what is pending goes out a little at a time. The connection is left open, so it comes again.
//
// A busy machine may stand still for longer than the idle time, so what counts there is the silence
// since the last progress that was seen.
fn bytes_that_trickle_out_put_off_the_idle_deadline(on: On) {
    let idle = ms(if on.is_real() { 250 } else { 50 });
    let progress = Rc::new(Cell::new(None));
    let seen = progress.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            seen.set(Some(cx.now()));
            assert_eq!(cx.send(conn, pattern(1 << 20)), Sent::Wait);
        }
        EventKind::Deadline { which, .. } => {
            assert_eq!(which, Deadline::Idle);
            let silence = cx.now() - seen.get().unwrap();
            assert!(silence >= idle, "after {silence:?} of silence");
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.idle(idle).send_buffer(4096));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    let id = edge.id(0);
    for _ in 0..5 {
        edge.pass(idle * 2 / 5);
        let pending = edge.cx().pending(id);
        // So much that the system has room again.
        let heard = peer.count();
        while edge.cx().pending(id) == pending {
            peer.hear();
            peer.ignore();
            let before = edge.now();
            edge.pass(ms(1));
            if edge.cx().pending(id) < pending {
                progress.set(Some(before));
            }
            assert!(peer.count() - heard < 100_000, "it has room");
        }
        assert!(edge.log().count("deadline") == 0 || on.is_real());
    }
    let told = edge.log().count("deadline");
    edge.until("silence is told of, and again", |edge| {
        edge.log().count("deadline") >= told + 2
    });
    assert!(edge.cx().pending(id) > 0 && edge.log().closed() == 0);
    edge.end();
}

// T8: by default a silent connection is closed.
fn a_deadline_closes_its_connection_by_default(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen_with(|listen| listen.idle(ms(30)));
    let peer = edge.peer(&addr);
    edge.until("it has its end", |_| peer.is_closed());
    assert!(peer.count() == 0 && !peer.was_reset());
    peer.close();
    edge.until_all_closed();
    let id = edge.id(0);
    let reason = edge.log().life(id).reason();
    assert!(matches!(reason, Reason::TimedOut(Deadline::Idle)));
    edge.end();
}

// T8: nor is one who drips saved by that.
fn a_set_deadline_is_not_put_off_by_traffic(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until_open(1);
    let (start, id) = (edge.now(), edge.id(0));
    edge.cx().set_deadline(id, 0, ms(30));
    edge.until("it passes", |_| {
        peer.send("x");
        peer.is_closed()
    });
    let took = edge.now() - start;
    assert!(took >= ms(30) && took < Duration::from_secs(10));
    peer.close();
    edge.until_all_closed();
    let reason = edge.log().life(id).reason();
    assert!(matches!(reason, Reason::TimedOut(Deadline::Set(0))));
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

// J12: two connections of the loop play ping-pong, and go on between two parts of the timers.
fn ten_thousand_timers_due_at_once_hold_nobody_up(on: On) {
    if on.is_under() {
        return; // it connects to itself, plainly
    }
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
