//! Messages that say their length first.

use super::{CodecError, Decoder, Encoder};
use crate::buffer::input::{Chunk, Input};
use crate::buffer::payload::{Header, Payload, ToPayload};

/// Frames that begin with their length; the frame that is given is what the length counts.
///
/// Made from the kind of prefix and the maximum of bytes after it; then, if the protocol wants it,
/// changed by the other methods. Everything here is `const`, so a protocol can be one:
///
/// ```
/// use sockeye::codec::LengthPrefixed;
///
/// /// Two bytes of type, then four of length, which count themselves and the type.
/// const CODEC: LengthPrefixed = LengthPrefixed::u32(1 << 20).offset(2).adjustment(-6).skip(0);
/// ```
///
/// The model is that of Netty's `LengthFieldBasedFrameDecoder`: a frame has `offset` bytes, the
/// prefix, and then as many bytes as the prefix says plus `adjustment`; the first `skip` bytes of
/// all that are left out, which by default are those up to the prefix's end. (In `tokio_util` the
/// length counts from `num_skip` on: its adjustment is smaller by the header's length less
/// `num_skip`.)
#[derive(Clone, Copy, Debug)]
#[doc(alias("LengthDelimitedCodec", "netstring"))]
pub struct LengthPrefixed {
    prefix: Prefix,
    max: usize,
    offset: usize,
    adjustment: i64,
    counts_itself: bool,
    skip: Option<usize>,
    /// Bytes of the frame whose header has been read, and how many of them are left out; 0: no
    /// header has been read.
    total: usize,
    skipped: usize,
}

#[derive(Clone, Copy, Debug)]
enum Prefix {
    Big(usize),
    Little(usize),
    Varint,
    Decimal(usize),
}

/// The longest varint of 64 bits: seven in each byte.
const VARINT: usize = 10;

/// Digits that always fit into 64 bits.
const DIGITS: usize = 19;

impl LengthPrefixed {
    const fn new(prefix: Prefix, max: usize) -> LengthPrefixed {
        LengthPrefixed {
            prefix,
            max,
            offset: 0,
            adjustment: 0,
            counts_itself: false,
            skip: None,
            total: 0,
            skipped: 0,
        }
    }

    /// A prefix of one byte.
    pub const fn u8(max: usize) -> LengthPrefixed {
        LengthPrefixed::new(Prefix::Big(1), max)
    }

    /// A prefix of two bytes, in network byte order.
    pub const fn u16(max: usize) -> LengthPrefixed {
        LengthPrefixed::new(Prefix::Big(2), max)
    }

    /// A prefix of three bytes, in network byte order.
    pub const fn u24(max: usize) -> LengthPrefixed {
        LengthPrefixed::new(Prefix::Big(3), max)
    }

    /// A prefix of four bytes, in network byte order.
    pub const fn u32(max: usize) -> LengthPrefixed {
        LengthPrefixed::new(Prefix::Big(4), max)
    }

    /// A prefix of eight bytes, in network byte order.
    pub const fn u64(max: usize) -> LengthPrefixed {
        LengthPrefixed::new(Prefix::Big(8), max)
    }

    /// A varint as in Protocol Buffers: seven bits a byte, the lowest first, in 10 bytes at most.
    pub const fn varint(max: usize) -> LengthPrefixed {
        LengthPrefixed::new(Prefix::Varint, max)
    }

    /// So many decimal digits, in ASCII: `00042`.
    ///
    /// # Panics
    ///
    /// If there are none, or more than 19.
    pub const fn decimal(digits: usize, max: usize) -> LengthPrefixed {
        assert!(
            digits > 0 && digits <= DIGITS,
            "1 to 19 digits are possible"
        );
        LengthPrefixed::new(Prefix::Decimal(digits), max)
    }

    /// The prefix's lowest byte comes first.
    pub const fn little_endian(self) -> LengthPrefixed {
        let prefix = match self.prefix {
            Prefix::Big(width) => Prefix::Little(width),
            other => other,
        };
        LengthPrefixed { prefix, ..self }
    }

    /// The length counts the prefix's own bytes too.
    pub const fn counts_itself(self) -> LengthPrefixed {
        LengthPrefixed {
            counts_itself: true,
            ..self
        }
    }

    /// Bytes before the prefix.
    pub const fn offset(self, offset: usize) -> LengthPrefixed {
        LengthPrefixed { offset, ..self }
    }

