//! TLS: processor time of a server on this loop beside tokio-rustls, nginx and bare rustls.
//!
//! ```text
//! cargo build --release -p perf --features tls --bin tls_speed
//! taskset -c 0 target/release/tls_speed [WORK ...]
//! ```
//!
//! WORK is echo, request, stream, handshake, idle or storm. All have one provider (nginx: OpenSSL),
//! one suite, TLS 1.3 and a certificate of P-256; each runs as a process of one thread, on the
//! second processor, in turn; the figure is the median of the rounds, with the least and the most.

mod certificates;
mod load;
mod serve;

use certificates::Files;
use load::Client;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;

/// A server as a process.
struct Server {
    child: Child,
    addr: SocketAddr,
    /// The process whose time counts.
    pid: u32,
}

impl Server {
    fn start(files: &Files, kind: &str, work: &str) -> Server {
        if kind == "nginx" {
            return nginx(files);
        }
        let program = std::env::current_exe().expect("a program");
        let mut child = Command::new("taskset")
            .args(["-c", "1"])
            .arg(program)
            .args(["serve", kind, work, &files.path("")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let (addr, pid) = (line.trim().parse().expect(&line), child.id());
        Server { child, addr, pid }
    }

    /// Seconds of processor time so far.
    fn spent(&self) -> f64 {
        let all = std::fs::read_to_string(format!("/proc/{}/schedstat", self.pid));
        let all = all.expect("its time");
        let nanos: Option<f64> = all.split(' ').next().and_then(|n| n.parse().ok());
        nanos.expect("a number") / 1e9
    }

    /// KiB that it has in memory.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("its memory");
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        kib.expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nginx(files: &Files) -> Server {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let addr = port.expect("a free port");
    std::fs::write(files.path("file"), [b'x'; 1024]).expect("a file");
    let (dir, pem, key) = (
        files.path(""),
        files.path("cert.pem"),
        files.path("key.pem"),
    );
    let text = format!(
        "daemon off; master_process off; worker_processes 1; error_log /dev/null;\n\
         pid {dir}nginx.pid; events {{ worker_connections 2000; }}\n\
         http {{ access_log off; keepalive_requests 100000000; tcp_nodelay on;\n\
         open_file_cache max=10; open_file_cache_valid 1h;\n\
         server {{ listen {addr} ssl; root {dir}; ssl_certificate {pem};\n\
         ssl_certificate_key {key}; ssl_protocols TLSv1.3;\n\
         ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; }} }}\n"
    );
    std::fs::write(files.path("nginx.conf"), text).expect("its configuration");
    let child = Command::new("taskset")
        .args(["-c", "1", "nginx", "-c", &files.path("nginx.conf")])
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx");
    let end = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < end, "nginx does not start");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let pid = child.id();
    Server { child, addr, pid }
}

fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    )
}

/// Runs this against each server in turn, and prints the ratio of their costs.
fn compare(
    files: &Files,
    name: &str,
    work: &str,
    other: &str,
    bound: f64,
    cost: impl Fn(&Server) -> f64,
) {
    let mut ratios = Vec::new();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let one = cost(&Server::start(files, "sockeye", work));
        let two = cost(&Server::start(files, other, work));
        ratios.push(one / two);
        ours.push(one);
        theirs.push(two);
    }
    let (least, ratio, most) = median(ratios);
    let (ours, theirs) = (median(ours).1, median(theirs).1);
    println!(
        "{name:<28} {ours:>10.3} {theirs:>10.3}  {ratio:.3} ({least:.3} to {most:.3})  \
         at most {bound}{}",
        if ratio <= bound { "" } else { "  MISSED" }
    );
}

/// Microseconds of processor time for each message.
fn round_trips(files: &Files, server: &Server, conns: usize, ask: &[u8], len: usize) -> f64 {
    let mut clients: Vec<Client> = (0..conns)
        .map(|_| Client::new(files, server.addr))
        .collect();
    let mut answer = vec![0; len];
    let mut rounds = |rounds: usize| {
        for _ in 0..rounds {
            clients.iter_mut().for_each(|client| client.say(ask));
            clients
                .iter_mut()
                .for_each(|client| client.hear(&mut answer));
        }
    };
    rounds(20);
    let count = 1_000_000_000 / (20_000 + 2 * len) / conns;
    let before = server.spent();
    rounds(count);
    (server.spent() - before) * 1e6 / (count * conns) as f64
}

fn echo(files: &Files) {
    for len in [64, 16 * 1024] {
        for conns in [1, 100] {
            let name = format!("echo, {len} B, {conns} conns, us");
            let bytes = vec![7; len];
            compare(files, &name, "echo", "tokio", 0.95, |server| {
                round_trips(files, server, conns, &bytes, len)
            });
        }
    }
}

fn request(files: &Files) {
    let ask = b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for conns in [1, 100] {
        let name = format!("request of 1 KiB, {conns} conns, us");
        compare(files, &name, "request", "nginx", 0.70, |server| {
            // How long the heads are differs.
            let len = Client::new(files, server.addr).answer_len(ask);
            round_trips(files, server, conns, ask, len)
        });
    }
}

fn stream(files: &Files) {
    compare(
        files,
        "stream of 1 GiB, s",
        "stream",
        "tokio",
        0.85,
        |server| {
            let mut client = Client::new(files, server.addr);
            let mut buffer = vec![0; 256 * 1024];
            let before = server.spent();
            let mut left = serve::STREAM;
            while left > 0 {
                left -= client.read(&mut buffer).expect("the stream");
            }
            server.spent() - before
        },
    );
}

