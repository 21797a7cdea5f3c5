//! What the conformance cases do to fds that std has no call for: out-of-band bytes, resets, number games, signals.

use super::syscall::check;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Sends one byte out of band.
pub(crate) fn send_oob(socket: BorrowedFd<'_>) -> io::Result<()> {
    let byte = b"!";
    // SAFETY: pointer and length are those of one array; the borrow keeps the fd open.
    let sent = unsafe {
        let data = byte.as_ptr().cast();
        libc::send(socket.as_raw_fd(), data, byte.len(), libc::MSG_OOB)
    };
    check(sent as libc::c_int).map(drop)
}

/// Makes the close of a TCP socket a reset.
pub(crate) fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: pointer and length are those of one value that outlives the call; the borrow keeps the fd open.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Begins to connect a non-blocking TCP socket.
pub(crate) fn connect(to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = tcp_socket()?;
    socket.set_nonblocking(true)?;
    match with_address(&socket, to, libc::connect) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// An address that refuses connections for as long as the socket lives that comes with it: bound, but not listening.
pub(crate) fn refusing() -> io::Result<(TcpStream, SocketAddrV4)> {
    let socket = tcp_socket()?;
    with_address(
        &socket,
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
        libc::bind,
    )?;
    let port = socket.local_addr()?.port();
    Ok((socket, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))
}

fn tcp_socket() -> io::Result<TcpStream> {
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) })?;
    // SAFETY: the call has just made this fd, and nobody else knows it.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Calls bind(2) or connect(2), which take the same.
fn with_address(
    socket: &TcpStream,
    address: SocketAddrV4,
    call: unsafe extern "C" fn(RawFd, *const libc::sockaddr, libc::socklen_t) -> libc::c_int,
) -> io::Result<libc::c_int> {
    // SAFETY: all-zero bytes are a valid sockaddr_in: integers only.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name.sin_port = address.port().to_be();
    name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
    // SAFETY: pointer and length are those of one value that outlives the call; the socket is open.
    check(unsafe {
        call(
            socket.as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        )
    })
}

/// Closes what `number` names and makes it name `file` instead, in one step that no other thread can come between.
pub(crate) fn replace(number: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open; the owner of `number` goes on owning the number, whatever it names.
    check(unsafe { libc::dup2(file.as_raw_fd(), number.as_raw_fd()) }).map(drop)
}

/// Moves a file to a high number, which nobody else is likely to be given when it is closed, but not to one above `highest`.
/// Each call begins at another one: what several threads move and close does not meet.
pub(crate) fn move_up(fd: OwnedFd, highest: Option<RawFd>) -> io::Result<OwnedFd> {
    static CALLS: AtomicI32 = AtomicI32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed) & 0xffff;
    let mut error = io::Error::from(io::ErrorKind::InvalidInput);
    for lowest in [5000 + call % 1000, 900 + call % 90, 200 + call % 400] {
        match move_beyond(fd.as_fd(), lowest) {
            Ok(moved) if highest.is_some_and(|highest| moved.as_raw_fd() > highest) => {}
            Ok(moved) => return Ok(moved),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// Another number for a file: the first free one from `lowest` on.
pub(crate) fn move_beyond(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an int; the borrow keeps the fd open.
    let moved = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    // SAFETY: the call has just made this fd, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// How many files this process may have open.
pub(crate) fn open_limit() -> io::Result<usize> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call fills the value, which outlives it.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// A number that no process can have open.
pub(crate) fn not_open() -> BorrowedFd<'static> {
    // SAFETY: not -1, and beyond every limit on open files, so calls on it fail and touch nobody's file.
    unsafe { BorrowedFd::borrow_raw(libc::c_int::MAX - 1) }
}

/// Whether a call failed because its fd is not open.
pub(crate) fn is_bad_fd(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADF)
}

/// Whether `poll(2)` says that reading would not block.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }];
    super::syscall::retry(|| super::poll::poll(&mut fds, Some(Duration::ZERO)))
        .map(|ready| ready == 1)
}

/// Signals for the thread that made it, one after the other, as long as it lives. The handler does nothing, and its
/// system calls are not restarted.
pub(crate) struct Storm {
    over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
    before: libc::sigaction,
    /// One at a time, for the handler is the whole process's. Keeps the storm on its thread as well.
    _alone: MutexGuard<'static, ()>,
}

/// Ignored by default, so that one that comes too late does nothing.
const SIGNAL: libc::c_int = libc::SIGURG;

static ALONE: Mutex<()> = Mutex::new(());

extern "C" fn nothing(_: libc::c_int) {}

impl Storm {
    pub(crate) fn start() -> io::Result<Storm> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: all-zero bytes are a valid sigaction: no flags, an empty mask, the default handler.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: both outlive the call; the handler does nothing, which any context allows.
        check(unsafe { libc::sigaction(SIGNAL, &action, &mut before) })?;
        // SAFETY: the call only names the calling thread.
        let target = unsafe { libc::pthread_self() } as usize;
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let sender = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                // SAFETY: the target thread owns the storm, which cannot be sent away, and joins this one before it
                // ends.
                unsafe { libc::pthread_kill(target as libc::pthread_t, SIGNAL) };
                thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(Storm {
            over,
            sender: Some(sender),
            before,
            _alone: alone,
        })
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
        // SAFETY: the action was filled by the system when the storm began.
        unsafe { libc::sigaction(SIGNAL, &self.before, std::ptr::null_mut()) };
    }
}
