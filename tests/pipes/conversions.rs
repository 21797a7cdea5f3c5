//! Conversions of descriptors to ends and back, and what is refused.

use super::support::on_every_backend;
use reveille::net::pipe::{Receiver, Sender, pipe};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

fn is_nonblocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: F_GETFL takes no pointer.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

fn refused<T>(result: io::Result<T>, why: &str) {
    let error = result.err().expect("it is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains(why), "{error}");
}

/// A pipe without a runtime: the reading end, and the writing end.
fn raw_pipe() -> (OwnedFd, OwnedFd) {
    let (sender, receiver) = pipe().unwrap();
    let reader = receiver.into_nonblocking_fd().unwrap();
    (reader, sender.into_nonblocking_fd().unwrap())
}

#[test]
fn ends_become_descriptors_and_ends_again() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (reader, writer) = raw_pipe();
            assert!(is_nonblocking(&reader) && is_nonblocking(&writer));
            let sender = Sender::from_file(File::from(writer)).unwrap();
            let receiver = Receiver::from_file(File::from(reader)).unwrap();
            sender.write_all(b"hello").await.unwrap();
            let mut buf = [0; 5];
            receiver.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"hello");

            let mut writer = File::from(sender.into_blocking_fd().unwrap());
            let mut reader = File::from(receiver.into_blocking_fd().unwrap());
            assert!(!is_nonblocking(&reader) && !is_nonblocking(&writer));
            writer.write_all(b"again").unwrap();
            reader.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"again");
        });
    });
}

#[test]
fn blocking_mode_is_refused_and_kept() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            let reader = receiver.into_blocking_fd().unwrap();
            let writer = sender.into_blocking_fd().unwrap();
            let copy = || reader.try_clone().unwrap();
            refused(Receiver::from_owned_fd(copy()), "io::set_nonblocking");
            refused(Receiver::from_file_unchecked(copy().into()), "blocking");
            let copy = || writer.try_clone().unwrap();
            refused(Sender::from_owned_fd(copy()), "io::set_nonblocking");
            refused(Sender::from_owned_fd_unchecked(copy()), "blocking");
            assert!(!is_nonblocking(&reader) && !is_nonblocking(&writer));
        });
    });
}

#[test]
fn the_wrong_end_is_refused() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (reader, writer) = raw_pipe();
            refused(Sender::from_owned_fd(reader), "only for reading");
            refused(Receiver::from_owned_fd(writer), "only for writing");
        });
    });
}

#[test]
fn other_descriptors_are_refused_unless_unchecked() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = UnixStream::pair().unwrap();
            here.set_nonblocking(true).unwrap();
            there.set_nonblocking(true).unwrap();
            let copy = OwnedFd::from(here.try_clone().unwrap());
            refused(Receiver::from_owned_fd(copy), "nor a FIFO");
            let copy = OwnedFd::from(here.try_clone().unwrap());
            refused(Sender::from_owned_fd(copy), "nor a FIFO");

            let sender = Sender::from_owned_fd_unchecked(here.into()).unwrap();
            let receiver = Receiver::from_owned_fd_unchecked(there.into()).unwrap();
            sender.write_all(b"hello").await.unwrap();
            let mut buf = [0; 8];
            assert_eq!(receiver.read(&mut buf).await.unwrap(), 5);

            // The kernel cannot wait for a file.
            let file = File::open("/proc/self/exe")
                .or_else(|_| File::open("/bin/sh"))
                .unwrap();
            // SAFETY: F_SETFL takes an int.
            let set = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
            assert_eq!(set, 0);
            refused(Receiver::from_file(file.try_clone().unwrap()), "nor a FIFO");
            if runtime.backend_name() == "epoll" {
                let error = Receiver::from_file_unchecked(file).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
            }
        });
    });
}

#[test]
fn a_failed_conversion_closes_the_descriptor() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (reader, writer) = raw_pipe();
            refused(Receiver::from_owned_fd(writer), "only for writing");
            // So the pipe has ended.
            let receiver = Receiver::from_owned_fd(reader).unwrap();
            assert_eq!(receiver.read(&mut [0; 8]).await.unwrap(), 0);
        });
    });
}

#[test]
fn ends_show_their_kind_and_number() {
    reveille::block_on(async {
        let (sender, receiver) = pipe().unwrap();
        assert!(format!("{sender:?}").starts_with("Sender { fd: "));
        assert!(format!("{receiver:?}").starts_with("Receiver { fd: "));
        let fd: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(&sender);
        assert_eq!(fd.as_raw_fd(), sender.as_raw_fd());
    });
}

#[test]
fn ends_may_move_to_other_threads() {
    fn send_sync<T: Send + Sync + Unpin>() {}
    send_sync::<Receiver>();
    send_sync::<Sender>();
    send_sync::<reveille::net::pipe::OpenOptions>();
}
