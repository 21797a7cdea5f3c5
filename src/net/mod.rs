//! TCP, UDP and Unix sockets, pipes, and the addresses to connect and bind sockets to.
//!
//! A [`TcpListener`] accepts [`TcpStream`]s. A stream is read and written through `&self`, so
//! `&stream` serves as both halves; [`TcpStream::into_split`] returns owned halves for two tasks.
//! The module [`pipe`] has the ends of pipes and FIFOs.
//!
//! A [`UnixListener`] accepts [`UnixStream`]s, which connect processes of one machine and can pass
//! descriptors. A [`UdpSocket`] sends and receives datagrams, one by one or in batches
//! ([`RecvBatch`]). A [`UnixDatagram`] does so between processes of one machine.
//!
//! A [`TcpSocket`] or [`UnixSocket`] sets what must be set before connecting or listening. A
//! [`LimitedListener`] limits the number of connections.
//!
//! All streams are [`ByteStream`]s. A function that is generic over the [`kind`] takes any of them.
//!
//! A socket belongs to the runtime that ran on the thread that created it. It may be used and
//! dropped on any thread. On another thread each wait sends a message to the runtime's thread,
//! which is slower. After the runtime has ended, calls that must wait return an error, and the
//! others still work.
//!
//! Addresses are given as [`ToSocketAddrs`]. A host name is looked up by the system's resolver on
//! another thread; [`lookup_host`] returns what it finds. An IP address needs no look-up.

#![forbid(unsafe_code)]

mod backoff;
pub mod kind;
mod listener;
mod lookup;
mod new_socket;
pub mod pipe;
mod registered_socket;
mod stream;
mod tcp;
mod udp;
mod unix;

pub use listener::{Incoming, IntoIncoming, LimitedListener, Listener, Permit};
pub use lookup::{ToSocketAddrs, lookup_host};
pub use stream::{ByteStream, OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use tcp::{Keepalive, TcpListener, TcpSocket, TcpStream};
pub use udp::{Datagram, Datagrams, Outgoing, RecvBatch, UdpSocket};
pub use unix::{UCred, UnixDatagram, UnixListener, UnixSocket, UnixStream};

use crate::sys::fd::is_nonblocking;
use crate::sys::syscall::failure;
use std::io;
use std::os::fd::BorrowedFd;

/// Returns an error if calls on the fd could block the thread.
fn check_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    if is_nonblocking(fd)? {
        return Ok(());
    }
    Err(failure(
        io::ErrorKind::InvalidInput,
        "cannot register this socket: it is in blocking mode, so a call could stop the whole loop; call `set_nonblocking(true)` first",
    ))
}
