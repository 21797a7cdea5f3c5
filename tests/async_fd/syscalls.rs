//! The system calls that `std` has not.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

fn owned(fd: libc::c_int) -> OwnedFd {
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the caller has it fresh from the kernel, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    let mut fds = [-1; 2];
    // SAFETY: the array has room for two.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    for fd in fds {
        // SAFETY: F_SETFL takes an int; the fd is open.
        let set = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
        assert_eq!(set, 0);
    }
    (owned(fds[0]), owned(fds[1]))
}

#[cfg(target_os = "linux")]
pub(crate) fn eventfd() -> OwnedFd {
    // SAFETY: takes no pointer.
    owned(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })
}

#[cfg(target_os = "linux")]
pub(crate) fn timerfd(period: std::time::Duration) -> OwnedFd {
    // SAFETY: takes no pointer.
    let fd = owned(unsafe {
        libc::timerfd_create(
            libc::CLOCK_MONOTONIC,
            libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
        )
    });
    let spec = libc::timespec {
        tv_sec: 0,
        tv_nsec: period.subsec_nanos() as _,
    };
    let spec = libc::itimerspec {
        it_interval: spec,
        it_value: spec,
    };
    // SAFETY: the new value is whole, the old one is not asked for.
    let set = unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &spec, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    fd
}

pub(crate) fn send_urgent(stream: &TcpStream, byte: &[u8; 1]) {
    // SAFETY: one byte from a live array.
    let sent = unsafe { libc::send(stream.as_raw_fd(), byte.as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
}

pub(crate) fn receive_urgent(stream: &TcpStream) -> io::Result<u8> {
    let mut byte = 0u8;
    // SAFETY: one byte into a live variable.
    match unsafe { libc::recv(stream.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_OOB) } {
        1 => Ok(byte),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends bytes with a descriptor beside them: a reader's read stops after them.
pub(crate) fn send_descriptor(stream: &UnixStream, data: &[u8], fd: BorrowedFd<'_>) {
    let mut part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // Aligned as a header must be, and larger than one with a descriptor is.
    let mut control = [0u64; 8];
    // SAFETY: all zeroes is a valid header with nothing in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: plain arithmetic; the buffer above has room for it.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) } as _;
    // SAFETY: the control buffer is large enough for one header with one descriptor, so the header is within it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as _;
        libc::CMSG_DATA(header)
            .cast::<libc::c_int>()
            .write_unaligned(fd.as_raw_fd());
    }
    // SAFETY: the message points to live buffers only.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &message, 0) };
    assert_eq!(sent, data.len() as isize, "{}", io::Error::last_os_error());
}
