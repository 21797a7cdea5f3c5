//! Passing descriptors through a Unix stream: `sendmsg` and `recvmsg` with `SCM_RIGHTS`
//! (`unix(7)`, `cmsg(3)`).
//!
//! A message is one byte or more, and the descriptors that come with the first of them. The kernel
//! gives the receiver new descriptors of the same files. So a call that receives owns all of them
//! from its return on, and no path may lose one.

use super::fd::set_cloexec;
use super::socket::{MAX_BYTES, READ, Socket, WRITE, message};
use super::syscall::{check_size, failure, retry};
use super::unix_socket::UnixAnswer;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most descriptors that one call may send: the limit of Linux (`SCM_MAX_FD`). The others allow
/// more.
pub(crate) const MAX_PASSED: usize = 253;

/// Room for all control data of one call: 253 descriptors and the credentials of a writer on Linux,
/// and all that fits into the buffer of other kernels, which is 2 KiB (`MCLBYTES`). On some of them
/// descriptors for which there is no room stay open and are lost.
const ROOM: usize = 2304;

/// Memory for control data, aligned for its headers.
#[repr(C)]
union Control {
    bytes: [MaybeUninit<u8>; ROOM],
    _align: libc::cmsghdr,
}

/// Received descriptors have close-on-exec from their first moment, where the system can do that.
#[cfg(not(any(target_vendor = "apple", target_os = "illumos", target_os = "solaris")))]
const CLOSE_ON_EXEC: libc::c_int = libc::MSG_CMSG_CLOEXEC;
#[cfg(any(target_vendor = "apple", target_os = "illumos", target_os = "solaris"))]
const CLOSE_ON_EXEC: libc::c_int = 0;

