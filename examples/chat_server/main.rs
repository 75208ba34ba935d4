//! A chat server: whoever connects is in the lobby, and a line goes to everybody else there.
//!
//! It teaches a whole service in one thread: lines (`Framed<Lines, _>`), state per connection
//! (`ConnMap`), one line to many (`broadcast`), limits that keep a slow reader, a flooder and a
//! sleeper from hurting the others, signals and announcements that other threads post, and a stop
//! that loses nothing.
//!
//! Try it: `cargo run --example chat_server`, then in two other terminals `nc 127.0.0.1 7004`, or
//! `cargo run --example chat_client`.
//!
//! This file sets it up; `chat.rs` is the service.

mod chat;

use chat::{Chat, LINE_LIMIT, News};
use clap::Parser;
use log::warn;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sockeye::{Config, Limits, Listen, Reactor, Sender};
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc;
use std::time::Duration;
use std::{iter, thread};

#[derive(Parser)]
#[command(about = "A chat server. Join with: nc 127.0.0.1 7004")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH; may be given several times
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7004")]
    listen: Vec<String>,
    /// Seconds that a user may say nothing before being warned
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    idle_warn: Duration,
    /// Seconds from the warning until the user is dropped
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    idle_drop: Duration,
    /// KiB that may wait for a user who does not read; more, and the user is dropped
    #[arg(long, value_name = "KIB", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(64..))]
    unread: u32,
    /// Users at most; more are turned away
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    max_users: usize,
    /// Seconds between two lines of statistics in the log
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    stats: Duration,
    /// Tell everybody each line that comes from standard input
    #[arg(long)]
    announce: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("must be above zero".to_owned()),
    }
}

/// Posts news from a thread of its own, for as long as the reactor is there.
fn post(sender: Sender<News>, mut news: impl Iterator<Item = News> + Send + 'static) {
    thread::spawn(move || news.all(|news| sender.send(news).is_ok()));
}

/// A line of standard input, in whatever encoding, when the one before it has been told.
fn announcements() -> impl Iterator<Item = News> + Send {
    let mut last: Option<mpsc::Receiver<()>> = None;
    iter::from_fn(move || {
        if let Some(last) = last.take() {
            let _ = last.recv(); // an error, at last: the other end was dropped
        }
        let mut line = Vec::new();
        let mut input = io::stdin().lock().take(LINE_LIMIT as u64);
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => {
                warn!("standard input: {error}");
                return None;
            }
        }
        let (hold, told) = mpsc::channel();
        last = Some(told);
        Some(News::Announcement(line, hold))
    })
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();

    let mut config = Config::default();
    config.max_connections = args.max_users;
    // Lines are short: and this is what a flooder, who is not read for a while, may leave here.
    config.receive_buffer = 16 * 1024;
    let mut reactor = Reactor::with_messages_and_config(config)?;
    let mut limits = Limits::default();
    limits.hard_limit = args.unread as usize * 1024;
    for addr in &args.listen {
        let listen = Listen::new(addr.as_str()).limits(limits.clone());
        // Without this the system, too, would keep megabytes for each user who does not read.
        let listener = reactor.listen(listen.send_buffer(64 * 1024))?;
        if let Some(addr) = reactor.context().listener_addr(listener) {
            // `println` would panic if nobody can read it.
            let _ = writeln!(io::stdout(), "listening on {addr}");
        }
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let signals = iter::from_fn(move || signals.forever().next());
    post(reactor.sender(), signals.map(News::Signal));
    if args.announce {
        post(reactor.sender(), announcements());
    }
    let mut chat = Chat::framed(reactor.context(), args);
    let report = reactor.run(&mut chat)?;
    let (left, cut_off, lost) = (report.closed, report.aborted, report.bytes_lost);
    let text = format!("{left} users left in peace, {cut_off} were cut off, {lost} bytes lost");
    let _ = writeln!(io::stdout(), "finished: {text}");
    Ok(())
}
