//! [`Bsd`] makes the system calls of kqueue, on the systems that have it.

#![allow(
    clippy::unnecessary_cast,
    reason = "the types differ from system to system"
)]

use super::sys::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_EOF, EV_ERROR, EV_RECEIPT,
    Entry, Filter, NOTE_TRIGGER, Sys,
};
use crate::sys::fd::set_cloexec;
use crate::sys::fork::Process;
use crate::sys::syscall::check;
use crate::sys::timeout::timespec;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// The kqueue of this system.
pub(in crate::backend) struct Bsd {
    queue: ManuallyDrop<OwnedFd>,
    /// The process that opened it. In any other process the number does not name this queue.
    owner: Process,
}

/// Systems whose socket filters report out-of-band data. FreeBSD and NetBSD have none.
#[cfg(any(
    target_vendor = "apple",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
mod except {
    pub(super) const OOB: Option<u32> = Some(libc::NOTE_OOB);
    pub(super) const NUMBER: i64 = libc::EVFILT_EXCEPT as i64;
}
#[cfg(any(target_os = "freebsd", target_os = "netbsd"))]
mod except {
    pub(super) const OOB: Option<u32> = None;
    /// No filter has this number.
    pub(super) const NUMBER: i64 = i64::MIN;
}

const READ: i64 = libc::EVFILT_READ as i64;
const WRITE: i64 = libc::EVFILT_WRITE as i64;
const USER: i64 = libc::EVFILT_USER as i64;

const _: () = assert!(
    libc::EV_ADD as u32 == EV_ADD
        && libc::EV_DELETE as u32 == EV_DELETE
        && libc::EV_ENABLE as u32 == EV_ENABLE
        && libc::EV_DISABLE as u32 == EV_DISABLE
        && libc::EV_CLEAR as u32 == EV_CLEAR
        && libc::EV_RECEIPT as u32 == EV_RECEIPT
        && libc::EV_DISPATCH as u32 == EV_DISPATCH
        && libc::EV_ERROR as u32 == EV_ERROR
        && libc::EV_EOF as u32 == EV_EOF
        && libc::NOTE_TRIGGER == NOTE_TRIGGER
);

impl Sys for Bsd {
    type Record = libc::kevent;

    const OOB: Option<u32> = except::OOB;

    fn open() -> io::Result<Bsd> {
        // SAFETY: the call takes no pointer.
        let fd = check(unsafe { libc::kqueue() })?;
        // SAFETY: the call has just made this fd, and no other code has it.
        let queue = unsafe { OwnedFd::from_raw_fd(fd) };
        set_cloexec(queue.as_fd())?;
        Ok(Bsd {
            queue: ManuallyDrop::new(queue),
            owner: Process::this(),
        })
    }

    #[inline]
    fn record(entry: Entry) -> libc::kevent {
        let filter = match entry.filter {
            Filter::Read => READ,
            Filter::Write => WRITE,
            Filter::User => USER,
            Filter::Except => except::NUMBER,
        };
        // SAFETY: all-zero bytes are a valid kevent on every target: integers and a null pointer.
        let mut record: libc::kevent = unsafe { std::mem::zeroed() };
        record.ident = entry.ident as _;
        record.filter = filter as _;
        record.flags = entry.flags as _;
        record.fflags = entry.fflags as _;
        record.data = entry.data as _;
        record
    }

    #[inline]
    fn entry(record: &libc::kevent) -> Entry {
        // By value: the layout is packed on some targets.
        let libc::kevent {
            ident,
            filter,
            flags,
            fflags,
            data,
            ..
        } = *record;
        Entry {
            ident: ident as usize,
            filter: match i64::from(filter) {
                READ => Filter::Read,
                WRITE => Filter::Write,
                USER => Filter::User,
                // Such a filter was not passed in, so it does not come back.
                _ => Filter::Except,
            },
            flags: flags as u32,
            fflags: fflags as u32,
            data: data as i64,
        }
    }

    fn kevent(
        &self,
        changes: &[libc::kevent],
        events: &mut Vec<libc::kevent>,
        room: usize,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let room = room.min(libc::c_int::MAX as usize);
        events.clear();
        events.reserve(room);
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: pointer and length of the changes are those of one slice; `reserve` made room for
        // `room` events; the timespec is null or outlives the call.
        let count = check(unsafe {
            libc::kevent(
                self.queue.as_raw_fd(),
                changes.as_ptr(),
                changes.len() as _,
                events.as_mut_ptr(),
                room as _,
                spec,
            )
        })?;
        // SAFETY: the kernel filled the first `count` of the `room` records that were reserved.
        unsafe { events.set_len(count as usize) };
        Ok(())
    }
}

impl AsFd for Bsd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl Drop for Bsd {
    fn drop(&mut self) {
        if self.owner.is_this() {
            // SAFETY: it is not used after this, and in this process the number is the queue's.
            unsafe { ManuallyDrop::drop(&mut self.queue) };
        }
    }
}
