//! Files, whose bytes go to a socket or into memory.

use std::fs::File;
use std::io;

/// Appends at most `most` bytes of a file to `block`, from this position on. 0: it ends there.
pub(crate) fn read_file(
    file: &File,
    at: u64,
    most: usize,
    block: &mut Vec<u8>,
) -> io::Result<usize> {
    let start = block.len();
    block.resize(start + most, 0);
    let mut read = read_at(file, &mut block[start..], at);
    while matches!(&read, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
        read = read_at(file, &mut block[start..], at);
    }
    block.truncate(start + read.as_ref().map_or(0, |count| *count));
    read
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}

/// Has the system send at most `most` bytes of a file to a socket, from this position on.
#[cfg(target_os = "linux")]
pub(super) fn send_file(
    socket: impl std::os::fd::AsFd,
    file: &File,
    at: u64,
    most: usize,
) -> io::Result<usize> {
    // The position of the file itself stays where it is.
    let mut at = at;
    Ok(rustix::fs::sendfile(socket, file, Some(&mut at), most)?)
}

/// May the system send files by itself? sendfile(2) has no `MSG_NOSIGNAL`, so only where SIGPIPE is
/// ignored. Asked once: the answer must not cost a call each time.
#[cfg(target_os = "linux")]
pub(super) fn sends_files() -> bool {
    use std::sync::OnceLock;
    static IS_IGNORED: OnceLock<bool> = OnceLock::new();
    *IS_IGNORED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status");
        status.is_ok_and(|status| ignores_sigpipe(&status))
    })
}

/// Does this text of `/proc/self/status` say that SIGPIPE is ignored (proc(5), `SigIgn`)?
#[cfg(target_os = "linux")]
fn ignores_sigpipe(status: &str) -> bool {
    const SIGPIPE: u32 = 13; // signal(7); the mask begins with signal 1
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (SIGPIPE - 1) != 0)
}

/// Is an error of `send_file` perhaps the file's? Then it is to be read, and that tells more.
pub(crate) fn is_of_file(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let codes = [
            Errno::INVAL,
            Errno::NOSYS,
            Errno::IO,
            Errno::BADF,
            Errno::SPIPE,
            Errno::ISDIR,
            Errno::OVERFLOW,
        ];
        let is_one = |code: Errno| error.raw_os_error() == Some(code.raw_os_error());
        if codes.into_iter().any(is_one) {
            return true;
        }
    }
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    // F5
    #[test]
    fn a_signal_that_is_ignored_is_told_from_one_that_is_not() {
        assert!(ignores_sigpipe("SigBlk:\t0\nSigIgn:\t0000000000001000\n"));
        assert!(ignores_sigpipe("SigIgn:\t0000000000001001\n"));
        assert!(!ignores_sigpipe(
            "SigIgn:\t0000000000000fff\nSigCgt:\t1000\n"
        ));
        assert!(!ignores_sigpipe("") && !ignores_sigpipe("SigIgn:\tx\n"));
        // In a program of Rust's it is ignored before `main`.
        assert!(sends_files());
    }
}
