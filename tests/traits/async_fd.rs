//! The traits for `AsyncFd`.

use crate::contract::{End, reader_keeps_the_contract, writer_keeps_the_contract};
use crate::family::{ByFutures, ByHyper, ByTokio, Reader};
use crate::support::on_every_backend;
use crate::support::panics::message_of;
use reveille::io::AsyncFd;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;

/// A registered stream, and its peer in blocking mode.
fn pair() -> (AsyncFd<UnixStream>, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    (AsyncFd::new(here).unwrap(), there)
}

#[test]
fn async_fd_keeps_the_contract_of_readers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (fd, peer) = pair();
            reader_keeps_the_contract(ByFutures(fd), peer, false).await;
            let (fd, peer) = pair();
            reader_keeps_the_contract(ByFutures(&fd), peer, false).await;
            let (fd, peer) = pair();
            reader_keeps_the_contract(ByTokio(fd), peer, true).await;
            let (fd, peer) = pair();
            reader_keeps_the_contract(ByTokio(&fd), peer, true).await;
            let (fd, peer) = pair();
            reader_keeps_the_contract(ByHyper(fd), peer, true).await;
            let (fd, peer) = pair();
            reader_keeps_the_contract(ByHyper(&fd), peer, true).await;
        });
    });
}

/// What ends the stream, since closing an `AsyncFd` does not.
fn end_of(fd: &AsyncFd<UnixStream>) -> End {
    let stream = fd.get_ref().try_clone().unwrap();
    End::Call(Box::new(move || stream.shutdown(Shutdown::Write).unwrap()))
}

#[test]
fn async_fd_keeps_the_contract_of_writers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (fd, peer) = pair();
            let end = end_of(&fd);
            writer_keeps_the_contract(ByFutures(fd), peer, end).await;
            let (fd, peer) = pair();
            writer_keeps_the_contract(ByFutures(&fd), peer, end_of(&fd)).await;
            let (fd, peer) = pair();
            let end = end_of(&fd);
            writer_keeps_the_contract(ByTokio(fd), peer, end).await;
            let (fd, peer) = pair();
            writer_keeps_the_contract(ByTokio(&fd), peer, end_of(&fd)).await;
            let (fd, peer) = pair();
            let end = end_of(&fd);
            writer_keeps_the_contract(ByHyper(fd), peer, end).await;
            let (fd, peer) = pair();
            writer_keeps_the_contract(ByHyper(&fd), peer, end_of(&fd)).await;
        });
    });
}

/// A readable stream that answers by a script.
struct Scripted {
    ready: UnixStream,
    /// How many calls will be interrupted.
    interrupted: Cell<usize>,
    /// What a read returns after that.
    answer: usize,
}

fn scripted(answer: usize) -> (AsyncFd<Scripted>, UnixStream) {
    let (ready, mut peer) = UnixStream::pair().unwrap();
    ready.set_nonblocking(true).unwrap();
    peer.write_all(b"ready").unwrap();
    let scripted = Scripted {
        ready,
        interrupted: Cell::new(3),
        answer,
    };
    (AsyncFd::new(scripted).unwrap(), peer)
}

impl AsFd for Scripted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl Read for &Scripted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let interrupted = self.interrupted.get();
        if interrupted > 0 {
            self.interrupted.set(interrupted - 1);
            return Err(ErrorKind::Interrupted.into());
        }
        buf.fill(b'x');
        Ok(self.answer)
    }
}

impl Read for Scripted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

/// Reads once into 4 bytes, waiting if it must.
async fn read(mut reader: impl Reader) -> Vec<u8> {
    let got = poll_fn(|cx| reader.poll_read(cx, 4)).await;
    got.expect("it is never interrupted").bytes
}

#[test]
fn async_fd_repeats_interrupted_calls() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let fd = || scripted(4);
            assert_eq!(read(ByFutures(fd().0)).await, b"xxxx");
            assert_eq!(read(ByFutures(&fd().0)).await, b"xxxx");
            assert_eq!(read(ByTokio(fd().0)).await, b"xxxx");
            assert_eq!(read(ByTokio(&fd().0)).await, b"xxxx");
            assert_eq!(read(ByHyper(fd().0)).await, b"xxxx");
            assert_eq!(read(ByHyper(&fd().0)).await, b"xxxx");
        });
    });
}

#[test]
fn async_fd_panics_if_its_value_returns_too_much() {
    on_every_backend(|runtime| {
        let fails = |read: Pin<Box<dyn Future<Output = Vec<u8>> + '_>>| {
            let text = message_of(|| drop(runtime.block_on(read)));
            assert!(
                text.contains("returned 5 for a buffer of 4 bytes"),
                "{text}"
            );
        };
        let fds: Vec<_> = runtime.block_on(async { (0..6).map(|_| scripted(5)).collect() });
        let mut fds = fds.into_iter().map(|(fd, _peer)| fd);
        let mut fd = || fds.next().expect("six of them");
        fails(Box::pin(read(ByFutures(fd()))));
        fails(Box::pin(read(ByFutures(&fd()))));
        fails(Box::pin(read(ByTokio(fd()))));
        fails(Box::pin(read(ByTokio(&fd()))));
        fails(Box::pin(read(ByHyper(fd()))));
        fails(Box::pin(read(ByHyper(&fd()))));
    });
}
