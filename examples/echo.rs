//! Echo, with backpressure: what comes in goes out, and who does not read is not read from.
//!
//! Try it: `cargo run --example echo`, then in another terminal `nc 127.0.0.1 7000`.

use clap::Parser;
use sockeye::{ConnId, Context, Handler, Input, Reactor, Sent, Workers};
use std::io::{self, Write};

#[derive(Parser)]
#[command(about = "Sends back what it receives. Try it with: nc 127.0.0.1 7000")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7000")]
    listen: String,
    /// Number of threads, each with a reactor of its own
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_until_drained(conn); // the peer does not read: neither do we
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.workers > 1 {
        return serve_with_workers(&args);
    }
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(args.listen.as_str())?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    reactor.run(&mut Echo)?;
    Ok(())
}

/// The same on several cores.
fn serve_with_workers(args: &Args) -> anyhow::Result<()> {
    let mut workers = Workers::new(args.workers)?;
    let listener = workers.listen(args.listen.as_str())?;
    if let Some(addr) = workers.listener_addr(listener) {
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    workers.run(|_| Echo)?;
    Ok(())
}
