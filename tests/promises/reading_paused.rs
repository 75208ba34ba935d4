//! R: pauses, and what else may hold a stream up.

use crate::kit::places::until_acked;
use crate::kit::{Kit, default, other_place, peer, peer_at, reset, write};
use socket2::SockRef;
use sockeye::{ConnId, Context, EventKind};
use std::cell::RefCell;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

/// Long enough for a wrong callback to come.
const A_WHILE: Duration = Duration::from_millis(50);

#[track_caller]
fn nothing_happens(kit: &mut Kit<impl FnMut(&mut Context, EventKind<'_>)>, conn: ConnId) {
    let before = kit.log().life(conn).callbacks.clone();
    let turns = kit.turn_for(A_WHILE);
    assert!(turns <= 20, "a spin: {turns} turns");
    assert_eq!(kit.log().life(conn).callbacks, before);
}

// R6
#[test]
fn a_pause_of_another_connection_holds_for_the_batch_that_names_it() {
    let ids: Rc<RefCell<Vec<ConnId>>> = Rc::default();
    let known = ids.clone();
    let mut kit = Kit::new(move |cx, event| {
        if let EventKind::Data { conn, .. } = event {
            for other in known.borrow().iter().filter(|other| **other != conn) {
                cx.pause_reads(*other);
            }
        }
        default(cx, event);
    });
    let addr = kit.listen();
    let mut peers = [peer(addr), peer(addr), peer(addr)];
    kit.until("all are open", |log| log.ids.len() == 3);
    ids.borrow_mut().clone_from(&kit.log().ids);
    for peer in &mut peers {
        write(peer, "hello");
        until_acked(peer);
    }
    kit.turn();
    kit.turn_for(A_WHILE);
    assert_eq!(kit.log().count("data"), 1, "those paused heard it");
    ids.borrow_mut().clear();
    for conn in kit.log().ids.clone() {
        kit.cx().resume_reads(conn);
    }
    kit.until("all hear it", |log| log.count("data") == 3);
    drop(peers);
    kit.until_all_closed();
    kit.end();
}

// R6
#[test]
fn a_pause_in_on_open_holds() {
    let mut kit = Kit::new(|cx, event| {
        if let EventKind::Open { conn, .. } = event {
            cx.pause_reads(conn);
        }
        default(cx, event);
    });
    let addr = kit.listen();
    let other = kit.listen_on(other_place());
    // They have spoken and left before they are accepted.
    write(&mut peer(addr), "hello");
    write(&mut peer_at(&other), "hello");
    kit.until("both are open", |log| log.ids.len() == 2);
    for conn in kit.log().ids.clone() {
        nothing_happens(&mut kit, conn);
        kit.cx().resume_reads(conn);
        kit.until_closed(conn);
        let life = kit.log().life(conn);
        assert_eq!(life.callbacks, ["open", "data", "eof", "close"]);
    }
    kit.end();
}

// R7
#[test]
fn a_paused_connection_can_be_closed_and_aborted_after_its_peer_left() {
    let mut kit = Kit::new(default);
    let addr = kit.listen();
    let peers = [peer(addr), peer(addr), peer(addr), peer(addr)];
    kit.until("all are open", |log| log.ids.len() == 4);
    let ids = kit.log().ids.clone();
    for conn in &ids {
        kit.cx().pause_reads(*conn);
    }
    let [closes, resets, also_closes, also_resets] = peers;
    drop((closes, also_closes));
    reset(resets);
    reset(also_resets);
    nothing_happens(&mut kit, ids[0]);
    kit.cx().close(ids[0]);
    kit.cx().close(ids[1]);
    kit.cx().abort(ids[2]);
    kit.cx().abort(ids[3]);
    kit.until_all_closed();
    for conn in ids {
        assert_eq!(kit.log().life(conn).callbacks, ["open", "close"]);
    }
    kit.end();
}

// R12
#[test]
fn urgent_data_neither_stalls_nor_corrupts_the_stream() {
    let mut kit = Kit::new(default);
    let addr = kit.listen();
    let mut peer = peer(addr);
    let mut expected = Vec::new();
    for round in 0..20_u8 {
        // A read stops at the urgent mark; nothing else tells of what comes after it.
        write(&mut peer, [b'a', round]);
        SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        write(&mut peer, [b'b', round]);
        expected.extend([b'a', round, b'b', round]);
        // An urgent byte that is not read before the next one becomes an ordinary one.
        kit.until("all of it comes", |log| {
            log.ids
                .first()
                .is_some_and(|id| log.life(*id).received == expected)
        });
    }
    // The last word may be urgent, and then the end comes.
    SockRef::from(&peer).send_out_of_band(b"!").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    kit.until_all_closed();
    let life = kit.log().life(kit.log().ids[0]);
    assert_eq!(life.received, expected);
    assert_eq!(life.count("eof"), 1);
    kit.end();
}

// R12
#[test]
fn urgent_data_alone_does_not_spin_and_what_follows_arrives() {
    let mut kit = Kit::new(default);
    let (mut peer, conn) = kit.accept();
    SockRef::from(&peer).send_out_of_band(b"!").unwrap();
    nothing_happens(&mut kit, conn);
    kit.cx().pause_reads(conn);
    SockRef::from(&peer).send_out_of_band(b"?").unwrap();
    write(&mut peer, "after");
    nothing_happens(&mut kit, conn);
    kit.cx().resume_reads(conn);
    // The first urgent byte became an ordinary one when the second came (tcp(7)).
    kit.until("it comes", |log| {
        log.life(conn).received.ends_with(b"after")
    });
    drop(peer);
    kit.until_all_closed();
    kit.end();
}

// R12
#[cfg(unix)]
#[test]
fn a_hang_up_alone_makes_progress() {
    use sockeye::Interest;
    use std::cell::Cell;
    use std::os::fd::AsFd;

    // Only a pipe hangs up with neither readable nor writable beside it.
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let hung_up = Rc::new(Cell::new(false));
    let seen = hung_up.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Ready { readiness, .. } => seen.set(readiness.is_hang_up()),
        other => default(cx, other),
    });
    let watch = kit
        .cx()
        .watch(reader.as_fd(), Interest::Readable, 0)
        .unwrap();
    drop(writer);
    kit.until_cx("it hangs up", |_, _| hung_up.get());
    let turns = kit.turn_for(A_WHILE);
    assert!(turns <= 20, "a spin: {turns} turns");
    kit.cx().unwatch(watch);
    kit.end();
}

// R4, R12
#[cfg(unix)]
#[test]
fn passed_descriptors_do_not_stall_a_unix_stream() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::{IoSlice, Read};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    let mut kit = Kit::new(default);
    let addr = kit.listen_on(other_place());
    let peer = peer_at(&addr);
    kit.until("it is open", |log| log.ids.len() == 1);
    let (mut witness, passed) = UnixStream::pair().unwrap();
    // A read stops where descriptors were passed.
    for text in ["one ", "two ", "three "] {
        write(&mut &peer, text);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [passed.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let with = [IoSlice::new(b"with ")];
        sendmsg(&peer, &with, &mut ancillary, SendFlags::empty()).unwrap();
    }
    write(&mut &peer, "end");
    let conn = kit.log().ids[0];
    let expected = b"one with two with three with end";
    kit.until("all of it comes", |log| log.life(conn).received == expected);
    // Nobody keeps the descriptors: with our own gone, the other end sees its end.
    drop(passed);
    witness
        .set_read_timeout(Some(crate::kit::PATIENCE))
        .unwrap();
    assert_eq!(witness.read(&mut [0; 8]).unwrap(), 0);
    drop(peer);
    kit.until_all_closed();
    kit.end();
}
