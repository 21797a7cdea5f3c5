//! The backend over select(2): every Unix.
//!
//! **What the kernel offers.** One call that takes three bitmaps with a bit for each fd number: for
//! data, for room, and for out-of-band data. It overwrites them with what is ready. Level triggers
//! only. Registering, modifying and arming are stores to our own memory.
//!
//! **Where it is odd.**
//! - A wait costs the highest fd number, not the number of fds.
//! - Hang-ups and errors are reported as "readable" and "writable" (Linux's select(2),
//!   "Correspondence between select() and poll() notifications"), only for fds in these bitmaps.
//!   The third bitmap has nothing to do with errors.
//! - One fd that is not open makes the whole call fail with `EBADF`, without a hint which one it
//!   was.
//! - It uses numbers: a number that was closed and given to another file is still watched.
//! - The C library's `fd_set` ends at `FD_SETSIZE`: 1,024 on most systems, 256 on NetBSD, 65,536 on
//!   64-bit illumos. Linux's kernel takes bitmaps of any length (tried on Linux 6.18, with number
//!   5,000).
//! - There is no kernel object that another loop could watch.
//!
//! **What we do about it.** [`FdSets`] holds bitmaps that grow with the numbers, and makes Linux's
//! system call itself. Elsewhere `add` refuses a number that is too high. Edge and one-shot
//! triggers are bits that are removed at delivery and set again by `rearm` or `modify`. After
//! `EBADF` every armed fd is checked. Those that are not open are reported once and forgotten,
//! together with the fds that are ready. A batch begins where the last one had no more room.
//!
//! **What it cannot do.** No event has ERROR, READ_CLOSED or WRITE_CLOSED. A hang-up or an error is
//! READABLE and WRITABLE, as far as the interest has these; a registration with neither gets no
//! event.
//!
//! **Versions.** Everywhere; `pselect`, the form with nanoseconds, as well.

use super::fd_table::{FdTable, NOTIFIER};
use super::fdsets::FdSets;
use super::{Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Ready, Token, Trigger};
use crate::sys::fd::is_open;
use crate::sys::select::{HIGHEST, select};
use crate::sys::syscall::{failure, retry};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// How often one wait repeats a call that failed with `EBADF` although every fd is open: another
/// thread may have closed a number and opened it again before the check. An error that lasts has
/// another cause, such as a closed notifier.
const MAX_ACCIDENTS: u32 = 16;

pub(super) struct Select {
    sets: FdSets,
    table: FdTable,
    notify: NotifyFd,
    /// The number at which the next batch begins, so that low numbers are not always served first.
    next: usize,
    /// The highest number that may be added.
    highest: Option<RawFd>,
    /// The registrations whose PRIORITY did not fit into the last batch, and which the kernel
    /// reports to one call only.
    held: Vec<(RawFd, Token)>,
}

impl Select {
    pub(super) fn new(capacity: usize) -> io::Result<Select> {
        // A sandbox that forbids the call should be noticed before a runtime relies on it.
        retry(|| select(0, [None, None, None], Some(Duration::ZERO)))?;
        Select::build(capacity, NotifyFd::new()?, HIGHEST)
    }

    /// As `new`, with a given notifier and a highest number, as on systems where bitmaps end there.
    fn build(capacity: usize, notify: NotifyFd, highest: Option<RawFd>) -> io::Result<Select> {
        let mut select = Select {
            sets: FdSets::new(),
            table: FdTable::new(notify.as_fd().as_raw_fd(), capacity),
            notify,
            next: 0,
            highest,
            held: Vec::new(),
        };
        select.check_number(select.notifier_fd())?;
        select.watch_notifier();
        Ok(select)
    }

    fn notifier_fd(&self) -> RawFd {
        self.table[NOTIFIER].number
    }

    fn watch_notifier(&mut self) {
        self.sets.arm(self.notifier_fd(), Interest::READABLE);
    }

