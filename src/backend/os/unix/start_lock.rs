//! A lock on a Unix path, held while a server starts there.

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, lstat, open};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What is added to the name of the socket's file.
const SUFFIX: &str = ".sockeye-lock";

/// How often the file may vanish between being opened and locked: each time means that another
/// server has started meanwhile.
const TRIES: usize = 100;

/// A lock for as long as a server starts on a path.
///
/// The system lets go of it when the process ends, however that is. The file is there only as long
/// as the lock is held; one that a crash has left behind is locked like a new one.
pub(super) struct StartLock {
    path: PathBuf,
    _file: OwnedFd,
    /// The file is nobody else's that happens to have this name.
    ours: bool,
}

impl StartLock {
    /// Takes the lock, or fails at once: another is starting, and that one will have the path.
    pub(super) fn take(socket: &Path) -> io::Result<StartLock> {
        let mut name = socket.as_os_str().to_owned();
        name.push(SUFFIX);
        let path = PathBuf::from(name);
        // The caller names the path that was asked for. The name of the lock helps only where there
        // is such a file; else it is the directory that is missing, or that takes no file.
        let failed = |errno: Errno| match lstat(&path) {
            Ok(_) => {
                let error = io::Error::from(errno);
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            }
            Err(_) => errno.into(),
        };
        let busy = || {
            let text = "another server is starting there";
            io::Error::new(io::ErrorKind::AddrInUse, text)
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for _ in 0..TRIES {
            // For the owner alone: whoever can open it can hold it.
            let mode = Mode::RUSR | Mode::WUSR;
            let file = open(&path, flags | OFlags::NONBLOCK, mode).map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Err(busy()),
                result => result.map_err(failed)?,
            }
            // Only who holds the lock of the file at this path removes it. So it is still the one
            // that was locked, or it was removed before it was locked.
            let locked = fstat(&file).map_err(failed)?;
            match lstat(&path) {
                Ok(there) if (there.st_dev, there.st_ino) == (locked.st_dev, locked.st_ino) => {
                    let is_file = FileType::from_raw_mode(locked.st_mode) == FileType::RegularFile;
                    return Ok(StartLock {
                        ours: is_file && locked.st_size == 0,
                        path,
                        _file: file,
                    });
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(busy())
    }
}

/// The name goes before the lock does. So it does not matter whether a child that was forked
/// meanwhile holds the lock on.
impl Drop for StartLock {
    fn drop(&mut self) {
        if self.ours {
            // One that stays is locked by the next as it is.
            let _ = fs::remove_file(&self.path);
        }
    }
}
