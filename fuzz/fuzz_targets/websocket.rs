//! A WebSocket of a server or a client, whole and in pieces, beside a decoder that has nothing but
//! the rules; and the upgrade of both sides. The first byte chooses.

#![no_main]

#[path = "../../checks/tests/codec/websocket/reference.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;
use reference::{Got, Outcome, reference};
use sockeye::InputBuffer;
use sockeye::codec::websocket::{
    CloseCode, Handshake, Masks, Message, Refusal, Requests, WebSocket, text,
};
use sockeye::codec::{CodecError, Decoder};
use sockeye_fuzz::Stream;

const MAX: usize = 3000;

fn got(message: Message<'_>) -> Got {
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

fn messages(mut socket: WebSocket, pieces: &[&[u8]]) -> Outcome {
    let mut all = Vec::new();
    let mut run = || {
        let mut input = InputBuffer::from(Vec::new());
        for piece in pieces {
            input.append(piece);
            while let Some(message) = socket.decode(&mut input)? {
                all.push(got(message));
            }
            assert!(
                input.len() <= socket.max_input(),
                "it would meet the input limit"
            );
        }
        input.end();
        while let Some(message) = socket.decode(&mut input)? {
            all.push(got(message));
        }
        Ok(())
    };
    let end = match run() {
        Ok(()) => None,
        Err(CodecError::Truncated { .. }) => Some(0),
        Err(error) => Some(CloseCode::of(&error).get()),
    };
    (all, end)
}

/// The requests of a stream: what each says, and its answer.
fn requests(pieces: &[&[u8]]) -> (Vec<String>, Option<u16>) {
    let (mut all, mut requests) = (Vec::new(), Requests::new(MAX));
    let mut input = InputBuffer::from(Vec::new());
    for piece in pieces {
        input.append(piece);
        loop {
            match requests.decode(&mut input) {
                Ok(Some(request)) => {
                    let upgrade = request.upgrade();
                    let answer = match &upgrade {
                        Ok(upgrade) => upgrade.answer(),
                        Err(refusal) => refusal.answer(),
                    };
                    let fields: Vec<_> = request.fields().collect();
                    assert!(fields.iter().all(|(name, _)| request.field(name).is_some()));
                    all.push(format!("{} {fields:?} {answer:?}", request.target()));
                }
                Ok(None) => break,
                Err(error) => return (all, Some(Refusal::of(&error).status())),
            }
        }
    }
    (all, None)
}

/// What a client makes of an answer.
fn answer(pieces: &[&[u8]]) -> Option<Result<Option<String>, ()>> {
    let mut handshake = Handshake::new("a", "/", &mut Masks::seeded(1)).protocol("p");
    let mut input = InputBuffer::from(Vec::new());
    for piece in pieces {
        input.append(piece);
        match handshake.decode(&mut input) {
            Ok(Some(accepted)) => return Some(Ok(accepted.protocol().map(str::to_owned))),
            Ok(None) => {}
            Err(_) => return Some(Err(())),
        }
    }
    None
}

fuzz_target!(|input: (u8, Stream)| {
    let (choice, stream) = input;
    let (whole, pieces) = ([&stream.bytes[..]], stream.pieces());
    match choice % 4 {
        0 => {
            let socket = WebSocket::server(MAX);
            let outcome = messages(socket.clone(), &whole);
            assert_eq!(outcome, messages(socket, &pieces));
            assert_eq!(outcome, reference(&stream.bytes, MAX));
        }
        1 => {
            let socket = WebSocket::client(MAX).max_frame(usize::from(choice) * 8);
            let outcome = messages(socket.clone(), &whole);
            assert_eq!(outcome, messages(socket, &pieces));
            // What is text goes out as it came in.
            for message in outcome.0 {
                if let Got::Text(said) = message {
                    let masked = Masks::seeded(choice.into()).mask(text(&said));
                    let again = messages(WebSocket::server(MAX), &[&masked]);
                    assert_eq!(again, (vec![Got::Text(said)], None));
                }
            }
        }
        2 => assert_eq!(requests(&whole), requests(&pieces)),
        _ => assert_eq!(answer(&whole), answer(&pieces)),
    }
});
