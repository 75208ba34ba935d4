//! Bytes to messages.

use super::close::Close;
use super::message::{Control, Data, Message, Text};
use super::utf8::Utf8;
use super::{CONTROL, FIN, HEADER, MASKED, NO_TEXT, mask, opcode};
use crate::buffer::input::Input;
use crate::codec::{CodecError, Decoder};

/// Messages of a WebSocket, after the upgrade: unmasked where they lie, and checked as they come.
///
/// A message in one frame is borrowed from the input; one in several is put together, in memory
/// that grows with what comes and not with what is claimed. Control frames between its parts are
/// given in between. After a [`Message::Close`] nothing comes any more, and what the peer still
/// sends is thrown away.
///
/// ```
/// use sockeye::InputBuffer;
/// use sockeye::codec::Decoder;
/// use sockeye::codec::websocket::{Masks, Message, WebSocket, text};
///
/// let mut socket = WebSocket::server(1 << 20);
/// let mut input = InputBuffer::from(Masks::random().mask(text("grüß Gott")));
/// let message = socket.decode(&mut input)?;
/// assert!(matches!(message, Some(Message::Text(text)) if text.as_str() == "grüß Gott"));
/// # Ok::<(), sockeye::codec::CodecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// The peer is a client, so what comes is masked.
    is_server: bool,
    max: usize,
    max_frame: usize,
    /// The frame that the input begins with, once its header has come.
    frame: Option<Head>,
    /// Bytes of its payload that are unmasked and checked already.
    done: usize,
    /// What the message is of which parts have come, and the parts.
    begun: Option<u8>,
    parts: Vec<u8>,
    utf8: Utf8,
    /// The peer has sent its close.
    is_over: bool,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
struct Head {
    opcode: u8,
    is_last: bool,
    key: Option<[u8; 4]>,
    /// Where the payload begins, and how long it is.
    start: usize,
    len: usize,
}

impl Head {
    fn is_control(&self) -> bool {
        self.opcode >= opcode::CLOSE
    }

    fn end(&self) -> usize {
        self.start.saturating_add(self.len)
    }
}

impl WebSocket {
    const fn new(max: usize, is_server: bool) -> WebSocket {
        WebSocket {
            is_server,
            max,
            max_frame: max,
            frame: None,
            done: 0,
            begun: None,
            parts: Vec::new(),
            utf8: Utf8::new(),
            is_over: false,
        }
    }

    /// What a server receives: masked frames, messages of `max` bytes at most.
    pub const fn server(max: usize) -> WebSocket {
        WebSocket::new(max, true)
    }

    /// What a client receives: frames without a mask, messages of `max` bytes at most.
    pub const fn client(max: usize) -> WebSocket {
        WebSocket::new(max, false)
    }

    /// Frames of so many bytes at most; default: the maximum of a message. So much may wait in the
    /// input for the rest of its frame.
    pub const fn max_frame(mut self, max_frame: usize) -> WebSocket {
        self.max_frame = max_frame;
        self
    }

    /// The header that the input begins with; `None`: it has not come yet. What it forbids is told
    /// as early as it is known.
    fn head(&self, input: &[u8]) -> Result<Option<Head>, CodecError> {
        let Some(first) = input.first() else {
            return Ok(None);
        };
        let (opcode, is_last) = (first & 0x0f, first & FIN != 0);
        let wrong = match opcode {
            _ if first & 0x70 != 0 => "reserved bits, and no extension was agreed upon",
            opcode::CLOSE..=opcode::PONG if !is_last => "a control frame in parts",
            opcode::CLOSE..=opcode::PONG => "",
            opcode::CONTINUATION if self.begun.is_none() => "a part of no message",
            opcode::CONTINUATION => "",
            opcode::TEXT | opcode::BINARY if self.begun.is_some() => "a message within another",
            opcode::TEXT | opcode::BINARY => "",
            _ => "an opcode that is reserved",
        };
        if !wrong.is_empty() {
            return Err(CodecError::malformed(wrong, input));
        }
        let Some(second) = input.get(1) else {
            return Ok(None);
        };
        let (is_masked, short) = (second & MASKED != 0, second & !MASKED);
        let wrong = match is_masked == self.is_server {
            false if self.is_server => "a frame of a client without a mask",
            false => "a frame of a server with a mask",
            true if opcode >= opcode::CLOSE && usize::from(short) > CONTROL => {
                "a control frame of more than 125 bytes"
            }
            true => "",
        };
        if !wrong.is_empty() {
            return Err(CodecError::malformed(wrong, input));
        }
        let Some((len, at)) = length(short, input)? else {
            return Ok(None);
        };
        let len = self.allowed(opcode, len, input)?;
        let key = match is_masked {
            false => None,
            true => match input[at..].first_chunk() {
                Some(key) => Some(*key),
                None => return Ok(None),
            },
        };
        let start = at + if is_masked { 4 } else { 0 };
        Ok(Some(Head {
            opcode,
            is_last,
            key,
            start,
            len,
        }))
    }

