//! A fake /dev/poll in this process.
//!
//! Sources: the manual page poll(7D) of illumos; `usr/src/uts/common/io/devpoll.c` of illumos
//! (2016) and of Solaris 11 (2011), called "illumos" and "Solaris 11" below. Where they differ, or
//! promise nothing, the fake does what is harder for its user.
//!
//! What it implements:
//! - A write adds the events to those in the set: `pd_events |= events`, poll(7D): "the events
//!   field in each pollfd entry is OR'ed".
//! - `events` that are `POLLREMOVE` and nothing else remove the fd; with other bits it is an
//!   addition (both sources compare by `!=`). Removing what is not in the set is no error.
//! - A closed fd stays: `POLLNVAL` at every `DP_POLL`, with the `events` of the record not written,
//!   until it is removed. Once its number names another file, that one is polled under the old
//!   events (poll(7D), NOTES).
//! - Only hinted fds are polled: what was written, was ready in the last poll, or was woken by its
//!   driver since. The driver is the old file's, so a reused number may not be polled (poll(7D)
//!   promises that it is). A write of the very events in the set is ignored (Solaris 11; illumos
//!   compares the file too).
//! - Writing a closed number is no error, and has no visible effect: the events are noted but
//!   `pd_fp` stays null, which `DP_POLL` treats as removed. illumos ignores a `POLLREMOVE` for such
//!   an entry and keeps the events, so that they are added to the next ones (Solaris 11 clears
//!   them).
//! - If a driver refuses to poll an fd, the write returns that error, and stops there; what is
//!   before it in the array is done (both sources: `break` on an error of `VOP_POLL`).
//! - `EACCES` for a process other than the opener (poll(7D), NOTES; Solaris 11 notes the opener,
//!   illumos the first user).
//! - `EINVAL` for a write of more than `OPEN_MAX` records, and for a `DP_POLL` into as many or more
//!   (poll(7D), ERRORS; Solaris 11 allows as many, illumos cuts silently at twice that).
//! - A write may accept only a part, as poll(7D) allows ("the number of bytes written"); both
//!   sources accept all.
//! - At most `dp_nfds` records. No order is documented: by fd number each time from the lowest, or
//!   as both sources do, continuing where the last full batch ended.
//! - Whole milliseconds, -1 without limit. `EINTR` only with nothing to report.
//!
//! What it lacks: a second thread that writes while one waits, `DP_ISPOLLED`, records cut short
//! (the trait passes whole ones; both sources drop the rest).

use super::super::devpoll::{POLLREMOVE, Sys};
use crate::sys::fd::FileId;
use crate::sys::poll::poll;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Which of the ready fds come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::backend) enum Order {
    /// The lowest numbers, every time.
    Lowest,
    /// Those behind the last one of a batch that was full.
    Circular,
}

#[derive(Debug)]
pub(in crate::backend) struct FakeDevPoll {
    opener: u32,
    cached: BTreeMap<RawFd, Cached>,
    next: RawFd,
    pub(in crate::backend) order: Order,
    pub(in crate::backend) open_max: usize,
    /// The most records that one write accepts.
    pub(in crate::backend) max_written: usize,
    /// The fds whose driver refuses to poll them.
    pub(in crate::backend) refused: Vec<RawFd>,
    /// Every record that was accepted, for tests that count them.
    pub(in crate::backend) written: Vec<(RawFd, libc::c_short)>,
    pub(in crate::backend) writes: usize,
    pub(in crate::backend) polls: usize,
}

/// The kernel's `polldat`.
#[derive(Clone, Copy, Debug)]
struct Cached {
    events: libc::c_short,
    /// `pd_fp`: the file, if the fd is in the set.
    file: Option<FileId>,
    /// The bit in the map.
    is_hinted: bool,
}

/// The content of a record that the kernel has not written.
const GARBAGE: libc::c_short = -1;

