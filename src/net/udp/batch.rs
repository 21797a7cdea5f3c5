//! Receiving and sending several datagrams by one system call: [`RecvBatch`], [`Datagram`],
//! [`Outgoing`].

use super::UdpSocket;
use crate::budget;
use crate::interest::Interest;
use crate::reactor::direction::Direction;
use crate::sys::datagram::{MAX_BATCH, SendList, Slots};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// Buffers for [`UdpSocket::recv_many`], and the datagrams that it has received.
///
/// The buffers are allocated once and are not zeroed. Keep a batch and receive into it again and
/// again: nothing is allocated then. A batch that is iterated by reference yields a [`Datagram`]
/// for each datagram, in the order of arrival.
///
/// # Examples
///
/// An echo server that handles up to 32 datagrams at a time:
///
/// ```
/// use reveille::net::{RecvBatch, UdpSocket};
///
/// async fn serve(socket: UdpSocket) -> std::io::Result<()> {
///     let mut batch = RecvBatch::new(32, 1500);
///     loop {
///         let received = socket.recv_many(&mut batch).await?;
///         let mut sent = 0;
///         while sent < received {
///             sent += socket.send_many(batch.iter().skip(sent)).await?;
///         }
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// # reveille::block_on(async {
/// # let socket = UdpSocket::bind("127.0.0.1:0").await?;
/// # let addr = socket.local_addr()?;
/// # reveille::spawn(serve(socket));
/// let client = UdpSocket::bind("127.0.0.1:0").await?;
/// client.send_many(&[(b"one", addr), (b"two", addr)]).await?;
/// let mut buf = [0; 8];
/// assert_eq!(client.recv_from(&mut buf).await?, (3, addr));
/// assert_eq!(client.recv_from(&mut buf).await?, (3, addr));
/// # Ok(())
/// # })
/// # }
/// ```
pub struct RecvBatch {
    slots: Slots,
}

impl RecvBatch {
    /// The most datagrams of one call, whatever the number of buffers.
    pub const MAX_PER_CALL: usize = MAX_BATCH;

    /// Allocates `count` buffers of `len` bytes each.
    ///
    /// A datagram that is longer than `len` is truncated; see [`Datagram::is_truncated`]. More than
    /// [`MAX_PER_CALL`](RecvBatch::MAX_PER_CALL) buffers are of no use.
    ///
    /// # Panics
    ///
    /// If `count` is 0, because nothing could be received, or if the buffers do not fit into
    /// memory.
    ///
    /// # Examples
    ///
    /// See [`RecvBatch`].
    pub fn new(count: usize, len: usize) -> RecvBatch {
        assert!(count > 0, "a batch needs at least one buffer");
        RecvBatch {
            slots: Slots::new(count, len),
        }
    }

    /// Returns the number of datagrams that the last call has received.
    pub fn len(&self) -> usize {
        self.slots.received()
    }

    /// Returns true if no datagram was received yet, or if the last call has failed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of buffers.
    pub fn capacity(&self) -> usize {
        self.slots.count()
    }

    /// Returns the length of each buffer in bytes.
    pub fn buffer_len(&self) -> usize {
        self.slots.slot_len()
    }

    /// Returns a datagram of the last call, by its place in the order of arrival.
    pub fn get(&self, index: usize) -> Option<Datagram<'_>> {
        let (data, addr, truncated) = self.slots.get(index)?;
        Some(Datagram {
            data,
            addr,
            truncated,
        })
    }

    /// Returns an iterator over the datagrams of the last call, in the order of arrival.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{RecvBatch, UdpSocket};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let addr = socket.local_addr()?;
    /// socket.send_to(b"", addr).await?;
    /// socket.send_to(b"too long", addr).await?;
    ///
    /// let mut batch = RecvBatch::new(8, 3);
    /// assert_eq!(socket.recv_many(&mut batch).await?, 2);
    /// assert_eq!((batch.len(), batch.capacity(), batch.buffer_len()), (2, 8, 3));
    /// let data: Vec<&[u8]> = batch.iter().map(|datagram| datagram.data()).collect();
    /// assert_eq!(data, [&b""[..], b"too"]);
    /// for datagram in &batch {
    ///     assert_eq!(datagram.addr(), addr);
    ///     assert_eq!(datagram.is_truncated(), !datagram.data().is_empty());
    /// }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn iter(&self) -> Datagrams<'_> {
        Datagrams {
            batch: self,
            next: 0,
        }
    }
}

