//! The guards that [`AsyncFd`](super::AsyncFd) hands out: readiness as it was seen, to be cleared when it is used up.

use super::{AsyncFd, Ready, TryIoError};
use crate::reactor::driver::Seen;
use crate::reactor::registration::Registration;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

/// The bits that open and close; the others are facts that stay.
const CLEARABLE: Ready = Ready::READABLE
    .or(Ready::WRITABLE)
    .or(Ready::PRIORITY)
    .or(Ready::ERROR);

/// Readiness that a guard stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// What of it was not cleared yet.
    ready: Ready,
    round: u32,
}

impl Held {
    /// What was seen, as far as it was asked for.
    pub(super) fn new(seen: Seen, asked: Ready) -> Held {
        Held {
            ready: seen.readiness & asked,
            round: seen.round,
        }
    }

    /// Whether it was seen by a thread that does not run the fd's runtime.
    pub(super) fn is_from_elsewhere(self) -> bool {
        self.round == Seen::ELSEWHERE
    }

    fn clear(&mut self, registration: &Registration, bits: Ready) {
        let bits = self.ready & bits;
        self.ready = self.ready - bits;
        if self.is_from_elsewhere() {
            return;
        }
        let seen = Seen {
            round: self.round,
            readiness: bits,
        };
        // On failure the reactor keeps the bits: the next call on the fd says what is wrong.
        let _ = registration.clear(seen, bits & CLEARABLE);
    }
}

/// An [`AsyncFd`] that was found ready.
///
/// The readiness is cached: it stays until someone finds that a call would block. So whoever gets `WouldBlock`
/// **must say so**, by [`try_io`](AsyncFdReadyGuard::try_io) or [`clear_ready`](AsyncFdReadyGuard::clear_ready), or the next wait returns at once, again and again;
/// and who did *not* get `WouldBlock` must not, or the next wait may miss what is there already. Dropping the guard
/// clears nothing.
///
/// Readiness that was renewed by the kernel after this guard was made is not cleared by it. A guard made on a thread
/// that does not run the fd's runtime stands for a look by `poll(2)`, and clears nothing at all.
#[must_use = "readiness stays set until it is cleared: use `try_io`, `clear_ready` or `retain_ready`"]
pub struct AsyncFdReadyGuard<'a, T: AsFd> {
    pub(super) async_fd: &'a AsyncFd<T>,
    pub(super) held: Held,
}

/// As [`AsyncFdReadyGuard`], with mutable access to the value.
#[must_use = "readiness stays set until it is cleared: use `try_io`, `clear_ready` or `retain_ready`"]
pub struct AsyncFdReadyMutGuard<'a, T: AsFd> {
    pub(super) async_fd: &'a mut AsyncFd<T>,
    pub(super) held: Held,
}

impl<'a, T: AsFd> AsyncFdReadyGuard<'a, T> {
    /// Runs `f`, and clears the readiness when it returns [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// With a guard for several interests all of them are cleared; call it with one interest at a time, or clear
    /// what is used up by [`clear_ready_matching`](AsyncFdReadyGuard::clear_ready_matching).
    ///
    /// # Errors
    ///
    /// [`TryIoError`] when `f` would have blocked. Every other result of `f` comes back inside, as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::AsyncFd;
    /// use std::io::{self, Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, mut there) = UnixStream::pair()?;
    ///     here.set_nonblocking(true)?;
    ///     there.write_all(b"hi")?;
    ///     reveille::block_on(async {
    ///         let here = AsyncFd::new(here)?;
    ///         let mut buf = [0; 8];
    ///         let len = loop {
    ///             let mut guard = here.readable().await?;
    ///             if let Ok(read) = guard.try_io(|fd| fd.get_ref().read(&mut buf)) {
    ///                 break read?;
    ///             }
    ///         };
    ///         assert_eq!(&buf[..len], b"hi");
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn try_io<R>(
        &mut self,
        f: impl FnOnce(&'a AsyncFd<T>) -> io::Result<R>,
    ) -> Result<io::Result<R>, TryIoError> {
        match f(self.async_fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clear_ready();
                Err(TryIoError(()))
            }
            result => Ok(result),
        }
    }

