//! A TCP proxy: two connections joined, each way with backpressure and with a half-close of its
//! own. What happens to one happens to the other.
//!
//! Try it: `cargo run --example echo` and `cargo run --example proxy`, then `nc 127.0.0.1 7001`.
//! With `--features tls` either side may speak TLS: `--tls-cert`, or `--tls --ca`.

#[path = "tls/mod.rs"]
mod tls;

use clap::Parser;
use sockeye::{Closed, ConnId, ConnMap, Connect, Context, Handler, Input, Listen, Origin};
use sockeye::{Reactor, Sent};
use std::io::{self, Write};

#[derive(Parser)]
#[command(about = "Forwards each client to a server. Try it with: nc 127.0.0.1 7001")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7001")]
    listen: String,
    /// The server: NAME:PORT, IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7000")]
    to: String,
    #[command(flatten)]
    listen_tls: tls::Server,
    #[command(flatten)]
    to_tls: tls::Client,
}

struct Proxy<C> {
    to: String,
    /// How it connects: with TLS, or without.
    over: C,
    partner: ConnMap<ConnId>,
}

impl<C: Fn(Connect) -> Connect> Handler for Proxy<C> {
    fn on_open(&mut self, cx: &mut Context, client: ConnId, origin: Origin) {
        if let Origin::Accepted(_) = origin {
            let to = (self.over)(Connect::new(&self.to));
            let server = cx.connect(to); // what is sent meanwhile is queued
            self.partner.insert(client, server);
            self.partner.insert(server, client);
        }
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if let Some(partner) = self.partner.get(conn)
            && cx.send(*partner, input.take_all()) == Sent::Wait
        {
            cx.pause_reads(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        if let Some(partner) = self.partner.get(conn) {
            cx.resume_reads(*partner);
        }
    }

    fn on_eof(&mut self, cx: &mut Context, conn: ConnId, _: &mut Input) {
        if let Some(partner) = self.partner.get(conn) {
            cx.shutdown_write(*partner); // the other way goes on
        }
    }

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {
        if let Some(partner) = self.partner.remove(conn)
            && !closed.is_clean()
        {
            let peer = cx.peer_addr(conn).map(|peer| peer.to_string());
            let peer = peer.unwrap_or_default();
            // `eprintln` would panic if nobody can read it.
            let _ = writeln!(io::stderr(), "{conn} {peer}: {closed}");
            cx.abort(partner); // an orderly end would pass for the whole
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    let listen = args.listen_tls.over(Listen::new(args.listen))?;
    let listener = reactor.listen(listen)?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    let over = args.to_tls.over()?;
    let (to, partner) = (args.to, ConnMap::new());
    reactor.run(&mut Proxy { to, over, partner })?;
    Ok(())
}
