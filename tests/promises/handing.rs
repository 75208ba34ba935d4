//! Adoption and release: sockets that come from elsewhere, and connections that are given away.

use crate::kit;
use crate::kit::places::go_on_alone;
use crate::kit::{Kit, default, descriptors, echo, read_all, read_n, spawn, unix_path, write};
use socket2::{Domain, Socket, Type};
use sockeye::{
    Adopt, Config, ConnId, Context, EventKind, Origin, Reactor, Reason, Released, Sent, Source,
};
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

/// Two ends of a connection over TCP, of which nobody has changed anything.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    let flags = rustix::fs::fcntl_getfl(fd).unwrap();
    flags.contains(rustix::fs::OFlags::NONBLOCK)
}

// A1
#[test]
fn an_adopted_stream_is_as_one_of_our_own_whatever_it_had_waiting() {
    let (ours, mut theirs) = pair();
    let (unix_ours, mut unix_theirs) = UnixStream::pair().unwrap();
    write(&mut theirs, "before");
    write(&mut unix_theirs, "before");
    assert!(!is_nonblocking(&ours));
    let twin = ours.try_clone().unwrap();
    let origins = Rc::new(RefCell::new(Vec::new()));
    let seen = origins.clone();
    let mut kit = Kit::new(move |cx, event| {
        if let EventKind::Open { origin, .. } = event {
            seen.borrow_mut().push(origin);
        }
        echo(cx, event);
    });
    let tcp = kit.cx().adopt(Adopt::new(ours)).unwrap();
    let unix = kit
        .cx()
        .adopt(Adopt::new(OwnedFd::from(unix_ours)))
        .unwrap();
    assert!(is_nonblocking(&twin), "it is one open socket");
    drop(twin);
    // It is told from the loop.
    assert!(!kit.cx().is_open(tcp) && origins.borrow().is_empty());
    let peer = theirs.local_addr().unwrap();
    assert_eq!(kit.cx().peer_addr(tcp).unwrap().ip(), Some(peer));
    write(&mut theirs, " and after");
    theirs.shutdown(Shutdown::Write).unwrap();
    unix_theirs.shutdown(Shutdown::Write).unwrap();
    let answers = spawn(move || (read_all(theirs), read_all(unix_theirs)));
    let (one, other) = kit.until_done(answers);
    assert_eq!(
        (&one[..], &other[..]),
        (&b"before and after"[..], &b"before"[..])
    );
    kit.until_all_closed();
    for conn in [tcp, unix] {
        let callbacks = &kit.log().life(conn).callbacks;
        assert_eq!((callbacks[0], callbacks.last()), ("open", Some(&"close")));
    }
    assert_eq!(*origins.borrow(), [Origin::Adopted; 2]);
    assert_eq!(
        (kit.cx().stats().adopted, kit.cx().stats().connected),
        (2, 0)
    );
    kit.end();
}

// A1
#[test]
fn an_adopted_listener_accepts_those_who_have_waited_and_leaves_its_file() {
    let path = unix_path();
    let (tcp, unix) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        UnixListener::bind(&path).unwrap(),
    );
    let addr = tcp.local_addr().unwrap();
    let mut early = TcpStream::connect(addr).unwrap();
    let mut unix_early = UnixStream::connect(&path).unwrap();
    let mut kit = Kit::new(echo);
    let tcp = kit.cx().adopt_listener(Adopt::new(tcp)).unwrap();
    let unix = kit.cx().adopt_listener(Adopt::new(unix)).unwrap();
    assert_eq!(kit.cx().listener_addr(tcp).unwrap().ip(), Some(addr));
    assert_eq!(kit.cx().listener_addr(unix).unwrap().path(), Some(&*path));
    kit.until("both are accepted", |log| log.count("open") == 2);
    for (stream, listener) in kit.log().ids.clone().into_iter().zip([tcp, unix]) {
        let origin = kit.cx().origin(stream);
        let known = [tcp, unix].map(|one| Some(Origin::Accepted(one)));
        assert!(known.contains(&origin), "{listener}");
    }
    write(&mut early, "hi");
    write(&mut unix_early, "hi");
    let answers = spawn(move || (read_n(&mut early, 2), read_n(&mut unix_early, 2)));
    assert_eq!(kit.until_done(answers), (b"hi".to_vec(), b"hi".to_vec()));
    kit.until_all_closed();
    assert!(kit.cx().unlisten(unix) && kit.cx().unlisten(tcp));
    assert!(path.exists());
    std::fs::remove_file(path).unwrap();
    kit.end();
}

