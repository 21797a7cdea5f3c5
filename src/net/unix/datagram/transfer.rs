//! Receiving and sending datagrams on a [`UnixDatagram`].

use super::UnixDatagram;
use crate::backend;
use crate::budget;
use crate::interest::{Interest, Ready};
use crate::reactor::direction::Direction;
use crate::sys::addr::RawAddr;
use crate::sys::datagram::Take;
use crate::sys::datagram_unix::is_full_peer;
use crate::sys::socket::Socket;
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// The room that is made in a vector that has none, as for datagrams of UDP.
const ROOM: usize = 65_535;

/// Receiving.
impl UnixDatagram {
    /// Receives a datagram, and returns its length.
    ///
    /// Bytes that do not fit into the buffer are lost, and the length does not include them.
    ///
    /// # Errors
    ///
    /// Returns the errors of `recv(2)`, such as `ConnectionReset` on Linux, if the peer has left
    /// datagrams unread and connected to another socket. Returns an error if it must wait and the
    /// runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a datagram is taken only by the poll that returns it.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram`].
    #[inline]
    pub fn recv(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_recv(cx, buf))
    }

    /// Polls for a datagram, for futures written by hand. The wakers of all tasks that poll are
    /// kept. Otherwise it is the same as [`recv`](UnixDatagram::recv).
    ///
    /// # Errors
    ///
    /// Same as [`recv`](UnixDatagram::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UnixDatagram;
    /// use std::future::poll_fn;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let (here, there) = UnixDatagram::pair()?;
    /// poll_fn(|cx| here.poll_send(cx, b"hello")).await?;
    /// let mut buf = [0; 16];
    /// assert_eq!(poll_fn(|cx| there.poll_recv(cx, &mut buf)).await?, 5);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[inline]
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_recv_with(cx, |socket| socket.recv_datagram(buf, Take::Datagram))
    }

    /// Receives a datagram without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if there is none, and the errors of [`recv`](UnixDatagram::recv).
    ///
    /// # Examples
    ///
    /// See [`try_send`](UnixDatagram::try_send).
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_recv_with(|socket| socket.recv_datagram(buf, Take::Datagram))
    }

    /// Receives a datagram, and returns its length and the address of its sender, which may have no
    /// name.
    ///
    /// # Errors
    ///
    /// Same as [`recv`](UnixDatagram::recv).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`recv`](UnixDatagram::recv).
    ///
    /// # Examples
    ///
    /// See [`bind`](UnixDatagram::bind).
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        poll_fn(|cx| self.poll_recv_from(cx, buf)).await
    }

    /// Polls for a datagram and the address of its sender, for futures written by hand. The wakers
    /// of all tasks that poll are kept.
    ///
    /// # Errors
    ///
    /// Same as [`recv`](UnixDatagram::recv).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut from = RawAddr::empty();
        let received = self.poll_recv_with(cx, |socket| {
            socket.recv_from(buf, &mut from, Take::Datagram)
        });
        Poll::Ready(Ok((ready!(received)?, from.to_sender())))
    }

    /// Same as [`recv_from`](UnixDatagram::recv_from), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv`](UnixDatagram::try_recv).
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut from = RawAddr::empty();
        let received =
            self.try_recv_with(|socket| socket.recv_from(buf, &mut from, Take::Datagram))?;
        Ok((received, from.to_sender()))
    }

    /// Receives a datagram into the spare capacity of a vector, which need not be initialized, and
    /// returns its length.
    ///
    /// The datagram is appended. What does not fit into the spare capacity is lost. If there is
    /// none, 64 KiB are reserved.
    ///
    /// # Errors
    ///
    /// Same as [`recv`](UnixDatagram::recv).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`recv`](UnixDatagram::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UnixDatagram;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let (here, there) = UnixDatagram::pair()?;
    /// here.send(b"hello").await?;
    /// let mut buf = Vec::new();
    /// assert_eq!(there.recv_buf(&mut buf).await?, 5);
    /// assert_eq!(buf, b"hello");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn recv_buf(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.recv_buf_from(buf).await.map(|(received, _)| received)
    }

    /// Same as [`recv_buf`](UnixDatagram::recv_buf), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv`](UnixDatagram::try_recv).
    pub fn try_recv_buf(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.try_recv_buf_from(buf).map(|(received, _)| received)
    }

    /// Same as [`recv_buf`](UnixDatagram::recv_buf), and returns the address of the sender as well.
    ///
    /// # Errors
    ///
    /// Same as [`recv`](UnixDatagram::recv).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`recv`](UnixDatagram::recv).
    pub async fn recv_buf_from(&self, buf: &mut Vec<u8>) -> io::Result<(usize, SocketAddr)> {
        make_room(buf);
        let mut from = RawAddr::empty();
        let received =
            poll_fn(|cx| self.poll_recv_with(cx, |socket| socket.recv_append(buf, &mut from)))
                .await?;
        Ok((received, from.to_sender()))
    }

    /// Same as [`recv_buf_from`](UnixDatagram::recv_buf_from), but without waiting.
    ///
    /// # Errors
    ///
    /// Same as [`try_recv`](UnixDatagram::try_recv).
    pub fn try_recv_buf_from(&self, buf: &mut Vec<u8>) -> io::Result<(usize, SocketAddr)> {
        make_room(buf);
        let mut from = RawAddr::empty();
        let received = self.try_recv_with(|socket| socket.recv_append(buf, &mut from))?;
        Ok((received, from.to_sender()))
    }

    #[inline]
    fn poll_recv_with(
        &self,
        cx: &Context<'_>,
        mut call: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        // Length 0: no result is short, because there may be more datagrams.
        self.io
            .poll_io(Direction::Read, cx, 0, |socket| self.or_end(call(socket)))
    }

    fn try_recv_with(&self, call: impl FnOnce(&Socket) -> io::Result<usize>) -> io::Result<usize> {
        self.io
            .try_io(Interest::READABLE, || self.or_end(call(self.io.socket())))
    }

    /// Returns 0 for a receive that would wait forever.
    fn or_end(&self, received: io::Result<usize>) -> io::Result<usize> {
        match received {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && self.reads_ended.load(Ordering::Relaxed) =>
            {
                Ok(0)
            }
            received => received,
        }
    }
}

