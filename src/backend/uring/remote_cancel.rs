//! [`RemoteCancel`] cancels the requests of a file from other threads, so that the rings drop their
//! reference to it.
//!
//! When a registration ends on another thread, the loop removes it the next time it runs. Until
//! then its request would hold the file, and the peer would not see a close. So the other thread
//! cancels the request itself, which the kernel allows any thread to do
//! (`IORING_REGISTER_SYNC_CANCEL`). The loop receives `ECANCELED`, and renews the request if the fd
//! is still registered, for example as a duplicate of the file.
//!
//! On kernels before Linux 6.0 the file is released when the loop runs again.

use super::ring::Ring;
use crate::backend::{Release, Token};
use crate::sync::Mutex;
use crate::sys::fork::Process;
use std::fmt;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

/// The number of the rings while they are open.
pub(super) struct RemoteCancel {
    /// Locked while the number is in use, so that it is not closed then.
    rings: Mutex<Option<RawFd>>,
    /// The process that owns the rings. In the child of a fork the lock may be held forever.
    process: Process,
}

impl RemoteCancel {
    pub(super) fn new(rings: RawFd) -> Arc<RemoteCancel> {
        Arc::new(RemoteCancel {
            rings: Mutex::new(Some(rings)),
            process: Process::this(),
        })
    }

    /// Takes the number back before the rings are closed. Must not be called in the child of a
    /// fork.
    pub(super) fn close(&self) {
        *self.rings.lock() = None;
    }
}

impl Release for RemoteCancel {
    fn release(&self, fd: RawFd, _: Token) {
        if !self.process.is_this() {
            return;
        }
        let rings = self.rings.lock();
        if let Some(rings) = *rings {
            // SAFETY: the rings are open while this has their number: `Uring` calls `close`, which
            // waits for the lock, before it closes them, except in the child of a fork, where this
            // was left above.
            let rings = unsafe { BorrowedFd::borrow_raw(rings) };
            // On an error there is no such request, or the kernel is too old: then the loop cancels
            // it when it runs.
            let _ = Ring::cancel_all_of(rings, fd);
        }
    }
}

impl fmt::Debug for RemoteCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteCancel")
    }
}
