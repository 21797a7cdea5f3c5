//! [`UnixStream`]: connecting, pairs, conversions.

use super::Unix;
use crate::interest::Interest;
use crate::net::ByteStream;
use crate::net::backoff::Backoff;
use crate::net::check_nonblocking;
use crate::net::registered_socket::RegisteredSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::socket::Socket;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The longest pause before another attempt to connect to a listener whose queue is full. A server
/// that is so far behind gains nothing by more attempts, and a client loses little by this pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// A stream between two processes of one machine, or two threads of one process. [`ByteStream`] has
/// the methods that all streams have: reading, writing, waiting.
///
/// It can pass descriptors, by [`send_with_fds`](UnixStream::send_with_fds) and
/// [`recv_with_fds`](UnixStream::recv_with_fds).
///
/// | when the other end | a read returns | a write returns |
/// |---|---|---|
/// | has shut its writing side down | 0, after all bytes | works |
/// | is closed, and had read everything | 0, after all bytes | `BrokenPipe` |
/// | is closed with unread bytes (Linux) | `ConnectionReset` once, after all bytes; then 0 | `BrokenPipe` or `ConnectionReset` |
///
/// # Examples
///
/// ```
/// use reveille::net::UnixStream;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let (one, other) = UnixStream::pair()?;
///     one.write_all(b"ping").await?;
///     let mut buf = [0; 16];
///     let n = other.read(&mut buf).await?;
///     assert_eq!(&buf[..n], b"ping");
///     Ok(())
/// })
/// # }
/// ```
pub type UnixStream = ByteStream<Unix>;

impl UnixStream {
    /// Connects to the listener of a path.
    ///
    /// # A full queue
    ///
    /// A listener has a queue of connections that wait to be accepted. If it is full, Linux refuses
    /// to connect for now (`EAGAIN`) and does not report when there is room. So `connect` tries
    /// again after 1 ms, then after twice as long each time, up to 32 ms, for as long as the future
    /// lives: limit it with [`timeout`](crate::time::timeout). Clients that wait connect in no
    /// particular order. Other systems return `ConnectionRefused`.
    ///
    /// # Errors
    ///
    /// Returns `ConnectionRefused` if no process listens, `NotFound` if there is no such file,
    /// `PermissionDenied` if its permissions forbid writing, and the other errors of `connect(2)`.
    /// Returns `InvalidInput` if the path is too long, and an error if no runtime runs on this
    /// thread.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropping the future closes the socket.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use reveille::net::UnixStream;
    /// use reveille::time::timeout;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let connect = UnixStream::connect("/run/server/socket");
    ///     let stream = timeout(Duration::from_secs(1), connect).await??;
    ///     stream.write_all(b"hello").await
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect(path: impl AsRef<Path>) -> impl Future<Output = io::Result<UnixStream>> {
        let place = Place::here();
        async move {
            let addr = SocketAddr::from_pathname(path)?;
            connect_new(&addr, place).await
        }
    }

    /// Connects to an address: a path, or, on Linux and Android, an abstract name. Otherwise the
    /// same as [`connect`](UnixStream::connect).
    ///
    /// # Errors
    ///
    /// Same as [`connect`](UnixStream::connect).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`connect`](UnixStream::connect).
    ///
    /// # Examples
    ///
    /// See [`UnixListener::bind_addr`](crate::net::UnixListener::bind_addr).
    #[track_caller]
    pub fn connect_addr(addr: &SocketAddr) -> impl Future<Output = io::Result<UnixStream>> {
        connect_new(addr, Place::here())
    }

    /// Makes two streams that are connected with each other. Neither has an address.
    ///
    /// # Errors
    ///
    /// Returns the errors of `socketpair(2)`. Returns an error if no runtime runs on this thread,
    /// or if a stream cannot be registered.
    ///
    /// # Examples
    ///
    /// See [`UnixStream`].
    #[track_caller]
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let place = Place::here();
        check_runtime()?;
        let (one, other) = Socket::unix_pair()?;
        let watch = Watch::Unix { owned: true };
        let one = UnixStream::register(one, watch, place)?;
        // Only the registration right after the call that made the socket can tell whether the
        // process has forked since.
        Ok((one, UnixStream::register(other, watch.shared(), place)?))
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
    /// use reveille::net::UnixStream;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (one, other) = std::os::unix::net::UnixStream::pair()?;
    /// one.set_nonblocking(true)?;
    /// reveille::block_on(async {
    ///     let one = UnixStream::from_std(one)?;
    ///     one.write_all(b"hello").await
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
        check_nonblocking(stream.as_fd())?;
        let socket = Socket::adopt(stream.into())?;
        // The fd may be any kind of socket, such as one that keeps packets apart.
        let is_stream = socket.is_unix_stream();
        let io = RegisteredSocket::new(socket, Watch::Unix { owned: false }, Place::here())?;
        if !is_stream {
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
    /// # use reveille::net::UnixStream;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let (one, _other) = UnixStream::pair()?;
    /// let one: std::os::unix::net::UnixStream = one.into_std()?;
    /// one.set_nonblocking(false)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixStream> {
        Ok(self.into_io().into_fd().into())
    }
}

/// Connects a new socket.
async fn connect_new(addr: &SocketAddr, place: Place) -> io::Result<UnixStream> {
    check_runtime()?;
    connect(Socket::unix()?, addr, true, place).await
}

/// Connects a socket. `owned`: no other descriptor of it exists. `place`: where in the source the
/// connection was requested.
pub(super) async fn connect(
    socket: Socket,
    addr: &SocketAddr,
    owned: bool,
    place: Place,
) -> io::Result<ByteStream<Unix>> {
    let (mut backoff, mut paused) = (Backoff::default(), false);
    let connected = poll_fn(|cx| {
        let polled = poll_connect(&socket, addr, &mut backoff, place, cx);
        paused |= polled.is_pending();
        polled
    });
    let connected = connected.await?;
    // During a pause the process may have forked, so that a child has a copy of the socket.
    let owned = owned && !paused;
    let io = RegisteredSocket::new(socket, Watch::Unix { owned }, place)?;
    if !connected {
        let mut ready = io.ready(Interest::WRITABLE);
        poll_fn(|cx| ready.poll(cx)).await?;
        if let Some(error) = io.socket().take_error()? {
            return Err(error);
        }
    }
    Ok(ByteStream::new(io))
}

/// Tries to connect, with pauses while the queue of the listener is full.
fn poll_connect(
    socket: &Socket,
    addr: &SocketAddr,
    backoff: &mut Backoff,
    place: Place,
    cx: &Context<'_>,
) -> Poll<io::Result<bool>> {
    loop {
        ready!(backoff.poll(place, cx));
        match socket.connect_unix(addr) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                backoff.begin_up_to(LONGEST_PAUSE);
            }
            result => return Poll::Ready(result),
        }
    }
}
