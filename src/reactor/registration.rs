//! What an I/O type holds of the reactor: a [`Registration`], plain data that names a registered fd and its runtime.
//!
//! Each operation asks one question first: does this thread own that runtime's driver? The owner works on the cached
//! readiness. Any other thread, and the owner's thread while it does not run the loop, makes its system call itself,
//! asks `poll(2)` and sends a message when it has to wait (`remote.rs`): slower, and right. When the runtime is
//! gone, waiting is an error; system calls that need no waiting go on working.

use super::Watch;
use super::driver::{CURRENT, Driver, REMOTES, Seen};
use super::io_state::{Direction, answers};
use super::remote::Message;
use crate::backend;
use crate::budget;
use crate::interest::{Interest, Readiness};
use crate::sys::syscall::{Answer, failure};
use crate::token::{RuntimeId, Token};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Names one registered fd. Not tied to it by a lifetime: whoever holds both ends it before the fd is closed, with
/// [`close`](Registration::close) or [`end`](Registration::end).
#[derive(Debug)]
pub(crate) struct Registration {
    token: Token,
    runtime: RuntimeId,
}

impl Registration {
    /// Registers an fd with the runtime that this thread runs.
    ///
    /// # Errors
    ///
    /// When no runtime runs here, when the fd is registered already, and what the mechanism says.
    pub(crate) fn new(fd: BorrowedFd<'_>, watch: Watch) -> io::Result<Registration> {
        CURRENT.with(|driver| {
            let driver = driver.ok_or_else(no_runtime)?;
            let token = driver
                .register(fd, watch)
                .map_err(|error| explain(error, driver))?;
            Ok(Registration {
                token,
                runtime: driver.id(),
            })
        })
    }

    /// Runs `f` with the driver if this thread owns it.
    #[inline]
    fn owner<R>(&self, f: impl FnOnce(Option<&Driver>) -> R) -> R {
        CURRENT.with_named(self.runtime.number(), f)
    }

    /// Reads or writes at most `len` bytes by `call`, a call of `sys` that runs no foreign code, as soon as the fd is ready.
    ///
    /// `len` is what the call could move; 0 says that a short result proves nothing.
    #[inline]
    pub(crate) fn poll_io<A: Answer>(
        &self,
        fd: impl AsRawFd,
        direction: Direction,
        cx: &Context<'_>,
        len: usize,
        mut call: impl FnMut() -> A,
    ) -> Poll<io::Result<usize>> {
        self.owner(|driver| match driver {
            Some(driver) => driver.poll_io(self.token, direction, cx, len, call),
            None => self.poll_call_elsewhere(fd, direction, cx, move || call().result()),
        })
    }

    /// Runs `call` as soon as the fd is ready, whatever it returns; for `accept` and for calls of the user's own.
    pub(crate) fn poll_call<R>(
        &self,
        fd: impl AsRawFd,
        direction: Direction,
        cx: &Context<'_>,
        call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.owner(|driver| match driver {
            Some(driver) => driver.poll_call(self.token, direction, cx, call),
            None => self.poll_call_elsewhere(fd, direction, cx, call),
        })
    }

    #[cold]
    fn poll_call_elsewhere<R>(
        &self,
        fd: impl AsRawFd,
        direction: Direction,
        cx: &Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        // The task may be another runtime's, which wants its turns back.
        if budget::check(cx).is_pending() {
            return Poll::Pending;
        }
        let fd = fd.as_raw_fd();
        for _ in 0..2 {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => {
                    budget::spend();
                    return Poll::Ready(done);
                }
            }
            match self.poll_elsewhere(fd.as_raw_fd(), direction.interest(), cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Ready by poll(2) and not by the call, twice: let the others run before the next try.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the fd is ready in one direction; stores the waker if not.
    #[inline]
    pub(crate) fn poll_ready(
        &self,
        fd: impl AsRawFd,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        self.owner(|driver| match driver {
            Some(driver) => driver.poll_ready(self.token, direction, cx),
            None => self.poll_elsewhere(fd.as_raw_fd(), direction.interest(), cx),
        })
    }

    /// Off the owner's thread: asks `poll(2)`, and sends a message for what is not ready.
    #[cold]
    #[inline(never)]
    fn poll_elsewhere(
        &self,
        fd: RawFd,
        interest: Interest,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        let remote = REMOTES.get(self.runtime).ok_or_else(gone)?;
        let readiness = backend::look(fd, interest)?;
        if readiness.intersects(answers(interest)) {
            return Poll::Ready(Ok(Seen {
                round: Seen::ELSEWHERE,
                readiness,
            }));
        }
        let waited_for = Direction::ALL
            .into_iter()
            .filter(|d| interest.contains(d.interest()));
        for direction in waited_for {
            let waker = cx.waker().clone();
            let message = Message::Arm {
                token: self.token,
                direction,
                waker,
            };
            remote.push(message).map_err(|_| gone())?;
        }
        Poll::Pending
    }

    /// Waits until the fd is ready for any of `interest`; any number of these futures may wait at once.
    pub(crate) fn ready(&self, fd: impl AsRawFd, interest: Interest) -> Readying<'_> {
        Readying {
            registration: self,
            fd: fd.as_raw_fd(),
            interest,
            id: 0,
        }
    }

    /// The cached readiness, whatever it is; none off the owner's thread.
    pub(crate) fn cached(&self) -> Option<Seen> {
        self.owner(|driver| driver.and_then(|driver| driver.cached(self.token)))
    }

    /// Clears cached readiness as it was seen. Off the owner's thread there is none, and nothing to clear.
    pub(crate) fn clear(&self, seen: Seen, bits: Readiness) -> io::Result<()> {
        self.owner(|driver| match driver {
            Some(driver) => driver.clear(self.token, seen.round, bits),
            None => Ok(()),
        })
    }

    /// Makes a call now, whatever the cached readiness says, and clears that when the call would block.
    #[inline]
    pub(crate) fn try_io<R>(
        &self,
        direction: Direction,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        let seen = self.cached();
        let result = call();
        if let (Some(seen), Err(error)) = (seen, &result) {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.clear(seen, direction.bit())?;
            }
        }
        result
    }

