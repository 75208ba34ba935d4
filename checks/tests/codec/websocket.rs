//! WebSocket by itself: every cut, every lie, every rule of RFC 6455; and the same messages as from
//! a decoder that has nothing but the rules. R8, R9.

mod reference;
mod upgrade;

use allocation_counter::measure;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use reference::{Got, Outcome, reference};
use sockeye::codec::websocket::{
    self, CloseCode, Frame, Kind, Masks, Message, WebSocket, begin, binary, end, more, ping, text,
};
use sockeye::codec::{CodecError, Decoder};
use sockeye::{InputBuffer, Payload};

const MAX: usize = 1 << 20;

impl From<Message<'_>> for Got {
    fn from(message: Message<'_>) -> Got {
        match message {
            Message::Text(text) => Got::Text(text.as_str().to_owned()),
            Message::Binary(data) => Got::Binary(data.to_vec()),
            Message::Ping(ping) => Got::Ping(ping.to_vec()),
            Message::Pong(pong) => Got::Pong(pong.to_vec()),
            Message::Close(close) => {
                Got::Close(close.code.map(CloseCode::get), close.reason.to_owned())
            }
        }
    }
}

/// Decodes pieces as they come, then the end.
fn decode(mut socket: WebSocket, pieces: &[&[u8]]) -> (Vec<Got>, Result<(), CodecError>) {
    let mut got = Vec::new();
    let mut run = || {
        let mut input = InputBuffer::from(Vec::new());
        for piece in pieces {
            input.append(piece);
            while let Some(message) = socket.decode(&mut input)? {
                got.push(message.into());
            }
            assert!(
                input.len() <= socket.max_input(),
                "it would meet the input limit"
            );
        }
        input.end();
        while let Some(message) = socket.decode(&mut input)? {
            got.push(message.into());
        }
        Ok(())
    };
    let end = run();
    (got, end)
}

/// What came out, and with which code a peer is told that it was wrong; 0: the end came too early.
fn outcome(socket: &WebSocket, pieces: &[&[u8]]) -> Outcome {
    let (got, end) = decode(socket.clone(), pieces);
    let end = match end {
        Ok(()) => None,
        Err(CodecError::Truncated { .. }) => Some(0),
        Err(error) => Some(CloseCode::of(&error).get()),
    };
    (got, end)
}

