//! X6: programs that are started while connections are open.

use crate::kit::{Kit, default};
use std::io::Read;
use std::process::{Command, Stdio};

// X6
#[test]
fn an_abort_reaches_the_peer_though_a_program_that_was_started_before_it_runs() {
    const RUNS: &str = "SOCKEYE_TEST_RUNS";
    if std::env::var_os(RUNS).is_some() {
        // That program: it runs until its input ends.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
        return;
    }
    let mut kit = Kit::new(default);
    let (mut peer, conn) = kit.accept();
    let this =
        "children::an_abort_reaches_the_peer_though_a_program_that_was_started_before_it_runs";
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this])
        .env(RUNS, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(kit.cx().abort(conn));
    kit.until_all_closed();
    // Under wine a reset is an end.
    let end = peer.read(&mut [0; 1]).map_err(|error| error.kind());
    let ends = [Ok(0), Err(std::io::ErrorKind::ConnectionReset)];
    assert!(ends.contains(&end), "{end:?}");
    assert!(program.try_wait().unwrap().is_none(), "it has ended");
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
    kit.end();
}
