//! [`Sys`] has the system calls on an open /dev/poll as a trait, so that tests can put a fake
//! kernel below the backend.

use crate::sys::syscall::{check, check_size, retry};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Removes an fd from the set (illumos `sys/poll.h`).
pub(in crate::backend) const POLLREMOVE: libc::c_short = 0x0800;

/// Waits (illumos `sys/devpoll.h`: `DPIOC | 1`).
const DP_POLL: libc::c_int = 0xD0 << 8 | 1;

/// The argument of `DP_POLL` (illumos `sys/devpoll.h`). illumos has a `dp_setp` behind these, which
/// `DP_POLL` does not read.
#[repr(C)]
struct DvPoll {
    dp_fds: *mut libc::pollfd,
    dp_nfds: libc::nfds_t,
    dp_timeout: libc::c_int,
}

/// The system calls on an open /dev/poll.
pub(in crate::backend) trait Sys: Sized + fmt::Debug {
    /// Opens a device, close-on-exec.
    fn open() -> io::Result<Self>;
    /// Changes the set. Returns how many of the records were accepted.
    fn write(&mut self, changes: &[libc::pollfd]) -> io::Result<usize>;
    /// Waits. Returns how many records were written into `into`.
    fn poll(&mut self, into: &mut [libc::pollfd], timeout: libc::c_int) -> io::Result<usize>;

    /// Changes the set by all of the records.
    fn write_all(&mut self, mut changes: &[libc::pollfd]) -> io::Result<()> {
        while !changes.is_empty() {
            match retry(|| self.write(changes))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                taken => changes = &changes[taken..],
            }
        }
        Ok(())
    }

    /// As `write_all`, but removes and notes the numbers that are refused. Records may be written
    /// twice, which changes nothing.
    fn write_each(&mut self, changes: &[libc::pollfd], refused: &mut Vec<RawFd>) -> io::Result<()> {
        let Err(error) = self.write_all(changes) else {
            return Ok(());
        };
        if changes.len() > 1 {
            let (left, right) = changes.split_at(changes.len() / 2);
            self.write_each(left, refused)?;
            return self.write_each(right, refused);
        }
        let libc::pollfd { fd, events, .. } = changes[0];
        if events == POLLREMOVE {
            return Err(error);
        }
        // If this fails too, the cause is not the fd.
        self.write_all(&[record(fd, POLLREMOVE)])?;
        refused.push(fd);
        Ok(())
    }
}

/// The device of this system.
#[derive(Debug)]
pub(in crate::backend) struct Device(File);

impl Sys for Device {
    fn open() -> io::Result<Device> {
        let mut options = File::options();
        options.read(true).write(true);
        options.open("/dev/poll").map(Device)
    }

    fn write(&mut self, changes: &[libc::pollfd]) -> io::Result<usize> {
        let (data, size) = (changes.as_ptr().cast(), size_of_val(changes));
        // SAFETY: pointer and length are those of one slice, of integers without padding; the fd is
        // ours.
        let written = unsafe { libc::write(self.0.as_raw_fd(), data, size) };
        check_size(written).map(|written| written / size_of::<libc::pollfd>())
    }

    fn poll(&mut self, into: &mut [libc::pollfd], timeout: libc::c_int) -> io::Result<usize> {
        let mut arguments = DvPoll {
            dp_fds: into.as_mut_ptr(),
            dp_nfds: into.len() as libc::nfds_t,
            dp_timeout: timeout,
        };
        // SAFETY: the argument has the layout of the kernel's and outlives the call; the records it
        // points to are one slice that the call may write to.
        let count = unsafe { libc::ioctl(self.0.as_raw_fd(), DP_POLL as _, &raw mut arguments) };
        check(count).map(|count| count as usize)
    }
}

pub(super) fn record(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}
