//! Receiving and sending single datagrams on a [`UdpSocket`].

use super::UdpSocket;
use crate::interest::Interest;
use crate::net::lookup::{ToSocketAddrs, resolve_first};
use crate::reactor::direction::Direction;
use crate::sys::addr::RawAddr;
use crate::sys::datagram::Take;
use crate::sys::socket::Socket;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

/// The room that is made in a vector that has none: no UDP datagram is longer.
const MAX_DATAGRAM: usize = 65_535;

/// Receiving from any peer.
impl UdpSocket {
    /// Receives a datagram, and returns its length and the address of its sender.
    ///
    /// Bytes that do not fit into the buffer are lost, and the length does not include them.
    ///
    /// # Errors
    ///
    /// Returns the errors of `recvfrom(2)`, such as `ConnectionRefused` on a connected socket; see
    /// [above](UdpSocket#errors-of-the-network). Returns an error if it must wait and the runtime is
    /// gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a datagram is taken only by the poll that returns it.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    #[inline]
    pub fn recv_from(
        &self,
        buf: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> {
        poll_fn(move |cx| self.poll_recv_from(cx, buf))
    }

    /// Polls for a datagram, for futures written by hand. Otherwise it is the same as
    /// [`recv_from`](UdpSocket::recv_from).
    ///
    /// The wakers of all tasks that poll are kept.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UdpSocket;
    /// use std::future::poll_fn;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let addr = socket.local_addr()?;
    /// poll_fn(|cx| socket.poll_send_to(cx, b"hello", addr)).await?;
    /// let mut buf = [0; 16];
    /// assert_eq!(poll_fn(|cx| socket.poll_recv_from(cx, &mut buf)).await?, (5, addr));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[inline]
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll_from(cx, |socket, from| {
            socket.recv_from(buf, from, Take::Datagram)
        })
    }

    /// Same as [`poll_recv_from`](UdpSocket::poll_recv_from), for memory that is not initialized.
    ///
    /// On `Ok` the first bytes of the buffer, as many as the length says, are initialized. The
    /// others are never written. Unsafe code may rely on this.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    pub fn poll_recv_from_uninit(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll_from(cx, |socket, from| {
            socket.recv_from(buf, from, Take::Datagram)
        })
    }

    /// Receives a datagram without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if there is none, and the errors of
    /// [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UdpSocket;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let addr = socket.local_addr()?;
    /// let mut buf = [0; 16];
    /// let nothing = socket.try_recv_from(&mut buf);
    /// assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    ///
    /// socket.writable().await?;
    /// socket.try_send_to(b"hello", addr)?;
    /// socket.readable().await?;
    /// assert_eq!(socket.try_recv_from(&mut buf)?, (5, addr));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_from_peer(|socket, from| socket.recv_from(buf, from, Take::Datagram))
    }

    /// Receives a datagram into the spare capacity of a vector, which need not be initialized, and
    /// returns its length and the address of its sender.
    ///
    /// The datagram is appended. What does not fit into the spare capacity is lost. If there is
    /// none, room for the longest datagram is reserved (64 KiB).
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UdpSocket;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let addr = socket.local_addr()?;
    /// socket.send_to(b"hello", addr).await?;
    /// socket.send_to(b", world", addr).await?;
    /// let mut buf = Vec::with_capacity(1500);
    /// assert_eq!(socket.recv_buf_from(&mut buf).await?, (5, addr));
    /// assert_eq!(socket.recv_buf(&mut buf).await?, 7);
    /// assert_eq!(buf, b"hello, world");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn recv_buf_from(&self, buf: &mut Vec<u8>) -> io::Result<(usize, SocketAddr)> {
        make_room(buf);
        poll_fn(|cx| self.poll_from(cx, |socket, from| socket.recv_append(buf, from))).await
    }

    /// Same as [`recv_buf_from`](UdpSocket::recv_buf_from), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv_from`](UdpSocket::try_recv_from).
    pub fn try_recv_buf_from(&self, buf: &mut Vec<u8>) -> io::Result<(usize, SocketAddr)> {
        make_room(buf);
        self.try_from_peer(|socket, from| socket.recv_append(buf, from))
    }

    /// Same as [`recv_from`](UdpSocket::recv_from), but leaves the datagram in the queue: the next
    /// receive returns it again.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it takes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UdpSocket;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let addr = socket.local_addr()?;
    /// socket.send_to(b"hello", addr).await?;
    /// assert_eq!(socket.peek_sender().await?, addr);
    /// let mut buf = [0; 1];
    /// assert_eq!(socket.peek_from(&mut buf).await?, (1, addr));
    /// let mut buf = [0; 16];
    /// assert_eq!(socket.recv_from(&mut buf).await?, (5, addr));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_peek_from(cx, buf)).await
    }

    /// Same as [`poll_recv_from`](UdpSocket::poll_recv_from), but leaves the datagram in the queue.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll_from(cx, |socket, from| {
            socket.recv_from(buf, from, Take::Nothing)
        })
    }

    /// Same as [`peek_from`](UdpSocket::peek_from), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv_from`](UdpSocket::try_recv_from).
    pub fn try_peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_from_peer(|socket, from| socket.recv_from(buf, from, Take::Nothing))
    }

    /// Waits for a datagram, and returns the address of its sender. The datagram stays in the
    /// queue.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it takes nothing.
    ///
    /// # Examples
    ///
    /// See [`peek_from`](UdpSocket::peek_from).
    pub async fn peek_sender(&self) -> io::Result<SocketAddr> {
        poll_fn(|cx| self.poll_peek_sender(cx)).await
    }

    /// Same as [`peek_sender`](UdpSocket::peek_sender), for futures written by hand. The wakers of
    /// all tasks that poll are kept.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    pub fn poll_peek_sender(&self, cx: &mut Context<'_>) -> Poll<io::Result<SocketAddr>> {
        self.poll_peek_from(cx, &mut []).map_ok(|(_, from)| from)
    }

    /// Same as [`peek_sender`](UdpSocket::peek_sender), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv_from`](UdpSocket::try_recv_from).
    pub fn try_peek_sender(&self) -> io::Result<SocketAddr> {
        self.try_peek_from(&mut []).map(|(_, from)| from)
    }

    #[inline]
    fn poll_from(
        &self,
        cx: &Context<'_>,
        mut call: impl FnMut(&Socket, &mut RawAddr) -> io::Result<usize>,
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut from = RawAddr::empty();
        // Length 0: no result is short, because there may be more datagrams.
        let received = self
            .io
            .poll_io(Direction::Read, cx, 0, |socket| call(socket, &mut from));
        Poll::Ready(Ok((ready!(received)?, from.to_ip()?)))
    }

    fn try_from_peer(
        &self,
        call: impl FnOnce(&Socket, &mut RawAddr) -> io::Result<usize>,
    ) -> io::Result<(usize, SocketAddr)> {
        let mut from = RawAddr::empty();
        let received = self
            .io
            .try_io(Interest::READABLE, || call(self.io.socket(), &mut from))?;
        Ok((received, from.to_ip()?))
    }
}

