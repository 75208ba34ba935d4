//! The file of a Unix socket: whose it is, and when it may be removed.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A socket file that we made. It is removed when dropped, unless another has taken its place.
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// Binds. The file of a server that is gone is replaced; a live server's is not, and neither is
    /// a file that is no socket.
    pub(super) fn bind(socket: &Socket, path: &Path) -> io::Result<SocketFile> {
        let addr = SockAddr::unix(path)?;
        match socket.bind(&addr) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &addr) => {
                log::debug!(target: "sockeye", "replacing the stale socket {}", path.display());
                fs::remove_file(path)?;
                socket.bind(&addr)?;
            }
            result => result?,
        }
        let inode = inode(path)?;
        Ok(SocketFile {
            path: path.to_owned(),
            inode,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Nobody is left to tell of a failure, and a stale file does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// A socket where nobody listens refuses. Any other answer (a full backlog too) means that it
/// lives.
fn is_stale(path: &Path, addr: &SockAddr) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refuses = || -> io::Result<bool> {
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        probe.set_nonblocking(true)?;
        let answer = probe.connect(addr);
        Ok(answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
    };
    is_socket && refuses().unwrap_or(false)
}