    /// Clears the readiness that this guard stands for: a call on the fd has returned `WouldBlock`.
    pub fn clear_ready(&mut self) {
        self.clear_ready_matching(Ready::ALL);
    }

    /// Clears what of `ready` this guard stands for, and keeps the rest.
    pub fn clear_ready_matching(&mut self, ready: Ready) {
        self.held.clear(self.async_fd.registration(), ready);
    }

    /// Keeps the readiness. Does nothing, like a drop, and says so to the reader.
    pub fn retain_ready(&mut self) {}

    /// Returns what was seen of what was asked for, less what this guard has cleared.
    ///
    /// [`is_read_closed`](Ready::is_read_closed) and [`is_write_closed`](Ready::is_write_closed) may be missing although a side is closed,
    /// never the other way round.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.held.ready
    }

    /// Returns the [`AsyncFd`].
    pub fn get_ref(&self) -> &'a AsyncFd<T> {
        self.async_fd
    }

    /// Returns the value in the [`AsyncFd`].
    pub fn get_inner(&self) -> &'a T {
        self.async_fd.get_ref()
    }
}

impl<T: AsFd> AsyncFdReadyMutGuard<'_, T> {
    /// Runs `f`, and clears the readiness when it returns [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// As [`AsyncFdReadyGuard::try_io`].
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::AsyncFd;
    /// use std::io::{self, Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, mut there) = UnixStream::pair()?;
    ///     here.set_nonblocking(true)?;
    ///     there.write_all(b"hi")?;
    ///     reveille::block_on(async {
    ///         let mut here = AsyncFd::new(here)?;
    ///         let mut buf = [0; 8];
    ///         let mut guard = here.readable_mut().await?;
    ///         let len = guard.try_io(|fd| fd.get_mut().read(&mut buf)).expect("data is there")?;
    ///         assert_eq!(&buf[..len], b"hi");
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn try_io<R>(
        &mut self,
        f: impl FnOnce(&mut AsyncFd<T>) -> io::Result<R>,
    ) -> Result<io::Result<R>, TryIoError> {
        match f(self.async_fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clear_ready();
                Err(TryIoError(()))
            }
            result => Ok(result),
        }
    }

    /// Clears the readiness that this guard stands for: a call on the fd has returned `WouldBlock`.
    pub fn clear_ready(&mut self) {
        self.clear_ready_matching(Ready::ALL);
    }

    /// Clears what of `ready` this guard stands for, and keeps the rest.
    pub fn clear_ready_matching(&mut self, ready: Ready) {
        self.held.clear(self.async_fd.registration(), ready);
    }

    /// Keeps the readiness. Does nothing, like a drop, and says so to the reader.
    pub fn retain_ready(&mut self) {}

    /// Returns what was seen of what was asked for, less what this guard has cleared.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.held.ready
    }

    /// Returns the [`AsyncFd`].
    pub fn get_ref(&self) -> &AsyncFd<T> {
        self.async_fd
    }

    /// Returns the [`AsyncFd`].
    pub fn get_mut(&mut self) -> &mut AsyncFd<T> {
        self.async_fd
    }

    /// Returns the value in the [`AsyncFd`].
    pub fn get_inner(&self) -> &T {
        self.async_fd.get_ref()
    }

    /// Returns the value in the [`AsyncFd`]; see [`AsyncFd::get_mut`] for what must not be done to it.
    pub fn get_inner_mut(&mut self) -> &mut T {
        self.async_fd.get_mut()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFdReadyGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFdReadyGuard")
            .field("async_fd", &self.async_fd)
            .field("ready", &self.held.ready)
            .finish_non_exhaustive()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFdReadyMutGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFdReadyMutGuard")
            .field("async_fd", &self.async_fd)
            .field("ready", &self.held.ready)
            .finish_non_exhaustive()
    }
}
