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
use std::path::Path;
use support::Directory;

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
