//! [`AsyncFd`]: any fd that the kernel can poll, registered while the value lives. Its waits are in
//! `readiness.rs`.

use super::registered_fd::RegisteredFd;
use super::{AsyncFdTryNewError, Interest};
use crate::place::Place;
use crate::reactor::registration::Registration;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

/// Registers a value's fd with the runtime, so that tasks can wait for it.
///
/// `AsyncFd` waits; you read and write. Wait with [`readable`](AsyncFd::readable), make the system
/// call on the value, and report `WouldBlock` to the guard. [`async_io`](AsyncFd::async_io) does
/// these three steps in a loop.
///
/// Any number of tasks may wait for one `AsyncFd` at the same time, in any direction. Share it by
/// an [`Rc`](std::rc::Rc) or an [`Arc`](std::sync::Arc). It is [`Send`] and [`Sync`] if `T` is.
///
/// # Requirements
///
/// | requirement | notes |
/// |---|---|
/// | `O_NONBLOCK` is set | Set it yourself: `set_nonblocking(true)` for sockets of `std`, `custom_flags(O_NONBLOCK)` for a file or FIFO that you open, [`set_nonblocking`](super::set_nonblocking()) for any other fd. `AsyncFd` only checks it, because the flag belongs to the open file, which other processes may share, as with a terminal. An fd that is only waited for does not need it: see [`readiness_only`](AsyncFd::readiness_only). |
/// | the kernel can poll the file | No system can wait for a regular file on a disk, a directory, or a device such as /dev/null. Many files in /proc, /sys and cgroups can be polled: /proc/self/mounts, cgroup.events and pressure files report a change as [`Interest::PRIORITY`]. |
/// | the fd is registered once | To use it in two places, share the `AsyncFd`, or duplicate the fd with `dup(2)`. |
/// | [`AsFd`] returns the same open fd as long as the `AsyncFd` lives | The registered number is the one that is watched and deregistered. |
///
/// # Threads
///
/// An `AsyncFd` belongs to the runtime that ran on the thread that created it. Another thread can
/// wait for it; each wait sends a message to the runtime's thread. If the runtime is gone, waiting
/// is an error, and the value still works.
///
/// | dropped | what happens |
/// |---|---|
/// | on the runtime's thread | The fd is deregistered, then the value is dropped. |
/// | on another thread | A message with the deregistration is sent, then the value is dropped at once. Before that, epoll and io_uring release the file, so that a duplicate of the fd that lives on does not wake the loop. On io_uring before Linux 6.0, the file stays open until the runtime's thread runs the loop. |
///
/// # Reading and writing
///
/// If `T` has [`Read`](std::io::Read) or [`Write`](std::io::Write), `AsyncFd<T>` has `AsyncRead` or
/// `AsyncWrite` of `futures-io`, of tokio, and hyper's `Read` or `Write`, with the feature of that
/// name. If `&T` has them, `&AsyncFd<T>` has them too. Closing flushes the value and no more: the
/// peer sees the end when the value is dropped.
///
/// # Examples
///
/// Reading and writing a stream of `std`:
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
    /// Before `inner`, so that the fd is deregistered while it is open.
    pub(super) registered: RegisteredFd,
    inner: T,
}

impl<T: AsFd> AsyncFd<T> {
    /// Registers a value's fd for reading and writing, with the runtime of this thread.
    ///
    /// # Errors
    ///
    /// On failure the value is dropped; [`try_new`](AsyncFd::try_new) returns it.
    ///
    /// | kind | reason |
    /// |---|---|
    /// | [`Unsupported`](io::ErrorKind::Unsupported) | the kernel cannot poll the file (a regular file on a disk, a directory), or the backend in use cannot watch it |
    /// | [`InvalidInput`](io::ErrorKind::InvalidInput) | `O_NONBLOCK` is not set |
    /// | [`AlreadyExists`](io::ErrorKind::AlreadyExists) | the fd is already registered with this runtime. (The kernel watches an accepted TCP stream from its first wait on. If an `AsyncFd` takes its fd before, that wait returns this error) |
    /// | [`Other`](io::ErrorKind::Other) | no runtime runs on this thread |
    /// | any other | the system's error, such as a limit that was reached |
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
    #[track_caller]
    pub fn new(inner: T) -> io::Result<AsyncFd<T>> {
        Ok(AsyncFd::try_new(inner)?)
    }

