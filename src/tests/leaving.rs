//! What a handler leaves: in the receive buffer, with its connection, and joined again.

use super::*;
use crate::Limits;
use bytes::{Buf, Bytes};

/// Numbers that look like chance: the same ones in every run.
fn chance(state: &mut u64, below: usize) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) as usize % below
}

/// Each connection counts: one byte more than the last. Takes, keeps and leaves by chance.
#[derive(Default)]
struct Counting {
    state: u64,
    conns: Vec<ConnId>,
    next: Vec<u8>,
    kept: Vec<(Bytes, Vec<u8>)>,
}

impl Handler<u64> for Counting {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.conns.push(conn);
        self.next.push(0);
    }

    fn on_data(&mut self, _: &mut Context, conn: ConnId, input: &mut Input) {
        let at = self.conns.iter().position(|one| *one == conn).unwrap();
        let next = &mut self.next[at];
        for (n, byte) in input.iter().enumerate() {
            assert_eq!(
                *byte,
                next.wrapping_add(n as u8),
                "lost, or in another order"
            );
        }
        let take = chance(&mut self.state, input.len() + 1);
        *next = next.wrapping_add(take as u8);
        if chance(&mut self.state, 3) == 0 {
            let bytes = Bytes::from(input.take(take));
            let copy = bytes.to_vec();
            self.kept.push((bytes, copy));
        } else {
            input.advance(take);
        }
    }
}

fn config(receive_buffer: usize, input_limit: usize) -> Config {
    let limits = Limits::default().input_limit(input_limit);
    Config {
        receive_buffer,
        limits,
        ..Config::default()
    }
}

// R4, R8: whoever is read next, and whatever is taken, kept or left.
#[test]
fn whatever_is_left_is_offered_again_in_front_of_what_is_new() {
    for seed in 0..60_u64 {
        let size = [1, 3, 16, 50, 400, 6000][seed as usize % 6];
        let (mut reactor, script) = Script::reactor(config(size, 1 << 20));
        reactor.listen(Listen::new("127.0.0.1:1")).unwrap();
        let mut app = Counting::default();
        let mut turn = |app: &mut Counting| reactor.turn(app, Some(Duration::ZERO)).unwrap().more;
        let sockets: Vec<usize> = (0..1 + seed % 3).map(|_| script.incoming()).collect();
        for socket in &sockets {
            // What arrives apart is read apart.
            script.socket(*socket, |socket| socket.proof = false);
        }
        turn(&mut app);
        let (mut state, mut total) = (seed, 0);
        let mut sent = vec![0_u8; sockets.len()];
        for _ in 0..1_000 {
            // One of them or several, in one turn or in two.
            let at = chance(&mut state, sockets.len());
            let most = 1 << chance(&mut state, 8);
            let len = 1 + chance(&mut state, most);
            let bytes: Vec<u8> = (0..len).map(|n| sent[at].wrapping_add(n as u8)).collect();
            sent[at] = sent[at].wrapping_add(len as u8);
            total += len as u64;
            script.arrives(sockets[at], &bytes);
            if chance(&mut state, 2) == 0 {
                turn(&mut app);
            }
            if chance(&mut state, 40) == 0 {
                assert!(app.kept.drain(..).all(|(bytes, copy)| bytes == copy));
            }
        }
        for _ in 0..200_000 {
            if !turn(&mut app) && !script.has_events() {
                break;
            }
        }
        assert_eq!(reactor.context().stats().bytes_in, total);
    }
}

/// Takes nothing of the first connection, and all of the others; counts how often the input of the
/// first lay elsewhere than before.
#[derive(Default)]
struct Waiting {
    first: Option<ConnId>,
    at: usize,
    moves: usize,
    waits: usize,
}

impl Handler<u64> for Waiting {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.first.get_or_insert(conn);
    }

    fn on_data(&mut self, _: &mut Context, conn: ConnId, input: &mut Input) {
        if self.first != Some(conn) {
            input.take_all();
            return;
        }
        let at = input.as_ptr().addr();
        self.moves += usize::from(self.at != at);
        (self.at, self.waits) = (at, input.len());
    }
}

// R8
#[test]
fn a_message_in_single_bytes_is_not_copied_for_each_of_them() {
    const SIZE: usize = 20_000;
    let (mut reactor, script) = Script::reactor(config(1000, SIZE));
    reactor.listen(Listen::new("127.0.0.1:1")).unwrap();
    let mut app = Waiting::default();
    let (one, other) = (script.incoming(), script.incoming());
    reactor.turn(&mut app, Some(Duration::ZERO)).unwrap();
    for _ in 0..SIZE {
        script.arrives(one, b"x");
        // It does not stay in the receive buffer, for another one is read in between.
        script.arrives(other, b"y");
        reactor.turn(&mut app, Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(app.waits, SIZE);
    assert!(app.moves < 100, "it was copied {} times", app.moves);
}

// R4
#[test]
fn who_leaves_more_than_its_limit_is_closed_unless_it_has_paused() {
    // Left at once, or what was left before and the new byte that is joined with it.
    for joined in [false, true] {
        for (limit, paused, is_closed) in [(9, false, true), (10, false, false), (9, true, false)] {
            let mut bench = Bench::with_config(config(16_384, limit));
            let (other, _) = bench.accept();
            let (socket, conn) = bench.accept();
            bench.app.leave = 10;
            if joined {
                bench.script.arrives(socket, b"123456789");
                bench.turn();
                // Moves it out of the receive buffer.
                bench.app.leave = 0;
                bench.script.arrives(other, b"x");
                bench.turn();
                bench.app.leave = 10;
            }
            if paused {
                bench.app.on_data.push_back(Box::new(|cx, conn| {
                    cx.pause_reads(conn);
                }));
            }
            let rest: &[u8] = if joined { b"0" } else { b"1234567890" };
            bench.script.arrives(socket, rest);
            bench.settle();
            let end = bench.seen().pop().unwrap();
            assert_eq!(
                end.contains("input_limit"),
                is_closed,
                "{joined} {limit} {end}"
            );
            assert!(bench.cx().raise_input_limit(conn, 20) != is_closed);
        }
    }
}

// R2: nothing is offered behind the end, not even what `on_eof` has left.
#[test]
fn what_is_left_at_the_end_does_not_come_again_after_a_pause() {
    let mut bench = Bench::new();
    bench.app.keep_open = true;
    bench.app.leave = 2;
    let (socket, conn) = bench.accept();
    bench.script.arrives(socket, b"ab");
    bench.script.arrives(socket, b"");
    bench.settle();
    let seen = bench.seen();
    assert_eq!(seen.last().unwrap(), "eof 2", "{seen:?}");
    bench.cx().pause_reads(conn);
    bench.settle();
    bench.cx().resume_reads(conn);
    bench.settle();
    assert_eq!(bench.seen(), [""; 0]);
    assert!(bench.cx().is_open(conn));
}
