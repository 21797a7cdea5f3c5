//! Writing to a [`ByteStream`].

use super::ByteStream;
use crate::interest::Interest;
use crate::net::kind::Writable;
use crate::reactor::direction::Direction;
use crate::sys::socket::{MAX_BYTES, Socket};
use crate::sys::syscall::{Answer, retry};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

impl<K: Writable> ByteStream<K> {
    /// Writes some bytes, and returns how many the kernel has taken.
    ///
    /// # Errors
    ///
    /// Returns the errors of `send(2)` or `write(2)`. If the peer is gone, this is `BrokenPipe` or
    /// `ConnectionReset`, and no signal is raised, except by [pipes](crate::net::pipe#sigpipe).
    /// Returns an error if it must wait and the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes are written only by the poll that returns their number.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// let mut rest = &b"hello"[..];
    /// while !rest.is_empty() {
    ///     let n = client.write(rest).await?;
    ///     rest = &rest[n..];
    /// }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[inline]
    pub fn write(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_write(cx, buf))
    }

    /// Polls to write some bytes, for futures written by hand. Otherwise the same as
    /// [`write`](ByteStream::write).
    ///
    /// # Errors
    ///
    /// Same as [`write`](ByteStream::write).
    ///
    /// # Examples
    ///
    /// See [`poll_read_uninit`](ByteStream::poll_read_uninit).
    #[inline]
    pub fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() || buf.len() > MAX_BYTES {
            return self.poll_write_unusual(cx, buf);
        }
        self.poll_write_by(cx, buf.len(), |socket| K::write(socket, buf))
    }

    /// Writes at most `len` bytes by `call` when the stream is ready.
    #[inline]
    pub(in crate::net) fn poll_write_by<A: Answer>(
        &self,
        cx: &Context<'_>,
        len: usize,
        call: impl FnMut(&Socket) -> A,
    ) -> Poll<io::Result<usize>> {
        let written = self.io.poll_io(Direction::Write, cx, len, call);
        if K::WATCHED_WHILE_FULL {
            self.io.note_write(written.is_pending());
        }
        written
    }

    /// Same as `poll_write`, for a buffer that is empty or longer than one call can move.
    #[cold]
    fn poll_write_unusual(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match buf.get(..MAX_BYTES) {
            Some(most) => self.poll_write(cx, most),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Writes the whole buffer.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`write`](ByteStream::write). The number of bytes that were written is
    /// not known.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, part of the buffer may have been written.
    ///
    /// # Examples
    ///
    /// See [`TcpStream`](crate::net::TcpStream).
    #[inline]
    pub fn write_all(&self, buf: &[u8]) -> impl Future<Output = io::Result<()>> {
        let mut rest = buf;
        poll_fn(move |cx| self.poll_write_all(cx, &mut rest))
    }

    #[inline]
    fn poll_write_all(&self, cx: &mut Context<'_>, rest: &mut &[u8]) -> Poll<io::Result<()>> {
        // The kernel mostly takes all bytes at once, so the loop is in a function that is not
        // inlined.
        match self.poll_write(cx, rest) {
            Poll::Ready(Ok(n)) if n == rest.len() => {
                *rest = &[];
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
            written => self.poll_write_rest(written, cx, rest),
        }
    }

    /// Continues after a write that took a part of the buffer, or failed.
    #[cold]
    fn poll_write_rest(
        &self,
        mut written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
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

    /// Same as [`write`](ByteStream::write), but writes several buffers, one after the other.
    ///
    /// # Errors
    ///
    /// Same as [`write`](ByteStream::write).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`write`](ByteStream::write).
    ///
    /// # Examples
    ///
    /// See [`read_vectored`](ByteStream::read_vectored).
    pub async fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write_vectored(cx, bufs)).await
    }

    /// Polls to write several buffers, for futures written by hand. Otherwise the same as
    /// [`write_vectored`](ByteStream::write_vectored).
    ///
    /// # Errors
    ///
    /// Same as [`write`](ByteStream::write).
    ///
    /// # Examples
    ///
    /// See [`poll_read_uninit`](ByteStream::poll_read_uninit).
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = Socket::vectored_len(bufs.iter().map(|buf| buf.len())).min(MAX_BYTES);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        self.poll_write_by(cx, len, |socket| K::write_vectored(socket, bufs))
    }

    /// Writes without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if the kernel takes no bytes, and the errors of
    /// [`write`](ByteStream::write).
    ///
    /// # Examples
    ///
    /// See [`writable`](ByteStream::writable).
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.io.try_io(Interest::WRITABLE, || {
            retry(|| K::write(self.socket(), buf).result())
        })
    }

    /// Same as [`try_write`](ByteStream::try_write), but writes several buffers.
    ///
    /// # Errors
    ///
    /// Same as [`try_write`](ByteStream::try_write).
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.io.try_io(Interest::WRITABLE, || {
            K::write_vectored(self.socket(), bufs)
        })
    }
}