    /// What has to be added to the length for the number of bytes that follow the prefix: less than
    /// 0 if it counts bytes before that, more if there are some that it does not count.
    pub const fn adjustment(self, adjustment: i64) -> LengthPrefixed {
        LengthPrefixed { adjustment, ..self }
    }

    /// Bytes that are left out at the frame's start; 0: the whole frame is given, with its header.
    /// Default: those up to the prefix's end.
    pub const fn skip(self, skip: usize) -> LengthPrefixed {
        LengthPrefixed {
            skip: Some(skip),
            ..self
        }
    }

    /// The frame that begins here, in the usual case: a plain number and nothing to be added to it,
    /// with so many bytes there that one load does for every width. It says how long the whole is,
    /// and where the header ends.
    #[inline]
    fn usual(&self, input: &[u8]) -> Option<(usize, usize)> {
        let eight = *input.get(self.offset..)?.first_chunk()?;
        let (length, width) = match self.prefix {
            Prefix::Big(width) => (big(eight, width), width),
            Prefix::Little(width) => (little(eight, width), width),
            Prefix::Varint | Prefix::Decimal(_) => return None,
        };
        let is_usual = self.adjustment == 0 && !self.counts_itself && self.skip.is_none();
        let header = self.offset + width;
        let fits = is_usual && length <= self.max as u64;
        fits.then(|| (header.saturating_add(length as usize), header))
    }

    /// What the prefix says, and where it ends.
    fn header(&self, input: &[u8]) -> Result<Option<(u64, usize)>, CodecError> {
        let bytes = input.get(self.offset..).unwrap_or_default();
        let eight = |width| {
            let mut eight = [0; 8];
            eight[..width].copy_from_slice(bytes.get(..width)?);
            Some(eight)
        };
        let found = match self.prefix {
            Prefix::Big(width) => eight(width).map(|eight| (big(eight, width), width)),
            Prefix::Little(width) => eight(width).map(|eight| (little(eight, width), width)),
            Prefix::Varint => varint(bytes)?,
            Prefix::Decimal(digits) => match bytes.get(..digits) {
                Some(bytes) => Some((decimal(bytes)?, digits)),
                None => None,
            },
        };
        Ok(found.map(|(length, width)| (length, self.offset + width)))
    }

    /// What is to be added to the length for the number of bytes that follow.
    #[inline]
    fn added(&self, header: usize) -> i128 {
        let itself = if self.counts_itself {
            header - self.offset
        } else {
            0
        };
        i128::from(self.adjustment) - itself as i128
    }

    /// How many bytes follow the header.
    fn following(&self, length: u64, header: usize, input: &[u8]) -> Result<usize, CodecError> {
        let following = i128::from(length) + self.added(header);
        if following > self.max as i128 {
            return Err(CodecError::too_long(self.max, Some(length), input));
        }
        usize::try_from(following).map_err(|_| {
            let what = "a length of less than the frame's header";
            CodecError::malformed(what, &input[..header])
        })
    }

    /// The frame that begins here, as `usual`; `None`: its header has not come yet.
    #[cold]
    fn begin(&self, input: &[u8]) -> Result<Option<(usize, usize)>, CodecError> {
        let Some((length, header)) = self.header(input)? else {
            return Ok(None);
        };
        let following = self.following(length, header, input)?;
        let total = header.saturating_add(following);
        let skip = self.skip.unwrap_or(header);
        if skip > total {
            let what = "a frame of less than the bytes to skip";
            return Err(CodecError::malformed(what, &input[..header]));
        }
        Ok(Some((total, skip)))
    }