impl Socket {
    /// Writes bytes, and passes descriptors with the first of them. There must be at least one byte
    /// and at most [`MAX_PASSED`] descriptors.
    pub(crate) fn send_with_fds(&self, buf: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        debug_assert!(!buf.is_empty() && fds.len() <= MAX_PASSED);
        let mut bytes = libc::iovec {
            iov_base: buf.as_ptr().cast_mut().cast(),
            iov_len: buf.len().min(MAX_BYTES),
        };
        let mut message = message(&mut bytes, 1);
        let mut control = Control {
            bytes: [MaybeUninit::new(0); ROOM],
        };
        if !fds.is_empty() {
            let len = size_of_val(fds) as libc::c_uint;
            message.msg_control = (&raw mut control).cast();
            // SAFETY: these calls compute numbers. `MAX_PASSED` descriptors fit.
            let (space, header_len) = unsafe { (libc::CMSG_SPACE(len), libc::CMSG_LEN(len)) };
            message.msg_controllen = space as _;
            // SAFETY: the message has room for one header with so many descriptors behind it, all
            // of it initialized. A `BorrowedFd` has the layout of a number.
            unsafe {
                let header = libc::CMSG_FIRSTHDR(&message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = header_len as _;
                let data = libc::CMSG_DATA(header);
                data.copy_from_nonoverlapping(fds.as_ptr().cast(), size_of_val(fds));
            }
        }
        // SAFETY: the message names one buffer, which the call only reads, and the control data
        // above. Both outlive it.
        retry(|| check_size(unsafe { libc::sendmsg(self.raw(), &message, WRITE) }))
    }

    /// Reads bytes, and appends the descriptors that came with them. If some were lost, it closes
    /// the others and fails; the bytes are lost then. `again`: see `unix_socket.rs`.
    pub(crate) fn recv_with_fds(
        &self,
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
        again: bool,
    ) -> UnixAnswer<io::Result<usize>> {
        let mut bytes = libc::iovec {
            iov_base: buf.as_mut_ptr().cast(),
            iov_len: buf.len().min(MAX_BYTES),
        };
        let mut message = message(&mut bytes, 1);
        let mut control = Control {
            bytes: [MaybeUninit::uninit(); ROOM],
        };
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = ROOM as _;
        let read = retry(|| {
            // SAFETY: the message names one buffer, borrowed mutably, and the control data above.
            // Both outlive the call. (A call that is interrupted changes nothing.)
            check_size(unsafe { libc::recvmsg(self.raw(), &mut message, READ | CLOSE_ON_EXEC) })
        });
        if read.is_err() {
            return UnixAnswer {
                answer: read,
                stopped: false,
            };
        }
        let before = fds.len();
        // SAFETY: the call has succeeded, so it has filled the control data, and no other code owns
        // the descriptors in it.
        unsafe { take_fds(&message, fds) };
        #[allow(clippy::unnecessary_cast, reason = "not a usize everywhere")]
        let stopped = !again && message.msg_controllen as usize != 0;
        let answer = if message.msg_flags & libc::MSG_CTRUNC == 0 {
            read
        } else {
            fds.truncate(before);
            Err(lost())
        };
        UnixAnswer { answer, stopped }
    }
}

/// Returns the error of a read that has lost descriptors.
#[cold]
fn lost() -> io::Error {
    failure(
        io::ErrorKind::Other,
        "the kernel has dropped descriptors that the peer passed, most likely because this process has reached its limit of open descriptors; those that arrived were closed, and the bytes of this read are lost: close the stream",
    )
}

/// Moves the received descriptors to `fds`.
///
/// # Safety
///
/// The message was filled by a call that succeeded, and this is called once after it.
unsafe fn take_fds(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: the kernel has filled in the control data and its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a header that is not null lies within the control data and is filled.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_SOCKET && (kind == libc::SCM_RIGHTS || Some(kind) == PID_FD) {
            // SAFETY: as above.
            let (begin, count) = unsafe { numbers_of(message, header) };
            // Before the first is taken, so that nothing fails until the last is.
            fds.reserve(count);
            for index in 0..count {
                // SAFETY: so many numbers are there, maybe not aligned.
                let number = unsafe { begin.add(index).read_unaligned() };
                if number < 0 {
                    continue; // A process file descriptor that could not be opened.
                }
                // SAFETY: the kernel has opened it for this receiver, and no other code owns it.
                let received = unsafe { OwnedFd::from_raw_fd(number) };
                if kind == libc::SCM_RIGHTS {
                    finish(&received);
                    fds.push(received);
                }
            }
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
}

/// Linux sends a process file descriptor of the writer to sockets that ask for it (`SO_PASSPIDFD`).
/// No caller here wants it, so it is closed. (`libc` lacks the number.)
const PID_FD: Option<libc::c_int> = if cfg!(any(target_os = "linux", target_os = "android")) {
    Some(4)
} else {
    None
};

/// Returns where the descriptors behind a header begin, and how many there are.
///
/// # Safety
///
/// The header lies within the control data of the message, and both are filled.
unsafe fn numbers_of(
    message: &libc::msghdr,
    header: *const libc::cmsghdr,
) -> (*const RawFd, usize) {
    // SAFETY: the caller has the header; the calls compute numbers.
    let (begin, len, header_len) = unsafe {
        (
            libc::CMSG_DATA(header).cast_const(),
            (*header).cmsg_len,
            libc::CMSG_LEN(0),
        )
    };
    #[allow(clippy::unnecessary_cast, reason = "not a usize everywhere")]
    let (len, room) = (len as usize, message.msg_controllen as usize);
    // Some kernels do not shorten the length in a header that they have truncated.
    let left = (message.msg_control as usize + room).saturating_sub(begin as usize);
    let len = len.saturating_sub(header_len as usize).min(left);
    (begin.cast(), len / size_of::<RawFd>())
}

/// Sets close-on-exec, where the call that receives cannot do that.
fn finish(received: &OwnedFd) {
    if CLOSE_ON_EXEC == 0 {
        // It cannot fail for an open descriptor.
        let _ = set_cloexec(received.as_fd());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd::FileId;
    use crate::sys::syscall::Answer;
    use std::os::fd::AsRawFd;

    /// Sends `sent` descriptors with five bytes, and returns what arrives.
    fn pass(fds: &[BorrowedFd<'_>]) -> (Vec<OwnedFd>, io::Result<usize>, bool) {
        let (here, there) = Socket::unix_pair().unwrap();
        assert_eq!(here.send_with_fds(b"bytes", fds).unwrap(), 5);
        let (mut buf, mut received) = ([0; 8], Vec::new());
        let read = there.recv_with_fds(&mut buf, &mut received, false);
        let is_short = read.is_short(8);
        assert_eq!(&buf[..5], b"bytes");
        (received, read.result(), is_short)
    }

    #[test]
    fn any_number_of_descriptors_arrives_in_order() {
        let (one, other) = Socket::unix_pair().unwrap();
        for count in [0, 1, 2, 3, 100, MAX_PASSED - 1, MAX_PASSED] {
            let fds: Vec<_> = [one.as_fd(), other.as_fd()]
                .into_iter()
                .cycle()
                .take(count)
                .collect();
            let (received, read, is_short) = pass(&fds);
            assert_eq!((received.len(), read.unwrap()), (count, 5));
            // With descriptors there may be more bytes behind them.
            assert_eq!(is_short, count == 0);
            for (sent, received) in fds.iter().zip(&received) {
                let ids = [sent.as_raw_fd(), received.as_raw_fd()].map(FileId::of);
                let [sent, received] = ids.map(Result::unwrap);
                assert_eq!(sent, received);
            }
            for fd in &received {
                // SAFETY: F_GETFD takes no pointer.
                let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
                assert_ne!(flags & libc::FD_CLOEXEC, 0);
            }
        }
    }

    #[test]
    fn received_descriptors_are_appended() {
        let (one, other) = Socket::unix_pair().unwrap();
        let mut fds = vec![one.as_fd().try_clone_to_owned().unwrap()];
        let kept = fds[0].as_raw_fd();
        one.send_with_fds(b"x", &[other.as_fd()]).unwrap();
        let read = other.recv_with_fds(&mut [0; 1], &mut fds, false);
        assert_eq!((read.result().unwrap(), fds.len()), (1, 2));
        assert_eq!(fds[0].as_raw_fd(), kept);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn control_data_of_other_kinds_is_skipped_and_its_descriptor_closed() {
        let (here, there) = Socket::unix_pair().unwrap();
        let on: libc::c_int = 1;
        there
            .set_option(libc::SOL_SOCKET, libc::SO_PASSCRED, on)
            .unwrap();
        // SO_PASSPIDFD, since Linux 6.5.
        let _ = there.set_option(libc::SOL_SOCKET, 76, on);
        for count in 0..3 {
            here.send_with_fds(b"x", &vec![here.as_fd(); count])
                .unwrap();
            let mut fds = Vec::new();
            let read = there.recv_with_fds(&mut [0; 4], &mut fds, false);
            assert!(!read.is_short(4), "bytes of another writer may follow");
            assert_eq!((read.result().unwrap(), fds.len()), (1, count));
            let ours = FileId::of(here.raw()).unwrap();
            assert!(
                fds.iter()
                    .all(|fd| FileId::of(fd.as_raw_fd()).unwrap() == ours)
            );
        }
    }
}
