//! TCP: what only its streams and listeners have.

mod connect;
mod listener;
mod options;
mod socket;
mod stream;

pub use crate::sys::socket_options::Keepalive;
pub use listener::TcpListener;
pub use socket::TcpSocket;
pub use stream::TcpStream;

use super::kind::{Duplex, Kind, Readable, Tcp, Writable, sealed};
use crate::reactor::Watch;
use crate::sys::socket::Socket;
use crate::sys::syscall::RawAnswer;
use std::fmt::DebugStruct;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;

impl Kind for Tcp {}
impl Readable for Tcp {}
impl Writable for Tcp {}
impl Duplex for Tcp {
    type Addr = SocketAddr;
}

impl sealed::Kind for Tcp {
    const STREAM: &'static str = "TcpStream";

    fn describe(socket: &Socket, out: &mut DebugStruct<'_, '_>) {
        out.field("addr", &socket.local_addr().ok())
            .field("peer", &socket.peer_addr().ok());
    }
}

impl sealed::Reads for Tcp {
    type Answer = RawAnswer;

    #[inline]
    fn read(socket: &Socket, buf: &mut [u8], _again: bool) -> RawAnswer {
        socket.recv_once(buf)
    }

    #[inline]
    fn read_uninit(socket: &Socket, buf: &mut [MaybeUninit<u8>], _again: bool) -> RawAnswer {
        socket.recv_uninit_once(buf)
    }

    #[inline]
    fn read_vec(socket: &Socket, buf: &mut Vec<u8>, _again: bool) -> RawAnswer {
        socket.recv_vec_once(buf)
    }

    fn read_vectored(socket: &Socket, bufs: &mut [IoSliceMut<'_>], _again: bool) -> RawAnswer {
        socket.recv_vectored_once(bufs)
    }
}

impl sealed::Writes for Tcp {}

impl sealed::Sockets for Tcp {
    const LISTENER: &'static str = "TcpListener";

    type SocketAddr = SocketAddr;

    fn watch() -> Watch {
        Watch::Accepted
    }

    fn accept(socket: &Socket) -> io::Result<(Socket, SocketAddr)> {
        socket.accept()
    }

    fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
        socket.local_addr()
    }

    fn peer_addr(socket: &Socket) -> io::Result<SocketAddr> {
        socket.peer_addr()
    }
}
