//! [`RegisteredSocket`]: a socket and its registration. Every type of `net` contains one.

use crate::budget;
use crate::interest::{Interest, Ready};
use crate::place::Place;
use crate::reactor::Closing;
use crate::reactor::Watch;
use crate::reactor::direction::Direction;
use crate::reactor::registration::{ReadyFuture, Registration, check_not_empty};
use crate::sys::socket::Socket;
use crate::sys::syscall::Answer;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

/// A registered socket. Dropping it ends the registration and closes the socket, in this order.
pub(super) struct RegisteredSocket {
    /// Empty only after `into_fd` and during the drop.
    socket: Socket,
    /// Whether code outside this crate has borrowed the descriptor. It may have duplicated it, so
    /// closing it may not close the file.
    lent: AtomicBool,
    /// How many writes are left until WRITABLE is taken out of the interest. 0 if no write has
    /// added it.
    writes_left: AtomicU8,
    registration: Registration,
}

/// After how many writes that did not block WRITABLE is taken out of the interest. While a stream
/// is mostly full, writes block more often than that, and no call is made each time to take it out
/// and add it again.
const WRITES_UNTIL_UNWATCHED: u8 = 16;

impl RegisteredSocket {
    /// Registers a socket with this thread's runtime. On failure the socket is closed. `place` is
    /// where the owner of the socket was created.
    pub(super) fn new(socket: Socket, watch: Watch, place: Place) -> io::Result<RegisteredSocket> {
        let registration = Registration::new(socket.as_fd(), watch, place)?;
        Ok(RegisteredSocket {
            socket,
            lent: AtomicBool::new(false),
            writes_left: AtomicU8::new(0),
            registration,
        })
    }

    /// Lends the descriptor to code outside this crate.
    #[inline]
    pub(super) fn lend(&self) -> BorrowedFd<'_> {
        // Relaxed is enough: the drop reads it, after every borrow has ended.
        self.lent.store(true, Ordering::Relaxed);
        self.socket.as_fd()
    }

    #[inline]
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    #[inline]
    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Ends the registration and returns the descriptor.
    pub(super) fn into_fd(mut self) -> OwnedFd {
        self.registration.end(self.socket.as_fd().as_raw_fd());
        let fd = self.socket.take();
        fd.expect("only this function and the drop take the socket")
    }

    /// Reads or writes at most `len` bytes by `call` when the socket is ready. See
    /// [`Registration::poll_io`].
    #[inline]
    pub(super) fn poll_io<A: Answer>(
        &self,
        direction: Direction,
        cx: &Context<'_>,
        len: usize,
        mut call: impl FnMut(&Socket) -> A,
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket();
        self.registration
            .poll_io(socket.raw(), direction, cx, len, |_| call(socket))
    }

    /// Reads at most `len` bytes by `call` when the socket is ready. `call` is passed whether what
    /// it leaves is reported again.
    #[inline]
    pub(super) fn poll_read<A: Answer>(
        &self,
        cx: &Context<'_>,
        len: usize,
        mut call: impl FnMut(&Socket, bool) -> A,
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket();
        self.registration
            .poll_io(socket.raw(), Direction::Read, cx, len, |is_level| {
                call(socket, is_level)
            })
    }

    /// Notes that a write went on or had to wait. Some time after the last wait WRITABLE is taken
    /// out of the interest, which the wait has added.
    #[inline]
    pub(super) fn note_write(&self, waits: bool) {
        // Relaxed, and not exact if several threads write: only the number of events depends on it.
        if waits {
            self.writes_left
                .store(WRITES_UNTIL_UNWATCHED, Ordering::Relaxed);
        } else if self.writes_left.load(Ordering::Relaxed) != 0 {
            self.unwatch_writes_soon();
        }
    }

    #[cold]
    fn unwatch_writes_soon(&self) {
        let left = self.writes_left.load(Ordering::Relaxed).saturating_sub(1);
        if left != 0 || self.registration.unwatch_writable() {
            self.writes_left.store(left, Ordering::Relaxed);
        }
    }

    /// Makes any other call when the socket is ready. See [`Registration::poll_call`].
    #[inline]
    pub(super) fn poll_call<R>(
        &self,
        direction: Direction,
        cx: &Context<'_>,
        mut call: impl FnMut(&Socket) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let socket = self.socket();
        self.registration
            .poll_call(socket.as_fd(), direction, cx, || call(socket))
    }

    /// Makes a call now. `WouldBlock` clears the cached bits for `interest`.
    pub(super) fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.registration.try_io(interest, call)
    }

    /// Shuts down one side of the socket or both, and wakes the tasks that wait for it: some
    /// backends do not report what the process itself has done.
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket().shutdown(how)?;
        self.registration.recheck();
        Ok(())
    }

    /// Waits until `poll(2)` agrees that the socket is ready for any of `interest`.
    pub(super) fn ready(&self, interest: Interest) -> Confirmed<'_> {
        Confirmed(self.registration.ready(self.socket.as_fd(), interest))
    }

    /// Waits until the peer has ended its side, even if data is unread.
    pub(super) async fn read_closed(&self) -> io::Result<()> {
        self.registration.read_closed(self.socket.as_fd()).await
    }

    /// Same as [`ready`](RegisteredSocket::ready) for one direction, for a `poll_` method.
    pub(super) fn poll_ready(
        &self,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(budget::check(cx));
        loop {
            let seen = ready!(
                self.registration
                    .poll_ready(self.socket.as_fd(), direction, cx)
            )?;
            let interest = direction.interest();
            if self
                .registration
                .confirm(self.socket.raw(), seen, interest)?
                .is_some()
            {
                budget::spend();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Waits until the socket is ready, and makes a custom call. Repeats both while the call
    /// returns `WouldBlock`.
    pub(super) async fn async_io<R>(
        &self,
        interest: Interest,
        call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        check_not_empty(interest)?;
        self.registration
            .async_io(self.socket.as_fd(), interest, call)
            .await
    }
}

/// The future of [`RegisteredSocket::ready`]. Written by hand because every idle connection keeps
/// one, so its size matters.
pub(super) struct Confirmed<'a>(ReadyFuture<'a>);

impl Confirmed<'_> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let (fd, interest) = (self.0.fd(), self.0.interest());
        check_not_empty(interest)?;
        loop {
            let seen = ready!(Pin::new(&mut self.0).poll(cx))?;
            if let Some(readiness) = self.0.registration().confirm(fd, seen, interest)? {
                return Poll::Ready(Ok(readiness));
            }
        }
    }
}