/// Sending.
impl UnixDatagram {
    /// Sends a datagram to the peer, and returns its length. If the peer is full, it waits; see
    /// [above](UnixDatagram#a-full-peer).
    ///
    /// # Errors
    ///
    /// Returns the errors of `send(2)`, such as `NotConnected` if there is no peer, `EMSGSIZE` if
    /// the datagram is longer than the send buffer, and `ConnectionRefused` if the peer has closed
    /// its socket. Returns an error if it must wait and the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the datagram is sent only by the poll that returns its length.
    ///
    /// # Examples
    ///
    /// See [`UnixDatagram`].
    #[inline]
    pub fn send(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_send(cx, buf))
    }

    /// Polls to send a datagram to the peer, for futures written by hand. The wakers of all tasks
    /// that poll are kept.
    ///
    /// # Errors
    ///
    /// Same as [`send`](UnixDatagram::send).
    ///
    /// # Examples
    ///
    /// See [`poll_recv`](UnixDatagram::poll_recv).
    #[inline]
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send_with(cx, buf.len(), |socket| socket.send_datagram(buf))
    }

    /// Sends a datagram to the peer without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if the peer or the send buffer is full, and the errors of
    /// [`send`](UnixDatagram::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::UnixDatagram;
    /// # use std::io::ErrorKind;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let (here, there) = UnixDatagram::pair()?;
    /// let error = there.try_recv(&mut [0; 16]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// while here.try_send(b"more").is_ok() {}
    /// assert_eq!(there.try_recv(&mut [0; 16])?, 4);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.try_send_with(|socket| socket.send_datagram(buf))
    }

    /// Sends a datagram to the socket at a path, and returns its length. If that socket is full, it
    /// waits; see [above](UnixDatagram#a-full-peer).
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the path is too long, and the errors of `sendto(2)`: `NotFound` if
    /// there is no such file, `ConnectionRefused` if no socket has it, and those of
    /// [`send`](UnixDatagram::send).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`send`](UnixDatagram::send).
    ///
    /// # Examples
    ///
    /// See [`bind`](UnixDatagram::bind).
    pub async fn send_to(&self, buf: &[u8], target: impl AsRef<Path>) -> io::Result<usize> {
        let to = path(target)?;
        poll_fn(|cx| self.poll_send_raw(cx, buf, &to)).await
    }

    /// Polls to send a datagram to the socket at a path, for futures written by hand. The wakers of
    /// all tasks that poll are kept.
    ///
    /// # Errors
    ///
    /// Same as [`send_to`](UnixDatagram::send_to).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: impl AsRef<Path>,
    ) -> Poll<io::Result<usize>> {
        self.poll_send_raw(cx, buf, &path(target)?)
    }

    /// Same as [`send_to`](UnixDatagram::send_to), but without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if that socket or the send buffer is full, and the errors of
    /// [`send_to`](UnixDatagram::send_to).
    pub fn try_send_to(&self, buf: &[u8], target: impl AsRef<Path>) -> io::Result<usize> {
        let to = path(target)?;
        self.try_send_with(|socket| socket.send_to(buf, &to))
    }

    /// Same as [`send_to`](UnixDatagram::send_to), by an address.
    ///
    /// # Errors
    ///
    /// Same as [`send_to`](UnixDatagram::send_to).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`send`](UnixDatagram::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # fn main() -> std::io::Result<()> {
    /// use reveille::net::UnixDatagram;
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    ///
    /// let name = format!("reveille-echo-{}", std::process::id());
    /// reveille::block_on(async {
    ///     let client = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    ///     let server = UnixDatagram::unbound()?;
    ///     server.send_to_addr(b"hello", &client.local_addr()?).await?;
    ///     assert_eq!(client.recv(&mut [0; 16]).await?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// # #[cfg(not(target_os = "linux"))]
    /// # fn main() {}
    /// ```
    pub async fn send_to_addr(&self, buf: &[u8], target: &SocketAddr) -> io::Result<usize> {
        let to = RawAddr::from(target);
        poll_fn(|cx| self.poll_send_raw(cx, buf, &to)).await
    }

    /// Same as [`poll_send_to`](UnixDatagram::poll_send_to), by an address.
    ///
    /// # Errors
    ///
    /// Same as [`send_to`](UnixDatagram::send_to).
    pub fn poll_send_to_addr(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: &SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.poll_send_raw(cx, buf, &RawAddr::from(target))
    }

    /// Same as [`try_send_to`](UnixDatagram::try_send_to), by an address.
    ///
    /// # Errors
    ///
    /// Same as [`try_send_to`](UnixDatagram::try_send_to).
    pub fn try_send_to_addr(&self, buf: &[u8], target: &SocketAddr) -> io::Result<usize> {
        let to = RawAddr::from(target);
        self.try_send_with(|socket| socket.send_to(buf, &to))
    }

    fn poll_send_raw(&self, cx: &Context<'_>, buf: &[u8], to: &RawAddr) -> Poll<io::Result<usize>> {
        self.poll_send_with(cx, buf.len(), |socket| socket.send_to(buf, to))
    }

    #[inline]
    fn poll_send_with(
        &self,
        cx: &Context<'_>,
        len: usize,
        mut send: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut is_full = false;
        let sent = self.io.poll_io(Direction::Write, cx, len, |socket| {
            let sent = send_unless_full(socket, &mut send)?;
            is_full = sent.is_none();
            Ok(sent.unwrap_or(0))
        });
        self.io.note_write(sent.is_pending());
        let sent = ready!(sent)?;
        if is_full {
            return self.poll_pause(cx).map(Err);
        }
        self.full_peer.reset();
        Poll::Ready(Ok(sent))
    }

    /// Has the task woken after a pause. Returns an error if the runtime is gone.
    #[cold]
    fn poll_pause(&self, cx: &Context<'_>) -> Poll<io::Error> {
        // The send has taken a unit and moved nothing.
        budget::put_back();
        match self.wake_after_pause(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    }

    /// Waits for one pause.
    pub(super) async fn pause(&self) -> io::Result<()> {
        let mut has_begun = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut has_begun, true) {
                return Poll::Ready(Ok(()));
            }
            match self.wake_after_pause(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Has the task woken after a pause, unless a timer will do so already.
    fn wake_after_pause(&self, cx: &Context<'_>) -> io::Result<()> {
        // Off the owner's thread the queue of messages keeps one for each waker, and says if the
        // runtime is gone.
        let pause = match self.io.registration().cached() {
            Some(_) => self.full_peer.pause_of(cx.waker()),
            None => Some(self.full_peer.pause()),
        };
        match pause {
            Some(pause) => self.io.registration().wake_after(pause, cx),
            None => Ok(()),
        }
    }

    fn try_send_with(&self, send: impl FnMut(&Socket) -> io::Result<usize>) -> io::Result<usize> {
        let sent = self.io.try_io(Interest::WRITABLE, || {
            send_unless_full(self.io.socket(), send)
        })?;
        // The cached bit stays, because the socket is writable, and no event would set it again.
        let sent = sent.ok_or(io::ErrorKind::WouldBlock)?;
        self.full_peer.reset();
        Ok(sent)
    }
}

/// Sends a datagram. Returns `None` if the peer is full and no event will report that it has room.
#[inline]
fn send_unless_full(
    socket: &Socket,
    mut send: impl FnMut(&Socket) -> io::Result<usize>,
) -> io::Result<Option<usize>> {
    match send(socket) {
        Ok(sent) => Ok(Some(sent)),
        Err(error) => send_again(socket, error, send),
    }
}

/// As `send_unless_full`, after an error. If the socket is writable now, that may be news: then the
/// second send succeeds. If it fails as well, it is the peer that is full.
#[cold]
fn send_again(
    socket: &Socket,
    error: io::Error,
    mut send: impl FnMut(&Socket) -> io::Result<usize>,
) -> io::Result<Option<usize>> {
    if is_full_peer(&error) {
        return Ok(None);
    }
    if !would_block_writable(socket, &error) {
        return Err(error);
    }
    match send(socket) {
        Err(error) if is_full_peer(&error) => Ok(None),
        Err(error) if would_block_writable(socket, &error) => Ok(None),
        sent => sent.map(Some),
    }
}

/// Whether a send would block although the socket is writable.
pub(super) fn would_block_writable(socket: &Socket, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        && backend::poll_now_ignoring_errors(socket.raw(), Interest::WRITABLE)
            .is_ok_and(Ready::is_writable)
}

fn path(target: impl AsRef<Path>) -> io::Result<RawAddr> {
    Ok(RawAddr::from(&SocketAddr::from_pathname(target)?))
}

/// Makes room for a datagram if there is no spare capacity at all.
fn make_room(buf: &mut Vec<u8>) {
    if buf.len() == buf.capacity() {
        buf.reserve(ROOM);
    }
}
