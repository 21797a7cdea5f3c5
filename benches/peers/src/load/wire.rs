//! A connection of the load: plain TCP or a Unix stream, or TLS over TCP.

use std::io;
use std::os::fd::RawFd;

use crate::sys;

pub enum Wire {
    Plain(RawFd),
    #[cfg(feature = "tls")]
    Tls(Box<tls::Session>),
}

impl Wire {
    /// Makes a wire of a connected socket that does not block. Owns the socket.
    pub fn new(fd: RawFd, tls: bool) -> io::Result<Wire> {
        match tls {
            false => Ok(Wire::Plain(fd)),
            #[cfg(feature = "tls")]
            true => Ok(Wire::Tls(Box::new(tls::Session::new(fd)?))),
            #[cfg(not(feature = "tls"))]
            true => Err(super::failed("built without TLS")),
        }
    }

    pub fn fd(&self) -> RawFd {
        match self {
            Wire::Plain(fd) => *fd,
            #[cfg(feature = "tls")]
            Wire::Tls(session) => session.fd(),
        }
    }

    /// Sends a first part of `buf`. Over TLS the rest must fit into the socket.
    pub fn send(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(fd) => sys::send(*fd, buf),
            #[cfg(feature = "tls")]
            Wire::Tls(session) => session.send(buf),
        }
    }

    pub fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(fd) => sys::recv(*fd, buf),
            #[cfg(feature = "tls")]
            Wire::Tls(session) => session.recv(buf),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        match self {
            Wire::Plain(fd) => sys::close(*fd),
            #[cfg(feature = "tls")]
            Wire::Tls(_) => {}
        }
    }
}

#[cfg(feature = "tls")]
pub mod tls {
    use std::io::{self, Read, Write};
    use std::net::TcpStream;
    use std::os::fd::{AsRawFd, FromRawFd, RawFd};

    use rustls::ClientConnection;

    pub struct Session {
        socket: TcpStream,
        tls: ClientConnection,
    }

    impl Session {
        /// Makes the handshake.
        pub fn new(fd: RawFd) -> io::Result<Session> {
            // SAFETY: the caller owns `fd` and gives it away.
            let mut socket = unsafe { TcpStream::from_raw_fd(fd) };
            let name = "localhost".try_into().expect("a name");
            let made = ClientConnection::new(crate::tls::client(false), name);
            let mut tls = made.map_err(io::Error::other)?;
            socket.set_nonblocking(false)?;
            while tls.is_handshaking() {
                tls.complete_io(&mut socket)?;
            }
            socket.set_nonblocking(true)?;
            Ok(Session { socket, tls })
        }

        pub fn fd(&self) -> RawFd {
            self.socket.as_raw_fd()
        }

        pub fn send(&mut self, buf: &[u8]) -> io::Result<usize> {
            let n = self.tls.writer().write(buf)?;
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.socket)?;
            }
            Ok(n)
        }

        /// The plain bytes of one read from the socket, all of them if `buf` has room.
        pub fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            self.tls.reader().read(buf)
        }
    }
}
