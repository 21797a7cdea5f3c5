//! [`ByteStream`]: the type behind all streams of `net`. Methods of only one kind are in that
//! kind's module (`tcp`, `unix`, `pipe`). Code that is cold or large is in [`RegisteredSocket`],
//! which is not generic.

mod halves;
mod read;
mod readiness;
mod write;

pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};

use super::kind::{Duplex, Kind, Writable};
use super::registered_socket::RegisteredSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::sys::socket::Socket;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A stream of bytes: a TCP connection, a Unix connection, or an end of a pipe.
///
/// Programs use it through the aliases for its kinds, such as [`TcpStream`](super::TcpStream),
/// [`UnixStream`](super::UnixStream) and [`pipe::Sender`](super::pipe::Sender), whose pages have
/// examples.
///
/// All methods take `&self`. One task may read while another one writes. Several tasks may read,
/// and each byte goes to one of them. Dropping the stream closes it.
///
/// | to | waits | returns at once | polls, for futures written by hand |
/// |---|---|---|---|
/// | read | [`read`](ByteStream::read), [`read_exact`](ByteStream::read_exact), [`read_buf`](ByteStream::read_buf), [`read_vectored`](ByteStream::read_vectored), [`peek`](ByteStream::peek) | [`try_read`](ByteStream::try_read), [`try_read_buf`](ByteStream::try_read_buf), [`try_read_vectored`](ByteStream::try_read_vectored), [`try_peek`](ByteStream::try_peek) | [`poll_read`](ByteStream::poll_read), [`poll_read_uninit`](ByteStream::poll_read_uninit), [`poll_read_vectored`](ByteStream::poll_read_vectored), [`poll_peek`](ByteStream::poll_peek) |
/// | write | [`write`](ByteStream::write), [`write_all`](ByteStream::write_all), [`write_vectored`](ByteStream::write_vectored) | [`try_write`](ByteStream::try_write), [`try_write_vectored`](ByteStream::try_write_vectored) | [`poll_write`](ByteStream::poll_write), [`poll_write_vectored`](ByteStream::poll_write_vectored) |
/// | wait for readiness | [`readable`](ByteStream::readable), [`writable`](ByteStream::writable), [`ready`](ByteStream::ready), [`read_closed`](ByteStream::read_closed) | | [`poll_read_ready`](ByteStream::poll_read_ready), [`poll_write_ready`](ByteStream::poll_write_ready) |
/// | make another system call | [`async_io`](ByteStream::async_io) | [`try_io`](ByteStream::try_io) | |
///
/// Generic code uses the traits of `futures-io`, tokio or hyper, each added by the feature of that
/// name. A `&ByteStream` has them too. Reads through the traits of tokio and hyper go into
/// uninitialized memory, and one through hyper's takes at most 64 KiB. The methods of the traits
/// that close or shut down a stream end its writing side, and do nothing for a
/// [pipe](super::pipe#the-end-of-a-pipe). It is no error if the side or the connection was closed
/// before.
///
/// Methods that do not wait make their system call at once, and return `WouldBlock` if there is
/// nothing to do. The wakers of all tasks that poll are kept.
///
/// # Before the first read
///
/// An accepted TCP connection counts as readable and writable: most clients send their request at
/// once, so its first read is tried without a wait. The kernel watches it from the first wait on.
/// If the kernel refuses, for example because too many descriptors are watched, the call that waits
/// returns the error, not `accept`. (On a thread that does not run the stream's runtime, the call
/// returns no error, and is tried again every 32 ms.)
///
/// Any other new stream counts as writable, if it can be written at all, and not as readable. The
/// first [`read`](ByteStream::read) waits until the loop has polled the kernel, even if data is
/// already there. [`try_read`](ByteStream::try_read) finds the data at once.
///
/// # Short reads
///
/// If a read from a TCP stream returns fewer bytes than the buffer holds, the next one waits
/// without a system call. For plain TCP this is right, because nothing can be left, and it saves a
/// system call for most messages. A layer that returns bytes in portions breaks it (kernel TLS
/// returns one record at a time): call
/// [`set_short_read_hint(false)`](ByteStream::set_short_read_hint) there. After urgent data the
/// stream no longer relies on short reads, without such a call.
///
/// A read from a Unix stream also ends after bytes that came with descriptors. On Linux the kernel
/// reports this, or the bytes that were left, and the stream relies on all other short reads. On
/// other systems it relies on none. A receiver of a pipe relies on them only after
/// `set_short_read_hint(true)`.
pub struct ByteStream<K: Kind> {
    io: RegisteredSocket,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> ByteStream<K> {
    pub(super) fn new(io: RegisteredSocket) -> ByteStream<K> {
        ByteStream {
            io,
            kind: PhantomData,
        }
    }

    /// Registers the socket or pipe with this thread's runtime. On failure it is closed.
    pub(super) fn register(
        socket: Socket,
        watch: Watch,
        place: Place,
    ) -> io::Result<ByteStream<K>> {
        RegisteredSocket::new(socket, watch, place).map(ByteStream::new)
    }

    #[inline]
    pub(super) fn socket(&self) -> &Socket {
        self.io.socket()
    }

    pub(super) fn io(&self) -> &RegisteredSocket {
        &self.io
    }

    pub(super) fn into_io(self) -> RegisteredSocket {
        self.io
    }
}

impl<K: Writable> ByteStream<K> {
    /// Ends the writing side, for the write half and for the traits that can close a stream. It is
    /// no error if the peer is gone or the side was ended before: the traits allow closing twice.
    pub(crate) fn close_write(&self) -> io::Result<()> {
        match K::end_writing(&self.io) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }
}

impl<K: Duplex> ByteStream<K> {
    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn local_addr(&self) -> io::Result<K::Addr> {
        K::local_addr(self.socket())
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails, such as `NotConnected` if the connection is gone.
    pub fn peer_addr(&self) -> io::Result<K::Addr> {
        K::peer_addr(self.socket())
    }

    /// Returns and clears the pending error of the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Returns an error if the system call fails.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket().take_error()
    }

    /// Shuts down the reading side, the writing side, or both.
    ///
    /// After [`Shutdown::Write`] the peer reads the end of the stream, and may still send.
    ///
    /// # Errors
    ///
    /// Returns the errors of `shutdown(2)`, such as `NotConnected` if the connection is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use reveille::net::{TcpListener, TcpStream};
    /// use std::net::Shutdown;
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// # let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// client.shutdown(Shutdown::Write)?;
    /// assert_eq!(server.read(&mut [0; 16]).await?, 0);
    /// server.write_all(b"bye").await?;
    /// assert_eq!(client.read(&mut [0; 16]).await?, 3);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.shutdown(how)
    }
}

impl<K: Kind> AsFd for ByteStream<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.lend()
    }
}

impl<K: Kind> AsRawFd for ByteStream<K> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<K: Kind> fmt::Debug for ByteStream<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(K::STREAM);
        K::describe(self.socket(), &mut out);
        out.field("fd", &self.socket().raw()).finish()
    }
}
