//! What a path stands for: a file, a directory, or nothing.

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use sockeye::bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Files up to this size are kept, for a second, and so many of them.
const SMALL: u64 = 16 * 1024;
const KEPT: usize = 1024;
const FRESH: Duration = Duration::from_secs(1);

/// A file, and what is told of it.
#[derive(Clone)]
pub(crate) struct Entity {
    pub(crate) content: Content,
    pub(crate) len: u64,
    pub(crate) etag: Arc<str>,
    pub(crate) modified: Arc<str>,
}

#[derive(Clone)]
pub(crate) enum Content {
    Small(Bytes),
    Large(Arc<File>),
    /// A directory, whose name must end with a slash.
    Directory,
}

/// A directory whose files are served.
pub(crate) struct Root {
    dir: File,
    small: HashMap<String, (SystemTime, Entity)>,
}

impl Root {
    pub(crate) fn new(path: &str) -> io::Result<Root> {
        let (dir, small) = (File::open(path)?, HashMap::new());
        Ok(Root { dir, small })
    }

    /// The error is a status.
    pub(crate) fn find(&mut self, path: &str, now: SystemTime) -> Result<Entity, u16> {
        match self.small.get(path) {
            Some((until, entity)) if *until > now => return Ok(entity.clone()),
            _ => {}
        }
        let found = match path.ends_with('/') {
            true => self.look_up(&format!("{path}index.html"))?,
            false => self.look_up(path)?,
        };
        if matches!(found.content, Content::Small(_)) {
            if self.small.len() >= KEPT {
                self.small.clear();
            }
            let entry = (now + FRESH, found.clone());
            self.small.insert(path.to_owned(), entry);
        }
        Ok(found)
    }

    fn look_up(&self, path: &str) -> Result<Entity, u16> {
        let file = self.open(path.trim_start_matches('/'))?;
        let meta = file.metadata().map_err(|_| 403u16)?;
        let modified = meta.modified().unwrap_or(UNIX_EPOCH);
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut len = meta.len();
        let content = if meta.is_dir() {
            Content::Directory
        } else if !meta.is_file() {
            return Err(403);
        } else if len > SMALL {
            Content::Large(Arc::new(file))
        } else {
            let mut bytes = Vec::new();
            let read = file.take(SMALL).read_to_end(&mut bytes);
            len = read.map_err(|_| 403u16)? as u64;
            Content::Small(bytes.into())
        };
        Ok(Entity {
            content,
            len,
            etag: format!("\"{:x}-{len:x}\"", since.as_nanos()).into(),
            modified: date(modified).into(),
        })
    }

    /// Opens what lies below the root: the system refuses to leave it, by `..` or by a link.
    fn open(&self, path: &str) -> Result<File, u16> {
        // A pipe must not hold up the loop until somebody writes.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.dir, path, flags, Mode::empty(), below) {
            Ok(file) => Ok(file.into()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Err(404),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::AGAIN) => {
                Err(503)
            }
            Err(_) => Err(403),
        }
    }
}

pub(crate) fn kind(path: &str) -> &'static str {
    match path.rsplit_once(['.', '/']).map_or("", |(_, end)| end) {
        "html" | "" => "text/html; charset=utf-8",
        "txt" | "md" | "rs" => "text/plain; charset=utf-8",
        "css" => "text/css",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
pub(crate) fn date(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years that begin with March, so that the leap day is the last.
    let (era, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, index) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12);
    let year = era * 400 + year + u64::from(index < 2);
    let week = &"ThuFriSatSunMonTueWed"[(days % 7) as usize * 3..][..3];
    let month = &"JanFebMarAprMayJunJulAugSepOctNovDec"[index as usize * 3..][..3];
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{week}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}
