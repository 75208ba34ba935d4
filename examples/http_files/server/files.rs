//! What a path stands for: a file, a directory, or nothing.

use super::request::{Answer, Request};
use httpdate::HttpDate;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use sockeye::bytes::Bytes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{collections::HashMap, fs::File, io::Read, rc::Rc, sync::Arc};

/// Files up to this size are kept, for a second, and so many of them.
const SMALL: u64 = 16 * 1024;
const KEPT: usize = 1024;

/// A file, and what is told of it.
pub(crate) struct Entity {
    /// What it holds, if that is little, or the file.
    pub(crate) content: Result<Bytes, Arc<File>>,
    pub(crate) len: u64,
    pub(crate) etag: String,
    pub(crate) modified: HttpDate,
    /// Those fields of an answer that are the same in each.
    pub(crate) fields: String,
}

/// A directory whose files are served, and the small ones that were, until when.
pub(crate) struct Root {
    dir: Arc<File>,
    kept: HashMap<String, Rc<Entity>>,
    until: SystemTime,
}

impl Root {
    pub(crate) fn new(dir: Arc<File>) -> Root {
        let (kept, until) = (HashMap::new(), UNIX_EPOCH);
        Root { dir, kept, until }
    }

    pub(crate) fn find(&mut self, request: &Request, now: SystemTime) -> Answer<Rc<Entity>> {
        if self.until <= now || self.kept.len() >= KEPT {
            (self.kept, self.until) = (HashMap::new(), now + Duration::from_secs(1));
        }
        if let Some(entity) = self.kept.get(&*request.path) {
            return Ok(entity.clone());
        }
        let entity = Rc::new(self.look_up(&request.path, request.target)?);
        if entity.content.is_ok() {
            self.kept.insert(request.path.to_string(), entity.clone());
        }
        Ok(entity)
    }

    fn look_up(&self, path: &str, target: &str) -> Answer<Entity> {
        let is_dir = path.ends_with('/');
        let name = path[1..].to_owned() + if is_dir { "index.html" } else { "" };
        // A pipe must not hold up the loop until somebody writes.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        // The system refuses to leave the root, by `..` or by a link.
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match openat2(&*self.dir, &name, flags, Mode::empty(), below) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Err("404 Not Found")?,
            Err(Errno::MFILE | Errno::NFILE | Errno::AGAIN) => Err("503 Service Unavailable")?,
            Err(_) => Err("403 Forbidden")?,
        };
        let meta = file.metadata().map_err(|_| "403 Forbidden")?;
        let (mut len, mut bytes) = (meta.len(), Vec::new());
        let content = match len {
            _ if meta.is_dir() => Err(format!("301 Moved Permanently\r\nLocation: {target}/"))?,
            _ if !meta.is_file() => Err("403 Forbidden")?,
            0..=SMALL => {
                let read = file.take(SMALL).read_to_end(&mut bytes);
                len = read.map_err(|_| "403 Forbidden")? as u64;
                Ok(bytes.into())
            }
            _ => Err(file.into()),
        };
        let modified = meta.modified().unwrap_or(UNIX_EPOCH);
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        // HTTP knows no dates before 1970, and none from the year 10,000 on.
        let modified = HttpDate::from(UNIX_EPOCH + since.min(Duration::from_secs(1 << 37)));
        let etag = format!("\"{:x}-{len:x}\"", since.as_nanos());
        let fields = format!("\r\nETag: {etag}\r\nLast-Modified: {modified}");
        let kind = match name.rsplit_once('.').map_or("", |(_, end)| end) {
            "html" => "text/html; charset=utf-8",
            "txt" | "md" | "rs" => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        };
        Ok(Entity {
            fields: fields + "\r\nAccept-Ranges: bytes\r\nContent-Type: " + kind,
            content,
            len,
            etag,
            modified,
        })
    }
}
