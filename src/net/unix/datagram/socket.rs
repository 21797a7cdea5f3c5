//! [`UnixDatagram`]: binding, connecting, conversions.

use super::full_peer::FullPeer;
use crate::net::check_nonblocking;
use crate::net::registered_socket::RegisteredSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::addr::RawAddr;
use crate::sys::socket::Socket;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::SocketAddr;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A Unix datagram socket: datagrams between processes of one machine.
///
/// Unlike those of UDP, the datagrams arrive in order and none is lost. All methods take `&self`,
/// so any number of tasks may send and receive on one socket at the same time. The `poll_` methods
/// keep the wakers of all tasks.
///
/// | to | waits | returns at once |
/// |---|---|---|
/// | receive | [`recv`](UnixDatagram::recv), [`recv_from`](UnixDatagram::recv_from), [`recv_buf`](UnixDatagram::recv_buf), [`recv_buf_from`](UnixDatagram::recv_buf_from) | [`try_recv`](UnixDatagram::try_recv), [`try_recv_from`](UnixDatagram::try_recv_from), [`try_recv_buf`](UnixDatagram::try_recv_buf), [`try_recv_buf_from`](UnixDatagram::try_recv_buf_from) |
/// | send to the peer of [`pair`](UnixDatagram::pair) or [`connect`](UnixDatagram::connect) | [`send`](UnixDatagram::send) | [`try_send`](UnixDatagram::try_send) |
/// | send to any path or address | [`send_to`](UnixDatagram::send_to), [`send_to_addr`](UnixDatagram::send_to_addr) | [`try_send_to`](UnixDatagram::try_send_to), [`try_send_to_addr`](UnixDatagram::try_send_to_addr) |
/// | wait for readiness | [`readable`](UnixDatagram::readable), [`writable`](UnixDatagram::writable), [`ready`](UnixDatagram::ready) | |
/// | make another system call | [`async_io`](UnixDatagram::async_io) | [`try_io`](UnixDatagram::try_io) |
///
/// Addresses are those of the standard library, which on Linux and Android can be names that are
/// not in the file system (`from_abstract_name` of `std`).
///
/// # Datagrams
///
/// A call moves one whole datagram. `Ok(0)` means an empty datagram, not an end: nothing reports
/// that a peer has closed its socket. What does not fit into the buffer of a receive is lost.
///
/// # A full peer
///
/// Few datagrams may wait at one socket (on Linux `net.unix.max_dgram_qlen`, 10 by default). A send
/// to a full peer waits. If the socket is connected to that peer, an event ends the wait. Otherwise
/// the kernel reports nothing, and the send is tried again: after 1 ms, and then at growing
/// intervals of up to 32 ms. On macOS and the BSDs each wait is of this kind.
///
/// # Examples
///
/// ```
/// use reveille::net::UnixDatagram;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let (here, there) = UnixDatagram::pair()?;
///     here.send(b"hello").await?;
///     let mut buf = [0; 16];
///     let n = there.recv(&mut buf).await?;
///     assert_eq!(&buf[..n], b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct UnixDatagram {
    pub(super) io: RegisteredSocket,
    pub(super) full_peer: FullPeer,
    /// Whether this handle has shut down the reading side. Linux then reports the socket as
    /// readable, but a receive returns `EAGAIN` and not 0 if nothing is left.
    pub(super) reads_ended: AtomicBool,
}

// No foreign code runs while the state of the full peer is locked.
impl UnwindSafe for UnixDatagram {}
impl RefUnwindSafe for UnixDatagram {}

impl UnixDatagram {
    /// Makes a socket and binds it to a path, where it makes a socket file.
    ///
    /// The file stays when the socket is closed; remove it before the path is bound again.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the path is too long (about 100 bytes), and the errors of
    /// `bind(2)`, such as `AddrInUse` if the file exists. Returns an error if no runtime runs on
    /// this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("reveille-bind-{}", std::process::id()));
    /// # reveille::block_on(async {
    /// let server = UnixDatagram::bind(&path)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.send_to(b"hello", &path).await?;
    /// let mut buf = [0; 16];
    /// let (n, from) = server.recv_from(&mut buf).await?;
    /// std::fs::remove_file(&path)?;
    /// assert_eq!(&buf[..n], b"hello");
    /// // The client has no name, so it cannot be answered.
    /// assert!(from.is_unnamed());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Makes a socket and binds it to an address, such as an abstract name of Linux.
    ///
    /// # Errors
    ///
    /// Same as [`bind`](UnixDatagram::bind).
    ///
    /// # Examples
    ///
    /// See [`connect_addr`](UnixDatagram::connect_addr).
    #[track_caller]
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixDatagram> {
        // Before the file is created.
        check_runtime()?;
        let socket = Socket::unix_datagram()?;
        socket.bind_unix(addr)?;
        UnixDatagram::register(socket, true, Place::here())
    }

