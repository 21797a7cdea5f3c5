//! [`Receiver`] and [`Sender`]: conversions, and [`Sender::closed`].

use crate::interest::Interest;
use crate::net::ByteStream;
use crate::net::kind::{Kind, PipeReceiver, PipeSender};
use crate::place::Place;
use crate::reactor::Watch;
use crate::sys::fd::{FileKind, file_kind, set_nonblocking};
use crate::sys::pipe::{OpenMode, set_blocking};
use crate::sys::socket::Socket;
use crate::sys::syscall::failure;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Stdio};

/// The reading end of a pipe. [`ByteStream`] has its methods: reading and waiting.
///
/// A read of 0 bytes means that there is no sender any more. The receiver of a FIFO then reads 0
/// until the next sender opens it. To wait for that sender, keep a sender open in the same program,
/// or open the receiver with [`read_write`](super::OpenOptions::read_write) on Linux. Before the
/// first sender, [`read`](ByteStream::read) waits, and [`try_read`](ByteStream::try_read) returns
/// 0.
///
/// # Examples
///
/// Both ends of a FIFO:
///
/// ```
/// use reveille::net::pipe;
///
/// # fn main() -> std::io::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("reveille-fifo-{}", std::process::id()));
/// # let path = dir.join("fifo");
/// # std::fs::create_dir_all(&dir)?;
/// # std::fs::remove_file(&path).ok();
/// # assert!(std::process::Command::new("mkfifo").arg(&path).status()?.success());
/// reveille::block_on(async {
///     let receiver = pipe::OpenOptions::new().open_receiver(&path)?;
///     let sender = pipe::OpenOptions::new().open_sender(&path)?;
///     sender.write_all(b"hello").await?;
///     let mut buf = [0; 16];
///     assert_eq!(receiver.read(&mut buf).await?, 5);
/// #   std::fs::remove_dir_all(&dir)?;
///     Ok(())
/// })
/// # }
/// ```
///
/// The output of a child process:
///
/// ```
/// use reveille::net::pipe;
/// use std::process::{Command, Stdio};
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
///     let output = pipe::Receiver::try_from(child.stdout.take().expect("it is piped"))?;
///     let mut all = Vec::new();
///     while output.read_buf(&mut all).await? != 0 {}
///     assert_eq!(all, b"hello\n");
///     child.wait()?; // It may block the thread for a moment.
///     Ok(())
/// })
/// # }
/// ```
pub type Receiver = ByteStream<PipeReceiver>;

/// The writing end of a pipe. [`ByteStream`] has its methods: writing and waiting.
///
/// A write waits while the pipe is full. It fails with `BrokenPipe` when there is no receiver any
/// more; see [the module](super) for the signal SIGPIPE. Dropping the last sender ends the pipe.
///
/// # Examples
///
/// The input of a child process:
///
/// ```
/// use reveille::net::pipe;
/// use std::process::{Command, Stdio};
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let mut child = Command::new("cat")
///         .stdin(Stdio::piped())
///         .stdout(Stdio::piped())
///         .spawn()?;
///     let input = pipe::Sender::try_from(child.stdin.take().expect("it is piped"))?;
///     let output = pipe::Receiver::try_from(child.stdout.take().expect("it is piped"))?;
///     input.write_all(b"hello").await?;
///     drop(input); // The child reads the end.
///     let mut all = Vec::new();
///     while output.read_buf(&mut all).await? != 0 {}
///     assert_eq!(all, b"hello");
///     child.wait()?;
///     Ok(())
/// })
/// # }
/// ```
pub type Sender = ByteStream<PipeSender>;

impl Receiver {
    /// Converts a file that is the reading end of a pipe or FIFO. Otherwise the same as
    /// [`from_owned_fd`](Receiver::from_owned_fd).
    ///
    /// # Errors
    ///
    /// Same as [`from_owned_fd`](Receiver::from_owned_fd).
    #[track_caller]
    pub fn from_file(file: File) -> io::Result<Receiver> {
        Receiver::from_owned_fd(file.into())
    }

