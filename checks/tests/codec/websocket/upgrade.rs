//! The upgrade, from both sides.

use sockeye::codec::websocket::{Handshake, Masks, Refusal, Request, Requests};
use sockeye::codec::{CodecError, Decoder};
use sockeye::{InputBuffer, Payload};

/// The request of RFC 6455, section 1.2, as a browser might send it.
const REQUEST: &str = "GET /chat?room=blue HTTP/1.1\r\nHost: server.example.com\r\n\
    Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin:  http://example.com \r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\nX: \r\n\r\n";

fn text(payload: Payload<'_>) -> String {
    let mut bytes = Vec::new();
    payload.put_into(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// What a request is answered, and with which status it is refused.
fn ask(head: &str) -> Result<String, u16> {
    let mut input = InputBuffer::from(head.as_bytes().to_vec());
    let request = Requests::new(8192).decode(&mut input).unwrap().unwrap();
    let answer = |refusal: Refusal| {
        let text = text(refusal.answer());
        assert!(
            text.starts_with(&format!("HTTP/1.1 {} ", refusal.status())),
            "{text}"
        );
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{text}"
        );
        refusal.status()
    };
    match request.upgrade() {
        Ok(upgrade) => Ok(text(upgrade.answer())),
        Err(refusal) => Err(answer(refusal)),
    }
}

#[test]
fn the_request_of_the_rfc_gets_the_answer_of_the_rfc() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(ask(REQUEST), Ok(answer.to_owned()));
    let mut input = InputBuffer::from(REQUEST.as_bytes().to_vec());
    let request = Requests::new(8192).decode(&mut input).unwrap().unwrap();
    let said = |request: &Request<'_>| {
        assert_eq!(request.method(), "GET");
        assert_eq!(
            (request.target(), request.path()),
            ("/chat?room=blue", "/chat")
        );
        assert_eq!(request.field("origin"), Some("http://example.com"));
        assert_eq!(request.field("x"), Some(""));
        assert_eq!(request.field("Cookie"), None);
        assert_eq!(
            request.protocols().collect::<Vec<_>>(),
            ["chat", "superchat"]
        );
        assert_eq!(request.fields().count(), 9);
    };
    said(&request);
    let granted = text(request.upgrade().unwrap().protocol("chat").answer());
    assert!(
        granted.ends_with("=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
        "{granted}"
    );
}

// R8
#[test]
fn a_head_is_found_wherever_it_is_cut_and_what_follows_is_left() {
    let all = [REQUEST, "\x01\x02frames"].concat();
    for at in 0..all.len() {
        let mut requests = Requests::new(REQUEST.len() + 1);
        let mut input = InputBuffer::from(all.as_bytes()[..at].to_vec());
        let early = requests.decode(&mut input).unwrap().is_some();
        assert_eq!(early, at >= REQUEST.len());
        input.append(&all.as_bytes()[at..]);
        if !early {
            assert!(requests.decode(&mut input).unwrap().is_some(), "{at}");
        }
        assert_eq!(&input[..], b"\x01\x02frames", "{at}");
    }
}

#[test]
fn requests_follow_each_other_however_long_the_last_one_was() {
    let mut requests = Requests::new(8192);
    let mut input = InputBuffer::from(REQUEST.as_bytes()[..REQUEST.len() - 2].to_vec());
    assert!(requests.decode(&mut input).unwrap().is_none());
    input.append(b"\r\nGET /a HTTP/1.1\n\nGET /b HTTP/1.0\r\n\r\n");
    for target in ["/chat?room=blue", "/a", "/b"] {
        let request = requests.decode(&mut input).unwrap().unwrap();
        assert_eq!(request.target(), target);
    }
    assert!(requests.decode(&mut input).unwrap().is_none() && input.is_empty());
}

