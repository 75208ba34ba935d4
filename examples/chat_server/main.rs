//! A chat server: whoever connects is in the lobby, and a line goes to everybody else there.
//!
//! It teaches a whole service in one thread: two framings over one state (`Frames`), state per
//! connection (`ConnMap`), one text to many (`broadcast`), limits and deadlines that keep a slow
//! reader, a flooder and a sleeper from hurting the others, signals that another thread posts, and
//! a stop that loses nothing.
//!
//! Try it: `cargo run --example chat_server`, then in two other terminals `nc 127.0.0.1 7004`, or
//! `cargo run --example chat_client`. Programs may prefer `--framed ADDR`. With `--features tls`
//! there are `--tls-cert` and `--tls-key`, too: `chat.rs` knows nothing of that.
//!
//! This file sets it up; `chat.rs` is the service.

mod chat;
#[path = "../tls/mod.rs"]
mod tls;

use chat::{Chat, FRAMED, Stop};
use clap::Parser;
use sockeye::{Limits, Listen, Reactor, Tag};
use std::io::{self, Write};
use std::time::Duration;

#[derive(Parser)]
#[command(about = "A chat server. Join with: nc 127.0.0.1 7004")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH; may be given several times
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7004")]
    listen: Vec<String>,
    /// Where to listen for members that send each text with its length in four bytes before it
    #[arg(long, value_name = "ADDR")]
    framed: Vec<String>,
    /// Seconds of silence before a user is warned
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    idle_warn: Duration,
    /// Seconds from the warning until a silent user is dropped
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    idle_drop: Duration,
    /// KiB that may be pending for a user who does not read, before the user is dropped
    #[arg(long, value_name = "KIB", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(64..))]
    unread: u32,
    /// Maximum number of users; more are turned away
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    max_users: usize,
    /// Seconds between two lines of statistics in the log
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    stats: Duration,
    #[command(flatten)]
    tls: tls::Server,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("must be above zero".to_owned()),
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();

    let mut reactor = Reactor::builder()
        .max_connections(args.max_users)
        // Texts are short: and this is what a flooder, who is not read for a while, may leave here.
        .receive_buffer(16 * 1024)
        .build_with_messages()?;
    let limits = Limits::default().hard_limit(args.unread as usize * 1024);
    let lines = args.listen.iter().map(|addr| (addr, Tag::default()));
    for (addr, tag) in lines.chain(args.framed.iter().map(|addr| (addr, FRAMED))) {
        let listen = Listen::new(addr.as_str()).tag(tag).limits(limits.clone());
        let listen = args.tls.over(listen)?;
        // Without this the system, too, would keep megabytes for each user who does not read.
        let listener = reactor.listen(listen.send_buffer(64 * 1024))?;
        if let Some(addr) = reactor.context().listener_addr(listener) {
            // `println` would panic if nobody can read it.
            let _ = writeln!(io::stdout(), "listening on {addr}");
        }
    }
    let chat = reactor.sender();
    // Ctrl-C, and the signals that ask a process to end. An error: it has stopped already.
    ctrlc::set_handler(move || drop(chat.send(Stop)))?;
    let mut chat = Chat::new(reactor.context(), args);
    let report = reactor.run(&mut chat)?;
    let (left, cut_off, lost) = (report.closed, report.aborted, report.bytes_lost);
    let text = format!("{left} users left in peace, {cut_off} were cut off, {lost} bytes lost");
    let _ = writeln!(io::stdout(), "finished: {text}");
    Ok(())
}
