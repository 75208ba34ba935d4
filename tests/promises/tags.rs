//! Tags: which part of an application an event is for, and what inherits it.

use crate::kit;
use crate::kit::places::watch_pipe;
use crate::kit::{PATIENCE, peer, read_all, read_n, spawn, write};
use sockeye::{
    Addr, ConnId, Connect, Context, Event, EventKind, Handler, Input, Listen, Reactor, Tag,
};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

const CHAT: Tag = Tag(1);
const ADMIN: Tag = Tag(2);
const CLIENT: Tag = Tag(3);

/// Notes each event with its tag, and does what the test says.
struct Parts<F> {
    seen: Vec<(Tag, &'static str)>,
    react: F,
}

impl<F: FnMut(&mut Context, Event<'_>)> Handler<u64> for Parts<F> {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {
        unreachable!("on_event handles everything");
    }

    fn on_message(&mut self, cx: &mut Context, message: u64) {
        cx.set_timer(Duration::ZERO, message);
    }

    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        let name = kit::name(&event.kind);
        self.seen.push((event.tag, name));
        (self.react)(cx, event);
    }
}

/// Looks at one kind of event, and hands the others on.
struct CountsOpens(usize);

impl Handler for CountsOpens {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        cx.send(conn, input.take_all());
    }

    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        match event.kind {
            EventKind::Open { .. } => self.0 += 1,
            _ => event.dispatch(self, cx),
        }
    }
}

#[test]
fn what_an_on_event_dispatches_keeps_its_default() {
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let cx = reactor.context();
    let addr = cx.listener_addr(listener).and_then(Addr::ip).unwrap();
    let client = spawn(move || {
        let mut peer = peer(addr);
        write(&mut peer, b"hello");
        peer.shutdown(Shutdown::Write).unwrap();
        read_all(&mut peer)
    });
    let mut app = CountsOpens(0);
    let since = Instant::now();
    // The default of `on_eof` closes it.
    while app.0 == 0 || reactor.context().connections().count() > 0 {
        assert!(since.elapsed() < PATIENCE);
        let soon = Some(Duration::from_millis(20));
        reactor.turn(&mut app, soon).unwrap();
    }
    assert_eq!(client.join().unwrap(), b"hello");
    assert_eq!(app.0, 1);
}

struct Bench<F> {
    reactor: Reactor<u64>,
    app: Parts<F>,
}

impl<F: FnMut(&mut Context, Event<'_>)> Bench<F> {
    fn new(react: F) -> Bench<F> {
        let seen = Vec::new();
        Bench {
            reactor: Reactor::with_messages().unwrap(),
            app: Parts { seen, react },
        }
    }

    fn listen(&mut self, tag: Tag) -> SocketAddr {
        let listen = Listen::new("127.0.0.1:0").tag(tag);
        let listener = self.reactor.listen(listen).unwrap();
        let addr = self.reactor.context().listener_addr(listener);
        addr.and_then(Addr::ip).unwrap()
    }

    #[track_caller]
    fn until(&mut self, tag: Tag, name: &'static str) {
        let start = Instant::now();
        while !self.app.seen.contains(&(tag, name)) {
            let seen = &self.app.seen;
            assert!(start.elapsed() < PATIENCE, "never {tag:?} {name}: {seen:?}");
            let timeout = Some(Duration::from_millis(5));
            self.reactor.turn(&mut self.app, timeout).unwrap();
        }
    }

    fn names(&self, tag: Tag) -> Vec<&'static str> {
        let its = self.app.seen.iter().filter(|(other, _)| *other == tag);
        its.map(|(_, name)| *name).collect()
    }
}

#[test]
fn an_accepted_connection_has_the_tag_of_its_listener_for_all_its_events() {
    let mut bench = Bench::new(|cx, event| match event.kind {
        EventKind::Open { conn, .. } => {
            assert_eq!(cx.tag(conn), Some(event.tag));
            cx.set_deadline(conn, 0, Duration::from_millis(1));
        }
        EventKind::Data { conn, input } => {
            // More than the watermark: the drain has the tag too.
            cx.send(conn, vec![0; 100_000]);
            input.take_all();
        }
        EventKind::Eof { conn, .. } => drop(cx.close(conn)),
        EventKind::Close { conn, .. } => assert_eq!(cx.tag(conn), Some(event.tag)),
        _ => {}
    });
    let (chat, admin) = (bench.listen(CHAT), bench.listen(ADMIN));
    for (tag, addr) in [(CHAT, chat), (ADMIN, admin)] {
        let mut stream = peer(addr);
        bench.until(tag, "deadline");
        let client = spawn(move || {
            write(&mut stream, "hello");
            assert_eq!(read_n(&mut stream, 100_000).len(), 100_000);
            stream.shutdown(Shutdown::Write).unwrap();
            read_all(stream)
        });
        bench.until(tag, "close");
        client.join().unwrap();
        let names = [
            "accept", "open", "deadline", "data", "drain", "eof", "close",
        ];
        assert_eq!(bench.names(tag), names);
    }
    assert_eq!(bench.app.seen.len(), 14);
}

