//! R: reading. Pauses and urgent data are in `reading_paused.rs`.

use crate::kit::places::{in_own_process, is_own_process, until_acked};
use crate::kit::{Kit, PATIENCE, default, peer, read_n, reset, write};
use bytes::Buf;
use sockeye::{ConnId, Context, EventKind, Handler, Input, Listen, Reactor, Reason, Sent};
use std::cell::{Cell, RefCell};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

// R3
#[test]
fn a_reset_that_a_write_meets_first_is_a_reset_and_hides_no_input() {
    let mut kit = Kit::new(default);
    let (mut peer, conn) = kit.accept();
    kit.cx().pause_reads(conn);
    write(&mut peer, "last words");
    until_acked(&peer);
    reset(peer);
    // Reads are paused, so that a write is what meets the reset, and consumes its error.
    kit.cx().send(conn, "too late");
    kit.until_cx("the write fails", |_, cx| {
        cx.send(conn, "too late") == Sent::Gone
    });
    assert_eq!(kit.log().life(conn).callbacks, ["open"]);
    kit.cx().resume_reads(conn);
    kit.until_all_closed();
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["open", "data", "close"]);
    assert_eq!(life.received, b"last words");
    assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
    kit.end();
}

// R3, R7
#[test]
fn a_reset_after_the_peers_own_end_is_told_to_a_handler_that_only_waits() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Eof { .. } => {}
        other => default(cx, other),
    });
    let addr = kit.listen();
    let later = peer(addr);
    later.shutdown(Shutdown::Write).unwrap();
    kit.until("the end comes", |log| log.count("eof") == 1);
    reset(later);
    kit.until_all_closed();
    // The same when both are there before the loop looks.
    let at_once = peer(addr);
    at_once.shutdown(Shutdown::Write).unwrap();
    until_acked(&at_once);
    reset(at_once);
    kit.until("the other closes too", |log| log.closed() == 2);
    for conn in &kit.log().ids {
        let life = kit.log().life(*conn);
        assert_eq!(life.callbacks, ["open", "eof", "close"]);
        assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
    }
    kit.end();
}

// R3
#[cfg(unix)]
#[test]
fn a_unix_peer_that_leaves_with_unread_input_is_a_reset_too() {
    use crate::kit::{other_place, peer_at};

    let mut kit = Kit::new(|cx, event| {
        if let EventKind::Open { conn, .. } = event {
            cx.send(conn, "a greeting that nobody reads");
        }
        default(cx, event);
    });
    let addr = kit.listen_on(other_place());
    let mut peer = peer_at(&addr);
    kit.until_cx("the greeting is out", |log, cx| {
        log.ids.len() == 1 && cx.pending(log.ids[0]) == 0
    });
    write(&mut peer, "last words");
    drop(peer);
    kit.until_all_closed();
    let life = kit.log().life(kit.log().ids[0]);
    assert_eq!(life.callbacks, ["open", "data", "close"]);
    assert_eq!(life.received, b"last words");
    assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
    kit.end();
}

/// Lines, each complete in one piece, and how often the input was moved in memory.
#[derive(Default)]
struct Lines {
    lines: Vec<Vec<u8>>,
    place: usize,
    moves: usize,
}

impl Lines {
    fn take_from(&mut self, input: &mut Input) {
        let place = input.as_ptr() as usize;
        self.moves += usize::from(std::mem::replace(&mut self.place, place) != place);
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            self.lines.push(input.take(end).to_vec());
            input.advance(1);
        }
    }
}

// R8
#[test]
fn one_byte_at_a_time_gives_the_same_frames_and_copies_none_of_it_again() {
    let seen: Rc<RefCell<Lines>> = Rc::default();
    let lines = seen.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { input, .. } => lines.borrow_mut().take_from(input),
        other => default(cx, other),
    });
    let addr = kit.listen();
    let mut peer = peer(addr);
    let mut bytes_in = 0;
    let mut until_read = |kit: &mut Kit<_>, count: u64| {
        bytes_in += count;
        kit.until_cx("they are read", |_, cx| cx.stats().bytes_in == bytes_in);
    };
    for byte in b"one\n\ntwo three\nfour" {
        write(&mut peer, [*byte]);
        until_read(&mut kit, 1);
    }
    assert_eq!(seen.borrow().lines, [&b"one"[..], b"", b"two three"]);
    // A long line that comes slowly: what is there stays where it is.
    write(&mut peer, vec![b'x'; 16 * 1024]);
    until_read(&mut kit, 16 * 1024);
    seen.borrow_mut().moves = 0;
    for _ in 0..400 {
        write(&mut peer, "y");
        until_read(&mut kit, 1);
    }
    let moves = seen.borrow().moves;
    assert!(moves <= 4, "{moves} moves in 400 reads");
    write(&mut peer, "\n");
    until_read(&mut kit, 1);
    assert_eq!(seen.borrow().lines[3].len(), 4 + 16 * 1024 + 400);
    drop(peer);
    kit.until_all_closed();
    kit.end();
}

