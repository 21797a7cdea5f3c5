//! Waiting for a [`UdpSocket`] without moving datagrams, and custom system calls on it.

use super::UdpSocket;
use crate::interest::{Interest, Ready};
use crate::reactor::direction::Direction;
use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};

impl UdpSocket {
    /// Waits until a receive would not block: there is a datagram or an error.
    ///
    /// The kernel has confirmed it when this returns. A [`try_recv`](UdpSocket::try_recv) that
    /// follows at once does not return `WouldBlock`, unless another task has received in between,
    /// or the checksum of the datagram turns out to be wrong.
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
    /// See [`try_recv_from`](UdpSocket::try_recv_from).
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> {
        let mut ready = self.io.ready(Interest::READABLE);
        poll_fn(move |cx| ready.poll(cx).map_ok(drop))
    }

    /// Waits until a send would not block. The kernel has confirmed it, as for
    /// [`readable`](UdpSocket::readable).
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
    /// See [`try_recv_from`](UdpSocket::try_recv_from).
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> {
        let mut ready = self.io.ready(Interest::WRITABLE);
        poll_fn(move |cx| ready.poll(cx).map_ok(drop))
    }

    /// Waits until the socket is ready for any of `interest`, and returns the readiness.
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
    /// # use reveille::net::UdpSocket;
    /// use reveille::io::Interest;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let ready = socket.ready(Interest::READABLE | Interest::WRITABLE).await?;
    /// assert!(ready.is_writable() && !ready.is_readable());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> {
        let mut ready = self.io.ready(interest);
        poll_fn(move |cx| ready.poll(cx))
    }

    /// Polls until a receive would not block, for futures written by hand.
    ///
    /// The wakers of all tasks that poll are kept. Otherwise it is the same as
    /// [`readable`](UdpSocket::readable).
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UdpSocket;
    /// use std::future::poll_fn;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// socket.connect(socket.local_addr()?).await?;
    /// poll_fn(|cx| socket.poll_send_ready(cx)).await?;
    /// socket.try_send(b"now")?;
    /// poll_fn(|cx| socket.poll_recv_ready(cx)).await?;
    /// assert_eq!(socket.try_recv(&mut [0; 16])?, 3);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_ready(Direction::Read, cx)
    }

    /// Polls until a send would not block, for futures written by hand.
    ///
    /// The wakers of all tasks that poll are kept. Otherwise it is the same as
    /// [`writable`](UdpSocket::writable).
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime is gone.
    ///
    /// # Examples
    ///
    /// See [`poll_recv_ready`](UdpSocket::poll_recv_ready).
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_ready(Direction::Write, cx)
    }

    /// Makes a custom system call on the socket's descriptor now. If it returns `WouldBlock`, the
    /// cached readiness for `interest` is cleared.
    ///
    /// Unlike tokio's, it makes the call even if the cached readiness is empty.
    ///
    /// # Errors
    ///
    /// Returns the errors of `call`, `WouldBlock` included.
    ///
    /// # Examples
    ///
    /// See [`async_io`](UdpSocket::async_io).
    pub fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.io.try_io(interest, call)
    }

    /// Waits until the socket is ready for any of `interest`, and makes a custom system call.
    /// Repeats both while the call returns `WouldBlock`.
    ///
    /// Calls that the methods here lack are made in this way: with control data (`recvmsg(2)`), or
    /// with segmentation offload by a crate such as `quinn-udp`.
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
    /// # use reveille::net::UdpSocket;
    /// use reveille::io::Interest;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_nonblocking(true)?;
    /// socket.send_to(b"hello", socket.local_addr()?)?;
    ///
    /// let std = socket.try_clone()?;
    /// let socket = UdpSocket::from_std(socket)?;
    /// let mut buf = [0; 16];
    /// let n = socket.async_io(Interest::READABLE, || std.recv(&mut buf)).await?;
    /// assert_eq!(&buf[..n], b"hello");
    /// let nothing = socket.try_io(Interest::READABLE, || std.recv(&mut buf));
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
}
