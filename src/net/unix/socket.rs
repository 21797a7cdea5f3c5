//! [`UnixSocket`]: a Unix socket that is not connected and does not listen yet.

use super::stream::connect;
use super::{UnixDatagram, UnixListener, UnixStream};
use crate::net::Listener;
use crate::net::new_socket::NewSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::socket::Socket;
use crate::sys::syscall::failure;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;

/// A Unix socket before it connects or listens, for what must be set before: the address that a
/// client connects from, the length of a listener's queue, the sizes of the buffers.
///
/// [`UnixStream::connect`], [`UnixListener::bind`] and [`UnixDatagram::bind`] are enough for most
/// programs. Making a socket needs no runtime; using it up does.
///
/// # Examples
///
/// ```
/// use reveille::net::UnixSocket;
///
/// # fn main() -> std::io::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("unix_socket.{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("server");
/// reveille::block_on(async {
///     let socket = UnixSocket::new_stream()?;
///     socket.bind(&path)?;
///     let listener = socket.listen(16)?;
///
///     let socket = UnixSocket::new_stream()?;
///     socket.bind(folder.join("client"))?;
///     let _client = socket.connect(&path).await?;
///     let (_server, addr) = listener.accept().await?;
///     assert_eq!(addr.as_pathname(), Some(folder.join("client").as_path()));
///     std::io::Result::Ok(())
/// })?;
/// # std::fs::remove_dir_all(&folder)
/// # }
/// ```
pub struct UnixSocket {
    socket: NewSocket,
    is_datagram: bool,
}

impl UnixSocket {
    /// Makes a socket for streams.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn new_stream() -> io::Result<UnixSocket> {
        Ok(UnixSocket {
            socket: NewSocket::new(Socket::unix()?, true),
            is_datagram: false,
        })
    }

    /// Makes a socket for datagrams.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn new_datagram() -> io::Result<UnixSocket> {
        Ok(UnixSocket {
            socket: NewSocket::new(Socket::unix_datagram()?, true),
            is_datagram: true,
        })
    }

    /// Gives the socket a path, which makes a file. Nothing removes the file.
    ///
    /// # Errors
    ///
    /// Same as [`UnixListener::bind`], except that no runtime is needed.
    pub fn bind(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Gives the socket an address: a path, or, on Linux and Android, an abstract name.
    ///
    /// # Errors
    ///
    /// Same as [`bind`](UnixSocket::bind).
    pub fn bind_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        self.socket.get().bind_unix(addr)
    }

    /// Connects a stream to a path.
    ///
    /// # Errors
    ///
    /// Same as [`UnixStream::connect`]. Returns `InvalidInput` if the socket is for datagrams. The
    /// socket is closed on every error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future closes the socket.
    #[track_caller]
    pub fn connect(self, path: impl AsRef<Path>) -> impl Future<Output = io::Result<UnixStream>> {
        let place = Place::here();
        async move {
            let addr = SocketAddr::from_pathname(path)?;
            self.connect_at(&addr, place).await
        }
    }

    /// Connects a stream to an address: a path, or, on Linux and Android, an abstract name.
    ///
    /// # Errors
    ///
    /// Same as [`connect`](UnixSocket::connect).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future closes the socket.
    #[track_caller]
    pub fn connect_addr(self, addr: &SocketAddr) -> impl Future<Output = io::Result<UnixStream>> {
        self.connect_at(addr, Place::here())
    }

    async fn connect_at(self, addr: &SocketAddr, place: Place) -> io::Result<UnixStream> {
        self.check_stream()?;
        check_runtime()?;
        let (socket, owned) = self.socket.into_parts();
        connect(socket, addr, owned, place).await
    }

    /// Listens for connections. At most `backlog` of them wait to be accepted, and not more than
    /// the kernel's own limit.
    ///
    /// # Errors
    ///
    /// Returns the errors of `listen(2)`. Returns an error if no runtime runs on this thread, and
    /// `InvalidInput` if the socket is for datagrams. The socket is closed on every error.
    #[track_caller]
    pub fn listen(self, backlog: u32) -> io::Result<UnixListener> {
        self.check_stream()?;
        check_runtime()?;
        let (socket, owned) = self.socket.into_parts();
        socket.listen(backlog)?;
        Listener::register(socket, Watch::Listener { owned }, Place::here())
    }

    /// Uses the socket for datagrams.
    ///
    /// # Errors
    ///
    /// Returns an error if no runtime runs on this thread, and `InvalidInput` if the socket is for
    /// streams. The socket is closed on every error.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::{UnixDatagram, UnixSocket};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let socket = UnixSocket::new_datagram()?;
    ///     socket.set_send_buffer_size(64 * 1024)?;
    ///     let _datagrams: UnixDatagram = socket.datagram()?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn datagram(self) -> io::Result<UnixDatagram> {
        if !self.is_datagram {
            return Err(failure(
                io::ErrorKind::InvalidInput,
                "this socket is for streams: make it with `UnixSocket::new_datagram`",
            ));
        }
        let (socket, owned) = self.socket.into_parts();
        UnixDatagram::register(socket, owned, Place::here())
    }

    fn check_stream(&self) -> io::Result<()> {
        if self.is_datagram {
            return Err(failure(
                io::ErrorKind::InvalidInput,
                "this socket is for datagrams: make it with `UnixSocket::new_stream`",
            ));
        }
        Ok(())
    }

    /// Returns the address of the socket: unnamed before it is bound.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_unix_addr()
    }

    /// Returns and clears the pending error of the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.get().take_error()
    }

    /// Returns the size of the kernel's receive buffer in bytes (`SO_RCVBUF`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.socket.get().recv_buffer_size()
    }

    /// Sets the size of the kernel's receive buffer in bytes (`SO_RCVBUF`). On Linux it has no
    /// effect on Unix sockets, where the sender's buffer holds the bytes (unix(7)).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.socket.get().set_recv_buffer_size(bytes)
    }

    /// Returns the size of the kernel's send buffer in bytes (`SO_SNDBUF`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.socket.get().send_buffer_size()
    }

    /// Sets the size of the kernel's send buffer in bytes (`SO_SNDBUF`). Linux doubles it.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.socket.get().set_send_buffer_size(bytes)
    }
}

impl AsFd for UnixSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.lend()
    }
}

impl AsRawFd for UnixSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UnixSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixSocket")
            .field("addr", &self.local_addr().ok())
            .field("fd", &self.socket.get().raw())
            .finish()
    }
}