impl<'a> IntoIterator for &'a RecvBatch {
    type Item = Datagram<'a>;
    type IntoIter = Datagrams<'a>;

    fn into_iter(self) -> Datagrams<'a> {
        self.iter()
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch")
            .field("received", &self.len())
            .field("capacity", &self.capacity())
            .field("buffer_len", &self.buffer_len())
            .finish_non_exhaustive()
    }
}

/// One datagram of a [`RecvBatch`].
///
/// # Examples
///
/// See [`RecvBatch::iter`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Datagram<'a> {
    data: &'a [u8],
    addr: SocketAddr,
    truncated: bool,
}

impl<'a> Datagram<'a> {
    /// Returns the bytes, which may be none.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Returns the address of the sender.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns true if the datagram was longer than its buffer. The rest is lost.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram")
            .field("len", &self.data.len())
            .field("addr", &self.addr)
            .field("truncated", &self.truncated)
            .finish()
    }
}

/// Iterates over the datagrams of a [`RecvBatch`].
#[derive(Clone, Debug)]
pub struct Datagrams<'a> {
    batch: &'a RecvBatch,
    next: usize,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        let datagram = self.batch.get(self.next)?;
        self.next += 1;
        Some(datagram)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.len() - self.next;
        (left, Some(left))
    }

    // `skip` needs it after a batch of which only a part was sent.
    fn nth(&mut self, n: usize) -> Option<Datagram<'a>> {
        self.next = self.next.saturating_add(n).min(self.batch.len());
        self.next()
    }
}

impl ExactSizeIterator for Datagrams<'_> {}

/// Types that [`UdpSocket::send_many`] can send: bytes and an address, or bytes alone on a
/// connected socket.
///
/// | type | sent to |
/// |---|---|
/// | `&(B, SocketAddr)`, where `B` is `Vec<u8>`, `&[u8]` or another `AsRef<[u8]>` | the address |
/// | `(&[u8], SocketAddr)` | the address |
/// | [`Datagram`] | the address of its sender |
/// | `&[u8]`, `&Vec<u8>` | the peer of [`UdpSocket::connect`] |
///
/// The trait is sealed: it cannot be implemented outside this crate.
///
/// # Examples
///
/// See [`UdpSocket::send_many`].
pub trait Outgoing<'a>: sealed::Parts<'a> {}

impl<'a, T: sealed::Parts<'a>> Outgoing<'a> for T {}

mod sealed {
    use std::net::SocketAddr;

    /// The hidden half of [`Outgoing`](super::Outgoing).
    pub trait Parts<'a> {
        /// Returns the bytes, and the address if there is one.
        fn parts(self) -> (&'a [u8], Option<SocketAddr>);
    }
}

use sealed::Parts;

impl<'a, B: AsRef<[u8]>> Parts<'a> for &'a (B, SocketAddr) {
    fn parts(self) -> (&'a [u8], Option<SocketAddr>) {
        (self.0.as_ref(), Some(self.1))
    }
}

impl<'a> Parts<'a> for (&'a [u8], SocketAddr) {
    fn parts(self) -> (&'a [u8], Option<SocketAddr>) {
        (self.0, Some(self.1))
    }
}

impl<'a> Parts<'a> for Datagram<'a> {
    fn parts(self) -> (&'a [u8], Option<SocketAddr>) {
        (self.data, Some(self.addr))
    }
}

impl<'a> Parts<'a> for &'a [u8] {
    fn parts(self) -> (&'a [u8], Option<SocketAddr>) {
        (self, None)
    }
}

impl<'a> Parts<'a> for &'a Vec<u8> {
    fn parts(self) -> (&'a [u8], Option<SocketAddr>) {
        (self, None)
    }
}