// R8
#[test]
fn what_is_left_is_offered_again_with_new_bytes_and_at_the_end_and_never_otherwise() {
    let offered: Rc<RefCell<Vec<String>>> = Rc::default();
    let seen = offered.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { input, .. } => {
            seen.borrow_mut()
                .push(String::from_utf8(input.to_vec()).unwrap());
            let taken = usize::from(!input.is_ended());
            input.take(taken);
        }
        EventKind::Eof { conn, input } => {
            assert!(input.is_ended());
            let text = String::from_utf8(input.to_vec()).unwrap();
            seen.borrow_mut().push(format!("{text}."));
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = kit.listen();
    let mut peer = peer(addr);
    write(&mut peer, "abc");
    kit.until_cx("three are read", |_, cx| cx.stats().bytes_in == 3);
    // Readiness to write, timers and other turns are no reason to offer it again.
    kit.cx().set_timer(Duration::from_millis(10), 0);
    kit.until("the timer fires", |log| log.timers.len() == 1);
    let conn = kit.log().ids[0];
    kit.cx().send(conn, "!");
    assert_eq!(read_n(&mut spawn_turns(&mut kit, &peer), 1), b"!");
    write(&mut peer, "d");
    kit.until_cx("the fourth is read", |_, cx| cx.stats().bytes_in == 4);
    drop(peer);
    kit.until_all_closed();
    assert_eq!(*offered.borrow(), ["abc", "bcd", "cd", "cd."]);
    kit.end();
}

/// The peer's end, after the reactor has had a turn to write to it.
fn spawn_turns(
    kit: &mut Kit<impl FnMut(&mut Context, EventKind<'_>)>,
    peer: &TcpStream,
) -> TcpStream {
    kit.until_cx("it is written", |log, cx| cx.pending(log.ids[0]) == 0);
    peer.try_clone().unwrap()
}

// R11
#[test]
fn nine_thousand_partial_frames_do_not_hold_a_receive_buffer_each() {
    in_own_process("reading::nine_thousand_partial_frames");
}

/// Leaves everything where it is.
#[derive(Default, Debug)]
struct Partial {
    open: usize,
    data: usize,
    closed: usize,
}

impl Handler for Partial {
    fn on_open(&mut self, _: &mut Context, _: ConnId, _: sockeye::Origin) {
        self.open += 1;
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        assert_eq!(input.len(), 1);
        self.data += 1;
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, _: sockeye::Closed) {
        self.closed += 1;
    }
}

#[track_caller]
fn turn_until(reactor: &mut Reactor, app: &mut Partial, condition: impl Fn(&Partial) -> bool) {
    let start = Instant::now();
    while !condition(app) {
        assert!(start.elapsed() < PATIENCE, "never: {app:?}");
        reactor.turn(app, Some(Duration::from_millis(5))).unwrap();
    }
}

/// Memory in use. Only Linux says it like that.
fn resident_bytes() -> usize {
    if cfg!(not(target_os = "linux")) {
        return 1;
    }
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
#[ignore = "runs in a process of its own, whose descriptors and memory it counts"]
fn nine_thousand_partial_frames() {
    // Windows is shown with fewer: beyond some hundreds it is another system that is tested.
    const COUNT: usize = if cfg!(windows) { 500 } else { 9000 };
    const BATCH: usize = COUNT / 18 + 1;
    if !is_own_process() {
        return;
    }
    let (mut reactor, mut app) = (Reactor::new().unwrap(), Partial::default());
    let listener = reactor.listen(Listen::new("127.0.0.1:0")).unwrap();
    let addr = reactor.context().listener_addr(listener).unwrap().clone();
    let addr = addr.ip().unwrap();
    let mut peers = Vec::with_capacity(COUNT);
    let mut before = 0;
    while peers.len() < COUNT {
        let more = BATCH.min(COUNT - peers.len());
        peers.extend((0..more).map(|_| TcpStream::connect(addr).unwrap()));
        turn_until(&mut reactor, &mut app, |app| app.open == peers.len());
        for peer in &mut peers[app.data..] {
            write(peer, "x");
        }
        turn_until(&mut reactor, &mut app, |app| app.data == peers.len());
        // The loop's own buffer, its tables and so on do not count.
        before = if before == 0 {
            resident_bytes()
        } else {
            before
        };
    }
    let each = resident_bytes().saturating_sub(before) / (COUNT - BATCH);
    assert!(each < 1024, "{each} bytes for each partial frame");
    let (start, mut turns) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(200) {
        let left = Duration::from_millis(200).saturating_sub(start.elapsed());
        reactor.turn(&mut app, Some(left)).unwrap();
        turns += 1;
    }
    assert!(turns <= 20, "a spin: {turns} turns");
    assert_eq!((app.open, app.data, app.closed), (COUNT, COUNT, 0));
    peers.into_iter().for_each(reset);
    turn_until(&mut reactor, &mut app, |app| app.closed == COUNT);
    assert_eq!(reactor.context().connections().count(), 0);
}

// R8
#[test]
fn input_above_its_limit_ends_the_connection_with_one_clear_reason() {
    let mut limits = sockeye::Limits::default();
    limits.input_limit = 1000;
    let exactly = Rc::new(Cell::new(0));
    let most = exactly.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { input, .. } => most.set(input.len()),
        other => default(cx, other),
    });
    let listen = Listen::new("127.0.0.1:0").limits(limits);
    let addr = kit.listen_on(listen).ip().unwrap();
    let mut peer = peer(addr);
    write(&mut peer, vec![0; 1000]);
    kit.until_cx("it is at the limit", |_, _| exactly.get() == 1000);
    kit.turn_for(Duration::from_millis(20));
    assert_eq!(kit.log().closed(), 0, "the limit itself is allowed");
    write(&mut peer, [0]);
    kit.until_all_closed();
    let life = kit.log().life(kit.log().ids[0]);
    assert!(matches!(life.reason(), Reason::InputLimit), "{life:?}");
    kit.end();
}
