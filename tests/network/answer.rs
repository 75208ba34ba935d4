//! A server for `.ci/network`: it answers with so many bytes and closes, whatever its peer is doing
//! meanwhile. The bytes are lines of 16, each of which says where in the answer it stands.

use clap::Parser;
use sockeye::{Closed, ConnId, Context, Handler, Input, Origin, Reactor};

#[derive(Parser)]
#[command(about = "Answers with so many bytes, then closes")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7014")]
    listen: String,
    /// How many bytes
    #[arg(long, default_value_t = 65536)]
    bytes: usize,
    /// Answer who connects, not who has said something
    #[arg(long)]
    unasked: bool,
}

impl Args {
    fn answer(&self, cx: &mut Context, conn: ConnId) {
        let lines = (0..self.bytes.div_ceil(16)).map(|line| format!("{:015}\n", line * 16));
        let mut answer: String = lines.collect();
        answer.truncate(self.bytes);
        cx.send(conn, answer);
        cx.close(conn);
    }
}

impl Handler for Args {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        if self.unasked {
            self.answer(cx, conn);
        }
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, _: &mut Input) {
        self.answer(cx, conn);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, closed: Closed) {
        if !closed.is_clean() {
            eprintln!("{conn}: {closed}");
        }
    }
}

fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(&args.listen)?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        println!("listening on {addr}");
    }
    reactor.run(&mut args)?;
    Ok(())
}
