//! The table behind mechanisms that are told all fds again at every wait: a dense array of `pollfd` for the kernel, and
//! beside it a [`Table`] of the registrations, place by place the same.
//!
//! What is armed lives in the array itself: `events` holds the armed directions, and `fd` is -1 when the kernel is
//! not to look at all (a hang-up or an error cannot be masked otherwise). Arming costs a store, no system call.
//!
//! A number that was closed behind our back says so by `POLLNVAL`, unless another file got it before the next wait.

use super::table::{NOTIFIER, Table};
use super::{Events, Interest, Readiness, Token, Trigger};
use crate::sys::poll::poll;
use crate::sys::syscall::retry;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// "A peer ended its sending side", where `poll` can say it.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
))]
const RDHUP: libc::c_short = libc::POLLRDHUP;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
)))]
const RDHUP: libc::c_short = 0;

/// Whether `READ_CLOSED` is told without a hang-up.
pub(super) const HAS_RDHUP: bool = RDHUP != 0;

pub(super) struct PollSet {
    /// What the kernel reads and writes. Dense: the last one moves into a hole.
    fds: Vec<libc::pollfd>,
    /// In parallel.
    table: Table,
    /// Where the next batch begins, so that the first places are not always served first.
    next: usize,
    /// The numbers that a batch has found closed.
    closed: Vec<RawFd>,
}

impl PollSet {
    /// A set that holds only the notifier's fd.
    pub(super) fn new(notifier: RawFd, capacity: usize) -> PollSet {
        let mut fds = Vec::with_capacity(capacity.saturating_add(1));
        fds.push(entry(notifier, Interest::READABLE));
        PollSet {
            fds,
            table: Table::new(notifier, capacity),
            next: 1,
            closed: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let place = self.table.add(fd, token, interest, trigger)?;
        let entry = entry(fd, interest);
        match self.fds.get_mut(place) {
            // One that was made for another file has given way.
            Some(old) => *old = entry,
            None => self.fds.push(entry),
        }
        Ok(())
    }

    pub(super) fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let place = self.table.modify(fd, token, interest, trigger)?;
        self.fds[place] = entry(fd, interest);
        Ok(())
    }

    /// Arms directions again; only those that were asked for (or errors, which need not be), and only for an edge trigger.
    pub(super) fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let place = self.table.find(fd, token)?;
        let slot = &self.table[place];
        let interest = interest & (slot.interest | Interest::ERROR);
        if slot.trigger == Trigger::Edge && !interest.is_none() {
            self.fds[place].fd = fd;
            self.fds[place].events |= mask(interest);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        let place = self.table.find(fd, token)?;
        self.forget(place);
        Ok(())
    }

    /// Forgets everything but the notifier.
    pub(super) fn clear(&mut self) {
        self.fds.truncate(NOTIFIER + 1);
        self.table.clear();
        self.closed.clear();
        self.next = 1;
    }

    /// What the kernel is to look at.
    pub(super) fn fds(&mut self) -> &mut [libc::pollfd] {
        &mut self.fds
    }

    /// Whether the last wait saw a notification.
    pub(super) fn is_notified(&self) -> bool {
        self.fds[NOTIFIER].revents != 0
    }

    /// Moves what the last wait saw into `events`, as much as fits. `ready` is the number of fds that have something,
    /// the notifier's not counted. Begins where the last batch had no more room.
    pub(super) fn deliver(&mut self, mut ready: usize, events: &mut Events) {
        let end = self.fds.len();
        let start = if self.next < end { self.next } else { 1 };
        for place in (start..end).chain(1..start) {
            if ready == 0 {
                break;
            }
            if self.fds[place].revents == 0 {
                continue;
            }
            if events.room() == 0 {
                self.next = place;
                break;
            }
            ready -= 1;
            let seen = self.disarm(place);
            events.push(self.table[place].token, seen);
        }
        while let Some(number) = self.closed.pop() {
            if let Some(place) = self.table.place(number) {
                self.forget(place);
            }
        }
    }

    /// What the kernel saw of one place, which is disarmed as its trigger demands.
    fn disarm(&mut self, place: usize) -> Readiness {
        let (fd, slot) = (&mut self.fds[place], &self.table[place]);
        let seen = readiness(fd.revents);
        if seen.is_invalid() {
            fd.fd = -1;
            self.closed.push(slot.number);
            return seen;
        }
        let is_final = fd.revents & (libc::POLLHUP | libc::POLLERR) != 0;
        match slot.trigger {
            Trigger::Level => {}
            // What was not delivered stays armed, for when the fd is looked at again.
            Trigger::Edge => fd.events &= !directions(seen),
            Trigger::Oneshot => fd.events = 0,
        }
        if is_final || slot.trigger == Trigger::Oneshot {
            fd.fd = -1;
        }
        seen
    }

