//! The [`Link`] of an [`AsyncFd`](super::AsyncFd) to the reactor: what is checked when it is made and when it is waited on.

use super::error::{blocking, errors_not_told, not_registered_for, nothing_asked, regular_file};
use super::ready_guard::Held;
use super::{Interest, Ready};
use crate::budget;
use crate::reactor::Watch;
use crate::reactor::driver::Seen;
use crate::reactor::io_state::Direction;
use crate::reactor::registration::{Registration, tells_errors};
use crate::sys::fd::{FileKind, file_kind, is_nonblocking};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll, ready};

/// The registration, ended when dropped.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) registration: Registration,
    /// The number that was registered, whatever `T` says later.
    pub(super) fd: RawFd,
    pub(super) interest: Interest,
    /// Whether a wait for errors, and neither to read nor to write, can end.
    errors_alone: bool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.registration.end();
    }
}

impl Link {
    pub(super) fn new(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<Link> {
        if interest.is_none() {
            return Err(nothing_asked());
        }
        // Asked here and not left to the mechanism: poll(2) would take it, and call it ready for ever.
        if file_kind(fd)? == FileKind::Regular {
            return Err(regular_file());
        }
        if !is_nonblocking(fd)? {
            return Err(blocking());
        }
        Ok(Link {
            registration: Registration::new(fd, Watch::Custom(interest))?,
            fd: fd.as_raw_fd(),
            interest,
            errors_alone: tells_errors(),
        })
    }

    /// Whether `interest` can be waited for. Errors are reported whether they were asked for or not, but by some mechanisms
    /// only to who waits for something else.
    pub(super) fn check(&self, interest: Interest) -> io::Result<()> {
        if interest.is_none() {
            return Err(nothing_asked());
        }
        if !self.interest.contains(interest - Interest::ERROR) {
            return Err(not_registered_for(interest, self.interest));
        }
        let with_errors = interest.is_readable() || interest.is_writable();
        if interest.is_error() && !with_errors && !self.errors_alone {
            return Err(errors_not_told());
        }
        Ok(())
    }

    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Held> {
        self.check(interest)?;
        let seen = self.registration.ready(self.fd, interest).await?;
        Ok(Held::new(seen, asked(interest)))
    }

    pub(super) fn poll_ready(
        &self,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Held>> {
        self.check(direction.interest())?;
        ready!(budget::check(cx));
        let seen = ready!(self.registration.poll_ready(self.fd, direction, cx))?;
        budget::spend();
        Poll::Ready(Ok(Held::new(seen, asked(direction.interest()))))
    }

    /// Clears what answers `interest` if `result` says that it is used up.
    pub(super) fn note<R>(&self, seen: Option<Seen>, interest: Interest, result: &io::Result<R>) {
        if let (Some(seen), Err(error)) = (seen, result) {
            if error.kind() == io::ErrorKind::WouldBlock {
                // Bits that are in an interest are those that open and close. On failure they stay.
                let bits =
                    Ready::from_interest(interest) - Ready::READ_CLOSED - Ready::WRITE_CLOSED;
                let _ = self.registration.clear(seen, bits);
            }
        }
    }
}

/// What a guard shows of what was seen: what answers the interest, and the facts that may have ended the wait.
fn asked(interest: Interest) -> Ready {
    let mut bits = Ready::from_interest(interest);
    if interest.is_priority() {
        bits |= Ready::READ_CLOSED;
    }
    if interest.is_error() {
        bits |= Ready::WRITE_CLOSED;
    }
    bits
}
