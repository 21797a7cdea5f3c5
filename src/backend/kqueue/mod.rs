//! The backend over kqueue(2): FreeBSD, macOS and the other systems of Apple, NetBSD, OpenBSD,
//! DragonFly.
//!
//! **What the kernel offers.** A queue of filters, each for one pair of number and filter: data and
//! room of an fd are two filters with an event each. Level, edge (`EV_CLEAR`) and one-shot
//! (`EV_DISPATCH`) triggers, many changes in one call, events from other threads (`EVFILT_USER`),
//! and an fd that another loop can watch.
//!
//! **Where it is odd.**
//! - Two filters are two events, and each has its own trigger: for a one-shot fd the direction that
//!   was not delivered has to be disabled by hand.
//! - Nothing reports a hang-up by itself: the filter of each side reports its end by `EV_EOF`, and
//!   a number without filters is silent. The read filter reports a half-close and a hang-up alike.
//! - `EV_ADD` of an existing filter checks the file again, but keeps its trigger flags and does not
//!   enable it. `EV_ENABLE` alone does not check the file again (FreeBSD, `kqueue_register`).
//!   `EV_ONESHOT` reports what was true once and may be over (`kqueue_scan`, same file).
//! - A failed change returns an entry if there is room for one. Otherwise it ends the call, and the
//!   changes after it are not made.
//! - `fflags` has the socket's error only together with `EV_EOF`. An error without an end, such as
//!   one of UDP, makes the filters true, and no field names it.
//! - Filters are removed when the *number* is closed, whatever duplicates the file has. A child of
//!   a fork has no queue at all: its number is free there, and may name another file.
//! - A timeout beyond 24 hours is silently cut to that (FreeBSD before 10, old OpenBSD). One beyond
//!   10^8 seconds is `EINVAL` (FreeBSD before 10).
//! - `EVFILT_EXCEPT` reports out-of-band data on macOS, OpenBSD and DragonFly; FreeBSD and NetBSD
//!   have nothing for it.
//!
//! **What we do about it.** A table by number holds token, trigger and filters; the two halves of
//! an fd become one event of the batch. Changes request receipts (`EV_RECEIPT`), so that all are
//! tried and the first error is known; a failed `add` removes what it has added. Every registration
//! has at least one filter in the kernel, a disabled one if its interest is empty: if that still
//! exists, the number was not closed and given to another file. Arming is `EV_ADD | EV_ENABLE`,
//! after an `EV_DELETE` if the trigger changes. What a one-shot delivery leaves armed is disabled
//! before `wait` returns. Waits are cut into days. The notifier is a user event; kernels without
//! them get a pipe.
//!
//! **Versions.** `EV_RECEIPT` and `EV_DISPATCH`: FreeBSD 8.1, OpenBSD 6.2, NetBSD 10, macOS 10.6,
//! DragonFly 2.10 or so (from memory, not tried). A kernel without receipts is refused when it is
//! opened. OpenBSD had no user events for long. No BSD has run this file yet: the tests run it over
//! a fake kernel written from the manual, `fake/kqueue`, and optionally over `libkqueue`, a library
//! by other authors.

// Linux compiles the rest only for tests.
#[cfg(not(target_os = "linux"))]
mod bsd;
#[cfg(all(test, libkqueue))]
mod libkqueue;
mod queue;
mod slot;
mod sys;

use super::{Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Ready, Token, Trigger};
use crate::sys::syscall::{failure, retry};
use queue::{Queue, WAKE};
use slot::{Filters, NO_OWNER, Slot, change, difference};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
pub(super) use sys::*;

/// The backend over this system's kqueue.
#[cfg(not(target_os = "linux"))]
pub(super) type Native = Kqueue<bsd::Bsd>;

/// The longest wait that no kernel cuts short.
const DAY: Duration = Duration::from_secs(86_400);

/// Both sides have ended.
const HANGUP: Ready = Ready::READ_CLOSED.union(Ready::WRITE_CLOSED);

