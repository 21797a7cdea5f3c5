//! [`TcpListener`].

use super::TcpStream;
use super::backoff::Backoff;
use super::incoming::Incoming;
use crate::budget;
use crate::interest::Interest;
use crate::net::registered::Registered;
use crate::net::{ToSocketAddrs, check_nonblocking, no_address};
use crate::reactor::Watch;
use crate::reactor::io_state::Direction;
use crate::reactor::registration::check_runtime;
use crate::sync::Mutex;
use crate::sys::socket::{self, Socket};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll, ready};

/// How many connections may wait to be accepted; the kernel lowers it to its own limit (`somaxconn`).
const BACKLOG: u32 = 1024;

/// A TCP socket that listens for connections.
///
/// # Running out of descriptors
///
/// A server that cannot open another descriptor (`EMFILE`, `ENFILE`) or lacks memory for one cannot accept, and
/// the connection goes on waiting. [`accept`](TcpListener::accept) then pauses (1 ms at first, doubling up to a second) and tries again until it
/// succeeds: it neither spins nor loses the listener. Connections that ended before they were accepted, and errors that
/// `accept(2)` reports of one connection's network, are skipped.
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
pub struct TcpListener {
    io: Registered,
    /// The pause of `poll_accept`, which has no future to keep it in.
    backoff: Mutex<Backoff>,
}

impl TcpListener {
    /// Makes a listener on the first of the addresses that can be bound.
    ///
    /// `SO_REUSEADDR` is set, so that a server can be started again while connections of the last run linger. Port 0
    /// lets the kernel choose one, which [`local_addr`](TcpListener::local_addr) tells.
    ///
    /// # Errors
    ///
    /// The error of the last address that was tried; also when there is no address, or no runtime on this thread.
    /// A host name is looked up by the system's resolver, which blocks the thread.
    ///
    /// # Cancel safety
    ///
    /// Does not wait today, so there is nothing to cancel; dropped before the first poll, it has done nothing.
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
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut last = None;
        for addr in addr.to_socket_addrs()? {
            match TcpListener::bind_one(addr) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::tcp(addr)?;
        socket.set_reuse_addr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)?;
        TcpListener::register(socket, Watch::Listener { sole: true })
    }

    fn register(socket: Socket, watch: Watch) -> io::Result<TcpListener> {
        Ok(TcpListener {
            io: Registered::new(socket, watch)?,
            backoff: Mutex::new(Backoff::default()),
        })
    }

    /// Accepts a connection and says where it comes from.
    ///
    /// The stream belongs to the runtime of the thread that polls this.
    ///
    /// # Errors
    ///
    /// When the accepted connection cannot be registered with the runtime; it is closed then. When no runtime runs on
    /// this thread. Otherwise only what says that the listener itself is unusable: see [above](TcpListener#running-out-of-descriptors) for what
    /// is waited out.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection is taken off the queue only by the poll that returns it.
    ///
    /// # Examples
    ///
    /// A server that spawns a task for each connection:
    ///
    /// ```
    /// use reveille::net::TcpListener;
    ///
    /// async fn serve(listener: TcpListener) -> std::io::Result<()> {
    ///     loop {
    ///         let (stream, _addr) = listener.accept().await?;
    ///         reveille::spawn(async move { stream.write_all(b"hello\n").await });
    ///     }
    /// }
    /// ```
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut backoff = Backoff::default();
        poll_fn(|cx| self.poll_accept_with(&mut backoff, cx)).await
    }

    /// As [`accept`](TcpListener::accept), for a future of one's own. While descriptors are short, only the last waker is woken.
    ///
    /// # Errors
    ///
    /// As [`accept`](TcpListener::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        // Taken out, not held: polling may clone a waker, which is foreign code.
        let mut backoff = std::mem::take(&mut *self.backoff.lock());
        let polled = self.poll_accept_with(&mut backoff, cx);
        *self.backoff.lock() = backoff;
        polled
    }

    /// The connections as a [`Stream`](futures_core::Stream), for the combinators of `futures-util`.
    ///
    /// # Cancel safety
    ///
    /// As [`accept`](TcpListener::accept): a connection is taken only by the poll that returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::{TcpListener, TcpStream};
    /// use std::future::poll_fn;
    /// use std::pin::pin;
    /// use futures_core::Stream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let mut incoming = pin!(listener.incoming());
    ///     let stream = poll_fn(|cx| incoming.as_mut().poll_next(cx)).await.expect("never ends")?;
    ///     assert_eq!(stream.peer_addr()?, client.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    fn poll_accept_with(
        &self,
        backoff: &mut Backoff,
        cx: &Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        // Asked first: a connection that was accepted and cannot be registered is lost.
        check_runtime()?;
        loop {
            ready!(backoff.poll(cx));
            match ready!(self.io.poll_call(Direction::Read, cx, Socket::accept)) {
                Ok((socket, addr)) => {
                    backoff.reset();
                    let stream = TcpStream::register(socket, true);
                    return Poll::Ready(stream.map(|stream| (stream, addr)));
                }
                Err(error) if socket::is_exhausted(&error) => backoff.begin(),
                Err(error) if socket::is_of_one_connection(&error) => ready!(budget::charge(cx)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Accepts a connection that is already there.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none, and whatever else `accept(2)` reports: nothing is waited out or skipped here.
    /// Also as [`accept`](TcpListener::accept).
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        check_runtime()?;
        let (socket, addr) = self
            .io
            .try_io(Interest::READABLE, || self.io.socket().accept())?;
        Ok((TcpStream::register(socket, true)?, addr))
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().local_addr()
    }

    /// How many routers a packet of an accepted connection may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.socket().ttl()
    }

    /// Sets what [`ttl`](TcpListener::ttl) returns.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.socket().set_ttl(ttl)
    }

    /// Takes over a listener of the standard library, which must be non-blocking already: that is a property of the
    /// socket, which others may share, so it is not changed behind their back.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it is blocking. When no runtime runs on this thread, or the socket cannot be registered. It
    /// is closed in each case.
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
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        check_nonblocking(listener.as_fd())?;
        let socket = Socket::adopt(listener.into())?;
        TcpListener::register(socket, Watch::Listener { sole: false })
    }

    /// As [`from_std`](TcpListener::from_std), for a socket that several runtimes accept from, each with a
    /// [`try_clone`](std::net::TcpListener::try_clone) of it: of those that wait, a connection wakes one (now and then a
    /// few), where listeners by `from_std` would all be woken and all but one find nothing.
    ///
    /// The kernel chooses: a runtime that is busy is passed over, and nothing promises equal shares. Each of them has
    /// to go on calling [`accept`](TcpListener::accept): a connection whose news went to one that does not, or that has gone
    /// meanwhile, waits until the next one comes. A listener for each runtime, with `SO_REUSEPORT`, shares by the addresses of the peers instead.
    ///
    /// # Errors
    ///
    /// `Unsupported` when the runtime's mechanism cannot do this: only epoll can (`EPOLLEXCLUSIVE`). Else as
    /// [`from_std`](TcpListener::from_std). The socket is closed in each case; the other clones are as before.
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
    pub fn from_std_exclusive(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        check_nonblocking(listener.as_fd())?;
        let socket = Socket::adopt(listener.into())?;
        TcpListener::register(socket, Watch::ExclusiveListener)
    }

    /// Gives the socket to the standard library; it stays non-blocking.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        Ok(self.io.into_fd().into())
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("addr", &self.local_addr().ok())
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}
