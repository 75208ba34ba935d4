//! WebSocket (RFC 6455), both sides: the upgrade, and messages in both directions.
//!
//! | part | server | client |
//! |---|---|---|
//! | the upgrade | [`Requests`], [`Request::upgrade`] | [`Handshake`] |
//! | bytes to messages | [`WebSocket::server`] | [`WebSocket::client`] |
//! | messages to bytes | [`text`], [`binary`], [`pong`], … | these, and [`Masks::mask`] |
//!
//! All of it is decoders for [`Frames`](crate::Frames) and payloads for
//! [`send`](crate::Context::send). An upgrade takes the connection's decoder out of one field and
//! puts one into another, in mid-stream:
//!
//! ```
//! use sockeye::codec::websocket::{self, Message, Requests, WebSocket};
//! use sockeye::{ConnId, Context, Frames, Handler, Input};
//!
//! struct Echo {
//!     requests: Frames<Requests>,
//!     sockets: Frames<WebSocket>,
//! }
//!
//! impl Handler for Echo {
//!     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
//!         while let Some(request) = self.requests.next(cx, conn, input) {
//!             match request.upgrade() {
//!                 Ok(upgrade) => {
//!                     cx.send(conn, upgrade.answer());
//!                     self.requests.remove(cx, conn);
//!                     self.sockets.set(cx, conn, WebSocket::server(1 << 20));
//!                 }
//!                 Err(refusal) => {
//!                     cx.send(conn, refusal.answer());
//!                     cx.close_because(conn, refusal);
//!                 }
//!             }
//!         }
//!         while let Some(message) = self.sockets.next(cx, conn, input) {
//!             match message {
//!                 Message::Text(text) => drop(cx.send(conn, text.into_frame())),
//!                 Message::Binary(data) => drop(cx.send(conn, data.into_frame())),
//!                 Message::Ping(ping) => drop(cx.send(conn, websocket::pong(ping))),
//!                 Message::Pong(_) => {}
//!                 Message::Close(close) => {
//!                     cx.send(conn, websocket::close(close.code, ""));
//!                     cx.close(conn);
//!                 }
//!             }
//!         }
//!     }
//! }
//!
//! let echo = Echo { requests: Frames::new(Requests::new(8192)), sockets: Frames::default() };
//! ```
//!
//! What is refused, as the RFC wants it: frames that are masked on the wrong way or not masked on
//! the other, reserved bits and opcodes (no extension is ever agreed upon), control frames that are
//! long or in fragments, lengths that are longer than they need be, text that is no UTF-8, close
//! codes that nobody may send. [`CloseCode::of`] says what a peer is to be told of each.
//!
//! A browser sends its cookies along to any site that a page asks for. So a server whose users are
//! known by cookies compares the `Origin` of a request with its own name; see the example
//! `websocket_chat`.

mod close;
mod decode;
mod encode;
mod handshake;
mod head;
mod mask;
mod message;
mod request;
mod utf8;

pub use close::{Close, CloseCode};
pub use decode::WebSocket;
pub use encode::{Frame, Kind, begin, binary, close, end, more, ping, pong, text};
pub use handshake::{Accepted, Handshake};
pub use mask::Masks;
pub use message::{Control, Data, Message, Text};
pub use request::{Refusal, Request, Requests, Upgrade};

/// The kinds of frames, by their number.
mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// The bit of a frame that is the last of its message.
const FIN: u8 = 0x80;

/// The bit of a frame whose payload is masked.
const MASKED: u8 = 0x80;

/// Bytes of a control frame's payload, at most.
const CONTROL: usize = 125;

/// The longest header: two bytes, eight of length, and the mask.
const HEADER: usize = 14;

/// What a text is that is none.
const NO_TEXT: &str = "a text that is no UTF-8";
