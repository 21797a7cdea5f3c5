//! [`TcpSocket`]: a socket that is not connected and does not listen yet.

use super::{TcpListener, TcpStream, connect};
use crate::net::Listener;
use crate::net::check_nonblocking;
use crate::net::new_socket::NewSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::socket::Socket;
use crate::sys::socket_options::Keepalive;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// A TCP socket before it connects or listens, for options that must be set before.
///
/// [`TcpStream::connect`] and [`TcpListener::bind`] are enough for most programs. Making a socket
/// needs no runtime; [`connect`](TcpSocket::connect) and [`listen`](TcpSocket::listen) do.
///
/// # Examples
///
/// A listener with its own options, and a client that chooses the address it connects from:
///
/// ```
/// use reveille::net::TcpSocket;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_reuse_addr(true)?;
///     socket.set_recv_buffer_size(256 * 1024)?; // accepted connections inherit it
///     socket.bind("127.0.0.1:0".parse().unwrap())?;
///     let listener = socket.listen(128)?;
///
///     let socket = TcpSocket::new_v4()?;
///     socket.bind("127.0.0.2:0".parse().unwrap())?;
///     let client = socket.connect(listener.local_addr()?).await?;
///     let (_server, addr) = listener.accept().await?;
///     assert_eq!(addr, client.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
///
/// A socket that takes IPv6 connections only, from one network interface. Its connections get their
/// own routes, and end if the peer is silent for 20 seconds:
///
/// ```no_run
/// use reveille::net::TcpSocket;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let socket = TcpSocket::new_v6()?;
/// socket.set_only_v6(true)?;
/// socket.set_tclass_v6(0x10)?;
/// # #[cfg(target_os = "linux")]
/// socket.bind_device(Some(b"eth0"))?;
/// # #[cfg(target_os = "linux")]
/// socket.set_mark(7)?; // needs CAP_NET_ADMIN
/// # #[cfg(target_os = "linux")]
/// socket.set_user_timeout(Some(Duration::from_secs(20)))?;
/// socket.bind("[::]:4000".parse().unwrap())?;
/// # Ok(())
/// # }
/// ```
pub struct TcpSocket {
    socket: NewSocket,
}

impl TcpSocket {
    fn new(any: SocketAddr) -> io::Result<TcpSocket> {
        Ok(TcpSocket {
            socket: NewSocket::new(Socket::tcp(any)?, true),
        })
    }

    /// Makes a socket for IPv4.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn new_v4() -> io::Result<TcpSocket> {
        TcpSocket::new((Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// Makes a socket for IPv6. Whether it also takes IPv4 connections is the system's choice,
    /// until [`set_only_v6`](TcpSocket::set_only_v6) decides.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn new_v6() -> io::Result<TcpSocket> {
        TcpSocket::new((Ipv6Addr::UNSPECIFIED, 0).into())
    }

    /// Converts a stream of the standard library that need not be connected, such as one that
    /// another crate has set up. It must be in non-blocking mode.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the socket is in blocking mode. The socket is closed on every
    /// error.
    pub fn from_std_stream(stream: std::net::TcpStream) -> io::Result<TcpSocket> {
        check_nonblocking(stream.as_fd())?;
        Ok(TcpSocket {
            socket: NewSocket::new(Socket::adopt(stream.into())?, false),
        })
    }

    /// Gives the socket an address. Port 0 lets the kernel choose a port.
    ///
    /// # Errors
    ///
    /// Returns the errors of `bind(2)`, such as `AddrInUse` or `AddrNotAvailable`.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.socket.get().bind(addr)
    }

    /// Connects to an address.
    ///
    /// # Errors
    ///
    /// Returns the error of the connection, such as `ConnectionRefused` or `TimedOut`. Returns an
    /// error if no runtime runs on this thread. The socket is closed on every error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future closes the socket.
    #[track_caller]
    pub fn connect(self, addr: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> {
        let place = Place::here();
        async move {
            check_runtime()?;
            let (socket, owned) = self.socket.into_parts();
            connect::connect(socket, addr, owned, place).await
        }
    }

    /// Listens for connections. At most `backlog` of them wait to be accepted, and not more than
    /// the kernel's own limit (`somaxconn`). [`TcpListener::bind`] uses 1024.
    ///
    /// # Errors
    ///
    /// Returns the errors of `listen(2)`. Returns an error if no runtime runs on this thread. The
    /// socket is closed on every error.
    #[track_caller]
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        check_runtime()?;
        let (socket, owned) = self.socket.into_parts();
        socket.listen(backlog)?;
        Listener::register(socket, Watch::Listener { owned }, Place::here())
    }