    /// Converts the reading end of a pipe or FIFO, which must be in non-blocking mode.
    ///
    /// The mode is not changed here, because it belongs to the open file, which other processes may
    /// share.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the descriptor is in blocking mode, is no pipe, or is not open for
    /// reading. Returns an error if no runtime runs on this thread, or if it cannot be registered.
    /// The descriptor is closed on every error.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::pipe;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let (sender, receiver) = pipe::pipe()?;
    ///     let receiver = receiver.into_nonblocking_fd()?;
    ///     let receiver = pipe::Receiver::from_owned_fd(receiver)?;
    ///     sender.write_all(b"hello").await?;
    ///     assert_eq!(receiver.read(&mut [0; 16]).await?, 5);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_owned_fd(fd: OwnedFd) -> io::Result<Receiver> {
        check_pipe(fd.as_fd())?;
        check_reads(fd.as_fd())?;
        Receiver::from_owned_fd_unchecked(fd)
    }

    /// Same as [`from_owned_fd_unchecked`](Receiver::from_owned_fd_unchecked), for a file.
    ///
    /// # Errors
    ///
    /// Same as [`from_owned_fd_unchecked`](Receiver::from_owned_fd_unchecked).
    #[track_caller]
    pub fn from_file_unchecked(file: File) -> io::Result<Receiver> {
        Receiver::from_owned_fd_unchecked(file.into())
    }

    /// Same as [`from_owned_fd`](Receiver::from_owned_fd), but accepts every descriptor in
    /// non-blocking mode that the kernel can wait for, such as a terminal.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the descriptor is in blocking mode. Returns an error if no runtime
    /// runs on this thread, or if it cannot be registered. The descriptor is closed on every error.
    #[track_caller]
    pub fn from_owned_fd_unchecked(fd: OwnedFd) -> io::Result<Receiver> {
        check_mode(fd.as_fd())?;
        adopt(fd, false, false, Place::here())
    }

    /// Converts the pipe of a child that std has started. `place` is where it was started or
    /// converted.
    pub(crate) fn of_child(fd: OwnedFd, place: Place) -> io::Result<Receiver> {
        let fd = nonblocking_pipe(fd)?;
        check_reads(fd.as_fd())?;
        adopt(fd, false, false, place)
    }

    /// Registers an end that this crate has opened.
    #[track_caller]
    pub(super) fn of_own(fd: OwnedFd, unchecked: bool) -> io::Result<Receiver> {
        if !unchecked {
            check_pipe(fd.as_fd())?;
        }
        adopt(fd, false, true, Place::here())
    }

    /// Ends the registration, switches to blocking mode, and returns the descriptor. Most child
    /// processes expect a descriptor in that mode.
    ///
    /// # Errors
    ///
    /// Returns an error if the mode cannot be changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::pipe;
    /// use std::process::Command;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let (sender, receiver) = pipe::pipe()?;
    ///     let mut child = Command::new("cat").stdin(receiver.into_blocking_fd()?).spawn()?;
    ///     sender.write_all(b"hello\n").await?;
    ///     drop(sender);
    ///     child.wait()?; // It blocks the thread.
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        blocking_fd(self)
    }

    /// Ends the registration and returns the descriptor, in non-blocking mode.
    ///
    /// # Errors
    ///
    /// It cannot fail in this version.
    ///
    /// # Examples
    ///
    /// See [`from_owned_fd`](Receiver::from_owned_fd).
    pub fn into_nonblocking_fd(self) -> io::Result<OwnedFd> {
        Ok(self.into_io().into_fd())
    }
}

impl Sender {
    /// Converts a file that is the writing end of a pipe or FIFO. Otherwise the same as
    /// [`from_owned_fd`](Sender::from_owned_fd).
    ///
    /// # Errors
    ///
    /// Same as [`from_owned_fd`](Sender::from_owned_fd).
    #[track_caller]
    pub fn from_file(file: File) -> io::Result<Sender> {
        Sender::from_owned_fd(file.into())
    }

