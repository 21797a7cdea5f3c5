//! The port itself, which other threads reach through it.

use super::sys::Sys;
use crate::backend::Notify;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The port, and how other threads knock. The number is replaced only in the child of a fork, when that has one thread.
pub(super) struct Door<S: Sys> {
    sys: S,
    port: AtomicI32,
    /// A message is under way or in the queue: no second one is needed.
    is_rung: AtomicBool,
}

impl<S: Sys> Door<S> {
    pub(super) fn new(sys: S, port: OwnedFd) -> Door<S> {
        Door {
            sys,
            port: AtomicI32::new(port.into_raw_fd()),
            is_rung: AtomicBool::new(false),
        }
    }

    pub(super) fn port(&self) -> BorrowedFd<'_> {
        // SAFETY: the door owns the number and closes it when it goes, which the borrow does not outlive; or in
        // `replace`, which only a backend in a child of a fork calls, while it is borrowed mutably itself.
        unsafe { BorrowedFd::borrow_raw(self.port.load(Ordering::Acquire)) }
    }

    /// Gives the old port up.
    pub(super) fn replace(&self, port: OwnedFd) {
        let old = self.port.swap(port.into_raw_fd(), Ordering::AcqRel);
        // SAFETY: the number was the door's own and is not known to it any more.
        drop(unsafe { OwnedFd::from_raw_fd(old) });
        self.is_rung.store(false, Ordering::Release);
    }

    /// The message has arrived. What was published before a call that found it under way is seen after this.
    pub(super) fn heard(&self) {
        self.is_rung.swap(false, Ordering::AcqRel);
    }
}

impl<S: Sys> Drop for Door<S> {
    fn drop(&mut self) {
        // SAFETY: the number is the door's own, and nobody asks for it any more.
        drop(unsafe { OwnedFd::from_raw_fd(*self.port.get_mut()) });
    }
}

impl<S: Sys> Notify for Door<S> {
    fn notify(&self) -> io::Result<()> {
        if self.is_rung.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let sent = match self.sys.send(self.port(), 0, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                self.sys.alert(self.port(), 1)
            }
            sent => sent,
        };
        if sent.is_err() {
            self.is_rung.store(false, Ordering::Release);
        }
        sent
    }
}
