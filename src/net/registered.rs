//! A socket and its registration: what every type of `net` is made of.

use crate::backend;
use crate::budget;
use crate::interest::{Interest, Readiness};
use crate::reactor::Watch;
use crate::reactor::driver::Seen;
use crate::reactor::io_state::{Direction, answers};
use crate::reactor::registration::Registration;
use crate::sys::socket::Socket;
use crate::sys::syscall::Answer;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

/// A registered socket. Dropping it ends the registration and closes the socket, in this order.
pub(super) struct Registered {
    /// Taken by `drop` and `into_fd` alone.
    socket: Socket,
    registration: Registration,
}

/// Readiness that stays true once it was seen.
const FACTS: Readiness = Readiness::READ_CLOSED
    .or(Readiness::WRITE_CLOSED)
    .or(Readiness::ERROR);

impl Registered {
    /// Registers a socket with this thread's runtime; it is closed when that fails.
    pub(super) fn new(socket: Socket, watch: Watch) -> io::Result<Registered> {
        let registration = Registration::new(socket.as_fd(), watch)?;
        Ok(Registered {
            socket,
            registration,
        })
    }

    #[inline]
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    #[inline]
    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Ends the registration and gives the descriptor back.
    pub(super) fn into_fd(mut self) -> OwnedFd {
        self.registration.end();
        let fd = self.socket.take();
        fd.expect("taken here and by the drop, which comes after")
    }

    /// Moves at most `len` bytes by `call` when the socket is ready; see [`Registration::poll_io`].
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
            .poll_io(socket.raw(), direction, cx, len, || call(socket))
    }

    /// Makes any other call when the socket is ready.
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

    /// Makes a call now; `WouldBlock` clears what was cached for `interest`.
    pub(super) fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        if interest.is_priority() {
            self.registration.distrust_short();
        }
        let mut directions = Direction::ALL
            .into_iter()
            .filter(|direction| interest.contains(direction.interest()));
        match (directions.next(), directions.next()) {
            (None, _) => call(),
            (Some(one), None) => self.registration.try_io(one, call),
            (Some(one), Some(_)) => {
                let others = interest - one.interest();
                self.registration.try_io(one, || self.try_io(others, call))
            }
        }
    }

    /// Ends one side of the socket or both, and lets those find it who wait: some mechanisms do not tell a process of what
    /// it has done itself.
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket().shutdown(how)?;
        self.registration.look_again();
        Ok(())
    }

    /// Waits until `poll(2)` agrees that the socket is ready for any of `interest`.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Readiness> {
        loop {
            let seen = self.seen(interest).await?;
            if let Some(readiness) = self.confirm(seen, interest)? {
                return Ok(readiness);
            }
        }
    }

    /// Waits for cached readiness, which may be out of date.
    async fn seen(&self, interest: Interest) -> io::Result<Seen> {
        if interest.is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an empty interest is never ready",
            ));
        }
        if interest.is_priority() {
            // The cached bit will be cleared, and reads stop at the mark all the same.
            self.registration.distrust_short();
        }
        self.registration.ready(self.as_fd(), interest).await
    }

    /// As [`ready`](Registered::ready) for one direction, for a `poll_` method.
    pub(super) fn poll_ready(
        &self,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(budget::check(cx));
        loop {
            let seen = ready!(self.registration.poll_ready(self.as_fd(), direction, cx))?;
            if self.confirm(seen, direction.interest())?.is_some() {
                budget::spend();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Compares what is cached with what is: a read that filled its buffer may have taken the last byte. What is not true
    /// any more is cleared, so that the next wait waits.
    fn confirm(&self, seen: Seen, interest: Interest) -> io::Result<Option<Readiness>> {
        let now = backend::look(self.as_fd().as_raw_fd(), interest)?;
        let readiness = now | (seen.readiness & FACTS);
        if readiness.intersects(answers(interest)) {
            let asked = Readiness::from_interest(interest).or(answers(interest));
            return Ok(Some(readiness & asked));
        }
        self.clear(seen, interest)?;
        Ok(None)
    }

    /// Makes a call of the user's own as soon as it does not answer `WouldBlock`.
    pub(super) async fn async_io<R>(
        &self,
        interest: Interest,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let seen = self.seen(interest).await?;
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.clear(seen, interest)?;
                    if seen.round == Seen::ELSEWHERE {
                        // Nothing was cleared, and poll(2) may say ready again at once.
                        crate::task::yield_now().await;
                    }
                }
                result => return result,
            }
        }
    }

    /// Clears what was cached for `interest`, as it was seen; the facts stay.
    fn clear(&self, seen: Seen, interest: Interest) -> io::Result<()> {
        let bits = Direction::ALL
            .into_iter()
            .filter(|direction| interest.contains(direction.interest()))
            .fold(Readiness::EMPTY, |bits, direction| bits | direction.bit());
        self.registration.clear(seen, bits - FACTS)
    }
}

impl AsFd for Registered {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("socket", &self.socket)
            .field("registration", &self.registration)
            .finish()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(fd) = self.socket.take() {
            self.registration.close(fd);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::net::{TcpListener, TcpStream};
    use crate::reactor::driver::CURRENT;

    /// How many fds this thread's runtime watches.
    fn watched() -> usize {
        CURRENT.with(|driver| driver.map_or(0, |driver| driver.counts().0))
    }

    #[test]
    fn every_way_out_ends_the_registration() {
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
            // Not where the listener was: its port may be somebody else's now.
            let (_nobody, refusing) = crate::sys::lab::refusing().unwrap();
            assert!(TcpStream::connect(refusing).await.is_err());
            assert_eq!(watched(), 0);
            drop(server);
        });
    }
}
