//! A file server: HTTP/1.1 with keep-alive, pipelining, ranges and conditions, and no way out of
//! its root.
//!
//! It teaches *sources*: a file of any size is one line, `send_from(conn, Source::file(..))`, and
//! the next request waits until it is out, by `pause_until_drained`. Besides: a deadline that no
//! drip puts off, bodies that are thrown away, an answer in chunks whose length nobody knows.
//!
//! Try it: `cargo run --example http_files -- --root docs`, then `curl -v 127.0.0.1:7009/guide/`.

mod entity;
mod request;

use clap::Parser;
use entity::{Content, Entity, Root, date, kind};
use request::{Body, Request, Step};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sockeye::{
    Closed, ConnId, ConnMap, Context, Deadline, Handler, Input, Origin, Reactor, Source,
};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::ops::Range;
use std::time::{Duration, SystemTime};

#[derive(Parser)]
#[command(about = "Serves the files of a directory by HTTP/1.1")]
struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7009")]
    listen: String,
    /// The directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: String,
    /// Seconds for the head of a request, from the first chance to send it
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    head: u64,
}

/// The one deadline of a connection: of the head that it sends, or of the body.
const REQUEST: u32 = 0;
const BODY_TIME: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Client {
    /// The request whose body is under way.
    body: Option<(Request, Body)>,
    /// Some of a request has come.
    has_begun: bool,
}

struct Server {
    args: Args,
    root: Root,
    clients: ConnMap<Client>,
    /// The date as text, and for which second.
    date: (u64, String),
}

impl Handler<i32> for Server {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        self.clients.insert(conn, Client::default());
        cx.set_deadline(conn, REQUEST, Duration::from_secs(self.args.head));
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        // It looks empty once the connection is paused or closed.
        while !input.is_empty() {
            match self.next(cx, conn, input) {
                Ok(Some(request)) => self.answer(cx, conn, &request),
                Ok(None) => break,
                Err(status) => {
                    self.say(cx, conn, &Request::default(), status, "");
                    cx.close(conn);
                }
            }
        }
        if let Some(client) = self.clients.get_mut(conn) {
            client.has_begun = client.body.is_some() || !input.is_empty();
        }
    }

    /// An answer from a source is out: the time of the next request begins.
    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        cx.set_deadline(conn, REQUEST, Duration::from_secs(self.args.head));
    }

    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        let client = self.clients.get(conn);
        if client.is_some_and(|client| client.has_begun) {
            self.say(cx, conn, &Request::default(), 408, "");
        }
        cx.close_timed_out(conn, which);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.clients.remove(conn);
    }

    fn on_message(&mut self, cx: &mut Context, _: i32) {
        cx.finish(GRACE);
    }
}

impl Server {
    /// The next request whose body has come. `None`: something is missing.
    fn next(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) -> Step {
        let client = self.clients.get_or_insert_with(conn, Client::default);
        if client.body.is_none() {
            let Some((request, body, len)) = request::head(input)? else {
                return Ok(None);
            };
            input.take(len);
            if request.expects_continue && input.is_empty() {
                cx.send(conn, "HTTP/1.1 100 Continue\r\n\r\n");
            }
            if !body.is_empty() {
                cx.set_deadline(conn, REQUEST, BODY_TIME);
            }
            client.body = Some((request, body));
        }
        let is_over = client.body.as_mut().map(|(_, body)| body.skip(input));
        Ok(match is_over.transpose()? {
            Some(true) => client.body.take().map(|(request, _)| request),
            _ => None,
        })
    }

