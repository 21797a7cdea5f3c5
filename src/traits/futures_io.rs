//! The traits of `futures-io`.
//!
//! A `&T` can be read and written at the same time. Closing a stream ends its writing side.
//! Flushing it does nothing, because there is no buffer in between. (One implementation for all
//! types would be shorter; the orphan rule does not allow it.)

use super::async_fd::{poll_read, poll_read_mut, poll_write, poll_write_mut};
use super::check_read;
use crate::io::{AsyncFd, Unblock};
use crate::net::kind::{Duplex, Readable, Writable};
use crate::net::{ByteStream, OwnedReadHalf, OwnedWriteHalf};
use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The result of the traits' methods.
type Polled<T> = Poll<io::Result<T>>;

impl<K: Readable> AsyncRead for ByteStream<K> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Polled<usize> {
        ByteStream::poll_read(&self, cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Polled<usize> {
        ByteStream::poll_read_vectored(&self, cx, bufs)
    }
}

impl<K: Readable> AsyncRead for &ByteStream<K> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Polled<usize> {
        ByteStream::poll_read(&self, cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Polled<usize> {
        ByteStream::poll_read_vectored(&self, cx, bufs)
    }
}

impl<K: Duplex> AsyncRead for OwnedReadHalf<K> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Polled<usize> {
        ByteStream::poll_read(self.stream(), cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Polled<usize> {
        ByteStream::poll_read_vectored(self.stream(), cx, bufs)
    }
}

impl<K: Writable> AsyncWrite for ByteStream<K> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        ByteStream::poll_write(&self, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Polled<usize> {
        ByteStream::poll_write_vectored(&self, cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(self.close_write())
    }
}

impl<K: Writable> AsyncWrite for &ByteStream<K> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        ByteStream::poll_write(&self, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Polled<usize> {
        ByteStream::poll_write_vectored(&self, cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(self.close_write())
    }
}

impl<K: Duplex> AsyncWrite for OwnedWriteHalf<K> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        ByteStream::poll_write(self.stream(), cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Polled<usize> {
        ByteStream::poll_write_vectored(self.stream(), cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(self.stream().close_write())
    }
}

impl<T: AsFd + Read + Unpin> AsyncRead for AsyncFd<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Polled<usize> {
        let len = buf.len();
        poll_read_mut(self.get_mut(), cx, |value| value.read(buf)).map_ok(|n| check_read(n, len))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Polled<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        poll_read_mut(self.get_mut(), cx, |value| value.read_vectored(bufs))
            .map_ok(|n| check_read(n, len))
    }
}

impl<T: AsFd> AsyncRead for &AsyncFd<T>
where
    for<'a> &'a T: Read,
{
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Polled<usize> {
        let len = buf.len();
        poll_read(&self, cx, |mut value| value.read(buf)).map_ok(|n| check_read(n, len))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Polled<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        poll_read(&self, cx, |mut value| value.read_vectored(bufs)).map_ok(|n| check_read(n, len))
    }
}

/// Closing flushes the value. It ends nothing: the fd is closed when the value is dropped.
impl<T: AsFd + Write + Unpin> AsyncWrite for AsyncFd<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        poll_write_mut(self.get_mut(), cx, |value| value.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Polled<usize> {
        poll_write_mut(self.get_mut(), cx, |value| value.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        poll_write_mut(self.get_mut(), cx, Write::flush)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        self.poll_flush(cx)
    }
}

/// Closing flushes the value. It ends nothing: the fd is closed when the value is dropped.
impl<T: AsFd> AsyncWrite for &AsyncFd<T>
where
    for<'a> &'a T: Write,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        poll_write(&self, cx, |mut value| value.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Polled<usize> {
        poll_write(&self, cx, |mut value| value.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        poll_write(&self, cx, |mut value| value.flush())
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        self.poll_flush(cx)
    }
}

/// An `Unblock` is [for one task at a time](Unblock#one-task-at-a-time), even if it is split.
impl<T: Read + Send + 'static> AsyncRead for Unblock<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Polled<usize> {
        Unblock::poll_read(self.get_mut(), cx, buf)
    }
}

impl<T: Read + Send + 'static> AsyncBufRead for Unblock<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<&[u8]> {
        Unblock::poll_fill_buf(self.get_mut(), cx)
    }

    fn consume(self: Pin<&mut Self>, n: usize) {
        Unblock::consume(self.get_mut(), n);
    }
}

/// Closing flushes the value. Its drop closes it.
///
/// An `Unblock` is [for one task at a time](Unblock#one-task-at-a-time), even if it is split.
impl<T: Write + Send + 'static> AsyncWrite for Unblock<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        Unblock::poll_write(self.get_mut(), cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Polled<usize> {
        Unblock::poll_write_vectored(self.get_mut(), cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        Unblock::poll_flush(self.get_mut(), cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        Unblock::poll_close(self.get_mut(), cx)
    }
}

impl<T: Seek + Send + 'static> AsyncSeek for Unblock<T> {
    fn poll_seek(self: Pin<&mut Self>, cx: &mut Context<'_>, to: SeekFrom) -> Polled<u64> {
        Unblock::poll_seek(self.get_mut(), cx, to)
    }
}
