//! Sockets: every call that `net` makes on one is a method of [`Socket`], so that another kind of socket can take its
//! place.
//!
//! A socket made here is non-blocking and close-on-exec, and writing to a peer that is gone is an error and no signal:
//! by flags where the platform has them, by separate calls on Apple's systems, which have neither `accept4` nor the flags.
//! No call here blocks, so one that a signal interrupts is made again, by `recv_once` and `send_once` at the caller's.

use super::addr::RawAddr;
use super::syscall::{Answer, RawAnswer, check, check_size, retry};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// Bytes that one call may move. Kernels cut longer buffers (Linux at 2 GiB less a page, which may be 64 KiB) or refuse them
/// (Apple's), and a call that was cut looks like one that found no more.
pub(crate) const MOST_BYTES: usize = (libc::c_int::MAX - 0xffff) as usize;

/// Buffers that one vectored call may take.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MOST_BUFFERS: usize = libc::UIO_MAXIOV as usize;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
// What every system has; Solaris has no more.
const MOST_BUFFERS: usize = 16;

/// What a call asks of the kernel to have no SIGPIPE.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGPIPE: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGPIPE: libc::c_int = 0;

/// An open socket. It can be [taken](Socket::take) by who closes it in a way of his own; calls are then answered as with any
/// other number that is not open.
#[derive(Debug)]
pub(crate) struct Socket(Option<OwnedFd>);

impl Socket {
    /// A new TCP socket of the address's family.
    pub(crate) fn tcp(addr: SocketAddr) -> io::Result<Socket> {
        let family = match addr {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        fresh::socket(family, libc::SOCK_STREAM)
    }

    /// Takes over a socket that was made elsewhere, blocking or not.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Socket> {
        let socket = Socket(Some(fd));
        #[cfg(target_vendor = "apple")]
        socket.set_option::<libc::c_int>(libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1)?;
        Ok(socket)
    }

