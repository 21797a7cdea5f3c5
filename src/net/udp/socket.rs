//! [`UdpSocket`]: binding, connecting, conversions.

use crate::net::check_nonblocking;
use crate::net::lookup::{ToSocketAddrs, no_address, resolve};
use crate::net::registered_socket::RegisteredSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::socket::Socket;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// A UDP socket.
///
/// All methods take `&self`, so any number of tasks may send and receive on one socket at the same
/// time. Each datagram goes to one of the tasks that receive. The `poll_` methods keep the wakers
/// of all tasks, not only that of the last one.
///
/// | to | waits | returns at once |
/// |---|---|---|
/// | receive from any peer | [`recv_from`](UdpSocket::recv_from), [`recv_buf_from`](UdpSocket::recv_buf_from), [`peek_from`](UdpSocket::peek_from), [`peek_sender`](UdpSocket::peek_sender) | [`try_recv_from`](UdpSocket::try_recv_from), [`try_recv_buf_from`](UdpSocket::try_recv_buf_from), [`try_peek_from`](UdpSocket::try_peek_from) |
/// | send to any peer | [`send_to`](UdpSocket::send_to) | [`try_send_to`](UdpSocket::try_send_to) |
/// | receive from the peer of [`connect`](UdpSocket::connect) | [`recv`](UdpSocket::recv), [`recv_buf`](UdpSocket::recv_buf), [`peek`](UdpSocket::peek) | [`try_recv`](UdpSocket::try_recv), [`try_recv_buf`](UdpSocket::try_recv_buf), [`try_peek`](UdpSocket::try_peek) |
/// | send to that peer | [`send`](UdpSocket::send) | [`try_send`](UdpSocket::try_send) |
/// | wait for readiness | [`readable`](UdpSocket::readable), [`writable`](UdpSocket::writable), [`ready`](UdpSocket::ready) | |
/// | make another system call | [`async_io`](UdpSocket::async_io) | [`try_io`](UdpSocket::try_io) |
///
/// # Datagrams
///
/// - A call receives one whole datagram. What does not fit into the buffer is lost, without an
///   error.
/// - A datagram may be empty. `Ok(0)` means an empty datagram, not an end: there is none. A buffer
///   of length 0 takes a datagram, too, and loses all of it.
/// - A call sends a whole datagram or fails. One that is too long for the network is an error
///   (`EMSGSIZE`).
///
/// # Errors of the network
///
/// If the peer of a connected socket refuses a datagram (an ICMP message "port unreachable" comes
/// back), one later call on the socket returns `ConnectionRefused`: a receive, a send, or
/// [`take_error`](UdpSocket::take_error), whichever comes first. Then the socket works as before. A
/// socket that is not connected reports no such errors.
///
/// # A full send buffer
///
/// A send waits while the socket's send buffer is full. If the queue of the network interface is
/// full, Linux drops the datagram and reports success, and macOS and the BSDs return `ENOBUFS`.
/// This error is returned, because nothing reports when the queue has room again: pause and send
/// again.
///
/// # Examples
///
/// ```
/// use reveille::net::UdpSocket;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let server = UdpSocket::bind("127.0.0.1:0").await?;
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.connect(server.local_addr()?).await?;
///
///     client.send(b"ping").await?;
///     let mut buf = [0; 1500];
///     let (n, peer) = server.recv_from(&mut buf).await?;
///     server.send_to(&buf[..n], peer).await?;
///     let n = client.recv(&mut buf).await?;
///     assert_eq!(&buf[..n], b"ping");
///     Ok(())
/// })
/// # }
/// ```
pub struct UdpSocket {
    pub(super) io: RegisteredSocket,
    /// The code of an error that came behind the datagrams of a batch, or 0. Only where a batch is
    /// received by several calls: see `Slots::take_error`.
    pub(super) kept_error: AtomicI32,
}

impl UdpSocket {
    /// Binds a socket to an address. If there are several, they are tried in order until one can be
    /// bound.
    ///
    /// With port 0 the kernel chooses a port, which [`local_addr`](UdpSocket::local_addr) returns.
    /// A host name is looked up on another thread; see [`ToSocketAddrs`]. To set options before the
    /// socket is bound, such as `SO_REUSEPORT`, make the socket with a crate such as `socket2` and
    /// convert it by [`from_std`](UdpSocket::from_std).
    ///
    /// # Errors
    ///
    /// Returns the error of the last address that was tried. Returns an error if there is no
    /// address, or if no runtime runs on this thread.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Unless a host name is looked up, the first poll is ready.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    #[track_caller]
    pub fn bind(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<UdpSocket>> {
        let place = Place::here();
        async move {
            check_runtime()?;
            let mut last = None;
            for addr in resolve(&addr).await? {
                match UdpSocket::bind_one(addr, place) {
                    Ok(socket) => return Ok(socket),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(no_address))
        }
    }

    fn bind_one(addr: SocketAddr, place: Place) -> io::Result<UdpSocket> {
        let socket = Socket::udp(addr)?;
        socket.bind(addr)?;
        UdpSocket::register(socket, true, place)
    }

    fn register(socket: Socket, owned: bool, place: Place) -> io::Result<UdpSocket> {
        Ok(UdpSocket {
            io: RegisteredSocket::new(socket, Watch::Datagram { owned }, place)?,
            kept_error: AtomicI32::new(0),
        })
    }

    /// Sets the peer: [`send`](UdpSocket::send) sends to it, and only its datagrams are received.
    /// If there are several addresses, they are tried in order until one can be set.
    ///
    /// Nothing is sent, so a peer that does not exist is no error here. Datagrams of other peers
    /// that have arrived before are still received. A second call replaces the peer.
    ///
    /// # Errors
    ///
    /// Returns the error of the last address that was tried, such as an address of another family
    /// than the socket's. Returns an error if there is no address.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Unless a host name is looked up, the first poll is ready.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        let mut last = None;
        for addr in resolve(&addr).await? {
            match self.io.socket().connect(addr) {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    /// Returns the address of this socket.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().local_addr()
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// Returns `NotConnected` if [`connect`](UdpSocket::connect) has set none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().peer_addr()
    }

    /// Returns and clears the pending error of the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self.take_kept_error() {
            None => self.io.socket().take_error(),
            kept => Ok(kept),
        }
    }

    /// Takes the error that came behind the datagrams of the last batch.
    pub(super) fn take_kept_error(&self) -> Option<io::Error> {
        // Relaxed is enough: the number is all there is. Most calls only read it.
        let code = match self.kept_error.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.kept_error.swap(0, Ordering::Relaxed),
        };
        (code != 0).then(|| io::Error::from_raw_os_error(code))
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
    /// use reveille::net::UdpSocket;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_nonblocking(true)?;
    /// reveille::block_on(async {
    ///     let socket = UdpSocket::from_std(socket)?;
    ///     socket.send_to(b"to myself", socket.local_addr()?).await?;
    ///     assert_eq!(socket.recv(&mut [0; 16]).await?, 9);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        check_nonblocking(socket.as_fd())?;
        UdpSocket::register(Socket::adopt(socket.into())?, false, Place::here())
    }

    /// Converts into a socket of the standard library. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// It cannot fail in this version.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UdpSocket;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let socket: std::net::UdpSocket = socket.into_std()?;
    /// socket.set_nonblocking(false)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        Ok(self.io.into_fd().into())
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.lend()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("UdpSocket");
        f.field("addr", &self.local_addr().ok());
        if let Ok(peer) = self.peer_addr() {
            f.field("peer", &peer);
        }
        f.field("fd", &self.io.socket().raw()).finish()
    }
}
