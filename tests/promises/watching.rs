//! Watches: descriptors that are not sockets of the loop.

use crate::kit;
use crate::kit::{Kit, echo};
use rustix::io::ioctl_fionbio;
use sockeye::{Context, EventKind, Interest, Readiness, WatchId};
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let ends = (OwnedFd::from(reader), OwnedFd::from(writer));
    ioctl_fionbio(&ends.0, true).unwrap();
    ioctl_fionbio(&ends.1, true).unwrap();
    ends
}

fn put(fd: &OwnedFd, text: &str) {
    assert_eq!(rustix::io::write(fd, text.as_bytes()).unwrap(), text.len());
}

fn take(fd: &OwnedFd) -> usize {
    rustix::io::read(fd, &mut [0; 100]).unwrap()
}

type Seen = Rc<RefCell<Vec<(WatchId, Readiness)>>>;

/// A kit that notes what `on_ready` says.
fn watching() -> (Kit<impl FnMut(&mut Context, EventKind<'_>)>, Seen) {
    let seen = Seen::default();
    let told = seen.clone();
    let kit = Kit::new(move |cx, event| match event {
        EventKind::Ready {
            watch, readiness, ..
        } => told.borrow_mut().push((watch, readiness)),
        other => echo(cx, other),
    });
    (kit, seen)
}

const MOMENT: Duration = Duration::from_millis(20);

#[test]
fn a_pipe_tells_once_that_it_is_readable_and_asked_again_says_it_again() {
    let (mut kit, seen) = watching();
    let (reader, writer) = pipe();
    let watch = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    kit.turn_for(MOMENT);
    assert!(seen.borrow().is_empty());
    put(&writer, "one");
    kit.until("it is told", |log| log.ready == 1);
    let (id, readiness) = seen.borrow()[0];
    assert_eq!(id, watch);
    assert!(readiness.is_readable() && !readiness.is_writable() && !readiness.is_hang_up());
    // Once: nothing has changed.
    let turns = kit.turn_for(MOMENT);
    assert!(turns <= 3, "a spin: {turns} turns");
    assert_eq!(kit.log().ready, 1);
    for round in 2..5 {
        assert!(kit.cx().rearm(watch, Interest::Readable));
        kit.until("it is told again", |log| log.ready == round);
        kit.turn_for(MOMENT);
        assert_eq!(kit.log().ready, round);
    }
    // Asked again with nothing there, it is silent until there is something.
    assert_eq!(take(&reader), 3);
    assert!(kit.cx().rearm(watch, Interest::Readable));
    kit.turn_for(MOMENT);
    assert_eq!(kit.log().ready, 4);
    put(&writer, "two");
    kit.until("it is told", |log| log.ready == 5);
    kit.end();
}

// mio's poll(2) selector tells of a change only after it was asked again.
#[cfg(not(mio_unsupported_force_poll_poll))]
#[test]
fn every_change_is_told_once() {
    let (mut kit, seen) = watching();
    let (reader, writer) = pipe();
    let watch = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    for round in 1..=10 {
        put(&writer, "more");
        kit.until("it is told", |log| log.ready == round);
        kit.turn();
        assert_eq!(kit.log().ready, round);
        if round % 2 == 0 {
            assert_eq!(take(&reader), 8);
        }
    }
    drop(writer);
    kit.until("the end is told", |log| log.ready == 11);
    assert!(seen.borrow()[10].1.is_hang_up());
    assert!(kit.cx().unwatch(watch));
    kit.end();
}

#[test]
fn the_end_of_a_pipe_is_told_to_both_of_its_ends() {
    let (mut kit, seen) = watching();
    let (reader, writer) = pipe();
    let watch = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    put(&writer, "last words");
    drop(writer);
    kit.until("it is told", |log| log.ready > 0);
    let told = seen.borrow()[0].1;
    assert!(told.is_readable() && told.is_hang_up(), "{told:?}");
    assert_eq!(take(&reader), 10);
    assert_eq!(take(&reader), 0);
    assert!(kit.cx().unwatch(watch));

    seen.borrow_mut().clear();
    let (reader, writer) = pipe();
    let before = kit.log().ready;
    let watch = kit.cx().watch(&writer, Interest::Writable, 0).unwrap();
    kit.until("there is room", |log| log.ready > before);
    assert!(seen.borrow()[0].1.is_writable());
    drop(reader);
    kit.cx().rearm(watch, Interest::Writable);
    kit.until("nobody reads", |log| log.ready > before + 1);
    let told = seen.borrow().last().unwrap().1;
    assert!(told.is_error() || told.is_hang_up(), "{told:?}");
    assert!(kit.cx().unwatch(watch));
    kit.end();
}

#[test]
fn an_unwatched_descriptor_is_silent_and_its_id_stale() {
    let (mut kit, _) = watching();
    let (reader, writer) = pipe();
    let watch = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    assert!(kit.cx().unwatch(watch));
    put(&writer, "hello");
    kit.turn_for(MOMENT);
    assert_eq!(kit.log().ready, 0);
    // The next one has its place, and not its id.
    let other = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    assert_ne!(watch, other);
    assert!(!kit.cx().unwatch(watch) && !kit.cx().rearm(watch, Interest::Readable));
    kit.until("the other one is told", |log| log.ready == 1);
    assert!(kit.cx().unwatch(other));
    kit.end();
    // Readiness that the wait has reported already counts for nothing either.
    let (first, second) = (pipe(), pipe());
    let ids: Rc<RefCell<Vec<WatchId>>> = Rc::default();
    let watches = ids.clone();
    let mut kit = Kit::new(move |cx, event| {
        if let EventKind::Ready { .. } = event {
            for watch in watches.borrow_mut().drain(..) {
                assert!(cx.unwatch(watch));
            }
        }
    });
    for reader in [&first.0, &second.0] {
        let watch = kit.cx().watch(reader, Interest::Readable, 0).unwrap();
        ids.borrow_mut().push(watch);
    }
    put(&first.1, "both are ready");
    put(&second.1, "in one turn");
    kit.until("one is told", |log| log.ready == 1);
    kit.turn_for(MOMENT);
    assert_eq!(kit.log().ready, 1);
    kit.end();
}

#[test]
fn the_callers_descriptor_stays_the_callers_who_may_close_it() {
    let (mut kit, _) = watching();
    let (reader, writer) = pipe();
    let watch = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    drop(reader);
    put(&writer, "somebody reads still");
    kit.until("it is told", |log| log.ready == 1);
    assert!(kit.cx().unwatch(watch));
    let error = rustix::io::write(&writer, b"nobody reads").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    // A reactor that is dropped closes its duplicate too.
    let (reader, writer) = pipe();
    kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    drop(reader);
    kit.end();
    let error = rustix::io::write(&writer, b"nobody reads").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_pair_of_unix_sockets_tells_of_both_directions() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (mut kit, seen) = watching();
    let watch = kit.cx().watch(&ours, Interest::Both, 0).unwrap();
    kit.until("there is room", |log| log.ready == 1);
    assert!(seen.borrow()[0].1.is_writable());
    // Full, then empty again.
    let mut full = 0;
    while let Ok(count) = (&ours).write(&[7; 4096]) {
        full += count;
    }
    kit.cx().rearm(watch, Interest::Both);
    kit.turn_for(MOMENT);
    let before = kit.log().ready;
    let mut bytes = vec![0; full];
    theirs.read_exact(&mut bytes).unwrap();
    kit.until("there is room", |log| log.ready > before);
    assert!(seen.borrow().last().unwrap().1.is_writable());
    kit.cx().rearm(watch, Interest::Both);
    theirs.write_all(b"hello").unwrap();
    let readable = |seen: &Seen| seen.borrow().iter().any(|(_, ready)| ready.is_readable());
    kit.until_cx("it can be read", |_, _| readable(&seen));
    assert_eq!((&ours).read(&mut bytes).unwrap(), 5);
    kit.cx().rearm(watch, Interest::Both);
    drop(theirs);
    let over = |seen: &Seen| seen.borrow().iter().any(|(_, ready)| ready.is_hang_up());
    kit.until_cx("it hangs up", |_, _| over(&seen));
    kit.end();
}

#[test]
fn a_descriptor_may_be_watched_twice() {
    let (mut kit, seen) = watching();
    let (reader, writer) = pipe();
    let one = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    let two = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    put(&writer, "hello");
    kit.until("both are told", |log| log.ready == 2);
    let told: Vec<WatchId> = seen.borrow().iter().map(|(id, _)| *id).collect();
    assert!(told.contains(&one) && told.contains(&two));
    assert!(kit.cx().unwatch(one));
    kit.cx().rearm(two, Interest::Readable);
    kit.until("the other one is told", |log| log.ready == 3);
    assert_eq!(seen.borrow()[2].0, two);
    kit.end();
}

// poll(2) takes plain files, epoll_ctl(2) does not.
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
#[test]
fn a_plain_file_or_a_directory_is_refused_with_an_error_that_says_why() {
    let mut kit = Kit::new(echo);
    let root = env!("CARGO_MANIFEST_DIR");
    for path in [format!("{root}/Cargo.toml"), root.to_owned()] {
        let file = std::fs::File::open(path).unwrap();
        let error = kit.cx().watch(&file, Interest::Readable, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("cannot be polled"), "{error}");
    }
    // What failed has left nothing behind.
    let (reader, writer) = pipe();
    kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    put(&writer, "hello");
    kit.until("it is told", |log| log.ready == 1);
    kit.end();
}

#[test]
fn a_busy_watch_and_a_connection_do_not_starve_each_other() {
    let (reader, writer) = pipe();
    put(&writer, "never read");
    // Asks again each time: it is ready in every turn.
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Ready { watch, .. } => drop(cx.rearm(watch, Interest::Readable)),
        other => echo(cx, other),
    });
    let addr = kit.listen();
    let watch = kit.cx().watch(&reader, Interest::Readable, 0).unwrap();
    let client = kit::spawn(move || {
        let mut peer = kit::peer(addr);
        for _ in 0..20 {
            kit::write(&mut peer, "ping");
            assert_eq!(kit::read_n(&mut peer, 4), b"ping");
        }
    });
    kit.until_done(client);
    assert!(kit.log().ready > 20);
    assert!(kit.cx().unwatch(watch));
    kit.until_all_closed();
    kit.end();
}

#[test]
fn a_watch_has_a_key_and_an_interest_that_rearm_changes() {
    let seen: Rc<RefCell<Vec<(u64, bool)>>> = Rc::default();
    let told = seen.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Ready { key, readiness, .. } => {
            told.borrow_mut().push((key, readiness.is_writable()));
        }
        other => echo(cx, other),
    });
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (reader, _writer) = pipe();
    kit.cx().watch(&reader, Interest::Readable, 7).unwrap();
    let watch = kit.cx().watch(&ours, Interest::Readable, u64::MAX).unwrap();
    kit.turn_for(MOMENT);
    assert!(seen.borrow().is_empty(), "there is nothing to read");
    // It can be written to all the time, which is told only when it is asked for.
    assert!(kit.cx().rearm(watch, Interest::Writable));
    kit.until("there is room", |log| log.ready == 1);
    assert!(kit.cx().rearm(watch, Interest::Readable));
    kit.turn_for(MOMENT);
    assert_eq!(kit.log().ready, 1, "nobody asks for room any more");
    theirs.write_all(b"hello").unwrap();
    kit.until("it can be read", |log| log.ready == 2);
    assert_eq!(*seen.borrow(), [(u64::MAX, true), (u64::MAX, false)]);
    kit.end();
}