pub(super) struct Kqueue<S: Sys> {
    queue: Arc<Queue<S>>,
    /// The notifier, if there are no user events.
    pipe: Option<NotifyFd>,
    /// By fd number. Out of date if an fd was closed without `remove` or `forget`, until the number
    /// is added again.
    slots: Vec<Slot>,
    /// The kernel writes events into this.
    buffer: Vec<S::Record>,
    /// Changes on their way, and the receipts for them.
    changes: Vec<S::Record>,
    receipts: Vec<S::Record>,
    /// Numbers of one-shot registrations in the batch, whose filters may have to be disabled.
    spent: Vec<RawFd>,
    /// The longest timeout of one call.
    longest: Duration,
}

impl<S: Sys> Kqueue<S> {
    pub(super) fn new(capacity: usize) -> io::Result<Kqueue<S>> {
        let mut kqueue = Kqueue {
            queue: Arc::new(Queue::open()?),
            pipe: None,
            slots: Vec::new(),
            buffer: Vec::with_capacity(capacity),
            changes: Vec::new(),
            receipts: Vec::new(),
            spent: Vec::new(),
            longest: DAY,
        };
        kqueue.watch_notifier()?;
        Ok(kqueue)
    }

    /// Adds the notifier to a new queue.
    fn watch_notifier(&mut self) -> io::Result<()> {
        if self.pipe.is_none() {
            let user = Entry {
                ident: WAKE,
                filter: Filter::User,
                flags: EV_ADD | EV_CLEAR,
                fflags: 0,
                data: 0,
            };
            match self.submit([user]) {
                // "The specified filter is invalid."
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    self.pipe = Some(NotifyFd::new()?);
                }
                watched => return watched,
            }
        }
        match &self.pipe {
            Some(pipe) => {
                let number = pipe.as_fd().as_raw_fd();
                self.submit([change::<S>(number, Filter::Read, EV_ADD | EV_CLEAR)])
            }
            None => Ok(()),
        }
    }

    /// Makes all these changes, even after one that fails. Returns the first error. Deleting a
    /// filter that does not exist, or whose number was closed, is no error.
    fn submit(&mut self, changes: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        self.changes.clear();
        let with_receipt = |change: Entry| Entry {
            flags: change.flags | EV_RECEIPT,
            ..change
        };
        let records = changes.into_iter().map(with_receipt).map(S::record);
        self.changes.extend(records);
        let (sys, changes, receipts) = (self.queue.sys(), &self.changes, &mut self.receipts);
        // An interrupted call has made its changes, but returned no receipts. Making them again
        // does no harm.
        retry(|| sys.kevent(changes, receipts, changes.len(), Some(Duration::ZERO)))?;
        let mut first = Ok(());
        for (at, change) in changes.iter().enumerate() {
            let receipt = receipts.get(at).map(S::entry);
            let Some(receipt) = receipt.filter(|receipt| receipt.flags & EV_ERROR != 0) else {
                return Err(failure(
                    io::ErrorKind::Unsupported,
                    "this kernel's kqueue gives no receipts (EV_RECEIPT): choose another backend, such as poll",
                ));
            };
            let error = receipt.data as libc::c_int;
            let deletes = S::entry(change).flags & EV_DELETE != 0;
            let is_gone = deletes && matches!(error, libc::ENOENT | libc::EBADF);
            if error != 0 && !is_gone && first.is_ok() {
                first = Err(io::Error::from_raw_os_error(error));
            }
        }
        first
    }

    /// Makes these changes up to the first that fails.
    fn submit_until_error(&mut self, changes: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        self.changes.clear();
        self.changes.extend(changes.into_iter().map(S::record));
        let (sys, changes, receipts) = (self.queue.sys(), &self.changes, &mut self.receipts);
        // Without room for a receipt an error ends the call.
        retry(|| sys.kevent(changes, receipts, 0, Some(Duration::ZERO)))
    }

    fn slot(&self, fd: RawFd) -> Option<Slot> {
        let at = usize::try_from(fd).ok()?;
        let slot = self.slots.get(at)?;
        (slot.token != NO_OWNER).then_some(*slot)
    }

    fn find(&self, fd: RawFd, token: Token) -> io::Result<Slot> {
        let slot = self.slot(fd).filter(|slot| slot.token == token);
        slot.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn set(&mut self, fd: RawFd, slot: Slot) {
        let at = fd as usize;
        if at >= self.slots.len() {
            self.slots.resize(at + 1, Slot::EMPTY);
        }
        self.slots[at] = slot;
    }

    /// Whether the filters of the slot are still in the kernel: they are removed when their number
    /// is closed.
    fn is_alive(&mut self, fd: RawFd, slot: &Slot) -> bool {
        // This leaves the filter as it is.
        let probe = |filter| change::<S>(fd, filter, slot.state_of(filter));
        let probed = self.submit_until_error(slot.filters.iter().take(1).map(probe));
        !probed.is_err_and(|error| is_gone(&error))
    }

    /// Adds all filters of a slot, or none.
    fn install(&mut self, fd: RawFd, slot: &Slot) -> io::Result<()> {
        let filters = slot.filters.iter();
        let installed = self.submit(filters.map(|filter| slot.addition::<S>(fd, filter)));
        if installed.is_err() {
            self.uninstall(fd, slot.filters);
        }
        installed
    }

    fn uninstall(&mut self, fd: RawFd, filters: Filters) {
        let deletion = |filter| change::<S>(fd, filter, EV_DELETE);
        // Errors are ignored: nothing can be done about them.
        let _ = self.submit(filters.iter().map(deletion));
    }

    /// Waits until the kernel has written something or the time is over, a day at a time.
    fn wait_for_kernel(&mut self, room: usize, timeout: Option<Duration>) -> io::Result<()> {
        let mut left = timeout;
        loop {
            let slice = left.map(|left| left.min(self.longest));
            self.queue
                .sys()
                .kevent(&[], &mut self.buffer, room, slice)?;
            if !self.buffer.is_empty() {
                return Ok(());
            }
            // A part that ended without an event has taken its whole timeout.
            if let Some(time) = left {
                if time <= self.longest {
                    return Ok(());
                }
                left = Some(time - self.longest);
            }
        }
    }

    /// Adds a record of the kernel to the event of its fd, or begins an event.
    #[inline]
    fn deliver(&mut self, entry: Entry, events: &mut Events) {
        let Some(slot) = self.slots.get_mut(entry.ident) else {
            return;
        };
        if slot.token == NO_OWNER {
            return;
        }
        let mut seen = readiness(&entry);
        // A side that was reported as ended and has data or room again is open again, such as with
        // the next writer of a FIFO.
        slot.closed = (slot.closed - side(entry.filter)) | (seen & HANGUP);
        if slot.closed == HANGUP {
            seen |= HANGUP | Ready::READABLE | Ready::WRITABLE;
        }
        let place = slot.place as usize;
        match events.as_mut_slice().get_mut(place) {
            Some(event) if event.token == slot.token => event.readiness |= seen,
            _ => {
                slot.place = events.as_slice().len() as u32;
                events.push(slot.token, seen);
            }
        }
        if slot.trigger == Trigger::Oneshot {
            // EV_DISPATCH has disabled this one.
            slot.enabled = slot.enabled.without(entry.filter);
            self.spent.push(entry.ident as RawFd);
        }
    }

    /// Disables the other filters of one-shot registrations that were delivered.
    fn disable_spent(&mut self) {
        let mut changes = Vec::new();
        while let Some(fd) = self.spent.pop() {
            let slot = &mut self.slots[fd as usize];
            let armed = std::mem::replace(&mut slot.enabled, Filters::NONE);
            changes.extend(
                armed
                    .iter()
                    .map(|filter| change::<S>(fd, filter, EV_DISABLE)),
            );
        }
        if !changes.is_empty() {
            // An error means that the number was closed, and its filters with it.
            let _ = self.submit(changes);
        }
    }
}