impl FakeDevPoll {
    fn check_opener(&self) -> io::Result<()> {
        if self.opener == std::process::id() {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EACCES))
        }
    }

    fn check_driver(&self, fd: RawFd) -> io::Result<()> {
        if self.refused.contains(&fd) {
            return Err(io::Error::from_raw_os_error(libc::ENXIO));
        }
        Ok(())
    }

    fn write_one(&mut self, fd: RawFd, events: libc::c_short) -> io::Result<()> {
        if fd < 0 {
            return Ok(());
        }
        let nothing = Cached {
            events: 0,
            file: None,
            is_hinted: false,
        };
        let before = self.cached.get(&fd).copied().unwrap_or(nothing);
        if events == POLLREMOVE {
            if before.file.is_some() {
                self.cached.insert(fd, nothing);
            }
            return Ok(());
        }
        let mut cached = before;
        if let Ok(file) = FileId::of(fd) {
            if before.file.is_some() && before.events == events {
                return Ok(());
            }
            self.check_driver(fd)?;
            cached.file = Some(file);
        }
        cached.events |= events;
        cached.is_hinted = true;
        self.cached.insert(fd, cached);
        Ok(())
    }

    /// Returns the fds that are reported if there is room for so many.
    fn cut(&mut self, mut ready: Vec<libc::pollfd>, room: usize) -> Vec<libc::pollfd> {
        if self.order == Order::Circular {
            let start = ready.partition_point(|entry| entry.fd < self.next);
            ready.rotate_left(start);
        }
        if ready.len() >= room {
            ready.truncate(room);
            self.next = ready.last().map_or(0, |last| last.fd + 1);
        }
        ready
    }

    /// Returns the events of the fd if it is in the set: `DP_ISPOLLED`.
    pub(in crate::backend) fn is_polled(&self, fd: RawFd) -> Option<libc::c_short> {
        let cached = self
            .cached
            .get(&fd)
            .filter(|cached| cached.file.is_some())?;
        Some(cached.events)
    }

    /// Forgets what was counted.
    pub(in crate::backend) fn clear_log(&mut self) {
        self.written.clear();
        (self.writes, self.polls) = (0, 0);
    }
}

impl Sys for FakeDevPoll {
    fn open() -> io::Result<FakeDevPoll> {
        Ok(FakeDevPoll {
            opener: std::process::id(),
            cached: BTreeMap::new(),
            next: 0,
            order: Order::Lowest,
            open_max: 65_536,
            max_written: usize::MAX,
            refused: Vec::new(),
            written: Vec::new(),
            writes: 0,
            polls: 0,
        })
    }