/// Batches.
impl UdpSocket {
    /// Receives all datagrams that are there and fit into the batch, and returns their number,
    /// which is at least 1. It waits only for the first one.
    ///
    /// One call receives up to [`RecvBatch::MAX_PER_CALL`] datagrams: by one system call
    /// (`recvmmsg`) on Linux, Android and NetBSD, and by one for each datagram elsewhere. The batch
    /// then holds these datagrams, and no longer those of the last call. Each datagram counts as
    /// one operation of the task's budget.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`recv_from`](UdpSocket::recv_from). An error after the first
    /// datagram is returned by the next call. After an error the batch is empty.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: datagrams are taken only by the poll that returns their number.
    ///
    /// # Examples
    ///
    /// See [`RecvBatch`].
    pub fn recv_many(&self, batch: &mut RecvBatch) -> impl Future<Output = io::Result<usize>> {
        poll_fn(move |cx| self.poll_recv_many(cx, batch))
    }

    /// Polls for datagrams, for futures written by hand. The wakers of all tasks that poll are
    /// kept. Otherwise it is the same as [`recv_many`](UdpSocket::recv_many).
    ///
    /// # Errors
    ///
    /// Same as [`recv_many`](UdpSocket::recv_many).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{RecvBatch, UdpSocket};
    /// use std::future::poll_fn;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let to_myself = [(b"hello", socket.local_addr()?)];
    /// poll_fn(|cx| socket.poll_send_many(cx, &to_myself)).await?;
    /// let mut batch = RecvBatch::new(8, 1500);
    /// poll_fn(|cx| socket.poll_recv_many(cx, &mut batch)).await?;
    /// # assert_eq!(batch.len(), 1);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn poll_recv_many(
        &self,
        cx: &mut Context<'_>,
        batch: &mut RecvBatch,
    ) -> Poll<io::Result<usize>> {
        batch.slots.restart();
        if let Some(error) = self.take_kept_error() {
            return Poll::Ready(Err(error));
        }
        // A batch that is not full is a short result: nothing is left.
        let len = batch.slots.batch_len();
        let received = self.io.poll_io(Direction::Read, cx, len, |socket| {
            socket.recv_many(&mut batch.slots)
        });
        self.keep_error(batch);
        let received = ready!(received)?;
        spend(received);
        Poll::Ready(Ok(received))
    }

    /// Same as [`recv_many`](UdpSocket::recv_many), but without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if there is no datagram, and the errors of
    /// [`recv_many`](UdpSocket::recv_many).
    ///
    /// # Examples
    ///
    /// See [`try_send_many`](UdpSocket::try_send_many).
    pub fn try_recv_many(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.slots.restart();
        if let Some(error) = self.take_kept_error() {
            return Err(error);
        }
        let received = self.io.try_io(Interest::READABLE, || {
            self.io.socket().recv_many(&mut batch.slots)
        });
        self.keep_error(batch);
        received
    }

    /// Keeps the error behind the datagrams of a batch for the next batch of this socket.
    fn keep_error(&self, batch: &mut RecvBatch) {
        if let Some(code) = batch.slots.take_error() {
            self.kept_error.store(code, Ordering::Relaxed);
        }
    }

    /// Sends datagrams in order, and returns how many were sent, which is at least 1 unless there
    /// are none. It waits only for the first one.
    ///
    /// One call sends up to [`RecvBatch::MAX_PER_CALL`] datagrams: by one system call (`sendmmsg`)
    /// on Linux, Android and NetBSD, and by one for each datagram elsewhere. If fewer were sent
    /// than there are, call it again for the others. [`Outgoing`] has a table of what can be sent.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`send_to`](UdpSocket::send_to) and [`send`](UdpSocket::send). An
    /// error belongs to the first datagram, and then none was sent. If a later datagram fails, the
    /// call ends before it, and the next call begins with it. An [error of the
    /// network](UdpSocket#errors-of-the-network) that comes during a batch may be lost, because the
    /// kernel does not keep it (`sendmmsg(2)`).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: datagrams are sent only by the poll that returns their number.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::UdpSocket;
    /// use std::net::SocketAddr;
    ///
    /// type List = [(Vec<u8>, SocketAddr)];
    ///
    /// async fn send_all(socket: &UdpSocket, list: &List) -> std::io::Result<()> {
    ///     let mut sent = 0;
    ///     while sent < list.len() {
    ///         sent += socket.send_many(&list[sent..]).await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let addr = socket.local_addr()?;
    /// send_all(&socket, &[(b"one".to_vec(), addr), (b"two".to_vec(), addr)]).await?;
    ///
    /// // A connected socket needs no addresses.
    /// socket.connect(addr).await?;
    /// assert_eq!(socket.send_many([&b"three"[..], b"four"]).await?, 2);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn send_many<'a, I>(&self, datagrams: I) -> io::Result<usize>
    where
        I: IntoIterator<Item: Outgoing<'a>> + Clone,
    {
        poll_fn(|cx| self.poll_send_many(cx, datagrams.clone())).await
    }

    /// Polls to send datagrams, for futures written by hand. The wakers of all tasks that poll are
    /// kept. Otherwise it is the same as [`send_many`](UdpSocket::send_many).
    ///
    /// # Errors
    ///
    /// Same as [`send_many`](UdpSocket::send_many).
    ///
    /// # Examples
    ///
    /// See [`poll_recv_many`](UdpSocket::poll_recv_many).
    pub fn poll_send_many<'a, I>(
        &self,
        cx: &mut Context<'_>,
        datagrams: I,
    ) -> Poll<io::Result<usize>>
    where
        I: IntoIterator<Item: Outgoing<'a>> + Clone,
    {
        ready!(budget::check(cx));
        // Before anything is borrowed, because the iterator is code of the user.
        let mut list = SendList::new();
        collect(&mut list, datagrams);
        if list.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // Length 0: no result is short, because a batch may end for another reason.
        let sent = self.poll_send_with(cx, 0, |socket| socket.send_many(&list));
        let sent = ready!(sent)?;
        spend(sent);
        Poll::Ready(Ok(sent))
    }

    /// Same as [`send_many`](UdpSocket::send_many), but without waiting.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if the send buffer is full, and the errors of
    /// [`send_many`](UdpSocket::send_many).
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{RecvBatch, UdpSocket};
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let socket = UdpSocket::bind("127.0.0.1:0").await?;
    /// let addr = socket.local_addr()?;
    /// let mut batch = RecvBatch::new(8, 1500);
    /// let nothing = socket.try_recv_many(&mut batch);
    /// assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    ///
    /// assert_eq!(socket.try_send_many(&[(b"one", addr), (b"two", addr)])?, 2);
    /// socket.readable().await?;
    /// assert_eq!(socket.try_recv_many(&mut batch)?, 2);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn try_send_many<'a, I>(&self, datagrams: I) -> io::Result<usize>
    where
        I: IntoIterator<Item: Outgoing<'a>>,
    {
        let mut list = SendList::new();
        collect(&mut list, datagrams);
        self.io
            .try_io(Interest::WRITABLE, || self.io.socket().send_many(&list))
    }
}

