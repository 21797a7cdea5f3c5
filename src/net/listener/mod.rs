//! [`Listener`]: the type behind all listeners. Methods of only one kind are in that kind's module
//! (`tcp`, `unix`).

mod incoming;
mod limit;
mod shortage;

pub use incoming::{Incoming, IntoIncoming};
pub use limit::{LimitedListener, Permit};

use super::ByteStream;
use super::backoff::Backoff;
use super::kind::Duplex;
use super::registered_socket::RegisteredSocket;
use crate::interest::Interest;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::direction::Direction;
use crate::reactor::registration::check_runtime;
use crate::sync::ForkLock;
use crate::sys::socket::{self, Socket};
use shortage::Shortage;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::task::{Context, Poll, ready};

/// The number of connections that may wait to be accepted. The kernel lowers it to its own limit
/// (`somaxconn`).
pub(super) const BACKLOG: u32 = 1024;

/// A socket that listens for connections.
///
/// Programs use it through the aliases for its kinds, such as [`TcpListener`](super::TcpListener)
/// and [`UnixListener`](super::UnixListener), whose pages have examples.
///
/// # Running out of descriptors
///
/// | `accept(2)` fails because | [`accept`](Listener::accept) | [`try_accept`](Listener::try_accept) |
/// |---|---|---|
/// | the process or the system is out of descriptors or memory | pauses and tries again: after 1 ms, then twice as long each time, up to a second; or see [`shed_when_full`](Listener::shed_when_full) | returns the error |
/// | that connection or its network failed | accepts the next connection | returns the error |
/// | the listener is unusable | returns the error | returns the error |
pub struct Listener<K: Duplex> {
    io: RegisteredSocket,
    /// The pause of `poll_accept`. (`accept` keeps its pause in its future.)
    backoff: ForkLock<Backoff>,
    shortage: Shortage,
    kind: PhantomData<fn() -> K>,
}

// No foreign code runs while the back-off is locked, so no panic leaves it half changed.
impl<K: Duplex> UnwindSafe for Listener<K> {}
impl<K: Duplex> RefUnwindSafe for Listener<K> {}

impl<K: Duplex> Listener<K> {
    /// Registers the socket with this thread's runtime. On failure it is closed.
    pub(super) fn register(socket: Socket, watch: Watch, place: Place) -> io::Result<Listener<K>> {
        Ok(Listener {
            io: RegisteredSocket::new(socket, watch, place)?,
            backoff: ForkLock::new(Backoff::default()),
            shortage: Shortage::new(),
            kind: PhantomData,
        })
    }

    pub(super) fn socket(&self) -> &Socket {
        self.io.socket()
    }

    pub(super) fn into_io(self) -> RegisteredSocket {
        self.io
    }

    /// Accepts a connection, and returns it with the address of the peer.
    ///
    /// The stream belongs to the runtime of the thread that polls the future.
    ///
    /// # Errors
    ///
    /// Returns an error if no runtime runs on this thread, if the connection cannot be registered
    /// (it is closed), or if the listener is unusable. See
    /// [above](Listener#running-out-of-descriptors) for the errors that it does not return. If the
    /// mechanism refuses a TCP connection, the stream's
    /// [first wait](ByteStream#before-the-first-read) returns that error.
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
    #[track_caller]
    pub fn accept(&self) -> impl Future<Output = io::Result<(ByteStream<K>, K::Addr)>> {
        let (place, mut backoff) = (Place::here(), Backoff::default());
        poll_fn(move |cx| self.poll_accept_with(&mut backoff, place, cx))
    }

    /// Polls for a connection, for futures written by hand.
    ///
    /// During a pause for lack of descriptors, only the task that polled last is woken.
    ///
    /// # Errors
    ///
    /// Same as [`accept`](Listener::accept).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use std::future::{Future, poll_fn};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// let (stream, addr) = poll_fn(|cx| listener.poll_accept(cx)).await?;
    /// assert_eq!(stream.peer_addr()?, addr);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[track_caller]
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(ByteStream<K>, K::Addr)>> {
        let place = Place::here();
        // Taken out and not locked, because polling may clone a waker, which is foreign code.
        let mut backoff = std::mem::take(&mut *self.backoff.lock());
        let polled = self.poll_accept_with(&mut backoff, place, cx);
        let replaced = std::mem::replace(&mut *self.backoff.lock(), backoff);
        // A poll on another thread may have stored its pause. Its timer holds a waker, so it is
        // dropped without the lock.
        drop(replaced);
        polled
    }

    pub(super) fn poll_accept_with(
        &self,
        backoff: &mut Backoff,
        place: Place,
        cx: &Context<'_>,
    ) -> Poll<io::Result<(ByteStream<K>, K::Addr)>> {
        // Checked first: without a runtime, a connection that was accepted would be lost.
        check_runtime()?;
        loop {
            ready!(backoff.poll(place, cx));
            let accept = |listener: &Socket| self.shortage.accept::<K>(listener);
            match ready!(self.io.poll_call(Direction::Read, cx, accept)) {
                Ok((socket, addr)) => {
                    backoff.reset();
                    let stream = ByteStream::register(socket, K::watch(), place);
                    return Poll::Ready(stream.map(|stream| (stream, addr)));
                }
                Err(error) if socket::is_exhausted(&error) => backoff.begin(),
                // This connection has used a unit of the budget; the next call checks for another
                // unit.
                Err(error) if socket::is_of_one_connection(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Accepts a connection without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if there is no connection, and every other error of `accept(2)`.
    /// Returns an error if no runtime runs on this thread, or if the connection cannot be
    /// registered.
    ///
    /// # Examples
    ///
    /// See [`TcpListener::from_std`](super::TcpListener::from_std).
    #[track_caller]
    pub fn try_accept(&self) -> io::Result<(ByteStream<K>, K::Addr)> {
        check_runtime()?;
        let (socket, addr) = self
            .io
            .try_io(Interest::READABLE, || K::accept(self.socket()))?;
        Ok((
            ByteStream::register(socket, K::watch(), Place::here())?,
            addr,
        ))
    }

    /// Returns the address that the socket listens on.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn local_addr(&self) -> io::Result<K::Addr> {
        K::local_addr(self.socket())
    }
}

impl<K: Duplex> AsFd for Listener<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.lend()
    }
}

impl<K: Duplex> AsRawFd for Listener<K> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<K: Duplex> fmt::Debug for Listener<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(K::LISTENER)
            .field("addr", &self.local_addr().ok())
            .field("fd", &self.io.socket().raw())
            .finish()
    }
}
