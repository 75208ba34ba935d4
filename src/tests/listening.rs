//! Listening on all addresses of a name: what a system answers that no test can make it answer.

use super::*;
use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
use std::net::SocketAddr;

fn at(port: u16) -> io::Result<SocketAddr> {
    Ok(([127, 0, 0, 1], port).into())
}

/// Listens where two addresses are, with these answers. What came of it, and what was asked for.
fn listen(
    target: &str,
    answers: impl IntoIterator<Item = io::Result<SocketAddr>>,
) -> (Result<usize, io::ErrorKind>, Vec<String>) {
    let (mut reactor, script) = Script::reactor(Config::default());
    script.listens(answers);
    let listened = reactor.listen(target);
    let cx = reactor.context();
    let addrs = listened.map(|id| cx.listener_addrs(id).count());
    // One that came to nothing has left nothing behind: the next has the first slot.
    if addrs.is_err() {
        assert_eq!(cx.listen("127.0.0.1:1").unwrap().0.slot, 0);
    }
    (addrs.map_err(|error| error.kind()), script.listened())
}

#[test]
fn a_port_that_another_address_has_not_free_is_given_up_for_another() {
    let answers = [at(5000), Err(AddrInUse.into()), at(6000), at(6000)];
    let asked = [
        "127.0.0.1:0",
        "127.0.0.2:5000",
        "127.0.0.1:0",
        "127.0.0.2:6000",
    ];
    assert_eq!(
        listen("db:0", answers),
        (Ok(2), asked.map(str::to_owned).into())
    );
}

#[test]
fn another_port_is_asked_for_sixteen_times_and_no_more() {
    let unlucky = (0..100).map(|at_second| match at_second % 2 {
        0 => at(5000),
        _ => Err(AddrInUse.into()),
    });
    let (listened, asked) = listen("db:0", unlucky);
    assert_eq!((listened, asked.len()), (Err(AddrInUse), 16 * 2 + 1));
}

#[test]
fn another_port_is_asked_for_only_where_that_may_help() {
    for (target, answers, error) in [
        // Somebody else has chosen the port.
        ("db:80", vec![at(80), Err(AddrInUse.into())], AddrInUse),
        (
            "db:0",
            vec![at(5000), Err(PermissionDenied.into())],
            PermissionDenied,
        ),
        // There is none at all.
        ("db:0", vec![Err(AddrInUse.into())], AddrInUse),
    ] {
        let tried = answers.len();
        let (listened, asked) = listen(target, answers);
        assert_eq!((listened, asked.len()), (Err(error), tried + 1), "{target}");
    }
}

#[test]
fn an_address_that_the_machine_lacks_is_passed_over_unless_it_has_none() {
    let lack = || Err(AddrNotAvailable.into());
    for answers in [[lack(), at(5000)], [at(5000), lack()]] {
        assert_eq!(listen("db:0", answers).0, Ok(1));
    }
    assert_eq!(listen("db:0", [lack(), lack()]).0, Err(AddrNotAvailable));
    // A refusal is not passed over.
    let refused = listen("db:0", [Err(PermissionDenied.into()), at(5000)]);
    assert_eq!(refused.0, Err(PermissionDenied));
}
