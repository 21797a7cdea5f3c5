//! One filter of one number: what it says, asked from poll(2).

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
    /// As they were when it was added first.
    pub(super) flags: u32,
    pub(super) fflags: u32,
    /// What the number named then.
    pub(super) file: Option<FileId>,
    pub(super) kind: Kind,
    pub(super) active: bool,
    pub(super) queued: bool,
    pub(super) disabled: bool,
    pub(super) triggered: bool,
    /// The epoll(7) of its filter has its number.
    pub(super) listens: bool,
    /// What the filter said when it was true last.
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
        let Some((flags, fflags, data)) = self.look(filter, ident) else {
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

    /// Flags, `fflags` and `data`, if the filter is true.
    fn look(&self, filter: Filter, ident: usize) -> Option<(u32, u32, i64)> {
        if filter == Filter::User {
            return self.triggered.then_some((0, 0, 0));
        }
        let fd = ident as RawFd;
        if self.kind == Kind::Regular {
            let left = left_in(fd);
            return (left != 0).then_some((0, 0, left));
        }
        let seen = look(fd, mask(filter));
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

/// What epoll(7) and poll(2) are asked for a filter; their numbers are the same.
pub(super) fn mask(filter: Filter) -> u32 {
    let mask = match filter {
        Filter::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
        Filter::Write => libc::EPOLLOUT,
        Filter::Except => libc::EPOLLPRI,
        Filter::User => 0,
    };
    mask as u32
}

fn look(fd: RawFd, mask: u32) -> libc::c_short {
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

/// Looks at a number as a file without owning it. The number is open: `file_of` has just said so.
fn with_file<T>(fd: RawFd, look: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
    // SAFETY: the file is not closed here, and its owner keeps it open: the backend's caller is on this thread.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    look(&file)
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

/// How much of a regular file lies behind its position.
fn left_in(fd: RawFd) -> i64 {
    let left = with_file(fd, |mut file| {
        Ok(file.metadata()?.len() as i64 - file.stream_position()? as i64)
    });
    left.unwrap_or(0)
}

/// The bytes that can be read; of a listening socket, which counts no bytes, 1.
fn unread(fd: RawFd) -> i64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    match check(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) }) {
        Ok(_) => i64::from(bytes),
        Err(_) => 1,
    }
}