    /// A length that is within the limits.
    fn allowed(&self, opcode: u8, len: u64, input: &[u8]) -> Result<usize, CodecError> {
        let too_long = |limit, len| Err(CodecError::too_long(limit, Some(len), input));
        if opcode >= opcode::CLOSE {
            return Ok(len as usize); // 125 at most
        }
        if len > self.max_frame as u64 {
            return too_long(self.max_frame, len);
        }
        let message = len.saturating_add(self.parts.len() as u64);
        match message > self.max as u64 {
            true => too_long(self.max, message),
            false => Ok(len as usize), // at most a `usize`, as the maximum is
        }
    }

    /// Unmasks what has come of the frame's payload, up to `end`, and checks it.
    #[inline]
    fn uncover(&mut self, head: &Head, input: &mut Input, end: usize) -> Result<(), CodecError> {
        let new = head.start + self.done..end;
        if let Some(key) = head.key {
            mask::apply(key, self.done, &mut input[new.clone()]);
        }
        let is_text = match head.opcode {
            opcode::CONTINUATION => self.begun == Some(opcode::TEXT),
            other => other == opcode::TEXT,
        };
        if is_text {
            let is_alone = self.done == 0 && self.begun.is_none() && head.is_last;
            if is_alone && end == head.end() {
                str(&input[new])?; // as almost always
            } else if !self.utf8.takes(&input[new.clone()])
                || (head.is_last && end == head.end() && !self.utf8.is_whole())
            {
                return Err(CodecError::malformed(NO_TEXT, &input[new]));
            }
        }
        self.done = end - head.start;
        Ok(())
    }

    /// The rest of a frame has not come.
    fn incomplete<F>(&self, input: &Input) -> Result<Option<F>, CodecError> {
        match input.is_ended() && self.begun.is_some() {
            true => Err(CodecError::truncated(&self.parts)),
            false => input.incomplete(),
        }
    }
}

impl Decoder for WebSocket {
    type Frame<'d, 'i> = Message<'i>;

    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Message<'i>>, CodecError> {
        loop {
            if self.is_over {
                input.take_all();
                return Ok(None);
            }
            let head = match self.frame {
                Some(head) => head,
                None => match self.head(input)? {
                    Some(head) => head,
                    None => return self.incomplete(input),
                },
            };
            if input.len() < head.end() {
                self.frame = Some(head);
                if !head.is_control() && input.len() > head.start {
                    let end = input.len();
                    self.uncover(&head, input, end)?;
                }
                return self.incomplete(input);
            }
            self.uncover(&head, input, head.end())?;
            (self.frame, self.done) = (None, 0);
            if head.is_control() {
                self.is_over = head.opcode == opcode::CLOSE;
                return control(&head, input).map(Some);
            }
            if self.begun.is_none() && head.is_last {
                let data = Data::whole(input.take_part(head.end(), 0, head.end()), head.start);
                return Ok(Some(message(head.opcode, data)));
            }
            self.parts.extend_from_slice(&input[head.start..head.end()]);
            input.take(head.end());
            let opcode = *self.begun.get_or_insert(head.opcode);
            if head.is_last {
                self.begun = None;
                let data = Data::joined(opcode, std::mem::take(&mut self.parts));
                return Ok(Some(message(opcode, data)));
            }
        }
    }

    /// The longest frame, with its header.
    fn max_input(&self) -> usize {
        let longest = self.max_frame.min(self.max).max(CONTROL);
        longest.saturating_add(HEADER)
    }
}

/// What the length says, and where it ends; `None`: not all of it has come.
fn length(short: u8, input: &[u8]) -> Result<Option<(u64, usize)>, CodecError> {
    let bytes = &input[2..];
    let (len, least, end) = match short {
        126 => match bytes.first_chunk() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 126, 4),
            None => return Ok(None),
        },
        127 => match bytes.first_chunk() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 0x1_0000, 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 2),
    };
    let wrong = match len {
        _ if len < least => "a length in more bytes than it needs",
        _ if len >> 63 != 0 => "a length of 64 bits",
        _ => return Ok(Some((len, end))),
    };
    Err(CodecError::malformed(wrong, input))
}

fn message(opcode: u8, data: Data<'_>) -> Message<'_> {
    match opcode {
        opcode::TEXT => Message::Text(Text(data)),
        _ => Message::Binary(data),
    }
}

fn control<'i>(head: &Head, input: &'i mut Input) -> Result<Message<'i>, CodecError> {
    let frame = input.take_part(head.end(), 0, head.end());
    if head.opcode == opcode::CLOSE {
        let frame = frame.into_slice();
        return Close::read(&frame[head.start..]).map(Message::Close);
    }
    let control = Control(Data::whole(frame, head.start));
    Ok(match head.opcode {
        opcode::PING => Message::Ping(control),
        _ => Message::Pong(control),
    })
}

/// Bytes as text.
pub(super) fn str(bytes: &[u8]) -> Result<&str, CodecError> {
    std::str::from_utf8(bytes).map_err(|_| CodecError::malformed(NO_TEXT, bytes))
}
