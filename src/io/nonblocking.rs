//! [`set_nonblocking`]: non-blocking mode for any fd.

use crate::sys::fd;
use std::io;
use std::os::fd::AsFd;

/// Sets `O_NONBLOCK` for any fd, as [`AsyncFd::new`](super::AsyncFd::new) requires, and keeps its
/// other flags.
///
/// The flag belongs to the *open file description*, not to the fd (open(2), fcntl(2)). Every
/// process that shares the description sees the flag:
///
/// | the fd | the description is shared with |
/// |---|---|
/// | was opened or created by this process | its duplicates (`try_clone`, dup(2)), and the children that inherit it |
/// | is 0, 1 or 2, or was inherited in another way | the parent too. The standard streams of a terminal often have one description in common: that of the shell and of all programs that it starts there |
/// | was received through a Unix socket | the sender |
///
/// A program that does not expect the flag fails with `EAGAIN` ("Resource temporarily
/// unavailable"), even after this process has ended, because the flag stays set. So do not set it
/// for the standard streams. Read and write them on another thread, or open the file again, which
/// makes another description (`/dev/tty`; on Linux `/proc/self/fd/0` for a pipe or a terminal).
///
/// # Errors
///
/// Returns the error of fcntl(2).
///
/// # Examples
///
/// The output of a child process:
///
/// ```
/// use reveille::io::{AsyncFd, Interest, set_nonblocking};
/// use std::io::{self, Read};
/// use std::process::{Command, Stdio};
///
/// fn main() -> io::Result<()> {
///     let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
///     let output = child.stdout.take().expect("it is piped");
///     set_nonblocking(&output)?;
///     reveille::block_on(async {
///         let mut output = AsyncFd::with_interest(output, Interest::READABLE)?;
///         let mut buf = [0; 16];
///         let n = output.async_io_mut(Interest::READABLE, |output| output.read(&mut buf)).await?;
///         assert_eq!(&buf[..n], b"hello\n");
///         io::Result::Ok(())
///     })?;
///     child.wait().map(drop)
/// }
/// ```
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    fd::set_nonblocking(fd.as_fd())
}
