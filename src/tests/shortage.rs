//! The system is short of memory at a read or a write, of which no edge tells that it is over: J8.

use super::*;
use crate::readiness::Readiness;

const SHORT: io::ErrorKind = io::ErrorKind::OutOfMemory;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn calls(bench: &Bench, socket: usize) -> usize {
    bench.script.socket(socket, |socket| socket.calls)
}

// J8
#[test]
fn a_shortage_at_a_write_is_later_and_not_the_end() {
    for case in ["sent", "lent", "broadcast", "both"] {
        let mut bench = Bench::new();
        let (socket, conn) = bench.accept();
        bench.app.echo = true;
        let short = || WriteStep::Fail(SHORT);
        bench.write_steps(socket, [short(), short()]);
        match case {
            "sent" => drop(bench.cx().send(conn, "hello")),
            "broadcast" => drop(bench.cx().broadcast([conn], "hello")),
            _ => bench.script.arrives(socket, b"hello"),
        }
        if case == "both" {
            bench.app.on_data.push_back(Box::new(|cx, conn| {
                cx.send(conn, " world");
            }));
        }
        bench.settle();
        let all = match case {
            "both" => &b"hello world"[..],
            _ => b"hello",
        };
        assert_eq!(bench.cx().pending(conn), all.len(), "{case}");
        let before = calls(&bench, socket);
        bench.pass(ms(9));
        assert_eq!(calls(&bench, socket), before, "{case}: too early");
        bench.pass(ms(1));
        assert!(bench.written(socket).is_empty(), "{case}: short again");
        bench.pass(ms(9));
        assert!(bench.written(socket).is_empty(), "{case}: too early");
        bench.pass(ms(1));
        assert_eq!(bench.written(socket), all, "{case}");
        assert_eq!(bench.cx().pending(conn), 0);
        assert!(bench.cx().is_open(conn));
    }
}

// J8
#[test]
fn a_shortage_at_a_read_is_later_and_loses_neither_bytes_nor_the_end() {
    for pause in [false, true] {
        let mut bench = Bench::new();
        bench.app.leave = 1;
        let (socket, conn) = bench.accept();
        bench.script.socket(socket, |socket| {
            let reads = [
                Ok(b"ab".to_vec()),
                Err(SHORT),
                Err(SHORT),
                Ok(b"c".to_vec()),
            ];
            socket.reads.extend(reads);
            socket.reads.extend([Err(SHORT), Ok(Vec::new())]);
        });
        bench.script.edge(socket, Readiness::READABLE);
        bench.script.edge(socket, Readiness::HANG_UP);
        bench.settle();
        assert_eq!(bench.seen(), ["open", "data 2"]);
        bench.pass(ms(10));
        if pause {
            // What is to be tried again waits for the end of a pause.
            bench.cx().pause_reads(conn);
            bench.pass(ms(100));
            assert!(bench.seen().is_empty());
            bench.cx().resume_reads(conn);
        }
        bench.pass(ms(10));
        let seen = bench.seen();
        let expected = match pause {
            false => vec!["data 2"],
            true => vec!["data 1", "data 2"],
        };
        assert_eq!(seen, expected, "{pause}");
        bench.pass(ms(10));
        assert_eq!(bench.seen()[..2], ["data 1", "eof 1"]);
        assert_eq!(bench.app.received, b"ab");
    }
}

// J8, J1: a shortage is no answer to the question before a deadline.
#[test]
fn a_shortage_at_the_question_before_a_deadline_is_not_laid_to_the_peer() {
    for closing in [false, true] {
        let mut config = Config::default();
        (config.limits.write_stall, config.limits.close_flush) = (ms(25), ms(25));
        config.limits.linger_time = Duration::ZERO;
        let mut bench = Bench::with_config(config);
        let (socket, conn) = bench.accept();
        bench.write_steps(socket, (0..30).map(|_| WriteStep::Fail(SHORT)));
        bench.cx().send(conn, "hello");
        if closing {
            bench.cx().close(conn);
        }
        for _ in 0..100 {
            bench.pass(ms(1));
        }
        // Twice a write and a read each 10 ms at most: no spin.
        let calls = calls(&bench, socket);
        assert!((10..45).contains(&calls), "{calls} calls");
        assert!(bench.written(socket).is_empty());
        assert_eq!(bench.seen(), ["open"]);
        // It is over, and nothing has room: that is an answer.
        bench.script.socket(socket, |socket| socket.writes.clear());
        bench.fill(socket, true);
        (0..12).for_each(|_| bench.pass(ms(1)));
        let seen = bench.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].contains("5 bytes undelivered"), "{seen:?}");
    }
}

// J8: what bounds a close in all is absolute.
#[test]
fn a_shortage_that_does_not_end_holds_up_a_close_no_longer_than_its_time_in_all() {
    let mut config = Config::default();
    config.limits.close_time = ms(55);
    let mut bench = Bench::with_config(config);
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, (0..30).map(|_| WriteStep::Fail(SHORT)));
    bench.cx().send(conn, "hello");
    bench.cx().close(conn);
    (0..54).for_each(|_| bench.pass(ms(1)));
    assert_eq!(bench.seen(), ["open"]);
    (0..2).for_each(|_| bench.pass(ms(1)));
    assert_eq!(bench.seen().len(), 1);
}

// J8
#[test]
fn a_slot_that_is_used_again_is_not_tried_for_the_one_before() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [WriteStep::Fail(SHORT)]);
    bench.cx().send(conn, "hello");
    bench.settle();
    bench.cx().abort(conn);
    bench.settle();
    let (next, _) = bench.accept();
    let before = calls(&bench, next);
    bench.pass(ms(10));
    assert_eq!(calls(&bench, next), before);
}

// J8
#[test]
fn who_lingers_in_a_shortage_waits_for_the_end_of_its_peer() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.script.socket(socket, |socket| {
        socket.stays = true;
        socket.reads.extend([Err(SHORT), Ok(b"more".to_vec())]);
        socket.reads.push_back(Ok(Vec::new()));
    });
    bench.cx().close(conn);
    let end = Readiness::READABLE | Readiness::HANG_UP;
    bench.script.edge(socket, end);
    bench.settle();
    assert_eq!(bench.seen(), ["open"]);
    bench.pass(ms(10));
    assert_eq!(bench.seen(), ["close closed locally"]);
}
