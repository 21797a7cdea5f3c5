//! System calls that `std` does not have.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

fn owned(fd: libc::c_int) -> OwnedFd {
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the kernel has just returned it to the caller, and no other code owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    let mut fds = [-1; 2];
    // SAFETY: the array has room for two.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    for fd in fds {
        // SAFETY: F_SETFL and F_SETFD take an int; the fd is open.
        let set = unsafe {
            libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK)
                | libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC)
        };
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
    // SAFETY: the new value is live, and the old one is not requested.
    let set = unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &spec, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    fd
}

pub(crate) fn send_urgent(stream: &TcpStream, byte: &[u8; 1]) {
    try_send_urgent(stream.as_fd(), byte).unwrap();
}

pub(crate) fn try_send_urgent(socket: BorrowedFd<'_>, byte: &[u8; 1]) -> io::Result<()> {
    // SAFETY: one byte from a live array.
    match unsafe { libc::send(socket.as_raw_fd(), byte.as_ptr().cast(), 1, libc::MSG_OOB) } {
        1 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn receive_urgent(stream: &TcpStream) -> io::Result<u8> {
    let mut byte = 0u8;
    // SAFETY: one byte into a live variable.
    match unsafe { libc::recv(stream.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_OOB) } {
        1 => Ok(byte),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends bytes together with a descriptor. A read ends after these bytes.
pub(crate) fn send_descriptor(stream: &UnixStream, data: &[u8], fd: BorrowedFd<'_>) {
    let mut part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // Aligned like a header, and larger than a header with one descriptor.
    let mut control = [0u64; 8];
    // SAFETY: all zeroes is a valid empty header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the call only computes a size, and the buffer above is larger.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) } as _;
    // SAFETY: the control buffer has room for one header with one descriptor, so the header is
    // inside it.
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

/// A FIFO with a name. The drop removes it.
pub(crate) struct Fifo {
    path: std::path::PathBuf,
}

impl Fifo {
    pub(crate) fn new() -> Fifo {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "reveille.{}.{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::SeqCst)
        );
        let path = std::env::temp_dir().join(name);
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name ends with a zero.
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        assert_eq!(made, 0, "{}", io::Error::last_os_error());
        Fifo { path }
    }

    /// Opens another end of the FIFO.
    pub(crate) fn open(&self, write: bool) -> File {
        let mut options = File::options();
        options.read(!write).write(write);
        options
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.path)
            .unwrap()
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The name of a terminal.
pub(crate) struct Terminal(CString);

impl Terminal {
    pub(crate) fn open(&self) -> File {
        let mut options = File::options();
        options.read(true).write(true);
        options
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(std::ffi::OsStr::from_bytes(self.0.as_bytes()))
            .unwrap()
    }
}

/// Returns the master of a pseudo-terminal, and its name.
pub(crate) fn terminal() -> (OwnedFd, Terminal) {
    // SAFETY: takes no pointer.
    let master = owned(unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) });
    let fd = master.as_raw_fd();
    // SAFETY: only `ptsname` returns a pointer, and its text is copied before it is called again
    // here.
    unsafe {
        assert_eq!(libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK), 0);
        assert_eq!(libc::grantpt(fd), 0);
        assert_eq!(libc::unlockpt(fd), 0);
        static NAMES: Mutex<()> = Mutex::new(());
        let _one = NAMES.lock();
        let name = std::ffi::CStr::from_ptr(libc::ptsname(fd)).to_owned();
        (master, Terminal(name))
    }
}

/// Returns a TCP socket that is neither connected nor listening.
pub(crate) fn unconnected() -> OwnedFd {
    // SAFETY: takes no pointer.
    let socket = owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) });
    // SAFETY: F_SETFL takes an int; the fd is open.
    let set = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(set, 0);
    socket
}

/// Starts to connect a socket.
pub(crate) fn connect(socket: BorrowedFd<'_>, to: SocketAddr) {
    // SAFETY: all zeroes is an address.
    let mut addr: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    addr.sin_family = libc::AF_INET as _;
    addr.sin_port = to.port().to_be();
    addr.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    // SAFETY: pointer and length are those of the address.
    let done = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const addr).cast(),
            size_of_val(&addr) as _,
        )
    };
    let error = io::Error::last_os_error();
    assert!(done == 0 || error.raw_os_error() == Some(libc::EINPROGRESS));
}

/// Makes a socket listen, and returns its address.
pub(crate) fn listen(socket: BorrowedFd<'_>) -> SocketAddr {
    // SAFETY: takes no pointer; the fd is a socket that was not bound.
    assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 8) }, 0);
    let listener = std::net::TcpListener::from(socket.try_clone_to_owned().unwrap());
    let port = listener.local_addr().unwrap().port();
    ([127, 0, 0, 1], port).into()
}

pub(crate) fn accept(socket: BorrowedFd<'_>) -> io::Result<TcpStream> {
    let listener = std::net::TcpListener::from(socket.try_clone_to_owned()?);
    Ok(listener.accept()?.0)
}

/// Reads at most one byte of any fd.
pub(crate) fn read_one(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut byte = 0u8;
    // SAFETY: one byte into a live variable.
    match unsafe { libc::read(fd.as_raw_fd(), (&raw mut byte).cast(), 1) } {
        -1 => Err(io::Error::last_os_error()),
        count => Ok(count as usize),
    }
}
