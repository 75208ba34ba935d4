//! Log records: all have the target `sockeye`, and none shows what the peers say to each other.

use crate::kit::places::{go_on_alone, refusing};
use crate::kit::{Kit, default, let_pass, peer, read_all, reset, small_peer, spawn, write};
use log::{Level, LevelFilter, Log, Metadata, Record};
use sockeye::{Config, Context, EventKind, Listen, Source};
use std::net::{Shutdown, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

static RECORDS: Mutex<Vec<(Level, String, String)>> = Mutex::new(Vec::new());

struct Keeper;

impl Log for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        let target = record.target().to_owned();
        RECORDS.lock().unwrap().push((record.level(), target, text));
    }

    fn flush(&self) {}
}

const SECRET: &str = "correct horse battery staple";

/// What a slow source gives.
fn late() -> &'static str {
    let_pass(Duration::from_millis(10));
    SECRET
}

/// A session in which everything happens that leaves a record.
fn session() {
    let mut config = Config::default();
    config.max_connections = 3;
    config.slow_callback = Some(Duration::from_millis(5));
    config.limits.input_limit = 100;
    config.limits.hard_limit = 100_000;
    config.limits.write_stall = Duration::from_millis(30);
    let mut much = None;
    let mut kit = Kit::with_config(config, |cx, event| match event {
        EventKind::Data { conn, input } => match input.len() {
            // A partial message, too large in the end.
            29.. if input.ends_with(b"!") => drop(cx.send(conn, SECRET)),
            _ if input.starts_with(b"slow") => {
                let_pass(Duration::from_millis(10));
                input.take_all();
                cx.send_from(conn, Source::each(std::iter::once_with(late)));
            }
            _ if input.starts_with(b"much") => {
                cx.send(conn, SECRET.repeat(100_000));
                much = Some(conn);
                cx.set_timer(Duration::ZERO, 0);
                input.take_all();
            }
            _ if input.starts_with(b"rude") => {
                let text = format!("rude: {}", String::from_utf8_lossy(&input.take_all()));
                cx.close_because(conn, text);
            }
            _ if input.starts_with(b"stall") => {
                cx.send(conn, SECRET.repeat(100_000));
                input.take_all();
            }
            _ if !input.is_ended() => drop(cx.send(conn, SECRET)),
            _ => {}
        },
        EventKind::Timer { .. } => drop(cx.send(much.unwrap(), SECRET)),
        other => default(cx, other),
    });
    let listen = Listen::new("127.0.0.1:0").send_buffer(4096);
    let addr = kit.listen_on(listen).ip().unwrap();
    let client = spawn(move || {
        let mut polite = peer(addr);
        write(&mut polite, SECRET);
        polite.shutdown(Shutdown::Write).unwrap();
        read_all(polite)
    });
    assert_eq!(kit.until_done(client), SECRET.as_bytes());
    for (opening, closed) in [("slow", 1), ("much", 3), ("stall", 4)] {
        let mut stream = small_peer(addr);
        write(&mut stream, format!("{opening} {SECRET}"));
        if opening == "slow" {
            kit.until("it comes", |log| log.count("data") > 1);
            reset(stream);
        } else {
            kit.until("it is over", |log| log.closed() == closed);
        }
    }
    let mut stream = peer(addr);
    write(&mut stream, SECRET.repeat(10));
    kit.until("it is too much", |log| log.closed() == 5);
    let mut stream = peer(addr);
    write(&mut stream, format!("rude {SECRET}"));
    drop(stream);
    kit.until("it is put out", |log| log.closed() == 6);
    crowd(&mut kit, addr);
    kit.cx().finish(Duration::ZERO);
    kit.reactor.run(&mut kit.app).unwrap();
    kit.end();
}

