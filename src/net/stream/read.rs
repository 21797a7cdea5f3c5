//! Reading from a [`ByteStream`].

use super::ByteStream;
use crate::interest::Interest;
use crate::net::kind::{Duplex, Readable};
use crate::reactor::direction::Direction;
use crate::sys::socket::{MAX_BYTES, Socket};
use crate::sys::syscall::{Answer, retry};
use std::future::{Future, poll_fn};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::task::{Context, Poll};

impl<K: Readable> ByteStream<K> {
    /// Reads some bytes, and returns how many. Zero means the end of the stream, or that the buffer
    /// is empty.
    ///
    /// # Errors
    ///
    /// Returns the errors of `recv(2)` or `read(2)`, such as a connection that was reset. Returns
    /// an error if it must wait and the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes are taken only by the poll that returns them.
    ///
    /// # Examples
    ///
    /// See [`TcpStream`](crate::net::TcpStream).
    #[inline]
    pub fn read(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_read(cx, buf))
    }

    /// Polls to read some bytes, for futures written by hand. Otherwise the same as
    /// [`read`](ByteStream::read).
    ///
    /// # Errors
    ///
    /// Same as [`read`](ByteStream::read).
    ///
    /// # Examples
    ///
    /// See [`poll_read_uninit`](ByteStream::poll_read_uninit).
    #[inline]
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() || buf.len() > MAX_BYTES {
            return self.poll_read_unusual(cx, buf);
        }
        self.poll_read_by(cx, buf.len(), |socket, again| K::read(socket, buf, again))
    }

    /// Reads at most `len` bytes by `call` when the stream is ready. `call` is passed whether what
    /// it leaves is reported again.
    #[inline]
    pub(in crate::net) fn poll_read_by<A: Answer>(
        &self,
        cx: &Context<'_>,
        len: usize,
        call: impl FnMut(&Socket, bool) -> A,
    ) -> Poll<io::Result<usize>> {
        self.io.poll_read(cx, len, call)
    }

    /// Same as `poll_read`, for a buffer that is empty or longer than one call can move.
    #[cold]
    fn poll_read_unusual(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match buf.get_mut(..MAX_BYTES) {
            Some(most) => self.poll_read(cx, most),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Polls to read into memory that need not be initialized. Otherwise the same as
    /// [`poll_read`](ByteStream::poll_read).
    ///
    /// # What unsafe code may rely on
    ///
    /// If this returns `Ok(n)`, the first `n` bytes of `buf` are initialized, and `n` is at most
    /// its length. It never writes uninitialized bytes, so initialized bytes stay initialized.
    ///
    /// # Errors
    ///
    /// Same as [`read`](ByteStream::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use std::future::poll_fn;
    /// use std::mem::MaybeUninit;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// poll_fn(|cx| client.poll_write(cx, b"data")).await?;
    /// let mut buf = [MaybeUninit::<u8>::uninit(); 16];
    /// let n = poll_fn(|cx| server.poll_read_uninit(cx, &mut buf)).await?;
    /// // SAFETY: these bytes are initialized.
    /// let read: Vec<u8> = buf[..n].iter().map(|byte| unsafe { byte.assume_init() }).collect();
    /// assert_eq!(read, b"data");
    ///
    /// client.write_all(b"more").await?;
    /// let mut buf = [0; 16];
    /// assert_eq!(poll_fn(|cx| server.poll_read(cx, &mut buf)).await?, 4);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[inline]
    pub fn poll_read_uninit(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        let len = buf.len().min(MAX_BYTES);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        let buf = &mut buf[..len];
        self.io
            .poll_read(cx, len, |socket, again| K::read_uninit(socket, buf, again))
    }

    /// Reads some bytes to the end of `buf`, and returns how many. Zero means the end of the
    /// stream.
    ///
    /// It fills at most the spare capacity, which is not initialized before. If there is none, it
    /// reserves 32 bytes.
    ///
    /// # Errors
    ///
    /// Same as [`read`](ByteStream::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: bytes are taken only by the poll that returns them.
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
    /// client.write_all(b"request\n").await?;
    /// drop(client);
    /// let mut request = Vec::with_capacity(1024);
    /// while server.read_buf(&mut request).await? != 0 {}
    /// assert_eq!(request, b"request\n");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn read_buf(&self, buf: &mut Vec<u8>) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_read_buf(cx, buf))
    }

    fn poll_read_buf(&self, cx: &Context<'_>, buf: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let len = spare(buf);
        self.io
            .poll_read(cx, len, |socket, again| K::read_vec(socket, buf, again))
    }

    /// Reads until the buffer is full, and returns its length.
    ///
    /// # Errors
    ///
    /// Returns `UnexpectedEof` if the stream ends earlier, and the errors of
    /// [`read`](ByteStream::read). The bytes that were read are in the buffer, but their number is
    /// not known.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future loses the bytes that it has read.
    ///
    /// # Examples
    ///
    /// See [`TcpListener`](crate::net::TcpListener).
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

    /// Same as [`read`](ByteStream::read), but reads into several buffers, one after the other.
    ///
    /// # Errors
    ///
    /// Same as [`read`](ByteStream::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`read`](ByteStream::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use std::io::{IoSlice, IoSliceMut};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// let parts = [IoSlice::new(b"head"), IoSlice::new(b"body")];
    /// assert_eq!(client.write_vectored(&parts).await?, 8);
    ///
    /// let (mut head, mut body) = ([0; 4], [0; 4]);
    /// let mut parts = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
    /// assert_eq!(server.read_vectored(&mut parts).await?, 8);
    /// assert_eq!((&head, &body), (b"head", b"body"));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read_vectored(cx, bufs)).await
    }

    /// Polls to read into several buffers, for futures written by hand. Otherwise the same as
    /// [`read_vectored`](ByteStream::read_vectored).
    ///
    /// # Errors
    ///
    /// Same as [`read`](ByteStream::read).
    ///
    /// # Examples
    ///
    /// See [`poll_read_uninit`](ByteStream::poll_read_uninit).
    pub fn poll_read_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = Socket::vectored_len(bufs.iter().map(|buf| buf.len())).min(MAX_BYTES);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        self.io.poll_read(cx, len, |socket, again| {
            K::read_vectored(socket, bufs, again)
        })
    }

    /// Reads without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if there are no bytes, and the errors of [`read`](ByteStream::read).
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
        self.io.try_io(Interest::READABLE, || {
            retry(|| K::read(self.socket(), buf, true).result())
        })
    }

    /// Same as [`read_buf`](ByteStream::read_buf), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_read`](ByteStream::try_read).
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
    /// client.write_all(b"now").await?;
    /// server.readable().await?;
    /// let mut buf = Vec::new();
    /// assert_eq!(server.try_read_buf(&mut buf)?, 3);
    /// assert_eq!(buf, b"now");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn try_read_buf(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        spare(buf);
        self.io.try_io(Interest::READABLE, || {
            retry(|| K::read_vec(self.socket(), buf, true).result())
        })
    }

    /// Same as [`try_read`](ByteStream::try_read), but reads into several buffers.
    ///
    /// # Errors
    ///
    /// Same as [`try_read`](ByteStream::try_read).
    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.io.try_io(Interest::READABLE, || {
            retry(|| K::read_vectored(self.socket(), bufs, true).result())
        })
    }
}

