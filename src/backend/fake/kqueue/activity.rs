//! [`Activity`] reports to which fds something happened.

use crate::sys::syscall::check;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// An epoll instance that only reports to which numbers something happened.
pub(super) struct Activity(pub(super) OwnedFd);

impl Activity {
    pub(super) fn new() -> io::Result<Activity> {
        // SAFETY: the call takes no pointer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call has just made this fd, and no other code has it.
        Ok(Activity(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn add(&self, fd: RawFd, mask: u32) -> Result<(), libc::c_int> {
        // The queue's own fds are reported as long as they are readable, files when something
        // happens.
        let edge = match mask == libc::EPOLLIN as u32 {
            true => 0,
            false => libc::EPOLLET as u32,
        };
        let mut added = self.control(libc::EPOLL_CTL_ADD, fd, mask | edge);
        if added == Err(libc::EEXIST) {
            // The same file came back under the number.
            added = self.control(libc::EPOLL_CTL_MOD, fd, mask | edge);
        }
        added
    }

    pub(super) fn remove(&self, fd: RawFd) {
        // An error means that it was closed. A duplicate may keep it here: then it wakes the knotes
        // of the number, which find nothing.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0);
    }

    fn control(&self, what: libc::c_int, fd: RawFd, mask: u32) -> Result<(), libc::c_int> {
        let mut event = libc::epoll_event {
            events: mask,
            u64: fd as u64,
        };
        // SAFETY: the event outlives the call; a number that is not open is an error, not an
        // access.
        let done = check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), what, fd, &mut event) });
        let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EINVAL);
        done.map(drop).map_err(number)
    }

    /// Returns the numbers to which something happened since the last call.
    pub(super) fn take(&self) -> io::Result<Vec<usize>> {
        let mut taken = Vec::new();
        loop {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
            let (room, at) = (events.len() as libc::c_int, events.as_mut_ptr());
            // SAFETY: the array has room for that many events.
            let count = check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), at, room, 0) })?;
            let count = count as usize;
            taken.extend(events[..count].iter().map(|event| event.u64 as usize));
            if count < events.len() {
                return Ok(taken);
            }
        }
    }
}
