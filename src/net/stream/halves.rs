//! [`OwnedReadHalf`] and [`OwnedWriteHalf`]: the sides of a [`ByteStream`] for two tasks or
//! threads. Both hold one [`Arc`] of the stream.

use super::ByteStream;
use crate::interest::{Interest, Ready};
use crate::net::kind::{Duplex, Tcp};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The reading side of a stream. Returned by [`ByteStream::into_split`].
///
/// Dropping it does not end the reading side. The peer may send until the write half is dropped
/// too.
///
/// # Examples
///
/// See [`ByteStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf<K: Duplex = Tcp>(Arc<ByteStream<K>>);

/// The writing side of a stream. Returned by [`ByteStream::into_split`].
///
/// Dropping it shuts the writing side down, so that the peer reads the end of the stream.
/// [`forget`](OwnedWriteHalf::forget) drops it without that.
///
/// # Examples
///
/// See [`ByteStream::into_split`].
#[derive(Debug)]
pub struct OwnedWriteHalf<K: Duplex = Tcp> {
    stream: Arc<ByteStream<K>>,
    shutdown_on_drop: bool,
}

impl<K: Duplex> ByteStream<K> {
    /// Splits the stream into a half to read from and a half to write to, for two tasks.
    ///
    /// In one task this is not needed: all methods take `&self`, so `&stream` serves as both
    /// halves. Dropping the write half shuts the writing side down. The connection is closed when
    /// both halves are dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::{OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream};
    ///
    /// async fn send(write: OwnedWriteHalf) -> std::io::Result<()> {
    ///     write.write_all(b"hello").await
    ///     // Dropped here: the peer reads the end of the stream.
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _) = listener.accept().await?;
    ///
    ///     let (_read, write) = client.into_split();
    ///     reveille::spawn(send(write));
    ///     let (read, _write): (OwnedReadHalf, _) = server.into_split();
    ///     let mut buf = [0; 5];
    ///     read.read_exact(&mut buf).await?;
    ///     assert_eq!(&buf, b"hello");
    ///     assert_eq!(read.read(&mut buf).await?, 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<K>, OwnedWriteHalf<K>) {
        let stream = Arc::new(self);
        let write = OwnedWriteHalf {
            stream: stream.clone(),
            shutdown_on_drop: true,
        };
        (OwnedReadHalf(stream), write)
    }
}

/// Joins the halves of one stream.
fn reunite<K: Duplex>(
    read: OwnedReadHalf<K>,
    write: OwnedWriteHalf<K>,
) -> Result<ByteStream<K>, ReuniteError<K>> {
    if !Arc::ptr_eq(&read.0, &write.stream) {
        return Err(ReuniteError(read, write));
    }
    write.forget();
    Ok(Arc::try_unwrap(read.0).expect("a stream has two halves"))
}

/// The error of [`OwnedReadHalf::reunite`]: the halves belong to different streams. Contains both
/// halves.
///
/// # Examples
///
/// See [`OwnedReadHalf::reunite`].
#[derive(Debug)]
pub struct ReuniteError<K: Duplex = Tcp>(pub OwnedReadHalf<K>, pub OwnedWriteHalf<K>);

impl<K: Duplex> fmt::Display for ReuniteError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot reunite these halves: they belong to different streams")
    }
}

impl<K: Duplex> std::error::Error for ReuniteError<K> {}

impl<K: Duplex> OwnedReadHalf<K> {
    /// Returns the whole stream, for its options for example.
    pub fn stream(&self) -> &ByteStream<K> {
        &self.0
    }

    /// Reads some bytes. See [`ByteStream::read`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::read`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).await
    }

    /// Reads until the buffer is full. See [`ByteStream::read_exact`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::read_exact`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future loses the bytes that it has read.
    pub async fn read_exact(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_exact(buf).await
    }

    /// Reads into several buffers. See [`ByteStream::read_vectored`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::read_vectored`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_vectored(bufs).await
    }

    /// Reads bytes to the end of `buf`. See [`ByteStream::read_buf`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::read_buf`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_buf(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.0.read_buf(buf).await
    }

    /// Reads bytes without taking them from the stream. See [`ByteStream::peek`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::peek`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.peek(buf).await
    }

    /// Polls to read bytes without taking them from the stream. See [`ByteStream::poll_peek`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::poll_peek`].
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_peek(cx, buf)
    }

    /// Reads bytes without taking them from the stream and without waiting. See
    /// [`ByteStream::try_peek`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::try_peek`].
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_peek(buf)
    }

    /// Reads without waiting. See [`ByteStream::try_read`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::try_read`].
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }

    /// Reads bytes to the end of `buf` without waiting. See [`ByteStream::try_read_buf`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::try_read_buf`].
    pub fn try_read_buf(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.0.try_read_buf(buf)
    }

    /// Polls to read some bytes. See [`ByteStream::poll_read`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::poll_read`].
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buf)
    }

    /// Polls to read into memory that need not be initialized. See
    /// [`ByteStream::poll_read_uninit`], whose promise holds here too.
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::poll_read_uninit`].
    pub fn poll_read_uninit(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read_uninit(cx, buf)
    }

    /// Polls to read into several buffers. See [`ByteStream::poll_read_vectored`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::poll_read_vectored`].
    pub fn poll_read_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read_vectored(cx, bufs)
    }

    /// Reads into several buffers without waiting. See [`ByteStream::try_read_vectored`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::try_read_vectored`].
    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.try_read_vectored(bufs)
    }

    /// Waits until the peer has ended its side. See [`ByteStream::read_closed`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::read_closed`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_closed(&self) -> io::Result<()> {
        self.0.read_closed().await
    }

    /// Waits until a read would not block. See [`ByteStream::readable`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::readable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Polls until a read would not block. See [`ByteStream::poll_read_ready`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::poll_read_ready`].
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Waits until the stream is ready for any of `interest`. See [`ByteStream::ready`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::ready`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.0.ready(interest).await
    }

    /// Returns the address of this end. See [`ByteStream::local_addr`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::local_addr`].
    pub fn local_addr(&self) -> io::Result<K::Addr> {
        self.0.local_addr()
    }

    /// Returns the address of the peer. See [`ByteStream::peer_addr`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<K::Addr> {
        self.0.peer_addr()
    }
}

