//! The file of a Unix socket: whose it is, and when it may be removed.

use super::start_lock::StartLock;
use crate::backend::os::sockets::named;
use crate::options::Listen;
use rustix::fs::{Mode, RawMode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A socket file that we made. It is removed when dropped, unless another has taken its place.
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// Binds and listens. The file of a server that is gone is replaced; a live server's is not,
    /// and neither is a file that is no socket.
    ///
    /// All of it is under a lock. A server that has bound and does not listen yet refuses as one
    /// that is gone does, and between looking and removing another may have made a new file.
    pub(crate) fn listen(socket: &Socket, path: &Path, listen: &Listen) -> io::Result<SocketFile> {
        let addr = SockAddr::unix(path)?;
        let _lock = StartLock::take(path)?;
        if let Some(mode) = listen.mode {
            // Linux makes the file with the mode of the socket, without what the umask takes
            // (unix_bind_bsd() in af_unix.c). Others refuse, and have only the step below.
            let _ = fchmod(socket, Mode::from_raw_mode(mode as RawMode));
        }
        if let Err(error) = socket.bind(&addr) {
            let stale = (error.kind() == io::ErrorKind::AddrInUse)
                .then(|| stale_inode(path, &addr))
                .flatten();
            let Some(stale) = stale else {
                return Err(error);
            };
            // Who does not know the lock may have been here meanwhile.
            if inode(path)? != stale {
                return Err(error);
            }
            log::debug!(target: "sockeye", "replacing the stale socket {}", path.display());
            fs::remove_file(path)?;
            socket.bind(&addr)?;
        }
        let file = SocketFile {
            path: path.to_owned(),
            inode: inode(path)?,
        };
        // Before it listens: until then it refuses everybody, whatever the mode is.
        if let Some(mode) = listen.mode {
            set_mode(path, mode).map_err(|error| named("mode", &error))?;
        }
        socket.listen(listen.backlog)?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes the file without a lock: as long as the socket listens, nobody takes it for stale.
impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Nobody is left to tell of a failure, and a stale file does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives the file the mode that the umask may have kept from it.
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    // chmod(2) would follow a link that somebody has put there instead.
    match meta.file_type().is_socket() {
        true => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        false => Err(io::Error::other("the file has been replaced")),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// The inode of a socket where nobody listens: it refuses. Any other answer (a full backlog too)
/// means that it lives.
fn stale_inode(path: &Path, addr: &SockAddr) -> Option<(u64, u64)> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.file_type().is_socket() {
        return None;
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).ok()?;
    probe.set_nonblocking(true).ok()?;
    let answer = probe.connect(addr);
    let refuses = answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    refuses.then_some((meta.dev(), meta.ino()))
}
