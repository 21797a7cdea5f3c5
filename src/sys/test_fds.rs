//! Calls on fds that the conformance cases and tests need and std does not have: out-of-band bytes,
//! resets, reused numbers, signals.

use super::syscall::check;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) use super::poll::limited::open_limit;

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
    // SAFETY: pointer and length are those of one value that outlives the call; the borrow keeps
    // the fd open.
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
    let socket = unconnected()?;
    begin_connect(&socket, to)?;
    Ok(socket)
}

/// Returns a TCP socket that does not block, is not connected and does not listen.
pub(crate) fn unconnected() -> io::Result<TcpStream> {
    let socket = tcp_socket()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Begins to connect such a socket.
pub(crate) fn begin_connect(socket: &TcpStream, to: SocketAddrV4) -> io::Result<()> {
    match with_address(socket, to, libc::connect) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}

/// Makes such a socket listen at a free port, and returns its address.
pub(crate) fn listen(socket: &TcpStream) -> io::Result<SocketAddrV4> {
    with_address(
        socket,
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
        libc::bind,
    )?;
    // SAFETY: the call takes no pointer; the socket is open.
    check(unsafe { libc::listen(socket.as_raw_fd(), 4) })?;
    let port = socket.local_addr()?.port();
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// Makes a datagram socket keep each error in a queue, beside reporting it once (Linux).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn keep_errors(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: pointer and length are those of one value that outlives the call; the borrow keeps
    // the fd open.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVERR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Fails: this system has no error queue.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn keep_errors(_socket: BorrowedFd<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A FIFO with a name, which is removed when this is dropped.
pub(crate) struct Fifo(PathBuf);

impl Fifo {
    pub(crate) fn new() -> io::Result<Fifo> {
        static COUNT: AtomicI32 = AtomicI32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reveille-{}-{count}.fifo", std::process::id());
        let path = std::env::temp_dir().join(name);
        let text = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: the text ends in a zero byte and outlives the call.
        check(unsafe { libc::mkfifo(text.as_ptr(), 0o600) })?;
        Ok(Fifo(path))
    }

    /// Opens the reading end, which does not block.
    pub(crate) fn reader(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        options.open(&self.0)
    }

    /// Opens a writing end. There must be a reader.
    pub(crate) fn writer(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        options.open(&self.0)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns the master side of a new terminal, which does not block (Linux).
#[cfg(target_os = "linux")]
pub(crate) fn terminal() -> io::Result<File> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(flags);
    let master = options.open("/dev/ptmx")?;
    let locked: libc::c_int = 0;
    // SAFETY: the call reads one int that outlives it; the file is open.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) })?;
    Ok(master)
}

/// Opens the other side of a terminal, which need not have a name here. Linux 4.13.
#[cfg(target_os = "linux")]
pub(crate) fn other_side(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the call takes no pointer; the borrow keeps the fd open.
    let slave = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the call has just made this fd, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(slave) })
}

/// Fails: these calls are Linux's.
#[cfg(not(target_os = "linux"))]
pub(crate) fn terminal() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Fails: these calls are Linux's.
#[cfg(not(target_os = "linux"))]
pub(crate) fn other_side(_master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns an address that refuses connections while the returned socket exists, which is bound but
/// does not listen.
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
    // SAFETY: the call has just made this fd, and no other code has it.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Calls bind(2) or connect(2), which have the same arguments.
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

/// Closes the file of `number` and makes it name `file` instead, in one step that no other thread
/// can come between.
pub(crate) fn replace(number: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open; the owner of `number` goes on owning the number, whatever it names.
    check(unsafe { libc::dup2(file.as_raw_fd(), number.as_raw_fd()) }).map(drop)
}

/// Moves a file to a high number, which no other thread is likely to get when it is closed, but not
/// to one above `highest`. Each call begins at another number, so that several threads do not meet.
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

/// Returns another number for a file: the first free one from `lowest` on.
pub(crate) fn move_beyond(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an int; the borrow keeps the fd open.
    let moved = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    // SAFETY: the call has just made this fd, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// A number that no process can have open.
pub(crate) const NOT_OPEN: RawFd = libc::c_int::MAX - 1;

/// Borrows a number that is not open, like a value whose number was closed behind its back. Only
/// for the mechanisms of this crate, which pass it to system calls and do nothing else: a borrowed
/// fd should be open, and a custom backend may rely on that.
#[cfg(test)]
pub(crate) fn not_open() -> BorrowedFd<'static> {
    // SAFETY: not -1, and beyond every limit on open files, so that calls on it fail and touch no
    // file.
    unsafe { BorrowedFd::borrow_raw(NOT_OPEN) }
}

/// Whether a call failed because its fd is not open.
#[cfg(test)]
pub(crate) fn is_bad_fd(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADF)
}

/// Whether poll(2) reports that reading would not block.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }];
    super::syscall::retry(|| super::poll::poll(&mut fds, Some(Duration::ZERO)))
        .map(|ready| ready == 1)
}

/// Sends signals to the thread that made it, one after the other, while it exists. The handler does
/// nothing, and its system calls are not restarted.
pub(crate) struct SignalStorm {
    over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
    before: libc::sigaction,
    /// One at a time, because the handler belongs to the whole process. Keeps the value on its
    /// thread as well.
    _alone: MutexGuard<'static, ()>,
}

/// Ignored by default, so that a late signal does nothing.
const SIGNAL: libc::c_int = libc::SIGURG;

static ALONE: Mutex<()> = Mutex::new(());

extern "C" fn nothing(_: libc::c_int) {}

impl SignalStorm {
    pub(crate) fn start() -> io::Result<SignalStorm> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: all-zero bytes are a valid sigaction: no flags, an empty mask, the default
        // handler.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: all-zero bytes are a valid sigaction.
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
                // SAFETY: the target thread owns the storm, which cannot be sent away, and joins
                // this one before it ends.
                unsafe { libc::pthread_kill(target as libc::pthread_t, SIGNAL) };
                thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(SignalStorm {
            over,
            sender: Some(sender),
            before,
            _alone: alone,
        })
    }
}

impl Drop for SignalStorm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
        // SAFETY: the action was filled by the system when the storm began.
        unsafe { libc::sigaction(SIGNAL, &self.before, std::ptr::null_mut()) };
    }
}
