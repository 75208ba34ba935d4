//! Requests: their heads (RFC 9112, by `httparse`), and their bodies, which nobody wants.

use httparse::{EMPTY_HEADER, Status, parse_chunk_size};
use sockeye::Input;

/// Bytes of a request's head at most.
const HEAD_LIMIT: usize = 16 * 1024;
/// Bytes of a request's body at most, and of the lines between its chunks.
const BODY_LIMIT: u64 = 1024 * 1024;

/// A request that could be understood.
#[derive(Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path, decoded; it begins with a slash.
    pub(crate) path: String,
    /// The path as it came.
    pub(crate) target: String,
    /// HTTP/1.1, and not 1.0.
    pub(crate) is_11: bool,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    /// What the answer depends on, with names in small letters.
    pub(crate) conditions: Vec<(String, String)>,
}

/// What is still to come of a request's body.
pub(crate) struct Body {
    /// Bytes of it, or of a chunk.
    left: u64,
    /// Bytes so far, if it comes in chunks.
    chunked: Option<u64>,
    is_trailer: bool,
}

/// `None`: something is missing. An error is the status of a request that ends the connection.
pub(crate) type Step<T = Request> = Result<Option<T>, u16>;

impl Request {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.conditions.iter().filter(|(other, _)| other == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Understands the head of a request: it, its body, and how long the head is.
pub(crate) fn head(bytes: &[u8]) -> Step<(Request, Body, usize)> {
    let mut headers = [EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let len = match parsed.parse(bytes) {
        Ok(Status::Complete(len)) if len <= HEAD_LIMIT => len,
        Ok(Status::Partial) if bytes.len() <= HEAD_LIMIT => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    };
    let is_11 = parsed.version == Some(1);
    let target = path(parsed.path.unwrap_or_default());
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: decoded(target).ok_or(400u16)?,
        target: target.to_owned(),
        is_11,
        keep_alive: is_11,
        ..Request::default()
    };
    let (mut hosts, mut length, mut chunked) = (0, None, None);
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| 400u16)?;
        let has = |word| {
            value
                .split(',')
                .any(|it| it.trim().eq_ignore_ascii_case(word))
        };
        let name = header.name.to_ascii_lowercase();
        match name.as_str() {
            "host" => hosts += 1,
            // Two lengths that differ, or one that is no number, hide a request in another.
            "content-length" => {
                let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let number = value.parse().unwrap_or(u64::MAX);
                if !is_number || length.is_some_and(|other| other != number) {
                    return Err(400);
                }
                length = Some(number);
            }
            "transfer-encoding" if has("chunked") && value.len() == 7 => chunked = Some(0),
            "transfer-encoding" => return Err(501),
            "connection" if has("close") => request.keep_alive = false,
            "connection" if has("keep-alive") && !is_11 => request.keep_alive = true,
            "expect" if has("100-continue") => request.expects_continue = is_11,
            "expect" => return Err(417),
            "range" | "if-range" | "if-match" | "if-none-match" | "if-modified-since" => {
                request.conditions.push((name, value.to_owned()));
            }
            _ => {}
        }
    }
    let is_two_ways = chunked.is_some() && (length.is_some() || !is_11);
    if hosts > 1 || is_11 && hosts == 0 || is_two_ways {
        return Err(400);
    }
    let left = length.unwrap_or(0);
    if left > BODY_LIMIT {
        return Err(413);
    }
    let body = Body {
        left,
        chunked,
        is_trailer: false,
    };
    Ok(Some((request, body, len)))
}

/// The path of a target, without its host and its query.
fn path(target: &str) -> &str {
    let rest = target.strip_prefix("http://");
    let path = rest.map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    path.split(['?', '#']).next().unwrap_or_default()
}

/// `None`: it is no path here. Two slashes at its beginning would be a host in a `Location`.
fn decoded(path: &str) -> Option<String> {
    let (mut raw, mut bytes) = (path.bytes(), Vec::new());
    while let Some(byte) = raw.next() {
        let mut digit = || char::from(raw.next()?).to_digit(16);
        bytes.push(match byte {
            b'%' => (digit()? * 16 + digit()?) as u8,
            byte => byte,
        });
    }
    let is_path = path.starts_with('/') && !path.starts_with("//") && !bytes.contains(&0);
    String::from_utf8(bytes).ok().filter(|_| is_path)
}

impl Body {
    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0 && self.chunked.is_none()
    }

    /// Throws away what has come of it. `true`: that was all.
    pub(crate) fn skip(&mut self, input: &mut Input) -> Result<bool, u16> {
        loop {
            let here = self.left.min(input.len() as u64);
            self.left -= input.take(here as usize).len() as u64;
            let Some(total) = &mut self.chunked else {
                return Ok(self.left == 0);
            };
            if self.left > 0 {
                return Ok(false);
            }
            // A line: a size, the end of a chunk, or of the trailer.
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                return if input.len() > HEAD_LIMIT {
                    Err(400)
                } else {
                    Ok(false)
                };
            };
            let line = input.take(end + 1);
            let is_empty = matches!(&*line, b"\n" | b"\r\n");
            *total += line.len() as u64;
            if self.is_trailer && is_empty {
                return Ok(true);
            } else if !self.is_trailer && (!is_empty || *total == line.len() as u64) {
                let Ok(Status::Complete((_, size))) = parse_chunk_size(&line) else {
                    return Err(400);
                };
                self.is_trailer = size == 0;
                self.left = size;
                *total = total.saturating_add(size);
            }
            if *total > BODY_LIMIT {
                return Err(413);
            }
        }
    }
}