    fn answer(&mut self, cx: &mut Context, conn: ConnId, request: &Request) {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/stats") => self.stats(cx, conn, request),
            ("GET" | "HEAD", path) => match self.root.find(path, cx.wall_clock()) {
                Ok(entity) => self.give(cx, conn, request, &entity),
                Err(status) => self.say(cx, conn, request, status, ""),
            },
            ("POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" | "TRACE", _) => {
                self.say(cx, conn, request, 405, "Allow: GET, HEAD\r\n");
            }
            _ => self.say(cx, conn, request, 501, ""),
        }
        if !request.keep_alive {
            cx.close(conn);
        } else if cx.is_waiting(conn) {
            // The answer takes its time: the next request waits, and so does its deadline.
            cx.clear_deadline(conn, REQUEST);
            cx.pause_until_drained(conn);
        } else {
            cx.set_deadline(conn, REQUEST, Duration::from_secs(self.args.head));
        }
    }

    /// Gives a file, or as much of it as is wanted.
    fn give(&mut self, cx: &mut Context, conn: ConnId, request: &Request, entity: &Entity) {
        let (tag, date, len) = (&*entity.etag, &*entity.modified, entity.len);
        let mut more = format!("ETag: {tag}\r\nLast-Modified: {date}\r\n");
        if matches!(entity.content, Content::Directory) {
            more = format!("Location: {}/\r\n", request.target);
            return self.say(cx, conn, request, 301, &more);
        }
        let wanted = request.get("if-match");
        if wanted.is_some_and(|tags| !names(tags, tag)) {
            return self.say(cx, conn, request, 412, &more);
        }
        let is_known = match request.get("if-none-match") {
            Some(tags) => names(tags, tag),
            None => request.get("if-modified-since") == Some(date),
        };
        if is_known {
            more.push_str("\r\n");
            let head = self.head(request, 304, &more);
            cx.send(conn, head);
            return;
        }
        let is_same = |it| it == tag || it == date;
        let range = request.get("range").and_then(|range| part_of(range, len));
        let range = range.filter(|_| request.get("if-range").is_none_or(is_same));
        let (status, part) = (
            if range.is_some() { 206 } else { 200 },
            range.unwrap_or(0..len),
        );
        if status == 206 && part.is_empty() {
            more = format!("Content-Range: bytes */{len}\r\n");
            return self.say(cx, conn, request, 416, &more);
        } else if status == 206 {
            let (first, last) = (part.start, part.end - 1);
            let _ = write!(more, "Content-Range: bytes {first}-{last}/{len}\r\n");
        }
        let (len, kind) = (part.end - part.start, kind(&request.path));
        let _ = write!(more, "Accept-Ranges: bytes\r\nContent-Type: {kind}\r\n");
        let _ = write!(more, "Content-Length: {len}\r\n\r\n");
        let head = self.head(request, status, &more);
        match &entity.content {
            Content::Small(bytes) if request.method == "GET" => {
                let part = part.start as usize..part.end as usize;
                cx.send(conn, (head, &bytes[part]));
            }
            Content::Large(file) if request.method == "GET" => {
                cx.send(conn, head);
                cx.send_from(conn, Source::file(file.clone(), part));
            }
            _ => drop(cx.send(conn, head)),
        }
    }

    /// What the reactor has done, in chunks: how long it is nobody knows.
    fn stats(&mut self, cx: &mut Context, conn: ConnId, request: &Request) {
        let text = format!("{:#?}\n", cx.stats());
        if !request.is_11 {
            // The end of the connection is the end of the answer.
            let head = self.head(&Request::default(), 200, "\r\n");
            cx.send(conn, head + &text);
            cx.close(conn);
            return;
        }
        let more = "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = self.head(request, 200, more);
        cx.send(conn, head);
        if request.method == "GET" {
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let chunk = |line: String| format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
            let end = "0\r\n\r\n".to_owned();
            cx.send_from(
                conn,
                Source::each(lines.into_iter().map(chunk).chain([end])),
            );
        }
    }

    /// An answer that is a status and a line of text.
    fn say(&mut self, cx: &mut Context, conn: ConnId, request: &Request, status: u16, more: &str) {
        let text = format!("{}\n", reason(status));
        let len = text.len();
        let more = format!("{more}Content-Type: text/plain\r\nContent-Length: {len}\r\n\r\n");
        let body = if request.method == "HEAD" { "" } else { &text };
        let head = self.head(request, status, &more);
        cx.send(conn, head + body);
    }

    /// The head of an answer, up to its own fields.
    fn head(&mut self, request: &Request, status: u16, more: &str) -> String {
        let now = SystemTime::now();
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if self.date.0 != since.as_secs() {
            self.date = (since.as_secs(), date(now));
        }
        let how = match (request.keep_alive, request.is_11) {
            (true, true) => "",
            (true, false) => "Connection: keep-alive\r\n",
            (false, _) => "Connection: close\r\n",
        };
        let (reason, date) = (reason(status), &self.date.1);
        format!("HTTP/1.1 {status} {reason}\r\nDate: {date}\r\n{how}{more}")
    }
}

/// Is this tag one of the list, be it a weak one?
fn names(list: &str, tag: &str) -> bool {
    let mut tags = list.split(',').map(str::trim);
    tags.any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag)
}

/// The one part that is asked for; empty: there is none of it. `None`: all of it is to be given.
fn part_of(range: &str, len: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return Some(len.saturating_sub(last.parse().ok()?)..len);
    }
    let first: u64 = first.parse().ok()?;
    let end = match last {
        "" => len,
        last => last
            .parse::<u64>()
            .ok()
            .filter(|last| first <= *last)?
            .saturating_add(1)
            .min(len),
    };
    Some(first.min(len)..end)
}

fn reason(status: u16) -> &'static str {
    const REASONS: &str = "200 OK;206 Partial Content;301 Moved Permanently;304 Not Modified;\
        400 Bad Request;403 Forbidden;404 Not Found;405 Method Not Allowed;408 Request Timeout;\
        412 Precondition Failed;413 Content Too Large;416 Range Not Satisfiable;\
        417 Expectation Failed;431 Request Header Fields Too Large;501 Not Implemented;\
        505 HTTP Version Not Supported;503 Service Unavailable";
    let is_it = |line: &&str| line.starts_with(&format!("{status} "));
    REASONS.split(';').find(is_it).map_or("", |line| &line[4..])
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let mut reactor = Reactor::with_messages()?;
    let listener = reactor.listen(args.listen.as_str())?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    let (sender, mut signals) = (reactor.sender(), Signals::new([SIGINT, SIGTERM])?);
    std::thread::spawn(move || signals.forever().all(|signal| sender.send(signal).is_ok()));
    let root = Root::new(&args.root)?;
    let mut server = Server {
        args,
        root,
        clients: ConnMap::new(),
        date: (0, String::new()),
    };
    let report = reactor.run(&mut server)?;
    let _ = writeln!(io::stdout(), "finished: {report}");
    Ok(())
}