    fn check_number(&self, fd: RawFd) -> io::Result<()> {
        match self.highest {
            // A number that is not open is `EBADF`, which `add` returns.
            Some(highest) if fd > highest && is_open(fd) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "select(2) cannot watch fd {fd}, because its sets end at {highest} on this system: choose another backend, such as poll"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Waits. Returns how many bits the kernel has set. Fds that are not open are reported at once,
    /// followed by those that are ready.
    fn wait_for_kernel(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let mut accidents = 0;
        loop {
            let has_events = !events.as_slice().is_empty();
            let is_due = self.held.iter().any(|held| self.is_due(*held));
            let timeout = if has_events || is_due {
                Some(Duration::ZERO)
            } else {
                timeout
            };
            match self.sets.wait(timeout) {
                // The call did not wait, so the timeout is still whole.
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                    if self.report_closed(events) == 0 {
                        accidents += 1;
                        if accidents == MAX_ACCIDENTS {
                            return Err(error);
                        }
                    }
                    if events.room() == 0 {
                        return Ok(0);
                    }
                }
                waited => return waited,
            }
        }
    }

    /// Reports and forgets the fds that are not open, as many as fit, after a wait that failed
    /// because of them. Returns how many it reported.
    #[cold]
    fn report_closed(&mut self, events: &mut Events) -> usize {
        let (mut from, end) = (0, self.sets.end());
        let before = events.room();
        while events.room() > 0 {
            let Some(fd) = self.sets.first_armed(from, end) else {
                break;
            };
            from = fd as usize + 1;
            match self.table.place(fd) {
                Some(place) if !is_open(fd) => {
                    let all = Ready::READABLE | Ready::WRITABLE | Ready::INVALID;
                    events.push(self.table[place].token, all);
                    self.forget(place);
                }
                _ => {}
            }
        }
        before - events.room()
    }

    /// Whether a held registration still has PRIORITY in its interest.
    fn is_due(&self, (fd, token): (RawFd, Token)) -> bool {
        self.table.find(fd, token).is_ok() && self.sets.is_armed(fd, Interest::PRIORITY)
    }

    /// Keeps what the last wait found of one fd for the next batch, if the kernel will not report
    /// it again.
    #[cold]
    fn hold(&mut self, fd: RawFd) {
        let (seen, _) = self.sets.seen(fd);
        if let Some(place) = self.table.place(fd) {
            if seen.is_priority() && self.table.reports_once(place) {
                self.held.push((fd, self.table[place].token));
            }
        }
    }

    /// Moves what the last wait found into `events`, as much as fits. `left` is the number of bits
    /// that are set.
    fn deliver(&mut self, mut left: usize, events: &mut Events) {
        for held in std::mem::take(&mut self.held) {
            if self.is_due(held) {
                left += self.sets.add_priority(held.0);
            }
        }
        let mut is_full = false;
        let end = self.sets.end();
        let start = self.next.min(end);
        for (from, to) in [(start, end), (0, start)] {
            let mut from = from;
            while left > 0 {
                let Some(fd) = self.sets.first_seen(from, to) else {
                    break;
                };
                from = fd as usize + 1;
                if events.room() == 0 {
                    if !is_full {
                        self.next = fd as usize;
                        is_full = true;
                    }
                    self.hold(fd);
                    left = left.saturating_sub(self.sets.seen(fd).1);
                    continue;
                }
                left = left.saturating_sub(self.deliver_one(fd, events));
            }
        }
    }

    /// Reports one fd and disarms it as its trigger demands. Returns how many bits that was.
    fn deliver_one(&mut self, fd: RawFd, events: &mut Events) -> usize {
        let (seen, bits) = self.sets.seen(fd);
        let Some(place) = self.table.place(fd) else {
            debug_assert!(false, "fd {fd} was armed and not registered");
            return bits;
        };
        let slot = &self.table[place];
        events.push(slot.token, seen);
        match slot.trigger {
            Trigger::Level => {}
            // What was not found stays armed.
            Trigger::Edge => self.sets.disarm(fd, seen),
            Trigger::Oneshot => self.sets.disarm(fd, Ready::ALL),
        }
        bits
    }

    fn forget(&mut self, place: usize) {
        self.sets.disarm(self.table[place].number, Ready::ALL);
        self.table.forget(place);
    }
}

impl Backend for Select {
    fn name(&self) -> &str {
        "select"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edge: true,
            level: true,
            oneshot: true,
            rearm: true,
            priority: true,
            max_fd: self.highest,
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
        self.check_number(fd)?;
        self.table.add(fd, token, interest, trigger)?;
        // An older registration of another file may have been replaced.
        self.sets.disarm(fd, Ready::ALL);
        self.sets.arm(fd, interest);
        Ok(())
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.table.modify(fd, token, interest, trigger)?;
        self.sets.disarm(fd, Ready::ALL);
        self.sets.arm(fd, interest);
        Ok(())
    }

    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let slot = &self.table[self.table.find(fd, token)?];
        if slot.trigger == Trigger::Edge {
            self.sets.arm(fd, interest & slot.interest);
        }
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.forget(self.table.find(fd, token)?);
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let mut left = match self.wait_for_kernel(events, timeout) {
            // The closed fds are reported first. If the error lasts, the next wait returns it.
            Err(_) if !events.as_slice().is_empty() => return Ok(()),
            waited => waited?,
        };
        let notifier = self.notifier_fd();
        if left > 0 && self.sets.seen(notifier).1 > 0 {
            self.notify.drain();
            self.sets.clear_seen(notifier);
            left -= 1;
        }
        self.deliver(left, events);
        Ok(())
    }

