//! What a peer claims costs no memory, on both edges: R9.

use crate::kit::edge::{On, on_both_edges};
use crate::kit::frames::Scene;
use allocation_counter::measure;
use sockeye::codec::{CodecError, LengthPrefixed};

on_both_edges! {
    a_length_above_the_limit_is_one_clear_error_and_takes_no_memory,
    a_length_below_the_limit_takes_no_memory_before_its_bytes_come,
}

// R9
fn a_length_above_the_limit_is_one_clear_error_and_takes_no_memory(on: On) {
    for length in [1_000, 1_001, 1 << 24, u32::MAX] {
        let mut scene = Scene::new(on, LengthPrefixed::u32(1_000), |_, _, _| {});
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send(length.to_be_bytes());
        peer.send([7; 1_000]);
        if length == 1_000 {
            scene.until_frames(1);
            assert!(scene.frames.borrow()[0].1 == [7; 1_000]);
            scene.edge.end();
            continue;
        }
        let used = measure(|| {
            scene.edge.until_open(1);
            scene.edge.until_all_closed();
        });
        assert!(used.bytes_max < 1 << 20, "{used:?}");
        assert_eq!((scene.texts().len(), *scene.errors.borrow()), (0, 1));
        match scene.error() {
            CodecError::TooLong {
                limit: 1_000,
                claimed: Some(claimed),
                ..
            } => assert_eq!(*claimed, length.into()),
            other => panic!("{other}"),
        }
        scene
            .edge
            .until("the last word comes", |_| peer.received() == b"goodbye");
        scene.edge.end();
    }
}

// R9
fn a_length_below_the_limit_takes_no_memory_before_its_bytes_come(on: On) {
    let mut scene = Scene::new(on, LengthPrefixed::u64(usize::MAX), |_, _, _| {});
    let addr = scene.edge.listen();
    let peer = scene.edge.peer(&addr);
    peer.send([0; 8]); // an empty frame
    peer.send((usize::MAX as u64 / 2).to_be_bytes());
    peer.send("a little");
    let edge = &mut scene.edge;
    let used = measure(|| {
        edge.until("it is read", |edge| {
            peer.unsent() == 0 && {
                let log = edge.log();
                log.lives.iter().any(|(_, life)| life.received.len() >= 24)
            }
        });
    });
    assert!(used.bytes_max < 1 << 20, "{used:?}");
    assert_eq!(
        (scene.texts(), *scene.errors.borrow()),
        (vec![String::new()], 0)
    );
    scene.edge.end();
}
