//! [`copy`] and [`copy_bidirectional`].
//!
//! All copies of a thread read into one large buffer, which the thread keeps. What a writer does
//! not take at once moves to a buffer of its own until it is written. So an idle copy holds no
//! buffer, and a busy one makes few system calls. The buffer is not cleared in between: a reader
//! that returns a larger number than the bytes it has written passes on those of an earlier read.

use crate::budget;
use futures_io::{AsyncRead, AsyncWrite};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The most bytes that one read takes.
const BUFFER: usize = 64 * 1024;

/// How many reads a poll makes before it lets other tasks run, whatever the streams are.
const READS: usize = 32;

thread_local! {
    /// The thread's buffer, while no copy uses it.
    static SHARED: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Copies everything from `reader` to `writer`, and returns the number of bytes.
///
/// At the end of the reader the writer is flushed. It is not closed. While there is nothing to copy
/// no buffer is held: all copies of a thread share one. So a reader must not return a larger number
/// than the bytes that it has written, or it passes on bytes of another copy.
///
/// # Errors
///
/// Returns the first error of the reader or the writer. How many bytes were copied before it is not
/// known.
///
/// # Cancel safety
///
/// Not cancel safe: bytes that were read and not yet written are lost.
///
/// # Examples
///
/// An echo server:
///
/// ```
/// use reveille::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (server, _) = listener.accept().await?;
///     reveille::spawn(async move { reveille::io::copy(&mut &server, &mut &server).await });
///
///     client.write_all(b"hello").await?;
///     let mut echo = [0; 5];
///     client.read_exact(&mut echo).await?;
///     assert_eq!(&echo, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub async fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut transfer = Transfer::default();
    poll_fn(|cx| transfer.poll(cx, Pin::new(&mut *reader), Pin::new(&mut *writer))).await
}

/// Copies from `a` to `b` and from `b` to `a` until both have ended. Returns how many bytes went
/// from `a` to `b`, and from `b` to `a`.
///
/// When one stream ends, the writing side of the other stream is closed, so that its peer reads the
/// end too. The other direction goes on. While there is nothing to copy no buffer is held.
///
/// # Errors
///
/// Returns the first error of either stream, at once. How many bytes were copied before it is not
/// known.
///
/// # Cancel safety
///
/// Not cancel safe: bytes that were read and not yet written are lost.
///
/// # Examples
///
/// A proxy:
///
/// ```
/// use reveille::io::copy_bidirectional;
/// use reveille::net::{TcpListener, TcpStream};
/// use std::net::SocketAddr;
///
/// async fn proxy(listener: TcpListener, to: SocketAddr) -> std::io::Result<()> {
///     loop {
///         let (mut client, _) = listener.accept().await?;
///         reveille::spawn(async move {
///             let mut server = TcpStream::connect(to).await?;
///             copy_bidirectional(&mut client, &mut server).await
///         });
///     }
/// }
/// ```
pub async fn copy_bidirectional<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (mut there, mut back) = (Way::default(), Way::default());
    let mut is_back_first = false;
    poll_fn(|cx| {
        // By turns, because the first may use the whole budget of a poll.
        is_back_first = !is_back_first;
        let (to_b, to_a) = if is_back_first {
            let to_a = back.poll(cx, Pin::new(&mut *b), Pin::new(&mut *a))?;
            let to_b = there.poll(cx, Pin::new(&mut *a), Pin::new(&mut *b))?;
            (to_b, to_a)
        } else {
            let to_b = there.poll(cx, Pin::new(&mut *a), Pin::new(&mut *b))?;
            let to_a = back.poll(cx, Pin::new(&mut *b), Pin::new(&mut *a))?;
            (to_b, to_a)
        };
        match (to_b, to_a) {
            (Poll::Ready(to_b), Poll::Ready(to_a)) => Poll::Ready(Ok((to_b, to_a))),
            _ => Poll::Pending,
        }
    })
    .await
}

