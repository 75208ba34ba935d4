//! What the hard limit counts, and waits that are begun on purpose: J5, F7.

use super::*;
use crate::readiness::Readiness;

const MIB: usize = 1024 * 1024;

// F7
#[test]
fn a_wait_begun_on_purpose_is_ended_where_nothing_is_pending() {
    for echo in [false, true] {
        for first in [false, true] {
            let mut bench = Bench::new();
            bench.app.echo = echo;
            let (socket, conn) = bench.accept();
            bench.app.on_data.push_back(Box::new(move |cx, conn| {
                if first {
                    assert!(cx.await_drain(conn) && cx.is_waiting(conn));
                    // Until it is over sends answer so.
                    assert_eq!(cx.send(conn, "!"), Sent::Wait);
                }
                cx.pause_reads(conn);
                assert!(cx.await_drain(conn) && cx.await_drain(conn));
            }));
            bench.app.on_drain.push_back(Box::new(|cx, conn| {
                assert!(!cx.is_waiting(conn) && cx.resume_reads(conn));
            }));
            bench.script.arrives(socket, b"hello");
            bench.settle();
            bench.script.arrives(socket, b"more");
            bench.settle();
            assert_eq!(bench.seen(), ["open", "data 5", "drain", "data 4"]);
            assert!(!bench.cx().is_waiting(conn));
            bench.cx().close(conn);
            assert!(!bench.cx().await_drain(conn) && !bench.cx().is_waiting(conn));
            bench.settle();
            assert!(!bench.seen().contains(&"drain".to_owned()));
        }
    }
}

// F7: what is lent after it is queued, and a connect has its drain when it is through.
#[test]
fn a_wait_begun_on_purpose_holds_for_an_echo_and_for_a_connect() {
    let mut bench = Bench::new();
    let conn = bench.cx().connect("127.0.0.1:7");
    assert!(bench.cx().await_drain(conn));
    bench.settle();
    assert!(bench.seen().is_empty());
    bench.script.edge(0, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["connected", "drain"]);
    let (socket, conn) = bench.accept();
    bench.app.echo = true;
    bench.cx().await_drain(conn);
    bench.script.arrives(socket, b"hello");
    bench.settle();
    assert_eq!(bench.app.sent, [Sent::Wait]);
    assert_eq!(bench.seen(), ["open", "data 5", "drain"]);
    assert_eq!(bench.written(socket), b"hello");
}

// J5
#[test]
fn what_was_queued_since_the_last_flush_is_not_laid_to_the_peer() {
    for overflow in [crate::Overflow::Close, crate::Overflow::DropNewest] {
        let mut config = Config::default();
        config.limits.overflow = overflow;
        let refused = match overflow {
            crate::Overflow::Close => Sent::Gone,
            crate::Overflow::DropNewest => Sent::Dropped,
        };
        let mut bench = Bench::with_config(config);
        let (socket, conn) = bench.accept();
        // Above the limit, more than once, and it is taken by a peer that takes it.
        bench.write_steps(socket, [WriteStep::Take(50_000)]);
        bench.cx().send(conn, vec![0; 100_000]);
        bench.settle();
        let left = bench.cx().pending(conn);
        assert_eq!(left, 50_000);
        for _ in 0..200 {
            assert_eq!(bench.cx().send(conn, &[0; 10_000]), Sent::Wait);
        }
        assert_eq!(bench.cx().broadcast([conn], vec![0; 10_000]).waiting, 1);
        // A flush that finds no room has been the chance, and so has one without an attempt.
        bench.write_steps(socket, [WriteStep::Take(left + 2_010_000 - (MIB - 20))]);
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.settle();
        assert_eq!(bench.cx().pending(conn), MIB - 20);
        assert_eq!(bench.cx().send(conn, vec![0; 20]), Sent::Wait);
        bench.settle();
        assert_eq!(bench.cx().pending(conn), MIB);
        assert_eq!(bench.cx().send(conn, "x"), refused);
        bench.settle();
    }
}

// J5
#[test]
fn the_limit_counts_what_a_connect_that_takes_its_time_has_left_waiting() {
    let mut bench = Bench::new();
    let conn = bench.cx().connect("127.0.0.1:7");
    for _ in 0..200 {
        assert_ne!(bench.cx().send(conn, vec![0; 10_000]), Sent::Gone);
    }
    bench.settle();
    assert_eq!(bench.cx().send(conn, "x"), Sent::Gone);
    bench.settle();
    assert_eq!(bench.seen().len(), 1);
}

// J5: two that send in one turn to one that takes nothing.
#[test]
fn what_many_send_to_one_that_takes_nothing_is_bounded_by_a_flush_between_them() {
    let mut config = Config::default();
    config.limits.overflow = crate::Overflow::DropNewest;
    let mut bench = Bench::with_config(config);
    let (listener, target) = bench.accept();
    bench.write_steps(listener, [BLOCK]);
    bench.cx().send(target, vec![0; MIB]);
    bench.settle();
    bench.write_steps(listener, [WriteStep::Take(MIB / 2), BLOCK]);
    bench.script.edge(listener, Readiness::WRITABLE);
    bench.settle();
    for _ in 0..20 {
        let (speaker, _) = bench.accept();
        bench.app.on_data.push_back(Box::new(move |cx, _| {
            cx.send(target, vec![b'x'; MIB / 2 - 1]);
        }));
        bench.script.arrives(speaker, b"!");
    }
    bench.settle();
    bench.settle();
    assert!(bench.cx().pending(target) < 2 * MIB);
}
