//! Files as sources, sent by the system or read: F5.

use super::sources::KIB;
use super::*;
use crate::buffer::source::Source;
use crate::readiness::Readiness;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A file in memory's stead, with these bytes.
fn file(bytes: &[u8]) -> std::fs::File {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!(
        "sockeye-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Relaxed)
    );
    let path = std::env::temp_dir().join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create_new(true)
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    file.write_all(bytes).unwrap();
    // Where a file cannot be removed while it is open, it stays.
    let _ = std::fs::remove_file(path);
    file
}

pub(super) fn numbered(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at) as u8).collect()
}

// F5: sent by the system, cut anywhere, or read.
#[test]
fn a_part_of_a_file_goes_out_whole_whether_it_is_sent_or_read() {
    let bytes = numbered(3_000_000);
    let file = Arc::new(file(&bytes));
    for sends_files in [false, true] {
        let mut bench = Bench::new();
        let (socket, conn) = bench.accept();
        bench
            .script
            .socket(socket, |socket| socket.sends_files = sends_files);
        for cut in [1, 5_000, 40_000, 300_000] {
            bench.write_steps(socket, [WriteStep::Take(cut), BLOCK]);
        }
        bench.cx().send(conn, "head ");
        bench
            .cx()
            .send_from(conn, Source::file(file.clone(), 3..2_999_990));
        bench.cx().send_from(conn, Source::file(file.clone(), 0..0));
        bench.cx().send_from(conn, Source::file(file.clone(), 5..9));
        bench.cx().send(conn, " foot");
        for _ in 0..200 {
            bench.settle();
            assert!(bench.cx().pending(conn) <= 64 * KIB + 5);
            bench.script.edge(socket, Readiness::WRITABLE);
        }
        let whole = [&b"head "[..], &bytes[3..2_999_990], &bytes[5..9], b" foot"].concat();
        assert!(bench.written(socket) == whole);
        let of_files = bench
            .script
            .socket(socket, |socket| socket.of_files.clone());
        assert_eq!(!of_files.is_empty(), sends_files);
        assert!(of_files.iter().all(|count| *count <= 2 * 1024 * KIB));
        assert_eq!(bench.seen(), ["open", "drain"]);
    }
}

// F5
#[test]
fn a_file_that_has_become_shorter_is_an_error() {
    for sends_files in [false, true] {
        for len in [10, 200_000] {
            let mut bench = Bench::new();
            let (socket, conn) = bench.accept();
            bench
                .script
                .socket(socket, |socket| socket.sends_files = sends_files);
            let file = file(&numbered(len));
            bench
                .cx()
                .send_from(conn, Source::file(file, 0..len as u64 + 1));
            bench.cx().close(conn);
            bench.settle();
            let said = "close source failed: the file has become shorter";
            let closed = bench.seen().pop().unwrap();
            assert!(closed.starts_with(said), "{closed}");
            assert!(
                bench
                    .script
                    .socket(socket, |socket| socket.reset && !socket.shut)
            );
        }
    }
}

// F5: what the system cannot send is read; what cannot be read is an error.
#[test]
fn a_file_that_cannot_be_sent_is_read() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench
        .script
        .socket(socket, |socket| socket.sends_files = true);
    let no = || WriteStep::Fail(io::ErrorKind::Unsupported);
    bench.write_steps(socket, [no()]);
    let bytes = numbered(200_000);
    bench
        .cx()
        .send_from(conn, Source::file(file(&bytes), 0..200_000));
    bench.settle();
    assert!(bench.written(socket) == bytes);
    assert_eq!(bench.seen(), ["open", "drain"]);
    let dir = std::fs::File::open(std::env::temp_dir());
    if let Ok(dir) = dir {
        bench.cx().send_from(conn, Source::file(dir, 0..1));
        bench.settle();
        let closed = bench.seen().pop().unwrap();
        assert!(closed.starts_with("close source failed"), "{closed}");
    }
}

// F5: one that has no chance in a turn has lost nothing.
#[test]
fn files_share_what_a_turn_may_give() {
    let bytes = numbered(100);
    let mut bench = Bench::with_config(Config::default().source_bytes_per_turn(60));
    let sockets = [(); 2].map(|()| bench.accept().0);
    let all = bench.app.conns.clone();
    for (socket, conn) in sockets.into_iter().zip(all) {
        bench
            .script
            .socket(socket, |socket| socket.sends_files = true);
        bench
            .cx()
            .send_from(conn, Source::file(file(&bytes), 0..100));
    }
    bench.turn();
    assert_eq!(sockets.map(|socket| bench.written(socket).len()), [60, 0]);
    bench.settle();
    assert!(sockets.iter().all(|socket| bench.written(*socket) == bytes));
    assert_eq!(bench.seen(), ["open", "open", "drain", "drain"]);
}