    fn forget(&mut self, place: usize) {
        self.fds.swap_remove(place);
        self.table.forget(place);
    }
}

fn entry(fd: RawFd, interest: Interest) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: mask(interest),
        revents: 0,
    }
}

/// The `events` for an interest. `POLLHUP`, `POLLERR` and `POLLNVAL` come without being asked for.
pub(super) fn mask(interest: Interest) -> libc::c_short {
    let mut mask = 0;
    if interest.is_readable() {
        mask |= libc::POLLIN | RDHUP;
    }
    if interest.is_writable() {
        mask |= libc::POLLOUT;
    }
    if interest.is_priority() {
        mask |= libc::POLLPRI;
    }
    mask
}

/// The `events` that a delivery has answered.
pub(super) fn directions(seen: Readiness) -> libc::c_short {
    let mut mask = 0;
    if seen.is_readable() {
        mask |= libc::POLLIN | RDHUP;
    }
    if seen.is_writable() {
        mask |= libc::POLLOUT;
    }
    if seen.is_priority() {
        mask |= libc::POLLPRI;
    }
    mask
}

/// What `revents` says. `POLLERR` closes no side: a datagram socket goes on after it.
pub(super) fn readiness(revents: libc::c_short) -> Readiness {
    let mut readiness = Readiness::EMPTY;
    if revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL | RDHUP) != 0 {
        readiness |= Readiness::READABLE;
    }
    if revents & (libc::POLLOUT | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
        readiness |= Readiness::WRITABLE;
    }
    if revents & libc::POLLPRI != 0 {
        readiness |= Readiness::PRIORITY;
    }
    if revents & libc::POLLERR != 0 {
        readiness |= Readiness::ERROR;
    }
    if revents & (RDHUP | libc::POLLHUP) != 0 {
        readiness |= Readiness::READ_CLOSED;
    }
    if revents & libc::POLLHUP != 0 {
        readiness |= Readiness::WRITE_CLOSED;
    }
    if revents & libc::POLLNVAL != 0 {
        readiness |= Readiness::INVALID;
    }
    readiness
}

/// What of `interest` holds for one fd right now, hang-ups and errors included: what a thread that does not own the
/// loop asks before it sends a message, and what the owner asks when such a message arrives.
///
/// Takes a number, not a borrow: the fd of a message may have been closed meanwhile, which is answered by `INVALID`.
pub(crate) fn look(fd: RawFd, interest: Interest) -> io::Result<Readiness> {
    let mut events = mask(interest);
    if interest.is_priority() {
        // Nothing more will come from a peer that has ended its side.
        events |= RDHUP;
    }
    let mut entry = [libc::pollfd {
        fd,
        events,
        revents: 0,
    }];
    retry(|| poll(&mut entry, Some(Duration::ZERO)))?;
    Ok(readiness(entry[0].revents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn look_sees_data_hang_up_and_a_closed_number() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        assert_eq!(look(fd, Interest::READABLE).unwrap(), Readiness::EMPTY);
        assert_eq!(look(fd, Interest::WRITABLE).unwrap(), Readiness::WRITABLE);
        there.write_all(b"x").unwrap();
        assert_eq!(look(fd, Interest::READABLE).unwrap(), Readiness::READABLE);
        // Not by a close, which does nothing while a child that another test forks has a copy.
        there.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(
            look(fd, Interest::NONE)
                .unwrap()
                .contains(Readiness::READ_CLOSED)
        );
        // A number far above any limit is never open.
        assert!(look(i32::MAX, Interest::READABLE).unwrap().is_invalid());
    }

    #[test]
    fn bits_become_readiness() {
        let both = Readiness::READABLE | Readiness::WRITABLE;
        let hangup = both | Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
        assert_eq!(readiness(libc::POLLIN), Readiness::READABLE);
        assert_eq!(readiness(libc::POLLOUT), Readiness::WRITABLE);
        assert_eq!(readiness(libc::POLLPRI), Readiness::PRIORITY);
        assert_eq!(readiness(libc::POLLERR), both | Readiness::ERROR);
        assert_eq!(readiness(libc::POLLHUP), hangup);
        assert_eq!(readiness(libc::POLLNVAL), both | Readiness::INVALID);
        if HAS_RDHUP {
            let closed = Readiness::READABLE | Readiness::READ_CLOSED;
            assert_eq!(readiness(RDHUP), closed);
        }
    }

    #[test]
    fn directions_take_back_what_the_mask_asked_for() {
        for interest in [Interest::READABLE, Interest::WRITABLE, Interest::PRIORITY] {
            let seen = Readiness::from_interest(interest);
            assert_eq!(directions(seen), mask(interest));
        }
        assert_eq!(mask(Interest::NONE | Interest::ERROR), 0);
    }
}
