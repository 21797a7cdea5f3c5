//! [`ExitWatch`] notices that a process may have ended: by a pidfd, or by SIGCHLD.

use crate::interest::Interest;
use crate::place::Place;
use crate::reactor::direction::Direction;
use crate::reactor::registration::Registration;
use crate::reactor::{Closing, Watch};
use crate::runtime;
use crate::signals::{Listener, SignalKind};
use crate::sys::process::{is_no_process, lost, pidfd_open};
use crate::sys::syscall::failure;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long to wait before the next try if a process cannot be reaped although its pidfd is
/// readable. That is so while a debugger of another process has not yet let go of it.
const RETRY: Duration = Duration::from_millis(10);

/// What is acquired before a process is started.
#[derive(Debug)]
pub(super) enum Prepared {
    /// A pidfd of this process, registered, whose place the child's will take.
    Pidfd(Pidfd),
    Sigchld(Listener),
}

impl Prepared {
    /// `by_sigchld`: without a pidfd.
    ///
    /// # Errors
    ///
    /// If no runtime runs on this thread, or if neither way works.
    pub(super) fn new(by_sigchld: bool, place: Place) -> io::Result<Prepared> {
        if !by_sigchld {
            if let Ok(own) = Pidfd::new(std::process::id(), place) {
                return Ok(Prepared::Pidfd(own));
            }
        }
        listen().map(Prepared::Sigchld)
    }
}

fn listen() -> io::Result<Listener> {
    Listener::new(runtime::signal_hub()?, &[SignalKind::child()])
}

/// Notices that a process may have ended.
#[derive(Debug)]
pub(super) enum ExitWatch {
    Pidfd(Pidfd),
    Sigchld {
        listener: Listener,
        /// Whether the caller has looked at the process after the listener was made.
        has_looked: bool,
    },
    /// There is no such process any more: the system has reaped it itself, as it does while SIGCHLD
    /// is ignored, or other code has. Its status is lost, and its number may be that of another
    /// process.
    Gone,
}

/// A descriptor of a process, registered with a runtime.
#[derive(Debug)]
pub(super) struct Pidfd {
    /// `None` only during the drop.
    fd: Option<OwnedFd>,
    registration: Registration,
}

impl ExitWatch {
    /// Watches a child with this number, which was not reaped.
    ///
    /// # Errors
    ///
    /// If neither way works.
    pub(super) fn new(id: u32, prepared: Prepared, place: Place) -> io::Result<ExitWatch> {
        let listener = match prepared {
            Prepared::Sigchld(listener) => listener,
            Prepared::Pidfd(own) => {
                drop(own);
                match Pidfd::new(id, place) {
                    Ok(pidfd) => return Ok(ExitWatch::Pidfd(pidfd)),
                    Err(error) if is_no_process(&error) => return Ok(ExitWatch::Gone),
                    // Another thread has taken the last descriptor meanwhile.
                    Err(_) => listen()?,
                }
            }
        };
        Ok(ExitWatch::Sigchld {
            listener,
            has_looked: false,
        })
    }

    /// Returns the pidfd, if there is one.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            ExitWatch::Pidfd(pidfd) => pidfd.fd.as_ref().map(AsFd::as_fd),
            ExitWatch::Sigchld { .. } | ExitWatch::Gone => None,
        }
    }

    /// Waits until the process may have ended. Ready means that the caller should look: if it
    /// finds no end, it calls [`look_again`](ExitWatch::look_again).
    ///
    /// # Errors
    ///
    /// If the runtime has ended.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self {
            ExitWatch::Pidfd(pidfd) => {
                let (fd, registration) = (pidfd.raw(), &pidfd.registration);
                let seen = ready!(registration.poll_ready(fd, Direction::Read, cx));
                Poll::Ready(seen.map(drop).map_err(|error| match error.raw_os_error() {
                    Some(_) => error,
                    None => runtime_gone(),
                }))
            }
            ExitWatch::Sigchld { listener, .. } => match ready!(listener.poll_recv(cx)) {
                Some(_) => Poll::Ready(Ok(())),
                None => Poll::Ready(Err(runtime_gone())),
            },
            ExitWatch::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Whether the process may have ended before the watch began, so that the caller has to look
    /// before it waits. True once.
    pub(super) fn must_look_first(&mut self) -> bool {
        match self {
            // It is readable, however long ago the process has ended.
            ExitWatch::Pidfd(_) | ExitWatch::Gone => false,
            ExitWatch::Sigchld { has_looked, .. } => !std::mem::replace(has_looked, true),
        }
    }

    /// The caller has looked and found no end. Ready: it should wait again. Pending: the task will
    /// be woken.
    pub(super) fn look_again(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // It stays readable.
            ExitWatch::Pidfd(pidfd) => match pidfd.registration.wake_after(RETRY, cx) {
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready(Err(runtime_gone())),
            },
            // It was the end of another process.
            ExitWatch::Sigchld { .. } => Poll::Ready(Ok(())),
            // The look has found that as well.
            ExitWatch::Gone => Poll::Ready(Err(lost())),
        }
    }
}

impl Pidfd {
    fn new(id: u32, place: Place) -> io::Result<Pidfd> {
        let fd = pidfd_open(id)?;
        let registration = Registration::new(fd.as_fd(), Watch::Custom(Interest::READABLE), place)?;
        Ok(Pidfd {
            fd: Some(fd),
            registration,
        })
    }

    fn raw(&self) -> i32 {
        let fd = self.fd.as_ref().expect("only the drop takes it");
        fd.as_raw_fd()
    }
}

impl Drop for Pidfd {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            let lent = false;
            self.registration.close(Closing { fd, lent });
        }
    }
}

#[cold]
fn runtime_gone() -> io::Error {
    failure(
        io::ErrorKind::Other,
        "cannot wait for this child any longer: the runtime that it was started on has ended; call `try_wait`, or keep the \
         runtime until the child has ended",
    )
}
