//! A /dev/poll in this process.
//!
//! Sources: the manual page poll(7D) of illumos; `usr/src/uts/common/io/devpoll.c` of illumos (2016) and of Solaris 11
//! (2011), called "illumos" and "Solaris 11" below. Where they differ, or promise nothing, the fake does what is
//! harder for its user.
//!
//! What it has of them:
//! - A write adds the events to those that stand there: `pd_events |= events`, poll(7D): "the events field in each pollfd
//!   entry is OR'ed".
//! - `events` that are `POLLREMOVE` and nothing else take the fd out; with other bits it is an addition (both
//!   sources compare by `!=`). To take out what is not in is no error.
//! - A closed fd stays: `POLLNVAL` at every `DP_POLL`, with the `events` of the record not written, until it is taken
//!   out; once its number names another file, that one is polled under the old events (poll(7D), NOTES).
//! - Only what is hinted at is looked at: what was written, was ready at the last look, or was woken by its driver since. The
//!   driver is the old file's, so a reused number may not be looked at (poll(7D) promises that it is); and a write of the
//!   very events that stand there is passed over (Solaris 11; illumos compares the file too).
//! - A closed number that is written is no error, and nothing is said of it afterwards: the events are noted but
//!   `pd_fp` stays null, which `DP_POLL` takes for removed. illumos passes over a `POLLREMOVE` for such an entry and keeps
//!   the events, so that they are added to the next ones (Solaris 11 clears them).
//! - Of an fd whose driver refuses to be polled, the write reports that error, and stops there: what stands before it in the
//!   array holds (both sources: `break` on an error of `VOP_POLL`).
//! - `EACCES` for a process other than the opener (poll(7D), NOTES; Solaris 11 notes the opener, illumos the first user).
//! - `EINVAL` for a write of more than `OPEN_MAX` records, and for a `DP_POLL` into as many or more (poll(7D), ERRORS;
//!   Solaris 11 allows as many, illumos cuts silently at twice that).
//! - A write may take only a part, as poll(7D) allows ("the number of bytes written"); both sources take all.
//! - At most `dp_nfds` records. No order is documented: by fd number each time from the lowest, or as both sources do,
//!   going on where the last full batch ended.
//! - Whole milliseconds, -1 for ever. `EINTR` only with nothing to report.
//!
//! What it has not: a second thread that writes while one waits, `DP_ISPOLLED`, records cut short (the trait gives
//! whole ones; both sources drop what is left over).

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
    /// The most records that one write takes.
    pub(in crate::backend) most_written: usize,
    /// Whose driver refuses to be polled.
    pub(in crate::backend) refused: Vec<RawFd>,
    /// Every record that was taken, for tests that count them.
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

/// What a record holds that the kernel has not written.
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

    /// What of it is reported when this much fits.
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

    /// Whether the fd is in the set, and with which events: `DP_ISPOLLED`.
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
            most_written: usize::MAX,
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
        let taken = changes.len().min(self.most_written);
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
            // What is closed is hinted at: nobody would hear of it otherwise.
            let is_same = FileId::of(fd).map_or(true, |file| cached.file == Some(file));
            if cached.file.is_some() && (cached.is_hinted || is_same) {
                entries.push(libc::pollfd {
                    fd,
                    events: cached.events,
                    revents: 0,
                });
            }
        }
        // With no room it is a way to sleep (both sources).
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

    fn look(fake: &mut FakeDevPoll) -> Vec<(RawFd, libc::c_short)> {
        let mut into = [entry(-1, 0); 8];
        let count = fake.poll(&mut into, 0).unwrap();
        into[..count].iter().map(|e| (e.fd, e.revents)).collect()
    }

    #[test]
    fn events_are_added_and_taken_out_only_by_remove_alone() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let fd = theirs.as_raw_fd();
        let mut fake = FakeDevPoll::open().unwrap();
        fake.write(&[entry(fd, libc::POLLOUT)]).unwrap();
        fake.write(&[entry(fd, libc::POLLIN)]).unwrap();
        assert_eq!(fake.is_polled(fd), Some(libc::POLLIN | libc::POLLOUT));
        assert_eq!(look(&mut fake), [(fd, libc::POLLOUT)]);
        fake.write(&[entry(fd, POLLREMOVE | libc::POLLPRI)])
            .unwrap();
        assert_eq!(look(&mut fake), [(fd, libc::POLLOUT)]);
        fake.write(&[entry(fd, POLLREMOVE), entry(fd, libc::POLLIN)])
            .unwrap();
        assert_eq!(look(&mut fake), []);
        fake.write(&[entry(fd, POLLREMOVE)]).unwrap();
        fake.write(&[entry(fd, POLLREMOVE)]).unwrap();
        assert_eq!(fake.is_polled(fd), None);
    }

    #[test]
    fn a_closed_fd_stays_and_a_closed_number_leaves_its_events() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        // In a child, where no other test takes the number.
        let told = crate::sys::fork::in_child(move || {
            let fd = theirs.as_raw_fd();
            let mut fake = FakeDevPoll::open().unwrap();
            fake.write(&[entry(fd, libc::POLLIN)]).unwrap();
            drop(theirs);
            let invalid = [(fd, libc::POLLNVAL)];
            let stays = look(&mut fake) == invalid && look(&mut fake) == invalid;
            fake.write(&[entry(fd, POLLREMOVE)]).unwrap();
            let goes = look(&mut fake).is_empty();
            fake.write(&[entry(fd, libc::POLLIN), entry(fd, POLLREMOVE)])
                .unwrap();
            let leaves = look(&mut fake).is_empty() && fake.cached[&fd].events == libc::POLLIN;
            match (stays, goes, leaves) {
                (true, true, true) => Ok(()),
                not => Err(format!("{not:?}")),
            }
        });
        assert_eq!(told.unwrap(), Ok(()));
    }

    #[test]
    fn too_many_records_are_refused() {
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
    fn a_child_is_refused() {
        let mut fake = FakeDevPoll::open().unwrap();
        let told = crate::sys::fork::in_child(|| {
            let written = fake.write(&[]).map_err(|e| e.raw_os_error());
            let polled = fake.poll(&mut [], 0).map_err(|e| e.raw_os_error());
            let refused = Err(Some(libc::EACCES));
            match written == refused && polled == refused {
                true => Ok(()),
                false => Err("a child may use it".to_owned()),
            }
        });
        assert_eq!(told.unwrap(), Ok(()));
    }
}
