//! The backend over /dev/poll: illumos and Solaris.
//!
//! **What the kernel offers.** A device that holds a set of fds, by number, each with the events to
//! check. A write of `pollfd` records changes the set, many at once; `ioctl(DP_POLL)` waits. Level
//! triggers only. A wait costs what may be ready, not what is in the set.
//!
//! **Where it is odd.** From the manual page poll(7D) of illumos and the sources of its driver
//! (illumos 2016, Solaris 11 of 2011: `uts/common/io/devpoll.c`); nothing of this was run on such a
//! system.
//! - Events that are written are added to those in the set. `POLLREMOVE`, alone in `events`,
//!   removes the fd. So a smaller interest takes two records: remove, and add again.
//! - A closed fd stays in the set. It reports `POLLNVAL` at every wait, and when the number names
//!   another file, that file is checked for the old events. So it has to be removed before it is
//!   closed, or as soon as that is noticed.
//! - Writing a closed number is no error and has no visible effect. On illumos its events are kept
//!   where `POLLREMOVE` does not reach them, and are added to those of the next file with that
//!   number.
//! - A write of more than `OPEN_MAX` records is `EINVAL`, as is a wait with room for as many. A
//!   write stops at the first fd whose driver does not support polling, and returns that error.
//! - Which fds come first is not documented. Both sources continue where the last full batch ended.
//! - `POLLHUP`, `POLLERR` and `POLLNVAL` cannot be masked.
//! - The set belongs to the process that opened it: a child of a fork gets `EACCES`.
//! - It cannot be polled itself (`POLLERR`), so no other loop can watch it. (illumos allows it for
//!   those that were switched to its epoll emulation, which has other rules.)
//! - Timeouts are whole milliseconds. The manual calls it obsolete; event ports replaced it.
//!
//! **What we do about it.** A table by number holds what should be in the set and what the kernel
//! has; the difference is written before the wait, all of it at once. An edge-triggered direction
//! is removed when it was delivered and added again by `rearm`. If both happen in one turn there is
//! nothing to write. `add` calls `fstat` to find a bad fd, because the write comes later. An fd
//! that its driver refuses then is reported as ERROR. `remove` writes at once, so that the fd is
//! out before it is closed. A wait has room for the whole set. If more is ready than fits, a batch
//! begins where the last one ended. Reports of what is not armed are dropped, and the set is
//! corrected. Because of that a wait with a timeout may end early, after an fd was closed between
//! `add` and the wait.
//!
//! **Versions.** Solaris 8 and later, every illumos.

use super::pollset::{HAS_RDHUP, directions, mask, readiness};
use super::{Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Ready};
use super::{Token, Trigger};
use crate::sys::fd::FileId;
use crate::sys::syscall::failure;
use crate::sys::timeout::millis;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

mod device;

use device::record;
pub(super) use device::{Device, POLLREMOVE, Sys};

/// The most records in one write: less than the `OPEN_MAX` that these systems begin with (256).
const CHUNK: usize = 128;

pub(super) struct DevPoll<S> {
    device: S,
    notify: NotifyFd,
    /// By fd number.
    slots: Vec<Slot>,
    /// The numbers for which the kernel may have something other than it should.
    changed: Vec<RawFd>,
    /// How many numbers the kernel's set has, including the notifier's.
    held: usize,
    /// The most records that a wait may have room for. Less than the set holds only if `OPEN_MAX`
    /// was lowered below it.
    max_room: usize,
    /// Records on their way to the kernel.
    records: Vec<libc::pollfd>,
    /// Records that the kernel has written.
    reports: Vec<libc::pollfd>,
    /// Numbers whose driver refused to poll them, not yet reported.
    refused: Vec<RawFd>,
    /// The first number of the next batch, if the last one had no more room.
    next: RawFd,
}

#[derive(Default)]
struct Slot {
    owner: Option<Owner>,
    /// The events in the kernel's set, if the number is in it.
    held: Option<libc::c_short>,
    /// The kernel's entry was written for another file, or is wrong: it is removed first.
    is_stale: bool,
    /// The number is in `changed`.
    is_changed: bool,
}

struct Owner {
    token: Token,
    /// The whole interest.
    interest: Interest,
    trigger: Trigger,
    /// The file that the number named when it was added.
    file: FileId,
    /// The armed events.
    armed: libc::c_short,
    /// The kernel should not check the fd at all, whatever is armed: a hang-up or an error cannot
    /// be masked otherwise.
    is_withdrawn: bool,
    /// The number is in `refused`.
    is_refused: bool,
}

impl Slot {
    /// Returns what the kernel's set should have.
    fn wanted(&self) -> Option<libc::c_short> {
        let owner = self.owner.as_ref().filter(|owner| !owner.is_withdrawn)?;
        Some(owner.armed)
    }
}

