//! Input that comes to look empty in a callback, and what becomes of it: F1.

use super::*;

/// What a callback does. (No function pointers: whether two of them are one nobody promises.)
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Close,
    Abort,
    Pause,
    PauseAndResume,
    /// Meets the hard limit, which resets the connection, if the peer has left some of what was
    /// sent.
    TooMuch,
    Shut,
}

impl Step {
    fn take(self, cx: &mut Context, conn: ConnId) {
        match self {
            Step::Close => _ = cx.close(conn),
            Step::Abort => _ = cx.abort(conn),
            Step::Pause => _ = cx.pause_reads(conn),
            Step::PauseAndResume => {
                cx.pause_reads(conn);
                cx.resume_reads(conn);
            }
            Step::TooMuch => assert_eq!(cx.send(conn, vec![0; 2 << 20]), Sent::Gone),
            Step::Shut => _ = cx.shutdown_write(conn),
        }
    }
}

impl Bench {
    fn steps(&mut self, step: Step) {
        let take = move |cx: &mut Context, conn| step.take(cx, conn);
        self.app.on_data.push_back(Box::new(take));
    }

    /// Accepts one for whom this step will do.
    fn accept_for(&mut self, step: Step) -> (usize, ConnId) {
        let (socket, conn) = self.accept();
        if step == Step::TooMuch {
            self.write_steps(socket, [BLOCK]);
            self.cx().send(conn, vec![0; 100_000]);
            self.settle();
        }
        (socket, conn)
    }
}

#[test]
fn what_ends_or_pauses_a_connection_hides_the_rest_of_its_input() {
    for (step, shown) in [
        (Step::Close, 0),
        (Step::Abort, 0),
        (Step::Pause, 0),
        (Step::TooMuch, 0),
        (Step::PauseAndResume, 4),
        (Step::Shut, 4),
    ] {
        for echo in [false, true] {
            let mut bench = Bench::new();
            (bench.app.leave, bench.app.echo) = (4, echo);
            bench.steps(step);
            let (socket, _) = bench.accept_for(step);
            bench.script.arrives(socket, b"hello");
            bench.settle();
            assert_eq!(bench.app.shown[0], shown);
        }
    }
}

#[test]
fn what_a_pause_has_hidden_is_offered_again() {
    for echo in [false, true] {
        let mut bench = Bench::new();
        (bench.app.leave, bench.app.echo) = (4, echo);
        bench.steps(Step::Pause);
        let (socket, conn) = bench.accept();
        bench.script.arrives(socket, b"hello");
        bench.settle();
        bench.app.leave = 1;
        bench.cx().resume_reads(conn);
        bench.settle();
        assert_eq!(bench.seen(), ["open", "data 5", "data 4"]);
        // It was joined with nothing; so is this, with what has come since.
        bench.steps(Step::Pause);
        bench.script.arrives(socket, b" world");
        bench.settle();
        bench.cx().resume_reads(conn);
        bench.settle();
        assert_eq!(bench.app.shown, [0, 1, 0, 1]);
        assert_eq!(bench.app.received, b"hello worl");
    }
}

#[test]
fn a_joined_input_is_hidden_too() {
    for step in [Step::Close, Step::Abort, Step::Pause, Step::TooMuch] {
        let mut bench = Bench::new();
        bench.app.leave = 16;
        let ((one, _), (two, _)) = (bench.accept_for(step), bench.accept());
        bench.script.arrives(one, b"a long beginning");
        bench.settle();
        // It moves out of the receive buffer for another read, and is longer than what comes next.
        bench.script.arrives(two, b"x");
        bench.settle();
        bench.app.leave = 9;
        bench.steps(step);
        bench.script.arrives(one, b".");
        bench.settle();
        assert_eq!(bench.app.shown.last(), Some(&0));
        assert!(bench.seen().contains(&"data 17".to_owned()));
    }
}

#[test]
fn each_callback_begins_with_its_input_in_sight() {
    for step in [Step::Close, Step::Abort, Step::Pause, Step::TooMuch] {
        for echo in [false, true] {
            let mut bench = Bench::new();
            (bench.app.leave, bench.app.echo) = (2, echo);
            bench.steps(step);
            let ((one, _), (two, _)) = (bench.accept_for(step), bench.accept());
            bench.script.arrives(one, b"first");
            bench.script.arrives(two, b"second");
            bench.settle();
            assert_eq!(bench.app.shown, [0, 2]);
        }
    }
}
