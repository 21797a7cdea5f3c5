//! [`Socket`] has every call that `net` makes on a socket as a method, so that another kind of
//! socket can replace it.
//!
//! A socket made here is non-blocking and close-on-exec, and writing to a peer that is gone is an
//! error and not a signal: by flags where the platform has them, and by separate calls on Apple's
//! systems, which have neither `accept4` nor the flags. No call here blocks, so a call that a
//! signal interrupts is repeated; with `recv_once` and `send_once` the caller does that.

use super::addr::RawAddr;
use super::syscall::{Answer, RawAnswer, check, check_size, retry};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::{ptr, slice};

/// The most bytes that one call may move. Kernels cut longer buffers (Linux at 2 GiB less a page,
/// which may be 64 KiB) or refuse them (Apple's), and a call that was cut looks like one that found
/// no more.
pub(crate) const MAX_BYTES: usize = (libc::c_int::MAX - 0xffff) as usize;

/// The most buffers of one vectored call.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const MAX_BUFFERS: usize = libc::UIO_MAXIOV as usize;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
// Every system has this; Solaris has no more.
pub(super) const MAX_BUFFERS: usize = 16;

/// The most bytes of several buffers that are copied together before they are sent. An answer of
/// HTTP with its head is mostly shorter; to copy much more would cost what it saves.
const JOINED_BYTES: usize = 2048;

/// The flags of calls that read: do not wait, even if `O_NONBLOCK` is cleared. That flag belongs to
/// the open file, and any descriptor of the file can clear it.
pub(super) const READ: libc::c_int = libc::MSG_DONTWAIT;

/// The flags of calls that write: the same, and no SIGPIPE.
#[cfg(not(target_vendor = "apple"))]
pub(super) const WRITE: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(super) const WRITE: libc::c_int = libc::MSG_DONTWAIT;

/// An open socket. Its descriptor can be [taken](Socket::take), to close it in another way. Later
/// calls fail as with any number that is not open.
#[derive(Debug)]
pub(crate) struct Socket(Option<OwnedFd>);

impl Socket {
    /// Makes a TCP socket of the address's family.
    pub(crate) fn tcp(addr: SocketAddr) -> io::Result<Socket> {
        Socket::new(family_of(addr), libc::SOCK_STREAM)
    }

    /// Makes a socket of a family and a kind.
    pub(super) fn new(family: libc::c_int, kind: libc::c_int) -> io::Result<Socket> {
        fresh::socket(family, kind)
    }

    /// Makes two connected Unix stream sockets.
    pub(crate) fn unix_pair() -> io::Result<(Socket, Socket)> {
        Socket::pair(libc::AF_UNIX, libc::SOCK_STREAM)
    }

    /// Makes two connected sockets of a family and a kind.
    pub(super) fn pair(family: libc::c_int, kind: libc::c_int) -> io::Result<(Socket, Socket)> {
        fresh::pair(family, kind)
    }

