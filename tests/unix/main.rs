//! Unix sockets, each test on every backend. What they share with all streams is tested in
//! `tests/streams`.

#![cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(unused_imports, dead_code, reason = "some tests are for Linux")
)]

mod addresses;
mod connect;
mod ends;
mod passing;
mod socket;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod watching;

use reveille::net::UnixStream;
use std::io;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory for socket files, which is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("reveille-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn address(path: impl AsRef<Path>) -> SocketAddr {
    SocketAddr::from_pathname(path).unwrap()
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

async fn read_to_end(stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while stream.read_buf(&mut all).await? != 0 {}
    Ok(all)
}
