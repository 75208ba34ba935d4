//! R: reading.

mod kit;

use kit::{Kit, echo, peer, read_all, spawn, write};
use std::net::Shutdown;

#[test]
fn what_is_sent_before_the_end_all_comes_before_the_end() {
    let mut kit = Kit::new(echo);
    let addr = kit.listen();
    let answer = spawn(move || {
        let mut peer = peer(addr);
        write(&mut peer, "hello");
        peer.shutdown(Shutdown::Write).unwrap();
        read_all(peer)
    });
    assert_eq!(kit.until_done(answer), b"hello");
    kit.until_all_closed();
    assert_eq!(
        kit.log().life(kit.log().ids[0]).callbacks,
        ["open", "data", "eof", "close"]
    );
    kit.end();
}
