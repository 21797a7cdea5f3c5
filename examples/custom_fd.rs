//! Waiting for any file descriptor with `AsyncFd`.
//!
//! ```text
//! cargo run --example custom_fd
//! ```
//!
//! A shell prints lines and creates files. The lines arrive through a socket pair of the standard
//! library. The files are reported by inotify, on Linux only. One thread waits for both.
//!
//! `AsyncFd` needs a value that owns the fd (`AsFd`), `O_NONBLOCK` set on the fd, and a closure
//! that makes the system call. While the closure returns `WouldBlock`, `async_io` waits until the
//! fd is ready and calls it again.

use reveille::io::{AsyncFd, Interest};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// The script of the shell, which runs in an empty directory.
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
    // The two ends are two open files, so the shell's end stays in blocking mode, as the shell
    // expects.
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
            n => print!("shell: {}", String::from_utf8_lossy(&buffer[..n])),
        }
    }
    // The shell has closed its output, so this hardly waits.
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

    /// Prints the name of each file that is created in a directory, until it is aborted.
    pub(super) fn report(
        directory: &Path,
    ) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
        let inotify = AsyncFd::with_interest(new_inotify(directory)?, Interest::READABLE)?;
        Ok(async move {
            let mut buffer = [0; 4096];
            loop {
                let read = inotify.async_io(Interest::READABLE, |mut file| file.read(&mut buffer));
                let n = read.await?;
                for_each_name(&buffer[..n], |name| println!("inotify: {name}"));
            }
        })
    }

    /// Returns an inotify descriptor that watches a directory, as a `File`, so that the rest is
    /// safe code.
    fn new_inotify(directory: &Path) -> io::Result<File> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned this descriptor, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: `path` ends with a zero byte and outlives the call, which keeps no pointer.
        let watch =
            unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) };
        if watch == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(fd.into())
    }

    /// Calls `f` with each name. A record is a head of 16 bytes and a name, whose length is in the
    /// last four bytes of the head.
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
        println!("files are not reported: inotify needs Linux");
        Ok(std::future::ready(Ok(())))
    }
}