// A1
#[test]
fn what_cannot_be_adopted_is_refused_with_a_reason_and_not_changed() {
    go_on_alone!(); // it counts descriptors
    let mut kit = Kit::new(default);
    let before = descriptors();
    let unconnected = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let file = || std::fs::File::open("/dev/null").unwrap();
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let cases: [(OwnedFd, &str); 4] = [
        (unconnected().into(), "not connected"),
        (file().into(), "not a socket"),
        (listener().into(), "adopt_listener"),
        (datagrams().into(), "datagram socket"),
    ];
    for (socket, why) in cases {
        let twin = socket.try_clone().unwrap();
        let error = kit.cx().adopt(Adopt::new(socket)).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!is_nonblocking(twin));
    }
    let cases: [(OwnedFd, &str); 4] = [
        (unconnected().into(), "does not listen"),
        (pair().0.into(), "does not listen"),
        (file().into(), "not a socket"),
        (datagrams().into(), "datagram socket"),
    ];
    for (socket, why) in cases {
        let twin = socket.try_clone().unwrap();
        let error = kit.cx().adopt_listener(Adopt::new(socket)).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!is_nonblocking(twin));
    }
    assert_eq!(descriptors(), before);
    kit.end();
}

// A1
#[test]
fn a_stream_whose_peer_has_reset_it_is_refused_or_ends_so() {
    let (ours, theirs) = pair();
    let mut kit = Kit::new(default);
    kit::reset(theirs);
    // The RST may be on its way still.
    if let Ok(conn) = kit.cx().adopt(Adopt::new(ours)) {
        kit.until("it ends", |log| log.is_closed(conn));
        assert!(matches!(kit.log().life(conn).reason(), Reason::Reset));
    }
    kit.end();
}

// A1
#[test]
fn adopting_obeys_the_cap_and_senseless_limits() {
    let config = Config::default().max_connections(1);
    let mut kit = Kit::with_config(config, default);
    let (one, _one) = pair();
    let (two, _two) = pair();
    let conn = kit.cx().adopt(Adopt::new(one)).unwrap();
    let error = kit.cx().adopt(Adopt::new(two)).unwrap_err();
    assert!(error.to_string().contains("max_connections"), "{error}");
    kit.cx().abort(conn);
    kit.end();
}

/// What the `on_close` of a connection was given, once it has come.
fn given<F>(kit: &mut Kit<F>, conn: ConnId) -> Option<Released> {
    let life = kit.app.log.lives.get_mut(conn)?;
    let closed = life.closed.as_mut()?;
    assert_eq!((closed.undelivered, closed.is_clean()), (0, true));
    match std::mem::replace(&mut closed.reason, Reason::Local) {
        Reason::Released(released) => Some(*released),
        Reason::Eof => None, // its peer was quicker
        other => panic!("{other:?}"),
    }
}

