//! L: what only real sockets show of listening and accepting. Unix paths: `listening_unix.rs`.

use crate::kit::{Kit, default, echo, peer};
use sockeye::{EventKind, Limits, Listen};
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

/// All descriptors are in use. (There is no limit to be set on Windows.)
#[cfg(unix)]
mod exhausted {
    use super::*;
    use crate::kit::places::{in_own_process, is_own_process};
    use crate::kit::{read_n, spawn, write};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use socket2::{Domain, Socket, Type};
    use sockeye::{Config, Reason};
    use std::fs::File;
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    /// Each peer gets its own echo, from a thread, while the reactor turns.
    fn all_are_served(
        kit: &mut Kit<impl FnMut(&mut sockeye::Context, EventKind<'_>)>,
        peers: Vec<TcpStream>,
    ) {
        let talk = spawn(move || {
            for (number, mut peer) in peers.into_iter().enumerate() {
                let text = format!("peer {number:3}");
                write(&mut peer, &text);
                assert_eq!(read_n(&mut peer, 8), text.as_bytes());
            }
        });
        kit.until_done(talk);
    }

    // L1, L3
    #[test]
    fn out_of_descriptors_the_loop_lives_and_accepts_when_they_return() {
        in_own_process("listening::exhausted::out_of_descriptors");
    }

    /// Allows no descriptor beyond those that are open now. Gives the limit as it was.
    fn forbid_descriptors() -> Rlimit {
        let before = getrlimit(Resource::Nofile);
        let next = File::open("/dev/null").unwrap().as_raw_fd();
        let current = Some(u64::try_from(next).unwrap());
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
        assert!(File::open("/dev/null").is_err());
        before
    }

    #[test]
    #[ignore = "runs in a process of its own, whose descriptors it uses up"]
    fn out_of_descriptors() {
        if !is_own_process() {
            return;
        }
        let mut config = Config::default();
        config.accepts_per_turn = 1;
        let backoff = config.accept_backoff;
        let mut kit = Kit::with_config(config, echo);
        let addr = kit.listen();
        let mut live = peer(addr);
        kit.until("the first is open", |log| log.count("open") == 1);
        let spare = File::open("/dev/null").unwrap();
        let waiting: Vec<Socket> = (0..10)
            .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
            .collect();
        let before = forbid_descriptors();
        for socket in &waiting {
            socket.connect(&addr.into()).unwrap();
        }

        // No spin, and one report for each rest.
        let (start, turns) = (Instant::now(), kit.turn_for(backoff * 5 / 2));
        kit.until("it tries again", |log| log.accept_errors >= 3);
        let rests = start.elapsed().as_millis() / backoff.as_millis() + 1;
        let errors = kit.log().accept_errors;
        assert!(errors as u128 <= rests, "{errors} errors in {rests} rests");
        assert!(turns <= 20, "a spin: {turns} turns");
        assert_eq!(kit.cx().stats().accept_errors, errors as u64);

        // Those that live are served; a connect fails, from the loop.
        write(&mut live, "still there?");
        let first = kit.log().ids[0];
        kit.until("it hears", |log| log.life(first).received.len() == 12);
        assert_eq!(read_n(&mut live, 12), b"still there?");
        let conn = kit.connect(addr);
        kit.until("it fails", |log| log.is_closed(conn));
        assert!(matches!(
            kit.log().life(conn).reason(),
            Reason::ConnectFailed(_)
        ));

        // One descriptor returns, and one peer is accepted; then all return.
        drop(spare);
        kit.until("one is accepted", |log| log.count("open") == 2);
        let errors = kit.log().accept_errors;
        kit.until("the next is not", |log| log.accept_errors > errors);
        assert_eq!(kit.log().count("open"), 2);
        setrlimit(Resource::Nofile, before).unwrap();
        kit.until("all are accepted", |log| log.count("open") == 11);
        all_are_served(&mut kit, waiting.into_iter().map(Socket::into).collect());
        kit.end();
    }

    // L1
    #[test]
    fn a_listener_that_is_closed_while_it_rests_is_forgotten() {
        in_own_process("listening::exhausted::a_listener_closed_while_it_rests");
    }

    #[test]
    #[ignore = "runs in a process of its own, whose descriptors it uses up"]
    fn a_listener_closed_while_it_rests() {
        if !is_own_process() {
            return;
        }
        let mut kit = Kit::new(echo);
        let listener = kit.reactor.listen("127.0.0.1:0").unwrap();
        let addr = kit.cx().listener_addr(listener).unwrap().ip().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let before = forbid_descriptors();
        socket.connect(&addr.into()).unwrap();
        kit.until("it rests", |log| log.accept_errors == 1);
        assert!(kit.reactor.next_wakeup().is_some());
        kit.cx().unlisten(listener);
        setrlimit(Resource::Nofile, before).unwrap();
        kit.turn_for(Duration::from_millis(150));
        assert_eq!(kit.log().accept_errors, 1);
        assert_eq!(kit.reactor.next_wakeup(), None, "its timer is left");
        kit.end();
    }
}

// L6
#[test]
fn a_listener_that_makes_no_sense_is_an_error_too_and_costs_nothing() {
    let mut kit = Kit::new(echo);
    let mut limits = Limits::default();
    limits.low_watermark = limits.high_watermark + 1;
    let senseless = Listen::new("127.0.0.1:0").limits(limits);
    let error = kit.reactor.listen(senseless).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("low_watermark"), "{error}");
    for wrong in ["203.0.113.1:0", "no address", "127.0.0.1:99999"] {
        let error = kit.reactor.listen(wrong).unwrap_err();
        assert!(error.to_string().contains(wrong), "{error}");
    }
    for text in [
        ":7000",
        "7000",
        "unix:",
        "127.0.0.1",
        "localhost:http",
        "::1",
        "::1:80",
    ] {
        let error = kit.reactor.listen(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(
            error
                .to_string()
                .ends_with("IP:PORT, NAME:PORT, [IPV6]:PORT or unix:PATH"),
            "{error}"
        );
    }
    // The first that works has the first slot.
    let listener = kit.reactor.listen("127.0.0.1:0").unwrap();
    assert!(listener.to_string().starts_with("l0."), "{listener}");
    kit.end();
}

// L6
#[test]
fn a_port_is_free_again_as_soon_as_its_listener_is_closed() {
    let mut kit = Kit::new(echo);
    let listener = kit.reactor.listen("127.0.0.1:0").unwrap();
    let addr = kit.cx().listener_addr(listener).unwrap().clone();
    // This side closes first, and is left with a connection in TIME_WAIT.
    let mut one = peer(addr.ip().unwrap());
    kit.until("it is open", |log| log.count("open") == 1);
    let conn = kit.log().ids[0];
    kit.cx().close(conn);
    kit.until_all_closed();
    assert_eq!(one.read(&mut [0; 8]).unwrap(), 0);
    drop(one);
    assert!(kit.cx().unlisten(listener));
    let again = kit.reactor.listen(addr).unwrap();
    assert_ne!(again, listener);
    assert!(!kit.cx().unlisten(listener));
    kit.end();
}

#[test]
fn an_ipv4_peer_of_a_listener_for_both_families_has_its_ipv4_address() {
    let mut seen = Vec::new();
    let mut kit = Kit::new(|cx, event| {
        match &event {
            EventKind::Accept { peer, .. } => seen.push(peer.to_string()),
            EventKind::Open { conn, .. } => {
                seen.push(cx.peer_addr(*conn).unwrap().to_string());
                seen.push(cx.local_addr(*conn).unwrap().to_string());
            }
            _ => {}
        }
        default(cx, event);
    });
    let Ok(listener) = kit.reactor.listen(Listen::new("[::]:0").only_v6(false)) else {
        return; // no IPv6 here
    };
    let local = kit.cx().listener_addr(listener).unwrap().clone();
    assert!(local.to_string().starts_with("[::]:"), "{local}");
    let here = SocketAddr::from(([127, 0, 0, 1], local.ip().unwrap().port()));
    let peer = peer(here);
    kit.until("it is open", |log| log.count("open") == 1);
    let there = peer.local_addr().unwrap().to_string();
    kit.end();
    assert_eq!(seen, [there.clone(), there, here.to_string()]);
}
