//! The examples that speak TLS if they are told to, each as a process: nothing in them knows of it
//! but the line that listens or connects.
//!
//! `cargo test` builds them first; for one shelf alone run `cargo build --examples`.

use crate::authority::Authority;
use crate::kit::programs;
use crate::kit::programs::{Process, peer, read_all};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;

const ANY: &str = "127.0.0.1:0";

/// A root, and a certificate of `localhost` with its key, as files.
struct Files {
    dir: PathBuf,
    client: Arc<ClientConfig>,
}

impl Files {
    fn new(test: &str) -> Files {
        let name = format!("sockeye-tls-{}-{test}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let authority = Authority::new();
        let names = ["ca.pem", "cert.pem", "key.pem"];
        for (name, pem) in names.iter().zip(authority.pem("localhost")) {
            fs::write(dir.join(name), pem).unwrap();
        }
        let client = Arc::new(authority.client());
        Files { dir, client }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Starts one that listens with TLS. `args` come before that.
    fn start(&self, name: &str, args: &[&str]) -> (Process, SocketAddr) {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        let tls = ["--listen", ANY, "--tls-cert", &cert, "--tls-key", &key];
        let mut process = Process::start(name, &[args, &tls].concat());
        let addr = process.ip();
        (process, addr)
    }

    /// A client of rustls.
    fn connect(&self, addr: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(self.client.clone(), name).unwrap();
        StreamOwned::new(session, peer(addr))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What comes until it ends so.
#[track_caller]
fn until(from: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while !all.ends_with(end) {
        let mut byte = [0];
        from.read_exact(&mut byte).unwrap();
        all.push(byte[0]);
    }
    all
}

/// A chat client that is told this of TLS.
fn chat_client(addr: SocketAddr, tls: &[&str]) -> Process {
    let addr = addr.to_string();
    Process::start_with("chat_client", &[&[&addr[..]], tls].concat(), Stdio::piped())
}

#[test]
fn members_of_a_chat_meet_by_tls() {
    let files = Files::new("chat");
    let (mut server, addr) = files.start("chat_server", &[]);
    let ca = files.path("ca.pem");
    let mut ann = chat_client(addr, &["--tls", "--ca", &ca]);
    assert!(ann.line().starts_with("* you are guest1"));
    let mut bob = chat_client(addr, &["--tls=localhost", "--ca", &ca]);
    assert!(bob.line().starts_with("* you are guest2"));
    assert_eq!(ann.line(), "* guest2 has joined");
    writeln!(bob.stdin(), "hello by TLS").unwrap(); // and its end, which is a close_notify
    assert_eq!(ann.line(), "guest2: hello by TLS");
    assert_eq!(ann.line(), "* guest2 has left: closed by peer");
    assert!(bob.wait().success(), "{}", bob.log());

    // Another name, another root, no TLS: each fails, and those who are there hear of none.
    let other = Files::new("other");
    let wrong = other.path("ca.pem");
    for (tls, why) in [
        (
            &["--tls=example.org", "--ca", &ca][..],
            "not valid for name",
        ),
        (&["--tls", "--ca", &wrong], "invalid peer certificate"),
    ] {
        let mut client = chat_client(addr, tls);
        assert_eq!(client.wait().code(), Some(1));
        assert!(client.log().contains(why), "{}", client.log());
    }
    let mut plain = peer(addr);
    plain.write_all(b"hello\n").unwrap();
    assert_eq!(read_all(&plain)[0], 21, "an alert: RFC 8446, 5.1");
    server.signal(programs::Signal::TERM);
    assert_eq!(ann.line(), "* the server stops: goodbye");
    let report = server.line();
    assert!(
        report.starts_with("finished: 1 users left in peace, 0 "),
        "{report}"
    );
    assert!(server.wait().success());
}

// One half of the way is plain and one is TLS, by either side of the proxy.
#[test]
fn a_proxy_speaks_tls_on_either_side() {
    let files = Files::new("proxy");
    let mut echo = Process::start("echo", &["--listen", ANY]);
    let to = echo.ip().to_string();
    let (_inner, inner) = files.start("proxy", &["--to", &to]);
    let (to, ca) = (inner.to_string(), files.path("ca.pem"));
    let args = ["--listen", ANY, "--to", &to, "--tls", "--ca", &ca];
    let mut outer = Process::start("proxy", &args);
    let outer = outer.ip();
    // All of it comes back, and its end behind it.
    let sent: Vec<u8> = (0..8 << 20).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
    let mut stream = peer(outer);
    let mut writer = stream.try_clone().unwrap();
    let written = sent.clone();
    let feeder = thread::spawn(move || {
        writer.write_all(&written).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == sent);
    feeder.join().unwrap();
}

// An end without close_notify may be somebody's on the way: what was cut off is passed on as such.
#[test]
fn a_proxy_passes_on_that_a_session_was_cut_off() {
    let files = Files::new("cut");
    let server = TcpListener::bind(ANY).unwrap();
    let to = server.local_addr().unwrap().to_string();
    let (proxy, addr) = files.start("proxy", &["--to", &to]);
    let mut client = files.connect(addr);
    client.write_all(b"some").unwrap();
    let mut stream = programs::system::accept(&server);
    until(&mut stream, b"some");
    client.sock.shutdown(Shutdown::Write).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    proxy.until_log("it says why", |log| log.contains("truncated"));
}

#[cfg(feature = "websocket")]
#[test]
fn a_websocket_lies_over_tls() {
    let files = Files::new("wss");
    const UPGRADE: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let (_server, addr) = files.start("websocket_echo", &[]);
    let mut client = files.connect(addr);
    write!(client, "GET / HTTP/1.1\r\n{UPGRADE}").unwrap();
    let answer = until(&mut client, b"\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    // A text, with a mask of zeros; then a close, which is answered, and the end.
    client.write_all(b"\x81\x85\0\0\0\0hello").unwrap();
    assert_eq!(until(&mut client, b"hello"), b"\x81\x05hello");
    client.write_all(b"\x88\x82\0\0\0\0\x03\xe8").unwrap();
    assert_eq!(read_all(client), b"\x88\x02\x03\xe8");

    let args = ["--listen-lines", ANY];
    let (mut chat, web) = files.start("websocket_chat", &args);
    let lines = chat.ip();
    let mut page = files.connect(web);
    page.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    until(&mut page, b"</script>\n");
    write!(page, "GET /chat?name=ann HTTP/1.1\r\n{UPGRADE}").unwrap();
    let answer = until(&mut page, b"\r\n\r\n");
    assert!(String::from_utf8_lossy(&answer).contains("HTTP/1.1 101"));
    let mut bob = files.connect(lines);
    bob.write_all(b"hello, page\n").unwrap();
    until(&mut page, b"hello, page");
}

#[cfg(target_os = "linux")]
#[test]
fn files_are_served_by_https() {
    let files = Files::new("https");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches");
    let (_server, addr) = files.start("http_files", &["--root", root.to_str().unwrap()]);
    let mut client = files.connect(addr);
    let get = b"GET /calls.rs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.write_all(get).unwrap();
    let answer = read_all(client);
    let file = fs::read(root.join("calls.rs")).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&file));
}

#[test]
fn half_of_what_tls_needs_is_refused() {
    let files = Files::new("options");
    let (cert, key, ca) = (
        files.path("cert.pem"),
        files.path("key.pem"),
        files.path("ca.pem"),
    );
    for (name, args) in [
        ("chat_server", &["--tls-cert", &cert][..]),
        ("chat_server", &["--tls-key", &key]),
        (
            "chat_server",
            &["--tls-cert", &cert, "--tls-key", "no such file"],
        ),
        ("chat_server", &["--tls-cert", &key, "--tls-key", &key]),
        ("chat_client", &["--tls"]),
        ("chat_client", &["--ca", &ca]),
    ] {
        let output = programs::run(name, args);
        assert!(!output.status.success(), "{name} {args:?}: {output:?}");
    }
}
