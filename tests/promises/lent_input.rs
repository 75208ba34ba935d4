//! Input that is lent, and other input that only looks like it; and input that is edited in place.

use crate::kit;
use crate::kit::{Kit, peer, read_n, spawn, write};
use sockeye::bytes::Bytes;
use sockeye::{Config, ConnId, Context, EventKind, Handler, Input, InputBuffer, Reactor};
use std::cell::RefCell;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

/// Turns until the peer has read this.
#[track_caller]
fn answers<F>(kit: &mut Kit<F>, peer: &TcpStream, expected: &[u8])
where
    F: FnMut(&mut Context, EventKind<'_>),
{
    let (mut peer, count) = (peer.try_clone().unwrap(), expected.len());
    let answer = kit.until_done(spawn(move || read_n(&mut peer, count)));
    assert!(answer == expected, "{}", String::from_utf8_lossy(&answer));
}

// W3: a callback may have an input of its own. Its bytes are not where the loop's are.
#[test]
fn what_is_sent_from_an_input_of_the_handlers_own_is_copied() {
    for own in [&b"mine"[..], &[b'm'; 100_000]] {
        let mut kit = Kit::new(move |cx, event| match event {
            EventKind::Data { conn, input } => {
                let mut buffer = InputBuffer::from(own.to_vec());
                buffer.append(b" again");
                cx.send(conn, buffer.take_all());
                input.take_all();
            }
            other => kit::default(cx, other),
        });
        let (mut peer, _) = kit.accept();
        write(&mut peer, "what the loop has read");
        let expected = [own, b" again"].concat();
        answers(&mut kit, &peer, &expected);
        drop(peer);
        kit.until_all_closed();
        kit.end();
    }
}

/// Passes what comes to it on to a connection of another reactor.
struct Pass<'a>(&'a mut Context, ConnId);

impl Handler for Pass<'_> {
    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        self.0.send(self.1, input.take_all());
    }
}

// W3: in a callback another reactor may turn, whose input is that of another loop.
#[test]
fn what_is_sent_from_the_input_of_another_reactor_is_copied() {
    let mut other: Reactor = Reactor::new().unwrap();
    let listener = other.listen("127.0.0.1:0").unwrap();
    let addr = other.context().listener_addr(listener).unwrap();
    let mut source = peer(addr.ip().unwrap());
    write(&mut source, "from elsewhere");
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            // Nothing of this may go out: it is longer, and lies where the other's bytes do.
            assert!(input.len() > 20);
            while cx.pending(conn) == 0 {
                let mut pass = Pass(cx, conn);
                other.turn(&mut pass, Some(Duration::from_secs(1))).unwrap();
            }
            input.take_all();
        }
        other => kit::default(cx, other),
    });
    let (mut peer, _) = kit.accept();
    write(&mut peer, "what nobody may see, at any time");
    answers(&mut kit, &peer, b"from elsewhere");
    drop(peer);
    kit.until_all_closed();
    kit.end();
}

// W3: what is edited in place is lent all the same.
#[test]
fn input_can_be_edited_where_it_lies() {
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { conn, input } if !input.is_ended() => {
            // One byte is left, and it is edited once more when it is offered again.
            input.iter_mut().for_each(|byte| *byte += 1);
            let mut chunk = input.take(input.len() - 1);
            chunk[0].make_ascii_uppercase();
            cx.send(conn, chunk);
        }
        other => kit::default(cx, other),
    });
    let (mut peer, id) = kit.accept();
    write(&mut peer, "hal");
    answers(&mut kit, &peer, b"Ib");
    kit.until("it is taken", |log| log.life(id).count("data") == 1);
    write(&mut peer, "mn");
    answers(&mut kit, &peer, b"Nn");
    drop(peer);
    kit.until_all_closed();
    kit.end();
}

// W3: whoever has kept bytes keeps them as they were, and what was lent before goes out.
#[test]
fn what_was_kept_does_not_change_when_the_rest_is_edited() {
    const KEPT: usize = 50_000;
    let kept: Rc<RefCell<Vec<Bytes>>> = Rc::default();
    let keep = kept.clone();
    let mut config = Config::default();
    config.limits.input_limit = 1 << 20;
    let mut kit = Kit::with_config(config, move |cx, event| match event {
        EventKind::Data { conn, input } if input.len() >= KEPT + 20 => {
            cx.send(conn, input.take(10));
            let at = input.as_ptr();
            let bytes = Bytes::from(input.take(KEPT));
            assert_eq!(bytes.as_ptr(), at, "it is shared");
            keep.borrow_mut().push(bytes);
            input.fill(b'.');
            let mut chunk = input.take_all();
            chunk.truncate(10);
            chunk[0] = b'!';
            cx.send(conn, chunk);
        }
        EventKind::Data { .. } => {}
        other => kit::default(cx, other),
    });
    let (mut peer, _) = kit.accept();
    for _ in 0..3 {
        let bytes = [&[b'a'; 10][..], &[b'k'; KEPT], &[b'z'; 10]].concat();
        write(&mut peer, bytes);
        answers(&mut kit, &peer, b"aaaaaaaaaa!.........");
    }
    let kept = kept.borrow();
    assert!(kept.len() == 3 && kept.iter().all(|bytes| bytes[..] == [b'k'; KEPT]));
    drop(peer);
    kit.until_all_closed();
    kit.end();
}

/// The reactor may go to another thread, with all that its inputs share with it.
#[test]
fn a_reactor_can_be_sent_to_another_thread() {
    fn can_be_sent<T: Send>(_: &T) {}
    let reactor: Reactor = Reactor::new().unwrap();
    can_be_sent(&reactor);
}
