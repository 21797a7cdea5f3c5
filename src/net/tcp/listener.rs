//! [`TcpListener`]: binding, options, conversions.

use super::Tcp;
use crate::net::check_nonblocking;
use crate::net::listener::{BACKLOG, Listener};
use crate::net::lookup::{ToSocketAddrs, no_address, resolve};
use crate::place::Place;
use crate::reactor::Watch;
use crate::sys::socket::Socket;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// A TCP socket that listens for connections. [`Listener`] has the methods that all listeners have.
///
/// # Examples
///
/// ```
/// use reveille::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, addr) = listener.accept().await?;
///     assert_eq!(addr, client.local_addr()?);
///     server.write_all(b"hello").await?;
///     let mut buf = [0; 5];
///     client.read_exact(&mut buf).await?;
///     assert_eq!(&buf, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub type TcpListener = Listener<Tcp>;

impl TcpListener {
    /// Listens on an address. If there are several, they are tried in order until one can be bound.
    ///
    /// `SO_REUSEADDR` is set, so that a server can be restarted while old connections are in
    /// TIME-WAIT. With port 0 the kernel chooses a port, which
    /// [`local_addr`](TcpListener::local_addr) returns. A host name is looked up on another thread;
    /// see [`ToSocketAddrs`].
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
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let listener = reveille::net::TcpListener::bind("127.0.0.1:0").await?;
    ///     assert_ne!(listener.local_addr()?.port(), 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn bind(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<TcpListener>> {
        let place = Place::here();
        async move {
            let mut last = None;
            for addr in resolve(&addr).await? {
                match TcpListener::bind_one(addr, place) {
                    Ok(listener) => return Ok(listener),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(no_address))
        }
    }

    fn bind_one(addr: SocketAddr, place: Place) -> io::Result<TcpListener> {
        let socket = Socket::tcp(addr)?;
        socket.set_reuse_addr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)?;
        TcpListener::register(socket, Watch::Listener { owned: true }, place)
    }

    /// Returns the number of routers that a packet of an accepted connection may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket().ttl()
    }

    /// Sets the number of routers that a packet of an accepted connection may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::TcpListener;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// listener.set_ttl(5)?;
    /// assert_eq!(listener.ttl()?, 5);
    /// let listener: std::net::TcpListener = listener.into_std()?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket().set_ttl(ttl)
    }

    /// Converts a listener of the standard library, which must be in non-blocking mode.
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
    /// use reveille::net::TcpListener;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_nonblocking(true)?;
    /// reveille::block_on(async {
    ///     let listener = TcpListener::from_std(listener)?;
    ///     assert!(listener.try_accept().is_err());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        check_nonblocking(listener.as_fd())?;
        let socket = Socket::adopt(listener.into())?;
        TcpListener::register(socket, Watch::Listener { owned: false }, Place::here())
    }

    /// Converts one of several clones of a listener, so that a connection does not wake all of
    /// their runtimes.
    ///
    /// Give each runtime a [`try_clone`](std::net::TcpListener::try_clone) of the same socket. With
    /// [`from_std`](TcpListener::from_std) a connection would wake all waiting runtimes, and all
    /// but one would find nothing. Here it wakes one of them, and sometimes a few.
    ///
    /// The kernel chooses the runtime. It passes over busy ones and does not promise equal shares.
    /// Every runtime must keep calling [`accept`](TcpListener::accept): if the chosen runtime does
    /// not, or has ended meanwhile, the connection waits until the next one arrives. The
    /// alternative is a listener for each runtime with `SO_REUSEPORT`, which chooses by the address
    /// of the peer.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` if the runtime's backend cannot do this. Only epoll can
    /// (`EPOLLEXCLUSIVE`). Otherwise the same as [`from_std`](TcpListener::from_std). The clone is
    /// closed on every error; the other clones are not affected.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use reveille::net::TcpListener;
    /// use std::thread;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let shared = std::net::TcpListener::bind("127.0.0.1:8080")?;
    /// shared.set_nonblocking(true)?;
    /// for _ in 0..4 {
    ///     let clone = shared.try_clone()?;
    ///     thread::spawn(move || {
    ///         reveille::block_on(async {
    ///             let listener = TcpListener::from_std_exclusive(clone)?;
    ///             loop {
    ///                 let (stream, _addr) = listener.accept().await?;
    ///                 reveille::spawn(async move { stream.write_all(b"hello\n").await });
    ///             }
    ///             # #[allow(unreachable_code)]
    ///             # std::io::Result::Ok(())
    ///         })
    ///     });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std_exclusive(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        check_nonblocking(listener.as_fd())?;
        let socket = Socket::adopt(listener.into())?;
        TcpListener::register(socket, Watch::ExclusiveListener, Place::here())
    }

    /// Converts into a listener of the standard library. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// It cannot fail in this version.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        Ok(self.into_io().into_fd().into())
    }
}
