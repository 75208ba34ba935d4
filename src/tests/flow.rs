//! Reading, writing and holding back.

use super::*;
use crate::readiness::Readiness;

const MIB: usize = 1024 * 1024;

#[test]
fn a_short_read_is_followed_by_no_second_one() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    bench.script.arrives(socket, b"hello");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 5"]);
    assert_eq!(bench.script.socket(socket, |socket| socket.calls), 1);
}

#[test]
fn where_a_short_read_proves_nothing_it_reads_until_it_would_block() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    bench.script.arrives(socket, b"hello");
    bench.script.socket(socket, |socket| {
        socket.reads.push_back(Ok(b"more".to_vec()));
    });
    bench
        .script
        .edge(socket, Readiness::READABLE | Readiness::URGENT);
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 5", "data 4"]);
    assert_eq!(bench.script.socket(socket, |socket| socket.calls), 3);
}

// A handler may have inputs of its own: their bytes are not where the loop's are.
#[test]
fn bytes_sent_to_another_wait_for_the_flush_phase_and_are_one_write() {
    let mut bench = Bench::new();
    let (one, _) = bench.accept();
    let (other, target) = bench.accept();
    for _ in 0..2 {
        bench.app.on_data.push_back(Box::new(move |cx, _| {
            assert_eq!(cx.send(target, "x"), Sent::Queued);
        }));
    }
    bench.script.arrives(one, b"1");
    bench.script.arrives(other, b"2");
    bench.settle();
    assert_eq!(bench.written(other), b"xx");
    assert_eq!(
        bench.script.socket(other, |socket| socket.calls),
        2,
        "one read, one write"
    );
}

#[test]
fn partial_writes_never_lose_or_double_a_byte() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let mut expected = Vec::new();
    for round in 0..200usize {
        let bytes: Vec<u8> = (0..(round * 97) % 9000)
            .map(|i| (i ^ round) as u8)
            .collect();
        expected.extend_from_slice(&bytes);
        bench.write_steps(socket, [WriteStep::Take(round * 31 % 4000)]);
        match round % 3 {
            0 => bench.cx().send(conn, &bytes[..]),
            1 => bench.cx().send(conn, bytes.clone()),
            _ => bench
                .cx()
                .send(conn, (&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..])),
        };
        bench.settle();
        bench.script.socket(socket, |socket| socket.writes.clear());
        bench.write_steps(socket, [WriteStep::Take(round * 57 % 6000)]);
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.settle();
        assert!(expected.starts_with(&bench.written(socket)));
    }
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.written(socket), expected);
    assert_eq!(bench.cx().pending(conn), 0);
}

#[test]
fn wait_and_drain_alternate() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    for _ in 0..3 {
        bench.write_steps(socket, [BLOCK]);
        assert_eq!(bench.cx().send(conn, vec![0; 60_000]), Sent::Queued);
        assert_eq!(bench.cx().send(conn, vec![0; 60_000]), Sent::Wait);
        assert_eq!(bench.cx().send(conn, "x"), Sent::Wait);
        bench.settle();
        bench.write_steps(socket, [WriteStep::Take(110_000)]);
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.settle();
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.settle();
    }
    assert_eq!(bench.seen(), ["open", "drain", "drain", "drain"]);
}

#[test]
fn the_hard_limit_governs_what_is_sent_after_a_wait_and_above_the_high_mark() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [BLOCK]);
    assert_eq!(
        bench.cx().send(conn, vec![0; 3 * MIB]),
        Sent::Wait,
        "below the mark: any size"
    );
    bench.settle();
    assert_eq!(
        bench.cx().send(conn, "x"),
        Sent::Gone,
        "above the limit, policy Close"
    );
    bench.settle();
    let close = "close pending output exceeds `hard_limit`, 3145728 bytes undelivered";
    assert_eq!(bench.seen(), ["open", close]);
    assert!(bench.script.socket(socket, |socket| socket.reset));
}

#[test]
fn drop_newest_drops_whole_sends_and_keeps_the_connection() {
    let mut config = Config::default();
    config.limits.overflow = crate::Overflow::DropNewest;
    let mut bench = Bench::with_config(config);
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [BLOCK]);
    assert_eq!(bench.cx().send(conn, vec![1; MIB]), Sent::Wait);
    bench.settle();
    assert_eq!(bench.cx().send(conn, vec![2; 10]), Sent::Dropped);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.cx().send(conn, vec![3; 10]), Sent::Queued);
    bench.settle();
    assert_eq!(bench.written(socket), [vec![1; MIB], vec![3; 10]].concat());
}

