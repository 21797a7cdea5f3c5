//! [`TcpStream`].

use super::split::{self, ReadHalf, WriteHalf};
use super::split_owned::{self, OwnedReadHalf, OwnedWriteHalf};
use crate::interest::Interest;
use crate::net::registered::Registered;
use crate::net::{ToSocketAddrs, check_nonblocking, no_address};
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::socket::Socket;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// A TCP connection.
///
/// All methods take `&self`: one task may read while another writes, and several may do either, each byte going to one of
/// them. Dropping the stream closes the connection.
///
/// `read` and its kin wait; `try_read` and its kin make their system call at once and answer `WouldBlock` when there is
/// nothing to do.
///
/// # Short reads
///
/// A read that returns less than it could have proves that nothing is left, and the next one waits without asking
/// the kernel. This saves a system call for most messages, and is right for plain TCP. Where a layer in between hands
/// out bytes in portions (kernel TLS returns one record at a time), call [`distrust_short_reads`](TcpStream::distrust_short_reads). After urgent data the
/// stream stops relying on it by itself.
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
///     let (server, _) = listener.accept().await?;
///
///     client.write_all(b"ping").await?;
///     let mut buf = [0; 16];
///     let n = server.read(&mut buf).await?;
///     assert_eq!(&buf[..n], b"ping");
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpStream {
    pub(super) io: Registered,
}

impl TcpStream {
    /// Connects to the first of the addresses that answers.
    ///
    /// The addresses are tried one after the other, each until it is refused or the kernel gives up on it.
    ///
    /// # Errors
    ///
    /// The error of the last address that was tried; also when there is no address, or no runtime on this thread.
    /// A host name is looked up by the system's resolver, which blocks the thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket of the attempt that is under way.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::TcpStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// reveille::block_on(async {
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.set_nodelay(true)?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn connect(addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        check_runtime()?;
        let mut last = None;
        for addr in addr.to_socket_addrs()? {
            match TcpStream::connect_one(addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    async fn connect_one(addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::tcp(addr)?;
        let connected = socket.connect(addr)?;
        let watch = Watch::Tcp {
            connected,
            sole: true,
        };
        let io = Registered::new(socket, watch)?;
        if !connected {
            io.ready(Interest::WRITABLE).await?;
            if let Some(error) = io.socket().take_error()? {
                return Err(error);
            }
        }
        Ok(TcpStream { io })
    }

    /// Registers a socket that is connected already.
    pub(super) fn register(socket: Socket, sole: bool) -> io::Result<TcpStream> {
        let watch = Watch::Tcp {
            connected: true,
            sole,
        };
        Ok(TcpStream {
            io: Registered::new(socket, watch)?,
        })
    }

    // ---- options ----------------------------------------------------------------------------------------------

    /// Whether small packets are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io.socket().nodelay()
    }

    /// Sets what [`nodelay`](TcpStream::nodelay) returns.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.socket().set_nodelay(nodelay)
    }

    /// How many routers a packet may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.socket().ttl()
    }

    /// Sets what [`ttl`](TcpStream::ttl) returns.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.socket().set_ttl(ttl)
    }

    /// How long closing waits for unsent bytes (`SO_LINGER`); `None` sends them in the background.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.io.socket().linger()
    }

    /// Sets what [`linger`](TcpStream::linger) returns, rounded up to seconds.
    ///
    /// With zero, closing resets the connection and forgets what is unsent. With more than zero, **dropping the stream
    /// may block the thread** that long, also though it is non-blocking.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.io.socket().set_linger(linger)
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().local_addr()
    }

    /// The other end's address.
    ///
    /// # Errors
    ///
    /// When the system call fails; when the connection is gone (`NotConnected`).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().peer_addr()
    }

    /// Takes the error that is pending on the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// When the system call fails.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.socket().take_error()
    }

    // ---- conversions ------------------------------------------------------------------------------------------

    /// Takes over a stream of the standard library, which must be non-blocking already: that is a property of the
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
    /// use reveille::net::TcpStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_nonblocking(true)?;
    /// reveille::block_on(async {
    ///     let stream = TcpStream::from_std(stream)?;
    ///     stream.write_all(b"hello").await
    /// })
    /// # }
    /// ```
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        check_nonblocking(stream.as_fd())?;
        let socket = Socket::adopt(stream.into())?;
        // The fd may have been any socket once; an option of TCP's is there on no other. (An internet address is: UDP.)
        let tcp = socket.nodelay().is_ok();
        // It may still be connecting: writable only once an event says so.
        let watch = Watch::Tcp {
            connected: false,
            sole: false,
        };
        let io = Registered::new(socket, watch)?;
        if !tcp {
            io.registration().distrust_short();
        }
        Ok(TcpStream { io })
    }

    /// Gives the socket to the standard library; it stays non-blocking.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        Ok(self.io.into_fd().into())
    }

    /// Borrows the two sides apart.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        split::split(self)
    }

    /// Takes the two sides apart, for two tasks that own them.
    ///
    /// Dropping the write half ends the writing side; the connection is closed when both are gone.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split_owned::into_split(self)
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("addr", &self.local_addr().ok())
            .field("peer", &self.peer_addr().ok())
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}