    fn write(&mut self, changes: &[libc::pollfd]) -> io::Result<usize> {
        self.writes += 1;
        self.check_opener()?;
        if changes.len() > self.open_max {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let taken = changes.len().min(self.max_written);
        for change in &changes[..taken] {
            self.write_one(change.fd, change.events)?;
            self.written.push((change.fd, change.events));
        }
        Ok(taken)
    }

    fn poll(&mut self, into: &mut [libc::pollfd], timeout: libc::c_int) -> io::Result<usize> {
        self.polls += 1;
        self.check_opener()?;
        if into.len() >= self.open_max {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut entries = Vec::new();
        for (&fd, cached) in &self.cached {
            // A closed fd is hinted at; otherwise its close would not be noticed.
            let is_same = FileId::of(fd).map_or(true, |file| cached.file == Some(file));
            if cached.file.is_some() && (cached.is_hinted || is_same) {
                entries.push(libc::pollfd {
                    fd,
                    events: cached.events,
                    revents: 0,
                });
            }
        }
        // Without room it is a way to sleep (both sources).
        if into.is_empty() {
            entries.clear();
        }
        for entry in &entries {
            self.check_driver(entry.fd)?;
        }
        let timeout = u64::try_from(timeout).ok().map(Duration::from_millis);
        poll(&mut entries, timeout)?;
        for entry in &entries {
            if let Some(cached) = self.cached.get_mut(&entry.fd) {
                cached.is_hinted = entry.revents != 0;
                cached.file = FileId::of(entry.fd).ok().or(cached.file);
            }
        }
        entries.retain(|entry| entry.revents != 0);
        let reported = self.cut(entries, into.len());
        into.fill(libc::pollfd {
            fd: -1,
            events: GARBAGE,
            revents: GARBAGE,
        });
        for (record, mut entry) in into.iter_mut().zip(reported.iter().copied()) {
            if entry.revents & libc::POLLNVAL != 0 {
                entry.events = GARBAGE;
            }
            *record = entry;
        }
        Ok(reported.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn entry(fd: RawFd, events: libc::c_short) -> libc::pollfd {
        libc::pollfd {
            fd,
            events,
            revents: 0,
        }
    }

    fn poll_now(fake: &mut FakeDevPoll) -> Vec<(RawFd, libc::c_short)> {
        let mut into = [entry(-1, 0); 8];
        let count = fake.poll(&mut into, 0).unwrap();
        into[..count].iter().map(|e| (e.fd, e.revents)).collect()
    }

    #[test]
    fn write_adds_events_and_only_pollremove_removes() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let fd = theirs.as_raw_fd();
        let mut fake = FakeDevPoll::open().unwrap();
        fake.write(&[entry(fd, libc::POLLOUT)]).unwrap();
        fake.write(&[entry(fd, libc::POLLIN)]).unwrap();
        assert_eq!(fake.is_polled(fd), Some(libc::POLLIN | libc::POLLOUT));
        assert_eq!(poll_now(&mut fake), [(fd, libc::POLLOUT)]);
        fake.write(&[entry(fd, POLLREMOVE | libc::POLLPRI)])
            .unwrap();
        assert_eq!(poll_now(&mut fake), [(fd, libc::POLLOUT)]);
        fake.write(&[entry(fd, POLLREMOVE), entry(fd, libc::POLLIN)])
            .unwrap();
        assert_eq!(poll_now(&mut fake), []);
        fake.write(&[entry(fd, POLLREMOVE)]).unwrap();
        fake.write(&[entry(fd, POLLREMOVE)]).unwrap();
        assert_eq!(fake.is_polled(fd), None);
    }

    #[test]
    fn closed_fd_stays_and_a_closed_number_leaves_its_events() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        // In a child, where no other test takes the number.
        let result = crate::sys::fork::in_child(move || {
            let fd = theirs.as_raw_fd();
            let mut fake = FakeDevPoll::open().unwrap();
            fake.write(&[entry(fd, libc::POLLIN)]).unwrap();
            drop(theirs);
            let invalid = [(fd, libc::POLLNVAL)];
            let stays = poll_now(&mut fake) == invalid && poll_now(&mut fake) == invalid;
            fake.write(&[entry(fd, POLLREMOVE)]).unwrap();
            let goes = poll_now(&mut fake).is_empty();
            fake.write(&[entry(fd, libc::POLLIN), entry(fd, POLLREMOVE)])
                .unwrap();
            let leaves = poll_now(&mut fake).is_empty() && fake.cached[&fd].events == libc::POLLIN;
            match (stays, goes, leaves) {
                (true, true, true) => Ok(()),
                not => Err(format!("{not:?}")),
            }
        });
        assert_eq!(result.unwrap(), Ok(()));
    }

    #[test]
    fn write_and_poll_refuse_too_many_records() {
        let mut fake = FakeDevPoll::open().unwrap();
        fake.open_max = 2;
        let entries = [entry(-1, 0); 3];
        fake.write(&entries[..2]).unwrap();
        let error = fake.write(&entries).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        fake.poll(&mut [entry(-1, 0)], 0).unwrap();
        let error = fake.poll(&mut [entry(-1, 0); 2], 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn child_is_refused() {
        let mut fake = FakeDevPoll::open().unwrap();
        let result = crate::sys::fork::in_child(|| {
            let written = fake.write(&[]).map_err(|e| e.raw_os_error());
            let polled = fake.poll(&mut [], 0).map_err(|e| e.raw_os_error());
            let refused = Err(Some(libc::EACCES));
            match written == refused && polled == refused {
                true => Ok(()),
                false => Err("a child may use it".to_owned()),
            }
        });
        assert_eq!(result.unwrap(), Ok(()));
    }
}
