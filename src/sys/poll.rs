//! One look at one fd by `poll(2)` with a timeout of zero: what a thread that does not own the loop asks before it
//! sends a message, and what the owner asks when such a message arrives.

use super::syscall::{check, retry};
use crate::interest::{Interest, Readiness};
use std::io;
use std::os::fd::RawFd;

/// What of `interest` holds for the fd right now, hang-ups and errors included.
///
/// Takes a number, not a borrow: the fd of a message may have been closed meanwhile, which is answered by `INVALID`.
pub(crate) fn look(fd: RawFd, interest: Interest) -> io::Result<Readiness> {
    let mut events = 0;
    if interest.is_readable() {
        events |= libc::POLLIN;
    }
    if interest.is_writable() {
        events |= libc::POLLOUT;
    }
    if interest.is_priority() {
        events |= libc::POLLPRI;
    }
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one entry, and its count is one; poll writes `revents` only.
    retry(|| check(unsafe { libc::poll(&mut entry, 1, 0) }))?;
    let seen = entry.revents;
    let closed = seen & (libc::POLLHUP | libc::POLLERR) != 0;
    let mut readiness = Readiness::EMPTY;
    if seen & libc::POLLIN != 0 || closed {
        readiness |= Readiness::READABLE;
    }
    if seen & libc::POLLOUT != 0 || closed {
        readiness |= Readiness::WRITABLE;
    }
    if seen & libc::POLLPRI != 0 {
        readiness |= Readiness::PRIORITY;
    }
    if seen & libc::POLLERR != 0 {
        readiness |= Readiness::ERROR;
    }
    if seen & libc::POLLHUP != 0 {
        readiness |= Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    }
    if seen & libc::POLLNVAL != 0 {
        readiness |= Readiness::INVALID;
    }
    Ok(readiness)
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
        drop(there);
        assert!(
            look(fd, Interest::NONE)
                .unwrap()
                .contains(Readiness::READ_CLOSED)
        );
        // A number far above any limit is never open.
        assert_eq!(
            look(i32::MAX, Interest::READABLE).unwrap(),
            Readiness::INVALID
        );
    }
}
