//! hiredis behind a safe type. `unsafe` is for the border alone: what goes to C lives for as long
//! as C has it, and all of it happens on one thread.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;

/// hiredis wants to read, or to write.
pub const READS: c_int = 1;
pub const WRITES: c_int = 2;

#[repr(C)]
struct Shim {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn shim_connect(path: *const c_char, owner: *const c_void) -> *mut Shim;
    fn shim_fd(shim: *const Shim) -> c_int;
    fn shim_wants(shim: *const Shim) -> c_int;
    fn shim_ready(shim: *mut Shim, what: c_int);
    fn shim_ask(
        shim: *mut Shim,
        tag: u64,
        count: c_int,
        words: *const *const u8,
        lengths: *const usize,
    );
    fn shim_free(shim: *mut Shim);
}

/// What has come, and the tag of what was asked.
type Replies = RefCell<Vec<(u64, Vec<u8>)>>;

/// Called by C, from inside `shim_ready` and `shim_free`.
#[unsafe(no_mangle)]
extern "C" fn on_reply(owner: *const c_void, tag: u64, bytes: *const u8, count: usize) {
    // SAFETY: the owner is the box of a `Client`, which outlives its shim; the bytes are hiredis's
    // for the time of this call.
    let replies = unsafe { &*owner.cast::<Replies>() };
    let bytes = match bytes.is_null() {
        true => &[][..],
        false => unsafe { std::slice::from_raw_parts(bytes, count) },
    };
    replies.borrow_mut().push((tag, bytes.to_owned()));
}

/// A connection to a server of Redis, which says what it waits for and is told when that is there.
pub struct Client {
    shim: *mut Shim,
    replies: Box<Replies>,
}

impl Client {
    pub fn connect(path: &str) -> io::Result<Client> {
        let (path, replies) = (CString::new(path)?, Box::<Replies>::default());
        // SAFETY: both are alive, and the box stays where it is.
        let shim = unsafe { shim_connect(path.as_ptr(), (&raw const *replies).cast()) };
        match shim.is_null() {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => Ok(Client { shim, replies }),
        }
    }

    /// The descriptor, while hiredis has it open.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open until the connection is given up, and borrowed for a moment only.
        unsafe { BorrowedFd::borrow_raw(shim_fd(self.shim)) }
    }

    pub fn wants(&self) -> c_int {
        // SAFETY: the shim is alive; so in the functions below.
        unsafe { shim_wants(self.shim) }
    }

    pub fn ready(&mut self, what: c_int) {
        unsafe { shim_ready(self.shim, what) }
    }

    pub fn ask(&mut self, tag: u64, words: &[&[u8]]) {
        let starts: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
        let lengths: Vec<_> = words.iter().map(|word| word.len()).collect();
        let count = words.len() as c_int;
        unsafe { shim_ask(self.shim, tag, count, starts.as_ptr(), lengths.as_ptr()) }
    }

    pub fn take_replies(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.replies.take()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        unsafe { shim_free(self.shim) }
    }
}