    /// From now on a short read or write of this stream proves nothing. False: not known here, for another thread owns it.
    pub(crate) fn distrust_short(&self) -> bool {
        self.owner(|driver| {
            if let Some(driver) = driver {
                driver.distrust_short(self.token);
            }
            driver.is_some()
        })
    }

    /// Has the mechanism look at the fd again, whatever it has told: after a call that makes it ready, such as `shutdown`,
    /// of which a mechanism that is armed may say nothing.
    pub(crate) fn look_again(&self) {
        self.owner(|driver| match driver {
            Some(driver) => driver.look_again(self.token),
            None => {
                if let Some(remote) = REMOTES.get(self.runtime) {
                    // A closed queue: nobody waits any more.
                    let _ = remote.push(Message::LookAgain { token: self.token });
                }
            }
        });
    }

    /// Ends the registration and closes the fd. Elsewhere than on the owner's thread the fd travels with the message,
    /// so that its number is not used again before the owner has forgotten it.
    pub(crate) fn close(&self, fd: OwnedFd) {
        self.end_with(Some(fd));
    }

    /// Ends the registration of an fd that lives on.
    pub(crate) fn end(&self) {
        self.end_with(None);
    }

    fn end_with(&self, fd: Option<OwnedFd>) {
        self.owner(|driver| match driver {
            Some(driver) => {
                // What is gone is gone: there is nobody to tell.
                let _ = driver.deregister(self.token, fd);
            }
            None => {
                if let Some(remote) = REMOTES.get(self.runtime) {
                    // A closed queue gives the message back, and dropping it closes the fd.
                    let _ = remote.push(Message::Deregister {
                        token: self.token,
                        fd,
                    });
                }
            }
        });
    }
}

/// The future of [`Registration::ready`]. Dropping it takes its waker off.
#[derive(Debug)]
pub(crate) struct Readying<'a> {
    registration: &'a Registration,
    fd: RawFd,
    interest: Interest,
    /// 0 until it had to wait on the owner's thread.
    id: u32,
}

impl Future for Readying<'_> {
    type Output = io::Result<Seen>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Seen>> {
        if budget::check(cx).is_pending() {
            return Poll::Pending;
        }
        let this = &mut *self;
        let registration = this.registration;
        let polled = registration.owner(|driver| match driver {
            Some(driver) => {
                driver.poll_ready_named(registration.token, &mut this.id, this.interest, cx)
            }
            None => registration.poll_elsewhere(this.fd, this.interest, cx),
        });
        if polled.is_ready() {
            budget::spend();
        }
        polled
    }
}

impl Drop for Readying<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            self.registration.owner(|driver| {
                if let Some(driver) = driver {
                    driver.forget_waiter(self.registration.token, self.id);
                }
            });
        }
    }
}

/// Whether something can be registered here, for who had better know before he begins.
pub(crate) fn check_runtime() -> io::Result<()> {
    if CURRENT.with(|driver| driver.is_some()) {
        Ok(())
    } else {
        Err(no_runtime())
    }
}

/// Whether the mechanism of the runtime that runs here lets errors end a wait for nothing else.
pub(crate) fn tells_errors() -> bool {
    CURRENT.with(|driver| driver.is_some_and(Driver::tells_errors))
}

/// No runtime runs on this thread.
#[cold]
pub(crate) fn no_runtime() -> io::Error {
    failure(io::ErrorKind::Other, NO_RUNTIME)
}

/// What is said, as an error or a panic, when something needs a runtime and none runs here.
pub(crate) const NO_RUNTIME: &str = "no reveille runtime runs on this thread: call this inside `block_on`, `Runtime::run` or `Runtime::enter`";

/// The runtime of a handle has ended.
#[cold]
pub(crate) fn gone() -> io::Error {
    failure(
        io::ErrorKind::Other,
        "the runtime that this socket or timer was registered with is gone (each `reveille::block_on` makes a new one)",
    )
}

/// Says why an fd could not be registered, where the kernel's number alone puzzles.
#[cold]
fn explain(error: io::Error, driver: &Driver) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "this fd is registered with this runtime already: share the one handle, or dup(2) the fd"
        }
        io::ErrorKind::StorageFull => {
            "the kernel's limit of watched fds is reached (on Linux: sysctl fs.epoll.max_user_watches)"
        }
        io::ErrorKind::PermissionDenied => {
            return io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "{} cannot wait for this kind of file",
                    driver.backend_name()
                ),
            );
        }
        _ => return error,
    };
    io::Error::new(error.kind(), why)
}
