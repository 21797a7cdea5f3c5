//! Moving bytes through a [`TcpStream`].

use super::TcpStream;
use crate::interest::Interest;
use crate::reactor::io_state::Direction;
use crate::sys::socket::{MOST_BYTES, Socket};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

/// Whether a buffer is empty, or longer than what one call moves: one comparison for both.
#[inline]
fn is_odd(len: usize) -> bool {
    len.wrapping_sub(1) >= MOST_BYTES
}

impl TcpStream {
    // ---- reading ----------------------------------------------------------------------------------------------

    /// Reads some bytes; 0 is the end of the stream (or an empty buffer).
    ///
    /// # Errors
    ///
    /// What `recv(2)` reports, such as a connection that was reset. When it would have to wait and the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes are taken only by the poll that returns them.
    ///
    /// # Examples
    ///
    /// See [`TcpStream`].
    #[inline]
    pub fn read(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_read(cx, buf))
    }

    #[inline]
    pub(super) fn poll_read(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if is_odd(buf.len()) {
            return self.poll_read_odd(cx, buf);
        }
        let len = buf.len();
        self.io
            .poll_io(Direction::Read, cx, len, |socket| socket.recv_once(buf))
    }

    #[cold]
    #[inline(never)]
    fn poll_read_odd(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match buf.get_mut(..MOST_BYTES) {
            Some(most) => self.poll_read(cx, most),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Reads until the buffer is full; returns its length.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the stream ends before that; otherwise as [`read`](TcpStream::read). What was read is in the buffer then, but how
    /// much is not told.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: bytes that were read already are lost with the future.
    ///
    /// # Examples
    ///
    /// See [`TcpListener`](super::TcpListener).
    pub async fn read_exact(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read(&mut buf[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        Ok(filled)
    }

    /// As [`read`](TcpStream::read), into several buffers, one after the other.
    ///
    /// # Errors
    ///
    /// As [`read`](TcpStream::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`read`](TcpStream::read).
    pub async fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read_vectored(cx, bufs)).await
    }

    pub(super) fn poll_read_vectored(
        &self,
        cx: &Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = Socket::vectored_len(bufs.iter().map(|buf| buf.len())).min(MOST_BYTES);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        self.io.poll_io(Direction::Read, cx, len, |socket| {
            socket.recv_vectored(bufs)
        })
    }

    /// As [`read`](TcpStream::read), and leaves the bytes to be read again.
    ///
    /// # Errors
    ///
    /// As [`read`](TcpStream::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it takes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// client.write_all(b"GET /").await?;
    /// let mut first = [0; 1];
    /// server.peek(&mut first).await?;
    /// assert_eq!(&first, b"G");
    /// let mut all = [0; 5];
    /// server.read_exact(&mut all).await?;
    /// assert_eq!(&all, b"GET /");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_peek(cx, buf)).await
    }

    fn poll_peek(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // Length 0: what was seen is still there, however short.
        self.io
            .poll_io(Direction::Read, cx, 0, |socket| socket.peek(buf))
    }

    /// Reads what is there, without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing; otherwise as [`read`](TcpStream::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # use std::io::ErrorKind;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// let mut buf = [0; 16];
    /// let empty = server.try_read(&mut buf);
    /// assert_eq!(empty.map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
    ///
    /// client.write_all(b"now").await?;
    /// server.readable().await?;
    /// assert_eq!(server.try_read(&mut buf)?, 3);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io
            .try_io(Interest::READABLE, || self.io.socket().recv(buf))
    }

    /// As [`try_read`](TcpStream::try_read), into several buffers.
    ///
    /// # Errors
    ///
    /// As [`try_read`](TcpStream::try_read).
    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.io
            .try_io(Interest::READABLE, || self.io.socket().recv_vectored(bufs))
    }

    /// As [`try_read`](TcpStream::try_read), and leaves the bytes to be read again.
    ///
    /// # Errors
    ///
    /// As [`try_read`](TcpStream::try_read).
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io
            .try_io(Interest::READABLE, || self.io.socket().peek(buf))
    }

    // ---- writing ----------------------------------------------------------------------------------------------

    /// Writes some bytes; returns how many the kernel has taken.
    ///
    /// # Errors
    ///
    /// What `send(2)` reports, such as a peer that is gone: `BrokenPipe` or `ConnectionReset`, never a signal. When it would have to wait
    /// and the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes are written only by the poll that returns.
    #[inline]
    pub fn write(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_write(cx, buf))
    }

    #[inline]
    pub(super) fn poll_write(&self, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if is_odd(buf.len()) {
            return self.poll_write_odd(cx, buf);
        }
        let len = buf.len();
        self.io
            .poll_io(Direction::Write, cx, len, |socket| socket.send_once(buf))
    }

    #[cold]
    #[inline(never)]
    fn poll_write_odd(&self, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match buf.get(..MOST_BYTES) {
            Some(most) => self.poll_write(cx, most),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Writes the whole buffer.
    ///
    /// # Errors
    ///
    /// As [`write`](TcpStream::write). How much was written is not told.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: part of the buffer may have been written when the future is dropped.
    ///
    /// # Examples
    ///
    /// See [`TcpStream`].
    #[inline]
    pub fn write_all(&self, buf: &[u8]) -> impl Future<Output = io::Result<()>> {
        let mut rest = buf;
        poll_fn(move |cx| self.poll_write_all(cx, &mut rest))
    }

    #[inline]
    fn poll_write_all(&self, cx: &Context<'_>, rest: &mut &[u8]) -> Poll<io::Result<()>> {
        // Mostly all is taken at once: no loop in what is inlined.
        match self.poll_write(cx, rest) {
            Poll::Ready(Ok(n)) if n == rest.len() => {
                *rest = &[];
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
            written => self.poll_write_rest(written, cx, rest),
        }
    }

    /// Goes on where a write has taken a part, or failed.
    #[cold]
    #[inline(never)]
    fn poll_write_rest(
        &self,
        mut written: Poll<io::Result<usize>>,
        cx: &Context<'_>,
        rest: &mut &[u8],
    ) -> Poll<io::Result<()>> {
        loop {
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => *rest = &rest[n..],
            }
            if rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            written = self.poll_write(cx, rest);
        }
    }

    /// As [`write`](TcpStream::write), from several buffers, one after the other.
    ///
    /// # Errors
    ///
    /// As [`write`](TcpStream::write).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`write`](TcpStream::write).
    pub async fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write_vectored(cx, bufs)).await
    }

    pub(super) fn poll_write_vectored(
        &self,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = Socket::vectored_len(bufs.iter().map(|buf| buf.len())).min(MOST_BYTES);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        self.io.poll_io(Direction::Write, cx, len, |socket| {
            socket.send_vectored(bufs)
        })
    }

    /// Writes what the kernel takes, without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when it takes nothing; otherwise as [`write`](TcpStream::write).
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.io
            .try_io(Interest::WRITABLE, || self.io.socket().send(buf))
    }

    /// As [`try_write`](TcpStream::try_write), from several buffers.
    ///
    /// # Errors
    ///
    /// As [`try_write`](TcpStream::try_write).
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.io
            .try_io(Interest::WRITABLE, || self.io.socket().send_vectored(bufs))
    }

    /// Ends one side or both: after `Write` the peer reads the end of the stream and may go on sending.
    ///
    /// # Errors
    ///
    /// What `shutdown(2)` reports, such as a connection that is gone (`NotConnected`).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.shutdown(how)
    }
}
