//! [`OpenOptions`]: how an end of a FIFO is opened.

use super::{Receiver, Sender};
use crate::reactor::registration::check_runtime;
use crate::sys::pipe;
use std::fs::File;
use std::io;
use std::path::Path;

/// Options for opening an end of a FIFO: a pipe with a name in the file system, such as mkfifo(1)
/// makes.
///
/// # Examples
///
/// Wait for a program that reads the FIFO:
///
/// ```no_run
/// use reveille::net::pipe;
/// use reveille::time::sleep;
/// use std::io::ErrorKind;
/// use std::time::Duration;
///
/// async fn open(path: &str) -> std::io::Result<pipe::Sender> {
///     const ENXIO: i32 = 6;
///     loop {
///         match pipe::OpenOptions::new().open_sender(path) {
///             Err(error) if error.raw_os_error() == Some(ENXIO) => {}
///             opened => return opened,
///         }
///         // No program has it open for reading.
///         sleep(Duration::from_millis(50)).await;
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    read_write: bool,
    unchecked: bool,
}

impl OpenOptions {
    /// Returns options that are all false.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Sets whether the FIFO is opened for reading and writing, although the end does only one of
    /// them. Only Linux is known to allow it.
    ///
    /// | | false, the default | true |
    /// |---|---|---|
    /// | a receiver | reads 0 while there is no sender, once there was one | never reads 0, and waits for the next sender |
    /// | a sender | cannot be opened while there is no receiver | can. It never fails with `BrokenPipe`; what it writes waits for the next receiver |
    ///
    /// # Examples
    ///
    /// Serve clients that come and go:
    ///
    /// ```no_run
    /// use reveille::net::pipe;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # reveille::block_on(async {
    /// let commands = pipe::OpenOptions::new()
    ///     .read_write(true)
    ///     .open_receiver("/run/server/commands")?;
    /// let mut buf = [0; 4096];
    /// loop {
    ///     let n = commands.read(&mut buf).await?;
    ///     println!("{}", String::from_utf8_lossy(&buf[..n]));
    /// }
    /// # })
    /// # }
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn read_write(&mut self, value: bool) -> &mut OpenOptions {
        self.read_write = value;
        self
    }

    /// Sets whether files that are no FIFO are accepted too. By default they are refused; this
    /// check costs a system call.
    pub fn unchecked(&mut self, value: bool) -> &mut OpenOptions {
        self.unchecked = value;
        self
    }

    /// Opens the reading end. It does not wait for a sender: the first read does.
    ///
    /// # Errors
    ///
    /// Returns the errors of `open(2)`, and `InvalidInput` if the file is no FIFO. Returns an error
    /// if no runtime runs on this thread.
    ///
    /// # Examples
    ///
    /// See [`Receiver`].
    #[track_caller]
    pub fn open_receiver(&self, path: impl AsRef<Path>) -> io::Result<Receiver> {
        let file = self.open(path.as_ref(), true, self.read_write)?;
        Receiver::of_own(file.into(), self.unchecked)
    }

    /// Opens the writing end.
    ///
    /// # Errors
    ///
    /// Returns `ENXIO` if there is no receiver, other errors of `open(2)`, and `InvalidInput` if
    /// the file is no FIFO. Returns an error if no runtime runs on this thread.
    ///
    /// # Examples
    ///
    /// See [`Receiver`].
    #[track_caller]
    pub fn open_sender(&self, path: impl AsRef<Path>) -> io::Result<Sender> {
        let file = self.open(path.as_ref(), self.read_write, true)?;
        Sender::of_own(file.into(), self.unchecked)
    }

    fn open(&self, path: &Path, reads: bool, writes: bool) -> io::Result<File> {
        check_runtime()?;
        pipe::open(path, reads, writes)
    }
}
