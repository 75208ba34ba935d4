//! Broadcasts, where a member's part of the turn's block meets something else. W1.

use super::*;
use crate::readiness::Readiness;

#[test]
fn a_member_who_has_taken_all_keeps_no_queue() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.cx().broadcast([conn], "a line\n");
    bench.settle();
    assert_eq!(bench.written(socket), b"a line\n");
    assert!(!bench.cx().live(conn).unwrap().has_queue());
}

#[test]
fn a_member_who_takes_a_part_is_given_up_if_that_is_all() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [WriteStep::Take(3)]);
    bench.fill(socket, true);
    bench.cx().broadcast([conn], "a line\n");
    bench.settle();
    assert_eq!(bench.cx().pending(conn), 4);
    bench.pass(Duration::from_secs(60));
    let end = "close timed out (write stall), 4 bytes undelivered";
    assert_eq!(bench.seen(), ["open", end]);
}

#[test]
fn what_a_member_sends_back_comes_before_what_is_broadcast_then() {
    for at in 0..3 {
        let mut bench = Bench::new();
        bench.app.echo = true;
        let sockets = [(); 3].map(|()| bench.accept().0);
        let all = bench.app.conns.clone();
        bench.app.on_data.push_back(Box::new(move |cx, _| {
            assert_eq!(cx.broadcast(all.iter().copied(), "line").queued, 3);
        }));
        bench.script.arrives(sockets[at], b"echo, ");
        bench.settle();
        let written = sockets.map(|socket| bench.written(socket));
        for (to, written) in written.iter().enumerate() {
            let wanted = if to == at {
                &b"echo, line"[..]
            } else {
                b"line"
            };
            assert_eq!(written, wanted, "from {at} to {to}");
        }
    }
}

#[test]
fn what_is_broadcast_in_the_last_round_of_a_turn_goes_out_in_the_next() {
    let mut config = Config {
        rounds_per_turn: 1,
        ..Config::default()
    };
    config.limits.low_watermark = 10;
    let mut bench = Bench::with_config(config);
    let (slow, conn) = bench.accept();
    let (socket, member) = bench.accept();
    bench.app.on_drain.push_back(Box::new(move |cx, _| {
        cx.broadcast([member], "a line\n");
    }));
    bench.fill(slow, true);
    bench.cx().send(conn, "much");
    bench.cx().await_drain(conn);
    bench.settle();
    bench.fill(slow, false);
    bench.script.edge(slow, Readiness::WRITABLE);
    bench.turn();
    bench.settle();
    assert_eq!(bench.seen(), ["open", "open", "drain"]);
    assert_eq!(bench.written(socket), b"a line\n");
}
