//! A chat server: whoever connects is in the lobby, and a line goes to everybody else there.
//!
//! It teaches a whole service: two framings over one state (`Frames`), state per
//! connection (`ConnMap`), one text to many (`broadcast`), limits and deadlines that keep a slow
//! reader, a flooder and a sleeper from hurting the others, signals that another thread posts, and
//! a stop that loses nothing; in one thread, or with `--workers` in several that tell each other by
//! messages what their members do.
//!
//! Try it: `cargo run --example chat_server`, then in two other terminals `nc 127.0.0.1 7004`, or
//! `cargo run --example chat_client`. Programs may prefer `--framed ADDR`. With `--features tls`
//! there are `--tls-cert` and `--tls-key`, too: `chat.rs` knows nothing of that.
//!
//! This file sets it up; `chat.rs` is the service.

mod chat;
#[path = "../tls/mod.rs"]
mod tls;

use chat::{Chat, FRAMED, GRACE, Word};
use clap::Parser;
use sockeye::{Addr, Config, Limits, Listen, Reactor, Report, Tag, Workers};
use std::io::{self, Write};
use std::time::Duration;

#[derive(Parser, Clone)]
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
    /// How many threads serve, each with a reactor of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    workers: usize,
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
    let report = match args.workers {
        0 | 1 => serve_alone(args)?,
        _ => serve_with_workers(args)?,
    };
    let (left, cut_off, lost) = (report.closed, report.aborted, report.bytes_lost);
    let text = format!("{left} users left in peace, {cut_off} were cut off, {lost} bytes lost");
    let _ = writeln!(io::stdout(), "finished: {text}");
    Ok(())
}

fn serve_alone(args: Args) -> anyhow::Result<Report> {
    let mut reactor = Reactor::with_messages_and_config(config(&args))?;
    let chat = reactor.sender();
    // Ctrl-C, and the signals that ask a process to end. An error: it has stopped already.
    ctrlc::set_handler(move || drop(chat.send(Word::Stop)))?;
    for listen in listeners(&args)? {
        let listener = reactor.listen(listen)?;
        announce(reactor.context().listener_addr(listener));
    }
    let mut chat = Chat::new(reactor.context(), args);
    Ok(reactor.run(&mut chat)?)
}

/// The same on several cores.
fn serve_with_workers(args: Args) -> anyhow::Result<Report> {
    let mut workers = Workers::with_config(args.workers, config(&args))?;
    let mut addrs = Vec::new();
    for listen in listeners(&args)? {
        let listener = workers.listen(listen)?;
        addrs.push(workers.listener_addr(listener).cloned());
    }
    let running = workers.start(move |worker| Chat::of_worker(worker, args.clone()))?;
    let (team, mut grace) = (running.team().clone(), GRACE);
    // A first one stops in peace, a second one at once.
    ctrlc::set_handler(move || _ = team.finish(std::mem::take(&mut grace)))?;
    addrs.iter().for_each(|addr| announce(addr.as_ref()));
    let end = running.join();
    log::info!("all workers have ended: {end}");
    Ok(end.report)
}

fn config(args: &Args) -> Config {
    Config::default()
        .max_connections(args.max_users)
        // Texts are short: and this is what a flooder, who is not read for a while, may leave here.
        .receive_buffer(16 * 1024)
}

fn listeners(args: &Args) -> anyhow::Result<Vec<Listen>> {
    let limits = Limits::default().hard_limit(args.unread as usize * 1024);
    let lines = args.listen.iter().map(|addr| (addr, Tag::default()));
    let all = lines.chain(args.framed.iter().map(|addr| (addr, FRAMED)));
    let listeners = all.map(|(addr, tag)| {
        let listen = Listen::new(addr.as_str()).tag(tag).limits(limits.clone());
        let listen = args.tls.over(listen)?;
        // Without this the system, too, would keep megabytes for each user who does not read.
        Ok(listen.send_buffer(64 * 1024))
    });
    listeners.collect()
}

fn announce(addr: Option<&Addr>) {
    if let Some(addr) = addr {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
}
