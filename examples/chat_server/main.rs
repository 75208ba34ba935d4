//! A chat server: whoever connects is in the lobby, and a line goes to everybody else there.
//!
//! It teaches a whole service in one thread: lines (`Framed<Lines, _>`), state per connection
//! (`ConnMap`), one line to many (`broadcast`), limits that keep a slow reader, a flooder and a
//! sleeper from hurting the others, signals and announcements that other threads post, and a stop
//! that loses nothing.
//!
//! Try it: `cargo run --example chat_server`, then in two other terminals `nc 127.0.0.1 7000`, or
//! `cargo run --example chat_client`.
//!
//! This file sets it up; `chat.rs` is the service; `text.rs` is what may reach a terminal.

mod chat;
mod text;

use chat::{Chat, News};
use clap::Parser;
use log::info;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sockeye::{Addr, Config, Limits, Listen, Overflow, Reactor};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "A chat server. Join with: nc 127.0.0.1 7000")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH; may be given several times
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7000")]
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
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("must be above zero".to_owned()),
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();

    let mut config = Config::default();
    config.max_connections = args.max_users;
    // Lines are short: and this is what a flooder, who is not read for a while, may leave here.
    config.receive_buffer = 16 * 1024;
    let mut reactor = Reactor::with_messages_and_config(config)?;
    for addr in &args.listen {
        let listener = reactor.listen(listen_on(addr, args.unread as usize * 1024))?;
        if let Some(addr) = reactor.context().listener_addr(listener) {
            println!("listening on {addr}; join with: {}", how_to_join(addr));
        }
    }

    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let sender = reactor.sender();
    thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(News::Signal(signal)).is_err() {
                break; // the reactor is gone, and the process soon will be
            }
        }
    });
    if args.announce {
        let sender = reactor.sender();
        thread::spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if sender.send(News::Announcement(line)).is_err() {
                    break;
                }
            }
        });
    }

    let mut chat = Chat::new(reactor.context(), args).framed();
    let report = reactor.run(&mut chat)?;
    info!("{:?}", reactor.context().stats());
    println!(
        "finished: {} users left in peace, {} were cut off, {} bytes lost",
        report.closed, report.aborted, report.bytes_lost
    );
    Ok(())
}

fn listen_on(addr: &str, unread: usize) -> Listen {
    let mut limits = Limits::default();
    limits.hard_limit = unread;
    limits.overflow = Overflow::Close;
    // Without this the system, too, would keep megabytes for each user who does not read.
    Listen::new(addr).limits(limits).send_buffer(64 * 1024)
}

fn how_to_join(addr: &Addr) -> String {
    match (addr.ip(), addr.path()) {
        (Some(addr), _) => format!("nc {} {}", addr.ip(), addr.port()),
        (None, path) => format!("nc -U {}", path.unwrap_or(Path::new("?")).display()),
    }
}
