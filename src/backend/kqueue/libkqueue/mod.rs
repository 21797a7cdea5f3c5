//! A binding to libkqueue, for a smoke test: a kqueue by other authors, from another reading of the
//! manual, as a library over epoll(7).
//!
//! Compiled only with `--cfg libkqueue`; `.ci/tools/kq-smoke.sh` fetches the library and sets that.
//! The following was read in the source of libkqueue 2.3.1, the version that Debian has, and seen
//! when it ran on Linux 6.18.
//!
//! | what libkqueue does | what is done about it here |
//! |---|---|
//! | one epoll entry for a number: its second filter is `EFAULT` (`evfilt_write_knote_create`) | room is watched on a duplicate |
//! | answers to changes are written without `EV_ERROR` and not counted (`kevent`) | one change at a time, without room for an answer; the answers are made of `errno` |
//! | `EV_ADD` of what is there does nothing, or fails without an errno (`kn_modify`) | `EV_DELETE` first, and the old trigger again |
//! | `EV_ENABLE` of what is enabled is `EEXIST`, `EV_DISABLE` of what is disabled `ENOENT` (`kn_enable`, `kn_disable`) | is not passed on |
//! | a bad number is `EFAULT` (`kevent_copyin_one`) | the number is checked first |
//! | a timeout of a millisecond and more is cut to whole ones (`linux_kevent_wait`) | it is rounded up |
//! | close of a number leaves its filters (`knt`) | each call first deletes those whose number names another file |
//! | close of the queue walks through filters that it has freed (`knote_free_all`) | all are deleted first |
//!
//! What cannot be worked around is listed in the tests, case by case. The layout of `struct kevent`
//! is the library's own, that of macOS and of FreeBSD 11; so this says nothing about the other
//! layouts, which `bsd.rs` has.

mod tests;

use super::queue::WAKE;
use super::sys::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_ERROR, EV_RECEIPT, Entry,
    Filter, Sys,
};
use crate::sys::fd::{FileId, set_cloexec};
use crate::sys::fork::Process;
use crate::sys::syscall::check;
use crate::sys::timeout::timespec;
use std::collections::HashMap;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The library's `struct kevent`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(in crate::backend) struct Record {
    ident: usize,
    filter: i16,
    flags: u16,
    fflags: u32,
    data: isize,
    /// The number that the backend means; `ident` may have that of a duplicate.
    udata: usize,
}

#[link(name = "kqueue")]
unsafe extern "C" {
    fn kqueue() -> libc::c_int;
    fn kevent(
        queue: libc::c_int,
        changes: *const Record,
        change_count: libc::c_int,
        events: *mut Record,
        event_count: libc::c_int,
        timeout: *const libc::timespec,
    ) -> libc::c_int;
}

const READ: i16 = -1;
const WRITE: i16 = -2;
const USER: i16 = -11;
/// No filter has this number.
const NOTHING: i16 = i16::MIN;

/// What a filter keeps from when it was added.
const TRIGGERS: u32 = EV_CLEAR | EV_DISPATCH;

type Key = (Filter, usize);

/// One queue of the library.
pub(in crate::backend) struct Libkqueue {
    /// The writing end of a pipe: only a name for the queue.
    queue: ManuallyDrop<OwnedFd>,
    /// The process that opened it. The library does not work after a fork.
    owner: Process,
    /// The filters of fds that it has.
    knotes: Mutex<HashMap<Key, Knote>>,
}

struct Knote {
    /// The file that the number named when it was added.
    file: FileId,
    /// Another number for it, which the library has.
    duplicate: Option<OwnedFd>,
    trigger: u32,
    enabled: bool,
}

impl Libkqueue {
    fn knotes(&self) -> MutexGuard<'_, HashMap<Key, Knote>> {
        self.knotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one call of the library.
    fn call(
        &self,
        changes: &[Record],
        events: &mut Vec<Record>,
        room: usize,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        events.clear();
        events.reserve(room);
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the changes are one slice; the events have room for `room` records; the timespec
        // is null or outlives the call; the queue is open.
        let count = check(unsafe {
            kevent(
                self.queue.as_raw_fd(),
                changes.as_ptr(),
                changes.len() as libc::c_int,
                events.as_mut_ptr(),
                room as libc::c_int,
                spec,
            )
        })?;
        // SAFETY: the library filled the first `count` of the `room` records that were reserved.
        unsafe { events.set_len(count as usize) };
        Ok(())
    }