impl<S: Sys> Backend for Kqueue<S> {
    fn name(&self) -> &str {
        "kqueue"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edge: true,
            level: true,
            oneshot: true,
            close_removes: true,
            has_fd: true,
            read_closed: true,
            errors: true,
            priority: S::OOB.is_some(),
            ..Capabilities::none()
        }
    }

    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        if token == NO_OWNER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if let Some(old) = self.slot(fd) {
            if self.is_alive(fd, &old) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.set(fd, Slot::EMPTY);
        }
        let slot = Slot::new::<S>(token, interest, trigger);
        self.install(fd, &slot).map_err(unwatchable)?;
        self.set(fd, slot);
        Ok(())
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let old = self.find(fd, token)?;
        let new = Slot::new::<S>(token, interest, trigger);
        match self.submit_until_error(difference::<S>(fd, &old, &new)) {
            Ok(()) => {
                self.set(fd, new);
                Ok(())
            }
            // The first change found no filter: the number was closed, and nothing was done to its
            // new file.
            Err(error) if is_gone(&error) => {
                self.set(fd, Slot::EMPTY);
                Err(io::ErrorKind::NotFound.into())
            }
            Err(error) => {
                self.uninstall(fd, new.filters.union(old.filters));
                match self.install(fd, &old) {
                    Ok(()) => self.set(fd, old),
                    Err(_) => self.set(fd, Slot::EMPTY),
                }
                Err(unwatchable(error))
            }
        }
    }

    fn rearm(&mut self, _fd: RawFd, _token: Token, _interest: Interest) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        let slot = self.find(fd, token)?;
        self.set(fd, Slot::EMPTY);
        self.uninstall(fd, slot.filters);
        Ok(())
    }

    fn forget(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.find(fd, token)?;
        // The close removes the filters, so the next `add` under this number need not check for
        // them.
        self.set(fd, Slot::EMPTY);
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.wait_for_kernel(events.capacity(), timeout)?;
        for at in 0..self.buffer.len() {
            let entry = S::entry(&self.buffer[at]);
            match (&self.pipe, entry.filter) {
                // EV_CLEAR has consumed it.
                (_, Filter::User) => {}
                (Some(pipe), _) if pipe.as_fd().as_raw_fd() as usize == entry.ident => {
                    pipe.drain();
                }
                _ => self.deliver(entry, events),
            }
        }
        if !self.spent.is_empty() {
            self.disable_spent();
        }
        Ok(())
    }

    fn after_fork(&mut self) -> io::Result<()> {
        // What was registered belongs to the parent; here there is nothing to remove it from.
        self.queue.reopen()?;
        self.slots.clear();
        if let Some(pipe) = &self.pipe {
            pipe.after_fork()?;
        }
        self.watch_notifier()
    }

    fn notifier(&self) -> Notifier {
        match &self.pipe {
            Some(pipe) => pipe.notifier(),
            None => Notifier::new(self.queue.clone()),
        }
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.queue.sys().as_fd())
    }
}

