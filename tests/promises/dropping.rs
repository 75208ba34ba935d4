//! X9: a reactor that is dropped with everything alive. In a file of its own: it counts the
//! descriptors of the process.

use crate::kit;
use crate::kit::places::go_on_alone;
use crate::kit::{Kit, any_peer, default, peer, unix_path};
use sockeye::{ConnId, Context, Handler, Input, Interest, Listen, Reactor, SendError};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// It must not be called.
struct Silent;

impl Handler<Arc<()>> for Silent {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {
        unreachable!();
    }

    fn on_event(&mut self, cx: &mut Context, event: sockeye::Event<'_>) {
        if let sockeye::EventKind::Open { conn, .. } = event.kind {
            cx.send(conn, vec![0; 8 << 20]);
            cx.set_deadline(conn, 0, Duration::from_secs(900));
        } else {
            assert!(matches!(event.kind, sockeye::EventKind::Accept { .. }));
        }
    }
}

// X9
#[test]
fn a_dropped_reactor_closes_its_descriptors_and_drops_its_messages_without_a_callback() {
    go_on_alone!(); // it counts descriptors
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = kit::descriptors();
    let message = Arc::new(());
    let mut reactor = Reactor::<Arc<()>>::with_messages().unwrap();
    let path = unix_path();
    let mut peers = Vec::new();
    for listen in [Listen::new("127.0.0.1:0"), Listen::new(&path)] {
        let listener = reactor.listen(listen).unwrap();
        let addr = reactor.context().listener_addr(listener).unwrap().clone();
        // Both are in mid-write when the end comes.
        peers.push(any_peer(&addr));
        while reactor.context().connections().count() < peers.len() {
            reactor
                .turn(&mut Silent, Some(Duration::from_millis(5)))
                .unwrap();
        }
    }
    let sender = reactor.sender();
    for _ in 0..10 {
        sender.send(message.clone()).unwrap();
    }
    let cx = reactor.context();
    cx.connect(silent.local_addr().unwrap());
    cx.connect("no address at all");
    cx.set_timer(Duration::ZERO, 0);
    cx.watch(&silent, Interest::Readable, 0).unwrap();
    let first = cx.connections().next().unwrap();
    assert!(cx.close(first));
    assert!(kit::descriptors() > before + 8);
    drop(reactor);
    let refused = sender.send(message.clone());
    assert!(matches!(refused, Err(SendError::Closed(_))));
    drop(refused);
    assert_eq!(Arc::strong_count(&message), 1);
    assert!(!path.exists());
    for mut peer in peers.drain(..) {
        // It hears of the end, as FIN or RST.
        let _ = std::io::copy(&mut peer, &mut std::io::sink());
    }
    // The sender lives, and keeps nothing of the reactor open.
    assert_eq!(kit::descriptors(), before);
    drop(sender);
    after_a_drop_in_mid_session(before);
}

/// The same with the kit, whose handler may be dropped before or after the reactor.
fn after_a_drop_in_mid_session(before: usize) {
    let mut kit = Kit::new(default);
    let addr = kit.listen();
    let peer = peer(addr);
    kit.until("it is open", |log| log.count("open") == 1);
    let (reactor, app) = (kit.reactor, kit.app);
    drop(reactor);
    assert_eq!(app.log.life(app.log.ids[0]).callbacks, ["open"]);
    drop(peer);
    assert_eq!(kit::descriptors(), before);
}