    fn after_fork(&mut self) -> io::Result<()> {
        self.sets.clear();
        self.table.clear();
        self.held.clear();
        self.next = 0;
        self.notify.after_fork()?;
        self.watch_notifier();
        Ok(())
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(failure(
            io::ErrorKind::Unsupported,
            "select(2) has no kernel object that another loop could watch: use epoll, kqueue or event ports",
        ))
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select")
            .field("highest", &self.highest)
            .field("notify", &self.notify)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Event;
    use crate::sys::test_fds;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn token(index: u32) -> Token {
        Token::new(index, 1)
    }

    fn poll_now(select: &mut Select, events: &mut Events) -> Vec<Event> {
        select.wait(events, Some(Duration::ZERO)).unwrap();
        events.as_slice().to_vec()
    }

    #[test]
    fn conforms_without_eventfd() {
        crate::conformance::run(&mut || {
            let select = Select::build(64, NotifyFd::pipe()?, HIGHEST)?;
            Ok(Box::new(select))
        })
        .assert_ok();
    }

    /// Numbers beyond every `fd_set`, beside low ones.
    #[test]
    fn select_high_fd() {
        let mut select = Select::new(4).unwrap();
        let mut events = Events::with_capacity(4);
        let (mut low, mut high) = UnixStream::pair().unwrap();
        high = UnixStream::from(test_fds::move_up(OwnedFd::from(high), HIGHEST).unwrap());
        let number = high.as_raw_fd();
        if number < 2000 || select.highest.is_some() {
            println!("skipped: the highest number here is {number}");
            return;
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        select
            .add(high.as_fd(), token(1), both, Trigger::Edge)
            .unwrap();
        select
            .add(low.as_fd(), token(2), Interest::READABLE, Trigger::Edge)
            .unwrap();
        let event = |index, readiness| Event {
            token: token(index),
            readiness,
        };
        let writable = event(1, Ready::WRITABLE);
        assert_eq!(poll_now(&mut select, &mut events), [writable]);
        low.write_all(b"x").unwrap();
        high.write_all(b"x").unwrap();
        let readable = [1, 2].map(|index| event(index, Ready::READABLE));
        let mut seen = poll_now(&mut select, &mut events);
        seen.sort_by_key(|event| event.token.index());
        assert_eq!(seen, readable);
        high.read_exact(&mut [0]).unwrap();
        select.rearm(number, token(1), both).unwrap();
        assert_eq!(poll_now(&mut select, &mut events), [writable]);
        // The highest number is removed: waits are short again, and the rest still works.
        select.remove(number, token(1)).unwrap();
        assert!(select.sets.end() <= select.notifier_fd().max(low.as_raw_fd()) as usize + 1);
        select
            .rearm(low.as_raw_fd(), token(2), Interest::READABLE)
            .unwrap();
        assert_eq!(poll_now(&mut select, &mut events), [readable[1]]);
    }

    /// As on a system where the C library's `fd_set` ends.
    #[test]
    fn add_refuses_a_number_beyond_the_limit_with_the_reason() {
        let notify = NotifyFd::new().unwrap();
        let (here, _there) = UnixStream::pair().unwrap();
        let high = test_fds::move_up(OwnedFd::from(here.try_clone().unwrap()), HIGHEST).unwrap();
        let limit = high.as_raw_fd() - 1;
        let mut select = Select::build(4, notify, Some(limit)).unwrap();
        assert_eq!(select.capabilities().max_fd, Some(limit));
        let refused = select
            .add(high.as_fd(), token(1), Interest::WRITABLE, Trigger::Level)
            .unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        let text = refused.to_string();
        for part in [&limit.to_string(), &high.as_raw_fd().to_string(), "poll"] {
            assert!(text.contains(part), "{part} is missing in {text:?}");
        }
        let mut events = Events::with_capacity(4);
        assert_eq!(poll_now(&mut select, &mut events), []);
        let gone = select.remove(high.as_raw_fd(), token(1)).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        select
            .add(here.as_fd(), token(1), Interest::WRITABLE, Trigger::Level)
            .unwrap();
        assert_eq!(poll_now(&mut select, &mut events).len(), 1);
        let closed = select
            .add(
                test_fds::not_open(),
                token(2),
                Interest::WRITABLE,
                Trigger::Level,
            )
            .unwrap_err();
        assert!(test_fds::is_bad_fd(&closed), "{closed}");
        let own = NotifyFd::new().unwrap();
        let refused = Select::build(4, own, Some(0)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    }

    /// Only closed fds are reported, each once, though fewer fit into a batch. Open fds are not
    /// touched.
    #[test]
    fn wait_reports_fds_closed_while_registered_once() {
        let mut select = Select::new(4).unwrap();
        let mut events = Events::with_capacity(2);
        let (mut low, open) = UnixStream::pair().unwrap();
        let up = || test_fds::move_up(OwnedFd::from(open.try_clone().unwrap()), HIGHEST).unwrap();
        let (doomed, kept, silent) = ([up(), up(), up()], up(), up());
        for (index, fd) in doomed.iter().chain([&kept]).enumerate() {
            let token = token(index as u32);
            select
                .add(fd.as_fd(), token, Interest::READABLE, Trigger::Level)
                .unwrap();
        }
        // Its interest is empty, so it cannot be found.
        select
            .add(silent.as_fd(), token(9), Interest::EMPTY, Trigger::Level)
            .unwrap();
        let silent_number = silent.as_raw_fd();
        drop((doomed, silent));
        low.write_all(b"x").unwrap();
        let all = Ready::READABLE | Ready::WRITABLE | Ready::INVALID;
        let mut seen = Vec::new();
        for (closed, ready) in [(2, 0), (1, 1), (0, 1)] {
            let batch = poll_now(&mut select, &mut events);
            let (gone, here): (Vec<Event>, Vec<Event>) =
                batch.iter().partition(|event| event.readiness.is_invalid());
            assert_eq!((gone.len(), here.len()), (closed, ready), "{batch:?}");
            assert!(gone.iter().all(|event| event.readiness == all));
            assert!(here.iter().all(|event| event.token == token(3)));
            seen.extend(gone.iter().map(|event| event.token.index()));
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        select.remove(silent_number, token(9)).unwrap();
    }

    /// What was armed for a file that was closed while registered is not armed for the next file
    /// with its number.
    #[test]
    fn add_of_a_reused_number_starts_disarmed() {
        let mut select = Select::new(4).unwrap();
        let mut events = Events::with_capacity(4);
        let (number, _peer) = UnixStream::pair().unwrap();
        let (file, _peer) = UnixStream::pair().unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        select
            .add(number.as_fd(), token(1), both, Trigger::Level)
            .unwrap();
        test_fds::replace(number.as_fd(), file.as_fd()).unwrap();
        select
            .add(number.as_fd(), token(2), Interest::READABLE, Trigger::Level)
            .unwrap();
        assert_eq!(poll_now(&mut select, &mut events), []);
    }

    /// What the parent armed must not be reported.
    #[test]
    fn after_fork_arms_nothing() {
        let mut select = Select::new(4).unwrap();
        let mut events = Events::with_capacity(4);
        let (here, _there) = UnixStream::pair().unwrap();
        select
            .add(here.as_fd(), token(1), Interest::WRITABLE, Trigger::Level)
            .unwrap();
        assert_eq!(poll_now(&mut select, &mut events).len(), 1);
        // As a child would do.
        select.after_fork().unwrap();
        assert_eq!(poll_now(&mut select, &mut events), []);
        assert_eq!(select.sets.end(), select.notifier_fd() as usize + 1);
    }

    /// Without its notifier a loop could never be woken. So the wait returns an error, and does not
    /// spin.
    #[test]
    fn wait_with_a_closed_notifier_fails() {
        let notify = NotifyFd::new().unwrap();
        let mut select = Select::build(4, notify, HIGHEST).unwrap();
        let mut events = Events::with_capacity(4);
        // In its place: a number that is not open.
        let (here, _there) = UnixStream::pair().unwrap();
        let gone = test_fds::move_up(OwnedFd::from(here), HIGHEST).unwrap();
        let number = gone.as_raw_fd();
        drop(gone);
        select.sets.clear();
        select.table = FdTable::new(number, 4);
        select.watch_notifier();
        let fatal = select.wait(&mut events, None).unwrap_err();
        assert_eq!(fatal.raw_os_error(), Some(libc::EBADF));
    }
}
