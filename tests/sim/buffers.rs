//! What the simulator says of send buffers, held against the kernel: a socket is called writable
//! late, while a write takes what there is room for (docs/simulation-differences.md).

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// What poll(2) says, at once or after a while.
fn is_writable(socket: &impl AsFd, millis: i64) -> bool {
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: millis * 1_000_000,
    };
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    poll(&mut polled, Some(&time)).unwrap();
    polled[0].revents().contains(PollFlags::OUT)
}

const PIECE: [u8; 4096] = [b'x'; 4096];

/// Fills a socket; answers how many bytes it took.
fn fill<S: AsFd + Write>(socket: &mut S) -> usize {
    let mut held = 0;
    loop {
        match socket.write(&PIECE) {
            Ok(count) => held += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                // What was on its way has arrived when no more room comes.
                if !is_writable(socket, 20) {
                    return held;
                }
            }
        }
    }
}

/// The peer reads piece by piece until the system says that there is room again. Answers how much
/// that was, and how many bytes were taken before.
fn reads_until_writable<S: AsFd + Write>(socket: &mut S, peer: &mut impl Read) -> (usize, usize) {
    let (mut read, mut taken) = (0, 0);
    let mut buffer = PIECE;
    loop {
        read += peer.read(&mut buffer).unwrap();
        if is_writable(socket, 0) {
            return (read, taken);
        }
        // One byte: what is asked about must hardly change by it.
        match socket.write(b"x") {
            Ok(count) => taken += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn a_unix_socket_is_writable_late_and_a_write_takes_what_there_is_room_for() {
    let (mut ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let held = fill(&mut ours);
    let (read, taken) = reads_until_writable(&mut ours, &mut peer);
    assert!(taken > 0, "no write was taken before");
    assert!(read > held / 2, "writable after {read} of {held} bytes");
}

#[test]
fn a_tcp_socket_is_writable_late_and_a_write_takes_what_there_is_room_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    let held = fill(&mut ours);
    let (read, taken) = reads_until_writable(&mut ours, &mut peer);
    assert!(taken > 0, "no write was taken before");
    assert!(read > held / 10, "writable after {read} of {held} bytes");
}