#[test]
fn nothing_sent_after_a_wait_meets_no_limit_and_leaves_the_drain_to_come() {
    for overflow in [crate::Overflow::Close, crate::Overflow::DropNewest] {
        let mut config = Config::default();
        config.limits.overflow = overflow;
        let mut bench = Bench::with_config(config);
        let (socket, conn) = bench.accept();
        bench.write_steps(socket, [BLOCK]);
        assert_eq!(bench.cx().send(conn, vec![0; 3 * MIB]), Sent::Wait);
        // Before the write that would block, and behind it.
        for _ in 0..2 {
            assert_eq!(bench.cx().send(conn, ""), Sent::Wait, "{overflow:?}");
            assert_eq!(bench.cx().send(conn, (vec![], "")), Sent::Wait);
            assert_eq!(bench.cx().broadcast([conn], "").waiting, 1);
            bench.settle();
            assert_eq!(bench.cx().pending(conn), 3 * MIB);
        }
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.settle();
        assert_eq!(bench.seen(), ["open", "drain"]);
        assert_eq!(bench.cx().send(conn, ""), Sent::Queued);
    }
}

#[test]
fn leftovers_are_offered_with_new_bytes_after_a_pause_and_at_the_end_and_never_otherwise() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.app.leave = 2;
    bench.script.arrives(socket, b"abc");
    bench.settle();
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 3"]);
    bench.script.arrives(socket, b"d");
    bench.settle();
    assert_eq!(bench.seen(), ["data 3"]);
    bench.cx().pause_reads(conn);
    bench.script.arrives(socket, b"e");
    bench.settle();
    assert!(bench.seen().is_empty());
    bench.cx().resume_reads(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["data 2", "data 3"]);
    bench.script.arrives(socket, b"");
    bench.settle();
    assert_eq!(bench.seen(), ["data 2", "eof 2", "close closed by peer"]);
    assert_eq!(bench.app.received, b"abc");
}

#[test]
fn what_is_left_in_the_receive_buffer_moves_out_for_another_read_and_goes_with_its_connection() {
    let mut bench = Bench::new();
    let (one, first) = bench.accept();
    let (two, second) = bench.accept();
    bench.app.leave = 2;
    bench.script.arrives(one, b"abc");
    bench.settle();
    bench.script.arrives(two, b"12345");
    bench.settle();
    bench.script.arrives(one, b"d");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "open", "data 3", "data 5", "data 3"]);
    assert_eq!(bench.app.received, b"a123b");
    // The end and what is left for it; then the other one's, which a close forgets.
    bench.script.arrives(one, b"");
    bench.settle();
    assert_eq!(bench.seen(), ["data 2", "eof 2", "close closed by peer"]);
    bench.script.arrives(two, b"6");
    bench.settle();
    bench.cx().abort(second);
    bench.settle();
    assert_eq!(bench.seen(), ["data 3", "close aborted locally"]);
    // Whoever gets the slot next begins with nothing.
    let (three, third) = bench.accept();
    assert!(third != second && third != first);
    bench.script.arrives(three, b"xyz");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 3"]);
    assert_eq!(bench.app.received, b"a123b4x");
}

#[test]
fn what_a_paused_connection_left_is_offered_when_it_resumes() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.app.leave = 2;
    bench.script.arrives(socket, b"abc");
    bench.settle();
    bench.cx().pause_reads(conn);
    bench.script.arrives(socket, b"de");
    bench.settle();
    bench.app.leave = 0;
    bench.cx().resume_reads(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 3", "data 2", "data 2"]);
    assert_eq!(bench.app.received, b"abcde");
}

#[test]
fn an_interrupted_read_or_write_is_tried_again() {
    let mut bench = Bench::new();
    bench.app.echo = true;
    let (socket, _) = bench.accept();
    bench.script.socket(socket, |socket| {
        socket.reads.push_back(Err(io::ErrorKind::Interrupted));
    });
    bench.write_steps(socket, [WriteStep::Fail(io::ErrorKind::Interrupted)]);
    bench.script.arrives(socket, b"hello");
    bench.settle();
    assert_eq!(bench.written(socket), b"hello");
}

#[test]
fn spurious_readiness_harms_nobody() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    for bits in [
        Readiness::READABLE,
        Readiness::WRITABLE,
        Readiness::HANG_UP,
        Readiness::ERROR,
    ] {
        bench.script.edge(socket, bits);
        bench.settle();
    }
    assert_eq!(bench.seen(), ["open"]);
}

