//! [`is_always_ready`] finds out whether the kernel can report when a file becomes ready.
//!
//! The file type that fstat(2) returns does not answer this. Most of /proc, /sys and cgroups are
//! regular files by their mode, and many of them report changes: /proc/self/mounts,
//! /proc/pressure/memory, cgroup.events, the GPIO values of /sys. Devices may be pollable (a
//! terminal, /dev/kmsg) or not (/dev/null).
//!
//! On Linux and Android epoll knows: epoll_ctl(2) fails with `EPERM` if the file's driver has no
//! poll operation, and checks that first. So the file is *removed* from an empty epoll instance,
//! which fails with `ENOENT` for a pollable file. Adding it would work as well, but would poll the
//! file, and some files report a change to one poll only.

use crate::sys::fd::{FileKind, file_kind};
use std::io;
use std::os::fd::BorrowedFd;

/// Whether poll(2) always reports a file as ready, because the file cannot be polled: a regular
/// file on a disk, a directory, /dev/null. If epoll is unavailable, the file type decides.
///
/// # Errors
///
/// `EBADF` for an fd that is not open. For a regular file, `EMFILE` and the like if there is no
/// descriptor left for the epoll instance. Any other file counts as pollable then: almost all of
/// them are, and the rest are always ready to every mechanism that accepts them.
pub(crate) fn is_always_ready(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let kind = file_kind(fd)?;
    if matches!(kind, FileKind::Socket | FileKind::Pipe) {
        return Ok(false);
    }
    match imp::is_refused_by_epoll(fd) {
        Err(error) if is_lack_of_descriptors(&error) && kind != FileKind::Regular => Ok(false),
        refused => Ok(refused?.unwrap_or(kind == FileKind::Regular)),
    }
}

fn is_lack_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use super::*;
    use crate::backend::epoll::create;
    use crate::sys::syscall::{check, is_refused};
    use std::os::fd::{AsFd, AsRawFd};

    /// Whether epoll refuses the file. `None` where a sandbox forbids the calls.
    pub(super) fn is_refused_by_epoll(fd: BorrowedFd<'_>) -> io::Result<Option<bool>> {
        let epoll = match create() {
            Err(error) if is_refused(&error) => return Ok(None),
            made => made?,
        };
        let remove = |fd: BorrowedFd<'_>| {
            let event = std::ptr::null_mut();
            // SAFETY: this operation reads no event, so the pointer may be null (Linux 2.6.9); both
            // fds are borrowed.
            check(unsafe {
                libc::epoll_ctl(
                    epoll.as_raw_fd(),
                    libc::EPOLL_CTL_DEL,
                    fd.as_raw_fd(),
                    event,
                )
            })
            .map_err(|error| error.raw_os_error())
        };
        match remove(fd) {
            // A sandbox may return the same error for every file. The epoll instance itself shows
            // which of the two it is: it is pollable, but cannot contain itself (`EINVAL`).
            Err(Some(libc::EPERM)) => {
                let is_from_epoll = remove(epoll.as_fd()) == Err(Some(libc::EINVAL));
                Ok(is_from_epoll.then_some(true))
            }
            Err(Some(libc::ENOENT)) => Ok(Some(false)),
            // The number is not open, or names a file that was opened with `O_PATH`.
            Err(Some(libc::EBADF)) => Err(io::Error::from_raw_os_error(libc::EBADF)),
            _ => Ok(None),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use super::*;

    pub(super) fn is_refused_by_epoll(_fd: BorrowedFd<'_>) -> io::Result<Option<bool>> {
        Ok(None)
    }
}
