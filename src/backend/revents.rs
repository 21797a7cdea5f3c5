//! [`Revents`] is a result of poll(2) for one fd with a hang-up or an error: whether that lasts,
//! and whether there is more to report.

use super::pollset::{mask, readiness};
use super::{Interest, Ready};
use crate::sys::poll::poll;
use crate::sys::syscall::retry;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// The conditions that cannot be masked.
const UNMASKABLE: libc::c_short = libc::POLLHUP | libc::POLLERR;

/// The result of poll(2) for one fd and one interest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Revents(libc::c_short);

impl Revents {
    /// Whether the fd is hung up or has an error.
    pub(crate) fn is_hangup_or_error(self) -> bool {
        self.0 & UNMASKABLE != 0
    }

    /// Whether the fd is hung up or has an error, and nothing of the interest is ready. An armed
    /// mechanism would report this again and again, and no call would change it.
    pub(crate) fn is_only_hangup_or_error(self) -> bool {
        self.is_hangup_or_error() && self.0 & !UNMASKABLE == 0
    }

    /// Whether the fd is hung up.
    pub(crate) fn is_hung_up(self) -> bool {
        self.0 & libc::POLLHUP != 0
    }

    /// Returns the result without one direction.
    pub(crate) fn without(self, direction: Interest) -> Revents {
        Revents(self.0 & !mask(direction))
    }

    /// Whether the read side has ended. There may be data left to read. The interest must include
    /// READABLE.
    pub(crate) fn is_read_closed(self) -> bool {
        match super::pollset::RDHUP {
            // A hang-up with data before it looks the same.
            0 => self.is_hung_up() && self.0 & libc::POLLIN != 0,
            rdhup => self.0 & rdhup != 0,
        }
    }

    /// Returns what is in this result and not in `other`: only PRIORITY and what cannot be masked.
    pub(crate) fn unmaskable_since(self, other: Revents) -> Ready {
        readiness(self.0 & !other.0 & (UNMASKABLE | libc::POLLPRI))
    }
}

/// Calls poll(2) for one fd twice. Returns what only the first result contains, and the second
/// result.
///
/// Files such as /proc/sys/kernel/hostname report each change (ERROR and PRIORITY) to one call
/// only. So the caller has to report the first part, because the mechanism will not.
pub(crate) fn poll_revents_twice(fd: RawFd, interest: Interest) -> io::Result<(Ready, Revents)> {
    let first = poll_revents(fd, interest)?;
    let second = poll_revents(fd, interest)?;
    Ok((first.unmaskable_since(second), second))
}

/// Calls poll(2) for one fd.
pub(crate) fn poll_revents(fd: RawFd, interest: Interest) -> io::Result<Revents> {
    let mut entry = [entry(fd, interest)];
    retry(|| poll(&mut entry, Some(Duration::ZERO)))?;
    Ok(Revents(entry[0].revents))
}

/// Calls poll(2) once for several fds.
pub(crate) fn poll_revents_of_all(
    fds: impl Iterator<Item = (RawFd, Interest)>,
) -> io::Result<Vec<Revents>> {
    let mut entries: Vec<libc::pollfd> = fds.map(|(fd, interest)| entry(fd, interest)).collect();
    retry(|| poll(&mut entries, Some(Duration::ZERO)))?;
    let results = entries.iter().map(|entry| Revents(entry.revents));
    Ok(results.collect())
}

fn entry(fd: RawFd, interest: Interest) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: mask(interest),
        revents: 0,
    }
}

/// Whether an event contains a condition that cannot be masked.
pub(crate) const fn is_hangup_or_error(seen: Ready) -> bool {
    seen.intersects(Ready::ERROR.union(Ready::WRITE_CLOSED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);

    #[test]
    fn is_only_hangup_or_error_is_false_with_anything_of_the_interest() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        let none = poll_revents(fd, Interest::READABLE).unwrap();
        assert!(
            !none.is_hangup_or_error() && !none.is_only_hangup_or_error() && !none.is_read_closed()
        );
        there.write_all(b"x").unwrap();
        there.shutdown(Shutdown::Write).unwrap();
        let half = poll_revents(fd, BOTH).unwrap();
        assert!(
            !half.is_hangup_or_error() && half.is_read_closed()
                || super::super::pollset::RDHUP == 0
        );
        there.shutdown(Shutdown::Both).unwrap();
        let both = poll_revents(fd, BOTH).unwrap();
        assert!(both.is_hung_up() && both.is_hangup_or_error() && !both.is_only_hangup_or_error());
        assert!(both.is_read_closed());
        assert!(
            poll_revents(fd, Interest::EMPTY)
                .unwrap()
                .is_only_hangup_or_error()
        );
        // A closed number does not count as an end: the mechanism has to find it.
        assert!(
            !poll_revents(i32::MAX, BOTH)
                .unwrap()
                .is_only_hangup_or_error()
        );
        (&here).read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn poll_revents_of_all_keeps_the_order() {
        let pairs: Vec<_> = (0..70).map(|_| UnixStream::pair().unwrap()).collect();
        for (at, (_, there)) in pairs.iter().enumerate() {
            if at % 3 == 0 {
                there.shutdown(Shutdown::Both).unwrap();
            }
        }
        let fds = pairs
            .iter()
            .map(|(here, _)| (here.as_raw_fd(), Interest::EMPTY));
        for (at, answer) in poll_revents_of_all(fds).unwrap().into_iter().enumerate() {
            assert_eq!(answer.is_hung_up(), at % 3 == 0, "{at}");
        }
    }
}
