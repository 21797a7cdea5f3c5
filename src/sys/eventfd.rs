//! Makes eventfds: counters of the kernel with an fd, on systems that have them.

use super::syscall::check;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Makes an eventfd with counter 0.
///
/// # Errors
///
/// `EMFILE` and the like, and `ENOSYS` or `EPERM` if a sandbox forbids the call.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the call has just made this fd, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
