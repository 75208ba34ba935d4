//! A handler that puts another input in the place of the loop's. `&mut` allows it, so it must do no
//! harm.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use kit::{Kit, peer, read_n, spawn, write};
use sockeye::{Config, EventKind, Input, Reason};
use std::cell::RefCell;
use std::io::Read;
use std::mem;
use std::rc::Rc;

/// The input of another reactor, with what its peer has sent.
fn taken_from_a_reactor(receive_buffer: usize) -> Input {
    let mut config = Config::default();
    config.receive_buffer = receive_buffer;
    let taken = Rc::new(RefCell::new(None));
    let give = taken.clone();
    let mut kit = Kit::with_config(config, move |cx, event| match event {
        EventKind::Data { input, .. } => {
            give.replace(Some(mem::replace(input, Input::from(Vec::new()))));
        }
        other => kit::default(cx, other),
    });
    let (mut peer, id) = kit.accept();
    write(&mut peer, "what nobody else may see");
    kit.until("it is taken", |log| log.life(id).count("data") > 0);
    drop(peer);
    kit.until_all_closed();
    kit.end();
    taken.take().unwrap()
}

// W3: bytes that are gone are counted, and the peer does not take a part for the whole.
#[test]
fn what_was_lent_from_an_input_that_is_gone_is_counted_as_lost() {
    let others = [
        Input::from(Vec::new()),
        Input::from(b"other bytes, which nobody has sent".to_vec()),
        taken_from_a_reactor(256 * 1024),
        // What was lent lies behind its end.
        taken_from_a_reactor(1),
    ];
    for other in others {
        let mut other = Some(other);
        let mut kept = Vec::new();
        let mut kit = Kit::new(move |cx, event| match event {
            EventKind::Data { conn, input } => {
                input.take(100);
                cx.send(conn, input.take(4));
                kept.push(mem::replace(input, other.take().unwrap()));
            }
            other => kit::default(cx, other),
        });
        let addr = kit.listen();
        let talk = spawn(move || {
            let mut peer = peer(addr);
            write(&mut peer, "-".repeat(100) + "ping, and more");
            assert!(peer.read(&mut [0; 100]).is_err());
        });
        kit.until_done(talk);
        kit.until_all_closed();
        let closed = kit.log().life(kit.log().ids[0]).closed.as_ref().unwrap();
        assert!(matches!(closed.reason, Reason::Aborted), "{closed}");
        assert_eq!(closed.undelivered, 4);
        kit.end();
    }
}

#[test]
fn what_one_peer_has_sent_never_goes_to_another() {
    let mut kept = None;
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { conn, input } => match &mut kept {
            None => kept = Some(mem::replace(input, Input::from(Vec::new()))),
            Some(kept) => {
                cx.send(conn, input.take(6));
                mem::swap(input, kept);
            }
        },
        other => kit::default(cx, other),
    });
    let ((mut one, first), (mut two, second)) = (kit.accept(), kit.accept());
    write(&mut one, "what nobody else may see");
    kit.until("the first has spoken", |log| {
        log.life(first).count("data") > 0
    });
    write(&mut two, "answer this");
    kit.until("the second is gone", |log| log.is_closed(second));
    assert!(two.read(&mut [0; 100]).is_err());
    drop(one);
    kit.until_all_closed();
    kit.end();
}

#[test]
fn a_handler_may_send_from_the_input_that_it_has_put_there() {
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            *input = Input::from(input.to_ascii_uppercase());
            cx.send(conn, input.take(3));
        }
        other => kit::default(cx, other),
    });
    let (mut peer, id) = kit.accept();
    for round in 1..=3 {
        // What is left of the one is offered again, with what has come since.
        write(&mut peer, "wave");
        kit.until("it is heard", |log| log.life(id).count("data") == round);
    }
    assert_eq!(read_n(&mut peer, 9), b"WAVEWAVEW");
    drop(peer);
    kit.until_all_closed();
    kit.end();
}

#[test]
fn the_loop_reads_on_in_pieces_of_the_size_that_it_was_told() {
    let mut config = Config::default();
    config.receive_buffer = 64;
    let sizes = Rc::new(RefCell::new(Vec::new()));
    let note = sizes.clone();
    let mut kit = Kit::with_config(config, move |cx, event| match event {
        EventKind::Data { input, .. } => {
            note.borrow_mut().push(input.take_all().len());
            *input = Input::from(Vec::new());
        }
        EventKind::Eof { conn, input } => {
            *input = Input::from(Vec::new());
            cx.close(conn);
        }
        other => kit::default(cx, other),
    });
    for _ in 0..2 {
        let (mut peer, id) = kit.accept();
        sizes.borrow_mut().clear();
        write(&mut peer, [0; 1000]);
        // The second one comes after an end whose input was replaced as well.
        drop(peer);
        kit.until("it is over", |log| log.is_closed(id));
        assert_eq!(sizes.borrow().iter().sum::<usize>(), 1000);
        assert!(sizes.borrow().iter().all(|size| *size <= 64), "{sizes:?}");
    }
    kit.end();
}
