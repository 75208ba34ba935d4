mod files;
mod request;
#[path = "../../tls/mod.rs"]
mod tls;

use clap::Parser;
use request::{Answer, Body, Request};
use sockeye::{Closed, ConnId, ConnMap, Context, Deadline, Handler, Input, Listen, Origin};
use sockeye::{Reactor, Source, Workers, bytes::Bytes};
use std::{fs::File, io::Write as _, sync::Arc, time::Duration};

#[derive(Parser)]
#[command(about = "Serves the files of a directory by HTTP/1.1")]
struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7009")]
    listen: String,
    /// The directory to serve
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: String,
    /// Seconds that a client has to send the head of a request
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    head: u64,
    /// How many threads serve, each with a reactor of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    workers: usize,
    #[command(flatten)]
    tls: tls::Server,
}

/// The one deadline of a connection: of the head that it sends, or of the body.
const REQUEST: u32 = 0;
/// A status with its fields, and the body: bytes, or what gives them.
type Reply = (String, Bytes, Option<Source>);

struct Server {
    head_time: Duration,
    root: files::Root,
    /// Requests that have begun, and behind the head: does it go on, the answer, what is missing.
    begun: ConnMap<Option<(bool, Reply, Body)>>,
}

impl Handler<()> for Server {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        cx.set_deadline(conn, REQUEST, self.head_time);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let mut goes_on = true;
        // It looks empty once the connection is paused or closed.
        while goes_on && !input.is_empty() {
            let next = self.next(cx, conn, input);
            goes_on = next.unwrap_or_else(|why| self.send(cx, conn, false, refused(&why)));
        }
    }

    /// An answer that took its time is out: the time of the next request begins.
    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        cx.set_deadline(conn, REQUEST, self.head_time);
    }

    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        if self.begun.contains(conn) {
            self.send(cx, conn, false, refused("408 Request Timeout"));
        }
        cx.close_timed_out(conn, which);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.begun.remove(conn);
    }

    fn on_message(&mut self, cx: &mut Context, (): ()) {
        cx.finish(Duration::from_secs(10));
    }
}

impl Server {
    /// Takes a request, or a part of it. `false`: something is missing, or it was the last.
    fn next(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) -> Answer<bool> {
        if self.begun.get_or_insert_with(conn, || None).is_none() {
            let mut room = [httparse::EMPTY_HEADER; 64];
            let Some(request) = Request::parse(input, &mut room)? else {
                return Ok(false);
            };
            let (body, len) = (request.body()?, request.head_len);
            if request.is_11 && request.has("expect", "100-continue") && input.len() == len {
                cx.send(conn, "HTTP/1.1 100 Continue\r\n\r\n");
            }
            let begun = (request.keep_alive(), self.reply(cx, &request), body);
            self.begun.insert(conn, Some(begun));
            cx.set_deadline(conn, REQUEST, Duration::from_secs(60)); // for the body
            input.take(len);
        }
        let begun = self.begun.get_mut(conn).and_then(Option::as_mut);
        if !begun.map_or(Ok(false), |(.., body)| body.skip(input))? {
            return Ok(false);
        }
        let begun = self.begun.remove(conn).flatten();
        Ok(begun.is_some_and(|(keep_alive, reply, _)| self.send(cx, conn, keep_alive, reply)))
    }

    fn reply(&mut self, cx: &Context, request: &Request) -> Reply {
        let reply = match request.method {
            "GET" | "HEAD" if request.path == "/stats" && request.is_11 => {
                let text = format!("{:#?}\n", cx.stats());
                let chunks = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
                let lines = "200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked";
                Ok((lines.into(), Bytes::new(), Some(Source::each([chunks]))))
            }
            "GET" | "HEAD" => self.file(cx, request),
            "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" | "TRACE" => {
                Err("405 Method Not Allowed\r\nAllow: GET, HEAD".into())
            }
            _ => Err("501 Not Implemented".into()),
        };
        let reply = reply.unwrap_or_else(|why| refused(&why));
        match request.method == "HEAD" || reply.0.starts_with("304") {
            true => (reply.0, Bytes::new(), None),
            false => reply,
        }
    }

    /// A file, or as much of it as is wanted.
    fn file(&mut self, cx: &Context, request: &Request) -> Answer<Reply> {
        let entity = self.root.find(request, cx.wall_clock())?;
        let (status, part) = request.wants(&entity)?;
        let (start, end) = (part.start as usize, part.end as usize);
        let len = (end - start).to_string();
        let lines = [&*status, &entity.fields, "\r\nContent-Length: ", &len].concat();
        Ok(match &entity.content {
            Ok(bytes) => (lines, bytes.slice(start..end), None),
            Err(file) => (lines, Bytes::new(), Some(Source::file(file.clone(), part))),
        })
    }

    /// Sends an answer. Says whether the next request may come.
    fn send(&mut self, cx: &mut Context, conn: ConnId, keep_alive: bool, reply: Reply) -> bool {
        let (lines, bytes, source) = reply;
        let date = httpdate::fmt_http_date(cx.wall_clock());
        let how = if keep_alive { "keep-alive" } else { "close" };
        let head = format!("HTTP/1.1 {lines}\r\nDate: {date}\r\nConnection: {how}\r\n\r\n");
        cx.send(conn, (&head, bytes));
        source.map(|source| cx.send_from(conn, source));
        if !keep_alive {
            cx.close(conn);
        } else if cx.is_waiting(conn) {
            // The answer takes its time: the next request waits, and so does its deadline.
            cx.clear_deadline(conn, REQUEST);
            cx.pause_until_drained(conn);
        } else {
            cx.set_deadline(conn, REQUEST, self.head_time);
        }
        keep_alive
    }
}

/// A status, and perhaps fields, instead of what was wanted.
fn refused(why: &str) -> Reply {
    let text = why.lines().next().unwrap_or_default()[4..].to_owned() + "\n";
    let lines = format!(
        "{why}\r\nContent-Type: text/plain\r\nContent-Length: {}",
        text.len()
    );
    (lines, text.into(), None)
}

pub(crate) fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let listen = args.tls.over(Listen::new(args.listen.as_str()))?;
    let root = Arc::new(File::open(&args.root)?);
    let server = move || Server {
        head_time: Duration::from_secs(args.head),
        root: files::Root::new(root.clone()),
        begun: ConnMap::new(),
    };
    let mut out = std::io::stdout(); // `println` would panic if nobody can read it
    if args.workers > 1 {
        let mut workers = Workers::new(args.workers)?;
        let listener = workers.listen(listen)?;
        let addr = workers.listener_addr(listener).cloned();
        let running = workers.start(move |_| server())?;
        let team = running.team().clone();
        ctrlc::set_handler(move || _ = team.finish(Duration::from_secs(10)))?;
        addr.map(|addr| writeln!(out, "listening on {addr}"));
        let _ = writeln!(out, "finished: {}", running.join());
        return Ok(());
    }
    let mut reactor = Reactor::with_messages()?;
    let sender = reactor.sender();
    ctrlc::set_handler(move || _ = sender.send(()))?;
    let listener = reactor.listen(listen)?;
    let addr = reactor.context().listener_addr(listener);
    addr.map(|addr| writeln!(out, "listening on {addr}"));
    let _ = writeln!(out, "finished: {}", reactor.run(&mut server())?);
    Ok(())
}