/// More than there is room for, and one that nobody answers.
fn crowd<F: FnMut(&mut Context, EventKind<'_>)>(kit: &mut Kit<F>, addr: SocketAddr) {
    let peers: Vec<_> = (0..5).map(|_| peer(addr)).collect();
    kit.until_cx("two are refused", |_, cx| cx.stats().refused == 2);
    let more: Vec<_> = (0..10).map(|_| peer(addr)).collect();
    kit.until_cx("ten more are refused", |_, cx| cx.stats().refused == 12);
    drop(more);
    drop(peers);
    kit.until_all_closed();
    let (_bound, nobody) = refusing();
    let failed = kit.connect(nobody);
    kit.until("it fails", |log| log.is_closed(failed));
}

/// Listeners that find no descriptors for a hundred times.
#[cfg(feature = "sim")]
fn exhausted() {
    use sockeye::sim::{Faults, World};

    struct Silent;

    impl sockeye::Handler for Silent {
        fn on_data(&mut self, _: &mut Context, _: sockeye::ConnId, _: &mut sockeye::Input) {}
    }

    let mut faults = Faults::default();
    faults.accept_fails = 1000;
    let mut world = World::seeded(1, faults);
    let node = world.start("server", Silent, |reactor| {
        reactor.listen("10.0.0.1:1").map(drop)
    });
    let _peer = world.connect("10.0.0.1:1");
    world.advance(Config::default().accept_backoff * 100);
    let errors = world.with(node, |_, cx| cx.stats().accept_errors);
    assert!(errors >= 100, "{errors}");
}

// J9
#[test]
fn records_have_the_target_sockeye_and_never_show_payload() {
    go_on_alone!(); // the logger is one for the process
    log::set_logger(&Keeper).unwrap();
    log::set_max_level(LevelFilter::Trace);
    session();
    #[cfg(feature = "sim")]
    exhausted();
    log::set_max_level(LevelFilter::Off);
    let records = std::mem::take(&mut *RECORDS.lock().unwrap());
    let ours: Vec<_> = records
        .iter()
        .filter(|(_, target, _)| !target.starts_with("mio"))
        .collect();
    let bytes = format!("{:?}", &SECRET.as_bytes()[..8]);
    let bytes = bytes.trim_matches(['[', ']']);
    for (_, target, text) in &ours {
        assert_eq!(target, "sockeye", "{text}");
        assert!(!text.contains("horse"), "{text}");
        assert!(!text.contains(bytes), "{text}");
        assert!(!text.contains('\n'), "one record, one line: {text}");
    }
    let has = |level: Level, part: &str| {
        let found = ours.iter().any(|(l, _, t)| *l == level && t.contains(part));
        assert!(found, "no {level} record with {part:?}: {ours:#?}");
    };
    has(Level::Debug, "listens on 127.0.0.1:");
    has(Level::Debug, "closed by peer");
    has(Level::Debug, "reset by peer");
    has(Level::Debug, "connects to 127.0.0.1:");
    has(Level::Debug, "connect failed");
    has(Level::Debug, "finishing");
    has(Level::Debug, "no longer listening");
    has(Level::Warn, "slow callback: on_data of c");
    has(Level::Warn, "slow source: a pull for c");
    // What a peer can cause again and again is no warning, and the first of those who are refused
    // is one.
    has(Level::Debug, "unconsumed input exceeds `input_limit`");
    has(Level::Debug, "pending output exceeds `hard_limit`");
    has(Level::Debug, "write stall");
    has(Level::Debug, "closed because of a protocol error");
    has(Level::Warn, "`max_connections` reached");
    let warned = ours.iter().filter(|(level, ..)| *level == Level::Warn);
    assert_eq!(
        warned.filter(|(.., text)| text.contains("refuses")).count(),
        4
    );
    // A listener that cannot accept tries again ten times a second, as long as peers stay.
    #[cfg(feature = "sim")]
    {
        let rests = |level: Level| {
            let those = ours.iter().filter(|(l, ..)| *l == level);
            those.filter(|(.., text)| text.contains("rests")).count()
        };
        assert_eq!((rests(Level::Warn), rests(Level::Debug) >= 93), (7, true));
    }
    has(Level::Trace, "Data");
    has(Level::Trace, "Open");
    has(Level::Trace, "Close");
}
