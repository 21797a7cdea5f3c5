//! [`PollSet`] is the table of a mechanism that takes all fds at every wait: a dense array of
//! `pollfd` for the kernel, and beside it an [`FdTable`] of the registrations with the same places.
//!
//! The array itself says what is armed: `events` holds the armed directions, and `fd` is -1 if the
//! kernel should not check the fd at all (a hang-up or an error cannot be masked otherwise, and
//! only a level trigger repeats them). Arming costs a store, no system call.
//!
//! A number that was closed while registered is reported by `POLLNVAL`, unless another file got it
//! before the next wait.

use super::fd_table::{FdTable, NOTIFIER};
use super::{Events, Interest, Ready, Token, Trigger};
use crate::sys::poll::poll;
use crate::sys::syscall::retry;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// The bit for "the peer has ended its sending side", where `poll` has it.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
))]
pub(super) const RDHUP: libc::c_short = libc::POLLRDHUP;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
)))]
pub(super) const RDHUP: libc::c_short = 0;

/// Whether READ_CLOSED is reported without a hang-up.
pub(super) const HAS_RDHUP: bool = RDHUP != 0;

pub(super) struct PollSet {
    /// The array that the kernel reads and writes. Dense: the last entry moves into a hole.
    fds: Vec<libc::pollfd>,
    /// The registrations, with the same places.
    table: FdTable,
    /// Where the next batch begins, so that the first places are not always reported first.
    next: usize,
    /// The numbers that a batch has found closed.
    closed: Vec<RawFd>,
    /// The results that did not fit into the last batch, if the kernel reports them to one call
    /// only.
    held: Vec<Held>,
}

/// A report of a file for the next batch.
#[derive(Clone, Copy)]
struct Held {
    number: RawFd,
    token: Token,
    revents: libc::c_short,
}

/// The bits that a file of /proc reports to one call only, when it has changed.
pub(super) const CHANGED: libc::c_short = libc::POLLPRI | libc::POLLERR;

