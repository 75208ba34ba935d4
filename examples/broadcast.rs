//! Broadcast: every line goes to everybody, the sender too, in one piece for each read.
//!
//! Try it: `cargo run --example broadcast`, then in several terminals `nc 127.0.0.1 7005`.

use clap::Parser;
use sockeye::{Closed, ConnId, Context, Handler, Input, Origin, Reactor};
use std::io::{self, Write};

#[derive(Parser)]
#[command(about = "Sends each line to all clients. Try it with several: nc 127.0.0.1 7005")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7005")]
    listen: String,
}

#[derive(Default)]
struct Room {
    members: Vec<ConnId>,
}

impl Handler for Room {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.members.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, _: ConnId, input: &mut Input) {
        if let Some(last) = memchr::memrchr(b'\n', input) {
            let lines = input.take(last + 1); // half a line is offered again, with the other half
            cx.broadcast(self.members.iter().copied(), lines);
        }
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.members.retain(|member| *member != conn);
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(args.listen)?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    reactor.run(&mut Room::default())?;
    Ok(())
}
