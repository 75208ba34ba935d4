//! `Config::busy_poll`: a wait that spins before it sleeps, and promises that hold all the same.

use crate::kit::{Kit, echo, peer, read_n, spawn, write};
use sockeye::Config;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

fn busy(time: Duration) -> Config {
    let mut config = Config::default();
    config.busy_poll = time;
    config
}

/// What the spinning costs. rustix knows no clock of a thread on NetBSD.
#[cfg(not(target_os = "netbsd"))]
mod cost {
    use super::{LONG, busy};
    use rustix::time::{ClockId, clock_gettime};
    use sockeye::{Config, ConnId, Context, Handler, Input, Reactor};
    use std::time::{Duration, Instant};

    struct Silent;

    impl Handler for Silent {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
    }

    /// Processor time of this thread.
    fn spent() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// What an empty turn of 200 ms costs.
    fn cost_of_a_turn(config: Config) -> Duration {
        let mut reactor = Reactor::with_config(config).unwrap();
        let (before, started) = (spent(), Instant::now());
        let timeout = Duration::from_millis(200);
        reactor.turn(&mut Silent, Some(timeout)).unwrap();
        assert!(started.elapsed() >= timeout);
        spent() - before
    }

    #[test]
    fn it_spins_for_its_time_and_then_sleeps() {
        let sleeping = cost_of_a_turn(busy(Duration::ZERO));
        assert!(sleeping < Duration::from_millis(5), "{sleeping:?}");
        let a_little = cost_of_a_turn(busy(Duration::from_millis(1)));
        assert!(a_little < Duration::from_millis(6), "{a_little:?}");
        // It has 200 ms, of which the neighbours may take nearly all.
        let spinning = cost_of_a_turn(busy(LONG));
        assert!(spinning > Duration::from_millis(8), "{spinning:?}");
    }
}

#[test]
fn a_turn_that_has_no_time_looks_once() {
    let mut kit = Kit::with_config(busy(LONG), echo);
    kit.listen();
    // With the kit's timeout of zero it would not come back from an hour of spinning.
    for _ in 0..1000 {
        kit.turn();
    }
    kit.end();
}

#[test]
fn timers_connections_and_messages_end_the_spinning() {
    let mut kit = Kit::with_config(busy(LONG), echo);
    let addr = kit.listen();
    let sender = kit.sender();
    kit.cx().set_timer(Duration::from_millis(10), 7);
    let talk = spawn(move || {
        let mut peer = peer(addr);
        for _ in 0..100 {
            write(&mut peer, "ping");
            assert_eq!(read_n(&mut peer, 4), b"ping");
        }
        sender.send(1).unwrap();
    });
    kit.until("the timer fires", |log| log.timers.contains(&7));
    kit.until_done(talk);
    kit.until("the message comes", |log| log.messages.contains(&1));
    kit.until_all_closed();
    kit.end();
}
