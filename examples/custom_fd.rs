//! Waiting for descriptors that the crate knows nothing about, with `AsyncFd`.
//!
//! ```text
//! cargo run --example custom_fd
//! ```
//!
//! A shell prints lines, which arrive through a socket pair of the standard library, and makes files, which the kernel
//! reports through inotify (on Linux; elsewhere the lines are all there is). Both are waited for at once, on one thread.
//!
//! Three things are all that it takes: a value that owns the fd (`AsFd`), `O_NONBLOCK` set on it, and a closure that
//! makes the call. `async_io` makes it again, as soon as the fd is ready, as long as it says `WouldBlock`.

use reveille::io::{AsyncFd, Interest};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the shell does, in an empty directory.
const SCRIPT: &str = "for name in one two three; do echo making $name; : > $name; sleep 0.2; done";

fn main() -> io::Result<()> {
    let directory = std::env::temp_dir().join(format!("custom_fd.{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let result = reveille::block_on(watch(&directory));
    std::fs::remove_dir_all(&directory)?;
    result
}

async fn watch(directory: &Path) -> io::Result<()> {
    let files = reveille::spawn(files::report(directory)?);

    let (ours, theirs) = UnixStream::pair()?;
    // The two ends are two open files: the shell's stays blocking, as it expects.
    ours.set_nonblocking(true)?;
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        .spawn()?;

    let output = AsyncFd::with_interest(ours, Interest::READABLE)?;
    let mut buffer = [0; 1024];
    loop {
        let read = output.async_io(Interest::READABLE, |mut stream| stream.read(&mut buffer));
        match read.await? {
            0 => break,
            n => print!("the shell says: {}", String::from_utf8_lossy(&buffer[..n])),
        }
    }
    // It has closed its output, so this waits for hardly anything.
    shell.wait()?;

    files.abort();
    match files.await {
        Ok(result) => result,
        Err(_aborted) => Ok(()),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod files {
    use reveille::io::{AsyncFd, Interest};
    use std::ffi::CString;
    use std::fs::File;
    use std::io::{self, Read};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    /// Prints the name of each file that is made in a directory, until it is aborted.
    pub(super) fn report(
        directory: &Path,
    ) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
        let inotify = AsyncFd::with_interest(new_inotify(directory)?, Interest::READABLE)?;
        Ok(async move {
            let mut buffer = [0; 4096];
            loop {
                let read = inotify.async_io(Interest::READABLE, |mut file| file.read(&mut buffer));
                let n = read.await?;
                for_each_name(&buffer[..n], |name| println!("the kernel says: {name}"));
            }
        })
    }

    /// An inotify descriptor that watches a directory, as a `File`, so that the rest is safe code.
    fn new_inotify(directory: &Path) -> io::Result<File> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: `path` ends with a zero byte and outlives the call, which keeps no pointer.
        let watch =
            unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) };
        if watch == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(fd.into())
    }

    /// Each record is a head of 16 bytes, of which the last four say how long the name is that follows.
    fn for_each_name(mut records: &[u8], mut f: impl FnMut(&str)) {
        while let Some((head, rest)) = records.split_at_checked(16) {
            let len = u32::from_ne_bytes([head[12], head[13], head[14], head[15]]) as usize;
            let Some((name, rest)) = rest.split_at_checked(len) else {
                return;
            };
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            f(&String::from_utf8_lossy(name));
            records = rest;
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod files {
    use std::future::Ready;
    use std::io;
    use std::path::Path;

    pub(super) fn report(_directory: &Path) -> io::Result<Ready<io::Result<()>>> {
        println!("(the files are watched by inotify, which only Linux has)");
        Ok(std::future::ready(Ok(())))
    }
}
