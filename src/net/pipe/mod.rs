//! Pipes: [`pipe`] makes one, [`OpenOptions`] opens the ends of a FIFO, which is a pipe with a name
//! in the file system.
//!
//! A [`Receiver`] is read and a [`Sender`] is written, by the methods of
//! [`ByteStream`](super::ByteStream). The module `process` (feature `process`) starts children
//! whose pipes have these types. The pipes of a child that `std` has started become such ends by
//! `TryFrom`.
//!
//! # The end of a pipe
//!
//! | when | the other end |
//! |---|---|
//! | the last sender is dropped, in every process that has it | reads what is left, then 0 |
//! | the last receiver is dropped | writes fail with `BrokenPipe`, including one that waits |
//!
//! There is no other way to end one: `poll_close` and `poll_shutdown` of the traits of other crates
//! do nothing on a sender. Drop it to end the pipe.
//!
//! # SIGPIPE
//!
//! A write to a pipe that has no reader also raises the signal SIGPIPE, which ends a process that
//! does not ignore it. A call on a socket can prevent that; for pipes no portable call can. Rust
//! programs ignore the signal from their start. If the main program is written in another language,
//! make it ignore SIGPIPE.
//!
//! # Large and small writes
//!
//! A write of up to `PIPE_BUF` bytes (4096 on Linux, at least 512) is atomic: the pipe takes all of
//! it or nothing, and bytes of other senders come before or after it. A longer write may be taken
//! in part, and mixed with those of others. On Linux a pipe holds 64 KiB, if no limit is reached.

mod ends;
mod open_options;

pub use ends::{Receiver, Sender};
pub use open_options::OpenOptions;

use super::kind::{Kind, PipeReceiver, PipeSender, Readable, Writable, sealed};
use super::registered_socket::RegisteredSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::registration::check_runtime;
use crate::sys::pipe::pipe as new_pipe;
use crate::sys::socket::Socket;
use crate::sys::syscall::RawAnswer;
use std::fmt::DebugStruct;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// Makes a pipe, and returns its ends.
///
/// To give one end to a child process, turn it into a [`Stdio`](std::process::Stdio) by `TryFrom`,
/// or into a descriptor by [`into_blocking_fd`](Receiver::into_blocking_fd).
///
/// # Errors
///
/// Returns an error if the process or the system has too many open files, or if no runtime runs on
/// this thread.
///
/// # Examples
///
/// ```
/// use reveille::net::pipe;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let (sender, receiver) = pipe::pipe()?;
///     sender.write_all(b"hello").await?;
///     drop(sender);
///
///     let mut all = Vec::new();
///     while receiver.read_buf(&mut all).await? != 0 {}
///     assert_eq!(all, b"hello");
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn pipe() -> io::Result<(Sender, Receiver)> {
    let place = Place::here();
    check_runtime()?;
    let (reader, writer) = new_pipe()?;
    // Only the registration right after the call that made the pipe can tell whether the process
    // has forked since.
    let watch = |writes, owned| Watch::Pipe { writes, owned };
    let sender = Sender::register(Socket::pipe_end(writer), watch(true, true), place)?;
    let receiver = Receiver::register(Socket::pipe_end(reader), watch(false, false), place)?;
    Ok((sender, receiver))
}

impl Kind for PipeReceiver {}
impl Readable for PipeReceiver {}

impl Kind for PipeSender {}
impl Writable for PipeSender {}

impl sealed::Kind for PipeReceiver {
    const STREAM: &'static str = "Receiver";

    fn describe(_: &Socket, _: &mut DebugStruct<'_, '_>) {}
}

impl sealed::Kind for PipeSender {
    const STREAM: &'static str = "Sender";

    fn describe(_: &Socket, _: &mut DebugStruct<'_, '_>) {}
}

impl sealed::Reads for PipeReceiver {
    type Answer = RawAnswer;

    #[inline]
    fn read(socket: &Socket, buf: &mut [u8], _again: bool) -> RawAnswer {
        socket.read_once(buf)
    }

    #[inline]
    fn read_uninit(socket: &Socket, buf: &mut [MaybeUninit<u8>], _again: bool) -> RawAnswer {
        socket.read_uninit_once(buf)
    }

    #[inline]
    fn read_vec(socket: &Socket, buf: &mut Vec<u8>, _again: bool) -> RawAnswer {
        socket.read_vec_once(buf)
    }

    fn read_vectored(socket: &Socket, bufs: &mut [IoSliceMut<'_>], _again: bool) -> RawAnswer {
        socket.read_vectored_once(bufs)
    }
}

impl sealed::Writes for PipeSender {
    #[inline]
    fn write(socket: &Socket, buf: &[u8]) -> RawAnswer {
        socket.write_once(buf)
    }

    fn write_vectored(socket: &Socket, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        socket.write_vectored(bufs)
    }

    /// Does nothing: a pipe ends when its last sender is dropped.
    fn end_writing(_: &RegisteredSocket) -> io::Result<()> {
        Ok(())
    }
}
