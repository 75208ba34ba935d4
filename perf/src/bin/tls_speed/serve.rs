//! The servers: on this loop, and on tokio-rustls.

use super::certificates::Files;
use bytes::Bytes;
use sockeye::{
    ConnId, Context, Handler, Input, Listen, Origin, Output, Pull, Pulled, Reactor, Sent, Source,
};
use std::io::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

pub const STREAM: usize = 1 << 30;

const PIECE: usize = 64 * 1024;

static PIECES: &[u8] = &[0; PIECE];

struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_until_drained(conn);
        }
    }
}

struct Request;

fn answer() -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nServer: sockeye\r\nContent-Type: text/plain\r\n\
                Content-Length: 1024\r\nConnection: keep-alive\r\n\r\n";
    [head.as_bytes(), &[b'x'; 1024]].concat()
}

impl Handler for Request {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        while let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            input.take(end + 4);
            cx.send(conn, answer());
        }
    }
}

struct Stream;

/// The same piece again and again, as the other server sends it: no copy of it is made.
struct Zeros(usize, Bytes);

impl Pull for Zeros {
    fn pull(&mut self, out: &mut Output<'_>) -> std::io::Result<Pulled> {
        let count = self.0.min(out.room()).min(PIECE);
        out.put(self.1.slice(..count));
        self.0 -= count;
        Ok(if self.0 == 0 {
            Pulled::End
        } else {
            Pulled::More
        })
    }
}

impl Handler for Stream {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        cx.send_from(conn, Source::new(Zeros(STREAM, PIECES.into())));
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        input.take_all();
    }
}

fn told(addr: std::net::SocketAddr) {
    println!("{addr}");
    std::io::stdout().flush().expect("output");
}

pub fn serve(kind: &str, work: &str, dir: &str) {
    let config = Files::at(dir).server();
    if kind == "tokio" {
        return by_tokio(TlsAcceptor::from(config), work.to_owned());
    }
    // A storm comes from one address here.
    let reactor = Reactor::builder()
        .max_handshakes(2000)
        .max_handshakes_from_one(2000);
    let mut reactor = reactor.build().expect("a loop");
    let listener = reactor
        .listen(Listen::new("127.0.0.1:0").tls(config))
        .expect("a listener");
    let addr = reactor.context().listener_addr(listener);
    told(addr.and_then(|addr| addr.ip()).expect("an address"));
    let ended = match work {
        "echo" => reactor.run(&mut Echo),
        "request" => reactor.run(&mut Request),
        _ => reactor.run(&mut Stream),
    };
    ended.expect("a run");
}

fn by_tokio(acceptor: TlsAcceptor, work: String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a listener");
        told(listener.local_addr().expect("an address"));
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                continue;
            };
            let (acceptor, work) = (acceptor.clone(), work.clone());
            tokio::spawn(async move {
                let _ = socket.set_nodelay(true);
                let Ok(mut stream) = acceptor.accept(socket).await else {
                    return;
                };
                let _ = match &work[..] {
                    "stream" => stream_all(&mut stream).await,
                    _ => echo_all(&mut stream).await,
                };
            });
        }
    });
}

type Tls = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn echo_all(stream: &mut Tls) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..count]).await?;
        stream.flush().await?;
    }
}

async fn stream_all(stream: &mut Tls) -> std::io::Result<()> {
    let piece = [0; PIECE];
    for _ in 0..STREAM / PIECE {
        stream.write_all(&piece).await?;
    }
    stream.flush().await
}