    /// Takes the descriptor out.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        self.0.take()
    }

    /// Its number. No comparison: where there is no descriptor there is this number.
    #[inline]
    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_ref().map_or(-1, OwnedFd::as_raw_fd)
    }

    // ---- connections ------------------------------------------------------------------------------------------

    pub(crate) fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        let addr = RawAddr::from(addr);
        // SAFETY: the pointer and the length are those of `addr`, which outlives the call.
        check(unsafe { libc::bind(self.raw(), addr.as_ptr(), addr.len()) }).map(drop)
    }

    pub(crate) fn listen(&self, backlog: u32) -> io::Result<()> {
        let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
        // SAFETY: listen takes no pointer.
        check(unsafe { libc::listen(self.raw(), backlog) }).map(drop)
    }

    /// Begins to connect. False: it is under way, and the socket becomes writable when it has ended.
    pub(crate) fn connect(&self, addr: SocketAddr) -> io::Result<bool> {
        let addr = RawAddr::from(addr);
        // SAFETY: the pointer and the length are those of `addr`, which outlives the call.
        let result = check(unsafe { libc::connect(self.raw(), addr.as_ptr(), addr.len()) });
        match result {
            Ok(_) => Ok(true),
            // A signal does not end it: POSIX has the connection go on. A second call would be EALREADY.
            Err(error) if under_way(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the first connection that waits.
    pub(crate) fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (socket, addr) = retry(|| fresh::accept(self.raw()))?;
        if addr.len() == 0 {
            // How some BSD kernels say that the peer was gone already.
            return Err(io::Error::from_raw_os_error(libc::ECONNABORTED));
        }
        Ok((socket, addr.to_ip()?))
    }

    /// What went wrong since the last time, a failed connect for one.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let code: libc::c_int = self.option(libc::SOL_SOCKET, libc::SO_ERROR)?;
        Ok((code != 0).then(|| io::Error::from_raw_os_error(code)))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: shutdown takes no pointer.
        check(unsafe { libc::shutdown(self.raw(), how) }).map(drop)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        // SAFETY: `filled_by` gives room for an address and that room's length.
        RawAddr::filled_by(|addr, len| unsafe { libc::getsockname(self.raw(), addr, len) })?
            .1
            .to_ip()
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        // SAFETY: `filled_by` gives room for an address and that room's length.
        RawAddr::filled_by(|addr, len| unsafe { libc::getpeername(self.raw(), addr, len) })?
            .1
            .to_ip()
    }

    // ---- bytes ------------------------------------------------------------------------------------------------

    pub(crate) fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        retry(|| self.recv_with(buf, 0).result())
    }

    /// As `recv`, once, for who makes an interrupted call again.
    #[inline]
    pub(crate) fn recv_once(&self, buf: &mut [u8]) -> RawAnswer {
        self.recv_with(buf, 0)
    }

    /// As `recv`, and leaves the bytes where they are.
    pub(crate) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        retry(|| self.recv_with(buf, libc::MSG_PEEK).result())
    }

    #[inline]
    fn recv_with(&self, buf: &mut [u8], flags: libc::c_int) -> RawAnswer {
        let (ptr, len) = (buf.as_mut_ptr().cast(), buf.len().min(MOST_BYTES));
        // SAFETY: at least `len` bytes from the pointer on are ours to write.
        RawAnswer(unsafe { libc::recv(self.raw(), ptr, len, flags) })
    }

    pub(crate) fn send(&self, buf: &[u8]) -> io::Result<usize> {
        retry(|| self.send_once(buf).result())
    }

    /// As `send`, once, for who makes an interrupted call again.
    #[inline]
    pub(crate) fn send_once(&self, buf: &[u8]) -> RawAnswer {
        let (ptr, len) = (buf.as_ptr().cast(), buf.len().min(MOST_BYTES));
        // SAFETY: at least `len` bytes from the pointer on may be read.
        RawAnswer(unsafe { libc::send(self.raw(), ptr, len, NO_SIGPIPE) })
    }

    pub(crate) fn recv_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(MOST_BUFFERS) as libc::c_int;
        // SAFETY: IoSliceMut has the layout of an iovec; each is ours to write, and there are at least `count`.
        retry(|| check_size(unsafe { libc::readv(self.raw(), bufs.as_mut_ptr().cast(), count) }))
    }

    pub(crate) fn send_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: all-zero bytes are a valid msghdr: integers and null pointers.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // IoSlice has the layout of an iovec; the kernel only reads what it points to.
        message.msg_iov = bufs.as_ptr().cast_mut().cast();
        message.msg_iovlen = bufs.len().min(MOST_BUFFERS) as _;
        // SAFETY: the message names at least that many buffers, which outlive the call; it has no address and no
        // control data.
        retry(|| check_size(unsafe { libc::sendmsg(self.raw(), &message, NO_SIGPIPE) }))
    }

    /// How many bytes a vectored call with these lengths can move: it takes only so many buffers at once.
    pub(crate) fn vectored_len(lens: impl Iterator<Item = usize>) -> usize {
        lens.take(MOST_BUFFERS).fold(0, usize::saturating_add)
    }

    // ---- options ----------------------------------------------------------------------------------------------

    fn option<T: Copy + Default>(&self, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
        let mut value = T::default();
        let mut len = size_of::<T>() as libc::socklen_t;
        // SAFETY: the pointer and the length are those of `value`; every T used here is made of integers.
        check(unsafe {
            libc::getsockopt(self.raw(), level, name, (&raw mut value).cast(), &mut len)
        })?;
        Ok(value)
    }

    fn set_option<T: Copy>(
        &self,
        level: libc::c_int,
        name: libc::c_int,
        value: T,
    ) -> io::Result<()> {
        let len = size_of::<T>() as libc::socklen_t;
        // SAFETY: the pointer and the length are those of `value`.
        check(unsafe { libc::setsockopt(self.raw(), level, name, (&raw const value).cast(), len) })
            .map(drop)
    }

    pub(crate) fn set_reuse_addr(&self, on: bool) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_REUSEADDR, libc::c_int::from(on))
    }

    pub(crate) fn nodelay(&self) -> io::Result<bool> {
        let on: libc::c_int = self.option(libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
        Ok(on != 0)
    }

    pub(crate) fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, libc::c_int::from(on))
    }

    pub(crate) fn ttl(&self) -> io::Result<u32> {
        let hops: libc::c_int = self.option(libc::IPPROTO_IP, libc::IP_TTL)?;
        Ok(hops as u32)
    }

    pub(crate) fn set_ttl(&self, hops: u32) -> io::Result<()> {
        // More than 255 is the kernel's to refuse, so that it must not wrap.
        let hops = libc::c_int::try_from(hops).unwrap_or(libc::c_int::MAX);
        self.set_option(libc::IPPROTO_IP, libc::IP_TTL, hops)
    }

    pub(crate) fn linger(&self) -> io::Result<Option<Duration>> {
        let Linger(on, seconds) = self.option(libc::SOL_SOCKET, LINGER_SECONDS)?;
        Ok((on != 0).then(|| Duration::from_secs(seconds as u64)))
    }

    pub(crate) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        let seconds = linger.map_or(0, |linger| {
            // Rounded up, for zero means something else.
            let part = u64::from(linger.subsec_nanos() != 0);
            let seconds = linger.as_secs().saturating_add(part);
            libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX)
        });
        let value = Linger(libc::c_int::from(linger.is_some()), seconds);
        self.set_option(libc::SOL_SOCKET, LINGER_SECONDS, value)
    }
}

/// `struct linger`: on or off, and seconds. Two ints everywhere.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Linger(libc::c_int, libc::c_int);

const _: () = assert!(size_of::<Linger>() == size_of::<libc::linger>());

/// On Apple's systems the common name counts clock ticks.
#[cfg(target_vendor = "apple")]
const LINGER_SECONDS: libc::c_int = libc::SO_LINGER_SEC;
#[cfg(not(target_vendor = "apple"))]
const LINGER_SECONDS: libc::c_int = libc::SO_LINGER;

/// The family of a socket that somebody else made.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn family(fd: RawFd) -> io::Result<libc::c_int> {
    let mut family: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let to = (&raw mut family).cast();
    // SAFETY: the pointer and the length are those of `family`; a number that is no socket is an error.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_DOMAIN, to, &mut len) })?;
    Ok(family)
}

