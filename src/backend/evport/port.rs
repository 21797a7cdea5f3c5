//! [`Port`] owns the event port and lets other threads notify it.

use super::sys::Sys;
use crate::backend::Notify;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The event port. The number is replaced only in the child of a fork, when that has one thread.
pub(super) struct Port<S: Sys> {
    sys: S,
    port: AtomicI32,
    /// Whether a message is on its way or in the queue, so that no second one is needed.
    is_notified: AtomicBool,
}

impl<S: Sys> Port<S> {
    pub(super) fn new(sys: S, port: OwnedFd) -> Port<S> {
        Port {
            sys,
            port: AtomicI32::new(port.into_raw_fd()),
            is_notified: AtomicBool::new(false),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the number is open: only `drop` closes it, which the borrow of `self` rules out,
        // and `replace`, which the backend calls through `&mut` in the child of a fork, where no
        // other thread exists.
        unsafe { BorrowedFd::borrow_raw(self.port.load(Ordering::Acquire)) }
    }

    /// Replaces the port and closes the old one.
    pub(super) fn replace(&self, port: OwnedFd) {
        let old = self.port.swap(port.into_raw_fd(), Ordering::AcqRel);
        // SAFETY: the number was `self`'s own, and the swap has taken it out, so nothing else
        // closes it.
        drop(unsafe { OwnedFd::from_raw_fd(old) });
        self.is_notified.store(false, Ordering::Release);
    }

    /// Notes that the message has arrived. What a thread published before its `notify` found a
    /// message on its way is visible after this.
    pub(super) fn acknowledge(&self) {
        self.is_notified.swap(false, Ordering::AcqRel);
    }
}

impl<S: Sys> Drop for Port<S> {
    fn drop(&mut self) {
        // SAFETY: the number is `self`'s own, and `self` is being dropped, so nothing else uses it.
        drop(unsafe { OwnedFd::from_raw_fd(*self.port.get_mut()) });
    }
}

impl<S: Sys> Notify for Port<S> {
    fn notify(&self) -> io::Result<()> {
        if self.is_notified.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let sent = match self.sys.send(self.as_fd(), 0, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                self.sys.alert(self.as_fd(), 1)
            }
            sent => sent,
        };
        if sent.is_err() {
            self.is_notified.store(false, Ordering::Release);
        }
        sent
    }
}
