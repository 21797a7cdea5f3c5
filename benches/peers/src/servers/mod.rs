//! The servers beside the echo over TCP, one file per contestant.
//!
//! | kind | what it does |
//! |---|---|
//! | `unix` | the echo over a Unix stream socket |
//! | `once` | accepts, reads one request, writes it back, closes |
//! | `udp` | sends each datagram back |
//! | `http` | HTTP/1.1: `GET /hello`, `GET /big` (1 MiB), `POST /` (counts the body) |
//! | `http2` | the same over HTTP/2 |
//! | `tls` | HTTP/1.1 below TLS |
//! | `quic`, `quic-bulk` | sends back what each stream brings |
//! | `proxy` | copies both ways between a connection and one that it makes to the backend |

#[cfg(feature = "compio")]
pub mod compio;
#[cfg(feature = "hyper")]
pub mod http;
#[cfg(feature = "monoio")]
pub mod monoio;
#[cfg(feature = "quic")]
pub mod quic;
pub mod raw;
pub mod raw_http;
pub mod raw_proxy;
#[cfg(feature = "reveille")]
pub mod reveille;
#[cfg(feature = "smol")]
pub mod smol;
#[cfg(feature = "tokio")]
pub mod tokio;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;

use crate::sys;

/// A kind of server and the function that serves it, which does not return.
pub type Server = (&'static str, fn(Site));

/// What a server gets: a socket that is bound, and its settings.
pub struct Site {
    socket: OwnedFd,
    /// Bytes of a connection's buffer.
    pub buffer: usize,
    /// Where a proxy connects to.
    pub backend: SocketAddr,
}

impl Site {
    /// Binds the socket of a server of this kind and returns its address as well.
    pub fn bind(kind: &str, buffer: usize, backend: SocketAddr) -> io::Result<(Site, String)> {
        let (socket, addr) = match kind {
            "unix" => {
                let name = format!("peers-{}", std::process::id());
                let addr = std::os::unix::net::SocketAddr::from_abstract_name(&name)?;
                let listener = UnixListener::bind_addr(&addr)?;
                (listener.into(), format!("@{name}"))
            }
            "udp" | "quic" | "quic-bulk" => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                let addr = socket.local_addr()?.to_string();
                (socket.into(), addr)
            }
            _ => {
                let listener = sys::listen()?;
                let addr = listener.local_addr()?.to_string();
                (listener.into(), addr)
            }
        };
        let site = Site {
            socket,
            buffer,
            backend,
        };
        Ok((site, addr))
    }

    /// The socket in non-blocking mode. (io_uring must be able to block on it: such servers take
    /// it as it is.)
    pub fn nonblocking(&mut self) -> &mut Site {
        sys::set_nonblocking(self.socket.as_fd()).expect("a socket");
        self
    }

    pub fn tcp(&self) -> TcpListener {
        self.socket.try_clone().expect("a descriptor").into()
    }

    pub fn unix(&self) -> UnixListener {
        self.socket.try_clone().expect("a descriptor").into()
    }

    pub fn udp(&self) -> UdpSocket {
        self.socket.try_clone().expect("a descriptor").into()
    }
}
