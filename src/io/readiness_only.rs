//! [`ReadinessOnly`]: a value whose fd is waited for, and that needs no non-blocking mode.

use super::registered_fd::RegisteredFd;
use super::{AsyncFd, Interest};
use crate::place::Place;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The value of an [`AsyncFd`] that was made by [`readiness_only`](AsyncFd::readiness_only).
///
/// It implements neither `Read` nor `Write`, so the traits for streams are not implemented for the
/// `AsyncFd`. A call on the value in it, which may block, is made on purpose only: through
/// [`get_ref`](ReadinessOnly::get_ref).
///
/// # Examples
///
/// ```compile_fail
/// # use reveille::io::{AsyncFd, Interest, ReadinessOnly};
/// # use std::io::Read;
/// fn read(fd: &mut ReadinessOnly<std::fs::File>) -> std::io::Result<usize> {
///     fd.read(&mut [0; 8]) // error: no method named `read`
/// }
/// ```
#[derive(Debug)]
pub struct ReadinessOnly<T>(T);

impl<T> ReadinessOnly<T> {
    /// Returns a reference to the value.
    pub fn get_ref(&self) -> &T {
        &self.0
    }

    /// Returns a mutable reference to the value. [`AsyncFd::get_mut`] says what must not be done
    /// with it.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: AsFd> AsFd for ReadinessOnly<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd> AsyncFd<ReadinessOnly<T>> {
    /// Registers an fd that is only waited for. It need not be in non-blocking mode, and its flags
    /// are not changed.
    ///
    /// Use it for a pidfd; for a timerfd, eventfd or inotify instance that other code made and
    /// reads; for the socket of a C library whose functions are called when it is ready.
    ///
    /// An fd in blocking mode never returns `WouldBlock`, which would show that the cached
    /// readiness is used up. So the kernel confirms the readiness by poll(2) each time that a wait
    /// is about to end, and each time that [`async_io`](AsyncFd::async_io),
    /// [`poll_io`](AsyncFd::poll_io) or [`try_io`](AsyncFd::try_io) is about to make its call. If
    /// it does not, the wait goes on, and `try_io` returns `WouldBlock` without a call. So one read
    /// or write after each wait does not block the loop, with these exceptions:
    ///
    /// - Other code has used the fd in between.
    /// - A write of more bytes than there is room for. poll(2) reports room for one byte.
    /// - Linux reports a datagram that it then drops, because its checksum is wrong (select(2),
    ///   section BUGS).
    /// - The fd is not a socket and `interest` contains [`PRIORITY`](Interest::PRIORITY): a call of
    ///   poll(2) would take the report of a change from files such as /proc/self/mounts.
    ///
    /// Other threads, and threads of other runtimes, wait as for any `AsyncFd`: they check
    /// with poll(2) first.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`AsyncFd::new`], but not that for blocking mode. Returns
    /// `InvalidInput` if `interest` is empty. On failure the value is dropped; to keep it, pass a
    /// reference to it.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::{AsyncFd, Interest, ReadinessOnly};
    /// use std::io::{self, Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// fn main() -> io::Result<()> {
    ///     // Both ends are in blocking mode.
    ///     let (here, mut there) = UnixStream::pair()?;
    ///     reveille::block_on(async {
    ///         let fd: AsyncFd<ReadinessOnly<UnixStream>> =
    ///             AsyncFd::readiness_only(here, Interest::READABLE)?;
    ///         there.write_all(b"hello")?;
    ///         fd.readable().await?.retain_ready();
    ///         let mut buf = [0; 8];
    ///         assert_eq!(fd.get_ref().get_ref().read(&mut buf)?, 5);
    ///         // Nothing is left: this makes no call.
    ///         let nothing = fd.try_io(Interest::READABLE, |fd| fd.get_ref().read(&mut buf));
    ///         assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    ///         let _here: UnixStream = fd.into_inner().into_inner();
    ///         Ok(())
    ///     })
    /// }
    /// ```
    #[track_caller]
    pub fn readiness_only(value: T, interest: Interest) -> io::Result<AsyncFd<ReadinessOnly<T>>> {
        let registered = RegisteredFd::readiness_only(value.as_fd(), interest, Place::here())?;
        Ok(AsyncFd::with_registered(registered, ReadinessOnly(value)))
    }
}
