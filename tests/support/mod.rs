//! What several test binaries share.
#![allow(dead_code, unused_imports, reason = "each binary uses a part of it")]

mod foreign;
pub(crate) mod loops;
mod refusing;

pub(crate) use foreign::wait;
pub(crate) use loops::{Loops, on_every_loop, on_every_trigger};
pub(crate) use refusing::Refusing;
use reveille::backend::BackendKind;
use reveille::net::{TcpListener, TcpStream};
use reveille::{Builder, Runtime};
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

/// Runs a test on a fresh runtime of every backend that this host has, or of the one that `REVEILLE_BACKEND` names. A
/// test that hangs ends the process and says where.
pub(crate) fn on_every_backend(test: impl Fn(&Runtime)) {
    if std::env::var_os("REVEILLE_BACKEND").is_some() {
        let runtime = Runtime::new().expect("the chosen backend is to be had");
        return guarded("the chosen one", || test(&runtime));
    }
    for kind in BackendKind::ALL {
        match Builder::new().backend(kind).build() {
            Ok(runtime) => guarded(kind.name(), || test(&runtime)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                println!("skipped on {kind}: {error}");
            }
            Err(error) => panic!("{kind}: {error}"),
        }
    }
}

/// Ends the process when `test` takes five minutes: what takes a second may take that on a machine that is slow and busy.
pub(crate) fn guarded(backend: &str, test: impl FnOnce()) {
    let name = format!("{:?} on {backend}", thread::current().name());
    println!("{name}");
    let (done, over) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        if over.recv_timeout(Duration::from_secs(300)) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Not by `eprintln!`: what that says is kept back until a test has ended.
            let _ = writeln!(io::stderr(), "{name} hangs");
            std::process::abort();
        }
    });
    test();
    drop(done);
    guard.join().expect("the guard does not panic");
}

/// The seeds of a model: those that are always run, or those that `REVEILLE_MODEL_SEEDS=first..end` names.
pub(crate) fn seeds(always: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("REVEILLE_MODEL_SEEDS") else {
        return always;
    };
    let (first, end) = text.split_once("..").expect("first..end");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// A connection: the side that connected and the side that accepted.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// A connection whose one side is the standard library's, and blocking.
pub(crate) async fn std_pair() -> (std::net::TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

/// Waits until there is something to read or to accept: what goes through TCP may be on its way for a while, also on this
/// host, when the call that sent it has returned.
pub(crate) fn arrived(socket: &impl AsRawFd) {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, alive during the call.
    while unsafe { libc::poll(&mut entry, 1, -1) } != 1 {}
}

/// Everything up to the end, by a buffer of that size.
pub(crate) async fn read_to_end(stream: &TcpStream, buf_len: usize) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), vec![0; buf_len]);
    loop {
        match stream.read(&mut buf).await.unwrap() {
            0 => return all,
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

/// Polls a future once with the task's own waker.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Numbers that are the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Lets the process open as many descriptors as it may.
pub(crate) fn raise_descriptor_limit() {
    // SAFETY: an rlimit is two integers; getrlimit fills it, setrlimit reads it.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(65_536);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}