#[test]
fn a_member_that_reads_is_not_taken_for_a_slow_one_when_many_speak_at_once() {
    let mut config = Config::default();
    config.limits.high_watermark = 1000;
    config.limits.low_watermark = 100;
    config.limits.hard_limit = 2000;
    let mut bench = Bench::with_config(config);
    let (listener, target) = bench.accept();
    let speakers: Vec<usize> = (0..50).map(|_| bench.accept().0).collect();
    for speaker in &speakers {
        bench.app.on_data.push_back(Box::new(move |cx, _| {
            assert_ne!(cx.send(target, vec![b'x'; 900]), Sent::Gone);
        }));
        bench.script.arrives(*speaker, b"!");
    }
    bench.settle();
    assert_eq!(bench.written(listener).len(), 50 * 900);
}

#[test]
fn broadcasts_of_a_turn_are_one_write_for_each_member_and_keep_their_order() {
    let mut bench = Bench::new();
    let speakers: Vec<usize> = (0..3).map(|_| bench.accept().0).collect();
    let all = bench.app.conns.clone();
    for (index, speaker) in speakers.iter().enumerate() {
        let (all, line) = (all.clone(), format!("{index}\n"));
        bench.app.on_data.push_back(Box::new(move |cx, conn| {
            assert_eq!(cx.broadcast(all.iter().copied(), &line).queued, 3);
            if index == 1 {
                cx.send(conn, "alone\n");
                assert_eq!(cx.broadcast(all.iter().copied(), "again\n").queued, 3);
            }
        }));
        bench.script.arrives(*speaker, b"x");
    }
    bench.settle();
    for (index, speaker) in speakers.iter().enumerate() {
        let alone = if index == 1 { "alone\n" } else { "" };
        let expected = format!("0\n1\n{alone}again\n2\n");
        assert_eq!(bench.written(*speaker), expected.as_bytes());
        assert_eq!(bench.script.socket(*speaker, |socket| socket.calls), 2);
    }
    let parts = bench.cx().parts();
    assert!(!parts.lists.have_flushes() && parts.outbox.is_clear());
}

#[test]
fn what_a_member_does_not_take_of_the_block_is_kept_for_it_alone() {
    for cut in 0..6 {
        let mut bench = Bench::new();
        let (slow, conn) = bench.accept();
        let (quick, other) = bench.accept();
        bench.write_steps(slow, [WriteStep::Take(cut)]);
        for line in ["abc", "def"] {
            assert_eq!(bench.cx().broadcast([conn, other], line).queued, 2);
        }
        assert_eq!(bench.cx().pending(conn), 6);
        bench.settle();
        assert_eq!(bench.cx().pending(conn), 6 - cut);
        assert_eq!(bench.cx().broadcast([conn, other], "ghi").queued, 2);
        bench.settle();
        bench.script.edge(slow, Readiness::WRITABLE);
        bench.settle();
        assert_eq!(
            (bench.written(slow), bench.written(quick)),
            (b"abcdefghi".into(), b"abcdefghi".into())
        );
    }
}

#[test]
fn a_part_of_the_block_is_lost_and_counted_when_its_member_ends() {
    let mut bench = Bench::new();
    let (_, conn) = bench.accept();
    bench.cx().broadcast([conn], "hello");
    bench.cx().abort(conn);
    bench.settle();
    assert_eq!(
        bench.seen(),
        ["open", "close aborted locally, 5 bytes undelivered"]
    );
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [RESET]);
    bench.cx().broadcast([conn], "hello");
    bench.settle();
    assert_eq!(
        bench.seen(),
        ["open", "close reset by peer, 5 bytes undelivered"]
    );
    let (socket, conn) = bench.accept();
    bench.cx().broadcast([conn], "bye");
    bench.cx().close(conn);
    bench.settle();
    assert_eq!(bench.written(socket), b"bye");
}

#[test]
fn one_that_is_resumed_in_the_turn_of_its_edge_is_read_once_a_turn() {
    let mut bench = Bench::with_config(Config {
        receive_buffer: 100,
        ..Config::default()
    });
    let (one, _) = bench.accept();
    let (other, resumed) = bench.accept();
    bench.app.on_data.push_back(Box::new(move |cx, _| {
        cx.pause_reads(resumed);
        cx.resume_reads(resumed);
    }));
    bench.script.arrives(one, b"one");
    bench.script.socket(other, |socket| {
        socket.reads.extend((0..6).map(|_| Ok(vec![0; 100])));
    });
    bench.script.edge(other, Readiness::READABLE);
    bench.turn();
    assert_eq!(bench.seen(), ["open", "open", "data 3", "data 100"]);
    for _ in 0..3 {
        bench.turn();
        assert_eq!(bench.seen(), ["data 100"]);
    }
}
