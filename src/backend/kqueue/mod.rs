//! kqueue(2): FreeBSD, macOS and its kin, NetBSD, OpenBSD, DragonFly.
//!
//! **What the kernel offers.** A queue of filters, each for one (number, filter) pair: data and room of an fd are two
//! filters with an event each. Level, edge (`EV_CLEAR`) and one-shot (`EV_DISPATCH`) triggers, many changes in one call,
//! events from other threads (`EVFILT_USER`), an fd of its own that another loop can watch.
//!
//! **Where it is odd.**
//! - Two filters are two events, and each has a trigger of its own: a one-shot fd has to be silenced by hand in the
//!   direction that was not delivered.
//! - There is nothing that reports a hang-up by itself: `EV_EOF` is said by a filter of its own side, and a number without
//!   filters is silent. The read filter calls a half-close and a hang-up the same.
//! - `EV_ADD` of a filter that is there looks again, but keeps its trigger flags and does not enable it; `EV_ENABLE` alone
//!   does not look again (FreeBSD, `kqueue_register`). `EV_ONESHOT` reports what was true once and may be so no more
//!   (`kqueue_scan`, same file).
//! - A failed change answers with an entry of its own if there is room for one, else it ends the call, and the changes
//!   behind it are not made.
//! - `fflags` has the socket's error only together with `EV_EOF`. An error that ends nothing, as of UDP, makes the filters
//!   true and has no name.
//! - Filters go when the *number* is closed, whatever duplicates the file has. A child of a fork has no queue at all: its
//!   number is free there, and may be another file's.
//! - A timeout beyond 24 hours is cut to that, without a word (FreeBSD before 10, old OpenBSD), one beyond 10^8 seconds
//!   is `EINVAL` (FreeBSD before 10).
//! - Out-of-band data is told by `EVFILT_EXCEPT` on macOS, OpenBSD and DragonFly; FreeBSD and NetBSD have nothing for it.
//!
//! **What we do about it.** A table by number holds token, trigger and filters; the two halves of an fd become one event
//! of the batch. Changes ask for receipts (`EV_RECEIPT`), so that all are tried and the first error is known; a failed
//! `add` takes out what went in. Every registration has at least one filter in the kernel, a disabled one if nothing is
//! asked for: whether that is still there tells a registered number from one that was closed and given to another file.
//! To arm afresh is `EV_ADD | EV_ENABLE`, after an `EV_DELETE` if the trigger is another. What a one-shot delivery or, with
//! a level trigger, a hang-up leaves armed is disabled before `wait` returns. Waits are cut into days. The notifier is a
//! user event; kernels without them get a pipe.
//!
//! **Versions.** `EV_RECEIPT` and `EV_DISPATCH`: FreeBSD 8.1, OpenBSD 6.2, NetBSD 10, macOS 10.6, DragonFly 2.10 or so (by
//! memory, not tried); a kernel without receipts is refused when it is opened. OpenBSD had no user events for long.
//! No BSD has run this file yet: the tests run it over a kernel made of the manual's words, `fake/kqueue`, and, where they
//! are asked to, over a library that others made of them, `libkqueue`.

// Linux compiles the rest for the tests alone.
#[cfg(not(target_os = "linux"))]
mod bsd;
#[cfg(all(test, libkqueue))]
mod libkqueue;
mod queue;
mod slot;
mod sys;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use super::{
    Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Readiness, Token, Trigger,
};
use crate::sys::syscall::retry;
use queue::{Queue, WAKE};
use slot::{Filters, NOBODY, Slot, change, difference};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
pub(super) use sys::*;

/// Over the system's own.
#[cfg(not(target_os = "linux"))]
pub(super) type Native = Kqueue<bsd::Bsd>;

/// The longest wait that no kernel cuts short.
const DAY: Duration = Duration::from_secs(86_400);

/// Both sides have ended.
const HANGUP: Readiness = Readiness::READ_CLOSED.or(Readiness::WRITE_CLOSED);

pub(super) struct Kqueue<S: Sys> {
    queue: Arc<Queue<S>>,
    /// The notifier, where there are no user events.
    pipe: Option<NotifyFd>,
    /// By fd number. Stale where an fd was closed without `remove`, until the number is added again.
    slots: Vec<Slot>,
    /// What the kernel writes into.
    buffer: Vec<S::Record>,
    /// Changes on their way, and the answers to them.
    changes: Vec<S::Record>,
    receipts: Vec<S::Record>,
    /// Numbers of the batch whose filters may have to be disabled.
    spent: Vec<RawFd>,
    /// How long one wait of the kernel may be told to last.
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

    /// Puts the notifier into a new queue.
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

