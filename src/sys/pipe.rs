//! Pipes and FIFOs: makes and opens them, and reads and writes them.
//!
//! A pipe is no socket, so its calls have no flags: whether they block depends on `O_NONBLOCK`
//! alone, and a write without a reader raises SIGPIPE, unless the process ignores that signal. (The
//! runtime of Rust programs does. A per-call way came with `RWF_NOSIGNAL` in Linux 6.18 only.)

use super::socket::{MAX_BUFFERS, MAX_BYTES, Socket};
use super::syscall::{Answer, RawAnswer, check, check_size, retry};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a pipe: the reading end, then the writing end.
///
/// # Errors
///
/// `EMFILE` and the like; then nothing is left open.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    make(&mut fds)?;
    // SAFETY: the call has just made both fds, and no other code has them.
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

/// Opens a file, non-blocking and close-on-exec, without creating or emptying it.
pub(crate) fn open(path: &Path, reads: bool, writes: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(reads)
        .write(writes)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// How a file is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenMode {
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    pub(crate) nonblocking: bool,
}

impl OpenMode {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> io::Result<OpenMode> {
        let flags = flags(fd)?;
        let access = flags & libc::O_ACCMODE;
        Ok(OpenMode {
            reads: access == libc::O_RDONLY || access == libc::O_RDWR,
            writes: access == libc::O_WRONLY || access == libc::O_RDWR,
            nonblocking: flags & libc::O_NONBLOCK != 0,
        })
    }
}

fn flags(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: F_GETFL takes no pointer; the borrow keeps the fd open.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })
}

/// Makes calls on the file block, and keeps its other flags.
pub(crate) fn set_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = flags(fd)? & !libc::O_NONBLOCK;
    // SAFETY: F_SETFL takes an int; the borrow keeps the fd open.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

/// The calls of `net` on pipes.
impl Socket {
    /// Reads bytes. Returns the error of an interrupted call.
    #[inline]
    pub(crate) fn read_once(&self, buf: &mut [u8]) -> RawAnswer {
        let (ptr, len) = (buf.as_mut_ptr().cast(), buf.len().min(MAX_BYTES));
        // SAFETY: at least `len` bytes from the pointer on belong to `buf`, which is borrowed
        // mutably.
        RawAnswer(unsafe { libc::read(self.raw(), ptr, len) })
    }

    /// As `read_once`. The bytes that it returns are initialized, and no others are written.
    #[inline]
    pub(crate) fn read_uninit_once(&self, buf: &mut [MaybeUninit<u8>]) -> RawAnswer {
        let (ptr, len) = (buf.as_mut_ptr().cast(), buf.len().min(MAX_BYTES));
        // SAFETY: at least `len` bytes from the pointer on belong to `buf`, which is borrowed
        // mutably. The kernel writes them or leaves them.
        RawAnswer(unsafe { libc::read(self.raw(), ptr, len) })
    }

    /// As `read_once`, into the spare capacity.
    #[inline]
    pub(crate) fn read_vec_once(&self, buf: &mut Vec<u8>) -> RawAnswer {
        let answer = self.read_uninit_once(buf.spare_capacity_mut());
        if answer.0 > 0 {
            // SAFETY: the call has initialized so many bytes of the spare capacity.
            unsafe { buf.set_len(buf.len() + answer.count()) };
        }
        answer
    }

    /// Reads into several buffers. Returns the error of an interrupted call. Skips empty buffers in
    /// front, as [`recv_vectored_once`](Socket::recv_vectored_once) does.
    pub(crate) fn read_vectored_once(&self, bufs: &mut [IoSliceMut<'_>]) -> RawAnswer {
        let empty = bufs.iter().take_while(|buf| buf.is_empty()).count();
        let bufs = &mut bufs[empty..];
        let (ptr, count) = (bufs.as_mut_ptr().cast(), bufs.len().min(MAX_BUFFERS));
        // SAFETY: IoSliceMut has the layout of an iovec; there are at least `count`, all borrowed
        // mutably during the call.
        RawAnswer(unsafe { libc::readv(self.raw(), ptr, count as libc::c_int) })
    }

    /// Writes bytes. Returns the error of an interrupted call.
    #[inline]
    pub(crate) fn write_once(&self, buf: &[u8]) -> RawAnswer {
        let (ptr, len) = (buf.as_ptr().cast(), buf.len().min(MAX_BYTES));
        // SAFETY: at least `len` bytes from the pointer on belong to `buf`, which is borrowed.
        RawAnswer(unsafe { libc::write(self.raw(), ptr, len) })
    }

    /// Writes several buffers. Skips empty ones in front, as
    /// [`recv_vectored_once`](Socket::recv_vectored_once) does.
    pub(crate) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let empty = bufs.iter().take_while(|buf| buf.is_empty()).count();
        let bufs = &bufs[empty..];
        let (ptr, count) = (bufs.as_ptr().cast(), bufs.len().min(MAX_BUFFERS));
        // SAFETY: IoSlice has the layout of an iovec; there are at least `count`, all borrowed
        // during the call, which only reads what they point to.
        retry(|| check_size(unsafe { libc::writev(self.raw(), ptr, count as libc::c_int) }))
    }
}
