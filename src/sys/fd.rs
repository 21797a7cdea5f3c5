//! Flags and facts of any fd: non-blocking, close-on-exec, what kind of file it is.

use super::syscall::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Whether reads and writes of the file return `WouldBlock` instead of blocking.
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: F_GETFL takes no pointer; the borrow keeps the fd open.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    Ok(flags & libc::O_NONBLOCK != 0)
}

/// Makes the file non-blocking, and keeps its other flags.
#[allow(
    dead_code,
    reason = "for platforms that cannot say so when the fd is made"
)]
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL takes no pointer; the borrow keeps the fd open.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK == 0 {
        // SAFETY: F_SETFL takes an int; the borrow keeps the fd open.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    }
    Ok(())
}

/// Keeps the fd from children that this process executes.
#[allow(
    dead_code,
    reason = "for platforms that cannot say so when the fd is made"
)]
pub(crate) fn set_cloexec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFD takes no pointer; the borrow keeps the fd open.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) })?;
    if flags & libc::FD_CLOEXEC == 0 {
        // SAFETY: F_SETFD takes an int; the borrow keeps the fd open.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flags | libc::FD_CLOEXEC) })?;
    }
    Ok(())
}

/// Whether a number names an open file.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer; a number that is not open is an error, not an access.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) });
    !flags.is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
}

/// Which file an fd names: two numbers that differ between two files open at the same time. (Event fds and their like
/// share one; what has an inode of its own, such as sockets, pipes and files, does not.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Asks `fstat`; an fd that is not open is `EBADF`.
    pub(crate) fn of(fd: RawFd) -> io::Result<FileId> {
        identify(fd).map(|(id, _)| id)
    }
}

/// Which file an fd names, and of what kind it is, at the cost of one call.
pub(crate) fn identify(fd: RawFd) -> io::Result<(FileId, FileKind)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer is a whole `stat`; the call looks at the number and does not keep it.
    check(unsafe { libc::fstat(fd, stat.as_mut_ptr()) })?;
    // SAFETY: fstat succeeded, so it filled the buffer.
    let stat = unsafe { stat.assume_init() };
    #[allow(clippy::unnecessary_cast, reason = "narrower or signed elsewhere")]
    let id = FileId {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
    };
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR => FileKind::Regular,
        libc::S_IFSOCK => FileKind::Socket,
        libc::S_IFIFO => FileKind::Pipe,
        libc::S_IFCHR | libc::S_IFBLK => FileKind::Device,
        _ => FileKind::Other,
    };
    Ok((id, kind))
}

/// What kind of file an fd names, as far as waiting for it is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    /// A regular file or a directory: always ready, no kernel reports it.
    Regular,
    /// A socket.
    Socket,
    /// A pipe, with a name or without.
    Pipe,
    /// A device: a terminal, which is waited for as a socket is, or one that is always ready, as /dev/null.
    Device,
    /// An anonymous inode.
    Other,
}

/// Asks `fstat` for the kind.
pub(crate) fn file_kind(fd: BorrowedFd<'_>) -> io::Result<FileKind> {
    identify(fd.as_raw_fd()).map(|(_, kind)| kind)
}