    /// Converts the writing end of a pipe or FIFO, which must be in non-blocking mode.
    ///
    /// The mode is not changed here, because it belongs to the open file, which other processes may
    /// share.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the descriptor is in blocking mode, is no pipe, or is not open for
    /// writing. Returns an error if no runtime runs on this thread, or if it cannot be registered.
    /// The descriptor is closed on every error.
    ///
    /// # Examples
    ///
    /// See [`Receiver::from_owned_fd`].
    #[track_caller]
    pub fn from_owned_fd(fd: OwnedFd) -> io::Result<Sender> {
        check_pipe(fd.as_fd())?;
        check_writes(fd.as_fd())?;
        Sender::from_owned_fd_unchecked(fd)
    }

    /// Same as [`from_owned_fd_unchecked`](Sender::from_owned_fd_unchecked), for a file.
    ///
    /// # Errors
    ///
    /// Same as [`from_owned_fd_unchecked`](Sender::from_owned_fd_unchecked).
    #[track_caller]
    pub fn from_file_unchecked(file: File) -> io::Result<Sender> {
        Sender::from_owned_fd_unchecked(file.into())
    }

    /// Same as [`from_owned_fd`](Sender::from_owned_fd), but accepts every descriptor in
    /// non-blocking mode that the kernel can wait for, such as a terminal.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the descriptor is in blocking mode. Returns an error if no runtime
    /// runs on this thread, or if it cannot be registered. The descriptor is closed on every error.
    #[track_caller]
    pub fn from_owned_fd_unchecked(fd: OwnedFd) -> io::Result<Sender> {
        check_mode(fd.as_fd())?;
        adopt(fd, true, false, Place::here())
    }

    /// Converts the pipe of a child that std has started. `place` is where it was started or
    /// converted.
    pub(crate) fn of_child(fd: OwnedFd, place: Place) -> io::Result<Sender> {
        let fd = nonblocking_pipe(fd)?;
        check_writes(fd.as_fd())?;
        adopt(fd, true, false, place)
    }

    /// Registers an end that this crate has opened.
    #[track_caller]
    pub(super) fn of_own(fd: OwnedFd, unchecked: bool) -> io::Result<Sender> {
        if !unchecked {
            check_pipe(fd.as_fd())?;
        }
        adopt(fd, true, true, Place::here())
    }

    /// Waits until there is no receiver any more. Then nothing that is written will be read, so a
    /// task that computes what to write can give up.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` if the mechanism of the sender's runtime cannot tell, which is the
    /// case for select. Returns an error if the runtime is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::net::pipe;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let (sender, receiver) = pipe::pipe()?;
    ///     drop(receiver);
    ///     match sender.closed().await {
    ///         Ok(()) => {}
    ///         Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
    ///     }
    ///     let error = sender.write(b"hello").await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn closed(&self) -> io::Result<()> {
        self.io().registration().check_reports_errors()?;
        let mut ready = self.io().ready(Interest::ERROR);
        poll_fn(|cx| ready.poll(cx)).await.map(drop)
    }

    /// Ends the registration, switches to blocking mode, and returns the descriptor. Most child
    /// processes expect a descriptor in that mode.
    ///
    /// # Errors
    ///
    /// Returns an error if the mode cannot be changed.
    ///
    /// # Examples
    ///
    /// See [`Receiver::into_blocking_fd`].
    pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        blocking_fd(self)
    }

    /// Ends the registration and returns the descriptor, in non-blocking mode.
    ///
    /// # Errors
    ///
    /// It cannot fail in this version.
    ///
    /// # Examples
    ///
    /// See [`Receiver::from_owned_fd`].
    pub fn into_nonblocking_fd(self) -> io::Result<OwnedFd> {
        Ok(self.into_io().into_fd())
    }
}

