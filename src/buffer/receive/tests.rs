use super::*;

const KEY: Key = Key {
    slot: 1,
    generation: 1,
};

/// One that has read so many bytes, of which so many were taken.
fn having(read: usize, taken: usize) -> Receive {
    let mut receive = Receive::new(32 * 1024, Hidden::default());
    receive.buffer()[..read].fill(7);
    receive.filled(read);
    receive.offer(None).take(taken);
    receive
}

fn place(receive: &Receive) -> (usize, usize) {
    let store = receive.input.store();
    (
        store.start + 32 * 1024 - receive.base,
        store.end - receive.base,
    )
}

#[test]
fn what_is_left_stays_while_that_is_cheap_and_moves_if_that_makes_room() {
    let stays = |read: usize, taken: usize| (32 * 1024 + taken, read);
    let moves = |left: usize| (32 * 1024 - left, 0);
    for (read, taken, there) in [
        (100, 60, Some(stays(100, 60))),
        (8_192, 8_000, Some(stays(8_192, 8_000))),
        (8_193, 8_000, Some(moves(193))),
        (10_000, 9_000, Some(moves(1_000))),
        (10_000, 3_000, Some(stays(10_000, 3_000))),
        (16_384, 10_000, Some(moves(6_384))),
        (16_384, 8_192, Some(moves(8_192))),
        (16_384, 8_191, Some(stays(16_384, 8_191))),
        (16_385, 8_192, None),
        (20_768, 1_000, None),
        (32_768, 30_000, Some(moves(2_768))),
    ] {
        let mut receive = having(read, taken);
        receive.keep_for(KEY);
        assert_eq!(receive.owner(), Some(KEY));
        let left = receive.make_way(true);
        assert_eq!(
            left.map(|left| left.len()),
            there.is_none().then_some(read - taken)
        );
        assert_eq!(
            place(&receive),
            there.unwrap_or((32 * 1024, 0)),
            "{read}, {taken}"
        );
    }
}

#[test]
fn a_read_goes_to_the_start_of_a_cache_line() {
    for capacity in [1_000, 4_000, 32 * 1024] {
        let mut receive = Receive::new(capacity, Hidden::default());
        assert_eq!(receive.buffer().as_ptr().addr() % LINE, 0);
        assert_eq!(receive.buffer().len(), capacity);
    }
}

#[test]
fn what_was_left_goes_in_front_unless_it_is_more_than_the_new_or_than_the_room() {
    for (left, read, goes) in [
        (5, 5, true),
        (6, 5, false),
        (8_192, 9_000, true),
        (8_193, 9_000, false),
    ] {
        let kept = having(left, 0).leftover();
        let mut receive = having(read, 0);
        assert_eq!(receive.put_in_front(kept).is_none(), goes);
        assert_eq!(receive.len(), read + if goes { left } else { 0 });
        assert_eq!(
            receive.spare.len(),
            usize::from(goes && left <= SPARE_CAPACITY)
        );
    }
}

#[test]
fn an_end_is_of_one_input() {
    let mut receive = having(5, 0);
    assert!(receive.offer_last(None).is_ended());
    receive.forget_end();
    assert!(!receive.offer(None).is_ended() && !receive.is_joined());
}

/// What is left when so many bytes were taken of a joined input of so many.
fn rest_of(all: usize, taken: usize) -> (Receive, Option<(usize, usize, usize)>) {
    let kept = having(all - 5, 0).leftover();
    let mut receive = having(5, 0);
    receive.offer(kept).take(taken);
    assert!(receive.is_joined());
    let left = receive.leftover();
    let left = left.map(|left| (left.len(), left.0.start, left.0.bytes.capacity()));
    (receive, left)
}

#[test]
fn the_memory_of_what_was_joined_is_kept_if_it_is_small_or_most_of_it_is_left() {
    for (taken, is_kept, start) in [(3_000, true, 3_000), (4_000, false, 0), (5_000, false, 0)] {
        let (len, at, capacity) = rest_of(8_000, taken).1.unwrap();
        assert_eq!((len, at), (8_000 - taken, start));
        assert_eq!(capacity == len, !is_kept, "{capacity}");
    }
    let (receive, left) = rest_of(1_000, 900);
    let (len, start, capacity) = left.unwrap();
    assert_eq!((len, start, receive.spare.len()), (100, 0, 0));
    assert!((1_000..=SPARE_CAPACITY).contains(&capacity));
    let (receive, left) = rest_of(1_000, 1_000);
    assert_eq!((left, receive.spare.len()), (None, 1));
    assert!(rest_of(8_000, 8_000).1.is_none());
}

#[test]
fn few_leftovers_are_kept_to_be_used_again_and_none_that_is_large() {
    let mut receive = having(5, 0);
    for _ in 0..=SPARE_LEFTOVERS {
        receive.put_by(Leftover::default());
    }
    assert_eq!(receive.spare.len(), SPARE_LEFTOVERS);
    assert!(receive.leftover().is_some());
    assert_eq!(receive.spare.len(), SPARE_LEFTOVERS - 1);
    receive.put_by(having(SPARE_CAPACITY + 1, 0).leftover().unwrap());
    assert_eq!(receive.spare.len(), SPARE_LEFTOVERS - 1);
    let mut many = having(SPARE_CAPACITY + 1, 0);
    many.put_by(Leftover::default());
    assert!(many.leftover().is_some());
    assert_eq!(many.spare.len(), 1);
}