#[test]
fn what_a_callback_creates_has_the_tag_of_its_event_unless_the_builder_names_one() {
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = target.local_addr().unwrap();
    let (mut inner, mut pipes) = (None, Vec::new());
    let mut bench = Bench::new(move |cx, event| match event.kind {
        EventKind::Open { conn, .. } if event.tag == CHAT && inner.is_none() => {
            cx.set_timer(Duration::ZERO, 1);
            pipes.push(watch_pipe(cx, true));
            let plain = cx.connect(addr);
            let named = cx.connect(Connect::new(addr).tag(CLIENT));
            assert_eq!(cx.tag(plain), Some(CHAT));
            assert_eq!(cx.tag(named), Some(CLIENT));
            assert_eq!(cx.tag(conn), Some(CHAT));
            inner = Some(cx.listen("127.0.0.1:0").unwrap());
            let inner_addr = cx.listener_addr(inner.unwrap()).unwrap().clone();
            cx.connect(Connect::new(inner_addr).tag(ADMIN));
        }
        // A timer's own timer, and so on.
        EventKind::Timer { key, .. } if key < 3 => {
            cx.set_timer(Duration::ZERO, key + 1);
        }
        _ => {}
    });
    let addr = bench.listen(CHAT);
    let _stream = peer(addr);
    bench.until(ADMIN, "open");
    bench.until(CLIENT, "open");
    if cfg!(unix) {
        bench.until(CHAT, "ready");
    }
    let names = |bench: &Bench<_>, name| {
        let names = bench.names(CHAT);
        names.into_iter().filter(|other| *other == name).count()
    };
    let start = Instant::now();
    // Accepted from outside, connected, and accepted by the inner listener; and three timers.
    while names(&bench, "open") < 3 || names(&bench, "timer") < 3 {
        assert!(start.elapsed() < PATIENCE, "{:?}", bench.app.seen);
        let timeout = Some(Duration::from_millis(5));
        bench.reactor.turn(&mut bench.app, timeout).unwrap();
    }
    assert_eq!(bench.names(CLIENT), ["open"]);
    assert_eq!(bench.names(ADMIN), ["open"]);
    assert_eq!(bench.names(Tag::default()), [""; 0]);
}

#[test]
fn what_is_created_outside_of_events_has_the_default_tag() {
    let mut bench = Bench::new(|_, event| {
        if let EventKind::Data { input, .. } = event.kind {
            input.take_all();
        }
    });
    let chat = bench.listen(CHAT);
    let mut stream = peer(chat);
    write(&mut stream, "hello");
    bench.until(CHAT, "data");
    // The last event was the chat's; nothing of it is left.
    let cx = bench.reactor.context();
    cx.set_timer(Duration::ZERO, 1);
    let conn = cx.connect(chat);
    assert_eq!(cx.tag(conn), Some(Tag::default()));
    bench.until(Tag::default(), "timer");
    bench.until(Tag::default(), "open");
    bench.app.seen.clear();
    // A message has no tag, whatever came before it in its turn.
    write(&mut stream, "more");
    bench.reactor.sender().send(7).unwrap();
    bench.until(CHAT, "data");
    bench.until(Tag::default(), "timer");
    assert_eq!(bench.names(CHAT), ["data"]);
}

/// Two parts that know nothing of each other.
#[test]
fn an_application_of_parts_hands_each_event_to_the_part_that_it_is_for() {
    struct Upper;
    struct Lower;
    impl Handler<u64> for Upper {
        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
            cx.send(conn, input.take_all().to_ascii_uppercase());
        }
    }
    impl Handler<u64> for Lower {
        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
            cx.send(conn, input.take_all().to_ascii_lowercase());
        }
    }
    let (mut upper, mut lower) = (Upper, Lower);
    let mut bench = Bench::new(move |cx, event| match event.tag {
        CHAT => Handler::<u64>::on_event(&mut upper, cx, event),
        _ => Handler::<u64>::on_event(&mut lower, cx, event),
    });
    for (tag, expected) in [(CHAT, b"HELLO"), (ADMIN, b"hello")] {
        let addr = bench.listen(tag);
        let client = spawn(move || {
            let mut stream = peer(addr);
            write(&mut stream, "HeLLo");
            stream.shutdown(Shutdown::Write).unwrap();
            read_all(stream)
        });
        bench.until(tag, "close");
        assert_eq!(client.join().unwrap(), expected);
    }
}
