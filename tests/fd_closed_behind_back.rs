//! A library closes a descriptor without the knowledge of its `AsyncFd`, and another file gets the
//! number before the `AsyncFd` is dropped. This mistake does not affect the other file: it can be
//! registered, and its events are reported.

mod support;

use reveille::Runtime;
use reveille::io::{AsyncFd, Interest};
use reveille::net::TcpListener;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use support::on_every_backend;

/// A descriptor that its library has closed.
struct Closed(RawFd);

impl AsFd for Closed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: violated on purpose: the number is not open, or names another file. No code reads
        // or writes through it.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// Returns a number for `file` that no other code in the process gets by chance.
fn number_of(file: impl Into<OwnedFd>) -> OwnedFd {
    let file = file.into();
    // SAFETY: the fd is open; the call has just made the new one.
    unsafe {
        let number = libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 900);
        assert!(number >= 900, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(number)
    }
}

/// Registers a file, and makes its number name another file in one step.
fn replace(first: impl Into<OwnedFd>, second: impl Into<OwnedFd>) -> (AsyncFd<Closed>, OwnedFd) {
    let number = number_of(first);
    let closed = Closed(number.as_raw_fd());
    let late = AsyncFd::with_interest(closed, Interest::READABLE).unwrap();
    let second = second.into();
    // SAFETY: both are open. The owner of the number still owns it, although it names another file.
    let moved = unsafe { libc::dup2(second.as_raw_fd(), number.as_raw_fd()) };
    assert_eq!(moved, number.as_raw_fd());
    (late, number)
}

fn pair() -> (UnixStream, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    there.set_nonblocking(true).unwrap();
    (here, there)
}

/// Asserts that the new file can be registered and is reported after `make_ready`, and that the end
/// of the old registration changes nothing.
fn is_reported(runtime: &Runtime, files: (OwnedFd, OwnedFd), mut make_ready: impl FnMut()) {
    runtime.block_on(async {
        let (late, number) = replace(files.0, files.1);
        let next = AsyncFd::with_interest(File::from(number), Interest::READABLE).unwrap();
        let mut late = Some(late);
        for _ in 0..2 {
            let mut wait = std::pin::pin!(next.readable());
            assert!(support::poll_once(&mut wait).await.is_pending());
            make_ready();
            wait.await.unwrap().clear_ready();
            let _ = next.get_ref().read(&mut [0; 8]).unwrap();
            drop(late.take());
        }
    });
}

#[test]
fn reused_number_of_a_socket_is_registered() {
    on_every_backend(|runtime| {
        let (first, _peer) = pair();
        let (second, mut there) = pair();
        let files = (first.into(), second.into());
        is_reported(runtime, files, || there.write_all(b"x").unwrap());
    });
}

/// All event fds have the same inode.
#[cfg(target_os = "linux")]
#[test]
fn reused_number_of_an_event_fd_is_registered() {
    fn counter() -> File {
        // SAFETY: the call has just made the fd.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            File::from_raw_fd(fd)
        }
    }
    on_every_backend(|runtime| {
        let second = counter();
        let mut writer = second.try_clone().unwrap();
        let files = (counter().into(), second.into());
        is_reported(runtime, files, || {
            writer.write_all(&1_u64.to_ne_bytes()).unwrap();
        });
    });
}

/// The same pipe, opened twice: one inode, two open files.
#[cfg(target_os = "linux")]
#[test]
fn reused_number_of_the_same_pipe_is_registered() {
    on_every_backend(|runtime| {
        let mut ends = [0; 2];
        // SAFETY: the call fills both, and no other code knows them.
        let [reader, mut writer] = unsafe {
            let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), flags), 0);
            ends.map(|end| File::from_raw_fd(end))
        };
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let again = {
            use std::os::unix::fs::OpenOptionsExt;
            let mut options = File::options();
            options.read(true).custom_flags(libc::O_NONBLOCK).open(path)
        };
        let files = (reader.into(), again.unwrap().into());
        is_reported(runtime, files, || writer.write_all(b"x").unwrap());
    });
}

/// The code that accepts connections cannot know that the library closed the number.
#[test]
fn accept_takes_a_reused_number() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for _ in 0..20 {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let mut client = std::net::TcpStream::connect(address).unwrap();
                support::arrived(&listener);
                let (socket, _peer) = pair();
                let number = socket.into_raw_fd();
                let closed = Closed(number);
                let late = AsyncFd::with_interest(closed, Interest::READABLE).unwrap();
                // SAFETY: it is open. If another test gets the number, this test proves nothing and
                // does no harm.
                unsafe { libc::close(number) };
                let (stream, _) = listener.accept().await.unwrap();
                drop(late);
                client.write_all(b"x").unwrap();
                assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 1);
            }
        });
    });
}

/// Registering one file twice is still an error.
#[test]
fn register_refuses_the_same_file_twice() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, _there) = pair();
            let first = AsyncFd::new(here.as_fd()).unwrap();
            let second = AsyncFd::new(here.as_fd()).unwrap_err();
            assert_eq!(second.kind(), std::io::ErrorKind::AlreadyExists);
            drop(first);
            drop(AsyncFd::new(here.as_fd()).unwrap());
        });
    });
}
