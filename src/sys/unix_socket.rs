//! Calls on Unix sockets: connections and addresses, and reads that know what a short result
//! proves.
//!
//! **Short reads.** A read of a Unix stream stops behind bytes that came with descriptors, even if
//! there are more (`unix(7)`: ancillary data is a barrier). So a read that returns less than the
//! buffer holds does not prove that nothing is left.
//!
//! On Linux the kernel tells whether it stopped there. `recvmsg(2)` without room for control data
//! sets `MSG_CTRUNC` if it has dropped some: descriptors that came with these bytes, or the
//! credentials of their writer, if the socket asks for credentials and reads stop at those of
//! another writer. If the flag is not set, a short read has emptied the queue. (Urgent data ends
//! reads too; events report it.) `recvmsg` costs less than `recv` and a second call that finds
//! nothing, but more than `recv` alone. If the mechanism reports again what a read leaves, the
//! caller passes `again`: then a read is a `recv`, and a short result proves nothing.
//!
//! Other kernels drop descriptors without a flag, so there a short read proves nothing.

use super::addr::{RawAddr, unix::unnamed};
use super::socket::{MAX_BYTES, READ, Socket, message};
use super::syscall::{Answer, RawAnswer, retry};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{SocketAddr, UnixStream};

/// Whether [`UnixAnswer`] tells that a read has stopped although bytes were left.
pub(crate) const READS_TELL_WHERE_THEY_STOP: bool =
    cfg!(any(target_os = "linux", target_os = "android"));

/// The result of a read from a Unix stream.
#[derive(Debug)]
pub(crate) struct UnixAnswer<A = RawAnswer> {
    pub(super) answer: A,
    /// Whether the read may have stopped although bytes were left.
    pub(super) stopped: bool,
}

impl<A: Answer> Answer for UnixAnswer<A> {
    const CHOOSES_TRIGGER: bool = true;

    #[inline]
    fn is_all(&self, len: usize) -> bool {
        self.answer.is_all(len)
    }

    #[inline]
    fn is_short(&self, len: usize) -> bool {
        !self.stopped && self.answer.is_short(len)
    }

    #[inline]
    fn count(&self) -> usize {
        self.answer.count()
    }

    #[inline]
    fn result(self) -> io::Result<usize> {
        self.answer.result()
    }
}

impl Socket {
    /// Makes a Unix stream socket.
    pub(crate) fn unix() -> io::Result<Socket> {
        Socket::new(libc::AF_UNIX, libc::SOCK_STREAM)
    }

    pub(crate) fn bind_unix(&self, addr: &SocketAddr) -> io::Result<()> {
        self.bind_raw(&RawAddr::from(addr))
    }

    /// Connects. Returns false if the connection is in progress, which Linux and the BSDs do not
    /// do. On Linux it fails with `WouldBlock` while the queue of the listener is full, and no
    /// event reports that there is room.
    pub(crate) fn connect_unix(&self, addr: &SocketAddr) -> io::Result<bool> {
        let addr = RawAddr::from(addr);
        match retry(|| self.connect_raw(&addr)) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                // The last two come from a repeated call, if the interrupted one has an effect.
                Some(libc::EISCONN) => Ok(true),
                Some(libc::EINPROGRESS | libc::EALREADY) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Accepts the first connection of the queue.
    pub(crate) fn accept_unix(&self) -> io::Result<(Socket, SocketAddr)> {
        let (socket, addr) = self.accept_raw()?;
        // The connection is worth more than the address.
        let addr = addr
            .to_unix()
            .or_else(|_| socket.lend_to_std()?.peer_addr())
            .or_else(|_| unnamed())?;
        Ok((socket, addr))
    }

    pub(crate) fn local_unix_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.local_raw_addr()?;
        addr.to_unix().or_else(|_| self.lend_to_std()?.local_addr())
    }