    /// Makes all these changes, also behind one that fails; the first error. To delete what is not there, or what a closed
    /// number took with it, is none.
    fn submit(&mut self, changes: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        self.changes.clear();
        let with_receipt = |change: Entry| Entry {
            flags: change.flags | EV_RECEIPT,
            ..change
        };
        let records = changes.into_iter().map(with_receipt).map(S::record);
        self.changes.extend(records);
        let (sys, changes, receipts) = (self.queue.sys(), &self.changes, &mut self.receipts);
        // An interrupted call has made its changes, but said nothing of them; to make them again does no harm.
        retry(|| sys.kevent(changes, receipts, changes.len(), Some(Duration::ZERO)))?;
        let mut first = Ok(());
        for (at, change) in changes.iter().enumerate() {
            let receipt = receipts.get(at).map(S::entry);
            let Some(receipt) = receipt.filter(|receipt| receipt.flags & EV_ERROR != 0) else {
                let text = "this kernel's kqueue gives no receipts (EV_RECEIPT)";
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
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
        // Without room for an answer an error ends the call.
        retry(|| sys.kevent(changes, receipts, 0, Some(Duration::ZERO)))
    }

    fn slot(&self, fd: RawFd) -> Option<Slot> {
        let at = usize::try_from(fd).ok()?;
        let slot = self.slots.get(at)?;
        (slot.token != NOBODY).then_some(*slot)
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

    /// Whether what the slot says is still in the kernel: filters go when their number is closed.
    fn is_alive(&mut self, fd: RawFd, slot: &Slot) -> bool {
        // Leaves the filter as it is.
        let probe = |filter| change::<S>(fd, filter, slot.state_of(filter));
        let probed = self.submit_until_error(slot.filters.iter().take(1).map(probe));
        !probed.is_err_and(|error| is_gone(&error))
    }

    /// Puts all filters of a slot in, or none.
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
        // Errors: none that can be helped.
        let _ = self.submit(filters.iter().map(deletion));
    }

    /// Waits until the kernel wrote something or the time is over, a day at a time.
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
            // A slice that ended without an event has lasted as long as it was told.
            if let Some(time) = left {
                if time <= self.longest {
                    return Ok(());
                }
                left = Some(time - self.longest);
            }
        }
    }

    /// Adds what the kernel wrote to the event of its fd, or begins one.
    #[inline]
    fn deliver(&mut self, entry: Entry, events: &mut Events) {
        let Some(slot) = self.slots.get_mut(entry.ident) else {
            return;
        };
        if slot.token == NOBODY {
            return;
        }
        let mut seen = readiness(&entry);
        slot.closed |= seen & HANGUP;
        let is_hangup = slot.closed == HANGUP;
        if is_hangup {
            seen |= HANGUP | Readiness::READABLE | Readiness::WRITABLE;
        }
        let place = slot.place as usize;
        match events.as_mut_slice().get_mut(place) {
            Some(event) if event.token == slot.token => event.readiness |= seen,
            _ => {
                slot.place = events.as_slice().len() as u32;
                events.push(slot.token, seen);
            }
        }
        match slot.trigger {
            Trigger::Edge => {}
            Trigger::Level if is_hangup || seen.is_error() => self.spent.push(entry.ident as RawFd),
            Trigger::Level => {}
            Trigger::Oneshot => {
                // EV_DISPATCH has disabled this one.
                slot.enabled = slot.enabled.without(entry.filter);
                self.spent.push(entry.ident as RawFd);
            }
        }
    }

    /// Silences what has told all that it may tell until `modify`.
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
            // Errors: the number was closed, and its filters with it.
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
        if token == NOBODY {
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
            // The first change found no filter: the number was closed, and nothing was done to whose it may be now.
            Err(error) if is_gone(&error) => {
                self.set(fd, Slot::EMPTY);
                Err(io::ErrorKind::NotFound.into())
            }
            Err(error) => {
                self.uninstall(fd, new.filters.and(old.filters));
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
        // What was registered is the parent's; here there is nothing to remove it from.
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

/// A filter that the file does not have is a file that cannot be watched.
fn unwatchable(error: io::Error) -> io::Error {
    let number = error.raw_os_error().unwrap_or(0);
    // Some are the same number on some systems.
    if [libc::EINVAL, libc::ENODEV, libc::EOPNOTSUPP, libc::ENOTSUP].contains(&number) {
        let text = format!("kqueue cannot watch this kind of file: {error}");
        return io::Error::new(io::ErrorKind::Unsupported, text);
    }
    error
}

/// What one event says. An error sets both directions, for both calls return at once; the read filter's end of file closes
/// the reading side alone, for it may be half a close.
#[inline]
fn readiness(entry: &Entry) -> Readiness {
    let ended = entry.flags & EV_EOF != 0;
    let mut seen = match entry.filter {
        Filter::Read if ended => Readiness::READABLE | Readiness::READ_CLOSED,
        Filter::Read => Readiness::READABLE,
        Filter::Write if ended => Readiness::WRITABLE | Readiness::WRITE_CLOSED,
        Filter::Write => Readiness::WRITABLE,
        // Its `fflags` are no error.
        _ if ended => return Readiness::READABLE | Readiness::READ_CLOSED,
        _ => return Readiness::PRIORITY,
    };
    if ended && entry.fflags != 0 {
        seen |= Readiness::ERROR | Readiness::READABLE | Readiness::WRITABLE;
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