impl<K: Duplex> ByteStream<K> {
    /// Reads bytes without taking them from the stream: the next read returns them again.
    ///
    /// # Errors
    ///
    /// Same as [`read`](ByteStream::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it takes no bytes.
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

    /// Polls to read bytes without taking them, for futures written by hand. Otherwise the same as
    /// [`peek`](ByteStream::peek).
    ///
    /// # Errors
    ///
    /// Same as [`read`](ByteStream::read).
    ///
    /// # Examples
    ///
    /// See [`poll_read_uninit`](ByteStream::poll_read_uninit).
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // Length 0: no result is short, because the bytes are still there.
        self.io
            .poll_io(Direction::Read, cx, 0, |socket| socket.peek(buf))
    }

    /// Same as [`peek`](ByteStream::peek), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_read`](ByteStream::try_read).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use std::io::{IoSlice, IoSliceMut};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// client.try_write_vectored(&[IoSlice::new(b"he"), IoSlice::new(b"llo")])?;
    /// server.readable().await?;
    /// let mut buf = [0; 5];
    /// assert_eq!(server.try_peek(&mut buf)?, 5);
    /// assert_eq!(server.try_read_vectored(&mut [IoSliceMut::new(&mut buf)])?, 5);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io
            .try_io(Interest::READABLE, || self.socket().peek(buf))
    }
}

/// Makes room in `buf` if there is none, so that a read of 0 bytes is always the end of the stream.
/// Returns how many bytes a read can add.
fn spare(buf: &mut Vec<u8>) -> usize {
    if buf.len() == buf.capacity() {
        buf.reserve(32);
    }
    (buf.capacity() - buf.len()).min(MAX_BYTES)
}
