//! Waiting for an [`AsyncFd`]: futures and `poll_` methods that return guards.

use super::{AsyncFd, AsyncFdReadyGuard, AsyncFdReadyMutGuard, Interest};
use crate::reactor::direction::Direction;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

/// Futures that wait. Any number of them may wait at the same time.
impl<T: AsFd> AsyncFd<T> {
    /// Waits until the fd is ready for any of `interest`.
    ///
    /// Errors and hang-ups end every wait, whatever the fd was registered for. So
    /// [`Interest::ERROR`] can be waited for alone, except with `select`, which reports errors and
    /// hang-ups as readiness to read and to write.
    ///
    /// # Errors
    ///
    /// | kind | reason |
    /// |---|---|
    /// | [`InvalidInput`](io::ErrorKind::InvalidInput) | `interest` is empty, or the fd was not registered for all of it |
    /// | [`Unsupported`](io::ErrorKind::Unsupported) | `interest` has ERROR without READABLE or WRITABLE, and the backend (`select`) cannot wait for that |
    /// | [`Other`](io::ErrorKind::Other) | the runtime is gone |
    /// | any other | the backend's error |
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropping the future loses no readiness.
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
    pub fn ready(
        &self,
        interest: Interest,
    ) -> impl Future<Output = io::Result<AsyncFdReadyGuard<'_, T>>> {
        let mut ready = self.registered.ready(interest);
        poll_fn(move |cx| {
            let held = ready!(ready.poll(&self.registered, cx))?;
            Poll::Ready(Ok(AsyncFdReadyGuard::new(self, held)))
        })
    }

    /// Same as [`ready`](AsyncFd::ready), but the guard gives mutable access to the value.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// Same as [`ready`](AsyncFd::ready).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::{AsyncFd, Interest};
    /// use std::io::{self, Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, mut there) = UnixStream::pair()?;
    ///     here.set_nonblocking(true)?;
    ///     there.write_all(b"hi")?;
    ///     reveille::block_on(async {
    ///         let mut here = AsyncFd::new(here)?;
    ///         let mut guard = here.ready_mut(Interest::READABLE).await?;
    ///         guard.get_inner_mut().read_exact(&mut [0; 2])?;
    ///         here.writable_mut().await?.get_inner_mut().write_all(b"ho")
    ///     })
    /// }
    /// ```
    pub async fn ready_mut(
        &mut self,
        interest: Interest,
    ) -> io::Result<AsyncFdReadyMutGuard<'_, T>> {
        let held = {
            let mut ready = self.registered.ready(interest);
            poll_fn(|cx| ready.poll(&self.registered, cx)).await?
        };
        Ok(AsyncFdReadyMutGuard::new(self, held))
    }

    /// Waits until a read would not block.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// Same as [`ready`](AsyncFd::ready).
    pub fn readable(&self) -> impl Future<Output = io::Result<AsyncFdReadyGuard<'_, T>>> {
        self.ready(Interest::READABLE)
    }

    /// Same as [`readable`](AsyncFd::readable), but the guard gives mutable access to the value.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// Same as [`ready`](AsyncFd::ready).
    pub async fn readable_mut(&mut self) -> io::Result<AsyncFdReadyMutGuard<'_, T>> {
        self.ready_mut(Interest::READABLE).await
    }

    /// Waits until a write would not block.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// Same as [`ready`](AsyncFd::ready).
    pub fn writable(&self) -> impl Future<Output = io::Result<AsyncFdReadyGuard<'_, T>>> {
        self.ready(Interest::WRITABLE)
    }

    /// Same as [`writable`](AsyncFd::writable), but the guard gives mutable access to the value.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// Same as [`ready`](AsyncFd::ready).
    pub async fn writable_mut(&mut self) -> io::Result<AsyncFdReadyMutGuard<'_, T>> {
        self.ready_mut(Interest::WRITABLE).await
    }
}

/// `poll_` methods, for futures written by hand.
///
/// Each task that polls is stored once, and all stored tasks are woken. A stored waker cannot be
/// removed, so a task that no longer waits is woken once without need. If more than 4,096 wakers
/// are stored, all of them are woken; the futures above have no such limit.
impl<T: AsFd> AsyncFd<T> {
    /// Polls until a read would not block.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::AsyncFd;
    /// use std::future::poll_fn;
    /// use std::io;
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, there) = UnixStream::pair()?;
    ///     here.set_nonblocking(true)?;
    ///     reveille::block_on(async {
    ///         let mut here = AsyncFd::new(here)?;
    ///         poll_fn(|cx| here.poll_write_ready_mut(cx).map_ok(drop)).await?;
    ///         drop(there);
    ///         poll_fn(|cx| here.poll_read_ready(cx).map_ok(drop)).await?;
    ///         poll_fn(|cx| here.poll_read_ready_mut(cx).map_ok(drop)).await
    ///     })
    /// }
    /// ```
    pub fn poll_read_ready<'a>(
        &'a self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'a, T>>> {
        let held = ready!(self.registered.poll_ready(Direction::Read, cx))?;
        Poll::Ready(Ok(AsyncFdReadyGuard::new(self, held)))
    }

    /// Same as [`poll_read_ready`](AsyncFd::poll_read_ready), but the guard gives mutable access to
    /// the value.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    pub fn poll_read_ready_mut<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyMutGuard<'a, T>>> {
        let held = ready!(self.registered.poll_ready(Direction::Read, cx))?;
        Poll::Ready(Ok(AsyncFdReadyMutGuard::new(self, held)))
    }

    /// Polls until a write would not block.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    pub fn poll_write_ready<'a>(
        &'a self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'a, T>>> {
        let held = ready!(self.registered.poll_ready(Direction::Write, cx))?;
        Poll::Ready(Ok(AsyncFdReadyGuard::new(self, held)))
    }

    /// Same as [`poll_write_ready`](AsyncFd::poll_write_ready), but the guard gives mutable access
    /// to the value.
    ///
    /// # Errors
    ///
    /// Same as [`ready`](AsyncFd::ready).
    pub fn poll_write_ready_mut<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyMutGuard<'a, T>>> {
        let held = ready!(self.registered.poll_ready(Direction::Write, cx))?;
        Poll::Ready(Ok(AsyncFdReadyMutGuard::new(self, held)))
    }
}
