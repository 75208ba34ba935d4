//! A server of RESP on the simulated network: commands that come as slowly as they like, in any
//! pieces, each have their reply, in order, and what is no command ends the connection.

use sockeye::codec::resp::{self, Commands};
use sockeye::sim::{Faults, Pace, World};
use sockeye::{ConnId, Context, Frames, Handler, Input, Sent};
use std::time::Duration;

const MAX: usize = 10_000;

/// Counts, and says what it is told.
struct Server {
    commands: Frames<Commands>,
    count: i64,
}

impl Handler for Server {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let mut out = Vec::new();
        let error = loop {
            match self.commands.try_next(cx, conn, input) {
                Ok(Some(command)) => match command[..] {
                    [b"INCR"] => {
                        self.count += 1;
                        resp::integer(&mut out, self.count);
                    }
                    [b"ECHO", text] => resp::bulk(&mut out, text),
                    _ => resp::error(&mut out, "ERR unknown command"),
                },
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if cx.send(conn, out) == Sent::Wait {
            cx.pause_until_drained(conn);
        }
        error.map(|error| cx.close_because(conn, error));
    }
}

fn world(seed: u64, faults: Faults) -> World {
    let mut world = World::seeded(seed, faults);
    let commands = Frames::new(Commands::new(MAX));
    world.start("server", Server { commands, count: 0 }, |reactor| {
        reactor.listen("10.0.0.1:6379").map(drop)
    });
    world
}

// R8
#[test]
fn every_command_has_its_reply_however_slowly_it_comes() {
    let mut whole = 0;
    for seed in 0..30 {
        let faults = match seed % 2 {
            0 => Faults::some(),
            _ => Faults::default(),
        };
        let mut world = world(seed, faults);
        let peer = world.connect("10.0.0.1:6379");
        let (mut wire, mut wanted) = (Vec::new(), Vec::new());
        for i in 0..40 {
            let text = vec![b'\n'; (seed as usize * 7 + i * i * i) % 3000];
            resp::array(&mut wire, 2);
            resp::bulk(&mut wire, b"echo");
            resp::bulk(&mut wire, &text);
            wire.extend(b"incr\r\n");
            resp::bulk(&mut wanted, &text);
            resp::integer(&mut wanted, i as i64 + 1);
        }
        let pieces = 1 + seed as usize * 97;
        peer.send_at(wire, Pace::new(pieces, Duration::from_millis(1)));
        world.advance(Duration::from_secs(200));
        let got = peer.received_bytes();
        // What fails may end the connection, and nothing else.
        assert!(wanted.starts_with(&got), "seed {seed}: another reply");
        whole += usize::from(got == wanted);
        assert!(got == wanted || seed % 2 == 0, "seed {seed}");
        peer.close();
        world.advance(Duration::from_secs(40));
        world.assert_no_leaks();
    }
    assert!(whole >= 18, "{whole} of 30 were whole");
}

// R9
#[test]
fn what_is_no_command_ends_the_connection_behind_the_replies_before_it() {
    for wrong in [&b"*1\r\n!"[..], b"*1\r\n$10000\r\n", b"*2\r\n$1\r\nab\r\n"] {
        let mut world = world(1, Faults::default());
        let peer = world.connect("10.0.0.1:6379");
        peer.send([b"INCR\r\n", wrong, b"INCR\r\n"].concat());
        world.settle();
        assert_eq!(peer.received(), ":1\r\n");
        assert!(peer.is_closed() && !peer.was_reset());
        peer.close();
        world.advance(Duration::from_secs(40));
        world.assert_no_leaks();
    }
}
