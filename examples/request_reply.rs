//! A request to its end, then a reply to its end: both sides know by the half-close where it is.
//!
//! Try it: `cargo run --example request_reply -- --serve`, then in another terminal
//! `cargo run --example request_reply -- hello`, or `echo hello | nc -N 127.0.0.1 7002`.

use clap::Parser;
use sockeye::{Closed, ConnId, Context, Handler, Input, Reactor};
use std::io::{self, Write};

#[derive(Parser)]
#[command(about = "Sends a request and prints the reply. Serve with: request_reply --serve")]
struct Args {
    /// Serve instead: answer each request with its bytes in reverse order
    #[arg(long)]
    serve: bool,
    /// Where the server listens: NAME:PORT, IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7002")]
    listen: String,
    /// The request
    #[arg(required_unless_present = "serve")]
    request: Option<String>,
}

struct Server;

impl Handler for Server {
    /// What is not taken is kept. Above `Limits::input_limit`, 64 KiB, the connection is closed,
    /// and the client sees an empty reply: raise it, or take the input as it comes.
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_eof(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let mut reply = input.take_all().to_vec();
        reply.reverse();
        cx.send(conn, reply);
        cx.close(conn);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, closed: Closed) {
        if !closed.is_clean() {
            // `eprintln` would panic if nobody can read it.
            let _ = writeln!(io::stderr(), "{conn}: {closed}");
        }
    }
}

#[derive(Default)]
struct Client {
    reply: Vec<u8>,
    closed: Option<Closed>,
}

impl Handler for Client {
    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        self.reply.extend_from_slice(&input.take_all());
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, closed: Closed) {
        self.closed = Some(closed);
        cx.stop();
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    if args.serve {
        let listener = reactor.listen(args.listen)?;
        if let Some(addr) = reactor.context().listener_addr(listener) {
            // `println` would panic if nobody can read it.
            let _ = writeln!(io::stdout(), "listening on {addr}");
        }
        reactor.run(&mut Server)?;
        return Ok(());
    }
    let server = reactor.context().connect(&args.listen);
    reactor
        .context()
        .send(server, args.request.unwrap_or_default());
    reactor.context().shutdown_write(server);
    let mut client = Client::default();
    reactor.run(&mut client)?;
    if let Some(closed) = client.closed.filter(|closed| !closed.is_clean()) {
        anyhow::bail!("{}: {closed}", args.listen);
    }
    let mut stdout = io::stdout();
    let printed = stdout.write_all(&client.reply);
    match printed.and_then(|()| stdout.flush()) {
        // Whoever read it has gone, as `head` does.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
