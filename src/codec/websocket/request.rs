//! The upgrade as a server sees it.

use super::head::{self, Accept, FIELDS, HeadEnd};
use crate::buffer::input::Input;
use crate::buffer::payload::Payload;
use crate::codec::{CodecError, Decoder};
use std::error::Error;
use std::fmt;

/// Requests of HTTP/1 without a body, as a WebSocket begins; each frame is a [`Request`].
///
/// It is no HTTP server: enough to tell who wants a WebSocket from who wants a page, and to answer
/// both. A request that announces a body is given, and its body would be taken for the next
/// request: refuse it, and close.
#[derive(Clone, Copy, Debug)]
pub struct Requests {
    end: HeadEnd,
}

impl Requests {
    /// Heads of `max` bytes at most, and of 64 fields. Browsers send one or two thousand bytes, and
    /// cookies may add a few.
    pub const fn new(max: usize) -> Requests {
        Requests {
            end: HeadEnd::new(max),
        }
    }
}

impl Decoder for Requests {
    type Frame<'d, 'i> = Request<'i>;

    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Request<'i>>, CodecError> {
        match self.end.find(input)? {
            None => Ok(None),
            Some(end) => Request::parse(input.take(end).into_slice()).map(Some),
        }
    }

    fn max_input(&self) -> usize {
        self.end.max
    }
}

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'i> {
    head: &'i str,
    method: &'i str,
    target: &'i str,
    minor: u8,
}

impl<'i> Request<'i> {
    fn parse(bytes: &'i [u8]) -> Result<Request<'i>, CodecError> {
        let head = head::text(bytes)?;
        let malformed = || CodecError::malformed("not an HTTP request", bytes);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let status = request.parse(bytes).map_err(|_| malformed())?;
        match (status, request.method, request.path, request.version) {
            (httparse::Status::Complete(end), Some(method), Some(target), Some(minor))
                if end == bytes.len() =>
            {
                Ok(Request {
                    head,
                    method,
                    target,
                    minor,
                })
            }
            _ => Err(malformed()),
        }
    }

    /// `GET`, as everything that is no upgrade and no error here.
    pub fn method(&self) -> &'i str {
        self.method
    }

    /// What is asked for: `/chat?room=blue`.
    pub fn target(&self) -> &'i str {
        self.target
    }

    /// The target without its query.
    pub fn path(&self) -> &'i str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The value of the first field of this name, whatever its case.
    pub fn field(&self, name: &str) -> Option<&'i str> {
        head::field(self.head, name)
    }

    /// All fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&'i str, &'i str)> {
        head::fields(self.head)
    }

    /// The subprotocols that the client speaks, the one that it likes best first.
    pub fn protocols(&self) -> impl Iterator<Item = &'i str> {
        head::list(self.head, "Sec-WebSocket-Protocol")
    }

    /// Does it ask for a WebSocket at all, be it rightly or not?
    pub fn wants_upgrade(&self) -> bool {
        head::lists(self.head, "Upgrade", "websocket")
    }

    /// The upgrade that it asks for (RFC 6455, section 4.2.1). Extensions that it offers are
    /// passed over: that refuses them.
    ///
    /// # Errors
    ///
    /// It is no upgrade, or one that breaks the rules.
    pub fn upgrade(&self) -> Result<Upgrade<'i>, Refusal> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let head = self.head;
        if self.method != "GET" || self.minor < 1 {
            return Err(Refusal::METHOD);
        }
        let has_body = |name| head::field(head, name).is_some_and(|value| value != "0");
        if has_body("Content-Length") || has_body("Transfer-Encoding") {
            return Err(Refusal::BODY);
        }
        if !self.wants_upgrade() || !head::lists(head, "Connection", "Upgrade") {
            return Err(Refusal::NO_UPGRADE);
        }
        if head::only(head, "Sec-WebSocket-Version") != Some("13") {
            return Err(Refusal::VERSION);
        }
        let key = head::only(head, "Sec-WebSocket-Key").unwrap_or_default();
        // 16 bytes are 24 characters, and the decoder wants room for 18.
        let is_key = key.len() == 24 && STANDARD.decode_slice(key, &mut [0; 18]) == Ok(16);
        if !is_key || head::only(head, "Host").is_none() {
            return Err(Refusal::KEY);
        }
        Ok(Upgrade {
            accept: Accept::of(key),
            protocol: None,
        })
    }
}

/// An upgrade that may be granted, with [`answer`](Upgrade::answer).
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    accept: Accept,
    protocol: Option<&'a str>,
}

impl<'a> Upgrade<'a> {
    /// Grants this subprotocol, which must be one of [`Request::protocols`]: a client ends the
    /// connection for another one.
    pub fn protocol(self, protocol: &'a str) -> Upgrade<'a> {
        Upgrade {
            protocol: Some(protocol),
            ..self
        }
    }

    /// What says yes; behind it both sides send frames.
    pub fn answer(&self) -> Payload<'static> {
        let protocol = match self.protocol {
            Some(protocol) => format!("Sec-WebSocket-Protocol: {protocol}\r\n"),
            None => String::new(),
        };
        Payload::from(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            self.accept.as_str()
        ))
    }
}

/// Why a request gets no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: &'static str,
    field: &'static str,
    why: &'static str,
}

impl Refusal {
    const fn new(status: &'static str, why: &'static str) -> Refusal {
        Refusal {
            status,
            field: "",
            why,
        }
    }

    const METHOD: Refusal = Refusal::new("400 Bad Request", "an upgrade is a GET of HTTP/1.1");
    const BODY: Refusal = Refusal::new("400 Bad Request", "an upgrade has no body");
    const KEY: Refusal = Refusal::new("400 Bad Request", "an upgrade has a key and a host");
    const NO_UPGRADE: Refusal = Refusal {
        field: "Upgrade: websocket\r\n",
        ..Refusal::new("426 Upgrade Required", "this is a WebSocket")
    };
    const VERSION: Refusal = Refusal {
        field: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        ..Refusal::new("426 Upgrade Required", "the version of WebSocket is 13")
    };
    /// For pages of another site.
    pub const ORIGIN: Refusal = Refusal::new("403 Forbidden", "this is for our own pages");
    /// For a path that leads nowhere.
    pub const NOT_FOUND: Refusal = Refusal::new("404 Not Found", "nothing is here");

    /// What a client is to be told of a head that is none.
    pub fn of(error: &CodecError) -> Refusal {
        match error {
            CodecError::TooLong { .. } => {
                let status = "431 Request Header Fields Too Large";
                Refusal::new(status, "this is too long")
            }
            _ => Refusal::new("400 Bad Request", "this is no request"),
        }
    }

    /// The number of its status: 426.
    pub fn status(&self) -> u16 {
        self.status[..3].parse().unwrap_or(400)
    }

    /// What says no. Close the connection behind it.
    pub fn answer(&self) -> Payload<'static> {
        let Refusal { status, field, why } = self;
        Payload::from(format!(
            "HTTP/1.1 {status}\r\n{field}Connection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{why}\n",
            why.len() + 1
        ))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.why)
    }
}

impl Error for Refusal {}
