//! Calls of std's `Read` and `Write` on the value of an [`AsyncFd`], for the traits that poll.
//!
//! The functions whose names end in `_mut` call a `T`, the others a `&T`. None of them returns
//! `WouldBlock` or `Interrupted`, which the traits forbid.

use crate::io::{AsyncFd, Interest};
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

/// Reads from the value by a shared reference.
pub(super) fn poll_read<T: AsFd, R>(
    fd: &AsyncFd<T>,
    cx: &mut Context<'_>,
    mut call: impl FnMut(&T) -> io::Result<R>,
) -> Poll<io::Result<R>> {
    fd.poll_io(Interest::READABLE, cx, |value| repeat(|| call(value)))
}

/// Reads from the value.
pub(super) fn poll_read_mut<T: AsFd, R>(
    fd: &mut AsyncFd<T>,
    cx: &mut Context<'_>,
    mut call: impl FnMut(&mut T) -> io::Result<R>,
) -> Poll<io::Result<R>> {
    fd.poll_io_mut(Interest::READABLE, cx, |value| repeat(|| call(value)))
}

/// Writes to the value by a shared reference.
pub(super) fn poll_write<T: AsFd, R>(
    fd: &AsyncFd<T>,
    cx: &mut Context<'_>,
    mut call: impl FnMut(&T) -> io::Result<R>,
) -> Poll<io::Result<R>> {
    fd.poll_io(Interest::WRITABLE, cx, |value| repeat(|| call(value)))
}

/// Writes to the value.
pub(super) fn poll_write_mut<T: AsFd, R>(
    fd: &mut AsyncFd<T>,
    cx: &mut Context<'_>,
    mut call: impl FnMut(&mut T) -> io::Result<R>,
) -> Poll<io::Result<R>> {
    fd.poll_io_mut(Interest::WRITABLE, cx, |value| repeat(|| call(value)))
}

/// Repeats a call while it is interrupted.
fn repeat<R>(mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
