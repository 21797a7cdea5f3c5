//! [`Knote`] is one filter of one number. It reports what poll(2) returns.

use super::{Key, OOB};
use crate::backend::kqueue::{EV_EOF, Entry, Filter};
use crate::sys::fd::FileId;
use crate::sys::poll::poll;
use crate::sys::syscall::check;
use std::fs::File;
use std::io::{self, Seek};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

pub(super) struct Knote {
    /// As they were when it was first added.
    pub(super) flags: u32,
    pub(super) fflags: u32,
    /// The file that the number named then.
    pub(super) file: Option<FileId>,
    pub(super) kind: Kind,
    pub(super) active: bool,
    pub(super) queued: bool,
    pub(super) disabled: bool,
    pub(super) triggered: bool,
    /// Whether the epoll instance of its filter has its number.
    pub(super) listens: bool,
    /// What the filter reported when it was last true.
    pub(super) last: Entry,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Socket,
    Pipe,
    Regular,
    Other,
}

impl Knote {
    /// Runs the filter. What it has found stays active until it is retrieved.
    pub(super) fn run(&mut self, key: Key) -> bool {
        let (filter, ident) = key;
        let Some((flags, fflags, data)) = self.check(filter, ident) else {
            return false;
        };
        self.active = true;
        self.last = Entry {
            ident,
            filter,
            flags: self.flags | flags,
            fflags,
            data,
        };
        true
    }

    /// Returns flags, `fflags` and `data`, if the filter is true.
    fn check(&self, filter: Filter, ident: usize) -> Option<(u32, u32, i64)> {
        if filter == Filter::User {
            return self.triggered.then_some((0, 0, 0));
        }
        let fd = ident as RawFd;
        if self.kind == Kind::Regular {
            let left = left_in(fd);
            return (left != 0).then_some((0, 0, left));
        }
        let seen = poll_bits(fd, mask(filter));
        let (hup, err) = (seen & libc::POLLHUP != 0, seen & libc::POLLERR != 0);
        let ended = match filter {
            Filter::Read => hup || seen & libc::POLLRDHUP != 0,
            Filter::Write => hup || err && self.kind == Kind::Pipe,
            Filter::Except => {
                let is_urgent = seen & libc::POLLPRI != 0 && self.fflags & OOB != 0;
                return is_urgent.then_some((0, OOB, 0));
            }
            Filter::User => false,
        };
        let wanted = mask(filter) as libc::c_short & !libc::POLLRDHUP;
        if !ended && !err && seen & wanted == 0 {
            return None;
        }
        let is_reset = ended && err && self.kind == Kind::Socket;
        Some((
            if ended { EV_EOF } else { 0 },
            if is_reset { libc::ECONNRESET as u32 } else { 0 },
            if filter == Filter::Read {
                unread(fd)
            } else {
                1
            },
        ))
    }
}

/// Returns the bits of a filter for epoll(7) and poll(2), which have the same numbers.
pub(super) fn mask(filter: Filter) -> u32 {
    let mask = match filter {
        Filter::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
        Filter::Write => libc::EPOLLOUT,
        Filter::Except => libc::EPOLLPRI,
        Filter::User => 0,
    };
    mask as u32
}

fn poll_bits(fd: RawFd, mask: u32) -> libc::c_short {
    let mut fds = [libc::pollfd {
        fd,
        events: mask as libc::c_short,
        revents: 0,
    }];
    match poll(&mut fds, Some(Duration::ZERO)) {
        Ok(1) => fds[0].revents,
        _ => 0,
    }
}

pub(super) fn file_of(ident: usize) -> Result<FileId, libc::c_int> {
    let fd = RawFd::try_from(ident).map_err(|_| libc::EBADF)?;
    FileId::of(fd).map_err(|_| libc::EBADF)
}

/// Calls `f` with a number as a file that is not closed. The number is open, as `file_of` has just
/// found.
fn with_file<T>(fd: RawFd, f: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
    // SAFETY: `ManuallyDrop` keeps the file from being closed here. Its owner, the test, is on this
    // thread, so it does not close it during the call.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    f(&file)
}

pub(super) fn kind_of(ident: usize) -> Result<Kind, libc::c_int> {
    let kind = with_file(ident as RawFd, |file| {
        let kind = file.metadata()?.file_type();
        Ok(match () {
            () if kind.is_socket() => Kind::Socket,
            () if kind.is_fifo() => Kind::Pipe,
            () if kind.is_file() || kind.is_dir() => Kind::Regular,
            () => Kind::Other,
        })
    });
    kind.map_err(|_| libc::EBADF)
}

/// Returns how much of a regular file is behind its position.
fn left_in(fd: RawFd) -> i64 {
    let left = with_file(fd, |mut file| {
        Ok(file.metadata()?.len() as i64 - file.stream_position()? as i64)
    });
    left.unwrap_or(0)
}

/// Returns how many bytes can be read; 1 for a listening socket, which does not count bytes.
fn unread(fd: RawFd) -> i64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which outlives the call; a number that is not open is an
    // error.
    match check(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) }) {
        Ok(_) => i64::from(bytes),
        Err(_) => 1,
    }
}