/// Sending to any peer.
impl UdpSocket {
    /// Sends a datagram to an address, the first one if there are several, and returns its length.
    ///
    /// A host name is looked up on another thread, for each call; see [`ToSocketAddrs`]. An IP
    /// address needs no look-up. A connected socket may send to other addresses too on Linux; other
    /// systems return an error (`EISCONN`).
    ///
    /// # Errors
    ///
    /// Returns the errors of `sendto(2)`, such as `EMSGSIZE` for a datagram that is too long, and
    /// `ENOBUFS`; see [above](UdpSocket#a-full-send-buffer). Returns an error if there is no
    /// address, or if it must wait and the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the datagram is sent only by the poll that returns its length.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    pub async fn send_to(&self, buf: &[u8], target: impl ToSocketAddrs) -> io::Result<usize> {
        let to = RawAddr::from(resolve_first(&target).await?);
        poll_fn(|cx| self.poll_send_raw(cx, buf, &to)).await
    }

    /// Polls to send a datagram, for futures written by hand. The wakers of all tasks that poll are
    /// kept.
    ///
    /// # Errors
    ///
    /// Same as [`send_to`](UdpSocket::send_to).
    ///
    /// # Examples
    ///
    /// See [`poll_recv_from`](UdpSocket::poll_recv_from).
    #[inline]
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.poll_send_raw(cx, buf, &RawAddr::from(target))
    }

    #[inline]
    fn poll_send_raw(&self, cx: &Context<'_>, buf: &[u8], to: &RawAddr) -> Poll<io::Result<usize>> {
        self.poll_send_with(cx, buf.len(), |socket| socket.send_to(buf, to))
    }

    /// Sends a datagram to an address without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if the send buffer is full, and the errors of
    /// [`send_to`](UdpSocket::send_to).
    ///
    /// # Examples
    ///
    /// See [`try_recv_from`](UdpSocket::try_recv_from).
    pub fn try_send_to(&self, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
        let to = RawAddr::from(target);
        self.io
            .try_io(Interest::WRITABLE, || self.io.socket().send_to(buf, &to))
    }
}

