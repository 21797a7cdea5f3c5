//! `AsyncFd`.

use super::fixture::{Fixture, RemoteThread, half_polled, is_gone, wake_a_task};
use reveille::backend::BackendKind;
use reveille::io::{AsyncFd, Interest};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A stream with a value that must be dropped.
pub(crate) struct Probed(UnixStream, #[allow(dead_code, reason = "counted")] Arc<()>);

impl std::os::fd::AsFd for Probed {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn async_fd(fixture: &Fixture) -> (AsyncFd<Probed>, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let probed = Probed(here, fixture.probe.clone());
    (fixture.make(async { AsyncFd::new(probed).unwrap() }), there)
}

pub(crate) fn async_fd_poll(fixture: &mut Fixture) {
    let (fd, there) = async_fd(fixture);
    let reads = |fd: AsyncFd<Probed>, remote: &RemoteThread| {
        let mut buf = [0; 8];
        let read = |fd: &Probed| (&fd.0).read(&mut buf);
        let read = remote.wait(fd.async_io(Interest::READABLE, read));
        if remote.state.is_gone() {
            is_gone(read);
            is_gone(remote.wait(fd.writable()).map(drop));
            // The value still works, and is returned.
            (&fd.into_inner().0).write_all(b"bye").unwrap();
        } else {
            assert_eq!(&buf[..read.unwrap()], b"hello");
        }
    };
    let deliver = || (&there).write_all(b"hello").unwrap();
    fixture.run(fd, reads, deliver).unwrap();
}

pub(crate) fn async_fd_wake(fixture: &mut Fixture) {
    let (fd, mut there) = async_fd(fixture);
    let reads = async move {
        let mut guard = fd.readable().await.unwrap();
        let read = guard.try_io(|fd| (&fd.get_ref().0).read(&mut [0; 8]));
        assert_eq!(read.unwrap().unwrap(), 5);
    };
    wake_a_task(fixture, reads, move || there.write_all(b"hello").unwrap());
}

pub(crate) fn async_fd_drop(fixture: &mut Fixture) {
    let (fd, mut there) = async_fd(fixture);
    let drops = |fd, remote: &RemoteThread| {
        drop(fd);
        // The value is dropped here, in every state of the runtime.
        ends(&mut there, remote);
    };
    fixture.run(fd, drops, || {}).unwrap();
}

pub(crate) fn async_fd_drop_half_polled(fixture: &mut Fixture) {
    let (fd, mut there) = async_fd(fixture);
    let future = half_polled(fixture, async move {
        let either = Interest::READABLE | Interest::ERROR;
        fd.ready(either).await.map(drop)
    });
    let drops = |future, remote: &RemoteThread| {
        drop(future);
        ends(&mut there, remote);
    };
    fixture.run(future, drops, || {}).unwrap();
}

/// Waits until the peer reads the end of the stream. io_uring keeps a file that it waits for open,
/// so there the owner has to handle the close first.
pub(crate) fn ends(there: &mut UnixStream, remote: &RemoteThread) {
    let name = std::env::var("REVEILLE_BACKEND").unwrap_or_default();
    let is_held = name.parse() == Ok(BackendKind::IoUring);
    if is_held {
        remote.waits();
    }
    assert_eq!(there.read(&mut [0]).unwrap(), 0);
    if !is_held {
        remote.waits();
    }
}
