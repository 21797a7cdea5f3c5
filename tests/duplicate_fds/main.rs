//! A socket is closed while a duplicate keeps its file open: one that the owner made, sent to
//! another process or left to a forked child, or one that the crate does not know of. Then events
//! of the old file neither wake the loop nor reach the next owner of the number, and the file may
//! be registered again.
//!
//! A program of its own with one test at a time, because forks and numbers concern the whole
//! process.

#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod async_fd;
mod children;
mod exchanged_values;
mod hosts;
mod lent;
mod unknown;
mod unwatched;

use reveille::Runtime;
use reveille::backend::BackendKind;
use reveille::net::TcpStream;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use support::recording::{Call, Record, recorded};
use support::{guarded, std_pair};

const PACKETS: usize = 50;

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test on every backend of this host, with a record of its calls.
fn on_every_mechanism(test: impl Fn(&Runtime, &Record)) {
    let _alone = alone();
    let only = std::env::var("REVEILLE_BACKEND").ok();
    for kind in BackendKind::ALL {
        if only.as_ref().is_some_and(|only| *only != kind.name()) {
            continue;
        }
        guarded(kind.name(), || {
            if let Some((runtime, record)) = recorded(kind) {
                test(&runtime, &record);
            }
        });
    }
}

/// Whether closing a file's only descriptor ends its registration.
fn close_removes(runtime: &Runtime) -> bool {
    matches!(runtime.backend_name(), "epoll" | "kqueue")
}

/// The calls that end a registration whose file may have a duplicate.
fn removed(number: RawFd) -> [Call; 1] {
    [Call::Remove(number)]
}

/// The calls that end a registration whose file has no known duplicate.
fn forgotten(runtime: &Runtime, number: RawFd) -> [Call; 1] {
    match close_removes(runtime) {
        true => [Call::Forget(number)],
        false => [Call::Remove(number)],
    }
}

/// Returns the number of a stream without lending it: the `Debug` output of the stream contains it.
fn number_of(stream: &impl std::fmt::Debug) -> RawFd {
    let text = format!("{stream:?}");
    let digits = text.split("fd: ").nth(1).expect("it prints its number");
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Makes another descriptor of the same file without the crate's knowledge.
fn duplicate(number: RawFd) -> OwnedFd {
    // SAFETY: the number is open; the call makes a descriptor that is ours.
    unsafe {
        let fd = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

/// Gives a file the number `number`, which is free because no other test runs.
fn put_under(number: RawFd, file: BorrowedFd<'_>) -> OwnedFd {
    // SAFETY: the number is not open, so the call makes a descriptor that is ours.
    unsafe {
        assert_eq!(libc::fcntl(number, libc::F_GETFD), -1);
        assert_eq!(libc::dup2(file.as_raw_fd(), number), number);
        OwnedFd::from_raw_fd(number)
    }
}

/// Sends byte after byte, and waits until each has reached `file`.
fn send(peer: &mut std::net::TcpStream, file: &OwnedFd) {
    let file = std::net::TcpStream::from(file.try_clone().unwrap());
    let mut bytes = [0; PACKETS];
    for sent in 1..=PACKETS {
        peer.write_all(b"x").unwrap();
        loop {
            support::arrived(&file);
            match file.peek(&mut bytes) {
                Ok(there) if there == sent => break,
                Ok(_) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Reads the bytes that have reached a file.
fn take(file: &OwnedFd) -> usize {
    let mut reader = std::net::TcpStream::from(file.try_clone().unwrap());
    support::arrived(&reader);
    reader.read(&mut [0; 2 * PACKETS]).unwrap()
}

/// Lets the loop wait a few times.
async fn wait_a_while() {
    for _ in 0..3 {
        reveille::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Polls a future once; it must wait.
async fn waits(mut future: Pin<&mut impl Future>) {
    let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
    assert!(polled, "it does not wait");
}

/// As `std_pair`, with a stream that the mechanism watches, and its calls taken out of the record.
async fn fresh(record: &Record) -> (std::net::TcpStream, TcpStream) {
    let (peer, stream) = std_pair().await;
    peer.set_nodelay(true).unwrap();
    {
        // The first wait makes the mechanism watch it.
        let mut waiting = pin!(stream.readable());
        waits(waiting.as_mut()).await;
    }
    record.calls();
    record.events();
    (peer, stream)
}

/// Registers a file as a new stream, and checks that it reads exactly what its peer sends.
async fn serves(mut peer: std::net::TcpStream, file: OwnedFd) {
    let stream = std::net::TcpStream::from(file);
    stream.set_nonblocking(true).unwrap();
    let stream = TcpStream::from_std(stream).unwrap();
    for byte in [7, 8] {
        peer.write_all(&[byte]).unwrap();
        let mut read = [0; 2];
        assert_eq!(stream.read(&mut read).await.unwrap(), 1);
        assert_eq!(read[0], byte);
        stream.write_all(&[byte + 1]).await.unwrap();
        peer.read_exact(&mut read[..1]).unwrap();
        assert_eq!(read[0], byte + 1);
    }
}

/// Makes a connection with the standard library. It takes the lowest numbers, so make it before a
/// number must be free.
fn plain_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (peer, listener.accept().unwrap().0)
}
