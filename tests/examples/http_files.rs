//! The example `http_files` as a process: what each kind of request gets, and what bad ones do.

use crate::kit;
use crate::kit::pattern;
use crate::kit::places::TempDir;
use crate::kit::programs;
use crate::kit::programs::{PATIENCE, Process};
use rustix::process::Signal;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const BIG: usize = 3_000_000;

struct Site {
    _dir: TempDir,
    process: Process,
    addr: SocketAddr,
}

impl Site {
    fn new() -> Site {
        Site::with(&[])
    }

    /// One that is served with more arguments.
    fn with(more: &[&str]) -> Site {
        let dir = TempDir::new();
        let root = dir.file("root");
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(root.join("small.txt"), "0123456789").unwrap();
        fs::write(root.join("a b.html"), "blank").unwrap();
        fs::write(root.join("empty"), "").unwrap();
        fs::write(root.join("big"), pattern(BIG)).unwrap();
        fs::write(root.join("dir/index.html"), "index").unwrap();
        // All of it is a hole, and more than any buffer holds.
        let huge = fs::File::create(root.join("huge")).unwrap();
        huge.set_len(100_000_000).unwrap();
        fs::create_dir(root.join("bare")).unwrap();
        fs::write(dir.file("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(dir.file("secret"), root.join("out")).unwrap();
        std::os::unix::fs::symlink("small.txt", root.join("in")).unwrap();
        let root = root.to_str().unwrap();
        let args = ["--listen", "127.0.0.1:0", "--root", root, "--head", "1"];
        let mut process = Process::start("http_files", &[&args, more].concat());
        let addr = process.ip();
        Site {
            _dir: dir,
            process,
            addr,
        }
    }

    fn connect(&self) -> TcpStream {
        kit::peer(self.addr)
    }

    /// All that is answered to this and an end.
    fn ask(&self, request: impl AsRef<[u8]>) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        kit::read_all(stream)
    }

    fn get(&self, path: &str, more: &str) -> Vec<u8> {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n"))
    }

    /// A field of the answer to this.
    fn field(&self, path: &str, name: &str) -> String {
        let answer = text(&self.get(path, ""));
        let line = answer.lines().find(|line| line.starts_with(name));
        line.unwrap()[name.len() + 2..].to_owned()
    }

    fn end(mut self) {
        self.process.sleeps();
        self.process.signal(Signal::TERM);
        assert!(self.process.wait().success());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn status(answer: &[u8]) -> u16 {
    let line = text(&answer[..answer.len().min(20)]);
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or(0)
}

fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    &answer[end.unwrap() + 4..]
}

const DIGITS: &str = "0123456789";
const SMALL: &str = "/small.txt";

/// Each of these, a path and more fields, gets this status and this body.
fn expect(site: &Site, gets: &[(&str, &str, u16, &str)]) {
    for (path, more, code, wanted) in gets {
        let more = if more.is_empty() {
            String::new()
        } else {
            format!("{more}\r\n")
        };
        let answer = site.get(path, &more);
        let got = (status(&answer), text(body(&answer)));
        assert_eq!(got, (*code, (*wanted).to_owned()), "{path} {more}");
    }
}

#[test]
fn paths_lead_to_files_and_none_out_of_the_root() {
    let site = Site::new();
    expect(
        &site,
        &[
            (SMALL, "", 200, DIGITS),
            ("/small.txt?query=1", "", 200, DIGITS),
            ("http://x/small.txt", "", 200, DIGITS),
            ("/a%20b.html", "", 200, "blank"),
            ("/empty", "", 200, ""),
            ("/in", "", 200, DIGITS),
            ("/dir/", "", 200, "index"),
            ("/dir", "", 301, "Moved Permanently\n"),
            ("/bare/", "", 404, "Not Found\n"),
            ("/none", "", 404, "Not Found\n"),
            ("/small.txt/none", "", 404, "Not Found\n"),
            ("/../secret", "", 403, "Forbidden\n"),
            ("/dir/../../secret", "", 403, "Forbidden\n"),
            ("/%2e%2e/secret", "", 403, "Forbidden\n"),
            ("/..%2fsecret", "", 403, "Forbidden\n"),
            ("/out", "", 403, "Forbidden\n"),
            ("//small.txt", "", 400, "Bad Request\n"),
            ("/%zz", "", 404, "Not Found\n"),
            ("/%00", "", 400, "Bad Request\n"),
            ("/%2", "", 404, "Not Found\n"),
            ("small.txt", "", 400, "Bad Request\n"),
        ],
    );
    assert!(body(&site.get("/big", "")) == pattern(BIG));
    site.end();
}

#[test]
fn ranges_and_conditions_have_their_answers() {
    let site = Site::new();
    let (tag, date) = (
        site.field(SMALL, "ETag"),
        site.field(SMALL, "Last-Modified"),
    );
    let no_range = "Range Not Satisfiable\n";
    expect(
        &site,
        &[
            (SMALL, "Range: bytes=2-4", 206, "234"),
            (SMALL, "Range: bytes=7-", 206, "789"),
            (SMALL, "Range: bytes=-3", 206, "789"),
            (SMALL, "Range: bytes=8-99", 206, "89"),
            (SMALL, "Range: bytes=10-", 416, no_range),
            (SMALL, "Range: bytes=-0", 416, no_range),
            (SMALL, "Range: bytes=4-2", 200, DIGITS),
            (SMALL, "Range: bytes=1-2,4-5", 200, DIGITS),
            (SMALL, "Range: lines=1-2", 200, DIGITS),
            (
                SMALL,
                &format!("Range: bytes=0-0\r\nIf-Range: {tag}"),
                206,
                "0",
            ),
            (
                SMALL,
                "Range: bytes=0-0\r\nIf-Range: \"other\"",
                200,
                DIGITS,
            ),
            (
                SMALL,
                &format!("If-None-Match: \"other\", W/{tag}"),
                304,
                "",
            ),
            (SMALL, "If-None-Match: *", 304, ""),
            (SMALL, "If-None-Match: \"other\"", 200, DIGITS),
            (SMALL, &format!("If-Modified-Since: {date}"), 304, ""),
            (
                SMALL,
                "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",
                304,
                "",
            ),
            (
                SMALL,
                "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT",
                200,
                DIGITS,
            ),
            (SMALL, "If-Modified-Since: yesterday", 200, DIGITS),
            (
                SMALL,
                &format!("If-Match: W/{tag}"),
                412,
                "Precondition Failed\n",
            ),
            (SMALL, "If-Match: \"other\"", 412, "Precondition Failed\n"),
            (SMALL, &format!("If-Match: {tag}"), 200, DIGITS),
        ],
    );
    let part = site.get("/big", "Range: bytes=1000000-2999998\r\n");
    assert!(status(&part) == 206 && *body(&part) == pattern(BIG)[1_000_000..2_999_999]);
    site.end();
}

#[test]
fn fields_that_are_wrong_or_too_many_have_their_answers() {
    let site = Site::new();
    let too_large = "Request Header Fields Too Large\n";
    expect(
        &site,
        &[
            (SMALL, "Expect: 200-ok", 200, DIGITS),
            (SMALL, "User-Agent: \u{ff}", 200, DIGITS),
            (SMALL, "Host: y", 400, "Bad Request\n"),
            (SMALL, "No colon", 400, "Bad Request\n"),
            (SMALL, &["X: y"; 70].join("\r\n"), 431, too_large),
            (SMALL, &format!("X: {}", "y".repeat(20_000)), 431, too_large),
        ],
    );
    site.end();
}

/// Each of these requests gets this status.
fn expect_status(site: &Site, asked: &[(&str, u16)]) {
    for (request, code) in asked {
        let answer = site.ask(request);
        let begin = &request[..request.len().min(80)];
        let told = text(&answer[..answer.len().min(200)]);
        assert_eq!(status(&answer), *code, "{begin} {told}");
        assert!(!request.starts_with("HEAD") || body(&answer).is_empty());
    }
}

#[test]
fn methods_and_versions_have_their_answers() {
    let site = Site::new();
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(5_000));
    expect_status(
        &site,
        &[
            ("HEAD /big HTTP/1.1\r\nHost: x\r\n\r\n", 200),
            ("HEAD /none HTTP/1.1\r\nHost: x\r\n\r\n", 404),
            ("GET /small.txt HTTP/1.0\r\n\r\n", 200),
            ("GET /small.txt HTTP/1.1\r\n\r\n", 400),
            ("GET /stats HTTP/1.0\r\n\r\n", 404),
            ("BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n", 501),
            (&long, 404),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("\0\0\0\0", 400),
        ],
    );
    let chunked = text(&site.get("/stats", ""));
    assert!(chunked.contains("Transfer-Encoding: chunked") && chunked.ends_with("\r\n0\r\n\r\n"));
    site.end();
}

#[test]
fn bodies_have_their_answers() {
    let site = Site::new();
    let (post, get) = (
        "POST / HTTP/1.1\r\nHost: x\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n",
    );
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = "4\r\nbody\r\n3;ext=1\r\nmor\r\n0\r\nTrailer: x\r\n\r\n";
    let long = "x".repeat(2_000_000);
    let many = "1\r\nx\r\n".repeat(400_000);
    let asked = [
        (format!("{post}Content-Length: 4\r\n\r\nbody"), 405),
        (format!("{post}{chunked}\r\n{chunks}"), 405),
        (format!("{get}Transfer-Encoding: gzip\r\n\r\n"), 501),
        (
            format!("{get}Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            400,
        ),
        (format!("{get}Content-Length: +1\r\n\r\nx"), 400),
        (
            format!("{get}Content-Length: 99999999999999999999\r\n\r\n"),
            413,
        ),
        (format!("{get}Content-Length: 1\r\n{chunked}\r\n"), 400),
        (format!("{get}{chunked}\r\nnothex\r\n"), 400),
        (format!("{post}{chunked}\r\nffffffffffffffff\r\n"), 413),
        (format!("{post}{chunked}\r\n;x\r\n\r\n"), 400),
        (format!("{post}{chunked}\r\n1;a\nb\r\na\r\n0\r\n\r\n"), 400),
        (
            format!("{post}{chunked}\r\n0\r\na: {}", "b".repeat(20_000)),
            431,
        ),
        (format!("{post}Content-Length: 2000000\r\n\r\n{long}"), 413),
        (format!("{post}{chunked}\r\n{many}0\r\n\r\n"), 413),
    ];
    let asked: Vec<(&str, u16)> = asked
        .iter()
        .map(|(text, code)| (&text[..], *code))
        .collect();
    expect_status(&site, &asked);
    site.end();
}

#[test]
fn requests_are_pipelined_and_answered_in_order() {
    let site = Site::new();
    let mut stream = site.connect();
    let mut asked = Vec::new();
    for round in 0..10 {
        let path = if round % 3 == 0 { "/big" } else { "/small.txt" };
        write!(
            asked,
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        )
        .unwrap();
        write!(asked, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    write!(
        asked,
        "GET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /big"
    )
    .unwrap();
    // In pieces, so that each may end anywhere.
    for piece in asked.chunks(37) {
        stream.write_all(piece).unwrap();
    }
    let all = kit::read_all(stream);
    let found = |what: &[u8]| all.windows(what.len()).filter(|it| *it == what).count();
    assert_eq!((found(b"HTTP/1.1 405 "), found(b"HTTP/1.1 200 ")), (10, 11));
    assert!(all.len() > 4 * BIG && all.len() < 4 * BIG + 8_000);
    assert!(body(&site.get("/big", "")) == pattern(BIG));
    site.end();
}

#[test]
fn a_body_that_is_expected_is_asked_for() {
    let site = Site::new();
    let mut stream = site.connect();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(text(&kit::read_n(&mut stream, go_on.len())), go_on);
    stream.write_all(b"abc").unwrap();
    assert_eq!(status(&kit::read_n(&mut stream, 20)), 405);
    site.end();
}

#[test]
fn a_head_that_drips_is_not_waited_for() {
    let site = Site::new();
    let (mut stream, began) = (site.connect(), Instant::now());
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut answer = Vec::new();
    while began.elapsed() < PATIENCE {
        let _ = stream.write_all(b"G");
        match stream.read_to_end(&mut answer) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(900) && began.elapsed() < PATIENCE / 2);
    assert_eq!(status(&answer), 408);
    // One that says nothing is not answered.
    assert!(kit::read_all(site.connect()).is_empty());
    site.end();
}

#[test]
fn an_upload_that_is_refused_hears_why() {
    let site = Site::new();
    for _ in 0..3 {
        let mut stream = site.connect();
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let block = vec![0; 1_000_000];
        (0..20).for_each(|_| stream.write_all(&block).unwrap());
        assert_eq!(status(&kit::read_n(&mut stream, 20)), 413);
    }
    site.end();
}

#[test]
fn clients_that_stop_in_the_middle_leave_no_descriptor() {
    let site = Site::new();
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", site.process.id()))
            .unwrap()
            .count()
    };
    // It says where it listens before it has opened all that it needs.
    assert_eq!(status(&site.get("/small.txt", "")), 200);
    site.process.sleeps();
    let before = descriptors();
    for resets in [false, true] {
        let mut clients: Vec<_> = (0..20).map(|_| site.connect()).collect();
        for client in &mut clients {
            client
                .write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            kit::read_n(client, 10_000);
            if resets {
                socket2::SockRef::from(&*client)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        }
        assert!(descriptors() >= before + 40);
    }
    programs::until("no descriptor is left", || descriptors() <= before);
    assert_eq!(status(&site.get("/small.txt", "")), 200);
    site.end();
}

#[test]
fn three_thousand_broken_requests_end_nothing() {
    let site = Site::new();
    let whole = "GET /dir/../small.txt?a=b HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\n\
        If-None-Match: \"a\", W/\"b\"\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\
        Expect: 100-continue\r\nConnection: keep-alive\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mut random = 7u64;
    let mut next = move |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    for _ in 0..3_000 {
        let mut request = whole.as_bytes().to_vec();
        for _ in 0..=next(4) {
            let at = next(request.len().max(2)) % request.len().max(1);
            if request.is_empty() {
                break;
            }
            match next(4) {
                0 => request[at] = next(256) as u8,
                1 => drop(request.remove(at)),
                2 => request.insert(at, b"\r\n :%/.0"[next(8)]),
                _ => request.truncate(at.max(1)),
            }
        }
        let answer = site.ask(&request);
        let known = [
            0, 100, 200, 206, 301, 304, 400, 403, 404, 405, 412, 413, 416, 431, 501, 505,
        ];
        assert!(
            known.contains(&status(&answer)),
            "{} {}",
            text(&request),
            text(&answer)
        );
    }
    assert_eq!(status(&site.get("/small.txt", "")), 200);
    site.end();
}

#[test]
fn a_stop_lets_downloads_end() {
    let mut site = Site::new();
    let mut stream = site.connect();
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut got = kit::read_n(&mut stream, 1_000);
    site.process.signal(Signal::TERM);
    got.extend(kit::read_all(stream));
    assert!(body(&got) == pattern(BIG));
    assert!(site.process.wait().success());
}

/// Two workers have a client each, both in the middle of a download when the signal comes: there is
/// one report, of both.
#[test]
fn workers_serve_side_by_side_and_end_together() {
    let mut site = Site::with(&["--workers", "2"]);
    let mut clients = [site.connect(), site.connect()];
    for client in &mut clients {
        client
            .write_all(b"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let stats = until_end(client, b"\r\n0\r\n\r\n");
        assert!(stats.contains(" accepted: 1,"), "one each: {stats}");
    }
    site.process.sleeps();
    let got = clients.each_mut().map(|client| {
        client
            .write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        kit::read_n(client, 1_000)
    });
    site.process.signal(Signal::TERM);
    for (mut got, client) in got.into_iter().zip(clients) {
        got.extend(kit::read_all(client));
        assert!(body(&got) == pattern(BIG));
    }
    let report = site.process.line();
    assert_eq!(report, "finished: 2 closed, 0 aborted, 0 bytes lost");
    assert!(site.process.wait().success());
}

/// Reads until this has come.
fn until_end(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut got = Vec::new();
    while !got.ends_with(end) {
        got.extend(kit::read_n(stream, 1));
    }
    text(&got)
}