    pub(crate) fn peer_unix_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.peer_raw_addr()?;
        addr.to_unix().or_else(|_| self.lend_to_std()?.peer_addr())
    }

    /// Returns a duplicate as a type of the standard library, which can return addresses that it
    /// does not let others make.
    #[cold]
    fn lend_to_std(&self) -> io::Result<UnixStream> {
        Ok(self.as_fd().try_clone_to_owned()?.into())
    }

    /// Whether this is a Unix stream socket, as far as the system can tell.
    pub(crate) fn is_unix_stream(&self) -> bool {
        let kind = self.option(libc::SOL_SOCKET, libc::SO_TYPE);
        let is_unix = self
            .local_raw_addr()
            .is_ok_and(|addr| addr.to_unix().is_ok());
        kind.is_ok_and(|kind: libc::c_int| kind == libc::SOCK_STREAM) && is_unix
    }

    /// Reads bytes. Returns the error of an interrupted call.
    #[inline]
    pub(crate) fn recv_unix_once(&self, buf: &mut [u8], again: bool) -> UnixAnswer {
        // SAFETY: the bytes belong to `buf`, which is borrowed mutably.
        unsafe { self.recv_unix_raw(buf.as_mut_ptr(), buf.len(), again) }
    }

    /// As `recv_unix_once`. The bytes that it returns are initialized, and no others are written.
    #[inline]
    pub(crate) fn recv_unix_uninit_once(
        &self,
        buf: &mut [MaybeUninit<u8>],
        again: bool,
    ) -> UnixAnswer {
        // SAFETY: the bytes belong to `buf`, which is borrowed mutably.
        unsafe { self.recv_unix_raw(buf.as_mut_ptr().cast(), buf.len(), again) }
    }

    /// As `recv_unix_once`, into the spare capacity.
    #[inline]
    pub(crate) fn recv_unix_vec_once(&self, buf: &mut Vec<u8>, again: bool) -> UnixAnswer {
        let read = self.recv_unix_uninit_once(buf.spare_capacity_mut(), again);
        if read.answer.0 > 0 {
            // SAFETY: the call has initialized so many bytes of the spare capacity.
            unsafe { buf.set_len(buf.len() + read.count()) };
        }
        read
    }

    /// Reads at most `len` bytes.
    ///
    /// # Safety
    ///
    /// `len` bytes from `ptr` on may be written during the call.
    #[inline]
    unsafe fn recv_unix_raw(&self, ptr: *mut u8, len: usize, again: bool) -> UnixAnswer {
        if READS_TELL_WHERE_THEY_STOP && !again {
            // SAFETY: the caller lends the buffer.
            return unsafe { self.recvmsg_unix_raw(ptr, len) };
        }
        // SAFETY: the caller lends the buffer.
        let read = unsafe { libc::recv(self.raw(), ptr.cast(), len.min(MAX_BYTES), READ) };
        UnixAnswer {
            answer: RawAnswer(read),
            stopped: false,
        }
    }

    /// As `recv_unix_raw`, and finds out whether the read has stopped although bytes were left.
    ///
    /// # Safety
    ///
    /// As for `recv_unix_raw`.
    #[inline]
    unsafe fn recvmsg_unix_raw(&self, ptr: *mut u8, len: usize) -> UnixAnswer {
        let mut buf = libc::iovec {
            iov_base: ptr.cast(),
            iov_len: len.min(MAX_BYTES),
        };
        let mut message = message(&mut buf, 1);
        // SAFETY: the message names one buffer, which the caller lends. It has no room for an
        // address or control data.
        let read = unsafe { libc::recvmsg(self.raw(), &mut message, READ) };
        UnixAnswer {
            answer: RawAnswer(read),
            stopped: has_dropped(message.msg_flags),
        }
    }

    /// As `recv_unix_once`, into several buffers. See [`Socket::recv_vectored_once`].
    pub(crate) fn recv_unix_vectored_once(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        again: bool,
    ) -> UnixAnswer {
        let (answer, flags) = self.recv_vectored_flags(bufs);
        UnixAnswer {
            answer,
            stopped: !again && has_dropped(flags),
        }
    }
}

/// Whether a call without room for control data has dropped some.
fn has_dropped(flags: libc::c_int) -> bool {
    flags & libc::MSG_CTRUNC != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd;
    use std::os::fd::AsRawFd;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn read(socket: &Socket, len: usize) -> (usize, bool) {
        let mut buf = vec![0; len];
        let read = socket.recv_unix_once(&mut buf, false);
        let is_short = read.is_short(len);
        (read.result().unwrap(), is_short)
    }

    #[test]
    fn both_ends_of_a_pair_are_nonblocking_and_close_on_exec() {
        let (here, there) = Socket::unix_pair().unwrap();
        for socket in [&here, &there] {
            assert!(socket.is_unix_stream());
            assert!(fd::is_nonblocking(socket.as_fd()).unwrap());
            // SAFETY: F_GETFD takes no pointer.
            let flags = unsafe { libc::fcntl(socket.as_fd().as_raw_fd(), libc::F_GETFD) };
            assert_ne!(flags & libc::FD_CLOEXEC, 0);
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_read_that_stops_behind_descriptors_is_not_short() {
        let (here, there) = Socket::unix_pair().unwrap();
        let send = |bytes: &[u8], fds: &[std::os::fd::BorrowedFd<'_>]| {
            assert_eq!(here.send_with_fds(bytes, fds).unwrap(), bytes.len());
        };
        send(b"one", &[]);
        send(b"two", &[]);
        assert_eq!(read(&there, 16), (6, true));
        send(b"one", &[]);
        send(b"with", &[here.as_fd()]);
        send(b"two", &[]);
        // Not short although 9 bytes fit: what follows is still there.
        assert_eq!(read(&there, 16), (7, false));
        assert_eq!(read(&there, 16), (3, true));
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_read_that_stops_between_writers_is_not_short() {
        let (here, there) = Socket::unix_pair().unwrap();
        there
            .set_option(libc::SOL_SOCKET, libc::SO_PASSCRED, 1 as libc::c_int)
            .unwrap();
        here.send_once(b"one").result().unwrap();
        assert_eq!(read(&there, 16), (3, false));
    }
}
