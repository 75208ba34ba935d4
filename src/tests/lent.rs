//! Input that goes straight back to where it came from.

use super::*;
use crate::buffer::input::InputBuffer;
use crate::readiness::Readiness;

#[test]
fn an_echo_is_written_from_the_receive_buffer_in_one_call() {
    let mut bench = Bench::new();
    bench.app.echo = true;
    let (socket, _) = bench.accept();
    bench.script.arrives(socket, b"hello");
    bench.turn();
    assert_eq!(bench.written(socket), b"hello");
    assert_eq!(bench.script.socket(socket, |socket| socket.calls), 2);
    assert_eq!(bench.app.sent, [Sent::Queued]);
}

#[test]
fn what_the_system_does_not_take_of_lent_input_goes_out_first() {
    for cut in 0..5 {
        let mut bench = Bench::new();
        bench.app.echo = true;
        let (socket, conn) = bench.accept();
        bench.write_steps(socket, [WriteStep::Take(cut)]);
        bench.script.arrives(socket, b"hello");
        bench.settle();
        bench.cx().send(conn, " world");
        assert_eq!(bench.cx().pending(conn), 11 - cut);
        bench.settle();
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.settle();
        assert_eq!(bench.written(socket), b"hello world", "cut at {cut}");
    }
}

#[test]
fn an_input_of_the_handlers_own_is_not_taken_for_the_loops() {
    let mut bench = Bench::new();
    bench.app.on_data.push_back(Box::new(|cx, conn| {
        let mut own = InputBuffer::from(b"mine".to_vec());
        cx.send(conn, own.take_all());
    }));
    let (socket, _) = bench.accept();
    bench.script.arrives(socket, b"yours");
    bench.settle();
    assert_eq!(bench.written(socket), b"mine");
}

#[test]
fn what_is_sent_after_lent_input_follows_it() {
    for large in [10, 100_000] {
        let mut bench = Bench::new();
        bench.app.echo = true;
        bench.app.on_data.push_back(Box::new(move |cx, conn| {
            assert_eq!(cx.pending(conn), large);
            cx.send(conn, "!");
            assert_eq!(cx.pending(conn), large + 1);
        }));
        let (socket, _) = bench.accept();
        let bytes = vec![b'x'; large];
        bench.script.arrives(socket, &bytes);
        bench.settle();
        assert_eq!(bench.written(socket), [&bytes[..], b"!"].concat());
        let calls = bench.script.socket(socket, |socket| socket.calls);
        assert_eq!(calls, 2, "one read, one write");
    }
}

#[test]
fn lent_input_of_a_connection_that_is_then_aborted_is_lost_and_counted() {
    let mut bench = Bench::new();
    bench.app.echo = true;
    bench
        .app
        .on_data
        .push_back(Box::new(|cx, conn| assert!(cx.abort(conn))));
    let (socket, _) = bench.accept();
    bench.script.arrives(socket, b"hello");
    bench.settle();
    assert_eq!(bench.written(socket), b"");
    assert_eq!(
        bench.seen(),
        [
            "open",
            "data 5",
            "close aborted locally, 5 bytes undelivered"
        ]
    );
}

#[test]
fn lent_input_of_a_connection_that_is_then_closed_goes_out_before_the_end() {
    let mut bench = Bench::new();
    bench.app.echo = true;
    bench
        .app
        .on_data
        .push_back(Box::new(|cx, conn| assert!(cx.close(conn))));
    let (socket, _) = bench.accept();
    bench.script.arrives(socket, b"hello");
    bench.settle();
    assert_eq!(bench.written(socket), b"hello");
    assert_eq!(bench.seen(), ["open", "data 5", "close closed locally"]);
    assert!(bench.script.socket(socket, |socket| socket.shut
        && socket.dropped
        && !socket.reset));
}

#[test]
fn to_send_an_empty_chunk_back_writes_nothing_and_keeps_nothing_from_being_written() {
    let mut bench = Bench::new();
    bench.app.echo = true;
    bench.app.leave = 1;
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [WriteStep::Fail(io::ErrorKind::WouldBlock)]);
    bench.script.arrives(socket, b"x");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 1"]);
    assert_eq!(bench.app.sent, [Sent::Queued]);
    assert_eq!(bench.cx().stats().writes, 0);
    let calls = bench.script.socket(socket, |socket| socket.calls);
    assert_eq!(calls, 1, "one read, and nothing to write");
    bench.app.leave = 0;
    bench.script.arrives(socket, b"y");
    bench.settle();
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.written(socket), b"xy");
    assert_eq!(bench.cx().pending(conn), 0);
}

#[test]
fn a_chunk_for_another_goes_to_that_one() {
    let mut bench = Bench::new();
    let (one, _) = bench.accept();
    let (other, target) = bench.accept();
    bench.app.echo_to = Some(target);
    bench.app.echo = true;
    bench.script.arrives(one, b"hello");
    bench.settle();
    assert_eq!(
        (bench.written(one), bench.written(other)),
        (vec![], b"hello".to_vec())
    );
}

#[test]
fn what_another_connection_comes_to_takes_nothing_of_what_is_lent() {
    let mut bench = Bench::new();
    bench.app.echo = true;
    let (one, _) = bench.accept();
    let (_, victim) = bench.accept();
    bench
        .app
        .on_data
        .push_back(Box::new(move |cx, _| assert!(cx.abort(victim))));
    bench.script.arrives(one, b"hello");
    bench.settle();
    assert_eq!(bench.written(one), b"hello");
    assert_eq!(
        bench.seen(),
        ["open", "open", "data 5", "close aborted locally"]
    );
}

#[test]
fn the_hard_limit_counts_the_bytes_of_a_chunk_and_not_where_they_lie() {
    let mut config = Config::default();
    config.limits.hard_limit = 100_000;
    let mut bench = Bench::with_config(config);
    let (slow, target) = bench.accept();
    let (socket, _) = bench.accept();
    bench.fill(slow, true);
    assert_eq!(bench.cx().send(target, vec![0; 90_000]), Sent::Wait);
    bench.settle();
    // The last of several chunks of one input.
    struct Splits(ConnId);
    impl Handler<u64> for Splits {
        fn on_data(&mut self, cx: &mut Context, _: ConnId, input: &mut Input) {
            input.take(input.len() - 1_000);
            assert_eq!(cx.send(self.0, input.take_all()), Sent::Wait);
        }
    }
    bench.script.arrives(socket, &[1; 50_000]);
    let now = Some(Duration::ZERO);
    bench.reactor.turn(&mut Splits(target), now).unwrap();
    assert_eq!(bench.cx().pending(target), 91_000);
}

#[test]
fn what_is_sent_back_of_the_last_input_is_not_lent() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    bench.app.leave = 2;
    bench.script.arrives(socket, b"abc");
    bench.settle();
    bench.app.leave = 0;
    bench.app.echo = true;
    bench.script.arrives(socket, b"");
    bench.settle();
    assert_eq!(bench.written(socket), b"bc");
}