    /// Registers a value's fd for `interest` only. Waiting for anything else is an error.
    ///
    /// # Errors
    ///
    /// Same as [`new`](AsyncFd::new), and `InvalidInput` if `interest` is empty.
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
    ///         let here = AsyncFd::with_interest(here, Interest::READABLE)?;
    ///         let refused = here.writable().await;
    ///         assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    ///         Ok(())
    ///     })
    /// }
    /// ```
    #[track_caller]
    pub fn with_interest(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
        Ok(AsyncFd::try_with_interest(inner, interest)?)
    }

    /// Same as [`new`](AsyncFd::new), but returns the value if it fails.
    ///
    /// # Errors
    ///
    /// Same as [`new`](AsyncFd::new), together with the value.
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
    ///     reveille::block_on(async {
    ///         let here = match AsyncFd::try_new(here) {
    ///             Ok(fd) => fd,
    ///             Err(error) => {
    ///                 let (here, _reason) = error.into_parts();
    ///                 here.set_nonblocking(true)?;
    ///                 AsyncFd::try_with_interest(here, Interest::WRITABLE)?
    ///             }
    ///         };
    ///         here.writable().await?.retain_ready();
    ///         Ok(())
    ///     })
    /// }
    /// ```
    #[track_caller]
    pub fn try_new(inner: T) -> Result<AsyncFd<T>, AsyncFdTryNewError<T>> {
        AsyncFd::try_with_interest(inner, Interest::READABLE | Interest::WRITABLE)
    }

    /// Same as [`with_interest`](AsyncFd::with_interest), but returns the value if it fails.
    ///
    /// # Errors
    ///
    /// Same as [`with_interest`](AsyncFd::with_interest), together with the value.
    ///
    /// # Examples
    ///
    /// See [`try_new`](AsyncFd::try_new).
    #[track_caller]
    pub fn try_with_interest(
        inner: T,
        interest: Interest,
    ) -> Result<AsyncFd<T>, AsyncFdTryNewError<T>> {
        match RegisteredFd::new(inner.as_fd(), interest, Place::here()) {
            Ok(registered) => Ok(AsyncFd { registered, inner }),
            Err(cause) => Err(AsyncFdTryNewError { inner, cause }),
        }
    }

    /// `registered` is the registration of the fd of `inner`.
    pub(super) fn with_registered(registered: RegisteredFd, inner: T) -> AsyncFd<T> {
        AsyncFd { registered, inner }
    }

    /// Returns a reference to the value.
    #[inline]
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns a mutable reference to the value.
    ///
    /// Do not replace the value by one with another fd. The `AsyncFd` would still watch the old
    /// number, which is then closed or belongs to another file, and waits may hang. (It is memory
    /// safe.) To exchange the fd, call [`into_inner`](AsyncFd::into_inner) and create a new
    /// `AsyncFd`.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Deregisters the fd and returns the value.
    pub fn into_inner(self) -> T {
        let AsyncFd { registered, inner } = self;
        drop(registered);
        inner
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.registered.registration
    }
}

