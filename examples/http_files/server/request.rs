//! What a client asks for (RFC 9112, by `httparse`), and the body of it, which nobody wants.

use super::files::Entity;
use httparse::{Error, Header, Status::Complete, Status::Partial, parse_chunk_size};
use httpdate::HttpDate;
use sockeye::Input;
use std::{borrow::Cow, ops::Range};

/// Bytes of a request's head at most, and of its body, with the lines between its chunks.
const HEAD_LIMIT: usize = 16 * 1024;
const BODY_LIMIT: u64 = 1024 * 1024;

/// What is wanted; or what is said instead: a status, and perhaps fields of the answer.
pub(crate) type Answer<T> = Result<T, Cow<'static, str>>;

/// A request that could be understood.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// The path, as it came and decoded; both begin with a slash.
    pub(crate) target: &'a str,
    pub(crate) path: Cow<'a, str>,
    pub(crate) is_11: bool,
    pub(crate) head_len: usize,
    fields: &'a [Header<'a>],
}

impl<'a> Request<'a> {
    /// Understands the head of a request, with room for its fields. `None`: something is missing.
    pub(crate) fn parse(bytes: &'a [u8], room: &'a mut [Header<'a>]) -> Answer<Option<Self>> {
        let mut head = httparse::Request::new(room);
        let head_len = match head.parse(bytes) {
            Ok(Complete(len)) if len <= HEAD_LIMIT => len,
            Ok(Partial) if bytes.len() <= HEAD_LIMIT => return Ok(None),
            Ok(_) | Err(Error::TooManyHeaders) => Err("431 Request Header Fields Too Large")?,
            Err(Error::Version) => Err("505 HTTP Version Not Supported")?,
            Err(_) => Err("400 Bad Request")?,
        };
        // A host may stand in front of the path, and a query behind it.
        let (target, is_11) = (head.path.unwrap_or_default(), head.version == Some(1));
        let rest = target.strip_prefix("http://");
        let host = rest.map_or(0, |rest| rest.find('/').unwrap_or(0) + 7);
        let target = target[host..].split(['?', '#']).next().unwrap_or_default();
        let path = decoded(target).ok_or("400 Bad Request")?;
        // Two slashes at its beginning would be a host in a `Location`.
        let is_path = path.starts_with('/') && !path.starts_with("//") && !path.contains('\0');
        let request = Request {
            method: head.method.unwrap_or_default(),
            target,
            path,
            is_11,
            head_len,
            fields: head.headers,
        };
        match request.values("host").count() {
            hosts if is_path && (hosts == 1 || hosts == 0 && !is_11) => Ok(Some(request)),
            _ => Err("400 Bad Request")?,
        }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = move |it: &&Header<'_>| it.name.eq_ignore_ascii_case(name);
        // What is no UTF-8 is nothing that is known here.
        let value = |it: &Header<'a>| std::str::from_utf8(it.value).unwrap_or("?");
        self.fields.iter().filter(named).map(value)
    }

    pub(crate) fn has(&self, name: &str, word: &str) -> bool {
        let mut words = self.values(name).flat_map(|value| value.split(','));
        words.any(|it| it.trim().eq_ignore_ascii_case(word))
    }

    pub(crate) fn keep_alive(&self) -> bool {
        (self.is_11 || self.has("connection", "keep-alive")) && !self.has("connection", "close")
    }

    /// What follows the head.
    pub(crate) fn body(&self) -> Answer<Body> {
        let mut codings = self.values("transfer-encoding");
        let chunked = match codings.next() {
            None => None,
            Some(it) if it.eq_ignore_ascii_case("chunked") && codings.next().is_none() => Some(0),
            _ => Err("501 Not Implemented")?,
        };
        let mut lengths = self.values("content-length");
        let length = lengths.next();
        let is_number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        let left = length.map_or(0, |it| it.parse().unwrap_or(u64::MAX));
        // Two lengths that differ, or one that is no number, hide a request in another.
        let is_one = length.is_none_or(is_number) && lengths.all(|it| Some(it) == length);
        if !is_one || chunked.is_some() && (length.is_some() || !self.is_11) {
            Err("400 Bad Request")?;
        } else if left > BODY_LIMIT {
            Err("413 Content Too Large")?;
        }
        Ok(Body { left, chunked })
    }

    /// What is given of an entity, and with which status (RFC 9110, section 13.2.2).
    pub(crate) fn wants(&self, entity: &Entity) -> Answer<(Cow<'static, str>, Range<u64>)> {
        let (tag, date, len) = (&*entity.etag, entity.modified, entity.len);
        let get = |name| self.values(name).next();
        let is_named = |tags: &str, weak: &str| {
            let mut tags = tags.split(',').map(str::trim);
            tags.any(|it| it == "*" || it.strip_prefix(weak).unwrap_or(it) == tag)
        };
        let is_other = get("if-match").is_some_and(|tags| !is_named(tags, ""));
        let is_older = |since: &str| since.parse().is_ok_and(|since| date <= since);
        let is_known = match get("if-none-match") {
            Some(tags) => is_named(tags, "W/"),
            None => get("if-modified-since").is_some_and(is_older),
        };
        let is_same = |it: &str| it == tag || it.parse().is_ok_and(|it: HttpDate| it == date);
        let range = get("range").filter(|_| get("if-range").is_none_or(is_same));
        let told = |status, range| format!("{status}\r\nContent-Range: bytes {range}/{len}");
        match range.and_then(|range| part(range, len)) {
            _ if is_other => Err("412 Precondition Failed".into()),
            _ if is_known => Ok(("304 Not Modified".into(), 0..len)),
            None => Ok(("200 OK".into(), 0..len)),
            Some(Range { start, end }) if start < end => {
                let range = format!("{start}-{}", end - 1);
                Ok((told("206 Partial Content", &*range).into(), start..end))
            }
            _ => Err(told("416 Range Not Satisfiable", "*").into()),
        }
    }
}

/// The part of so many bytes that is asked for, perhaps none of them; `None`: all is given.
fn part(range: &str, len: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    Some(match (first.trim(), last.trim()) {
        ("", last) => len.saturating_sub(number(last)?)..len,
        (first, "") => number(first)?.min(len)..len,
        (first, last) if number(first)? > number(last)? => None?,
        (first, last) => number(first)?.min(len)..number(last)?.saturating_add(1).min(len),
    })
}

/// What is still to come of a request's body.
pub(crate) struct Body {
    /// Bytes of it, or of a chunk.
    left: u64,
    /// Bytes so far, if it comes in chunks.
    chunked: Option<u64>,
}

impl Body {
    /// Throws away what has come of it. `true`: that was all.
    pub(crate) fn skip(&mut self, input: &mut Input) -> Answer<bool> {
        loop {
            let here = self.left.min(input.len() as u64);
            self.left -= input.take(here as usize).len() as u64;
            let (Some(total), 0) = (&mut self.chunked, self.left) else {
                return Ok(self.left == 0);
            };
            // Behind a chunk there is the end of its line, and then the next size.
            let at = if *total > 0 { 2 } else { 0 };
            let rest = input.get(at..).unwrap_or_default();
            let begins = input.starts_with(&b"\r\n"[..at]);
            // It has a digit, and one end: else others on the way might find requests in it.
            let is_one = |it: &[u8]| it[0].is_ascii_hexdigit() && !it[..it.len() - 1].contains(&10);
            let (len, size) = match parse_chunk_size(rest) {
                Ok(Complete(line)) if begins && is_one(&rest[..line.0]) => line,
                Ok(Partial) if rest.len() <= HEAD_LIMIT => return Ok(false),
                _ => Err("400 Bad Request")?,
            };
            if size == 0 {
                // The trailer ends with an empty line, which may be the first.
                let end = rest[len - 2..].windows(4).position(|it| it == b"\r\n\r\n");
                if end.is_none() && rest.len() > HEAD_LIMIT {
                    Err("431 Request Header Fields Too Large")?;
                }
                input.take(end.map_or(0, |end| at + len + end + 2));
                return Ok(end.is_some());
            }
            *total = total.saturating_add(size).saturating_add(len as u64);
            if *total > BODY_LIMIT {
                Err("413 Content Too Large")?;
            }
            self.left = size;
            input.take(at + len);
        }
    }
}

/// A path without its `%2F`s. What only looks like one stays. `None`: it is no UTF-8 then.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let [first, after @ ..] = rest {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let both = digit(0).zip(digit(1)).filter(|_| *first == b'%');
        bytes.push(both.map_or(*first, |(high, low)| (high * 16 + low) as u8));
        rest = both.map_or(after, |_| &after[2..]);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
