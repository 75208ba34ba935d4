//! The calls that move bytes, as the loop makes them (rustix) and as it might (std, through libc):
//! `cargo bench --bench calls`.
//!
//! What a system call costs besides its work depends on the processor and on what the kernel does
//! against its flaws: the first return after one may cost as much as half of it.

mod common;

use common::{compare, rival, rival_timed, timed, title};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Calls of a run.
const CALLS: usize = 20_000;

/// Bytes of a large read.
const LARGE: usize = 128 * 1024;

const LARGE_READS: usize = 200;

const PAGE: usize = 4096;

/// Two ends of one connection, neither of which blocks.
fn pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_nodelay(true)?;
        end.set_nonblocking(true)?;
        set_socket_send_buffer_size(end, 2 * LARGE)?;
        set_socket_recv_buffer_size(end, 2 * LARGE)?;
    }
    Ok((near, far))
}

fn main() -> std::io::Result<()> {
    let (near, far) = pair()?;
    title("System calls");
    compare(
        "a read that would block",
        vec![
            rival("rustix", || {
                read_in_vain(|buffer| {
                    let (count, _) = recv(&near, buffer, RecvFlags::empty())?;
                    Ok(count)
                })
            }),
            rival("rustix in a function", || {
                read_in_vain(|buffer| function(&near, buffer))
            }),
            rival("std", || read_in_vain(|buffer| (&near).read(buffer))),
        ],
    );
    compare(
        "64 bytes there, and read",
        vec![
            rival("rustix", || {
                let (mut buffer, bytes) = ([0; 256], [1; 64]);
                for _ in 0..CALLS {
                    let sent = send(&near, &bytes, SendFlags::NOSIGNAL);
                    let read = recv(&far, &mut buffer[..], RecvFlags::empty());
                    assert_eq!((sent, read), (Ok(64), Ok((64, 64))));
                }
                CALLS
            }),
            rival("std", || {
                let (mut buffer, bytes) = ([0; 256], [1; 64]);
                for _ in 0..CALLS {
                    let sent = (&near).write(&bytes).expect("there is room");
                    let read = (&far).read(&mut buffer).expect("it has arrived");
                    assert_eq!((sent, read), (64, 64));
                }
                CALLS
            }),
        ],
    );
    compare(
        "a read of 128 KiB",
        vec![
            rival_timed("to a cache line", || read_large(&near, &far, 64)),
            rival_timed("16 bytes behind a page", || read_large(&near, &far, 16)),
        ],
    );
    Ok(())
}

/// Reads to so many bytes behind the start of a page; the sends are not timed.
fn read_large(near: &TcpStream, far: &TcpStream, place: usize) -> (usize, Duration) {
    let mut memory = vec![0; 2 * PAGE + LARGE];
    let start = memory.as_ptr().addr().next_multiple_of(PAGE) - memory.as_ptr().addr() + place;
    let (bytes, mut time) = (vec![1; LARGE], Duration::ZERO);
    for _ in 0..LARGE_READS {
        let mut sent = 0;
        while sent < LARGE {
            sent += send(near, &bytes[sent..], SendFlags::NOSIGNAL).expect("there is room");
        }
        let (_, read) = timed(|| {
            let mut read = 0;
            while read < LARGE {
                let buffer = &mut memory[start + read..start + LARGE];
                read += recv(far, buffer, RecvFlags::empty()).map_or(0, |(count, _)| count);
            }
            read
        });
        time += read;
    }
    (LARGE_READS, time)
}

/// The same call, and a return after it.
#[inline(never)]
fn function(socket: &TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    let (count, _) = recv(socket, buffer, RecvFlags::empty())?;
    Ok(count)
}

fn read_in_vain(mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize>) -> usize {
    let mut buffer = [0; 256];
    for _ in 0..CALLS {
        let error = read(black_box(&mut buffer)).expect_err("nothing is there");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    CALLS
}
