//! A pipe whose both ends are non-blocking and close-on-exec.

use super::syscall::check;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Makes a pipe: the reading end, then the writing end.
///
/// # Errors
///
/// `EMFILE` and its like; nothing is left open then.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    make(&mut fds)?;
    // SAFETY: the call has just made both fds, and nobody else knows them.
    let ends = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    #[cfg(target_vendor = "apple")]
    {
        use std::os::fd::AsFd;
        for end in [ends.0.as_fd(), ends.1.as_fd()] {
            super::fd::set_cloexec(end)?;
            super::fd::set_nonblocking(end)?;
        }
    }
    Ok(ends)
}

#[cfg(not(target_vendor = "apple"))]
fn make(fds: &mut [libc::c_int; 2]) -> io::Result<()> {
    // SAFETY: the array has room for the two fds that the call writes.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    Ok(())
}

#[cfg(target_vendor = "apple")]
fn make(fds: &mut [libc::c_int; 2]) -> io::Result<()> {
    // SAFETY: the array has room for the two fds that the call writes.
    check(unsafe { libc::pipe(fds.as_mut_ptr()) })?;
    Ok(())
}
