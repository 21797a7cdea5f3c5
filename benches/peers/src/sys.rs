//! The system calls shared by the load generator and the hand-written contestants.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// Pins the calling thread, and the threads it makes later, to one core.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: `set` is a plain bit set and lives for the call.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(
            0,
            size_of::<libc::cpu_set_t>(),
            &set,
        ))?;
    }
    Ok(())
}

/// Ends this process after `seconds` by SIGALRM, so that no run lasts forever.
pub fn end_after(seconds: u32) {
    // SAFETY: alarm(2) has no memory arguments.
    unsafe { libc::alarm(seconds) };
}

fn clock(id: libc::clockid_t) -> u64 {
    // SAFETY: `ts` lives for the call.
    unsafe {
        let mut ts: libc::timespec = zeroed();
        libc::clock_gettime(id, &mut ts);
        ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
    }
}

/// Nanoseconds of CPU used by the calling thread.
pub fn thread_cpu() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Nanoseconds of CPU used by all threads of this process.
pub fn process_cpu() -> u64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Nanoseconds on the monotonic clock.
pub fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of CPU used by all threads of another process, from the scheduler's own counter.
pub fn schedstat(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().and_then(|s| s.parse::<u64>().ok());
        sum += first.ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(sum)
}

pub fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` lives for the call and its size is given.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) })?;
    Ok(())
}

pub fn set_nodelay(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// Closes with a reset, so that no port stays in TIME_WAIT between rounds.
pub fn set_reset_on_close(fd: RawFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    let value = (&raw const linger).cast();
    // SAFETY: `linger` lives for the call and its size is given.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, len) })?;
    Ok(())
}

/// A listener on 127.0.0.1, any port, with a backlog that holds the largest workload.
pub fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
    // SAFETY: `fd` is the listener's own; a second listen(2) only changes the backlog.
    check(unsafe { libc::listen(fd, 4096) })?;
    Ok(listener)
}

pub fn raise_descriptor_limit() {
    // SAFETY: `limit` lives for both calls.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// The next connection, non-blocking and close-on-exec; `None` when none waits.
pub fn accept(listener: RawFd) -> io::Result<Option<RawFd>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null addresses are allowed by accept4(2).
    let ret = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    match check(ret) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

pub fn recv(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buf` is valid for writes of its length.
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n as usize)
    }
}

pub fn send(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: `buf` is valid for reads of its length.
    let n = unsafe { libc::send(fd, buf.as_ptr().cast(), buf.len(), libc::MSG_NOSIGNAL) };
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n as usize)
    }
}

/// Receives a datagram and where it came from; `None` when none waits.
pub fn recv_from(fd: RawFd, buf: &mut [u8]) -> io::Result<Option<(usize, libc::sockaddr_in)>> {
    // SAFETY: a plain C struct, for which zeroes are valid; `buf` and `from` live for the call.
    let (n, from) = unsafe {
        let mut from: libc::sockaddr_in = zeroed();
        let mut len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let at = (&raw mut from).cast();
        let n = libc::recvfrom(fd, buf.as_mut_ptr().cast(), buf.len(), 0, at, &mut len);
        (n, from)
    };
    if n >= 0 {
        return Ok(Some((n as usize, from)));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(None),
        _ => Err(error),
    }
}

pub fn send_to(fd: RawFd, buf: &[u8], to: &libc::sockaddr_in) -> io::Result<usize> {
    let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let to = (&raw const *to).cast();
    // SAFETY: `buf` and `to` live for the call.
    let n = unsafe { libc::sendto(fd, buf.as_ptr().cast(), buf.len(), 0, to, len) };
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n as usize)
    }
}

pub fn shutdown(fd: RawFd, how: std::net::Shutdown) {
    let how = match how {
        std::net::Shutdown::Read => libc::SHUT_RD,
        std::net::Shutdown::Write => libc::SHUT_WR,
        std::net::Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: no memory arguments.
    unsafe { libc::shutdown(fd, how) };
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    // SAFETY: no memory arguments.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

pub fn close(fd: RawFd) {
    // SAFETY: callers own `fd` and forget it here.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

pub const ET: u32 = libc::EPOLLET as u32;
pub const IN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
pub const GONE: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

pub struct Epoll {
    fd: RawFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new(capacity: usize) -> io::Result<Epoll> {
        // SAFETY: no memory arguments.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Epoll {
            fd,
            events: Vec::with_capacity(capacity),
        })
    }

    fn control(&self, op: i32, fd: RawFd, mask: u32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: mask,
            u64: data,
        };
        // SAFETY: `event` lives for the call.
        check(unsafe { libc::epoll_ctl(self.fd, op, fd, &mut event) })?;
        Ok(())
    }

    pub fn add(&self, fd: RawFd, mask: u32, data: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, mask, data)
    }

    pub fn modify(&self, fd: RawFd, mask: u32, data: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, mask, data)
    }

    /// Waits at most `timeout` milliseconds (-1: for ever); an interruption is an empty wait.
    pub fn wait(&mut self, timeout: i32) -> &[libc::epoll_event] {
        self.events.clear();
        let (ptr, room) = (self.events.as_mut_ptr(), self.events.capacity() as i32);
        // SAFETY: `ptr` has room for `room` events; the kernel filled as many as it returned.
        unsafe {
            let n = libc::epoll_wait(self.fd, ptr, room, timeout);
            self.events.set_len(n.max(0) as usize);
        }
        &self.events
    }

    /// The same with nanoseconds, where the kernel (or valgrind) has epoll_pwait2.
    pub fn wait_ns(&mut self, timeout: u64) -> &[libc::epoll_event] {
        let ts = libc::timespec {
            tv_sec: (timeout / 1_000_000_000) as i64,
            tv_nsec: (timeout % 1_000_000_000) as i64,
        };
        self.events.clear();
        let (ptr, room) = (self.events.as_mut_ptr(), self.events.capacity() as i32);
        let null = std::ptr::null::<libc::sigset_t>();
        // SAFETY: as in `wait`; a null signal mask is allowed.
        let n = unsafe { libc::syscall(libc::SYS_epoll_pwait2, self.fd, ptr, room, &ts, null, 8) };
        if n < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
            return self.wait(timeout.div_ceil(1_000_000).min(60_000) as i32);
        }
        // SAFETY: the kernel filled `n` events.
        unsafe { self.events.set_len(n.max(0) as usize) };
        &self.events
    }
}