/// System calls on the value.
impl<T: AsFd> AsyncFd<T> {
    /// Waits until the fd is ready for any of `interest`, then calls `f`. Repeats both while `f`
    /// returns `WouldBlock`.
    ///
    /// `f` must return `WouldBlock` only if a call on the fd has returned it.
    ///
    /// # Errors
    ///
    /// Returns the errors of `f`, except `WouldBlock`, and those of [`ready`](AsyncFd::ready).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe if `f` has no effect when it returns `WouldBlock`. Any other result of `f` is
    /// returned by the same poll.
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
        let AsyncFd { registered, inner } = self;
        registered.async_io(interest, || f(inner)).await
    }

    /// Same as [`async_io`](AsyncFd::async_io), but `f` takes the value by mutable reference.
    ///
    /// # Errors
    ///
    /// Same as [`async_io`](AsyncFd::async_io).
    ///
    /// # Cancel safety
    ///
    /// Same as [`async_io`](AsyncFd::async_io).
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
    ///         let mut buf = [0; 8];
    ///         let read = |stream: &mut UnixStream| stream.read(&mut buf);
    ///         let n = here.async_io_mut(Interest::READABLE, read).await?;
    ///         assert_eq!(&buf[..n], b"hi");
    ///         // Now there is nothing left, and `try_io` does not wait.
    ///         let nothing = here.try_io_mut(Interest::READABLE, |stream| stream.read(&mut buf));
    ///         assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub async fn async_io_mut<R>(
        &mut self,
        interest: Interest,
        mut f: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let AsyncFd { registered, inner } = self;
        registered.async_io(interest, || f(inner)).await
    }

    /// Polls until the fd is ready for any of `interest`, then calls `f`. Repeats both while `f`
    /// returns `WouldBlock`. For futures written by hand, and for the `poll_` methods of adapters.
    ///
    /// `f` must return `WouldBlock` only if a call on the fd has returned it.
    ///
    /// The wakers of all tasks that poll are kept, once each and for each direction of `interest`,
    /// and all of them are woken. So any number of tasks may wait for one `AsyncFd`, for the same
    /// direction too. A stored waker cannot be removed: a task that no longer waits is woken once
    /// without need. If more than 4,096 wakers are stored for a direction, all of them are woken.
    ///
    /// # Errors
    ///
    /// Same as [`async_io`](AsyncFd::async_io).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::{AsyncFd, Interest};
    /// use std::future::poll_fn;
    /// use std::io::{self, Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::task::{Context, Poll};
    ///
    /// struct Framed {
    ///     stream: AsyncFd<UnixStream>,
    /// }
    ///
    /// impl Framed {
    ///     fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
    ///         self.stream.poll_io(Interest::READABLE, cx, |mut stream| stream.read(buf))
    ///     }
    /// }
    ///
    /// fn main() -> io::Result<()> {
    ///     let (here, mut there) = UnixStream::pair()?;
    ///     here.set_nonblocking(true)?;
    ///     reveille::block_on(async {
    ///         let framed = Framed { stream: AsyncFd::new(here)? };
    ///         there.write_all(b"hi")?;
    ///         let mut buf = [0; 8];
    ///         assert_eq!(poll_fn(|cx| framed.poll_read(cx, &mut buf)).await?, 2);
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn poll_io<R>(
        &self,
        interest: Interest,
        cx: &mut Context<'_>,
        mut f: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let AsyncFd { registered, inner } = self;
        registered.poll_io(interest, cx, || f(inner))
    }

    /// Same as [`poll_io`](AsyncFd::poll_io), but `f` takes the value by mutable reference.
    ///
    /// # Errors
    ///
    /// Same as [`async_io`](AsyncFd::async_io).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::{AsyncFd, Interest, set_nonblocking};
    /// use std::future::poll_fn;
    /// use std::io::{self, Write};
    /// use std::process::{Command, Stdio};
    ///
    /// fn main() -> io::Result<()> {
    ///     let mut child = Command::new("true").stdin(Stdio::piped()).spawn()?;
    ///     let input = child.stdin.take().expect("it is piped");
    ///     set_nonblocking(&input)?;
    ///     reveille::block_on(async {
    ///         let mut input = AsyncFd::with_interest(input, Interest::WRITABLE)?;
    ///         let write = poll_fn(|cx| {
    ///             input.poll_io_mut(Interest::WRITABLE, cx, |input| input.write(b"y\n"))
    ///         });
    ///         match write.await {
    ///             Ok(written) => assert_eq!(written, 2),
    ///             // `true` reads nothing and may have ended.
    ///             Err(error) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
    ///         }
    ///         io::Result::Ok(())
    ///     })?;
    ///     child.wait().map(drop)
    /// }
    /// ```
    pub fn poll_io_mut<R>(
        &mut self,
        interest: Interest,
        cx: &mut Context<'_>,
        mut f: impl FnMut(&mut T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let AsyncFd { registered, inner } = self;
        registered.poll_io(interest, cx, || f(inner))
    }

    /// Calls `f` now, and clears the cached readiness for `interest` if `f` returns `WouldBlock`.
    ///
    /// Unlike tokio's, it calls `f` even if the cached readiness is empty.
    ///
    /// # Errors
    ///
    /// Returns the errors of `f`, `WouldBlock` included. Returns `InvalidInput` if the fd was not
    /// registered for all of `interest`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        f: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.registered.try_io(interest, || f(&self.inner))
    }

    /// Same as [`try_io`](AsyncFd::try_io), but `f` takes the value by mutable reference.
    ///
    /// # Errors
    ///
    /// Same as [`try_io`](AsyncFd::try_io).
    ///
    /// # Examples
    ///
    /// See [`async_io_mut`](AsyncFd::async_io_mut).
    pub fn try_io_mut<R>(
        &mut self,
        interest: Interest,
        f: impl FnOnce(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let AsyncFd { registered, inner } = self;
        registered.try_io(interest, || f(inner))
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
            .field("fd", &self.registered.fd)
            .field("interest", &self.registered.interest)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom), target_pointer_width = "64"))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn async_fd_and_its_waits_take_32_bytes() {
        crate::block_on(async {
            let (here, _there) = UnixStream::pair().unwrap();
            here.set_nonblocking(true).unwrap();
            let fd = AsyncFd::new(here).unwrap();
            assert!(size_of_val(&fd) <= 32);
            assert!(size_of_val(&fd.readable()) <= 32);
        });
    }
}