    /// Makes one change, with this number instead of the entry's.
    fn pass(&self, number: usize, change: Entry) -> io::Result<()> {
        let record = Record {
            ident: number,
            ..Libkqueue::record(change)
        };
        self.call(&[record], &mut Vec::new(), 0, None)
    }

    fn change(&self, knotes: &mut HashMap<Key, Knote>, request: Entry) -> io::Result<()> {
        // The receipt is made here.
        let request = with_flags(request, request.flags & !EV_RECEIPT);
        let key = (request.filter, request.ident);
        if request.filter == Filter::User {
            return self.pass(request.ident, request);
        }
        let Some(knote) = knotes.get_mut(&key) else {
            return match request.filter {
                _ if request.flags & EV_ADD != 0 => self.add(knotes, request),
                // The library may know this number as a duplicate of another.
                Filter::Write => Err(io::Error::from_raw_os_error(libc::ENOENT)),
                _ => self.pass(request.ident, request),
            };
        };
        if request.flags & EV_DELETE != 0 {
            let deleted = self.pass(knote.number(request.ident), request);
            knotes.remove(&key);
            return deleted;
        }
        let changed = self.alter(knote, request);
        if changed.is_err() {
            knotes.remove(&key);
        }
        changed
    }

    fn add(&self, knotes: &mut HashMap<Key, Knote>, request: Entry) -> io::Result<()> {
        let fd = request.ident as RawFd;
        let file = FileId::of(fd)?;
        let duplicate = match request.filter {
            // SAFETY: the number is not -1, because `FileId::of` has just found it open. The caller
            // of `Backend::add` borrows the fd during the call, so it stays open until it is
            // duplicated.
            Filter::Write => Some(unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?),
            _ => None,
        };
        let knote = Knote {
            file,
            duplicate,
            trigger: request.flags & TRIGGERS,
            enabled: request.flags & EV_DISABLE == 0,
        };
        self.pass(knote.number(request.ident), knote.addition(request))?;
        knotes.insert((request.filter, request.ident), knote);
        Ok(())
    }

    /// Changes what is there. `EV_ADD` keeps its trigger, and does not enable it, as in a kernel.
    fn alter(&self, knote: &mut Knote, request: Entry) -> io::Result<()> {
        let number = knote.number(request.ident);
        let was_enabled = knote.enabled;
        knote.enabled = match request.flags & (EV_ENABLE | EV_DISABLE) {
            0 => was_enabled,
            state => state == EV_ENABLE,
        };
        if request.flags & EV_ADD != 0 {
            self.pass(number, with_flags(request, EV_DELETE))?;
            self.pass(number, knote.addition(request))
        } else if knote.enabled != was_enabled {
            self.pass(number, request)
        } else {
            Ok(())
        }
    }

    /// Removes the filters of closed numbers, as a kernel does.
    fn forget_closed(&self, knotes: &mut HashMap<Key, Knote>) {
        knotes.retain(|&key, knote| {
            let lives = FileId::of(key.1 as RawFd).is_ok_and(|file| file == knote.file);
            if !lives {
                self.forget(key, knote);
            }
            lives
        });
    }

    fn forget(&self, key: Key, knote: &Knote) {
        // An error means that epoll has lost a closed file; the library removes its filter all the
        // same.
        let _ = self.pass(knote.number(key.1), deletion(key));
    }

