//! [`HyperIo`]: hyper's traits for a stream that has those of `futures-io`, and the reverse.

use crate::traits::hyper::read_initialized;
use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project_lite::pin_project! {
    /// Gives hyper's `Read` and `Write` to a stream with the traits of `futures-io`, and the traits
    /// of `futures-io` to a stream with hyper's, such as an upgraded connection.
    ///
    /// It is for streams of other crates, such as a TLS stream of `futures-rustls`. The streams of
    /// [`net`](crate::net) have hyper's traits themselves, and are faster without this adapter.
    /// `futures-io` differs from hyper's traits in two points, and each costs something:
    ///
    /// - It takes only initialized buffers. So the adapter fills a buffer with zeroes before it
    ///   reads, 64 KiB at most.
    /// - It does not report whether a stream writes several buffers at once. So hyper copies the
    ///   head and the body of a message into one buffer.
    ///
    /// # Panics
    ///
    /// A read panics if the stream claims to have read more bytes than the buffer holds.
    ///
    /// # Examples
    ///
    /// ```
    /// use hyper::rt::{Read, ReadBuf};
    /// use reveille::interop::HyperIo;
    /// use std::future::poll_fn;
    /// use std::pin::Pin;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     // Any stream: a slice of bytes is one.
    ///     let mut io = HyperIo::new(&b"hello"[..]);
    ///     let mut memory = [0; 8];
    ///     let mut buffer = ReadBuf::new(&mut memory);
    ///     poll_fn(|cx| Pin::new(&mut io).poll_read(cx, buffer.unfilled())).await?;
    ///     assert_eq!(buffer.filled(), b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct HyperIo<T> {
        #[pin]
        inner: T,
    }
}

impl<T> HyperIo<T> {
    /// Wraps a stream.
    pub const fn new(inner: T) -> HyperIo<T> {
        HyperIo { inner }
    }

    /// Returns a reference to the stream.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns a mutable reference to the stream.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Returns the stream.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncRead> rt::Read for HyperIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut is_ready = false;
        read_initialized(&mut buf, |lent| {
            match self.project().inner.poll_read(cx, lent) {
                Poll::Ready(result) => {
                    is_ready = true;
                    result
                }
                Poll::Pending => Ok(0),
            }
        })?;
        match is_ready {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

impl<T: AsyncWrite> rt::Write for HyperIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_close(cx)
    }
}

impl<T: rt::Read> AsyncRead for HyperIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = rt::ReadBuf::new(buf);
        ready!(self.project().inner.poll_read(cx, buf.unfilled()))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<T: rt::Write> AsyncWrite for HyperIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }
}