impl AsFd for Socket {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect(TAKEN).as_fd()
    }
}

const TAKEN: &str = "a socket is taken when it is given up, and not used afterwards";

fn under_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR))
}

/// Whether `accept` failed for want of descriptors or memory: the connection still waits, and a later call gets it.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Whether `accept` reported what had happened to the one connection it took off the queue: the next may be well.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    // Linux passes errors of the new socket's network on; accept(2) lists these. EOPNOTSUPP, which is there too, also
    // says that the socket is no listener.
    let network = matches!(
        code,
        libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    );
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let network = network || code == libc::ENONET;
    network || matches!(code, libc::ECONNABORTED | libc::EPROTO)
}

/// New sockets where flags say what they shall be.
#[cfg(not(target_vendor = "apple"))]
mod fresh {
    use super::{RawAddr, Socket};
    use crate::sys::syscall::check;
    use std::io;
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};

    const FLAGS: libc::c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

    pub(super) fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<Socket> {
        // SAFETY: socket takes no pointer.
        let fd = check(unsafe { libc::socket(family, kind | FLAGS, 0) })?;
        // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
        Ok(Socket(Some(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    pub(super) fn accept(listener: RawFd) -> io::Result<(Socket, RawAddr)> {
        // SAFETY: `filled_by` gives room for an address and that room's length.
        let (fd, addr) =
            RawAddr::filled_by(|addr, len| unsafe { libc::accept4(listener, addr, len, FLAGS) })?;
        // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
        Ok((Socket(Some(unsafe { OwnedFd::from_raw_fd(fd) })), addr))
    }
}

/// New sockets where separate calls make them what they shall be: a child that is executed in between inherits them.
#[cfg(target_vendor = "apple")]
mod fresh {
    use super::{RawAddr, Socket};
    use crate::sys::{fd, syscall::check};
    use std::io;
    use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

    pub(super) fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<Socket> {
        // SAFETY: socket takes no pointer.
        let fd = check(unsafe { libc::socket(family, kind, 0) })?;
        // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
        finish(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(super) fn accept(listener: RawFd) -> io::Result<(Socket, RawAddr)> {
        // SAFETY: `filled_by` gives room for an address and that room's length.
        let (fd, addr) =
            RawAddr::filled_by(|addr, len| unsafe { libc::accept(listener, addr, len) })?;
        // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
        Ok((finish(unsafe { OwnedFd::from_raw_fd(fd) })?, addr))
    }

    fn finish(owned: OwnedFd) -> io::Result<Socket> {
        fd::set_cloexec(owned.as_fd())?;
        fd::set_nonblocking(owned.as_fd())?;
        Socket::adopt(owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd;

    fn listener() -> (Socket, SocketAddr) {
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = Socket::tcp(any).unwrap();
        socket.bind(any).unwrap();
        socket.listen(8).unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    }

    fn pair() -> (Socket, Socket) {
        let (listener, addr) = listener();
        let here = Socket::tcp(addr).unwrap();
        here.connect(addr).unwrap();
        let there = loop {
            match listener.accept() {
                Ok((socket, peer)) => {
                    assert_eq!(peer, here.local_addr().unwrap());
                    break socket;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        (here, there)
    }

    #[test]
    fn new_sockets_are_nonblocking_and_not_inherited() {
        let (here, there) = pair();
        for socket in [&here, &there] {
            assert!(fd::is_nonblocking(socket.as_fd()).unwrap());
            // SAFETY: F_GETFD takes no pointer.
            let flags = unsafe { libc::fcntl(socket.raw(), libc::F_GETFD) };
            assert_ne!(flags & libc::FD_CLOEXEC, 0);
        }
        let error = here.recv(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn options_read_back_what_was_set() {
        let (here, _there) = pair();
        here.set_nodelay(true).unwrap();
        assert!(here.nodelay().unwrap());
        here.set_ttl(42).unwrap();
        assert_eq!(here.ttl().unwrap(), 42);
        assert!(here.set_ttl(u32::MAX).is_err());
        assert_eq!(here.linger().unwrap(), None);
        here.set_linger(Some(Duration::from_millis(1500))).unwrap();
        assert_eq!(here.linger().unwrap(), Some(Duration::from_secs(2)));
        here.set_linger(Some(Duration::MAX)).unwrap();
        assert!(here.linger().unwrap().unwrap() > Duration::from_secs(1 << 30));
        here.set_linger(None).unwrap();
        assert_eq!(here.linger().unwrap(), None);
        assert!(here.take_error().unwrap().is_none());
    }

    #[test]
    fn more_buffers_than_a_call_takes_are_not_counted() {
        let lens = std::iter::repeat_n(2, MOST_BUFFERS + 5);
        assert_eq!(Socket::vectored_len(lens), 2 * MOST_BUFFERS);
        let (here, _there) = pair();
        let bufs = vec![IoSlice::new(b"ab"); MOST_BUFFERS + 5];
        assert_eq!(here.send_vectored(&bufs).unwrap(), 2 * MOST_BUFFERS);
    }
}
