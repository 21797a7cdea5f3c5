//! Passing descriptors through a [`UnixStream`].

use super::UnixStream;
use crate::interest::Interest;
use crate::sys::passing::MAX_PASSED;
use crate::sys::socket::MAX_BYTES;
use crate::sys::syscall::{Answer, failure};
use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

impl UnixStream {
    /// Writes some bytes and passes descriptors with them: the peer gets new descriptors of the
    /// same open files. Returns how many bytes the kernel has taken. It takes all descriptors with
    /// the first byte, so the rest of the bytes is written without them, by
    /// [`write_all`](super::super::ByteStream::write_all) for example.
    ///
    /// The descriptors may be closed once this has returned.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if there are descriptors and no bytes, or more than 253 descriptors
    /// (the limit of Linux). Returns the errors of [`write`](super::super::ByteStream::write) and
    /// those of `sendmsg(2)`: on Linux, `ETOOMANYREFS` if more descriptors of this user are on
    /// their way than a process may open.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes and descriptors are sent only by the poll that returns their number.
    ///
    /// # Examples
    ///
    /// A server hands its connection to a worker:
    ///
    /// ```
    /// use reveille::net::UnixStream;
    /// use std::io::{Read, Write};
    /// use std::os::fd::AsFd;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let (server, worker) = UnixStream::pair()?;
    ///     let (mut client, connection) = std::os::unix::net::UnixStream::pair()?;
    ///
    ///     server.send_with_fds(b"serve", &[connection.as_fd()]).await?;
    ///     drop(connection);
    ///
    ///     let (mut order, mut fds) = ([0; 16], Vec::new());
    ///     let n = worker.recv_with_fds(&mut order, &mut fds).await?;
    ///     assert_eq!(&order[..n], b"serve");
    ///     let fd = fds.pop().expect("one descriptor");
    ///     let mut connection = std::os::unix::net::UnixStream::from(fd);
    ///     connection.write_all(b"hello")?;
    ///     drop(connection);
    ///
    ///     let mut greeting = String::new();
    ///     client.read_to_string(&mut greeting)?;
    ///     assert_eq!(greeting, "hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn send_with_fds(&self, buf: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send_with_fds(cx, buf, fds)).await
    }

    /// Polls to send bytes and descriptors, for futures written by hand. Otherwise the same as
    /// [`send_with_fds`](UnixStream::send_with_fds).
    ///
    /// # Errors
    ///
    /// Same as [`send_with_fds`](UnixStream::send_with_fds).
    ///
    /// # Examples
    ///
    /// See [`poll_recv_with_fds`](UnixStream::poll_recv_with_fds).
    pub fn poll_send_with_fds(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Poll<io::Result<usize>> {
        check(buf, fds)?;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let len = buf.len().min(MAX_BYTES);
        self.poll_write_by(cx, len, |socket| socket.send_with_fds(buf, fds))
    }

    /// Same as [`send_with_fds`](UnixStream::send_with_fds), but without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if the kernel takes no bytes; it has taken no descriptor then.
    /// Otherwise the same as [`send_with_fds`](UnixStream::send_with_fds).
    pub fn try_send_with_fds(&self, buf: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        check(buf, fds)?;
        if buf.is_empty() {
            return Ok(0);
        }
        self.try_io(Interest::WRITABLE, || self.socket().send_with_fds(buf, fds))
    }

    /// Reads some bytes, and appends the descriptors that came with them to `fds`. Returns the
    /// number of bytes. Zero means the end of the stream, or that the buffer is empty.
    ///
    /// The descriptors are close-on-exec, from their first moment except on Apple's systems,
    /// illumos and Solaris. Nothing else about them is known: check what they are, and whether they
    /// block, before you use them. A peer may send any number.
    ///
    /// # Which bytes they came with
    ///
    /// Descriptors belong to one byte: the first byte of the message that the peer sent them with.
    /// A read that takes this byte takes all of these descriptors, and ends with that message. On
    /// Linux the read may also return bytes from before the message; on other systems it begins
    /// with the message. So a protocol must say in its bytes how many descriptors belong to a
    /// message.
    ///
    /// # Other reads close them
    ///
    /// If any other method takes that byte, such as [`read`](super::super::ByteStream::read), the
    /// kernel closes the descriptors and nothing reports it. Read with this method wherever they
    /// may come.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel could not open all descriptors for this process, because it
    /// is at its limit (`RLIMIT_NOFILE`) for example. The descriptors that did come are closed, and
    /// the bytes are lost, so the stream is of no use afterwards. Otherwise the same as
    /// [`read`](super::super::ByteStream::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes and descriptors are taken only by the poll that returns them.
    ///
    /// # Examples
    ///
    /// See [`send_with_fds`](UnixStream::send_with_fds).
    pub async fn recv_with_fds(&self, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
        poll_fn(|cx| self.poll_recv_with_fds(cx, buf, fds)).await
    }

    /// Polls to read bytes and descriptors, for futures written by hand. Otherwise the same as
    /// [`recv_with_fds`](UnixStream::recv_with_fds).
    ///
    /// # Errors
    ///
    /// Same as [`recv_with_fds`](UnixStream::recv_with_fds).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::UnixStream;
    /// use std::future::poll_fn;
    /// use std::os::fd::AsFd;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let stdin = std::io::stdin();
    ///     poll_fn(|cx| one.poll_send_with_fds(cx, b"x", &[stdin.as_fd()])).await?;
    ///     let (mut buf, mut fds) = ([0; 1], Vec::new());
    ///     poll_fn(|cx| other.poll_recv_with_fds(cx, &mut buf, &mut fds)).await?;
    ///     assert_eq!((&buf, fds.len()), (b"x", 1));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn poll_recv_with_fds(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let len = buf.len().min(MAX_BYTES);
        self.poll_read_by(cx, len, |socket, again| {
            socket.recv_with_fds(buf, fds, again)
        })
    }

    /// Same as [`recv_with_fds`](UnixStream::recv_with_fds), but without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if there are no bytes. Otherwise the same as
    /// [`recv_with_fds`](UnixStream::recv_with_fds).
    pub fn try_recv_with_fds(&self, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.try_io(Interest::READABLE, || {
            self.socket().recv_with_fds(buf, fds, true).result()
        })
    }
}

/// Returns an error if these cannot be sent in one call.
fn check(buf: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_PASSED {
        return Err(failure(
            io::ErrorKind::InvalidInput,
            "cannot pass more than 253 descriptors at once: send the others with the next byte",
        ));
    }
    if buf.is_empty() && !fds.is_empty() {
        return Err(failure(
            io::ErrorKind::InvalidInput,
            "cannot pass descriptors without bytes: the kernel drops them; send at least one byte",
        ));
    }
    Ok(())
}
