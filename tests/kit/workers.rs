//! Workers for the tests, with a handler that counts what all of them have seen.

use crate::kit::{PATIENCE, peer, read_n};
use sockeye::{
    Accept, Addr, Closed, Config, ConnId, Context, Handler, Input, Listen, ListenerId, Origin,
    Reason, Running, Team, Workers, WorkersReport,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// What a test says to a worker.
#[derive(Clone)]
pub enum Say {
    /// Panics.
    Panic,
    /// Finishes, this worker alone.
    Finish,
    /// Closes its listener.
    Unlisten,
    /// Pauses its listener.
    Pause,
    /// Waits until the test drops the other end, and does something then.
    Block(
        Arc<Mutex<mpsc::Receiver<()>>>,
        mpsc::Sender<()>,
        Option<Box<Say>>,
    ),
    /// A text for all connections.
    Text(&'static str),
}

/// What all workers have seen.
#[derive(Default)]
pub struct Seen {
    /// Connections that are open, by worker.
    pub open: Vec<AtomicUsize>,
    pub accepts: AtomicUsize,
    pub opened: AtomicUsize,
    pub finished: AtomicUsize,
    pub closed: AtomicUsize,
    pub handlers: AtomicUsize,
    pub errors: AtomicUsize,
    pub listeners: Mutex<Vec<ListenerId>>,
    pub reasons: Mutex<Vec<String>>,
}

impl Seen {
    pub fn shares(&self) -> Vec<usize> {
        self.open.iter().map(|open| open.load(SeqCst)).collect()
    }
}

/// Sends back the number of its worker at the beginning, and then what comes.
pub struct App {
    pub number: usize,
    pub seen: Arc<Seen>,
    pub listener: Option<ListenerId>,
    pub conns: Vec<ConnId>,
}

impl Handler<Say> for App {
    fn on_accept(&mut self, cx: &mut Context, listener: ListenerId, _: &Addr) -> Accept {
        assert!(cx.listener_addr(listener).is_some());
        self.seen.accepts.fetch_add(1, SeqCst);
        self.seen.listeners.lock().unwrap().push(listener);
        Accept::Keep
    }

    fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {
        let Origin::Accepted(listener) = origin else {
            panic!("{origin:?}")
        };
        assert!(cx.listener_addr(listener).is_some());
        self.seen.opened.fetch_add(1, SeqCst);
        self.seen.open[self.number].fetch_add(1, SeqCst);
        self.conns.push(conn);
        cx.send(conn, self.number.to_string());
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        cx.send(conn, input.take_all());
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        self.seen.finished.fetch_add(1, SeqCst);
        cx.send(conn, "bye");
        cx.close(conn);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, closed: Closed) {
        self.seen.closed.fetch_add(1, SeqCst);
        self.seen.open[self.number].fetch_sub(1, SeqCst);
        self.conns.retain(|other| *other != conn);
        self.seen
            .reasons
            .lock()
            .unwrap()
            .push(format!("{:?}", closed.reason));
        assert!(!matches!(closed.reason, Reason::Io(_)), "{closed:?}");
    }

    fn on_accept_error(&mut self, _: &mut Context, _: ListenerId, _: std::io::Error) {
        self.seen.errors.fetch_add(1, SeqCst);
    }

    fn on_message(&mut self, cx: &mut Context, say: Say) {
        match say {
            Say::Panic => panic!("as the test has asked for"),
            Say::Finish => cx.finish(PATIENCE),
            Say::Unlisten => drop(self.listener.map(|listener| cx.unlisten(listener))),
            Say::Pause => drop(self.listener.map(|listener| cx.pause_accepts(listener))),
            Say::Block(until, blocked, then) => {
                blocked.send(()).ok();
                until.lock().unwrap().recv().ok();
                if let Some(then) = then {
                    self.on_message(cx, *then);
                }
            }
            Say::Text(text) => {
                for conn in &self.conns {
                    cx.send(*conn, text);
                }
            }
        }
    }
}

/// Peers who stay are not waited for.
pub fn config() -> Config {
    let mut config = Config::default();
    config.limits.linger_silence = Duration::from_millis(50);
    config
}

/// Workers that run, and where they listen.
pub struct Kit {
    pub running: Running<Say>,
    pub addr: SocketAddr,
    pub seen: Arc<Seen>,
}

impl Kit {
    pub fn new(workers: usize) -> Kit {
        Kit::with(
            Workers::with_config(workers, config()).unwrap(),
            Listen::new("127.0.0.1:0"),
            workers,
        )
    }

    pub fn with(mut workers: Workers, listen: Listen, count: usize) -> Kit {
        let listener = workers.listen(listen).unwrap();
        let addr = workers.listener_addr(listener).unwrap().clone();
        let seen = Arc::new(Seen {
            open: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            ..Seen::default()
        });
        let all = seen.clone();
        let running = workers.start(move |worker| {
            all.handlers.fetch_add(1, SeqCst);
            assert!(worker.context().listener_addr(listener).is_some());
            all.open[worker.number()].store(0, SeqCst);
            App {
                number: worker.number(),
                seen: all.clone(),
                listener: Some(listener),
                conns: Vec::new(),
            }
        });
        let running = running.unwrap();
        let addr = addr.ip().unwrap_or(([0, 0, 0, 0], 0).into());
        Kit {
            running,
            addr,
            seen,
        }
    }

    pub fn team(&self) -> &Team<Say> {
        self.running.team()
    }

    /// A peer that has heard which worker has it.
    pub fn peer(&self) -> (std::net::TcpStream, usize) {
        let mut peer = peer(self.addr);
        let number = read_n(&mut peer, 1)[0] - b'0';
        (peer, number.into())
    }

    /// Blocks a worker until the answer is dropped.
    pub fn block(&self, worker: usize) -> mpsc::Sender<()> {
        self.block_before(worker, None)
    }

    /// Blocks a worker, which does something as soon as the answer is dropped.
    pub fn block_before(&self, worker: usize, then: Option<Say>) -> mpsc::Sender<()> {
        let ((release, until), (blocked, is)) = (mpsc::channel(), mpsc::channel());
        let until = Arc::new(Mutex::new(until));
        let then = then.map(Box::new);
        self.team()[worker]
            .send(Say::Block(until, blocked, then))
            .ok()
            .unwrap();
        is.recv().unwrap();
        release
    }

    pub fn finish(self) -> WorkersReport {
        assert!(self.team().finish(PATIENCE));
        let report = self.running.join();
        assert!(
            self.seen.opened.load(SeqCst) == self.seen.closed.load(SeqCst) || has_panicked(&report)
        );
        report
    }
}

pub fn has_panicked(report: &WorkersReport) -> bool {
    report
        .workers
        .iter()
        .any(|worker| !worker.panics.is_empty())
}

#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

/// Connections that wait behind a listener, by /proc/net/tcp; elsewhere none are seen.
pub fn waiting_in_backlog(addr: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = format!(":{:04X}", addr.port());
    let listens = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut listens =
        listens.filter(|line| line.len() > 4 && line[1].ends_with(&port) && line[3] == "0A");
    listens.next().map_or(0, |line| {
        let queued = line[4].split(':').next_back().unwrap_or_default();
        usize::from_str_radix(queued, 16).unwrap_or(0)
    })
}