    /// A payload as a frame, after the `offset` bytes that come before the prefix.
    ///
    /// # Errors
    ///
    /// The payload is above the maximum, or its length does not fit into the prefix, or `before`
    /// has not `offset` bytes.
    pub fn frame_after<'a>(
        &self,
        before: &[u8],
        payload: impl ToPayload<'a>,
    ) -> Result<Payload<'a>, CodecError> {
        let payload = payload.into();
        super::check_len(payload.len(), self.max, &payload)?;
        if before.len() != self.offset {
            let what = "not as many bytes before the prefix as the offset says";
            return Err(CodecError::malformed(what, before));
        }
        let mut header = Header::default();
        let fits = self.put_prefix(payload.len(), &mut header);
        if !fits {
            let what = "a payload whose length does not fit into the prefix";
            return Err(CodecError::malformed(what, payload.first()));
        }
        if before.len() + header.as_slice().len() > Header::CAPACITY {
            let header = [before, header.as_slice()].concat();
            return Ok(Payload::from((header, payload)));
        }
        let mut whole = Header::default();
        whole.push(before);
        whole.push(header.as_slice());
        Ok(Payload::from((whole, payload)))
    }

    /// Writes the prefix of so many bytes, if there is one.
    fn put_prefix(&self, following: usize, header: &mut Header) -> bool {
        let length = |width: usize| {
            let length = following as i128 - self.added(self.offset + width);
            u64::try_from(length).ok()
        };
        match self.prefix {
            Prefix::Big(width) | Prefix::Little(width) => {
                let Some(length) = length(width).filter(|length| fits(*length, width)) else {
                    return false;
                };
                match self.prefix {
                    Prefix::Little(_) => header.push(&length.to_le_bytes()[..width]),
                    _ => header.push(&length.to_be_bytes()[8 - width..]),
                }
            }
            // A varint that counts itself: of the width that its length then has, if there is one.
            Prefix::Varint => match (1..=VARINT)
                .find_map(|width| length(width).filter(|length| varint_len(*length) == width))
            {
                None => return false,
                Some(length) => put_varint(length, header),
            },
            Prefix::Decimal(digits) => match length(digits) {
                Some(length) if length < 10u64.pow(digits as u32) => {
                    header.push(format!("{length:0digits$}").as_bytes());
                }
                _ => return false,
            },
        }
        true
    }
}

impl Decoder for LengthPrefixed {
    type Frame<'d, 'i> = Chunk<'i>;

    #[inline]
    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Chunk<'i>>, CodecError> {
        if self.total == 0 {
            let begun = match self.usual(input) {
                None => self.begin(input)?,
                usual => usual,
            };
            let Some((total, skip)) = begun else {
                return input.incomplete();
            };
            (self.total, self.skipped) = (total, skip);
        }
        if input.len() < self.total {
            return input.incomplete();
        }
        let total = std::mem::take(&mut self.total);
        Ok(Some(input.take_part(total, self.skipped, total)))
    }

    fn max_input(&self) -> usize {
        let prefix = match self.prefix {
            Prefix::Big(width) | Prefix::Little(width) | Prefix::Decimal(width) => width,
            Prefix::Varint => VARINT,
        };
        self.max.saturating_add(self.offset).saturating_add(prefix)
    }
}

/// With an offset: [`frame_after`](LengthPrefixed::frame_after).
impl Encoder for LengthPrefixed {
    fn frame<'a>(&'a self, payload: impl ToPayload<'a>) -> Result<Payload<'a>, CodecError> {
        self.frame_after(&[], payload)
    }
}

/// The number in the first `width` of eight bytes.
#[inline]
fn big(bytes: [u8; 8], width: usize) -> u64 {
    u64::from_be_bytes(bytes) >> (64 - 8 * width)
}

#[inline]
fn little(bytes: [u8; 8], width: usize) -> u64 {
    let unused = 64 - 8 * width;
    u64::from_le_bytes(bytes) << unused >> unused
}

fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, CodecError> {
    let mut length = 0;
    for (i, byte) in bytes.iter().take(VARINT).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * i);
        if i + 1 == VARINT && *byte > 1 {
            let what = "a varint of more than 64 bits";
            return Err(CodecError::malformed(what, &bytes[..VARINT]));
        }
        if byte & 0x80 == 0 {
            return Ok(Some((length, i + 1)));
        }
    }
    Ok(None)
}

fn varint_len(length: u64) -> usize {
    let bits = (64 - length.leading_zeros() as usize).max(1);
    bits.div_ceil(7)
}

fn put_varint(mut length: u64, header: &mut Header) {
    while length >= 0x80 {
        header.push(&[length as u8 | 0x80]);
        length >>= 7;
    }
    header.push(&[length as u8]);
}

fn decimal(digits: &[u8]) -> Result<u64, CodecError> {
    let mut length = 0;
    for digit in digits {
        match digit {
            b'0'..=b'9' => length = length * 10 + u64::from(digit - b'0'),
            _ => return Err(CodecError::malformed("length is not a number", digits)),
        }
    }
    Ok(length)
}

fn fits(length: u64, width: usize) -> bool {
    width == 8 || length >> (8 * width) == 0
}