    /// Takes over a socket that was made by other code, blocking or not.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Socket> {
        let socket = Socket(Some(fd));
        #[cfg(target_vendor = "apple")]
        socket.set_option::<libc::c_int>(libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1)?;
        Ok(socket)
    }

    /// Takes over an end of a pipe, on which only the calls in `pipe.rs` work.
    pub(crate) fn pipe_end(fd: OwnedFd) -> Socket {
        Socket(Some(fd))
    }

    /// Takes the descriptor out.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        self.0.take()
    }

    /// Returns its number, or -1 if it was taken. The compiler needs no comparison for this,
    /// because it stores `None` as that number.
    #[inline]
    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_ref().map_or(-1, OwnedFd::as_raw_fd)
    }

    // ---- connections
    // ------------------------------------------------------------------------------------------

    pub(crate) fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.bind_raw(&RawAddr::from(addr))
    }

    pub(super) fn bind_raw(&self, addr: &RawAddr) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of `addr`, which outlives the call.
        check(unsafe { libc::bind(self.raw(), addr.as_ptr(), addr.len()) }).map(drop)
    }

    pub(crate) fn listen(&self, backlog: u32) -> io::Result<()> {
        let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
        // SAFETY: listen takes no pointer.
        check(unsafe { libc::listen(self.raw(), backlog) }).map(drop)
    }

    /// Begins to connect. Returns false if the connection is in progress; the socket becomes
    /// writable when that has ended.
    pub(crate) fn connect(&self, addr: SocketAddr) -> io::Result<bool> {
        match self.connect_raw(&RawAddr::from(addr)) {
            Ok(()) => Ok(true),
            // A signal does not end it: in POSIX the connection goes on. A second call would be
            // `EALREADY`.
            Err(error) if is_in_progress(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn connect_raw(&self, addr: &RawAddr) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of `addr`, which outlives the call.
        check(unsafe { libc::connect(self.raw(), addr.as_ptr(), addr.len()) }).map(drop)
    }

    pub(super) fn accept_raw(&self) -> io::Result<(Socket, RawAddr)> {
        retry(|| fresh::accept(self.raw()))
    }

    /// Accepts the first connection of the queue.
    pub(crate) fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (socket, addr) = self.accept_raw()?;
        if addr.len() == 0 {
            // Some BSD kernels report like this that the peer is gone.
            return Err(aborted());
        }
        Ok((socket, addr.to_ip()?))
    }

    /// Returns the error since the last call, such as that of a failed connect.
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
        self.local_raw_addr()?.to_ip()
    }

    pub(super) fn local_raw_addr(&self) -> io::Result<RawAddr> {
        // SAFETY: `filled_by` gives room for an address and that room's length.
        RawAddr::filled_by(|addr, len| unsafe { libc::getsockname(self.raw(), addr, len) })
            .map(|(_, addr)| addr)
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.peer_raw_addr()?.to_ip()
    }

    pub(super) fn peer_raw_addr(&self) -> io::Result<RawAddr> {
        // SAFETY: `filled_by` gives room for an address and that room's length.
        RawAddr::filled_by(|addr, len| unsafe { libc::getpeername(self.raw(), addr, len) })
            .map(|(_, addr)| addr)
    }

    // ---- bytes
    //
    // ------------------------------------------------------------------------------------------------

    /// Reads bytes. Returns the error of an interrupted call.
    #[inline]
    pub(crate) fn recv_once(&self, buf: &mut [u8]) -> RawAnswer {
        self.recv_with(buf, READ)
    }

    /// As `recv_once`. The bytes that it returns are initialized, and no others are written.
    #[inline]
    pub(crate) fn recv_uninit_once(&self, buf: &mut [MaybeUninit<u8>]) -> RawAnswer {
        let (ptr, len) = (buf.as_mut_ptr().cast(), buf.len().min(MAX_BYTES));
        // SAFETY: at least `len` bytes from the pointer on belong to `buf`, which is borrowed
        // mutably. The kernel writes them or leaves them.
        RawAnswer(unsafe { libc::recv(self.raw(), ptr, len, READ) })
    }

    /// As `recv_once`, into the spare capacity.
    #[inline]
    pub(crate) fn recv_vec_once(&self, buf: &mut Vec<u8>) -> RawAnswer {
        let answer = self.recv_uninit_once(buf.spare_capacity_mut());
        if answer.0 > 0 {
            // SAFETY: the call has initialized so many bytes of the spare capacity.
            unsafe { buf.set_len(buf.len() + answer.count()) };
        }
        answer
    }

    /// Reads bytes and leaves them where they are.
    pub(crate) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        retry(|| self.recv_with(buf, READ | libc::MSG_PEEK).result())
    }

    #[inline]
    fn recv_with(&self, buf: &mut [u8], flags: libc::c_int) -> RawAnswer {
        let (ptr, len) = (buf.as_mut_ptr().cast(), buf.len().min(MAX_BYTES));
        // SAFETY: at least `len` bytes from the pointer on belong to `buf`, which is borrowed
        // mutably.
        RawAnswer(unsafe { libc::recv(self.raw(), ptr, len, flags) })
    }

    /// Writes bytes. Returns the error of an interrupted call.
    #[inline]
    pub(crate) fn send_once(&self, buf: &[u8]) -> RawAnswer {
        let (ptr, len) = (buf.as_ptr().cast(), buf.len().min(MAX_BYTES));
        // SAFETY: at least `len` bytes from the pointer on belong to `buf`, which is borrowed.
        RawAnswer(unsafe { libc::send(self.raw(), ptr, len, WRITE) })
    }

    /// Reads into several buffers. Returns the error of an interrupted call. Empty buffers in front
    /// do not count towards [`MAX_BUFFERS`]: a call with only these would return 0, which means the
    /// end of the stream.
    pub(crate) fn recv_vectored_once(&self, bufs: &mut [IoSliceMut<'_>]) -> RawAnswer {
        self.recv_vectored_flags(bufs).0
    }

    /// As `recv_vectored_once`. Returns the flags of the message as well, which mean nothing after
    /// an error.
    pub(super) fn recv_vectored_flags(
        &self,
        bufs: &mut [IoSliceMut<'_>],
    ) -> (RawAnswer, libc::c_int) {
        let empty = bufs.iter().take_while(|buf| buf.is_empty()).count();
        let bufs = &mut bufs[empty..];
        // IoSliceMut has the layout of an iovec.
        let mut message = message(bufs.as_mut_ptr().cast(), bufs.len());
        // SAFETY: the message names no more buffers than there are, all borrowed mutably during the
        // call; it has no room for an address or control data.
        let read = unsafe { libc::recvmsg(self.raw(), &mut message, READ) };
        (RawAnswer(read), message.msg_flags)
    }

    /// Writes several buffers. Skips empty ones in front, as
    /// [`recv_vectored_once`](Socket::recv_vectored_once) does.
    ///
    /// A few bytes are copied together: `send` takes less time than `sendmsg`, which first has to
    /// copy the message and its buffers' addresses into the kernel.
    pub(crate) fn send_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let empty = bufs.iter().take_while(|buf| buf.is_empty()).count();
        let bufs = &bufs[empty..];
        match bufs {
            [one] => return retry(|| self.send_once(one).result()),
            [_, _, ..] if fits(bufs, JOINED_BYTES) => return self.send_joined(bufs),
            _ => {}
        }
        // IoSlice has the layout of an iovec; the kernel only reads what it points to.
        let message = message(bufs.as_ptr().cast_mut().cast(), bufs.len());
        // SAFETY: the message names no more buffers than there are, all borrowed during the call;
        // it has no address and no control data.
        retry(|| check_size(unsafe { libc::sendmsg(self.raw(), &message, WRITE) }))
    }

    /// Writes buffers of at most [`JOINED_BYTES`] bytes in all.
    #[inline(never)]
    fn send_joined(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut room = [MaybeUninit::<u8>::uninit(); JOINED_BYTES];
        let mut len = 0;
        for buf in bufs {
            let to = &mut room[len..][..buf.len()];
            // SAFETY: `to` has as many bytes as `buf`. They do not overlap, because `to` is
            // borrowed mutably.
            unsafe { ptr::copy_nonoverlapping(buf.as_ptr(), to.as_mut_ptr().cast(), buf.len()) };
            len += buf.len();
        }
        // SAFETY: the loop has initialized the first `len` bytes.
        let joined = unsafe { slice::from_raw_parts(room.as_ptr().cast::<u8>(), len) };
        retry(|| self.send_once(joined).result())
    }

    /// Returns how many bytes a vectored call with these lengths can move: it takes only so many
    /// buffers at once.
    pub(crate) fn vectored_len(lens: impl Iterator<Item = usize>) -> usize {
        lens.skip_while(|len| *len == 0)
            .take(MAX_BUFFERS)
            .fold(0, usize::saturating_add)
    }

    // ---- options; which there are: `socket_options.rs`
    //
    // ----------------------------------------------------------------------------------------------

    pub(super) fn option<T: Copy + Default>(
        &self,
        level: libc::c_int,
        name: libc::c_int,
    ) -> io::Result<T> {
        self.option_over(level, name, T::default())
    }

    /// Returns an option that the kernel writes over `value`.
    pub(super) fn option_over<T: Copy>(
        &self,
        level: libc::c_int,
        name: libc::c_int,
        mut value: T,
    ) -> io::Result<T> {
        let mut len = size_of::<T>() as libc::socklen_t;
        // SAFETY: the pointer and the length are those of `value`; every T used here is made of
        // integers.
        check(unsafe {
            libc::getsockopt(self.raw(), level, name, (&raw mut value).cast(), &mut len)
        })?;
        Ok(value)
    }

    pub(super) fn set_option<T: Copy>(
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
}

/// Returns the family of an address.
pub(super) fn family_of(addr: SocketAddr) -> libc::c_int {
    match addr {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    }
}

/// Whether one vectored call would take all of these buffers, and they have at most `most` bytes.
#[inline]
fn fits(bufs: &[IoSlice<'_>], most: usize) -> bool {
    bufs.len() <= MAX_BUFFERS && {
        let mut lens = bufs.iter().map(|buf| buf.len());
        lens.try_fold(most, usize::checked_sub).is_some()
    }
}

/// Returns a message with as many of these buffers as one call takes, without an address or control
/// data.
pub(super) fn message(bufs: *mut libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid msghdr: integers and null pointers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = bufs;
    message.msg_iovlen = count.min(MAX_BUFFERS) as _;
    message
}

/// Returns the family of a socket that other code made.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn family(fd: RawFd) -> io::Result<libc::c_int> {
    property(fd, libc::SO_DOMAIN)
}

/// Whether a read may stop at the mark of urgent data and fail with `EAGAIN` although there is
/// data: on Linux, for streams of TCP, and of AF_UNIX since 5.15.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn has_urgent_mark(fd: BorrowedFd<'_>) -> bool {
    property(fd.as_raw_fd(), libc::SO_TYPE).is_ok_and(|kind| kind == libc::SOCK_STREAM)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn has_urgent_mark(_: BorrowedFd<'_>) -> bool {
    false
}

/// Returns a property of a socket that other code may have made.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn property(fd: RawFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let to = (&raw mut value).cast();
    // SAFETY: the pointer and the length are those of `value`; a number that is no socket is an
    // error.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, to, &mut len) })?;
    Ok(value)
}