/// Receiving from and sending to the peer that [`connect`](UdpSocket::connect) has set.
impl UdpSocket {
    /// Receives a datagram, and returns its length. On a socket that is not connected, it may be
    /// from any peer.
    ///
    /// Bytes that do not fit into the buffer are lost, and the length does not include them.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    #[inline]
    pub fn recv(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_recv(cx, buf))
    }

    /// Polls for a datagram, for futures written by hand. The wakers of all tasks that poll are
    /// kept. Otherwise it is the same as [`recv`](UdpSocket::recv).
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
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
    /// poll_fn(|cx| socket.poll_send(cx, b"hello")).await?;
    /// let mut buf = [0; 16];
    /// assert_eq!(poll_fn(|cx| socket.poll_peek(cx, &mut buf)).await?, 5);
    /// assert_eq!(poll_fn(|cx| socket.poll_recv(cx, &mut buf)).await?, 5);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[inline]
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_recv_with(cx, |socket| socket.recv_datagram(buf, Take::Datagram))
    }

    /// Same as [`poll_recv`](UdpSocket::poll_recv), for memory that is not initialized.
    ///
    /// On `Ok(n)` the first `n` bytes of the buffer are initialized. The others are never written.
    /// Unsafe code may rely on this.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    pub fn poll_recv_uninit(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        self.poll_recv_with(cx, |socket| socket.recv_datagram(buf, Take::Datagram))
    }

    /// Receives a datagram without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if there is none, and the errors of
    /// [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// See [`poll_recv_ready`](UdpSocket::poll_recv_ready).
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.try_io(Interest::READABLE, || {
            self.io.socket().recv_datagram(buf, Take::Datagram)
        })
    }

    /// Receives a datagram into the spare capacity of a vector, as
    /// [`recv_buf_from`](UdpSocket::recv_buf_from) does, and returns its length.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// See [`recv_buf_from`](UdpSocket::recv_buf_from).
    pub async fn recv_buf(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        make_room(buf);
        let mut from = RawAddr::empty();
        poll_fn(|cx| self.poll_recv_with(cx, |socket| socket.recv_append(buf, &mut from))).await
    }

    /// Same as [`recv_buf`](UdpSocket::recv_buf), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv`](UdpSocket::try_recv).
    pub fn try_recv_buf(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        make_room(buf);
        let mut from = RawAddr::empty();
        self.io.try_io(Interest::READABLE, || {
            self.io.socket().recv_append(buf, &mut from)
        })
    }

    /// Same as [`recv`](UdpSocket::recv), but leaves the datagram in the queue: the next receive
    /// returns it again.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it takes nothing.
    ///
    /// # Examples
    ///
    /// See [`peek_from`](UdpSocket::peek_from).
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_peek(cx, buf)).await
    }

    /// Same as [`poll_recv`](UdpSocket::poll_recv), but leaves the datagram in the queue.
    ///
    /// # Errors
    ///
    /// Same as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// See [`poll_recv`](UdpSocket::poll_recv).
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_recv_with(cx, |socket| socket.recv_datagram(buf, Take::Nothing))
    }

    /// Same as [`peek`](UdpSocket::peek), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv`](UdpSocket::try_recv).
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.try_io(Interest::READABLE, || {
            self.io.socket().recv_datagram(buf, Take::Nothing)
        })
    }

    #[inline]
    fn poll_recv_with(
        &self,
        cx: &Context<'_>,
        call: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        // Length 0: no result is short, because there may be more datagrams.
        self.io.poll_io(Direction::Read, cx, 0, call)
    }

    /// Sends a datagram to the peer, and returns its length.
    ///
    /// # Errors
    ///
    /// Returns the errors of `send(2)`, such as `EDESTADDRREQ` if the socket is not connected,
    /// `EMSGSIZE` for a datagram that is too long, and `ENOBUFS`; see
    /// [above](UdpSocket#a-full-send-buffer). A `ConnectionRefused` belongs to an earlier datagram;
    /// this one was not sent. Returns an error if it must wait and the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the datagram is sent only by the poll that returns its length.
    ///
    /// # Examples
    ///
    /// See [`UdpSocket`].
    #[inline]
    pub fn send(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_send(cx, buf))
    }

    /// Polls to send a datagram to the peer, for futures written by hand. The wakers of all tasks
    /// that poll are kept.
    ///
    /// # Errors
    ///
    /// Same as [`send`](UdpSocket::send).
    ///
    /// # Examples
    ///
    /// See [`poll_recv`](UdpSocket::poll_recv).
    #[inline]
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send_with(cx, buf.len(), |socket| socket.send_datagram(buf))
    }

    #[inline]
    pub(super) fn poll_send_with(
        &self,
        cx: &Context<'_>,
        len: usize,
        call: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let sent = self.io.poll_io(Direction::Write, cx, len, call);
        // WRITABLE is watched only while sends block.
        self.io.note_write(sent.is_pending());
        sent
    }

    /// Sends a datagram to the peer without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if the send buffer is full, and the errors of
    /// [`send`](UdpSocket::send).
    ///
    /// # Examples
    ///
    /// See [`poll_recv_ready`](UdpSocket::poll_recv_ready).
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.io
            .try_io(Interest::WRITABLE, || self.io.socket().send_datagram(buf))
    }
}

/// Makes room for any datagram if there is no spare capacity at all.
fn make_room(buf: &mut Vec<u8>) {
    if buf.len() == buf.capacity() {
        buf.reserve(MAX_DATAGRAM);
    }
}