impl<S: Sys> DevPoll<S> {
    pub(super) fn new(capacity: usize) -> io::Result<DevPoll<S>> {
        DevPoll::build(capacity, NotifyFd::new()?)
    }

    /// As `new`, with a given notifier.
    fn build(capacity: usize, notify: NotifyFd) -> io::Result<DevPoll<S>> {
        let mut backend = DevPoll {
            device: S::open()?,
            notify,
            slots: Vec::new(),
            changed: Vec::new(),
            held: 0,
            max_room: usize::MAX,
            records: Vec::new(),
            reports: Vec::with_capacity(capacity.saturating_add(1).min(CHUNK)),
            refused: Vec::new(),
            next: 0,
        };
        backend.watch_notifier()?;
        Ok(backend)
    }

    fn watch_notifier(&mut self) -> io::Result<()> {
        self.device
            .write_all(&[record(self.notifier_number(), libc::POLLIN)])?;
        self.held = 1;
        Ok(())
    }

    fn notifier_number(&self) -> RawFd {
        self.notify.as_fd().as_raw_fd()
    }

    fn find(&mut self, fd: RawFd, token: Token) -> io::Result<&mut Owner> {
        let slot = usize::try_from(fd)
            .ok()
            .and_then(|at| self.slots.get_mut(at));
        slot.and_then(|slot| slot.owner.as_mut())
            .filter(|owner| owner.token == token)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Marks the number for comparison with the kernel's entry.
    fn change(&mut self, fd: RawFd) {
        let slot = &mut self.slots[fd as usize];
        if !std::mem::replace(&mut slot.is_changed, true) {
            self.changed.push(fd);
        }
    }

    /// Writes what has changed to the kernel.
    fn flush(&mut self) -> io::Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        self.records.clear();
        for &fd in &self.changed {
            let slot = &mut self.slots[fd as usize];
            slot.is_changed = false;
            let (held, wanted) = (slot.held, slot.wanted());
            let is_stale = std::mem::take(&mut slot.is_stale);
            if held == wanted && !is_stale {
                continue;
            }
            let is_less = held.is_some_and(|held| wanted.is_none_or(|wanted| held & !wanted != 0));
            if is_less || is_stale {
                self.records.push(record(fd, POLLREMOVE));
            }
            if let Some(events) = wanted {
                self.records.push(record(fd, events));
            }
            slot.held = wanted;
            self.held = self.held + usize::from(wanted.is_some()) - usize::from(held.is_some());
        }
        self.changed.clear();
        let known = self.refused.len();
        for chunk in self.records.chunks(CHUNK) {
            self.device.write_each(chunk, &mut self.refused)?;
        }
        for at in known..self.refused.len() {
            let slot = &mut self.slots[self.refused[at] as usize];
            self.held -= usize::from(slot.held.take().is_some());
            if let Some(owner) = &mut slot.owner {
                (owner.is_withdrawn, owner.is_refused) = (true, true);
            }
        }
        Ok(())
    }

    /// Reports the fds that were refused: a call on them returns the reason.
    fn deliver_refused(&mut self, events: &mut Events) {
        while events.room() > 0 {
            let Some(fd) = self.refused.pop() else { return };
            // Another owner, or one that was armed since, was not refused.
            let owner = self.slots[fd as usize].owner.as_mut();
            if let Some(owner) = owner.filter(|owner| owner.is_refused) {
                owner.is_refused = false;
                events.push(owner.token, readiness(libc::POLLERR));
            }
        }
    }

