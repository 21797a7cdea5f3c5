//! The kinds of byte streams. A kind is a type without values, used as the parameter of
//! [`ByteStream`](super::ByteStream) and [`Listener`](super::Listener).
//!
//! | kind | stream | listener |
//! |---|---|---|
//! | [`Tcp`] | [`TcpStream`](super::TcpStream) | [`TcpListener`](super::TcpListener) |
//! | [`Unix`] | [`UnixStream`](super::UnixStream) | [`UnixListener`](super::UnixListener) |
//! | [`PipeReceiver`] | [`pipe::Receiver`](super::pipe::Receiver), read only | |
//! | [`PipeSender`] | [`pipe::Sender`](super::pipe::Sender), write only | |
//!
//! The traits say what a kind can do. They are sealed: only this crate implements them.
//!
//! # Examples
//!
//! A function for all streams that can be read:
//!
//! ```
//! use reveille::net::ByteStream;
//! use reveille::net::kind::Readable;
//!
//! async fn count<K: Readable>(stream: &ByteStream<K>) -> std::io::Result<usize> {
//!     let (mut buf, mut sum) = ([0; 4096], 0);
//!     loop {
//!         match stream.read(&mut buf).await? {
//!             0 => return Ok(sum),
//!             n => sum += n,
//!         }
//!     }
//! }
//! ```

#![allow(
    private_bounds,
    reason = "the traits are sealed by bounds that other crates cannot name"
)]

use std::fmt;

/// A kind of byte stream.
pub trait Kind: sealed::Kind + fmt::Debug + 'static {}

/// A kind of stream that can be read.
pub trait Readable: Kind + sealed::Reads {}

/// A kind of stream that can be written.
pub trait Writable: Kind + sealed::Writes {}

/// A kind of socket: its streams can be read and written, and have addresses.
pub trait Duplex: Readable + Writable + sealed::Sockets<SocketAddr = Self::Addr> {
    /// The addresses of these sockets.
    type Addr: fmt::Debug;
}

/// TCP.
#[derive(Debug)]
pub enum Tcp {}

/// Unix sockets: streams between processes of one machine.
#[derive(Debug)]
pub enum Unix {}

/// The reading end of a pipe.
#[derive(Debug)]
pub enum PipeReceiver {}

/// The writing end of a pipe.
#[derive(Debug)]
pub enum PipeSender {}

/// The hidden parts of the traits: the system calls of each kind.
pub(super) mod sealed {
    use crate::net::registered_socket::RegisteredSocket;
    use crate::reactor::Watch;
    use crate::sys::socket::Socket;
    use crate::sys::syscall::{Answer, RawAnswer};
    use std::fmt::{self, DebugStruct};
    use std::io::{self, IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::net::Shutdown;

    pub(in crate::net) trait Kind {
        /// The name of the stream type, for `Debug`.
        const STREAM: &'static str;

        /// Adds the fields of a stream that `Debug` shows.
        fn describe(socket: &Socket, out: &mut DebugStruct<'_, '_>);
    }

    /// The calls that read. Interrupted calls return the error. If `again` is true,
    /// the mechanism reports again what a call leaves, so the result need not show it.
    pub(in crate::net) trait Reads {
        /// The result, which says whether a short read proves that nothing is left. (On some
        /// mechanisms, and once a stream relies on no short read, it proves nothing anyway.)
        type Answer: Answer;

        fn read(socket: &Socket, buf: &mut [u8], again: bool) -> Self::Answer;

        fn read_uninit(socket: &Socket, buf: &mut [MaybeUninit<u8>], again: bool) -> Self::Answer;

        /// Reads into the spare capacity.
        fn read_vec(socket: &Socket, buf: &mut Vec<u8>, again: bool) -> Self::Answer;

        fn read_vectored(socket: &Socket, bufs: &mut [IoSliceMut<'_>], again: bool)
        -> Self::Answer;
    }

    /// The calls that write, unless a kind has others. An interrupted call of `write` returns the
    /// error.
    pub(in crate::net) trait Writes {
        /// Whether WRITABLE is watched only while writes block, because otherwise each read of the
        /// peer would be reported.
        const WATCHED_WHILE_FULL: bool = false;

        #[inline]
        fn write(socket: &Socket, buf: &[u8]) -> RawAnswer {
            socket.send_once(buf)
        }

        fn write_vectored(socket: &Socket, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
            socket.send_vectored(bufs)
        }

        /// Ends the writing side, so that the peer reads the end of the stream.
        fn end_writing(io: &RegisteredSocket) -> io::Result<()> {
            io.shutdown(Shutdown::Write)
        }
    }

    pub(in crate::net) trait Sockets {
        /// The name of the listener type, for `Debug`.
        const LISTENER: &'static str;

        type SocketAddr: fmt::Debug;

        /// Returns how a connected stream that this crate made is watched.
        fn watch() -> Watch;

        fn accept(socket: &Socket) -> io::Result<(Socket, Self::SocketAddr)>;

        fn local_addr(socket: &Socket) -> io::Result<Self::SocketAddr>;

        fn peer_addr(socket: &Socket) -> io::Result<Self::SocketAddr>;
    }
}