    /// Returns the address of the socket: unspecified before it is bound.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// Returns and clears the pending error of the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.get().take_error()
    }

    // ---- options for which it must not be connected yet ----

    /// Returns true if an address in TIME-WAIT can be bound (`SO_REUSEADDR`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn reuse_addr(&self) -> io::Result<bool> {
        self.socket.get().reuse_addr()
    }

    /// Sets whether an address in TIME-WAIT can be bound (`SO_REUSEADDR`), so that a server can be
    /// restarted. [`TcpListener::bind`] sets it.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_reuse_addr(&self, on: bool) -> io::Result<()> {
        self.socket.get().set_reuse_addr(on)
    }

    /// Returns true if several sockets may be bound to the same address (`SO_REUSEPORT`). Not on
    /// Solaris and illumos.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    pub fn reuse_port(&self) -> io::Result<bool> {
        self.socket.get().reuse_port()
    }

    /// Sets whether several sockets may be bound to the same address (`SO_REUSEPORT`), if all of
    /// them set it: one listener for each runtime, for example. On Linux the kernel distributes
    /// connections among them by the peer's address; elsewhere perhaps only the last one gets them.
    /// Not on Solaris and illumos.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::{TcpListener, TcpSocket};
    /// use std::net::SocketAddr;
    ///
    /// /// Listens on an address that the listeners of other threads may have as well.
    /// fn shared(addr: SocketAddr) -> std::io::Result<TcpListener> {
    ///     let socket = TcpSocket::new_v4()?;
    ///     socket.set_reuse_port(true)?;
    ///     socket.bind(addr)?;
    ///     socket.listen(1024)
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let first = shared("127.0.0.1:0".parse().unwrap())?;
    /// let second = shared(first.local_addr()?)?;
    /// # drop((first, second));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    pub fn set_reuse_port(&self, on: bool) -> io::Result<()> {
        self.socket.get().set_reuse_port(on)
    }

    /// Returns true if an IPv6 socket takes no IPv4 connections (`IPV6_V6ONLY`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn only_v6(&self) -> io::Result<bool> {
        self.socket.get().only_v6()
    }

    /// Sets whether an IPv6 socket takes no IPv4 connections (`IPV6_V6ONLY`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_only_v6(&self, on: bool) -> io::Result<()> {
        self.socket.get().set_only_v6(on)
    }

    /// Returns the network interface to which the socket is bound (`SO_BINDTODEVICE`). Linux and
    /// Android only.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn device(&self) -> io::Result<Option<Vec<u8>>> {
        self.socket.get().device()
    }

    /// Binds the socket to a network interface, such as `eth0`, or to none (`SO_BINDTODEVICE`).
    /// Linux and Android only.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such interface, or if the process may not do this: to change
    /// a bound socket's interface takes `CAP_NET_RAW` (socket(7)).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn bind_device(&self, interface: Option<&[u8]>) -> io::Result<()> {
        self.socket.get().set_device(interface.unwrap_or_default())
    }

    /// Returns the mark of sent packets, for routing and filters (`SO_MARK`). Linux and Android
    /// only.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn mark(&self) -> io::Result<u32> {
        self.socket.get().mark()
    }

    /// Sets the mark of sent packets, for routing and filters (`SO_MARK`). It needs `CAP_NET_ADMIN`
    /// (socket(7)). Linux and Android only.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.socket.get().set_mark(mark)
    }

    // ---- options of streams too ----

    /// See [`TcpStream::nodelay`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.get().nodelay()
    }

    /// See [`TcpStream::set_nodelay`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.socket.get().set_nodelay(on)
    }

    /// See [`TcpStream::ttl`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.get().ttl()
    }

    /// See [`TcpStream::set_ttl`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.get().set_ttl(ttl)
    }

    /// See [`TcpStream::tos_v4`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.socket.get().tos_v4()
    }

    /// See [`TcpStream::set_tos_v4`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.socket.get().set_tos_v4(tos)
    }

    /// See [`TcpStream::tclass_v6`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.socket.get().tclass_v6()
    }

    /// See [`TcpStream::set_tclass_v6`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_tclass_v6(&self, class: u32) -> io::Result<()> {
        self.socket.get().set_tclass_v6(class)
    }

    /// See [`TcpStream::recv_buffer_size`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.socket.get().recv_buffer_size()
    }

    /// See [`TcpStream::set_recv_buffer_size`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.socket.get().set_recv_buffer_size(bytes)
    }

    /// See [`TcpStream::send_buffer_size`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.socket.get().send_buffer_size()
    }

    /// See [`TcpStream::set_send_buffer_size`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.socket.get().set_send_buffer_size(bytes)
    }

    /// See [`TcpStream::linger`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket.get().linger()
    }

    /// See [`TcpStream::set_linger`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.get().set_linger(linger)
    }

    /// See [`TcpStream::keepalive`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn keepalive(&self) -> io::Result<Option<Keepalive>> {
        self.socket.get().keepalive()
    }

    /// See [`TcpStream::set_keepalive`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        self.socket.get().set_keepalive(keepalive)
    }

    /// See [`TcpStream::user_timeout`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        self.socket.get().user_timeout()
    }

    /// See [`TcpStream::set_user_timeout`].
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.get().set_user_timeout(timeout)
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.lend()
    }
}

impl AsRawFd for TcpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl From<TcpSocket> for OwnedFd {
    fn from(socket: TcpSocket) -> OwnedFd {
        let (mut socket, _) = socket.socket.into_parts();
        socket.take().expect("only this takes it")
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket")
            .field("addr", &self.local_addr().ok())
            .field("fd", &self.socket.get().raw())
            .finish()
    }
}