/// Converts the parent's end of a child's pipe. Non-blocking mode is switched on here: the child
/// has the other end, so it does not share this one.
impl TryFrom<ChildStdin> for Sender {
    type Error = io::Error;

    #[track_caller]
    fn try_from(stdin: ChildStdin) -> io::Result<Sender> {
        Sender::of_child(stdin.into(), Place::here())
    }
}

/// As for `ChildStdin`: switches to non-blocking mode.
impl TryFrom<ChildStdout> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(stdout: ChildStdout) -> io::Result<Receiver> {
        Receiver::of_child(stdout.into(), Place::here())
    }
}

/// As for `ChildStdin`: switches to non-blocking mode.
impl TryFrom<ChildStderr> for Receiver {
    type Error = io::Error;

    #[track_caller]
    fn try_from(stderr: ChildStderr) -> io::Result<Receiver> {
        Receiver::of_child(stderr.into(), Place::here())
    }
}

/// Ends the registration and switches to blocking mode, as
/// [`into_blocking_fd`](Receiver::into_blocking_fd) does: the end becomes a stream of a process.
impl TryFrom<Receiver> for Stdio {
    type Error = io::Error;

    fn try_from(receiver: Receiver) -> io::Result<Stdio> {
        Ok(receiver.into_blocking_fd()?.into())
    }
}

/// As for a `Receiver`.
impl TryFrom<Sender> for Stdio {
    type Error = io::Error;

    fn try_from(sender: Sender) -> io::Result<Stdio> {
        Ok(sender.into_blocking_fd()?.into())
    }
}

/// Switches a pipe to non-blocking mode. Another file is refused before its mode is changed, which
/// other processes might share: a value of these types can be made of any descriptor.
fn nonblocking_pipe(fd: OwnedFd) -> io::Result<OwnedFd> {
    check_pipe(fd.as_fd())?;
    set_nonblocking(fd.as_fd())?;
    Ok(fd)
}

fn adopt<K: Kind>(
    fd: OwnedFd,
    writes: bool,
    owned: bool,
    place: Place,
) -> io::Result<ByteStream<K>> {
    ByteStream::register(Socket::pipe_end(fd), Watch::Pipe { writes, owned }, place)
}

fn blocking_fd<K: Kind>(end: ByteStream<K>) -> io::Result<OwnedFd> {
    let fd = end.into_io().into_fd();
    set_blocking(fd.as_fd())?;
    Ok(fd)
}

fn check_pipe(fd: BorrowedFd<'_>) -> io::Result<()> {
    if file_kind(fd)? == FileKind::Pipe {
        return Ok(());
    }
    Err(invalid(
        "cannot use this file as the end of a pipe: it is neither a pipe nor a FIFO; if its reads and writes return, use \
         the unchecked conversion",
    ))
}

fn check_reads(fd: BorrowedFd<'_>) -> io::Result<()> {
    if OpenMode::of(fd)?.reads {
        return Ok(());
    }
    Err(invalid(
        "cannot read this end of a pipe: it is open only for writing; make a `Sender` of it",
    ))
}

fn check_writes(fd: BorrowedFd<'_>) -> io::Result<()> {
    if OpenMode::of(fd)?.writes {
        return Ok(());
    }
    Err(invalid(
        "cannot write this end of a pipe: it is open only for reading; make a `Receiver` of it",
    ))
}

/// Returns an error if calls on the fd could block the thread.
fn check_mode(fd: BorrowedFd<'_>) -> io::Result<()> {
    if OpenMode::of(fd)?.nonblocking {
        return Ok(());
    }
    Err(invalid(
        "cannot register this end of a pipe: it is in blocking mode, so a call could stop the whole loop; call \
         `reveille::io::set_nonblocking` first",
    ))
}

fn invalid(why: &str) -> io::Error {
    failure(io::ErrorKind::InvalidInput, why)
}