impl AsFd for Socket {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect(TAKEN).as_fd()
    }
}

const TAKEN: &str = "a socket is not used after its descriptor was taken";

/// Whether a connection is in progress after this error of `connect`.
fn is_in_progress(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR))
}

/// Returns the error of a connection that has ended before it was accepted.
pub(crate) fn aborted() -> io::Error {
    io::Error::from_raw_os_error(libc::ECONNABORTED)
}

/// Whether `accept` failed because descriptors or memory ran out: the connection still waits, and a
/// later call gets it.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Whether `accept` reported an error of the one connection that it took off the queue: the next
/// one may be good.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    // Linux passes on errors of the new socket's network; accept(2) lists these. EOPNOTSUPP, which
    // is in the list, also means that the socket is no listener.
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

/// Makes sockets on systems where flags set their properties.
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
        // SAFETY: the call succeeded, so the descriptor is open and no other code owns it.
        Ok(Socket(Some(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    pub(super) fn pair(family: libc::c_int, kind: libc::c_int) -> io::Result<(Socket, Socket)> {
        let mut fds = [-1; 2];
        // SAFETY: the call writes two numbers, for which there is room.
        check(unsafe { libc::socketpair(family, kind | FLAGS, 0, fds.as_mut_ptr()) })?;
        // SAFETY: the call succeeded, so both descriptors are open and no other code owns them.
        let [one, two] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok((Socket(Some(one)), Socket(Some(two))))
    }

    pub(super) fn accept(listener: RawFd) -> io::Result<(Socket, RawAddr)> {
        // SAFETY: `filled_by` gives room for an address and that room's length.
        let (fd, addr) =
            RawAddr::filled_by(|addr, len| unsafe { libc::accept4(listener, addr, len, FLAGS) })?;
        // SAFETY: the call succeeded, so the descriptor is open and no other code owns it.
        Ok((Socket(Some(unsafe { OwnedFd::from_raw_fd(fd) })), addr))
    }
}

/// Makes sockets on systems where separate calls set their properties: a program that is executed
/// in between inherits them.
#[cfg(target_vendor = "apple")]
mod fresh {
    use super::{RawAddr, Socket};
    use crate::sys::{fd, syscall::check};
    use std::io;
    use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

    pub(super) fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<Socket> {
        // SAFETY: socket takes no pointer.
        let fd = check(unsafe { libc::socket(family, kind, 0) })?;
        // SAFETY: the call succeeded, so the descriptor is open and no other code owns it.
        finish(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(super) fn pair(family: libc::c_int, kind: libc::c_int) -> io::Result<(Socket, Socket)> {
        let mut fds = [-1; 2];
        // SAFETY: the call writes two numbers, for which there is room.
        check(unsafe { libc::socketpair(family, kind, 0, fds.as_mut_ptr()) })?;
        // SAFETY: the call succeeded, so both descriptors are open and no other code owns them.
        let [one, two] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok((finish(one)?, finish(two)?))
    }

    pub(super) fn accept(listener: RawFd) -> io::Result<(Socket, RawAddr)> {
        // SAFETY: `filled_by` gives room for an address and that room's length.
        let (fd, addr) =
            RawAddr::filled_by(|addr, len| unsafe { libc::accept(listener, addr, len) })?;
        // SAFETY: the call succeeded, so the descriptor is open and no other code owns it.
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
    fn new_sockets_are_nonblocking_and_close_on_exec() {
        let (here, there) = pair();
        for socket in [&here, &there] {
            assert!(fd::is_nonblocking(socket.as_fd()).unwrap());
            // SAFETY: F_GETFD takes no pointer.
            let flags = unsafe { libc::fcntl(socket.raw(), libc::F_GETFD) };
            assert_ne!(flags & libc::FD_CLOEXEC, 0);
        }
        let error = here.recv_once(&mut [0; 1]).result().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn vectored_len_ignores_buffers_beyond_the_limit() {
        let lens = std::iter::repeat_n(2, MAX_BUFFERS + 5);
        assert_eq!(Socket::vectored_len(lens), 2 * MAX_BUFFERS);
        let (here, _there) = pair();
        let bufs = vec![IoSlice::new(b"ab"); MAX_BUFFERS + 5];
        assert_eq!(here.send_vectored(&bufs).unwrap(), 2 * MAX_BUFFERS);
    }

    /// On both sides of the limit up to which buffers are copied together.
    #[test]
    fn vectored_writes_keep_the_order_of_the_bytes() {
        let bytes: Vec<u8> = (0..JOINED_BYTES + 1).map(|at| (at % 251) as u8).collect();
        for len in [2, 300, JOINED_BYTES - 1, JOINED_BYTES, JOINED_BYTES + 1] {
            for first in [0, 1, len / 2, len - 1, len] {
                let (here, there) = pair();
                let (head, tail) = bytes[..len].split_at(first);
                let bufs = [head, &[], tail, &[]].map(IoSlice::new);
                assert_eq!(here.send_vectored(&bufs).unwrap(), len);
                let mut got = Vec::with_capacity(2 * len);
                while got.len() < len {
                    match there.recv_vec_once(&mut got).result() {
                        Ok(read) => assert_ne!(read, 0),
                        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                    }
                }
                assert_eq!(got, bytes[..len]);
            }
        }
    }

    #[test]
    fn vectored_calls_skip_empty_buffers_in_front() {
        let (here, there) = pair();
        for empty in [1, MAX_BUFFERS - 1, MAX_BUFFERS, 3 * MAX_BUFFERS] {
            let mut parts = vec![IoSlice::new(b""); empty];
            parts.extend([IoSlice::new(b"da"), IoSlice::new(b""), IoSlice::new(b"ta")]);
            assert_eq!(Socket::vectored_len(parts.iter().map(|part| part.len())), 4);
            assert_eq!(here.send_vectored(&parts).unwrap(), 4);
            let (mut none, mut first, mut rest) = (vec![[0u8; 0]; empty], [0; 1], [0; 8]);
            let mut bufs: Vec<_> = none.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
            bufs.extend([IoSliceMut::new(&mut first), IoSliceMut::new(&mut rest)]);
            let read = loop {
                match there.recv_vectored_once(&mut bufs).result() {
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                    Ok(read) => break read,
                }
            };
            assert_eq!((read, first, &rest[..3]), (4, *b"d", &b"ata"[..]));
        }
        let none = vec![IoSlice::new(b""); MAX_BUFFERS + 1];
        assert_eq!(here.send_vectored(&none).unwrap(), 0);
    }
}