    /// Waits. Returns how many records the kernel has written into `reports`.
    fn wait_for_kernel(&mut self, timeout: libc::c_int) -> io::Result<usize> {
        loop {
            let room = self.held.min(self.max_room);
            if self.reports.len() < room {
                self.reports.resize(room, record(-1, 0));
            }
            match self.device.poll(&mut self.reports[..room], timeout) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && room > 1 => {
                    self.max_room = room / 2;
                }
                waited => return waited,
            }
        }
    }

    /// Moves the kernel's reports into `events`, as many as fit. Returns whether there was an event
    /// or a notification.
    fn deliver(&mut self, count: usize, events: &mut Events) -> bool {
        if count > events.room() {
            let reports = &mut self.reports[..count];
            reports.sort_unstable_by_key(|report| report.fd);
            let start = reports.partition_point(|report| report.fd < self.next);
            reports.rotate_left(start);
        }
        let (notifier, mut is_full) = (self.notifier_number(), false);
        let mut is_notified = false;
        for at in 0..count {
            let libc::pollfd { fd, revents, .. } = self.reports[at];
            if fd == notifier {
                self.notify.drain();
                is_notified = true;
            } else if events.room() > 0 {
                if let Some((token, seen)) = self.disarm(fd, revents) {
                    events.push(token, seen);
                }
            } else if !std::mem::replace(&mut is_full, true) {
                self.next = fd;
            }
        }
        is_notified || !events.as_slice().is_empty()
    }

    /// Returns the token of a report and what it contains, and disarms the fd as its trigger
    /// demands. `None` for what is not armed, which the next wait corrects in the kernel.
    fn disarm(&mut self, fd: RawFd, revents: libc::c_short) -> Option<(Token, Ready)> {
        let slot = &mut self.slots[fd as usize];
        let armed = slot.wanted();
        let reportable = armed.unwrap_or(0) | FINAL | libc::POLLNVAL;
        let seen = readiness(revents & reportable);
        if armed.is_none() || revents & !reportable != 0 {
            slot.is_stale = true;
        }
        let report = match (&mut slot.owner, armed) {
            (Some(owner), Some(_)) if !seen.is_empty() => {
                let token = owner.token;
                if seen.is_invalid() {
                    slot.owner = None;
                } else {
                    owner.disarm(seen, revents);
                }
                Some((token, seen))
            }
            _ => None,
        };
        if slot.is_stale || slot.wanted() != slot.held {
            self.change(fd);
        }
        report
    }
}

impl<S: Sys> Backend for DevPoll<S> {
    fn name(&self) -> &str {
        "devpoll"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edge: true,
            level: true,
            oneshot: true,
            rearm: true,
            read_closed: HAS_RDHUP,
            errors: true,
            priority: true,
            unasked: true,
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
        let file = FileId::of(fd)?;
        let at = fd as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, Slot::default);
        }
        let slot = &mut self.slots[at];
        if slot.owner.as_ref().is_some_and(|owner| owner.file == file) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        slot.is_stale |= slot.held.is_some();
        slot.owner = Some(Owner {
            token,
            interest,
            trigger,
            file,
            armed: mask(interest),
            is_withdrawn: false,
            is_refused: false,
        });
        self.change(fd);
        Ok(())
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let owner = self.find(fd, token)?;
        (owner.interest, owner.trigger) = (interest, trigger);
        owner.arm(mask(interest));
        self.change(fd);
        Ok(())
    }

    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let owner = self.find(fd, token)?;
        let interest = interest & (owner.interest | Interest::ERROR);
        if owner.trigger == Trigger::Edge && !interest.is_empty() {
            owner.arm(owner.armed | mask(interest));
            self.change(fd);
        }
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.find(fd, token)?;
        let slot = &mut self.slots[fd as usize];
        slot.owner = None;
        if slot.held.take().is_none() {
            return Ok(());
        }
        slot.is_stale = false;
        self.held -= 1;
        self.device.write_all(&[record(fd, POLLREMOVE)])
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        loop {
            self.flush()?;
            self.deliver_refused(events);
            if !events.as_slice().is_empty() {
                return Ok(());
            }
            let count = self.wait_for_kernel(millis(timeout))?;
            // A spurious wait had only reports of what is not armed, and `deliver` has queued the
            // corrections. It is repeated only without a timeout: there is no clock here that would
            // show how much of one is left.
            let is_spurious = !self.deliver(count, events) && count > 0;
            if !is_spurious || timeout.is_some() {
                return Ok(());
            }
        }
    }

    fn after_fork(&mut self) -> io::Result<()> {
        // Closing the parent's device removes nothing from its set.
        self.device = S::open()?;
        self.slots.clear();
        self.changed.clear();
        self.refused.clear();
        self.notify.after_fork()?;
        self.watch_notifier()
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(failure(
            io::ErrorKind::Unsupported,
            "/dev/poll cannot be polled, so no other loop could watch it: use event ports",
        ))
    }
}

/// The bits that disarm an edge-triggered fd as a whole.
const FINAL: libc::c_short = libc::POLLHUP | libc::POLLERR;

impl Owner {
    fn arm(&mut self, events: libc::c_short) {
        self.armed = events;
        (self.is_withdrawn, self.is_refused) = (false, false);
    }

    fn disarm(&mut self, seen: Ready, revents: libc::c_short) {
        match self.trigger {
            // The rest stays armed, for when the fd is armed again.
            Trigger::Edge => self.armed &= !directions(seen),
            Trigger::Level | Trigger::Oneshot => {}
        }
        self.is_withdrawn = match self.trigger {
            Trigger::Level => false,
            Trigger::Edge => revents & FINAL != 0,
            Trigger::Oneshot => true,
        };
    }
}

impl<S: Sys> fmt::Debug for DevPoll<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevPoll")
            .field("device", &self.device)
            .field("notify", &self.notify)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
