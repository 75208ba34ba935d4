//! A decoder that has nothing but the rules of RFC 6455: it sees the whole stream at once, copies
//! as it likes, and is compared with ours.

/// A message, owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// What came out; and with which code a peer is told that it was wrong, or 0 for an end that came
/// too early.
pub(crate) type Outcome = (Vec<Got>, Option<u16>);

/// Bytes that are no text, and may not even be the beginning of one.
fn never_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_some())
}

/// What a server makes of a stream. One limit is for frames and messages.
pub(crate) fn reference(mut wire: &[u8], limit: usize) -> Outcome {
    let mut got = Vec::new();
    let mut message: Option<(u8, Vec<u8>)> = None;
    loop {
        match one(&mut wire, &mut message, limit) {
            Ok(Some(Got::Close(code, reason))) => {
                got.push(Got::Close(code, reason));
                return (got, None);
            }
            Ok(Some(message)) => got.push(message),
            Ok(None) => {}
            Err(0) if wire.is_empty() && message.is_none() => return (got, None),
            Err(code) => return (got, Some(code)),
        }
    }
}

fn one(
    wire: &mut &[u8],
    message: &mut Option<(u8, Vec<u8>)>,
    limit: usize,
) -> Result<Option<Got>, u16> {
    let frame = *wire;
    let (last, opcode, len, at) = header(frame, message.is_some())?;
    let so_far = message.as_ref().map_or(0, |(_, parts)| parts.len());
    if opcode < 8 && len + so_far as u64 > limit as u64 {
        return Err(1009);
    }
    let key = frame.get(at..at + 4).ok_or(0_u16)?;
    let came = &frame[at + 4..];
    let came = &came[..came.len().min(len as usize)];
    let bytes: Vec<u8> = came
        .iter()
        .enumerate()
        .map(|(i, byte)| byte ^ key[i % 4])
        .collect();
    let is_whole = came.len() == len as usize;
    if opcode >= 8 {
        if !is_whole {
            return Err(0);
        }
        *wire = &frame[at + 4 + came.len()..];
        return control(opcode, bytes).map(Some);
    }
    let kind = message.as_ref().map_or(opcode, |(kind, _)| *kind);
    let mut all = message
        .as_ref()
        .map_or(Vec::new(), |(_, parts)| parts.clone());
    all.extend(bytes);
    if kind == 1 && never_text(&all) {
        return Err(1007);
    }
    if !is_whole {
        return Err(0);
    }
    *wire = &frame[at + 4 + came.len()..];
    if !last {
        *message = Some((kind, all));
        return Ok(None);
    }
    *message = None;
    match kind {
        1 => String::from_utf8(all)
            .map(|text| Some(Got::Text(text)))
            .map_err(|_| 1007),
        _ => Ok(Some(Got::Binary(all))),
    }
}

/// Is it the last, the opcode, the length, and where that ends.
fn header(frame: &[u8], within: bool) -> Result<(bool, u8, u64, usize), u16> {
    let first = *frame.first().ok_or(0_u16)?;
    let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
    let allowed = match opcode {
        0 => within,
        1 | 2 => !within,
        8..=10 => last,
        _ => false,
    };
    if first & 0x70 != 0 || !allowed {
        return Err(1002);
    }
    let second = *frame.get(1).ok_or(0_u16)?;
    let short = usize::from(second & 0x7f);
    if second & 0x80 == 0 || (opcode >= 8 && short > 125) {
        return Err(1002);
    }
    let (len, at) = match short {
        126 => {
            let bytes = frame.get(2..4).ok_or(0_u16)?;
            (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4)
        }
        127 => {
            let bytes = frame.get(2..10).ok_or(0_u16)?;
            (
                bytes
                    .iter()
                    .fold(0, |len, byte| len << 8 | u64::from(*byte)),
                10,
            )
        }
        _ => (short as u64, 2),
    };
    if (at == 4 && len < 126) || (at == 10 && len < 65_536) || len >= 1 << 63 {
        return Err(1002);
    }
    Ok((last, opcode, len, at))
}

fn control(opcode: u8, bytes: Vec<u8>) -> Result<Got, u16> {
    Ok(match (opcode, &bytes[..]) {
        (9, _) => Got::Ping(bytes),
        (10, _) => Got::Pong(bytes),
        (_, []) => Got::Close(None, String::new()),
        (_, [_]) => return Err(1002),
        (_, [a, b, reason @ ..]) => {
            let code = u16::from_be_bytes([*a, *b]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(1002);
            }
            Got::Close(
                Some(code),
                String::from_utf8(reason.to_vec()).map_err(|_| 1007_u16)?,
            )
        }
    })
}
