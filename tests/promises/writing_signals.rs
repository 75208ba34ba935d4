//! W4: a write to a peer that has left, in a process where SIGPIPE kills.

use crate::kit::places::{go_on_alone, is_own_process, own_process};
use crate::kit::{Kit, any_peer, both, echo, pattern, read_n, spawn, write};
use bytes::Bytes;
use socket2::Socket;
use sockeye::{Addr, Config, Context, EventKind, Reason, Sent};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

const HIGH: usize = 8000;
const LOW: usize = 2000;

/// Gives SIGPIPE the effect of its default action, which Rust has switched off before `main`.
pub(crate) fn sigpipe_kills() {
    let always = Arc::new(true.into());
    let signal = signal_hook::consts::SIGPIPE;
    signal_hook::flag::register_conditional_default(signal, always).unwrap();
}

// W4
#[test]
fn a_reset_in_mid_write_does_not_kill_a_process_whose_sigpipe_is_at_its_default() {
    go_on_alone!(); // what a signal does is the process's
    let mut child = own_process("writing_signals::child_that_writes_to_a_closed_pipe");
    let killed = child.output().unwrap().status.signal();
    assert_eq!(killed, Some(signal_hook::consts::SIGPIPE));
    sigpipe_kills();
    both(|listen| {
        let mut config = Config::default();
        config.limits.high_watermark = HIGH;
        config.limits.low_watermark = LOW;
        let mut kit = Kit::with_config(config, echo);
        let addr = kit.listen_on(listen);
        for blocks in [1, 3] {
            dies_in_mid_write(&mut kit, &addr, blocks, drop_with_reset);
            // An RST after a FIN is EPIPE on Linux, which is what raises the signal.
            dies_in_mid_write(&mut kit, &addr, blocks, |peer| {
                peer.shutdown(Shutdown::Write).unwrap();
                drop_with_reset(peer);
            });
        }
        kit.end();
    });
}

/// Shows that the test above would be killed.
#[test]
#[ignore = "a child process of the test above"]
fn child_that_writes_to_a_closed_pipe() {
    if is_own_process() {
        sigpipe_kills();
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        let _ = writer.write(b"x");
    }
}

fn drop_with_reset(peer: Socket) {
    peer.set_linger(Some(Duration::ZERO)).unwrap();
}

/// A payload of which one can tell whether it was freed.
struct Tracked(
    Vec<u8>,
    #[allow(dead_code, reason = "it is counted")] Arc<()>,
);

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A peer dies while so many shared blocks are pending for it; another goes on. Its last words are
/// heard (W10).
fn dies_in_mid_write<F: FnMut(&mut Context, EventKind<'_>)>(
    kit: &mut Kit<F>,
    addr: &Addr,
    blocks: usize,
    die: fn(Socket),
) {
    let alive = Arc::new(());
    let known = kit.log().ids.len();
    let mut victim = any_peer(addr);
    kit.until("it is open", |log| log.ids.len() > known);
    let id = kit.log().ids[known];
    kit.cx().pause_reads(id);
    for _ in 0..blocks {
        let block = Bytes::from_owner(Tracked(vec![7; 300_000], alive.clone()));
        assert_eq!(kit.cx().send(id, block), Sent::Wait);
    }
    kit.turn_for(Duration::from_millis(20));
    assert!(kit.cx().pending(id) > 0);
    write(&mut victim, pattern(2000));
    die(victim);
    // The drain that ends the wait resumes reading; the input comes first, and then the end.
    kit.until("it is closed", |log| log.is_closed(id));
    let life = kit.log().life(id);
    assert_eq!(life.callbacks, ["open", "drain", "data", "close"]);
    assert!(life.received == pattern(2000));
    assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
    assert!(life.closed.as_ref().unwrap().undelivered > 0);
    assert_eq!((kit.cx().pending(id), Arc::strong_count(&alive)), (0, 1));
    let mut other = any_peer(addr);
    let echoed = spawn(move || {
        write(&mut other, "still here");
        read_n(&mut other, 10)
    });
    assert_eq!(kit.until_done(echoed), b"still here");
    kit.until_all_closed();
}
