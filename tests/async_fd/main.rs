//! `reveille::io::AsyncFd`: readiness is neither lost nor invented, and errors say why.

#[path = "../support/foreign.rs"]
mod foreign;
mod hang_up;
mod kinds;
mod lifetime;
mod readiness;
#[path = "../support/refusing.rs"]
#[allow(dead_code, reason = "each binary uses a part of it")]
mod refusing;
mod syscalls;
mod threads;
mod waiters;

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

const MS: Duration = Duration::from_millis(1);

/// Ends the process after a minute, unless what is returned was dropped by then: a lost wake hangs.
fn watchdog() -> mpsc::Sender<()> {
    let (done, watched) = mpsc::channel();
    let name = thread::current().name().unwrap_or("?").to_owned();
    thread::spawn(move || {
        if watched.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Not by `eprintln!`: what that says is kept back until a test has ended.
            let _ = writeln!(io::stderr(), "{name} hangs");
            std::process::abort();
        }
    });
    done
}

/// Runs a future on a runtime of its own.
fn run<F: Future>(future: F) -> F::Output {
    let _watched = watchdog();
    block_on(future)
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

/// Reads until nothing is left and tells the guard.
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

/// Writes until nothing fits any more.
fn fill(mut stream: &UnixStream) {
    while stream.write(&[0; 4096]).is_ok() {}
}

/// Whether a wait ends at once, or within some turns.
async fn is_ready(fd: &AsyncFd<impl AsFd>, interest: Interest) -> bool {
    match timeout(10 * MS, fd.ready(interest)).await {
        Ok(guard) => {
            guard.unwrap().retain_ready();
            true
        }
        Err(_) => false,
    }
}

/// Whether the running runtime's mechanism lets an error end a wait for nothing else.
async fn tells_errors() -> bool {
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
fn it_is_send_and_sync_if_its_value_is() {
    fn both<T: Send + Sync>(_: &T) {}
    run(async {
        let (fd, _there) = pair();
        both(&fd);
        both(&fd.readable());
        both(&fd.writable().await.unwrap());
    });
}