impl fmt::Debug for RegisteredSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredSocket")
            .field("socket", &self.socket)
            .field("registration", &self.registration)
            .finish()
    }
}

impl Drop for RegisteredSocket {
    fn drop(&mut self) {
        if let Some(fd) = self.socket.take() {
            let lent = *self.lent.get_mut();
            self.registration.close(Closing { fd, lent });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::net::{TcpListener, TcpStream};
    use crate::reactor::driver::CURRENT;

    /// Returns the number of fds that this thread's runtime watches.
    fn watched() -> usize {
        CURRENT.with(|driver| driver.map_or(0, |driver| driver.counts().0))
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn idle_connection_takes_80_bytes() {
        async fn idle(stream: TcpStream) {
            let _ = stream.readable().await;
        }
        crate::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let stream = TcpStream::connect(addr).await.unwrap();
            assert!(size_of_val(&stream) <= 24);
            assert!(size_of_val(&stream.readable()) <= 24);
            // The stream twice: an async function keeps its arguments and the variables that they
            // were moved to.
            assert!(size_of_val(&idle(stream)) <= 80);
        });
    }

    #[test]
    fn registered_socket_ends_its_registration_in_every_way_out() {
        crate::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let client = TcpStream::connect(addr).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            assert_eq!(watched(), 3);
            drop(client);
            assert_eq!(watched(), 2);
            let server = server.into_std().unwrap();
            assert_eq!(watched(), 1);
            drop(listener);
            assert_eq!(watched(), 0);
            // Not the listener's address: its port may belong to another process now.
            let (_bound, refusing) = crate::sys::test_fds::refusing().unwrap();
            assert!(TcpStream::connect(refusing).await.is_err());
            assert_eq!(watched(), 0);
            drop(server);
        });
    }
}
