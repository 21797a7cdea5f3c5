//! Waiting for a [`ByteStream`] without moving bytes, and custom system calls on it.

use super::ByteStream;
use crate::interest::{Interest, Ready};
use crate::net::kind::{Kind, Readable, Writable};
use crate::reactor::direction::Direction;
use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};

impl<K: Readable> ByteStream<K> {
    /// Waits until a read would not block: there are bytes, the end of the stream, or an error.
    ///
    /// The kernel has confirmed it when this returns. A [`try_read`](ByteStream::try_read) that
    /// follows at once does not return `WouldBlock`, unless another task has read in between.
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// See [`try_read`](ByteStream::try_read).
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> {
        let mut ready = self.io.ready(Interest::READABLE);
        poll_fn(move |cx| ready.poll(cx).map_ok(drop))
    }

    /// Waits until the peer has ended its side: it has closed the stream, shut its writing side
    /// down, or reset the connection, or is gone. This is found even if there are bytes to read
    /// before the end, which stay there.
    ///
    /// A task that computes an answer and reads nothing meanwhile can give up when the peer is
    /// gone. (A peer that only shuts its writing side down may still read.)
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` if the mechanism of the stream's runtime cannot tell: select, and poll
    /// on systems without `POLLRDHUP`. Returns an error if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
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
    /// client.write_all(b"unread").await?;
    /// drop(client);
    /// match server.read_closed().await {
    ///     Ok(()) => {}
    ///     Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
    /// }
    /// let mut rest = Vec::new();
    /// while server.read_buf(&mut rest).await? != 0 {}
    /// assert_eq!(rest, b"unread");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn read_closed(&self) -> io::Result<()> {
        self.io.read_closed().await
    }

    /// Polls until a read would not block, for futures written by hand.
    ///
    /// The wakers of all tasks that poll are kept. Otherwise it is the same as
    /// [`readable`](ByteStream::readable).
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use std::future::poll_fn;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// poll_fn(|cx| client.poll_write_ready(cx)).await?;
    /// client.try_write(b"now")?;
    /// poll_fn(|cx| server.poll_read_ready(cx)).await?;
    /// assert_eq!(server.try_read(&mut [0; 16])?, 3);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_ready(Direction::Read, cx)
    }
}

impl<K: Writable> ByteStream<K> {
    /// Waits until a write would not block. The kernel has confirmed it, as for
    /// [`readable`](ByteStream::readable).
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// client.writable().await?;
    /// assert_eq!(client.try_write(b"now")?, 3);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> {
        let mut ready = self.io.ready(Interest::WRITABLE);
        poll_fn(move |cx| ready.poll(cx).map_ok(drop))
    }

    /// Polls until a write would not block, for futures written by hand.
    ///
    /// The wakers of all tasks that poll are kept. Otherwise it is the same as
    /// [`writable`](ByteStream::writable).
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime is gone.
    ///
    /// # Examples
    ///
    /// See [`poll_read_ready`](ByteStream::poll_read_ready).
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_ready(Direction::Write, cx)
    }
}

impl<K: Kind> ByteStream<K> {
    /// Waits until the stream is ready for any of `interest`, and returns the readiness.
    ///
    /// # Errors
    ///
    /// Returns an error if `interest` is empty (`InvalidInput`) or the runtime is gone.
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
    pub fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> {
        let mut ready = self.io.ready(interest);
        poll_fn(move |cx| ready.poll(cx))
    }

    /// Makes a custom system call on the stream's descriptor now. If it returns `WouldBlock`, the
    /// cached readiness for `interest` is cleared.
    ///
    /// # Errors
    ///
    /// Returns the errors of `call`, `WouldBlock` included.
    ///
    /// # Examples
    ///
    /// See [`async_io`](ByteStream::async_io).
    pub fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.io.try_io(interest, call)
    }

    /// Waits until the stream is ready for any of `interest`, and makes a custom system call.
    /// Repeats both while the call returns `WouldBlock`.
    ///
    /// # Errors
    ///
    /// Returns the errors of `call`, except `WouldBlock`. Returns an error if `interest` is empty
    /// (`InvalidInput`) or the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe if `call` has no effect when it returns `WouldBlock`. Any other result of `call`
    /// is returned by the same poll.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use reveille::io::Interest;
    /// use std::io::Read;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// # std::io::Write::write_all(&mut client, b"hello")?;
    /// # client.set_nonblocking(true)?;
    /// # let (server, _) = listener.accept().await?;
    /// # server.write_all(b"hello").await?;
    /// let mut std = client.try_clone()?;
    /// let stream = TcpStream::from_std(client)?;
    /// let mut buf = [0; 16];
    /// let n = stream.async_io(Interest::READABLE, || std.read(&mut buf)).await?;
    /// assert_eq!(&buf[..n], b"hello");
    /// let nothing = stream.try_io(Interest::READABLE, || std.read(&mut buf));
    /// assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn async_io<R>(
        &self,
        interest: Interest,
        call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        self.io.async_io(interest, call).await
    }

    /// Sets whether a short read or write proves that nothing is left; see
    /// [above](ByteStream#short-reads).
    ///
    /// | stream | by default | |
    /// |---|---|---|
    /// | TCP | on | switch it off before the first read, if a layer returns bytes in portions |
    /// | Unix | on | as for TCP; on systems other than Linux no short read proves it, whatever is set |
    /// | [`pipe::Receiver`](crate::net::pipe::Receiver) | off | may be switched on if no sender is in packet mode (`O_DIRECT`): it saves a system call for each message |
    /// | [`pipe::Sender`](crate::net::pipe::Sender) | off | no effect: the runtime does not rely on short writes |
    ///
    /// It works on any thread: for a stream of another thread's runtime the setting is sent to that
    /// thread. The runtime does not rely on short reads of a stream on which an error or urgent
    /// data was seen; switching the hint on has no effect there.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = TcpStream::connect(listener.local_addr()?).await?;
    /// // Before kernel TLS is switched on: its reads end at record boundaries.
    /// stream.set_short_read_hint(false);
    ///
    /// let (_sender, receiver) = reveille::net::pipe::pipe()?;
    /// receiver.set_short_read_hint(true);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn set_short_read_hint(&self, on: bool) {
        self.io.registration().set_short_read_hint(on);
    }
}
