//! [`AsyncFd`]: any pollable fd, registered for as long as the value lives.

use super::link::Link;
use super::{AsyncFdReadyGuard, AsyncFdReadyMutGuard, AsyncFdTryNewError, Interest};
use crate::reactor::io_state::Direction;
use crate::reactor::registration::Registration;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll, ready};

/// An fd of any kind that the kernel can poll, with the value that owns it.
///
/// It waits for readiness and leaves the reading and writing to you: wait with [`readable`](AsyncFd::readable), make the call, and
/// tell the guard when it would have blocked. [`async_io`](AsyncFd::async_io) does the three in a loop.
///
/// Any number of tasks may wait on one `AsyncFd` at once, in any direction; put it in an [`Rc`](std::rc::Rc) or an
/// [`Arc`](std::sync::Arc) to share it. It is [`Send`] and [`Sync`] if `T` is.
///
/// # What it expects of the fd
///
/// - **`O_NONBLOCK` is set.** It is checked and never set for you: the flag belongs to the open file, which may be
///   shared with other processes (a terminal often is).
/// - **It is not a regular file or directory.** These cannot be waited for on any system.
/// - **It is registered once.** To use it in two places share the `AsyncFd`, or `dup(2)` the fd.
/// - **[`AsFd`] goes on naming the same fd**, and nobody closes it behind the value's back. The number that was
///   registered is the one that is waited for and, in the end, deregistered.
///
/// # Threads
///
/// It is made where a runtime runs, and belongs to that runtime. Waiting from another thread works, by a message to
/// the runtime's thread. When the runtime is gone waiting is an error, and the value inside goes on working.
///
/// Dropping it deregisters first and then drops the value.
///
/// # Examples
///
/// A stream of `std`, read and written without a wrapper of its own:
///
/// ```
/// use reveille::io::{AsyncFd, Interest};
/// use std::io::{self, Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// async fn read(fd: &AsyncFd<UnixStream>, buf: &mut [u8]) -> io::Result<usize> {
///     fd.async_io(Interest::READABLE, |mut stream| stream.read(buf)).await
/// }
///
/// async fn write(fd: &AsyncFd<UnixStream>, data: &[u8]) -> io::Result<usize> {
///     fd.async_io(Interest::WRITABLE, |mut stream| stream.write(data)).await
/// }
///
/// fn main() -> io::Result<()> {
///     reveille::block_on(async {
///         let (one, two) = UnixStream::pair()?;
///         one.set_nonblocking(true)?;
///         two.set_nonblocking(true)?;
///         let (one, two) = (AsyncFd::new(one)?, AsyncFd::new(two)?);
///         assert_eq!(write(&one, b"hello").await?, 5);
///         let mut buf = [0; 16];
///         assert_eq!(read(&two, &mut buf).await?, 5);
///         Ok(())
///     })
/// }
/// ```
pub struct AsyncFd<T: AsFd> {
    /// Before `inner`: deregistered while the fd is open still.
    link: Link,
    inner: T,
}

impl<T: AsFd> AsyncFd<T> {
    /// Registers a value's fd for reading and writing with the runtime that runs on this thread.
    ///
    /// # Errors
    ///
    /// The value is dropped; [`try_new`](AsyncFd::try_new) gives it back. The kind of error says why:
    ///
    /// | kind | why |
    /// |---|---|
    /// | [`Unsupported`](io::ErrorKind::Unsupported) | a regular file or directory, or a file that the mechanism in use cannot watch |
    /// | [`InvalidInput`](io::ErrorKind::InvalidInput) | `O_NONBLOCK` is not set |
    /// | [`AlreadyExists`](io::ErrorKind::AlreadyExists) | the fd is registered with this runtime already |
    /// | [`Other`](io::ErrorKind::Other) | no runtime runs on this thread |
    ///
    /// Else it is what the system says, such as a limit that is reached.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::AsyncFd;
    /// use std::io;
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (blocking, _peer) = UnixStream::pair()?;
    ///     reveille::block_on(async {
    ///         let error = AsyncFd::new(blocking).unwrap_err();
    ///         assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    ///     });
    ///     Ok(())
    /// }
    /// ```
    pub fn new(inner: T) -> io::Result<AsyncFd<T>> {
        Ok(AsyncFd::try_new(inner)?)
    }

    /// As [`new`](AsyncFd::new), for what is in `interest`. Waiting for something else is then an error.
    ///
    /// # Errors
    ///
    /// As [`new`](AsyncFd::new), and `InvalidInput` for [`Interest::NONE`].
    pub fn with_interest(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
        Ok(AsyncFd::try_with_interest(inner, interest)?)
    }

