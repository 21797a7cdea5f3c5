//! Waiting for a [`TcpStream`] without moving bytes, and calls of the user's own.

use super::TcpStream;
use crate::interest::{Interest, Readiness as Ready};
use crate::reactor::io_state::Direction;
use std::io;
use std::task::{Context, Poll};

impl TcpStream {
    /// Waits until a read would not block: there are bytes, the end of the stream or an error.
    ///
    /// It is checked with the kernel when it returns, so a [`try_read`](TcpStream::try_read) that follows at once finds something, unless
    /// another reader was faster.
    ///
    /// # Errors
    ///
    /// When the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// See [`try_read`](TcpStream::try_read).
    pub async fn readable(&self) -> io::Result<()> {
        self.io.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until a write would not block, as [`readable`](TcpStream::readable).
    ///
    /// # Errors
    ///
    /// When the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.ready(Interest::WRITABLE).await.map(drop)
    }

    /// Waits until the stream is ready for any of `interest`, and says for what.
    ///
    /// # Errors
    ///
    /// When the runtime is gone, and when `interest` is empty.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use reveille::io::Interest;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// let ready = server.ready(Interest::READABLE | Interest::WRITABLE).await?;
    /// assert!(ready.is_writable() && !ready.is_readable());
    /// # drop(client);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.io.ready(interest).await
    }

    /// As [`readable`](TcpStream::readable), for a future of one's own. Wakers of several tasks are all kept.
    ///
    /// # Errors
    ///
    /// When the runtime is gone.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_ready(Direction::Read, cx)
    }

    /// As [`writable`](TcpStream::writable), for a future of one's own. Wakers of several tasks are all kept.
    ///
    /// # Errors
    ///
    /// When the runtime is gone.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_ready(Direction::Write, cx)
    }

    /// Makes a system call of one's own on the stream's descriptor, at once. `WouldBlock` from it tells the runtime that the
    /// stream is not ready for `interest`.
    ///
    /// # Errors
    ///
    /// Those of `call`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.io.try_io(interest, call)
    }

    /// Makes a system call of one's own as soon as the stream is ready for any of `interest`, and again as long as it
    /// answers `WouldBlock`.
    ///
    /// # Errors
    ///
    /// Those of `call`; when the runtime is gone, and when `interest` is empty.
    ///
    /// # Cancel safety
    ///
    /// As safe as `call`, which is not made again once it has succeeded.
    pub async fn async_io<R>(
        &self,
        interest: Interest,
        call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        self.io.async_io(interest, call).await
    }

    /// From now on a short read or write no longer proves that nothing is left; see [above](TcpStream#short-reads).
    ///
    /// # Errors
    ///
    /// On another thread than the one that runs the stream's runtime, and outside of it: nothing is changed.
    pub fn distrust_short_reads(&self) -> io::Result<()> {
        if self.io.registration().distrust_short() {
            return Ok(());
        }
        Err(io::Error::other(
            "this stream's runtime does not run on this thread",
        ))
    }
}
