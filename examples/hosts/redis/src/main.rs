//! The other way round: a C library's socket in this loop. hiredis says which readiness it wants,
//! and that changes with each of its calls; `rearm` passes it on.
//!
//! It starts a `redis-server` of its own, on a Unix path, and asks it much while a timer ticks.

mod client;

use client::{Client, READS, WRITES};
use sockeye::{ConnId, Context, Handler, Input, Interest, Reactor, Readiness, TimerId, WatchId};
use std::io;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEYS: u64 = 2000;
const LARGE: usize = 4 << 20;

struct App {
    redis: Client,
    watch: WatchId,
    replies: u64,
    ticks: u64,
    changes: u64,
    wanted: i32,
}

/// What hiredis wants, as an interest.
fn interest(wants: i32) -> Option<Interest> {
    Some(match (wants & READS != 0, wants & WRITES != 0) {
        (true, true) => Interest::Both,
        (true, false) => Interest::Readable,
        (false, true) => Interest::Writable,
        (false, false) => return None,
    })
}

impl App {
    /// After each call of hiredis: it reads and writes once for each call and not until it would
    /// block, and what it wants may have changed.
    fn rearm(&mut self, cx: &mut Context) {
        let wants = self.redis.wants();
        self.changes += u64::from(wants != self.wanted);
        self.wanted = wants;
        match interest(wants) {
            Some(interest) => assert!(cx.rearm(self.watch, interest)),
            None => assert!(cx.unwatch(self.watch)), // it has given the connection up
        }
    }
}

impl Handler for App {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_ready(&mut self, cx: &mut Context, _: WatchId, _: u64, readiness: Readiness) {
        let reads = if readiness.is_readable() { READS } else { 0 };
        let writes = if readiness.is_writable() { WRITES } else { 0 };
        // What it did not ask for is not for it.
        self.redis.ready((reads | writes) & self.redis.wants());
        for (tag, reply) in self.redis.take_replies() {
            match tag {
                0 => assert_eq!(reply, b"OK"),
                KEYS.. => assert_eq!(reply.len(), LARGE),
                tag => assert_eq!(reply, format!("value {tag}").as_bytes()),
            }
            self.replies += 1;
        }
        self.rearm(cx);
        if self.replies == 2 * KEYS {
            cx.stop();
        }
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, _: u64) {
        // Commands from elsewhere: hiredis wants to write from now on.
        if self.ticks == 0 {
            for key in 1..KEYS {
                let (name, value) = (format!("key {key}"), format!("value {key}"));
                self.redis
                    .ask(0, &[b"SET", name.as_bytes(), value.as_bytes()]);
                self.redis.ask(key, &[b"GET", name.as_bytes()]);
            }
            self.redis.ask(0, &[b"SET", b"large", &vec![7; LARGE]]);
            self.redis.ask(KEYS, &[b"GET", b"large"]);
        }
        self.ticks += 1;
        self.rearm(cx);
    }
}

/// A server of our own, which is up.
fn serve(path: &str) -> io::Result<Child> {
    let args = ["--port", "0", "--save", "", "--unixsocket", path];
    let mut command = Command::new("redis-server");
    let server = command.args(args).stdout(Stdio::null()).spawn()?;
    let start = Instant::now();
    while UnixStream::connect(path).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "redis-server is not up"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}

fn main() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("guest-redis-{}", std::process::id()));
    let path = path.to_string_lossy().into_owned();
    let mut server = serve(&path)?;
    let result = talk(&path);
    server.kill()?;
    server.wait()?;
    let _ = std::fs::remove_file(&path);
    result
}

fn talk(path: &str) -> io::Result<()> {
    let redis = Client::connect(path)?;
    let mut reactor = Reactor::new()?;
    let cx = reactor.context();
    // The reactor has a duplicate: hiredis closes its own when it likes, and then `unwatch`.
    let watch = cx.watch(redis.fd(), Interest::Writable, 0)?;
    cx.set_interval(Duration::from_millis(1), 0);
    let (replies, ticks, changes, wanted) = (0, 0, 0, WRITES);
    let mut app = App {
        redis,
        watch,
        replies,
        ticks,
        changes,
        wanted,
    };
    reactor.run(&mut app)?;
    let App {
        replies,
        ticks,
        changes,
        ..
    } = app;
    println!("{replies} replies, {ticks} ticks meanwhile, {changes} changes of interest");
    assert!(changes >= 3, "the interest never changed");
    Ok(())
}
