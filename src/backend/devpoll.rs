//! /dev/poll: illumos and Solaris.
//!
//! **What the kernel offers.** A device that holds a set of fds, by number, each with the events to look for. A write of
//! `pollfd` records changes the set, many at once; `ioctl(DP_POLL)` waits. Level triggers only; a wait costs what may be
//! ready, not what is in the set.
//!
//! **Where it is odd.** From the manual page poll(7D) of illumos and the sources of its driver (illumos 2016, Solaris 11 of
//! 2011: `uts/common/io/devpoll.c`); nothing of this was run on such a system.
//! - Events that are written are added to those that stand there. `POLLREMOVE`, alone in `events`, takes the fd out. So
//!   less is asked for by two records: out, and in again.
//! - A closed fd stays in the set: `POLLNVAL` at every wait, and when the number names another file, that one is looked at
//!   under the old events. It has to be taken out, before it is closed or as soon as that is seen.
//! - A closed number that is written is no error and nothing is said of it later; on illumos its events are kept where
//!   `POLLREMOVE` does not reach them, and are added to those of the next file of that number.
//! - A write of more than `OPEN_MAX` records is `EINVAL`, as is a wait with room for as many. A write stops at the
//!   first fd that its driver does not let be polled, and gives that error.
//! - Which fds come first is not documented. Both sources go on where the last full batch ended.
//! - `POLLHUP`, `POLLERR` and `POLLNVAL` cannot be masked.
//! - The set is its opener's: a child of a fork gets `EACCES`.
//! - It cannot be polled itself (`POLLERR`), so no other loop can watch it. (illumos lets those be polled that were
//!   switched to its epoll emulation, which has other rules.)
//! - Whole milliseconds. It is "obsolete" by the manual; event ports are what came after it.
//!
//! **What we do about it.** What each number should be and what the kernel holds stand side by side in a table; the
//! difference is written before the wait, all of it at once. An edge-triggered direction is taken out when delivered and
//! put back by `rearm`: when both fall in one turn there is nothing to write. `add` asks `fstat` for a bad fd, for the write
//! comes later; one that its driver refuses then is reported as ERROR. `remove` writes at once, so that the fd is out before
//! it is closed. Room is asked for the whole set, and where more is ready than fits, a batch begins where the last one
//! ended. Reports of what is not armed are dropped, and the set is put right: a wait with a timeout may end early by that,
//! after an fd was closed between `add` and the wait.
//!
//! **Versions.** Solaris 8 and later, every illumos.

use super::pollset::{HAS_RDHUP, directions, mask, readiness};
use super::{Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Readiness};
use super::{Token, Trigger};
use crate::sys::fd::FileId;
use crate::sys::timeout::millis;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

mod device;

use device::record;
pub(super) use device::{Device, POLLREMOVE, Sys};

/// The most records in one write: below the `OPEN_MAX` that these systems begin with (256).
const CHUNK: usize = 128;

pub(super) struct DevPoll<S> {
    device: S,
    notify: NotifyFd,
    /// By fd number.
    slots: Vec<Slot>,
    /// The numbers where the kernel may hold something else than it should.
    changed: Vec<RawFd>,
    /// How many numbers the kernel's set holds, the notifier's among them.
    held: usize,
    /// The most records a wait may ask for: less than the set holds only when `OPEN_MAX` was lowered under it.
    most: usize,
    /// What is on its way to the kernel.
    records: Vec<libc::pollfd>,
    /// What the kernel writes.
    reports: Vec<libc::pollfd>,
    /// Numbers whose driver refused to poll them, to be told yet.
    refused: Vec<RawFd>,
    /// The first number of the next batch, when the last one had no more room.
    next: RawFd,
}

#[derive(Default)]
struct Slot {
    owner: Option<Owner>,
    /// The events in the kernel's set, if the number is in it.
    held: Option<libc::c_short>,
    /// What is held was written for another file, or is not what it should be: it goes out first.
    is_stale: bool,
    /// The number stands in `changed`.
    is_changed: bool,
}

