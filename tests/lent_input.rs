//! A handler that puts another input in the place of the loop's, after it has sent a part of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use kit::{Kit, peer, spawn, write};
use sockeye::{EventKind, Input, Reason};
use std::io::Read;

// W3: bytes that are gone are counted, and the peer does not take a part for the whole.
#[test]
fn what_was_lent_from_an_input_that_is_gone_is_counted_as_lost() {
    for other in [&b""[..], b"other bytes, which nobody has sent"] {
        let mut kept = Vec::new();
        let mut kit = Kit::new(move |cx, event| match event {
            EventKind::Data { conn, input } => {
                cx.send(conn, input.take(4));
                kept.push(std::mem::replace(input, Input::from(other.to_vec())));
            }
            other => kit::default(cx, other),
        });
        let addr = kit.listen();
        let talk = spawn(move || {
            let mut peer = peer(addr);
            write(&mut peer, "ping, and more");
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