/// Collects the first datagrams, as many as one call can send. A list is large, so it is filled in
/// its place.
fn collect<'a>(list: &mut SendList<'a>, datagrams: impl IntoIterator<Item: Outgoing<'a>>) {
    for datagram in datagrams.into_iter().take(MAX_BATCH) {
        let (data, to) = datagram.parts();
        list.push(data, to);
    }
}

/// Takes the units of the budget for a batch, of which the call has taken one.
fn spend(datagrams: usize) {
    for _ in 1..datagrams {
        budget::spend();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Where a batch is received by several calls, the last of them takes the socket's error.
    #[test]
    fn error_behind_a_batch_stays_with_its_socket() {
        /// Any code will do.
        const CODE: i32 = 22;
        crate::block_on(async {
            let any = "127.0.0.1:0";
            let socket = UdpSocket::bind(any).await.unwrap();
            let other = UdpSocket::bind(any).await.unwrap();
            let mut batch = RecvBatch::new(2, 4);
            for take in [0, 1, 2] {
                socket.kept_error.store(CODE, Ordering::Relaxed);
                other
                    .send_to(b"one", other.local_addr().unwrap())
                    .await
                    .unwrap();
                assert_eq!(other.recv_many(&mut batch).await.unwrap(), 1);
                let error = match take {
                    0 => socket.recv_many(&mut batch).await.unwrap_err(),
                    1 => socket.try_recv_many(&mut batch).unwrap_err(),
                    _ => socket.take_error().unwrap().expect("it is kept"),
                };
                assert_eq!(error.raw_os_error(), Some(CODE));
                assert!(socket.take_error().unwrap().is_none());
            }
        });
    }
}