    /// Makes a socket without a name. Its datagrams cannot be answered.
    ///
    /// # Errors
    ///
    /// Returns an error if a system call fails, or if no runtime runs on this thread.
    ///
    /// # Examples
    ///
    /// See [`bind`](UnixDatagram::bind).
    #[track_caller]
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::register(Socket::unix_datagram()?, true, Place::here())
    }

    /// Makes two sockets without names, each connected to the other one.
    ///
    /// # Errors
    ///
    /// Returns an error if a system call fails, or if no runtime runs on this thread.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram`].
    #[track_caller]
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let place = Place::here();
        let (one, two) = Socket::unix_datagram_pair()?;
        Ok((
            UnixDatagram::register(one, true, place)?,
            // Only the registration right after the call that made the sockets can tell whether
            // the process has forked since.
            UnixDatagram::register(two, false, place)?,
        ))
    }

    pub(in crate::net::unix) fn register(
        socket: Socket,
        owned: bool,
        place: Place,
    ) -> io::Result<UnixDatagram> {
        Ok(UnixDatagram {
            io: RegisteredSocket::new(socket, Watch::Datagram { owned }, place)?,
            full_peer: FullPeer::new(),
            reads_ended: AtomicBool::new(false),
        })
    }

    /// Sets the peer by its path: [`send`](UnixDatagram::send) sends to it. Only its datagrams are
    /// received from now on. A second call replaces the peer.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the path is too long, and the errors of `connect(2)`, such as
    /// `NotFound` if there is no such file, and `ConnectionRefused` if no socket has it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UnixDatagram;
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("reveille-connect-{}", std::process::id()));
    /// # reveille::block_on(async {
    /// let server = UnixDatagram::bind(&path)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.connect(&path)?;
    /// std::fs::remove_file(&path)?;
    /// client.send(b"hello").await?;
    /// assert_eq!(client.peer_addr()?.as_pathname(), Some(&*path));
    /// # assert_eq!(server.recv(&mut [0; 16]).await?, 5);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Same as [`connect`](UnixDatagram::connect), by an address.
    ///
    /// # Errors
    ///
    /// Same as [`connect`](UnixDatagram::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # fn main() -> std::io::Result<()> {
    /// use reveille::net::UnixDatagram;
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// let name = format!("reveille-{}", std::process::id());
    /// let addr = SocketAddr::from_abstract_name(name.as_bytes())?;
    /// reveille::block_on(async {
    ///     let server = UnixDatagram::bind_addr(&addr)?;
    ///     let client = UnixDatagram::unbound()?;
    ///     client.connect_addr(&addr)?;
    ///     client.send(b"hello").await?;
    ///     assert_eq!(server.recv(&mut [0; 16]).await?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// # #[cfg(not(target_os = "linux"))]
    /// # fn main() {}
    /// ```
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        self.io.socket().connect_datagram(&RawAddr::from(addr))
    }

    /// Returns the address of this socket.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().local_unix_addr()
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// Returns `NotConnected` if there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().peer_unix_addr()
    }

    /// Returns and clears the pending error of the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.socket().take_error()
    }

    /// Shuts down the receiving side, the sending side, or both.
    ///
    /// | after | what happens |
    /// |---|---|
    /// | [`Shutdown::Read`] | a receive takes what has arrived, and then returns `Ok(0)`; peers that send fail with `BrokenPipe` |
    /// | [`Shutdown::Write`] | a send fails with `BrokenPipe`; the peer is not notified |
    ///
    /// # Errors
    ///
    /// Returns the errors of `shutdown(2)`, such as `NotConnected` if the socket has no peer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UnixDatagram;
    /// use std::net::Shutdown;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let (here, there) = UnixDatagram::pair()?;
    /// here.send(b"last").await?;
    /// there.shutdown(Shutdown::Read)?;
    /// assert_eq!(there.recv(&mut [0; 16]).await?, 4);
    /// assert_eq!(there.recv(&mut [0; 16]).await?, 0);
    /// let error = here.send(b"more").await.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Write {
            // Before the call, whose event wakes receivers.
            self.reads_ended.store(true, Ordering::Relaxed);
        }
        self.io.shutdown(how)
    }

    /// Converts a socket of the standard library, which must be in non-blocking mode.
    ///
    /// The mode is not changed here, because it belongs to the socket, which other code may share.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the socket is in blocking mode. Returns an error if no runtime
    /// runs on this thread, or if the socket cannot be registered. The socket is closed on every
    /// error.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::UnixDatagram;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (here, there) = std::os::unix::net::UnixDatagram::pair()?;
    /// here.set_nonblocking(true)?;
    /// there.send(b"hello")?;
    /// reveille::block_on(async {
    ///     let here = UnixDatagram::from_std(here)?;
    ///     assert_eq!(here.recv(&mut [0; 16]).await?, 5);
    ///     let here: std::os::unix::net::UnixDatagram = here.into_std()?;
    /// #   drop(here);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(socket: std::os::unix::net::UnixDatagram) -> io::Result<UnixDatagram> {
        check_nonblocking(socket.as_fd())?;
        UnixDatagram::register(Socket::adopt(socket.into())?, false, Place::here())
    }

    /// Converts into a socket of the standard library. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// It cannot fail in this version.
    ///
    /// # Examples
    ///
    /// See [`from_std`](UnixDatagram::from_std).
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixDatagram> {
        Ok(self.io.into_fd().into())
    }

    /// Returns the size of the send buffer in bytes (`SO_SNDBUF`). On Linux it limits how much may
    /// wait at the peers of this socket.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.io.socket().send_buffer_size()
    }

    /// Sets the size of the send buffer in bytes (`SO_SNDBUF`). A longer datagram cannot be sent.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.io.socket().set_send_buffer_size(bytes)
    }

    /// Returns the size of the receive buffer in bytes (`SO_RCVBUF`), which Linux does not use for
    /// Unix sockets.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.io.socket().recv_buffer_size()
    }

    /// Sets the size of the receive buffer in bytes (`SO_RCVBUF`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.io.socket().set_recv_buffer_size(bytes)
    }
}

impl AsFd for UnixDatagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.lend()
    }
}

impl AsRawFd for UnixDatagram {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("UnixDatagram");
        f.field("addr", &self.local_addr().ok());
        if let Ok(peer) = self.peer_addr() {
            f.field("peer", &peer);
        }
        f.field("fd", &self.io.socket().raw()).finish()
    }
}