/// One direction of [`copy_bidirectional`].
#[derive(Debug, Default)]
struct Way {
    transfer: Transfer,
    /// How many bytes were copied, once the reader has ended.
    copied: Option<u64>,
    is_closed: bool,
}

impl Way {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
    ) -> Poll<io::Result<u64>>
    where
        R: AsyncRead + ?Sized,
        W: AsyncWrite + ?Sized,
    {
        let copied = match self.copied {
            Some(copied) => copied,
            None => ready!(self.transfer.poll(cx, reader, writer.as_mut()))?,
        };
        self.copied = Some(copied);
        if !self.is_closed {
            ready!(writer.poll_close(cx))?;
            self.is_closed = true;
        }
        Poll::Ready(Ok(copied))
    }
}

/// The state of a copy between polls.
#[derive(Debug, Default)]
struct Transfer {
    /// What was read and not yet written.
    rest: Vec<u8>,
    /// How much of `rest` is written.
    written: usize,
    /// How many bytes were written.
    copied: u64,
    has_ended: bool,
    needs_flush: bool,
}

impl Transfer {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        mut reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
    ) -> Poll<io::Result<u64>>
    where
        R: AsyncRead + ?Sized,
        W: AsyncWrite + ?Sized,
    {
        for _ in 0..READS {
            ready!(budget::check(cx));
            ready!(self.poll_write_rest(cx, writer.as_mut()))?;
            if self.has_ended {
                ready!(writer.poll_flush(cx))?;
                return Poll::Ready(Ok(self.copied));
            }
            let mut buffer = Buffer::take();
            let Poll::Ready(read) = reader.as_mut().poll_read(cx, buffer.bytes()) else {
                drop(buffer);
                if self.needs_flush {
                    ready!(writer.poll_flush(cx))?;
                    self.needs_flush = false;
                }
                return Poll::Pending;
            };
            match read? {
                0 => self.has_ended = true,
                read => {
                    let bytes = buffer.bytes().get(..read).ok_or_else(too_many)?;
                    ready!(self.poll_write_new(cx, writer.as_mut(), bytes))?;
                }
            }
        }
        budget::used_up(cx)
    }

    fn poll_write_rest<W>(
        &mut self,
        cx: &mut Context<'_>,
        mut writer: Pin<&mut W>,
    ) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + ?Sized,
    {
        while self.written < self.rest.len() {
            let written = ready!(writer.as_mut().poll_write(cx, &self.rest[self.written..]))?;
            self.note_written(written)?;
            self.written += written;
        }
        // Frees it.
        (self.rest, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Writes bytes that were just read, and keeps those that the writer does not take.
    fn poll_write_new<W>(
        &mut self,
        cx: &mut Context<'_>,
        mut writer: Pin<&mut W>,
        mut bytes: &[u8],
    ) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + ?Sized,
    {
        while !bytes.is_empty() {
            let Poll::Ready(written) = writer.as_mut().poll_write(cx, bytes) else {
                self.rest = bytes.to_vec();
                return Poll::Pending;
            };
            let written = written?;
            self.note_written(written)?;
            bytes = bytes.get(written..).ok_or_else(too_many)?;
        }
        Poll::Ready(Ok(()))
    }

    fn note_written(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.copied += written as u64;
        self.needs_flush = true;
        Ok(())
    }
}

#[cold]
fn too_many() -> io::Error {
    io::Error::other("a stream returned more bytes than its buffer holds")
}

/// The thread's buffer, given back when it is dropped. If another copy has it, because a stream
/// itself copies in its `poll_read`, or if the thread ends, it is a new one.
#[derive(Debug)]
struct Buffer(Box<[u8]>);

impl Buffer {
    fn take() -> Buffer {
        let shared = SHARED.try_with(Cell::take).ok().flatten();
        Buffer(shared.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()))
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        // While the thread ends there is no place for it.
        let _ = SHARED.try_with(|shared| shared.set(Some(bytes)));
    }
}
