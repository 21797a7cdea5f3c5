//! From `-1` to `io::Error`: the one place that reads `errno`.

use std::io;

/// The result of a system call that answers -1 on failure.
#[inline]
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The same for calls that count bytes.
#[inline]
pub(crate) fn check_size(result: isize) -> io::Result<usize> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as usize)
    }
}

/// An error that says why, for people. Here once, for building one takes two allocations.
#[cold]
#[inline(never)]
pub(crate) fn failure(kind: io::ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, why)
}

/// Whether a call is missing in this kernel, or a sandbox forbids it or hides it, so that its elder has to do.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// A call, since every caller of [`retry`] would hold the table of kinds.
#[cold]
#[inline(never)]
fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// Repeats a call as long as a signal interrupts it: for calls that do not block, where only the work is left to do.
#[inline]
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            // A number in a word, of which a drop would free nothing.
            Err(error) if is_interrupted(&error) => std::mem::forget(error),
            done => return done,
        }
    }
}
