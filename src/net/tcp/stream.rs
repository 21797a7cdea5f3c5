//! [`TcpStream`]: connecting and conversions.

use super::{Tcp, connect};
use crate::net::ByteStream;
use crate::net::check_nonblocking;
use crate::net::lookup::{ToSocketAddrs, resolve};
use crate::net::registered_socket::RegisteredSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::socket::Socket;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;

/// A TCP connection. [`ByteStream`] has the methods that all streams have: reading, writing,
/// waiting.
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
pub type TcpStream = ByteStream<Tcp>;

impl TcpStream {
    /// Connects to an address or, of several, to the one that accepts first.
    ///
    /// Several addresses are tried as in RFC 8305 ("happy eyeballs"): IPv6 and IPv4 addresses
    /// alternate, beginning with the family of the first. The next attempt begins when one fails,
    /// and at the latest 250 ms after the previous one began; earlier attempts go on. When one
    /// succeeds, the others are closed. So an address that does not answer costs a quarter of a
    /// second, not the kernel's time limit.
    ///
    /// An attempt ends when the connection is refused or the kernel's time limit is over (about two
    /// minutes on Linux). For another limit use [`timeout`](crate::time::timeout). A host name is
    /// looked up on another thread; see [`ToSocketAddrs`].
    ///
    /// # Errors
    ///
    /// Returns the error of the attempt that failed last. Returns an error if there is no
    /// address, or if no runtime runs on this thread.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropping the future closes the sockets of all attempts.
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
    #[track_caller]
    pub fn connect(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<TcpStream>> {
        let place = Place::here();
        async move {
            check_runtime()?;
            connect::connect_any(resolve(&addr).await?, place).await
        }
    }

    /// Converts a stream of the standard library, which must be in non-blocking mode.
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
    #[track_caller]
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        check_nonblocking(stream.as_fd())?;
        let socket = Socket::adopt(stream.into())?;
        // The fd may be any kind of socket. Only a TCP socket has this option. (An internet address
        // would not tell TCP from UDP.)
        let tcp = socket.nodelay().is_ok();
        // It may still be connecting, so it is not writable before an event reports that.
        let watch = Watch::Tcp {
            connected: false,
            owned: false,
        };
        let io = RegisteredSocket::new(socket, watch, Place::here())?;
        if !tcp {
            io.registration().distrust_short();
        }
        Ok(ByteStream::new(io))
    }

    /// Converts into a stream of the standard library. It stays in non-blocking mode.
    ///
    /// # Errors
    ///
    /// It cannot fail in this version.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// let stream: std::net::TcpStream = stream.into_std()?;
    /// stream.set_nonblocking(false)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        Ok(self.into_io().into_fd().into())
    }
}
