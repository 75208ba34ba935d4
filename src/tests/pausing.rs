//! Pauses that end by themselves, and those that several reasons share.

use super::*;
use crate::codec::UntilEof;
use crate::readiness::Readiness;
use crate::{Chunk, FrameHandler, Framed};

// F6
#[test]
fn a_pause_until_drained_tells_nobody_who_was_not_told_to_wait() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    // So little that nothing would end the pause, and just enough.
    bench.cx().send(conn, vec![0; 16 * 1024]);
    assert!(!bench.cx().pause_until_drained(conn) && !bench.cx().is_paused(conn));
    assert_eq!(bench.cx().send(conn, "x"), Sent::Queued);
    assert!(bench.cx().pause_until_drained(conn));
    bench.script.arrives(socket, b"hello");
    bench.settle();
    assert_eq!(bench.seen(), ["open"]);
    bench.fill(socket, false);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["data 5"], "and no drain");
    assert!(!bench.cx().is_paused(conn));
}

// F6
#[test]
fn a_pause_until_drained_undoes_no_other_pause() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    assert_eq!(bench.cx().send(conn, vec![0; 65 * 1024]), Sent::Wait);
    assert!(bench.cx().pause_until_drained(conn) && bench.cx().pause_reads(conn));
    bench.script.arrives(socket, b"hello");
    bench.cx().resume_reads(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["open"], "what is pending has not drained");
    bench.cx().pause_reads(conn);
    bench.fill(socket, false);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["drain"]);
    assert!(bench.cx().is_paused(conn));
    bench.cx().resume_reads(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["data 5"]);
}

// F6: a pause in the very `on_drain` is another one.
#[test]
fn a_pause_that_begins_as_another_ends_holds() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    bench.cx().send(conn, vec![0; 65 * 1024]);
    bench.cx().pause_until_drained(conn);
    let again: Step = Box::new(|cx, conn| {
        assert!(!cx.pause_until_drained(conn), "nothing is pending");
        assert_eq!(cx.send(conn, vec![0; 65 * 1024]), Sent::Wait);
        assert!(cx.pause_until_drained(conn));
    });
    bench.app.on_drain.push_back(again);
    bench.write_steps(socket, [WriteStep::Take(65 * 1024), BLOCK]);
    bench.script.arrives(socket, b"hello");
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["open", "drain"]);
    assert!(bench.cx().is_paused(conn));
    bench.fill(socket, false);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["drain", "data 5"]);
}

// F6, J4: what can never be sent is not waited for, and bytes of a broadcast count as others.
#[test]
fn a_pause_until_drained_ends_with_a_failed_write_and_with_a_broadcast() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    bench.cx().send(conn, vec![0; 20 * 1024]);
    assert!(bench.cx().pause_until_drained(conn));
    bench.script.socket(socket, |socket| {
        socket.reads.push_back(Ok(b"last".to_vec()));
    });
    bench.write_steps(socket, [RESET]);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    let lost = "close reset by peer, 20480 bytes undelivered";
    assert_eq!(bench.seen(), ["open", "data 4", lost]);

    let (socket, conn) = bench.accept();
    // Small ones, which lie in the turn's block.
    for _ in 0..200 {
        bench.cx().broadcast([conn], vec![0; 100]);
    }
    assert!(bench.cx().pause_until_drained(conn));
    bench.script.arrives(socket, b"hello");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 5"]);

    // A close means that no pause is left, of whatever kind.
    bench.fill(socket, true);
    bench.cx().send(conn, vec![0; 20 * 1024]);
    assert!(bench.cx().pause_until_drained(conn) && bench.cx().close(conn));
    assert!(!bench.cx().is_paused(conn) && !bench.cx().pause_until_drained(conn));
    bench.fill(socket, false);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["close closed locally"]);
}

// F6: what was lent is pending too, until it is written as the callback returns.
#[test]
fn a_pause_in_the_callback_whose_input_is_lent_ends_when_that_is_out() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.app.echo = true;
    for size in [20 * 1024, 100 * 1024] {
        let pause: Step = Box::new(|cx, conn| assert!(cx.pause_until_drained(conn)));
        bench.app.on_data.push_back(pause);
        bench.script.arrives(socket, &vec![0; size]);
        bench.settle();
        assert!(!bench.cx().is_paused(conn));
        bench.script.arrives(socket, b"more");
        bench.settle();
    }
    let seen = bench.seen();
    let told = [
        "open",
        "data 20480",
        "data 4",
        "data 102400",
        "drain",
        "data 4",
    ];
    assert_eq!(seen, told);
}

/// Pauses in each frame.
#[derive(Default)]
struct Frames(Vec<String>);

impl FrameHandler<UntilEof, u64> for Frames {
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, frame: Chunk<'_>) {
        self.0.push(format!("frame {}", frame.len()));
        cx.pause_reads(conn);
    }

    fn on_eof(&mut self, _: &mut Context, _: ConnId) {
        self.0.push("eof".to_owned());
    }
}

// F6: the end of a stream that gave nothing may be a frame, and the end is told behind that.
#[test]
fn a_pause_in_the_last_frame_puts_the_end_off() {
    for bytes in [&b""[..], b"abc"] {
        let mut bench = Bench::new();
        let mut app = Framed::new(UntilEof::new(10), Frames::default());
        let socket = bench.script.incoming();
        let settle = |bench: &mut Bench, app: &mut Framed<UntilEof, Frames>| {
            for _ in 0..5 {
                bench.reactor.turn(app, Some(Duration::ZERO)).unwrap();
            }
        };
        settle(&mut bench, &mut app);
        if !bytes.is_empty() {
            bench.script.arrives(socket, bytes);
            settle(&mut bench, &mut app);
        }
        bench.script.arrives(socket, b"");
        settle(&mut bench, &mut app);
        let frame = format!("frame {}", bytes.len());
        assert_eq!(app.handler().0, std::slice::from_ref(&frame));
        let conn = bench.cx().connections().next().unwrap();
        assert!(bench.cx().resume_reads(conn));
        settle(&mut bench, &mut app);
        assert_eq!(app.handler().0, [frame, "eof".to_owned()]);
    }
}