    /// As [`new`](AsyncFd::new); gives the value back when it fails.
    ///
    /// # Errors
    ///
    /// As [`new`](AsyncFd::new), together with the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::AsyncFd;
    /// use std::io;
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, _there) = UnixStream::pair()?;
    ///     reveille::block_on(async {
    ///         let here = match AsyncFd::try_new(here) {
    ///             Ok(fd) => fd,
    ///             Err(error) => {
    ///                 let (here, _why) = error.into_parts();
    ///                 here.set_nonblocking(true)?;
    ///                 AsyncFd::new(here)?
    ///             }
    ///         };
    ///         here.writable().await?.retain_ready();
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn try_new(inner: T) -> Result<AsyncFd<T>, AsyncFdTryNewError<T>> {
        AsyncFd::try_with_interest(inner, Interest::READABLE | Interest::WRITABLE)
    }

    /// As [`with_interest`](AsyncFd::with_interest); gives the value back when it fails.
    ///
    /// # Errors
    ///
    /// As [`with_interest`](AsyncFd::with_interest), together with the value.
    pub fn try_with_interest(
        inner: T,
        interest: Interest,
    ) -> Result<AsyncFd<T>, AsyncFdTryNewError<T>> {
        match Link::new(inner.as_fd(), interest) {
            Ok(link) => Ok(AsyncFd { link, inner }),
            Err(cause) => Err(AsyncFdTryNewError { inner, cause }),
        }
    }

    /// Returns the value.
    #[inline]
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns the value, mutably.
    ///
    /// It must go on owning the fd that was registered. If it is replaced by one with another fd, this `AsyncFd` goes
    /// on waiting for the old number, which is then closed or somebody else's: no memory is at risk, and waits may
    /// hang. To exchange the fd, use [`into_inner`](AsyncFd::into_inner) and make a new `AsyncFd`.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Deregisters the fd and returns the value.
    pub fn into_inner(self) -> T {
        let AsyncFd { link, inner } = self;
        drop(link);
        inner
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.link.registration
    }
}

/// Waiting, by `async fn`. Any number of these may wait at once.
impl<T: AsFd> AsyncFd<T> {
    /// Waits until the fd is ready for any of `interest`.
    ///
    /// An error or a hang-up ends every wait, and comes whatever the fd was registered for; so [`Interest::ERROR`] alone
    /// may be waited for. Not so on `select`, which takes both for readiness: there they end waits to read and to write.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the fd was not registered for all of `interest`, or when that is empty; `Unsupported` for
    /// errors without READABLE or WRITABLE on a mechanism that does not tell them (`select`); an error when the runtime is gone; and
    /// what the mechanism says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes its waiter off. No readiness is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::{AsyncFd, Interest};
    /// use std::io;
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, _there) = UnixStream::pair()?;
    ///     here.set_nonblocking(true)?;
    ///     reveille::block_on(async {
    ///         let here = AsyncFd::new(here)?;
    ///         let guard = here.ready(Interest::READABLE | Interest::WRITABLE).await?;
    ///         assert!(guard.ready().is_writable() && !guard.ready().is_readable());
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub async fn ready(&self, interest: Interest) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        let held = self.link.ready(interest).await?;
        Ok(AsyncFdReadyGuard {
            async_fd: self,
            held,
        })
    }

    /// As [`ready`](AsyncFd::ready), with mutable access.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// As [`ready`](AsyncFd::ready).
    pub async fn ready_mut(
        &mut self,
        interest: Interest,
    ) -> io::Result<AsyncFdReadyMutGuard<'_, T>> {
        let held = self.link.ready(interest).await?;
        Ok(AsyncFdReadyMutGuard {
            async_fd: self,
            held,
        })
    }

    /// Waits until the fd can be read.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// As [`ready`](AsyncFd::ready).
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        self.ready(Interest::READABLE).await
    }

    /// As [`readable`](AsyncFd::readable), with mutable access.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// As [`ready`](AsyncFd::ready).
    pub async fn readable_mut(&mut self) -> io::Result<AsyncFdReadyMutGuard<'_, T>> {
        self.ready_mut(Interest::READABLE).await
    }

    /// Waits until the fd can be written to.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// As [`ready`](AsyncFd::ready).
    pub async fn writable(&self) -> io::Result<AsyncFdReadyGuard<'_, T>> {
        self.ready(Interest::WRITABLE).await
    }

    /// As [`writable`](AsyncFd::writable), with mutable access.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// As [`ready`](AsyncFd::ready).
    pub async fn writable_mut(&mut self) -> io::Result<AsyncFdReadyMutGuard<'_, T>> {
        self.ready_mut(Interest::WRITABLE).await
    }
}

/// Waiting, by `poll_` methods.
///
/// Each task that polls is woken; the same task is stored once. A stored waker cannot be taken off: a task that lost
/// interest is woken once for nothing.
impl<T: AsFd> AsyncFd<T> {
    /// Polls for readiness to read.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    pub fn poll_read_ready<'a>(
        &'a self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'a, T>>> {
        let held = ready!(self.link.poll_ready(Direction::Read, cx))?;
        Poll::Ready(Ok(AsyncFdReadyGuard {
            async_fd: self,
            held,
        }))
    }

