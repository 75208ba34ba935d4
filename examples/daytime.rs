//! Speaks first, then closes: whoever connects is told the time.
//!
//! Try it: `cargo run --example daytime`, then in another terminal `nc 127.0.0.1 7013`
//! (some kinds of `nc` wait for the Enter key before they show the end).

use clap::Parser;
use sockeye::{ConnId, Context, Handler, Input, Origin, Reactor};
use std::io::{self, Write};
use std::time::SystemTime;

#[derive(Parser)]
#[command(about = "Sends the time to each client. Try it with: nc 127.0.0.1 7013")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7013")]
    listen: String,
}

struct Daytime;

impl Handler for Daytime {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let since = cx.wall_clock().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        cx.send(conn, format!("{seconds} seconds since 1970 began\n"));
        cx.close(conn); // after the last byte is out, so that nothing is lost
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(args.listen)?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    reactor.run(&mut Daytime)?;
    Ok(())
}
