//! [`RegisteredFd`]: the registration of an [`AsyncFd`](super::AsyncFd). It checks the fd and the
//! interest of each wait.

use super::error;
use super::{Interest, Ready};
use crate::backend::is_always_ready;
use crate::budget;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::direction::{Direction, Seen, visible_bits};
use crate::reactor::registration::{
    ReadyFuture, Registration, check_not_empty, refuses_files, reports_errors,
};
use crate::sys::fd::{FileKind, file_kind, is_nonblocking};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A registration that ends when it is dropped.
#[derive(Debug)]
pub(super) struct RegisteredFd {
    pub(super) registration: Registration,
    /// The number that was registered, whatever `T::as_fd` returns later.
    pub(super) fd: RawFd,
    pub(super) interest: Interest,
    /// Whether a wait for ERROR without READABLE and WRITABLE can end.
    errors_alone: bool,
    /// Whether each wait and each call asks poll(2) first: see [`RegisteredFd::readiness_only`].
    confirms: bool,
}

impl Drop for RegisteredFd {
    fn drop(&mut self) {
        self.registration.end(self.fd);
    }
}

impl RegisteredFd {
    /// Registers an fd on which calls are made, so it must be in non-blocking mode.
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        interest: Interest,
        place: Place,
    ) -> io::Result<RegisteredFd> {
        check_pollable(fd, interest)?;
        if !is_nonblocking(fd)? {
            // For a file that cannot be polled, O_NONBLOCK would change nothing, so report that
            // error instead.
            return Err(match is_always_ready(fd)? {
                true => error::not_pollable(),
                false => error::blocking(),
            });
        }
        RegisteredFd::register(fd, interest, false, place)
    }

    /// Registers an fd in any mode. No call on it may return `WouldBlock`, which would clear the
    /// cached readiness, so poll(2) has to confirm the readiness each time.
    ///
    /// It cannot where a call of poll(2) has an effect: files such as /proc/self/mounts report each
    /// change to one call only. They report it as PRIORITY, so an fd that is registered for that is
    /// not confirmed, unless it is a socket.
    pub(super) fn readiness_only(
        fd: BorrowedFd<'_>,
        interest: Interest,
        place: Place,
    ) -> io::Result<RegisteredFd> {
        check_pollable(fd, interest)?;
        let confirms = !interest.is_priority() || file_kind(fd)? == FileKind::Socket;
        RegisteredFd::register(fd, interest, confirms, place)
    }

    fn register(
        fd: BorrowedFd<'_>,
        interest: Interest,
        confirms: bool,
        place: Place,
    ) -> io::Result<RegisteredFd> {
        let registration = match Registration::new(fd, Watch::Custom(interest), place) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported && is_always_ready(fd)? => {
                return Err(error::not_pollable());
            }
            made => made?,
        };
        Ok(RegisteredFd {
            registration,
            fd: fd.as_raw_fd(),
            interest,
            errors_alone: reports_errors(),
            confirms,
        })
    }

    /// Checks that a wait for `interest` can end. Backends report errors to every registration, but
    /// some only together with READABLE or WRITABLE.
    pub(super) fn check(&self, interest: Interest) -> io::Result<()> {
        check_not_empty(interest)?;
        if !self.interest.contains(interest - Interest::ERROR) {
            return Err(error::not_registered_for(interest, self.interest));
        }
        let with_errors = interest.is_readable() || interest.is_writable();
        if interest.is_error() && !with_errors && !self.errors_alone {
            return Err(error::errors_alone());
        }
        Ok(())
    }

    /// Waits until the fd is ready for any of `interest`.
    pub(super) fn ready(&self, interest: Interest) -> Waiting<'_> {
        Waiting(self.registration.ready(self.fd, interest))
    }

    pub(super) fn poll_ready(
        &self,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Held>> {
        let interest = direction.interest();
        self.check(interest)?;
        ready!(budget::check(cx));
        loop {
            let seen = ready!(self.registration.poll_ready(self.fd, direction, cx))?;
            if let Some(held) = self.confirm(seen, interest)? {
                budget::spend();
                return Poll::Ready(Ok(held));
            }
        }
    }

    /// Returns the readiness that a wait has found. `None`: it was out of date, and is cleared.
    fn confirm(&self, seen: Seen, interest: Interest) -> io::Result<Option<Held>> {
        // Off the owner's thread it comes from poll(2).
        if !self.confirms || seen.is_remote() {
            return Ok(Some(Held::new(seen, interest)));
        }
        let readiness = self.registration.confirm(self.fd, seen, interest)?;
        Ok(readiness.map(|readiness| Held::new(Seen { readiness, ..seen }, interest)))
    }

    /// Makes a call, which returns `WouldBlock` if poll(2) does not confirm that the fd is ready.
    fn call<R>(&self, interest: Interest, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        if self.confirms {
            let nothing = Seen::remote(Ready::EMPTY);
            let seen = self.registration.cached().unwrap_or(nothing);
            let confirmed = self.registration.confirm(self.fd, seen, interest)?;
            confirmed.ok_or(io::ErrorKind::WouldBlock)?;
        }
        call()
    }

    /// Waits until the fd is ready for any of `interest`, and makes a call. Repeats both while the
    /// call would block.
    pub(super) async fn async_io<R>(
        &self,
        interest: Interest,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        self.check(interest)?;
        let call = || self.call(interest, &mut call);
        self.registration.async_io(self.fd, interest, call).await
    }

    /// As [`async_io`](RegisteredFd::async_io), for a future written by hand.
    pub(super) fn poll_io<R>(
        &self,
        interest: Interest,
        cx: &Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.check(interest)?;
        let call = || self.call(interest, &mut call);
        self.registration
            .poll_ready_call(self.fd, interest, cx, call)
    }

    /// Makes a call now. `WouldBlock` clears the cached bits for `interest`.
    pub(super) fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.check(interest)?;
        let call = || self.call(interest, call);
        self.registration.try_io(interest, call)
    }
}

/// Checks that a wait can end, and that the kernel can wait for the file.
fn check_pollable(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
    check_not_empty(interest)?;
    // A backend that accepts such a file would report it as ready all the time, as poll(2) does.
    if !refuses_files() && is_always_ready(fd)? {
        return Err(error::not_pollable());
    }
    Ok(())
}

/// The readiness that a guard stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The bits that the guard has not cleared.
    ready: Ready,
    round: u32,
}

impl Held {
    /// Keeps the bits of `seen` that concern `interest`.
    pub(super) fn new(seen: Seen, interest: Interest) -> Held {
        Held {
            ready: seen.readiness & visible_bits(interest),
            round: seen.round,
        }
    }

    pub(super) fn ready(&self) -> Ready {
        self.ready
    }

    pub(super) fn clear(&mut self, registration: &Registration, bits: Ready) {
        let bits = self.ready & bits;
        self.ready = self.ready - bits;
        // On failure the reactor keeps the bits, and the next call on the fd reports the error.
        let _ = registration.clear(self.round, bits);
    }
}

/// The future of [`RegisteredFd::ready`]. Written by hand because every idle fd keeps one, so its
/// size matters.
pub(super) struct Waiting<'a>(ReadyFuture<'a>);

impl Waiting<'_> {
    /// Polls the wait. `registered` is the one that made this future.
    pub(super) fn poll(
        &mut self,
        registered: &RegisteredFd,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Held>> {
        let interest = self.0.interest();
        registered.check(interest)?;
        loop {
            let seen = ready!(Pin::new(&mut self.0).poll(cx))?;
            if let Some(held) = registered.confirm(seen, interest)? {
                return Poll::Ready(Ok(held));
            }
        }
    }
}
