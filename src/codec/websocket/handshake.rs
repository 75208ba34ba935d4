//! The upgrade as a client sees it.

use super::head::{self, Accept, FIELDS, HeadEnd};
use super::mask::Masks;
use crate::buffer::input::Input;
use crate::buffer::payload::Payload;
use crate::codec::{CodecError, Decoder};

/// Bytes of an answer, at most.
const ANSWER: usize = 16 * 1024;

/// A client's side of the upgrade: what it asks, and a decoder for the answer. Behind that comes a
/// [`WebSocket::client`](super::WebSocket::client).
///
/// ```
/// use sockeye::codec::websocket::{Handshake, Masks, Message, WebSocket, text};
/// use sockeye::{ConnId, Context, Frames, Handler, Input, Origin};
///
/// struct Client {
///     masks: Masks,
///     handshakes: Frames<Handshake>,
///     sockets: Frames<WebSocket>,
/// }
///
/// impl Handler for Client {
///     fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
///         let handshake = Handshake::new("example.org", "/chat", &mut self.masks);
///         cx.send(conn, handshake.request());
///         self.handshakes.set(cx, conn, handshake);
///     }
///
///     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
///         while self.handshakes.next(cx, conn, input).is_some() {
///             self.handshakes.remove(cx, conn);
///             self.sockets.set(cx, conn, WebSocket::client(1 << 20));
///             cx.send(conn, self.masks.mask(text("hello")));
///         }
///         while let Some(message) = self.sockets.next(cx, conn, input) {
///             println!("{message:?}");
///         }
///     }
/// }
/// # let (handshakes, sockets) = (Frames::default(), Frames::default());
/// # let _ = Client { masks: Masks::random(), handshakes, sockets };
/// ```
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The request line and the fields that the caller has added.
    lines: String,
    key: [u8; 24],
    protocols: Vec<String>,
    end: HeadEnd,
}

impl Handshake {
    /// Asks this host for this target, as `example.org:8080` and `/chat`. Control characters, which
    /// could begin another line, are left out, here and in what is added.
    pub fn new(host: &str, target: &str, masks: &mut Masks) -> Handshake {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let nonce = [masks.next().to_ne_bytes(), masks.next().to_ne_bytes()];
        let mut key = [0; 24];
        // 16 bytes are 24 characters, so that it fits.
        let written = STANDARD.encode_slice(nonce.as_flattened(), &mut key);
        debug_assert_eq!(written, Ok(24));
        let (host, target) = (line(host), line(target));
        Handshake {
            lines: format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n"),
            key,
            protocols: Vec::new(),
            end: HeadEnd::new(ANSWER),
        }
    }

    /// Adds a field to the request: `Origin`, `Authorization`, cookies.
    pub fn field(mut self, name: &str, value: &str) -> Handshake {
        self.lines += &format!("{}: {}\r\n", line(name), line(value));
        self
    }

    /// Offers a subprotocol, after those offered before.
    pub fn protocol(mut self, name: &str) -> Handshake {
        self.protocols.push(line(name));
        self
    }

    fn key(&self) -> &str {
        std::str::from_utf8(&self.key).unwrap_or_default()
    }

    /// What is to be sent.
    pub fn request(&self) -> Payload<'static> {
        let Handshake { lines, .. } = self;
        let protocols = match self.protocols.is_empty() {
            true => String::new(),
            false => format!("Sec-WebSocket-Protocol: {}\r\n", self.protocols.join(", ")),
        };
        Payload::from(format!(
            "{lines}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {}\r\n{protocols}\r\n",
            self.key()
        ))
    }

    /// Checks an answer (RFC 6455, section 4.1).
    fn check<'i>(&self, bytes: &'i [u8]) -> Result<Accepted<'i>, CodecError> {
        let head = head::text(bytes)?;
        let bad = |what| Err(CodecError::malformed(what, bytes));
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let end = response.parse(bytes);
        if end != Ok(httparse::Status::Complete(bytes.len())) {
            return bad("not an HTTP response");
        }
        if response.code != Some(101) {
            return bad("the response does not upgrade the connection");
        }
        let is_upgrade =
            head::lists(head, "Upgrade", "websocket") && head::lists(head, "Connection", "Upgrade");
        if !is_upgrade {
            return bad("the upgrade is not to WebSocket");
        }
        let accept = head::only(head, "Sec-WebSocket-Accept");
        if accept != Some(Accept::of(self.key()).as_str()) {
            return bad("wrong Sec-WebSocket-Accept");
        }
        if head::list(head, "Sec-WebSocket-Extensions")
            .next()
            .is_some()
        {
            return bad("an extension that was not requested");
        }
        let protocol = head::field(head, "Sec-WebSocket-Protocol");
        if protocol.is_some_and(|name| self.protocols.iter().all(|other| other != name)) {
            return bad("a subprotocol that was not offered");
        }
        Ok(Accepted { head, protocol })
    }
}

/// Text that can stand in a line.
fn line(text: &str) -> String {
    let mut line = text.to_owned();
    line.retain(|char| !char.is_control());
    line
}

/// The answer to the request, once: the connection then belongs to another decoder.
impl Decoder for Handshake {
    type Frame<'d, 'i> = Accepted<'i>;

    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Accepted<'i>>, CodecError> {
        match self.end.find(input)? {
            None => Ok(None),
            Some(end) => self.check(input.take(end).into_slice()).map(Some),
        }
    }

    fn max_input(&self) -> usize {
        self.end.max
    }
}

/// An upgrade that the server has granted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'i> {
    head: &'i str,
    protocol: Option<&'i str>,
}

impl<'i> Accepted<'i> {
    /// The subprotocol that the server has chosen.
    pub fn protocol(&self) -> Option<&'i str> {
        self.protocol
    }

    /// The value of the first field of this name, whatever its case.
    pub fn field(&self, name: &str) -> Option<&'i str> {
        head::field(self.head, name)
    }
}
