//! [`HyperTokioIo`]: hyper's traits for a stream that has tokio's, and the reverse.

use crate::traits::check_read;
use hyper::rt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pin_project_lite::pin_project! {
    /// Gives hyper's `Read` and `Write` to a stream with tokio's traits, and tokio's traits to a
    /// stream with hyper's, such as an upgraded connection.
    ///
    /// It is for streams of other crates, such as a TLS stream of `tokio-rustls`. The streams of
    /// [`net`](crate::net) have hyper's traits themselves and need no adapter.
    ///
    /// # Panics
    ///
    /// A read panics if the stream replaces the `ReadBuf` that it was given.
    ///
    /// # Examples
    ///
    /// ```
    /// use hyper::rt::{Read, ReadBuf};
    /// use reveille::interop::HyperTokioIo;
    /// use std::future::poll_fn;
    /// use std::pin::Pin;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     // Any stream: a slice of bytes is one.
    ///     let mut io = HyperTokioIo::new(&b"hello"[..]);
    ///     let mut memory = [0; 8];
    ///     let mut buffer = ReadBuf::new(&mut memory);
    ///     poll_fn(|cx| Pin::new(&mut io).poll_read(cx, buffer.unfilled())).await?;
    ///     assert_eq!(buffer.filled(), b"hello");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct HyperTokioIo<T> {
        #[pin]
        inner: T,
    }
}

impl<T> HyperTokioIo<T> {
    /// Wraps a stream.
    pub const fn new(inner: T) -> HyperTokioIo<T> {
        HyperTokioIo { inner }
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

impl<T: AsyncRead> rt::Read for HyperTokioIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: a `ReadBuf` writes only initialized bytes.
        let mut lent = ReadBuf::uninit(unsafe { buf.as_mut() });
        let memory = lent.filled().as_ptr();
        ready!(self.project().inner.poll_read(cx, &mut lent))?;
        let filled = lent.filled();
        assert!(
            filled.as_ptr() == memory,
            "a reader exchanged its caller's buffer: its `AsyncRead` is wrong"
        );
        let n = filled.len();
        let n = check_read(n, buf.remaining());
        // SAFETY: `lent` has filled its first `n` bytes, and begins where `buf` does.
        unsafe { buf.advance(n) };
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite> rt::Write for HyperTokioIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
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
        self.project().inner.poll_shutdown(cx)
    }
}

impl<T: rt::Read> AsyncRead for HyperTokioIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: hyper's `ReadBuf` writes only initialized bytes.
        let mut lent = rt::ReadBuf::uninit(unsafe { buf.unfilled_mut() });
        ready!(self.project().inner.poll_read(cx, lent.unfilled()))?;
        let n = lent.filled().len();
        // SAFETY: `lent` has filled its first `n` bytes. A reader gets only a cursor, which cannot
        // exchange the buffer.
        unsafe { buf.assume_init(n) };
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<T: rt::Write> AsyncWrite for HyperTokioIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
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
        self.project().inner.poll_shutdown(cx)
    }
}
