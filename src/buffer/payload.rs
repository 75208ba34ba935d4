//! What a send takes: bytes lent or given, in one part or two.

use super::input::Chunk;
use bytes::{BufMut, Bytes};

/// The bytes of one `send`: a frame.
///
/// It is made by `From` and not by name: from `&[u8]`, `&str`, `String`, `Vec<u8>`, [`Bytes`],
/// [`Chunk`], or a pair of these: a header and what it announces, one frame without joining them
/// first. Small parts are copied, large ones that are given (not lent) are shared.
#[derive(Debug)]
pub struct Payload<'a>(pub(crate) Parts<'a>);

/// What can be sent: all that a [`Payload`] is made from. There is nothing to implement: a type
/// with `From` for `Payload` can be sent.
///
/// ```compile_fail,E0277
/// # fn sends(cx: &mut sockeye::Context, conn: sockeye::ConnId) {
/// cx.send(conn, 7); // error: `{integer}` is nothing that can be sent
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that can be sent",
    label = "no bytes",
    note = "give `&[u8]`, `&str`, `String`, `Vec<u8>`, `Bytes` or a `Chunk` of input, or a pair of \
            these; a number has `to_be_bytes`, and a codec its `frame`"
)]
pub trait ToPayload<'a>: Into<Payload<'a>> {}

#[diagnostic::do_not_recommend] // or the compiler would speak of `From`
impl<'a, P: Into<Payload<'a>>> ToPayload<'a> for P {}

/// One part, as almost always, or two; more only when a payload of parts gets a header.
#[derive(Debug)]
pub(crate) enum Parts<'a> {
    One(Part<'a>),
    Two([Part<'a>; 2]),
    Many(Vec<Part<'a>>),
}

/// One part of a payload.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    Lent(&'a [u8]),
    Given(Bytes),
    /// To be shared, if it is large.
    Shared(&'a Bytes),
    Chunk(Chunk<'a>),
    /// A frame's header, made a moment ago.
    Header(Header),
}

/// A few bytes that live nowhere else.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Header {
    bytes: [u8; Header::CAPACITY],
    len: u8,
}

impl Header {
    pub(crate) const CAPACITY: usize = 31;

    /// Appends bytes; those that find no room are left out.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        let end = (start + bytes.len()).min(Header::CAPACITY);
        self.bytes[start..end].copy_from_slice(&bytes[..end - start]);
        self.len = end as u8; // at most 31
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl<'a> From<Header> for Payload<'a> {
    fn from(header: Header) -> Payload<'a> {
        Payload::one(Part::Header(header))
    }
}

/// Bytes below which copying is cheaper than sharing, with the system call: from 10 KiB on when a
/// frame goes out alone, from 3 KiB on with three others, from 2 KiB on with fifteen, for each
/// shared one is an entry of the call (`cargo bench --bench write_queue`).
pub(crate) const SHARE_FROM: usize = 4096;

impl<'a> Payload<'a> {
    /// How many bytes they are.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Parts::One(part) => part.len(),
            Parts::Two([head, body]) => head.len() + body.len(),
            Parts::Many(parts) => parts.iter().map(Part::len).sum(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn one(part: Part<'a>) -> Payload<'a> {
        Payload(Parts::One(part))
    }

    fn parts(&self) -> &[Part<'a>] {
        match &self.0 {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::Two(parts) => parts,
            Parts::Many(parts) => parts,
        }
    }

    pub(crate) fn into_parts(self) -> Vec<Part<'a>> {
        match self.0 {
            Parts::One(part) => vec![part],
            Parts::Two(parts) => parts.into(),
            Parts::Many(parts) => parts,
        }
    }

    /// The bytes, part by part.
    pub fn slices(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.parts().iter().map(Part::as_slice)
    }

    /// How it begins, to be shown in an error.
    pub(crate) fn first(&self) -> &[u8] {
        let mut slices = self.slices();
        slices.find(|slice| !slice.is_empty()).unwrap_or_default()
    }

    pub(crate) fn last(&self) -> Option<u8> {
        self.slices().rev().find_map(|slice| slice.last()).copied()
    }

    /// Appends its bytes to a buffer, for those who do not send them.
    pub fn put_into(&self, buffer: &mut impl BufMut) {
        self.slices().for_each(|slice| buffer.put_slice(slice));
    }
}

impl Part<'_> {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Part::Lent(slice) => slice,
            Part::Given(bytes) => bytes,
            Part::Shared(bytes) => bytes,
            Part::Chunk(chunk) => chunk,
            Part::Header(header) => header.as_slice(),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// The bytes to keep, without a copy where that is possible.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Part::Lent(slice) => Bytes::copy_from_slice(slice),
            Part::Given(bytes) => bytes,
            Part::Shared(bytes) => bytes.clone(),
            Part::Chunk(chunk) => chunk.into(),
            Part::Header(header) => Bytes::copy_from_slice(header.as_slice()),
        }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Payload<'a> {
        Payload::one(Part::Lent(bytes))
    }
}

impl<'a> From<Chunk<'a>> for Payload<'a> {
    #[inline]
    fn from(chunk: Chunk<'a>) -> Payload<'a> {
        Payload::one(Part::Chunk(chunk))
    }
}

impl<'a> From<Bytes> for Payload<'a> {
    fn from(bytes: Bytes) -> Payload<'a> {
        Payload::one(Part::Given(bytes))
    }
}

