//! What a host that turns the reactor itself goes by: H2, J13.

use super::*;
use crate::mailbox::SendError;

// H2
#[test]
fn work_that_is_left_is_due_at_a_time_before_any_that_the_host_has_read() {
    let config = Config {
        reads_per_turn: 1,
        ..Config::default()
    };
    let mut bench = Bench::with_config(config);
    let (one, _) = bench.accept();
    let (other, _) = bench.accept();
    bench.script.pass(Duration::from_secs(5));
    let clock = bench.script.now();
    bench.script.arrives(one, b"x");
    bench.script.arrives(other, b"x");
    // The clock of the host stands still, as it has read it once.
    bench.script.pass(Duration::from_secs(1));
    assert!(bench.turn());
    assert!(bench.reactor.next_wakeup().unwrap() <= clock);
    bench.settle();
    assert_eq!(bench.reactor.next_wakeup(), None);
}

// H2
#[test]
fn a_finish_that_is_over_is_due_until_its_report_is_taken() {
    let mut bench = Bench::new();
    let clock = bench.script.now();
    bench.cx().finish(Duration::from_secs(3600));
    for _ in 0..3 {
        assert!(bench.reactor.next_wakeup().unwrap() <= clock);
        bench.turn();
    }
    assert!(bench.reactor.take_report().unwrap().finished);
    assert_eq!(bench.reactor.next_wakeup(), None);
}

// H2
#[test]
fn a_finish_that_ends_in_a_turn_is_due_too() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    bench.script.socket(socket, |socket| socket.stays = true);
    bench.script.pass(Duration::from_secs(5));
    let clock = bench.script.now();
    bench.cx().finish(Duration::from_secs(3600));
    // Its `on_finish` closes it; then it waits for the peer's end.
    bench.settle();
    assert!(bench.reactor.next_wakeup().unwrap() > clock);
    bench.script.arrives(socket, b"");
    bench.settle();
    for _ in 0..3 {
        assert!(bench.reactor.next_wakeup().unwrap() <= clock);
        bench.turn();
    }
    assert_eq!(bench.reactor.take_report().unwrap().closed, 1);
    assert_eq!(bench.reactor.next_wakeup(), None);
}

// J13
#[test]
fn after_a_panic_no_wakeup_is_due_and_senders_get_their_messages_back() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    let sender = bench.reactor.sender();
    bench.cx().set_timer(Duration::from_secs(1), 1);
    bench
        .app
        .on_data
        .push_back(Box::new(|_, _| panic!("on purpose")));
    bench.script.arrives(socket, b"x");
    assert_eq!(sender.send(1), Ok(()));
    let turn = std::panic::AssertUnwindSafe(|| bench.turn());
    assert!(std::panic::catch_unwind(turn).is_err());
    assert_eq!(sender.send(2), Err(SendError::Closed(2)));
    assert_eq!(bench.reactor.next_wakeup(), None);
    assert!(bench.reactor.turn(&mut bench.app, None).is_err());
}
