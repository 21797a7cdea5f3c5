//! Unix sockets: what only their streams and listeners have, and datagrams.

mod datagram;
mod listener;
mod passing;
mod peer_cred;
mod socket;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::UnixListener;
pub use peer_cred::UCred;
pub use socket::UnixSocket;
pub use stream::UnixStream;

use super::kind::{Duplex, Kind, Readable, Unix, Writable, sealed};
use crate::reactor::Watch;
use crate::sys::socket::Socket;
use crate::sys::unix_socket::UnixAnswer;
use std::fmt::DebugStruct;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::SocketAddr;

impl Kind for Unix {}
impl Readable for Unix {}
impl Writable for Unix {}
impl Duplex for Unix {
    type Addr = SocketAddr;
}

impl sealed::Kind for Unix {
    const STREAM: &'static str = "UnixStream";

    fn describe(socket: &Socket, out: &mut DebugStruct<'_, '_>) {
        out.field("addr", &socket.local_unix_addr().ok())
            .field("peer", &socket.peer_unix_addr().ok());
    }
}

impl sealed::Reads for Unix {
    type Answer = UnixAnswer;

    #[inline]
    fn read(socket: &Socket, buf: &mut [u8], again: bool) -> UnixAnswer {
        socket.recv_unix_once(buf, again)
    }

    #[inline]
    fn read_uninit(socket: &Socket, buf: &mut [MaybeUninit<u8>], again: bool) -> UnixAnswer {
        socket.recv_unix_uninit_once(buf, again)
    }

    #[inline]
    fn read_vec(socket: &Socket, buf: &mut Vec<u8>, again: bool) -> UnixAnswer {
        socket.recv_unix_vec_once(buf, again)
    }

    fn read_vectored(socket: &Socket, bufs: &mut [IoSliceMut<'_>], again: bool) -> UnixAnswer {
        socket.recv_unix_vectored_once(bufs, again)
    }
}

impl sealed::Writes for Unix {
    const WATCHED_WHILE_FULL: bool = true;
}

impl sealed::Sockets for Unix {
    const LISTENER: &'static str = "UnixListener";

    type SocketAddr = SocketAddr;

    fn watch() -> Watch {
        Watch::Unix { owned: true }
    }

    fn accept(socket: &Socket) -> io::Result<(Socket, SocketAddr)> {
        socket.accept_unix()
    }

    fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
        socket.local_unix_addr()
    }

    fn peer_addr(socket: &Socket) -> io::Result<SocketAddr> {
        socket.peer_unix_addr()
    }
}