/// Instructions in user mode, by callgrind: the server's, and those of a bare session. What the
/// kernel does is in neither, and the noise of a clock that ticks a hundred times a second is not.
fn handshake(files: &Files) {
    let out = files.path("callgrind");
    let count = |more: &[&str], args: &[&str], hands: usize| -> f64 {
        let program = std::env::current_exe().expect("a program");
        let mut child = Command::new("valgrind")
            .args(["-q", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={out}"))
            .args(more)
            .arg(program)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("valgrind");
        if hands > 0 {
            let mut line = String::new();
            let stdout = child.stdout.take().expect("its output");
            BufReader::new(stdout).read_line(&mut line).expect("a line");
            let addr = line.trim().parse().expect("an address");
            (0..hands).for_each(|_| Client::new(files, addr).finish());
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("its end");
        }
        child.wait().expect("its end");
        let text = std::fs::read_to_string(&out).expect("what it counted");
        let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
        line.and_then(|line| line.parse().ok()).expect("a number")
    };
    const FEW: usize = 50;
    const MANY: usize = 250;
    let each = |one: f64, other: f64| (other - one) / (MANY - FEW) as f64;
    let dir = files.path("");
    let ours = [FEW, MANY].map(|hands| count(&[], &["serve", "sockeye", "echo", &dir], hands));
    let bare = [FEW, MANY].map(|hands| {
        let toggle = ["--toggle-collect=*bare_step*"];
        count(&toggle, &["bare", &hands.to_string(), &dir], 0)
    });
    let (ours, bare) = (each(ours[0], ours[1]), each(bare[0], bare[1]));
    println!(
        "handshake, instructions: {ours:.0}, bare {bare:.0}: {:.3}  at most 1.05",
        ours / bare
    );
    let began = Instant::now();
    load::bare_handshakes(files, 1000);
    println!(
        "  a bare one and its client: {:.0} us",
        began.elapsed().as_secs_f64() * 1e3
    );
}

fn idle(files: &Files) {
    const COUNT: usize = 1000;
    for kind in ["sockeye", "tokio"] {
        let server = Server::start(files, kind, "echo");
        let mut first: Vec<Client> = (0..100).map(|_| Client::new(files, server.addr)).collect();
        let mut byte = [0];
        first.iter_mut().for_each(|client| {
            client.say(b"x");
            client.hear(&mut byte);
        });
        let before = server.memory();
        let clients: Vec<Client> = (0..COUNT)
            .map(|_| {
                let mut client = Client::new(files, server.addr);
                client.say(b"x");
                client.hear(&mut [0]);
                client
            })
            .collect();
        let each = (server.memory() - before) * 1024.0 / COUNT as f64;
        println!("idle, bytes each, {kind}: {each:.0}");
        drop(clients);
    }
}

/// A ping-pong while a thousand others connect at once.
fn storm(files: &Files) {
    const COUNT: usize = 1000;
    for _ in 0..ROUNDS {
        let server = Server::start(files, "sockeye", "echo");
        let storm = || {
            let began = Instant::now();
            load::storm(files, server.addr, COUNT);
            began.elapsed().as_secs_f64()
        };
        let (before, alone) = (server.spent(), storm());
        let cost = server.spent() - before;
        let mut client = Client::new(files, server.addr);
        let (over, times) = (
            std::sync::atomic::AtomicBool::new(false),
            std::sync::Mutex::new(vec![]),
        );
        let beside = std::thread::scope(|scope| {
            let ping = scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let began = Instant::now();
                    client.say(&[7; 64]);
                    client.hear(&mut [0; 64]);
                    times
                        .lock()
                        .expect("times")
                        .push(began.elapsed().as_secs_f64() * 1e3);
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            });
            let beside = storm();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            ping.join().expect("a ping");
            beside
        });
        let mut times = times.into_inner().expect("times");
        times.sort_by(f64::total_cmp);
        let p99 = times[times.len() * 99 / 100];
        println!(
            "storm of {COUNT}: alone {alone:.3} s (server {cost:.3} s), \
             beside {} pings {beside:.3} s; p99 {p99:.2} ms",
            times.len()
        );
        let silent: Vec<_> = (0..COUNT)
            .filter_map(|_| std::net::TcpStream::connect(server.addr).ok())
            .collect();
        client.say(&[7; 64]);
        client.hear(&mut [0; 64]);
        let memory = server.memory();
        println!(
            "  {} that never go on: {memory:.0} KiB in all",
            silent.len()
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, kind, work, dir] = &args[..]
        && serve == "serve"
    {
        return serve::serve(kind, work, dir);
    }
    if let [bare, count, dir] = &args[..]
        && bare == "bare"
    {
        return load::bare_handshakes(&Files::at(dir), count.parse().expect("a number"));
    }
    let files = Files::new();
    type Work = fn(&Files);
    let works: [(&str, Work); 6] = [
        ("echo", echo),
        ("request", request),
        ("stream", stream),
        ("handshake", handshake),
        ("idle", idle),
        ("storm", storm),
    ];
    println!("{:<28} {:>10} {:>10}", "", "ours", "theirs");
    for (name, work) in works {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            work(&files);
            std::io::stdout().flush().expect("output");
        }
    }
}