struct Owner {
    token: Token,
    /// All that was asked for.
    interest: Interest,
    trigger: Trigger,
    /// The file that the number named when it was added.
    file: FileId,
    /// The events to look for.
    armed: libc::c_short,
    /// The kernel is not to look at all, whatever is armed: a hang-up or an error cannot be masked otherwise.
    is_out: bool,
    /// The number stands in `refused`.
    is_refused: bool,
}

impl Slot {
    /// What the kernel's set should hold.
    fn wanted(&self) -> Option<libc::c_short> {
        let owner = self.owner.as_ref().filter(|owner| !owner.is_out)?;
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
            most: usize::MAX,
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

    /// Notes that the number is to be compared with what the kernel holds.
    fn change(&mut self, fd: RawFd) {
        let slot = &mut self.slots[fd as usize];
        if !std::mem::replace(&mut slot.is_changed, true) {
            self.changed.push(fd);
        }
    }

    /// Tells the kernel what has changed.
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
                (owner.is_out, owner.is_refused) = (true, true);
            }
        }
        Ok(())
    }

    /// Reports the fds that were refused: whoever makes a call on them hears why.
    fn deliver_refused(&mut self, events: &mut Events) {
        while events.room() > 0 {
            let Some(fd) = self.refused.pop() else { return };
            // Another owner, or one that was armed anew meanwhile, was not refused.
            let owner = self.slots[fd as usize].owner.as_mut();
            if let Some(owner) = owner.filter(|owner| owner.is_refused) {
                owner.is_refused = false;
                events.push(owner.token, readiness(libc::POLLERR));
            }
        }
    }

    /// Waits, leaves what the kernel wrote in `reports` and returns how much that is.
    fn wait_for_kernel(&mut self, timeout: libc::c_int) -> io::Result<usize> {
        loop {
            let room = self.held.min(self.most);
            if self.reports.len() < room {
                self.reports.resize(room, record(-1, 0));
            }
            match self.device.poll(&mut self.reports[..room], timeout) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && room > 1 => {
                    self.most = room / 2;
                }
                waited => return waited,
            }
        }
    }

    /// Moves what the kernel reported into `events`, as much as fits. Whether there was anything.
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

    /// What a report says of whom. The fd is disarmed as its trigger demands.
    fn disarm(&mut self, fd: RawFd, revents: libc::c_short) -> Option<(Token, Readiness)> {
        let slot = &mut self.slots[fd as usize];
        let armed = slot.wanted();
        let asked = armed.unwrap_or(0) | FINAL | libc::POLLNVAL;
        let seen = readiness(revents & asked);
        if armed.is_none() || revents & !asked != 0 {
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
            is_out: false,
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
        if owner.trigger == Trigger::Edge && !interest.is_none() {
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
            // Nothing but reports of what is not armed, which are put right now. Without a clock here it cannot be
            // said how much is left of a timeout.
            let is_for_nothing = !self.deliver(count, events) && count > 0;
            if !is_for_nothing || timeout.is_some() {
                return Ok(());
            }
        }
    }

    fn after_fork(&mut self) -> io::Result<()> {
        // Closing the parent's takes nothing out of its set.
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
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "/dev/poll cannot be polled, so no other loop could watch it",
        ))
    }
}

/// What ends an fd's reports until it is armed again.
const FINAL: libc::c_short = libc::POLLHUP | libc::POLLERR;

impl Owner {
    fn arm(&mut self, events: libc::c_short) {
        self.armed = events;
        (self.is_out, self.is_refused) = (false, false);
    }

    fn disarm(&mut self, seen: Readiness, revents: libc::c_short) {
        match self.trigger {
            // What was not delivered stays armed, for when the fd is looked at again.
            Trigger::Edge => self.armed &= !directions(seen),
            Trigger::Level | Trigger::Oneshot => {}
        }
        self.is_out = revents & FINAL != 0 || self.trigger == Trigger::Oneshot;
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
