//! F4, F5: sources on real sockets, TCP and Unix.

use crate::kit::places::file;
#[cfg(unix)]
use crate::kit::places::go_on_alone;
use crate::kit::{Kit, any_peer, both, default, pattern, read_n, spawn, write};
use sockeye::{Addr, EventKind, Listen, Source};
use std::fs::File;
use std::sync::Arc;

/// A reactor that answers whatever comes with all of this file, and where it listens.
fn server(
    listen: Listen,
    file: File,
) -> (Kit<impl FnMut(&mut sockeye::Context, EventKind<'_>)>, Addr) {
    let (len, file) = (file.metadata().unwrap().len(), Arc::new(file));
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            input.take_all();
            cx.send(conn, "head");
            cx.send_from(conn, Source::file(file.clone(), 0..len));
        }
        other => default(cx, other),
    });
    let addr = kit.listen_on(listen);
    (kit, addr)
}

/// The most memory that this process has had, in bytes.
#[cfg(target_os = "linux")]
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches("kB").trim();
    kib.parse::<u64>().unwrap() * 1024
}

// F5
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_a_gigabyte_costs_no_more_memory_than_the_high_mark() {
    go_on_alone!(); // it looks at the memory of the process
    const LEN: u64 = 1 << 30;
    // All of it is a hole, which costs no disk.
    let holes = file(b"");
    holes.set_len(LEN).unwrap();
    let (mut kit, addr) = server(Listen::new("127.0.0.1:0"), holes);
    let before = most_memory();
    let mut peer = crate::kit::peer(addr.ip().unwrap());
    write(&mut peer, "go");
    let reader = spawn(move || {
        let (mut left, mut chunk) = (LEN + 4, vec![0; 1 << 18]);
        while left > 0 {
            left -= std::io::Read::read(&mut peer, &mut chunk).unwrap() as u64;
        }
        peer
    });
    kit.until_cx("all is read", |log, cx| {
        let pending = log.ids.first().map_or(0, |id| cx.pending(*id));
        assert!(pending <= 64 * 1024 + 4, "{pending}");
        reader.is_finished()
    });
    let peer = reader.join().unwrap();
    kit.until("it has drained", |log| log.count("drain") == 1);
    let cost = most_memory() - before;
    assert!(cost < 8 << 20, "{cost}");
    drop(peer);
    kit.end();
}

// F5: the signal is not ignored here, so no file is sent by the system.
#[cfg(unix)]
#[test]
fn a_peer_that_dies_under_a_file_raises_no_signal() {
    go_on_alone!(); // what a signal does is the process's
    let always = Arc::new(std::sync::atomic::AtomicBool::new(true));
    signal_hook::flag::register_conditional_default(signal_hook::consts::SIGPIPE, always).unwrap();
    both(|listen| {
        let bytes = pattern(2_000_000);
        let (mut kit, addr) = server(listen, file(&bytes));
        for resets in [false, true] {
            let mut peer = any_peer(&addr);
            write(&mut peer, "go");
            let reader = spawn(move || {
                let begin = read_n(&mut peer, 100_004);
                if resets {
                    peer.set_linger(Some(std::time::Duration::ZERO)).unwrap();
                }
                begin
            });
            let begin = kit.until_done(reader);
            assert!(begin[4..] == bytes[..100_000]);
            kit.until_all_closed();
        }
        let mut peer = any_peer(&addr);
        write(&mut peer, "go");
        let reader = spawn(move || read_n(&mut peer, 2_000_004));
        assert!(kit.until_done(reader)[4..] == bytes);
        kit.end();
    });
}

// F5: by sendfile(2), into buffers that are soon full, and cut off in the middle.
#[test]
fn a_file_that_the_system_sends_arrives_whole_and_goes_with_its_peer() {
    both(|listen| {
        let bytes = pattern(2_000_000);
        let (mut kit, addr) = server(listen, file(&bytes));
        for dies in [true, false] {
            let mut peer = any_peer(&addr);
            write(&mut peer, "go");
            let wanted = if dies { 100_004 } else { 2_000_004 };
            let reader = spawn(move || read_n(&mut peer, wanted));
            let got = kit.until_done(reader);
            assert!(got[4..] == bytes[..wanted - 4]);
            kit.until_all_closed();
        }
        kit.end();
    });
}