    /// Makes the changes, and writes the receipts. Returns the error if one finds no room.
    fn submit(&self, changes: &[Record], events: &mut Vec<Record>, room: usize) -> io::Result<()> {
        let mut knotes = self.knotes();
        self.forget_closed(&mut knotes);
        for record in changes {
            let request = Libkqueue::entry(record);
            let error = match self.change(&mut knotes, request) {
                Ok(()) if request.flags & EV_RECEIPT == 0 => continue,
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EFAULT),
            };
            if events.len() < room {
                events.push(Record {
                    flags: record.flags | EV_ERROR as u16,
                    data: error as isize,
                    ..*record
                });
            } else if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
        }
        Ok(())
    }
}

impl Knote {
    /// Returns the library's number for this number.
    fn number(&self, number: usize) -> usize {
        let duplicate = self.duplicate.as_ref();
        duplicate.map_or(number, |fd| fd.as_raw_fd() as usize)
    }

    /// Returns the change that adds it.
    fn addition(&self, request: Entry) -> Entry {
        let state = if self.enabled { EV_ENABLE } else { EV_DISABLE };
        with_flags(request, EV_ADD | self.trigger | state)
    }
}

fn with_flags(entry: Entry, flags: u32) -> Entry {
    Entry { flags, ..entry }
}

/// Returns the change that removes a filter.
fn deletion((filter, ident): Key) -> Entry {
    Entry {
        ident,
        filter,
        flags: EV_DELETE,
        fflags: 0,
        data: 0,
    }
}

/// Rounds up to whole milliseconds, from one on.
fn whole_millis(timeout: Duration) -> Duration {
    const MILLI: Duration = Duration::from_millis(1);
    let part = timeout.subsec_nanos() % 1_000_000;
    if timeout < MILLI || part == 0 {
        timeout
    } else {
        timeout + MILLI - Duration::from_nanos(u64::from(part))
    }
}

impl Sys for Libkqueue {
    type Record = Record;

    const OOB: Option<u32> = None;

    fn open() -> io::Result<Libkqueue> {
        // SAFETY: the call takes no pointer.
        let fd = check(unsafe { kqueue() })?;
        // SAFETY: the call has just made this fd, and the library leaves it to its caller to close.
        let queue = unsafe { OwnedFd::from_raw_fd(fd) };
        set_cloexec(queue.as_fd())?;
        Ok(Libkqueue {
            queue: ManuallyDrop::new(queue),
            owner: Process::this(),
            knotes: Mutex::default(),
        })
    }

    fn record(entry: Entry) -> Record {
        Record {
            ident: entry.ident,
            filter: match entry.filter {
                Filter::Read => READ,
                Filter::Write => WRITE,
                Filter::User => USER,
                Filter::Except => NOTHING,
            },
            flags: entry.flags as u16,
            fflags: entry.fflags,
            data: entry.data as isize,
            udata: entry.ident,
        }
    }

    fn entry(record: &Record) -> Entry {
        Entry {
            ident: record.udata,
            filter: match record.filter {
                READ => Filter::Read,
                WRITE => Filter::Write,
                USER => Filter::User,
                _ => Filter::Except,
            },
            flags: u32::from(record.flags),
            fflags: record.fflags,
            data: record.data as i64,
        }
    }

    fn kevent(
        &self,
        changes: &[Record],
        events: &mut Vec<Record>,
        room: usize,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        events.clear();
        self.submit(changes, events, room)?;
        if !events.is_empty() || room == 0 {
            return Ok(());
        }
        self.call(&[], events, room, timeout.map(whole_millis))?;
        let mut knotes = self.knotes();
        for entry in events.iter().map(Libkqueue::entry) {
            if let Some(knote) = knotes.get_mut(&(entry.filter, entry.ident)) {
                knote.enabled &= knote.trigger & EV_DISPATCH == 0;
            }
        }
        Ok(())
    }
}

impl AsFd for Libkqueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl Drop for Libkqueue {
    fn drop(&mut self) {
        if !self.owner.is_this() {
            return;
        }
        for (&key, knote) in self.knotes().iter() {
            self.forget(key, knote);
        }
        // Errors are ignored: there may be no such filter.
        let _ = self.pass(WAKE, deletion((Filter::User, WAKE)));
        // SAFETY: it is not used after this; the library notices by the pipe's other end.
        unsafe { ManuallyDrop::drop(&mut self.queue) };
    }
}