impl<'a> From<Vec<u8>> for Payload<'a> {
    fn from(bytes: Vec<u8>) -> Payload<'a> {
        Payload::from(Bytes::from(bytes))
    }
}

impl<'a> From<String> for Payload<'a> {
    fn from(text: String) -> Payload<'a> {
        Payload::from(text.into_bytes())
    }
}

macro_rules! lent {
    ($($from:ty),*) => {$(
        impl<'a> From<&'a $from> for Payload<'a> {
            fn from(bytes: &'a $from) -> Payload<'a> {
                let bytes: &[u8] = bytes.as_ref();
                Payload::from(bytes)
            }
        }
    )*};
}

lent!(str, String, Vec<u8>);

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Payload<'a> {
        Payload::from(bytes.as_slice())
    }
}

/// Bytes that are used several times are shared: this clones the handle, not the bytes. Few are
/// copied all the same.
impl<'a> From<&'a Bytes> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a Bytes) -> Payload<'a> {
        Payload::one(Part::Shared(bytes))
    }
}

/// A header and what it announces, sent as one frame. Each may be a pair itself.
impl<'a, A: Into<Payload<'a>>, B: Into<Payload<'a>>> From<(A, B)> for Payload<'a> {
    fn from((head, body): (A, B)) -> Payload<'a> {
        match (head.into().0, body.into().0) {
            (Parts::One(head), Parts::One(body)) => Payload(Parts::Two([head, body])),
            (head, body) => {
                let mut parts = Payload(head).into_parts();
                parts.extend(Payload(body).into_parts());
                Payload(Parts::Many(parts))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_first_bytes_are_those_of_the_first_part_that_has_some() {
        let payload = Payload::from(("", ("", "ab")));
        assert_eq!((payload.first(), payload.last()), (&b"ab"[..], Some(b'b')));
        let payload = Payload::from(("ab", ""));
        assert_eq!((payload.first(), payload.last()), (&b"ab"[..], Some(b'b')));
        assert_eq!(
            (Payload::from("").first(), Payload::from("").last()),
            (&b""[..], None)
        );
    }

    #[test]
    fn each_kind_of_part_becomes_its_bytes() {
        let mut input = crate::InputBuffer::from(b"chunk".to_vec());
        let (mut header, shared) = (Header::default(), Bytes::from_static(b"shared"));
        header.push(b"head");
        header.push(b"er");
        let payload = Payload::from(((header, input.take_all()), (&shared, ("lent", vec![b'!']))));
        let parts = payload.into_parts().into_iter().map(Part::into_bytes);
        let parts: Vec<_> = parts.collect();
        assert_eq!(parts.concat(), b"headerchunksharedlent!");
    }

    #[test]
    fn a_header_that_is_full_takes_no_more() {
        let mut header = Header::default();
        header.push(&[1; Header::CAPACITY - 1]);
        header.push(&[2; 3]);
        assert_eq!(header.as_slice().len(), Header::CAPACITY);
        assert_eq!(header.as_slice().last(), Some(&2));
    }
}
