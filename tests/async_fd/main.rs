//! `reveille::io::AsyncFd`: no readiness is lost or invented, and errors have reasons.

mod closed;
#[path = "../support/foreign.rs"]
mod foreign;
mod hang_up;
mod kinds;
mod lifetime;
mod poll_io;
mod readiness;
mod readiness_only;
#[path = "../support/refusing.rs"]
#[allow(dead_code, reason = "each binary uses a part of it")]
mod refusing;
mod syscalls;
mod threads;
mod waiters;
#[path = "../support/watchdog.rs"]
mod watchdog;

use foreign::wait as elsewhere;
use refusing::Refusing;
use reveille::backend::BackendKind;
use reveille::io::{AsyncFd, AsyncFdReadyGuard, Interest, Ready};
use reveille::time::{sleep, timeout};
use reveille::{Builder, Runtime, block_on, spawn, yield_now};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
use watchdog::Watchdog;

const MS: Duration = Duration::from_millis(1);

/// Runs a future on a new runtime.
fn run<F: Future>(future: F) -> F::Output {
    let _watched = Watchdog::of_this_test();
    block_on(future)
}

/// Runs a test on a runtime of each backend of this host.
fn on_every_backend_kind<F: Future>(test: impl Fn(BackendKind) -> F) {
    for kind in BackendKind::ALL {
        let Ok(runtime) = Builder::new().backend(kind).build() else {
            println!("skipped: {kind}");
            continue;
        };
        let _watched = Watchdog::of_this_test();
        runtime.block_on(test(kind));
    }
}

/// Counts the wakes of a waker.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A pair whose first end is registered.
fn pair() -> (AsyncFd<UnixStream>, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    there.set_nonblocking(true).unwrap();
    (AsyncFd::new(here).unwrap(), there)
}

/// Reads until nothing is left, and clears the readiness.
fn drain(guard: &mut AsyncFdReadyGuard<'_, UnixStream>) -> usize {
    let (mut total, mut buf) = (0, [0; 512]);
    while let Ok(read) = guard.try_io(|fd| fd.get_ref().read(&mut buf)) {
        match read.unwrap() {
            0 => break,
            len => total += len,
        }
    }
    total
}

/// Writes until the buffer is full.
fn fill(mut stream: &UnixStream) {
    while stream.write(&[0; 4096]).is_ok() {}
}

/// Returns true if a wait ends within a few turns.
async fn is_ready(fd: &AsyncFd<impl AsFd>, interest: Interest) -> bool {
    match timeout(10 * MS, fd.ready(interest)).await {
        Ok(guard) => {
            guard.unwrap().retain_ready();
            true
        }
        Err(_) => false,
    }
}

/// Returns true if the backend in use can wait for errors alone.
async fn reports_errors() -> bool {
    let (fd, _there) = pair();
    match timeout(MS, fd.ready(Interest::ERROR)).await {
        Ok(Err(error)) => {
            println!("skipped: {error}");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            false
        }
        Ok(Ok(guard)) => panic!("{:?} on an idle socket", guard.ready()),
        Err(_) => true,
    }
}

fn poll_read(fd: &AsyncFd<UnixStream>) -> Poll<io::Result<Ready>> {
    let mut cx = Context::from_waker(Waker::noop());
    fd.poll_read_ready(&mut cx).map(|guard| Ok(guard?.ready()))
}

#[test]
fn async_fd_is_send_and_sync_if_its_value_is() {
    fn both<T: Send + Sync>(_: &T) {}
    run(async {
        let (fd, _there) = pair();
        both(&fd);
        both(&fd.readable());
        both(&fd.writable().await.unwrap());
    });
}