/// Whether a change was refused because the number was closed since.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EBADF))
}

/// Explains the error for a file that does not have the filter: it cannot be watched.
fn unwatchable(error: io::Error) -> io::Error {
    let number = error.raw_os_error().unwrap_or(0);
    // Some of these have the same number on some systems.
    if [libc::EINVAL, libc::ENODEV, libc::EOPNOTSUPP, libc::ENOTSUP].contains(&number) {
        let text = format!("kqueue cannot watch this kind of file: {error}");
        return io::Error::new(io::ErrorKind::Unsupported, text);
    }
    error
}

/// Returns the side whose end a filter reports.
#[inline]
fn side(filter: Filter) -> Ready {
    match filter {
        Filter::Read => Ready::READ_CLOSED,
        Filter::Write => Ready::WRITE_CLOSED,
        Filter::Except | Filter::User => Ready::EMPTY,
    }
}

/// Translates one event. An error sets both directions, because both calls return at once. The read
/// filter's end of file closes only the reading side, because it may be a half-close.
#[inline]
fn readiness(entry: &Entry) -> Ready {
    let ended = entry.flags & EV_EOF != 0;
    let mut seen = match entry.filter {
        Filter::Read if ended => Ready::READABLE | Ready::READ_CLOSED,
        Filter::Read => Ready::READABLE,
        Filter::Write if ended => Ready::WRITABLE | Ready::WRITE_CLOSED,
        Filter::Write => Ready::WRITABLE,
        // Its `fflags` are no error.
        _ if ended => return Ready::READABLE | Ready::READ_CLOSED,
        _ => return Ready::PRIORITY,
    };
    if ended && entry.fflags != 0 {
        seen |= Ready::ERROR | Ready::READABLE | Ready::WRITABLE;
    }
    seen
}

impl<S: Sys> fmt::Debug for Kqueue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kqueue")
            .field("fd", &self.queue.sys().as_fd().as_raw_fd())
            .field("pipe", &self.pipe)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
