//! TCP sockets.
//!
//! A [`TcpListener`] accepts [`TcpStream`]s; a stream is read and written through `&self`, so two tasks may use one
//! without a split, and it has [halves](TcpStream::into_split) for who wants the type system to keep the sides apart.
//!
//! Sockets are made where a runtime runs and belong to it. They are plain data: they may be moved to another thread,
//! used there (slower: each wait costs a message) and dropped there, also after the runtime has ended; then whatever
//! would have to wait is an error.
//!
//! Addresses are given as [`ToSocketAddrs`]. One that needs no lookup (an IP address and a port) is taken as it is; a
//! host name goes to the system's resolver, **which blocks the thread**, and with it every other task.

#![forbid(unsafe_code)]

mod registered;
mod tcp;

pub use std::net::ToSocketAddrs;
pub use tcp::{
    Incoming, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpStream,
    WriteHalf,
};

use std::io;

/// The error of a list of addresses that is empty.
fn no_address() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "could not resolve to any address",
    )
}

/// Refuses an fd whose calls would block the thread.
fn check_nonblocking(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    if crate::sys::fd::is_nonblocking(fd)? {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "this socket is blocking: call `set_nonblocking(true)` on it first",
    ))
}
