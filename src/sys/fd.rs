//! Flags and properties of any fd: non-blocking, close-on-exec, the kind of file.

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
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL takes no pointer; the borrow keeps the fd open.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK == 0 {
        // SAFETY: F_SETFL takes an int; the borrow keeps the fd open.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    }
    Ok(())
}

/// Sets close-on-exec: programs that this process executes do not inherit the fd.
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

/// Identifies the file that an fd names, by its device and inode. Two sockets, two pipes and two
/// files with different names differ in these; event fds and the like share one inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Calls `fstat`; an fd that is not open is `EBADF`.
    pub(crate) fn of(fd: RawFd) -> io::Result<FileId> {
        identify(fd).map(|(id, _)| id)
    }
}

/// Returns the identity and the kind of an fd's file, with one call.
pub(crate) fn identify(fd: RawFd) -> io::Result<(FileId, FileKind)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer is a whole `stat`, which the call fills; a number that is not open is an
    // error.
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

/// The kind of an fd's file, as far as waiting is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    /// A regular file or a directory: always ready, and no kernel reports it.
    Regular,
    /// A socket.
    Socket,
    /// A pipe, with or without a name.
    Pipe,
    /// A device: one that can be waited for like a socket, such as a terminal, or one that is
    /// always ready, such as /dev/null.
    Device,
    /// An anonymous inode.
    Other,
}

/// Returns the kind of an fd's file, with a call of `fstat`.
pub(crate) fn file_kind(fd: BorrowedFd<'_>) -> io::Result<FileKind> {
    identify(fd.as_raw_fd()).map(|(_, kind)| kind)
}