// A1
#[test]
fn a_released_connection_takes_its_input_and_its_output_along_in_order() {
    for (take, send) in [(0, &b""[..]), (3, b""), (3, b" more"), (9, b" more")] {
        let mut kit = Kit::new(move |cx, event| match event {
            EventKind::Data { conn, input } => {
                cx.send(conn, input.take(take)); // lent
                cx.send(conn, send);
                cx.release(conn).unwrap();
                assert!(input.is_empty(), "the rest goes with it");
                assert!(cx.release(conn).is_err());
                assert_eq!(cx.send(conn, "late"), Sent::Gone);
                assert_eq!(cx.broadcast([conn], "late").gone, 1);
            }
            event => default(cx, event),
        });
        let (mut peer, conn) = kit.accept();
        write(&mut peer, "123456789");
        kit.until("it is given away", |log| log.is_closed(conn));
        assert!(kit.cx().origin(conn).is_none());
        let released = given(&mut kit, conn).unwrap();
        assert_eq!(released.input, &b"123456789"[take..]);
        assert!(!released.shuts, "nobody has asked for that");
        // The peer gets what was sent before the release, and then what the new owner sends.
        let mut stream = TcpStream::from(released.stream);
        stream.set_nonblocking(false).unwrap();
        stream.write_all(&released.output).unwrap();
        stream.write_all(b"!").unwrap();
        write(&mut peer, "abc");
        let mut rest = [0; 3];
        stream.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"abc");
        drop(stream);
        let expected = [&b"123456789"[..take], send, b"!"].concat();
        assert_eq!(read_all(peer), expected);
        kit.end();
    }
}

// A1: what was left earlier lies in the loop's receive buffer when another callback releases.
#[test]
fn what_an_earlier_callback_has_left_goes_along() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Data { input, .. } => drop(input.take(1)),
        event => default(cx, event),
    });
    let (mut peer, conn) = kit.accept();
    write(&mut peer, "1234");
    kit.until("it has come", |log| !log.life(conn).received.is_empty());
    kit.cx().release(conn).unwrap();
    kit.until("it is given away", |log| log.is_closed(conn));
    let calls = kit.log().life(conn).count("data");
    let released = given(&mut kit, conn).unwrap();
    assert_eq!(released.input, &b"1234"[calls..]);
    kit.end();
}

// A1: input that is left at the end of the peer's, in `on_eof`.
#[test]
fn what_is_left_at_the_peers_end_goes_along() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Data { .. } => {}
        EventKind::Eof { conn, .. } => cx.release(conn).unwrap(),
        event => default(cx, event),
    });
    let (mut peer, conn) = kit.accept();
    write(&mut peer, "half a mess");
    peer.shutdown(Shutdown::Write).unwrap();
    kit.until("it is given away", |log| log.is_closed(conn));
    let released = given(&mut kit, conn).unwrap();
    assert_eq!(released.input, b"half a mess");
    // The new owner meets the end, too.
    let mut stream = TcpStream::from(released.stream);
    stream.set_nonblocking(false).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    kit.end();
}

// A1: what a peer does not read goes along, megabytes of it, and the end that was asked for.
#[test]
fn a_released_connection_takes_along_what_its_peer_has_not_read() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, vec![b'x'; 8 << 20]);
            cx.shutdown_write(conn);
        }
        event => default(cx, event),
    });
    let addr = kit.listen();
    let mut peer = kit::small_peer(addr);
    kit.until("it is open", |log| log.count("open") == 1);
    let conn = kit.log().ids[0];
    kit.turn();
    assert!(kit.cx().pending(conn) > 0);
    kit.cx().release(conn).unwrap();
    kit.turn();
    let released = given(&mut kit, conn).unwrap();
    assert!(released.shuts && !released.output.is_empty());
    let text = format!("{released:?}");
    assert!(!text.contains("120"), "no payload in it: {text}");
    let mut stream = TcpStream::from(released.stream);
    stream.set_nonblocking(false).unwrap();
    let writer = spawn(move || {
        stream.write_all(&released.output).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream
    });
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert!(all.len() == 8 << 20 && all.iter().all(|byte| *byte == b'x'));
    drop(writer.join().unwrap());
    kit.end();
}