impl<K: Duplex> OwnedReadHalf<K> {
    /// Joins the two halves of one stream.
    ///
    /// # Errors
    ///
    /// Returns both halves if they belong to different streams.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::{ReuniteError, TcpListener, TcpStream};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let one = TcpStream::connect(listener.local_addr()?).await?;
    ///     let two = TcpStream::connect(listener.local_addr()?).await?;
    ///     let ((read, write), (_, other)) = (one.into_split(), two.into_split());
    ///     let ReuniteError(read, _other) = read.reunite(other).unwrap_err();
    ///     let _stream: TcpStream = read.reunite(write).unwrap();
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn reunite(self, write: OwnedWriteHalf<K>) -> Result<ByteStream<K>, ReuniteError<K>> {
        reunite(self, write)
    }
}

impl<K: Duplex> OwnedWriteHalf<K> {
    /// Returns the whole stream, for its options for example.
    pub fn stream(&self) -> &ByteStream<K> {
        &self.stream
    }

    /// Writes some bytes. See [`ByteStream::write`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::write`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf).await
    }

    /// Writes the whole buffer. See [`ByteStream::write_all`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::write_all`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: part of the buffer may have been written.
    pub async fn write_all(&self, buf: &[u8]) -> io::Result<()> {
        self.stream.write_all(buf).await
    }

    /// Writes from several buffers. See [`ByteStream::write_vectored`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::write_vectored`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(bufs).await
    }

    /// Writes without waiting. See [`ByteStream::try_write`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::try_write`].
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.stream.try_write(buf)
    }

    /// Polls to write some bytes. See [`ByteStream::poll_write`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::poll_write`].
    pub fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, buf)
    }

    /// Polls to write from several buffers. See [`ByteStream::poll_write_vectored`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::poll_write_vectored`].
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write_vectored(cx, bufs)
    }

    /// Writes from several buffers without waiting. See [`ByteStream::try_write_vectored`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::try_write_vectored`].
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.try_write_vectored(bufs)
    }

    /// Shuts the writing side down. See [`ByteStream::shutdown`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::shutdown`].
    pub fn shutdown(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Waits until a write would not block. See [`ByteStream::writable`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::writable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Polls until a write would not block. See [`ByteStream::poll_write_ready`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::poll_write_ready`].
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    /// Waits until the stream is ready for any of `interest`. See [`ByteStream::ready`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::ready`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.stream.ready(interest).await
    }

    /// Returns the address of this end. See [`ByteStream::local_addr`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::local_addr`].
    pub fn local_addr(&self) -> io::Result<K::Addr> {
        self.stream.local_addr()
    }

    /// Returns the address of the peer. See [`ByteStream::peer_addr`].
    ///
    /// # Errors
    ///
    /// Same as [`ByteStream::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<K::Addr> {
        self.stream.peer_addr()
    }
}

impl<K: Duplex> OwnedWriteHalf<K> {
    /// Joins the two halves of one stream. See [`OwnedReadHalf::reunite`].
    ///
    /// # Errors
    ///
    /// Returns both halves if they belong to different streams.
    pub fn reunite(self, read: OwnedReadHalf<K>) -> Result<ByteStream<K>, ReuniteError<K>> {
        reunite(read, self)
    }

    /// Drops this half without shutting the writing side down. That side is then open until the
    /// read half is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// let (read, write) = client.into_split();
    /// write.forget();
    /// // Still open for writing.
    /// read.stream().write_all(b"hello").await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn forget(mut self) {
        self.shutdown_on_drop = false;
    }
}

impl<K: Duplex> Drop for OwnedWriteHalf<K> {
    fn drop(&mut self) {
        if self.shutdown_on_drop {
            // Fails only if the connection is already gone.
            let _ = self.stream.close_write();
        }
    }
}