    /// As [`poll_read_ready`](AsyncFd::poll_read_ready), with mutable access.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    pub fn poll_read_ready_mut<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyMutGuard<'a, T>>> {
        let held = ready!(self.link.poll_ready(Direction::Read, cx))?;
        Poll::Ready(Ok(AsyncFdReadyMutGuard {
            async_fd: self,
            held,
        }))
    }

    /// Polls for readiness to write.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    pub fn poll_write_ready<'a>(
        &'a self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'a, T>>> {
        let held = ready!(self.link.poll_ready(Direction::Write, cx))?;
        Poll::Ready(Ok(AsyncFdReadyGuard {
            async_fd: self,
            held,
        }))
    }

    /// As [`poll_write_ready`](AsyncFd::poll_write_ready), with mutable access.
    ///
    /// # Errors
    ///
    /// As [`ready`](AsyncFd::ready).
    pub fn poll_write_ready_mut<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyMutGuard<'a, T>>> {
        let held = ready!(self.link.poll_ready(Direction::Write, cx))?;
        Poll::Ready(Ok(AsyncFdReadyMutGuard {
            async_fd: self,
            held,
        }))
    }
}

/// Calls on the value.
impl<T: AsFd> AsyncFd<T> {
    /// Waits until the fd is ready for any of `interest` and runs `f`; again while it returns `WouldBlock`.
    ///
    /// `f` returns `WouldBlock` only when a call on the fd has.
    ///
    /// # Errors
    ///
    /// What `f` returns, except `WouldBlock`; else as [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe if no call of `f` that returned `WouldBlock` has done a part of its work: `f` is
    /// never interrupted, and what it returns otherwise is returned at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::{AsyncFd, Interest};
    /// use std::io;
    /// use std::net::UdpSocket;
    ///
    /// fn main() -> io::Result<()> {
    ///     let socket = UdpSocket::bind("127.0.0.1:0")?;
    ///     socket.set_nonblocking(true)?;
    ///     socket.send_to(b"to myself", socket.local_addr()?)?;
    ///     reveille::block_on(async {
    ///         let socket = AsyncFd::new(socket)?;
    ///         let mut buf = [0; 32];
    ///         let len = socket.async_io(Interest::READABLE, |s| s.recv(&mut buf)).await?;
    ///         assert_eq!(&buf[..len], b"to myself");
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub async fn async_io<R>(
        &self,
        interest: Interest,
        mut f: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let mut guard = self.ready(interest).await?;
            if let Ok(result) = guard.try_io(|fd| f(fd.get_ref())) {
                return result;
            }
            if guard.held.is_from_elsewhere() {
                // Nothing was cleared, and poll(2) may say ready again at once.
                crate::task::yield_now().await;
            }
        }
    }

    /// As [`async_io`](AsyncFd::async_io), with mutable access.
    ///
    /// # Errors
    ///
    /// As [`async_io`](AsyncFd::async_io).
    ///
    /// # Cancel safety
    ///
    /// As [`async_io`](AsyncFd::async_io).
    pub async fn async_io_mut<R>(
        &mut self,
        interest: Interest,
        mut f: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let mut guard = self.ready_mut(interest).await?;
            if let Ok(result) = guard.try_io(|fd| f(fd.get_mut())) {
                return result;
            }
            if guard.held.is_from_elsewhere() {
                crate::task::yield_now().await;
            }
        }
    }

    /// Runs `f` now, and clears the readiness for `interest` when it returns `WouldBlock`.
    ///
    /// `f` is run whatever the cached readiness says, unlike tokio's.
    ///
    /// # Errors
    ///
    /// What `f` returns; `InvalidInput` when the fd was not registered for all of `interest`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        f: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.link.check(interest)?;
        // Seen before the call: what comes meanwhile is not cleared.
        let seen = self.link.registration.cached();
        let result = f(&self.inner);
        self.link.note(seen, interest, &result);
        result
    }

    /// As [`try_io`](AsyncFd::try_io), with mutable access.
    ///
    /// # Errors
    ///
    /// As [`try_io`](AsyncFd::try_io).
    pub fn try_io_mut<R>(
        &mut self,
        interest: Interest,
        f: impl FnOnce(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.link.check(interest)?;
        let seen = self.link.registration.cached();
        let result = f(&mut self.inner);
        self.link.note(seen, interest, &result);
        result
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: AsFd> AsRawFd for AsyncFd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_fd().as_raw_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd")
            .field("inner", &self.inner)
            .field("fd", &self.link.fd)
            .field("interest", &self.link.interest)
            .finish_non_exhaustive()
    }
}