// A1: from one loop to another and back, while the peer goes on.
#[test]
fn a_connection_goes_from_loop_to_loop_and_no_byte_is_lost() {
    const BYTES: usize = 300_000;
    let handler = || {
        |cx: &mut Context, event: EventKind<'_>| match event {
            EventKind::Data { conn, input } => {
                // Each callback takes a part, and leaves the rest to the next loop.
                let part = input.take(input.len().div_ceil(2));
                cx.send(conn, part);
                cx.release(conn).unwrap();
            }
            event => echo(cx, event),
        }
    };
    let mut kits = [Kit::new(handler()), Kit::new(handler())];
    let (ours, mut theirs) = pair();
    let sent = kit::pattern(BYTES);
    let copy = sent.clone();
    let peer = spawn(move || {
        let mut reader = theirs.try_clone().unwrap();
        let reader = spawn(move || read_n(&mut reader, BYTES));
        theirs.write_all(&copy).unwrap();
        reader.join().unwrap()
    });
    // What the last loop had of it is the next one's to deal with, before all that comes.
    let mut socket = OwnedFd::from(ours);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut moves = 0;
    while !peer.is_finished() {
        let kit = &mut kits[moves % 2];
        let conn = kit.cx().adopt(Adopt::new(socket)).unwrap();
        kit.cx().send(conn, std::mem::take(&mut output));
        kit.cx().send(conn, std::mem::take(&mut input));
        kit.until("it goes on", |log| {
            peer.is_finished()
                || log
                    .lives
                    .get(conn)
                    .is_some_and(|life| life.closed.is_some())
        });
        let Some(released) = given(kit, conn) else {
            kit.cx().abort(conn);
            break;
        };
        moves += 1;
        socket = released.stream;
        (input, output) = (released.input, released.output);
    }
    assert!(
        peer.join().unwrap() == sent,
        "the same bytes in the same order"
    );
    assert!(moves > 1, "{moves}");
    kits.into_iter().for_each(Kit::end);
}

// A1
#[test]
fn what_is_not_open_is_not_released() {
    let (_held, addr) = kit::places::refusing();
    let mut kit = Kit::new(default);
    let conn = kit.connect(addr);
    assert_eq!(
        kit.cx().release(conn).unwrap_err().kind(),
        ErrorKind::NotConnected
    );
    kit.until("it is refused", |log| log.is_closed(conn));
    assert_eq!(
        kit.cx().release(conn).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let (_peer, open) = kit.accept();
    // A source would have to come along.
    let source = Source::each(std::iter::repeat_n("x", 1 << 20));
    kit.cx().send_from(open, source);
    let error = kit.cx().release(open).unwrap_err();
    assert!(error.to_string().contains("source"), "{error}");
    kit.cx().abort(open);
    kit.until_all_closed();
    let (_peer, open) = kit.accept();
    kit.cx().send(open, "x");
    kit.cx().close(open);
    assert_eq!(
        kit.cx().release(open).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    kit.until_all_closed();
    kit.end();
}

// A1: before `run`, as everything that a program begins with.
#[test]
fn a_program_adopts_before_it_runs() {
    struct Once;
    impl sockeye::Handler for Once {
        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut sockeye::Input) {
            cx.send(conn, input.take_all());
            cx.stop();
        }
    }
    let (ours, mut theirs) = pair();
    write(&mut theirs, "hi");
    let mut reactor = Reactor::new().unwrap();
    reactor.context().adopt(Adopt::new(ours)).unwrap();
    reactor.run(&mut Once).unwrap();
    assert_eq!(read_n(&mut theirs, 2), b"hi");
}

// A1, W4
#[test]
fn a_write_to_an_adopted_socket_whose_peer_has_left_raises_no_signal() {
    go_on_alone!(); // what a signal does is the process's
    crate::writing_signals::sigpipe_kills();
    let mut kit = Kit::new(default);
    // As another language makes them: on Apple's systems std's own are told to raise none.
    let (ours, theirs) = Socket::pair_raw(Domain::UNIX, Type::STREAM, None).unwrap();
    let conn = kit.cx().adopt(Adopt::new(ours)).unwrap();
    drop(theirs);
    assert_eq!(kit.cx().send(conn, "x"), Sent::Queued);
    kit.until("it is closed", |log| log.count("close") == 1);
    let life = kit.log().life(conn);
    assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
    kit.end();
}
