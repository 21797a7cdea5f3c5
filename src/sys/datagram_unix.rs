//! Datagram sockets of Unix: making them, connecting them, and whether a peer is full.

use super::addr::{RawAddr, unix::unnamed};
use super::socket::Socket;
use std::io;
use std::os::unix::net::SocketAddr;

impl Socket {
    /// Makes a Unix datagram socket without a name.
    pub(crate) fn unix_datagram() -> io::Result<Socket> {
        Socket::new(libc::AF_UNIX, libc::SOCK_DGRAM)
    }

    /// Makes two Unix datagram sockets, each connected to the other one.
    pub(crate) fn unix_datagram_pair() -> io::Result<(Socket, Socket)> {
        Socket::pair(libc::AF_UNIX, libc::SOCK_DGRAM)
    }

    /// Sets the peer of a datagram socket, or replaces it.
    pub(crate) fn connect_datagram(&self, addr: &RawAddr) -> io::Result<()> {
        self.connect_raw(addr)
    }
}

impl RawAddr {
    /// Returns the address of a sender. One that the standard library cannot express counts as
    /// none: the datagram is worth more than the address.
    pub(crate) fn to_sender(self) -> SocketAddr {
        let sender = self.to_unix().or_else(|_| unnamed());
        sender.expect("an empty path has no null byte and is not too long")
    }
}

/// Whether the error of a send means that the peer's buffer is full: on macOS and the BSDs
/// (`uipc_send` of the kernel). Linux and illumos return `EAGAIN` for it.
pub(crate) fn is_full_peer(error: &io::Error) -> bool {
    cfg!(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "illumos",
        target_os = "solaris"
    ))) && error.raw_os_error() == Some(libc::ENOBUFS)
}
