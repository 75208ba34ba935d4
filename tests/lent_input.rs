//! A handler that keeps the loop's input for itself, after it has sent a part of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use kit::{Kit, peer, read_n, spawn, write};
use sockeye::{EventKind, Input};
use std::time::Duration;

// W3
#[test]
#[ignore = "found, and not mended: what was lent is lost with the input"]
fn what_is_lent_goes_out_also_when_the_handler_keeps_the_input_for_itself() {
    let mut kept: Vec<Input> = Vec::new();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            cx.send(conn, input.take(4));
            kept.push(std::mem::replace(
                input,
                Input::from(b"EVIL, EVIL".to_vec()),
            ));
            input.take_all();
        }
        other => kit::default(cx, other),
    });
    let addr = kit.listen();
    let talk = spawn(move || {
        let mut peer = peer(addr);
        peer.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        write(&mut peer, "ping, and more");
        let first = read_n(&mut peer, 4);
        assert_eq!(first, b"ping");
    });
    kit.until_done(talk);
    kit.until_all_closed();
    kit.end();
}