/// Whole, cut at each place, and in single bytes, with one outcome.
#[track_caller]
fn all_cuts(socket: &WebSocket, bytes: &[u8]) -> Outcome {
    let whole = outcome(socket, &[bytes]);
    for at in 0..=bytes.len() {
        let cut = outcome(socket, &[&bytes[..at], &bytes[at..]]);
        assert_eq!(cut, whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(outcome(socket, &bytes), whole, "in single bytes");
    whole
}

fn bytes(frame: Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Payload::from(frame).put_into(&mut bytes);
    bytes
}

/// Frames as a client sends them.
fn masked<'a>(frames: impl IntoIterator<Item = Frame<'a>>) -> Vec<u8> {
    let (mut masks, mut bytes) = (Masks::seeded(1), Vec::new());
    for frame in frames {
        masks.mask_into(frame, &mut bytes);
    }
    bytes
}

// R8, R9
#[test]
fn messages_come_out_as_they_went_in_wherever_they_are_cut() {
    let long = "é".repeat(40_000);
    let frames = || {
        let short = CloseCode::GOING_AWAY;
        [
            text("grüß"),
            binary(&[0, 1, 2]),
            text(""),
            begin(Kind::Text, "a\u{10348}".as_bytes().split_at(3).0),
            ping("in between").unwrap(),
            more(&[]),
            more("a\u{10348}".as_bytes().split_at(3).1),
            end("z"),
            text(&long[..124]),
            text(&long[..126]),
            websocket::close(short, "bye"),
            text("no more"),
        ]
    };
    let wanted = vec![
        Got::Text("grüß".into()),
        Got::Binary(vec![0, 1, 2]),
        Got::Text(String::new()),
        Got::Ping(b"in between".into()),
        Got::Text("a\u{10348}z".into()),
        Got::Text(long[..124].into()),
        Got::Text(long[..126].into()),
        Got::Close(Some(1001), "bye".into()),
    ];
    let wire: Vec<u8> = frames().into_iter().flat_map(bytes).collect();
    assert_eq!(
        all_cuts(&WebSocket::client(MAX), &wire),
        (wanted.clone(), None)
    );
    assert_eq!(
        all_cuts(&WebSocket::server(MAX), &masked(frames())),
        (wanted, None)
    );
    // The length of 64 bits.
    for len in [65_534, 65_536, 80_000] {
        let text = || text(&long[..len]);
        let wanted = (vec![Got::Text(long[..len].into())], None);
        assert_eq!(outcome(&WebSocket::client(MAX), &[&bytes(text())]), wanted);
        let masked = masked([text()]);
        assert_eq!(outcome(&WebSocket::server(MAX), &[&masked]), wanted);
        let pieces: Vec<&[u8]> = masked.chunks(777).collect();
        assert_eq!(outcome(&WebSocket::server(MAX), &pieces), wanted);
    }
}

/// A server that gets these frames, which are masked with nothing, has this to say to its peer.
#[track_caller]
fn refuses(wire: &[u8], code: CloseCode) {
    let (got, end) = all_cuts(&WebSocket::server(100), wire);
    assert_eq!(end, Some(code.get()), "{got:?}");
    // And at once: what follows, and the end, are not waited for.
    let (_, end) = decode(WebSocket::server(100), &[wire]);
    assert!(!matches!(end, Err(CodecError::Truncated { .. })));
}

// R9, F9: each with as few bytes as decide it.
#[test]
fn what_the_rfc_forbids_is_refused_at_the_byte_that_decides_it() {
    use CloseCode as C;
    for reserved in [0xc1, 0xa1, 0x91, 0xf1] {
        refuses(&[reserved], C::PROTOCOL);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        refuses(&[0x80 | opcode], C::PROTOCOL);
    }
    refuses(&[0x81, 0x00], C::PROTOCOL); // not masked
    refuses(&[0x09], C::PROTOCOL); // a ping in parts
    refuses(&[0x89, 0x80 | 126], C::PROTOCOL); // a long ping
    refuses(&[0x80], C::PROTOCOL); // a part of nothing
    refuses(&[0x01, 0x80, 0, 0, 0, 0, 0x01], C::PROTOCOL); // a message within a message
    refuses(&[0x82, 0x80 | 126, 0, 125], C::PROTOCOL); // a length that is longer than it need be
    refuses(
        &[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        C::PROTOCOL,
    );
    refuses(&[0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0], C::PROTOCOL);
    refuses(&[0x88, 0x81, 0, 0, 0, 0, 3], C::PROTOCOL); // half of a code
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535_u16] {
        let [a, b] = code.to_be_bytes();
        refuses(&[0x88, 0x82, 0, 0, 0, 0, a, b], C::PROTOCOL);
    }
    refuses(&[0x88, 0x83, 0, 0, 0, 0, 3, 232, 0xff], C::INVALID);
    // Text is refused long before its frame, or its message, is whole.
    refuses(&[0x81, 0x80 | 99, 0, 0, 0, 0, b'a', 0xff], C::INVALID);
    refuses(
        &[
            0x01,
            0x81,
            0,
            0,
            0,
            0,
            0xe2,
            0x00,
            0x80 | 9,
            0,
            0,
            0,
            0,
            b'a',
        ],
        C::INVALID,
    );
    refuses(&[0x81, 0x81, 0, 0, 0, 0, 0xe2], C::INVALID); // half of a character
    refuses(
        &[0x01, 0x81, 0, 0, 0, 0, 0xe2, 0x80, 0x80, 0, 0, 0, 0],
        C::INVALID,
    );
    // The limits, of a frame and of a message.
    refuses(&[0x82, 0x80 | 101], C::TOO_BIG);
    refuses(
        &[0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255],
        C::TOO_BIG,
    );
    let mut parts = vec![0x02, 0x80 | 60, 0, 0, 0, 0];
    parts.resize(66, b'x');
    parts.extend([0x00, 0x80 | 41]);
    refuses(&parts, C::TOO_BIG);
    let (_, end) = decode(WebSocket::server(100).max_frame(10), &[&[0x82, 0x80 | 11]]);
    assert!(matches!(end, Err(CodecError::TooLong { limit: 10, .. })));
    // What a client refuses.
    let masked = outcome(&WebSocket::client(100), &[&[0x81, 0x80]]);
    assert_eq!(masked, (vec![], Some(1002)));
}

#[test]
fn the_limits_themselves_are_allowed_and_a_control_frame_has_its_own() {
    let all = [7; 100];
    let frames = [
        binary(&all),
        begin(Kind::Binary, &all[..60]),
        end(&all[60..]),
    ];
    let (got, end_of) = outcome(&WebSocket::server(100), &[&masked(frames)]);
    assert_eq!((got, end_of), (vec![Got::Binary(all.to_vec()); 2], None));
    let ping = masked([ping(&all).unwrap()]);
    let (got, _) = outcome(&WebSocket::server(1), &[&ping]);
    assert_eq!(got, [Got::Ping(all.to_vec())]);
    assert!(websocket::ping(&[0; 126]).is_err());
    // A reason that is too long ends at the end of a character.
    let reason = "é".repeat(99);
    let close = masked([websocket::close(CloseCode::NORMAL, &reason)]);
    let (got, _) = outcome(&WebSocket::server(1), &[&close]);
    assert_eq!(got, [Got::Close(Some(1000), "é".repeat(61))]);
    let close = masked([websocket::close(None, &reason)]);
    assert_eq!(
        outcome(&WebSocket::server(1), &[&close]).0,
        [Got::Close(None, String::new())]
    );
}

#[test]
fn the_end_of_the_stream_within_a_message_is_told() {
    let whole = masked([begin(Kind::Text, "a"), end("b")]);
    for at in 1..whole.len() {
        assert_eq!(
            outcome(&WebSocket::server(9), &[&whole[..at]]),
            (vec![], Some(0)),
            "{at}"
        );
    }
    assert_eq!(outcome(&WebSocket::server(9), &[]), (vec![], None));
}

#[test]
fn a_message_is_sent_on_as_it_lies_there() {
    let all = "x".repeat(70_000);
    for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
        let wanted = bytes(text(&all[..len]));
        let pieces = [begin(Kind::Text, &all[..len / 2]), end(&all[len / 2..len])];
        let joined = masked(pieces);
        let masked = masked([text(&all[..len])]);
        for (mut socket, wire) in [
            (WebSocket::server(MAX), &masked),
            (WebSocket::server(MAX), &joined),
            (WebSocket::client(MAX), &wanted),
        ] {
            let message = |kept: &mut InputBuffer| match socket.clone().decode(kept) {
                Ok(Some(Message::Text(text))) => bytes(text.into_frame()),
                other => panic!("{other:?}"),
            };
            assert_eq!(
                message(&mut InputBuffer::from(wire.clone())),
                wanted,
                "{len}"
            );
            // Its bytes alone, to keep or for another protocol.
            let mut input = InputBuffer::from(wire.clone());
            match socket.decode(&mut input) {
                Ok(Some(Message::Text(text))) => {
                    assert_eq!(Bytes::from(text.into_data()), all[..len]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn what_was_kept_does_not_change_when_more_is_unmasked() {
    let all = vec![7; 40_000];
    let wire = masked([binary(&all), binary(&all), binary(&all)]);
    let (mut socket, mut input) = (WebSocket::server(MAX), InputBuffer::from(wire));
    let mut kept = Vec::new();
    while let Some(Message::Binary(data)) = socket.decode(&mut input).unwrap() {
        kept.push(Bytes::from(data));
    }
    assert_eq!(kept, [all.clone(), all.clone(), all]);
}

// F9
#[test]
fn a_frame_costs_no_allocation_and_a_claim_no_memory() {
    let message = [b'x'; 1000];
    let frames: Vec<u8> = masked([text(&message[..]), ping("a").unwrap(), binary(&message)]);
    let (mut masks, mut buffer) = (Masks::random(), Vec::with_capacity(2000));
    let mut input = InputBuffer::from(frames.repeat(20));
    let mut socket = WebSocket::server(MAX);
    let mut count = 0;
    let info = measure(|| {
        while let Some(message) = socket.decode(&mut input).unwrap() {
            buffer.clear();
            match message {
                Message::Text(text) => masks.mask_into(text.into_frame(), &mut buffer),
                Message::Binary(data) => masks.mask_into(binary(&data[..]), &mut buffer),
                Message::Ping(ping) => masks.mask_into(websocket::pong(ping), &mut buffer),
                other => panic!("{other:?}"),
            }
            count += 1;
        }
    });
    assert_eq!((info.count_total, count), (0, 60));
    let claims = [
        0x82, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6,
    ];
    let mut input = InputBuffer::from(claims.to_vec());
    let mut socket = WebSocket::server(usize::MAX);
    let info = measure(|| assert!(socket.decode(&mut input).unwrap().is_none()));
    assert_eq!(info.bytes_total, 0);
}

/// A frame of chance, which may break a rule or two.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![
        0x81, 0x82, 0x81, 0x82, 0x01, 0x02, 0x00, 0x00, 0x80, 0x80, 0x80, 0x89, 0x8a, 0x88, 0x08,
        0x83, 0xc1,
    ]);
    let texts = vec![
        b"".to_vec(),
        b"abc".to_vec(),
        "é€\u{10348}".into(),
        b"\xe2\x82".to_vec(),
        b"\xac!".to_vec(),
        b"\xf0\x90".to_vec(),
        b"\x8d\x88".to_vec(),
        b"\xff".to_vec(),
        b"\x03\xe8bye".to_vec(),
        vec![b'x'; 126],
        vec![b'y'; 130],
        vec![b'z'; 70_000],
    ];
    let payload = prop_oneof![
        9 => prop::sample::select(texts),
        1 => vec(any::<u8>(), 0..300),
    ];
    (first, payload, any::<[u8; 4]>(), 0..40_u8).prop_map(|(first, payload, key, odd)| {
        let is_masked = odd != 0;
        let mut frame = vec![first];
        let bit = if is_masked { 0x80 } else { 0 };
        match payload.len() {
            len if len < 126 && odd != 1 => frame.push(bit | len as u8),
            len if len < 0x1_0000 && odd != 2 => {
                frame.push(bit | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(bit | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        if is_masked {
            frame.extend(key);
        }
        let key = if is_masked { key } else { [0; 4] };
        frame.extend(
            payload
                .iter()
                .enumerate()
                .map(|(i, byte)| byte ^ key[i % 4]),
        );
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 512, ..ProptestConfig::default()
    })]

    // R8, R9, F9
    #[test]
    fn whatever_comes_however_it_is_cut_is_what_the_rules_make_of_it(
        frames in vec(frame(), 0..10),
        sizes in vec(1..200_usize, 1..6),
        missing in 0..4_usize,
    ) {
        let mut wire = frames.concat();
        wire.truncate(wire.len().saturating_sub(missing / 2));
        let wanted = reference(&wire, 75_000);
        let socket = WebSocket::server(75_000);
        prop_assert_eq!(&outcome(&socket, &[&wire]), &wanted);
        let (mut pieces, mut rest) = (Vec::new(), &wire[..]);
        for size in sizes.iter().cycle() {
            let (piece, more) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&outcome(&socket, &pieces), &wanted);
    }
}
