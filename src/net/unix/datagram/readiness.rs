//! Waiting for a [`UnixDatagram`] without moving datagrams, and custom system calls on it.

use super::UnixDatagram;
use super::transfer::would_block_writable;
use crate::interest::{Interest, Ready};
use crate::reactor::direction::Direction;
use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};

impl UnixDatagram {
    /// Waits until a receive would not block: there is a datagram or an error.
    ///
    /// The kernel has confirmed it when this returns. A [`try_recv`](UnixDatagram::try_recv) that
    /// follows at once does not return `WouldBlock`, unless another task has received in between.
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
    /// See [`poll_recv_ready`](UnixDatagram::poll_recv_ready).
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> {
        let mut ready = self.io.ready(Interest::READABLE);
        poll_fn(move |cx| ready.poll(cx).map_ok(drop))
    }

    /// Waits until a send to the peer of a connected socket would not block. The kernel has
    /// confirmed it, as for [`readable`](UnixDatagram::readable).
    ///
    /// A socket that is not connected is writable although a peer is full; see
    /// [above](UnixDatagram#a-full-peer).
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
    /// See [`poll_recv_ready`](UnixDatagram::poll_recv_ready).
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
    /// # use reveille::net::UnixDatagram;
    /// use reveille::io::Interest;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let (socket, _peer) = UnixDatagram::pair()?;
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
    /// [`readable`](UnixDatagram::readable).
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UnixDatagram;
    /// use std::future::poll_fn;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let (here, there) = UnixDatagram::pair()?;
    /// poll_fn(|cx| here.poll_send_ready(cx)).await?;
    /// here.try_send(b"now")?;
    /// poll_fn(|cx| there.poll_recv_ready(cx)).await?;
    /// assert_eq!(there.try_recv(&mut [0; 16])?, 3);
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
    /// [`writable`](UnixDatagram::writable).
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime is gone.
    ///
    /// # Examples
    ///
    /// See [`poll_recv_ready`](UnixDatagram::poll_recv_ready).
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
    /// See [`async_io`](UnixDatagram::async_io).
    pub fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        let socket = self.io.socket();
        let done = self.io.try_io(interest, || match call() {
            Err(error) if interest.is_writable() && would_block_writable(socket, &error) => {
                Ok(Err(error))
            }
            result => result.map(Ok),
        });
        // The cached bit stays if the socket is writable, because no event would set it again.
        done?
    }

    /// Waits until the socket is ready for any of `interest`, and makes a custom system call.
    /// Repeats both while the call returns `WouldBlock`.
    ///
    /// Calls that the methods here lack are made in this way, such as those with control data,
    /// which pass descriptors (`sendmsg(2)`). A send to a full peer is made again after a pause, if
    /// `interest` is WRITABLE alone; see [above](UnixDatagram#a-full-peer).
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
    /// # use reveille::net::UnixDatagram;
    /// use reveille::io::Interest;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let (socket, peer) = std::os::unix::net::UnixDatagram::pair()?;
    /// socket.set_nonblocking(true)?;
    /// peer.send(b"hello")?;
    ///
    /// let std = socket.try_clone()?;
    /// let socket = UnixDatagram::from_std(socket)?;
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
        mut call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        if interest != Interest::WRITABLE {
            return self.io.async_io(interest, call).await;
        }
        loop {
            let done = self.io.async_io(interest, || match call() {
                Err(error) if would_block_writable(self.io.socket(), &error) => Ok(None),
                result => result.map(Some),
            });
            match done.await? {
                Some(done) => {
                    self.full_peer.reset();
                    return Ok(done);
                }
                None => self.pause().await?,
            }
        }
    }
}
