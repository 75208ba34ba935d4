//! A file server: HTTP/1.1 with keep-alive, pipelining, ranges and conditions (Linux).
//!
//! It teaches *sources*: a file of any size is one line, `send_from(conn, Source::file(..))`, and
//! the next request waits until it is out. Besides: a deadline that no drip puts off, and workers.
//! In `server`, `request.rs` is what a client asks for, and `files.rs` what a path stands for: only
//! inside the root, as openat2(2) sees to, which only Linux has.
//!
//! Try it: `cargo run --example http_files -- --root docs`, then `curl -v 127.0.0.1:7009/guide/`.

#[cfg(target_os = "linux")]
mod server;

fn main() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    let ended = server::main();
    #[cfg(not(target_os = "linux"))]
    let ended = Err(anyhow::anyhow!("openat2(2) is Linux's"));
    ended
}
