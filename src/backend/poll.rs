//! The backend over poll(2): every Unix.
//!
//! **What the kernel offers.** One call that takes all fds and checks each: level triggers only, no
//! limit except the process's own on open files, all results at once. Registering, modifying and
//! arming are stores to our own memory.
//!
//! **Where it is odd.**
//! - A wait costs what is registered, not what is ready.
//! - `POLLHUP`, `POLLERR` and `POLLNVAL` cannot be masked. An fd of -1 is skipped.
//! - It uses numbers: a number that was closed and given to another file is still watched.
//! - `poll` counts milliseconds; `ppoll` has nanoseconds, where it exists.
//! - There is no kernel object that another loop could watch.
//! - `POLLRDHUP` exists on Linux, FreeBSD and illumos. Elsewhere only the read that returns 0 shows
//!   a half-close. macOS refuses most device files (`POLLNVAL`).
//!
//! **What we do about it.** [`PollSet`] holds the array. Edge and one-shot triggers are armed bits,
//! which are removed at delivery and set again by `rearm` or `modify`; a hang-up or an error
//! removes the whole fd. A batch begins where the last one had no more room. `POLLNVAL` is reported
//! once and forgotten.
//!
//! **Versions.** Everywhere; `ppoll` on Linux, Android and the BSDs except NetBSD. If a sandbox
//! refuses `ppoll`, `poll` is used.

use super::pollset::{HAS_RDHUP, PollSet};
use super::{Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Token, Trigger};
use crate::sys;
use crate::sys::syscall::{failure, retry};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

pub(super) struct Poll {
    set: PollSet,
    notify: NotifyFd,
}

impl Poll {
    pub(super) fn new(capacity: usize) -> io::Result<Poll> {
        // A sandbox that forbids the call should be noticed before a runtime relies on it.
        retry(|| sys::poll::poll(&mut [], Some(Duration::ZERO)))?;
        Ok(Poll::build(capacity, NotifyFd::new()?))
    }

    /// As `new`, with a given notifier.
    fn build(capacity: usize, notify: NotifyFd) -> Poll {
        Poll {
            set: PollSet::new(notify.as_fd().as_raw_fd(), capacity),
            notify,
        }
    }
}

impl Backend for Poll {
    fn name(&self) -> &str {
        "poll"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edge: true,
            level: true,
            oneshot: true,
            rearm: true,
            read_closed: HAS_RDHUP,
            errors: true,
            priority: true,
            unasked: true,
            ..Capabilities::none()
        }
    }

    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.set.add(fd.as_raw_fd(), token, interest, trigger)
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.set.modify(fd, token, interest, trigger)
    }

    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.set.rearm(fd, token, interest)
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.set.remove(fd, token)
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let timeout = if self.set.is_due() {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        let mut ready = sys::poll::poll(self.set.fds(), timeout)?;
        if ready > 0 && self.set.is_notified() {
            self.notify.drain();
            ready -= 1;
        }
        self.set.deliver(ready, events);
        Ok(())
    }

    fn after_fork(&mut self) -> io::Result<()> {
        self.set.clear();
        self.notify.after_fork()
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(failure(
            io::ErrorKind::Unsupported,
            "poll(2) has no kernel object that another loop could watch: use epoll, kqueue or event ports",
        ))
    }
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poll")
            .field("notify", &self.notify)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms_without_eventfd() {
        crate::conformance::run(&mut || Ok(Box::new(Poll::build(64, NotifyFd::pipe()?))))
            .assert_ok();
    }
}