#[test]
fn what_is_no_upgrade_is_refused_with_its_status() {
    let without = |line: &str, other: &str| {
        assert!(REQUEST.contains(line));
        ask(&REQUEST.replace(line, other))
    };
    assert_eq!(without("GET", "POST"), Err(400));
    assert_eq!(without("HTTP/1.1", "HTTP/1.0"), Err(400));
    assert_eq!(without("X: ", "Content-Length: 5"), Err(400));
    assert_eq!(without("X: ", "Transfer-Encoding: chunked"), Err(400));
    assert_eq!(without("Host: server.example.com\r\n", ""), Err(400));
    assert_eq!(without("X: ", "Host: b"), Err(400));
    assert_eq!(
        without("X: ", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        Err(400)
    );
    assert_eq!(
        without("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="),
        Err(400)
    );
    assert_eq!(
        without("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ==="),
        Err(400)
    );
    assert_eq!(without("Upgrade: websocket\r\n", ""), Err(426));
    assert_eq!(without("keep-alive, Upgrade", "keep-alive"), Err(426));
    assert_eq!(without("Version: 13", "Version: 8"), Err(426));
    assert_eq!(without("X: ", "Sec-WebSocket-Version: 8"), Err(426));
    // Names and tokens have no case.
    let other = REQUEST.replace("Upgrade: websocket", "upgrade:WebSocket");
    assert!(ask(&other.replace("Connection", "CONNECTION")).is_ok());
}

// R9
#[test]
fn heads_that_are_none_or_too_long_are_told_from_each_other() {
    let status = |bytes: &[u8], max| {
        let mut input = InputBuffer::from(bytes.to_vec());
        let error = Requests::new(max).decode(&mut input).unwrap_err();
        Refusal::of(&error).status()
    };
    assert_eq!(status(b"nonsense\r\n\r\n", 100), 400);
    assert_eq!(status(b"\r\n\r\n", 100), 400);
    assert_eq!(status(b"GET / HTTP/1.1\r\nA: \xff\r\n\r\n", 100), 400);
    assert_eq!(status(b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 100), 400); // a folded line
    assert_eq!(status(REQUEST.as_bytes(), REQUEST.len() - 1), 431);
    assert_eq!(status(&[b'x'; 100], 100), 431);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
    assert_eq!(status(many.as_bytes(), 8192), 400);
    let mut input = InputBuffer::from(b"GET / HT".to_vec());
    input.end();
    let error = Requests::new(100).decode(&mut input).unwrap_err();
    assert!(matches!(error, CodecError::Truncated { .. }));
}

/// Our client asks our server, and hears this; with every cut.
fn hears(change: impl Fn(String) -> String) -> Result<Option<String>, String> {
    let mut masks = Masks::seeded(3);
    let handshake = Handshake::new("example.org", "/", &mut masks)
        .protocol("a")
        .protocol("b");
    let mut input = InputBuffer::from(text(handshake.request()).into_bytes());
    let request = Requests::new(8192).decode(&mut input).unwrap().unwrap();
    assert_eq!(request.protocols().collect::<Vec<_>>(), ["a", "b"]);
    let answer = change(text(request.upgrade().unwrap().protocol("b").answer()));
    let mut outcomes = Vec::new();
    for at in 0..answer.len() {
        let mut handshake = handshake.clone();
        let mut input = InputBuffer::from(answer.as_bytes()[..at].to_vec());
        assert!(handshake.decode(&mut input).unwrap().is_none());
        input.append(&answer.as_bytes()[at..]);
        outcomes.push(match handshake.decode(&mut input) {
            Ok(accepted) => Ok(accepted.unwrap().protocol().map(str::to_owned)),
            Err(error) => Err(error.to_string()),
        });
    }
    outcomes.dedup();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

#[test]
fn a_client_checks_the_answer() {
    assert_eq!(hears(|answer| answer), Ok(Some("b".to_owned())));
    assert_eq!(
        hears(|answer| answer.replace("Sec-WebSocket-Protocol: b\r\n", "")),
        Ok(None)
    );
    let refused = |what: &str, line: &str, other: &str| {
        let said = hears(|answer| {
            assert!(answer.contains(line), "{answer}");
            answer.replace(line, other)
        });
        assert!(
            said.as_ref().is_err_and(|said| said.starts_with(what)),
            "{said:?}"
        );
    };
    refused("not an HTTP response", "HTTP/1.1", "XTTP/1.1");
    refused(
        "the response does not upgrade the connection",
        "101 Switching",
        "200 OK",
    );
    refused(
        "the upgrade is not to WebSocket",
        "Upgrade: websocket\r\n",
        "",
    );
    refused(
        "the upgrade is not to WebSocket",
        "Connection: Upgrade\r\n",
        "",
    );
    refused("wrong Sec-WebSocket-Accept", "Accept: ", "Accept: x");
    refused("wrong Sec-WebSocket-Accept", "Sec-WebSocket-Accept", "X");
    refused(
        "a subprotocol that was not offered",
        "Protocol: b",
        "Protocol: c",
    );
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: b";
    refused(
        "an extension that was not requested",
        "Sec-WebSocket-Protocol: b",
        deflate,
    );
}

#[test]
fn a_client_begins_no_line_that_its_caller_has_not_meant() {
    let mut masks = Masks::seeded(3);
    let handshake = Handshake::new("a\r\nB: c", "/\r\n\r\n", &mut masks)
        .field("Cookie", "d\r\nE: f")
        .protocol("g\nH: i");
    let request = text(handshake.request());
    assert_eq!(
        request.matches("\r\n").count(),
        request.matches('\n').count()
    );
    assert_eq!(request.lines().count(), 9, "{request}");
}
