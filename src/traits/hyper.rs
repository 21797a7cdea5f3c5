//! The traits of `hyper::rt`.
//!
//! A `&T` can be read and written at the same time. Shutting a stream down ends its writing side.
//! Flushing it does nothing, because there is no buffer in between.

use super::async_fd::{poll_read, poll_read_mut, poll_write, poll_write_mut};
use super::{LENT_BYTES, check_read};
use crate::io::{AsyncFd, Unblock};
use crate::net::kind::{Duplex, Readable, Writable};
use crate::net::{ByteStream, OwnedReadHalf, OwnedWriteHalf};
use crate::time::Sleep;
use hyper::rt::{self, ReadBufCursor};
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::slice;
use std::task::{Context, Poll, ready};

/// The result of the traits' methods.
type Polled<T> = Poll<io::Result<T>>;

impl rt::Sleep for Sleep {}

impl<K: Readable> rt::Read for ByteStream<K> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Polled<()> {
        poll_read_uninit(&self, cx, &mut buf)
    }
}

impl<K: Readable> rt::Read for &ByteStream<K> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Polled<()> {
        poll_read_uninit(&self, cx, &mut buf)
    }
}

impl<K: Duplex> rt::Read for OwnedReadHalf<K> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Polled<()> {
        poll_read_uninit(self.stream(), cx, &mut buf)
    }
}

impl<K: Writable> rt::Write for ByteStream<K> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        ByteStream::poll_write(&self, cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        true
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

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(self.close_write())
    }
}

impl<K: Writable> rt::Write for &ByteStream<K> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        ByteStream::poll_write(&self, cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        true
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

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(self.close_write())
    }
}

impl<K: Duplex> rt::Write for OwnedWriteHalf<K> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        ByteStream::poll_write(self.stream(), cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        true
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

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Polled<()> {
        Poll::Ready(self.stream().close_write())
    }
}

impl<T: AsFd + Read + Unpin> rt::Read for AsyncFd<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Polled<()> {
        let fd = self.get_mut();
        poll_read_mut(fd, cx, |value| {
            read_initialized(&mut buf, |lent| value.read(lent))
        })
    }
}

impl<T: AsFd> rt::Read for &AsyncFd<T>
where
    for<'a> &'a T: Read,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Polled<()> {
        poll_read(&self, cx, |mut value| {
            read_initialized(&mut buf, |lent| value.read(lent))
        })
    }
}

/// Shutting down flushes the value. It ends nothing: the fd is closed when the value is dropped.
impl<T: AsFd + Write + Unpin> rt::Write for AsyncFd<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        poll_write_mut(self.get_mut(), cx, |value| value.write(buf))
    }

    fn is_write_vectored(&self) -> bool {
        true
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

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        self.poll_flush(cx)
    }
}

/// Shutting down flushes the value. It ends nothing: the fd is closed when the value is dropped.
impl<T: AsFd> rt::Write for &AsyncFd<T>
where
    for<'a> &'a T: Write,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        poll_write(&self, cx, |mut value| value.write(buf))
    }

    fn is_write_vectored(&self) -> bool {
        true
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

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        self.poll_flush(cx)
    }
}

/// An `Unblock` is [for one task at a time](Unblock#one-task-at-a-time), even if it is split.
impl<T: Read + Send + 'static> rt::Read for Unblock<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Polled<()> {
        let value = self.get_mut();
        let bytes = ready!(value.poll_bytes(cx, buf.remaining()))?;
        let n = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..n]);
        value.consume(n);
        Poll::Ready(Ok(()))
    }
}

/// Shutting down flushes the value. Its drop closes it.
///
/// An `Unblock` is [for one task at a time](Unblock#one-task-at-a-time), even if it is split.
impl<T: Write + Send + 'static> rt::Write for Unblock<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        Unblock::poll_write(self.get_mut(), cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        true
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

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<()> {
        Unblock::poll_close(self.get_mut(), cx)
    }
}

/// Reads by a call that takes initialized bytes: fills the buffer with zeroes first, and lends at
/// most [`LENT_BYTES`] of it.
pub(super) fn read_initialized(
    buf: &mut ReadBufCursor<'_>,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let len = buf.remaining().min(LENT_BYTES);
    // SAFETY: only initialized bytes are written: the zeroes here, and what `read` writes.
    let lent = unsafe { &mut buf.as_mut()[..len] };
    lent.fill(MaybeUninit::new(0));
    // SAFETY: all bytes were initialized by the line above.
    let lent = unsafe { slice::from_raw_parts_mut(lent.as_mut_ptr().cast::<u8>(), len) };
    let n = check_read(read(lent)?, len);
    // SAFETY: the first `len` bytes are initialized, and `n <= len` was checked.
    unsafe { buf.advance(n) };
    Ok(())
}

/// Reads from a stream into the rest of the buffer, which need not be initialized: at most
/// [`LENT_BYTES`].
///
/// hyper doubles its buffer after each read that fills it, up to 408 KiB, and offers all of it. It
/// reuses the buffer from its beginning once the bytes are dropped. So with shorter reads the bytes
/// of a large body go through the same 64 KiB, which stay in the cache (`docs/performance.md`).
#[inline]
fn poll_read_uninit<K: Readable>(
    stream: &ByteStream<K>,
    cx: &mut Context<'_>,
    buf: &mut ReadBufCursor<'_>,
) -> Polled<()> {
    // SAFETY: `poll_read_uninit` promises to write no uninitialized bytes.
    let lent = unsafe { buf.as_mut() };
    let len = lent.len().min(LENT_BYTES);
    let n = ready!(stream.poll_read_uninit(cx, &mut lent[..len]))?;
    // SAFETY: it promises that the first `n` bytes are initialized now, and that `n` is at most
    // the length of what was lent.
    unsafe { buf.advance(n) };
    Poll::Ready(Ok(()))
}