impl PollSet {
    /// Makes a set that holds only the notifier's fd.
    pub(super) fn new(notifier: RawFd, capacity: usize) -> PollSet {
        let mut fds = Vec::with_capacity(capacity.saturating_add(1));
        fds.push(entry(notifier, Interest::READABLE));
        PollSet {
            fds,
            table: FdTable::new(notifier, capacity),
            next: 1,
            closed: Vec::new(),
            held: Vec::new(),
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
            // A registration of another file was replaced.
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

    /// Arms directions again: only those of the interest (or errors, which need no interest), and
    /// only for an edge trigger.
    pub(super) fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let place = self.table.find(fd, token)?;
        let slot = &self.table[place];
        let interest = interest & (slot.interest | Interest::ERROR);
        if slot.trigger == Trigger::Edge && !interest.is_empty() {
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
        self.held.clear();
        self.next = 1;
    }

    /// Whether the next batch has something to deliver whatever the kernel sees.
    pub(super) fn is_due(&self) -> bool {
        self.held.iter().any(|held| self.place_of(*held).is_some())
    }

    /// Returns the place of a held report, and what of it is still in the interest.
    fn place_of(&self, held: Held) -> Option<(usize, libc::c_short)> {
        let place = self.table.find(held.number, held.token).ok()?;
        let fd = &self.fds[place];
        let revents = held.revents & (fd.events | libc::POLLERR);
        (fd.fd >= 0 && revents != 0).then_some((place, revents))
    }

    /// Returns the array for the kernel.
    pub(super) fn fds(&mut self) -> &mut [libc::pollfd] {
        &mut self.fds
    }

    /// Whether the last wait saw a notification.
    pub(super) fn is_notified(&self) -> bool {
        self.fds[NOTIFIER].revents != 0
    }

    /// Moves what the last wait found into `events`, as much as fits. `ready` is the number of fds
    /// that have something, without the notifier. Begins where the last batch had no more room.
    pub(super) fn deliver(&mut self, mut ready: usize, events: &mut Events) {
        for held in std::mem::take(&mut self.held) {
            if let Some((place, revents)) = self.place_of(held) {
                let seen = &mut self.fds[place].revents;
                ready += usize::from(*seen == 0);
                *seen |= revents;
            }
        }
        let end = self.fds.len();
        let start = if self.next < end { self.next } else { 1 };
        let mut is_full = false;
        for place in (start..end).chain(1..start) {
            if ready == 0 {
                break;
            }
            if self.fds[place].revents == 0 {
                continue;
            }
            ready -= 1;
            if events.room() == 0 {
                if !is_full {
                    self.next = place;
                    is_full = true;
                }
                self.hold(place);
                continue;
            }
            let seen = self.disarm(place);
            events.push(self.table[place].token, seen);
        }
        while let Some(number) = self.closed.pop() {
            if let Some(place) = self.table.place(number) {
                self.forget(place);
            }
        }
    }

    /// Keeps what the kernel found at one place for the next batch, if it will not report it again.
    #[cold]
    fn hold(&mut self, place: usize) {
        let revents = self.fds[place].revents & CHANGED;
        if revents != 0 && self.table.reports_once(place) {
            let slot = &self.table[place];
            let (number, token) = (slot.number, slot.token);
            self.held.push(Held {
                number,
                token,
                revents,
            });
        }
    }

    /// Returns what the kernel found at one place, and disarms that as its trigger demands.
    fn disarm(&mut self, place: usize) -> Ready {
        let (fd, slot) = (&mut self.fds[place], &self.table[place]);
        let seen = readiness(fd.revents);
        if seen.is_invalid() {
            fd.fd = -1;
            self.closed.push(slot.number);
            return seen;
        }
        let is_final = fd.revents & (libc::POLLHUP | libc::POLLERR) != 0;
        match slot.trigger {
            Trigger::Level => return seen,
            // The rest stays armed, for when the fd is armed again.
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

/// Returns the `events` for an interest. `POLLHUP`, `POLLERR` and `POLLNVAL` need no bit.
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

/// Returns the `events` that a delivery has answered. Data does not answer for the end of the
/// stream, so that the end is also reported while data is unread.
pub(super) fn directions(seen: Ready) -> libc::c_short {
    let mut mask = 0;
    if seen.is_readable() {
        mask |= libc::POLLIN;
    }
    if seen.is_read_closed() {
        mask |= RDHUP;
    }
    if seen.is_writable() {
        mask |= libc::POLLOUT;
    }
    if seen.is_priority() {
        mask |= libc::POLLPRI;
    }
    mask
}

/// Translates `revents`. `POLLERR` closes no side: a datagram socket goes on after it.
pub(super) fn readiness(revents: libc::c_short) -> Ready {
    let mut readiness = Ready::EMPTY;
    if revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL | RDHUP) != 0 {
        readiness |= Ready::READABLE;
    }
    if revents & (libc::POLLOUT | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
        readiness |= Ready::WRITABLE;
    }
    if revents & libc::POLLPRI != 0 {
        readiness |= Ready::PRIORITY;
    }
    if revents & libc::POLLERR != 0 {
        readiness |= Ready::ERROR;
    }
    if revents & (RDHUP | libc::POLLHUP) != 0 {
        readiness |= Ready::READ_CLOSED;
    }
    if revents & libc::POLLHUP != 0 {
        readiness |= Ready::WRITE_CLOSED;
    }
    if revents & libc::POLLNVAL != 0 {
        readiness |= Ready::INVALID;
    }
    readiness
}

/// Returns what of `interest` is ready now, including hang-ups and errors, by one call of poll(2)
/// that does not block. A thread that does not own the loop calls it before it sends a message, and
/// the owner calls it when such a message arrives.
///
/// Takes a number, not a borrow, because the fd of a message may have been closed meanwhile. Then
/// the result is INVALID.
pub(crate) fn poll_now(fd: RawFd, interest: Interest) -> io::Result<Ready> {
    poll_one(fd, interest).map(readiness)
}

/// As [`poll_now`], but an error does not count as READABLE and WRITABLE: an error that lasts, such
/// as an unread error queue, does not make calls return.
pub(crate) fn poll_now_ignoring_errors(fd: RawFd, interest: Interest) -> io::Result<Ready> {
    let seen = poll_one(fd, interest)?;
    let error = readiness(seen & libc::POLLERR) & Ready::ERROR;
    Ok(readiness(seen & !libc::POLLERR) | error)
}

fn poll_one(fd: RawFd, interest: Interest) -> io::Result<libc::c_short> {
    let mut events = mask(interest);
    if interest.is_priority() {
        // A peer that has ended its side sends nothing more.
        events |= RDHUP;
    }
    let mut entry = [libc::pollfd {
        fd,
        events,
        revents: 0,
    }];
    retry(|| poll(&mut entry, Some(Duration::ZERO)))?;
    Ok(entry[0].revents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn poll_now_reports_data_a_hang_up_and_a_closed_number() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        assert_eq!(poll_now(fd, Interest::READABLE).unwrap(), Ready::EMPTY);
        assert_eq!(poll_now(fd, Interest::WRITABLE).unwrap(), Ready::WRITABLE);
        there.write_all(b"x").unwrap();
        assert_eq!(poll_now(fd, Interest::READABLE).unwrap(), Ready::READABLE);
        // Not by a close, which has no effect while a child that another test forks has a copy.
        there.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(
            poll_now(fd, Interest::EMPTY)
                .unwrap()
                .contains(Ready::READ_CLOSED)
        );
        // A number far above any limit is never open.
        assert!(poll_now(i32::MAX, Interest::READABLE).unwrap().is_invalid());
    }

    #[test]
    fn poll_now_ignoring_errors_reports_neither_data_nor_room_for_an_error() {
        let (reader, writer) = crate::sys::pipe::pipe().unwrap();
        let fd = writer.as_raw_fd();
        drop(reader);
        // A child process of another test may have a copy for a moment.
        while !poll_now(fd, Interest::EMPTY).unwrap().is_error() {
            std::thread::yield_now();
        }
        let both = Ready::READABLE | Ready::WRITABLE;
        let seen = poll_now(fd, Interest::READABLE).unwrap();
        assert_eq!(seen, both | Ready::ERROR);
        let seen = poll_now_ignoring_errors(fd, Interest::READABLE).unwrap();
        assert_eq!(seen, Ready::ERROR);
        let seen = poll_now_ignoring_errors(fd, Interest::WRITABLE).unwrap();
        assert_eq!(seen, Ready::WRITABLE | Ready::ERROR);
    }

    #[test]
    fn bits_become_readiness() {
        let both = Ready::READABLE | Ready::WRITABLE;
        let hangup = both | Ready::READ_CLOSED | Ready::WRITE_CLOSED;
        assert_eq!(readiness(libc::POLLIN), Ready::READABLE);
        assert_eq!(readiness(libc::POLLOUT), Ready::WRITABLE);
        assert_eq!(readiness(libc::POLLPRI), Ready::PRIORITY);
        assert_eq!(readiness(libc::POLLERR), both | Ready::ERROR);
        assert_eq!(readiness(libc::POLLHUP), hangup);
        assert_eq!(readiness(libc::POLLNVAL), both | Ready::INVALID);
        if HAS_RDHUP {
            let closed = Ready::READABLE | Ready::READ_CLOSED;
            assert_eq!(readiness(RDHUP), closed);
        }
    }

    #[test]
    fn directions_cover_the_mask() {
        for interest in [Interest::READABLE, Interest::WRITABLE, Interest::PRIORITY] {
            let seen = Ready::from_interest(interest);
            assert_eq!(directions(seen), mask(interest));
        }
        // The end of the stream stays armed when there is data.
        assert_eq!(directions(Ready::READABLE), libc::POLLIN);
        assert_eq!(mask(Interest::EMPTY | Interest::ERROR), 0);
    }
}
