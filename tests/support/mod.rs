//! Helpers that several test programs share.
#![allow(dead_code, unused_imports, reason = "each binary uses a part of it")]

pub(crate) mod counting;
mod directory;
mod foreign;
mod gate;
pub(crate) mod loops;
pub(crate) mod panics;
pub(crate) mod recording;
mod refusing;
mod watchdog;

pub(crate) use directory::Directory;
pub(crate) use foreign::wait;
pub(crate) use gate::{Gate, occupy};
pub(crate) use loops::{Loops, on_every_loop, on_every_trigger};
pub(crate) use refusing::Refusing;
use reveille::backend::BackendKind;
use reveille::net::{TcpListener, TcpStream};
use reveille::{Builder, Runtime};
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Once;
use std::task::Poll;
use std::thread;
use std::time::Duration;
pub(crate) use watchdog::{HangReport, Watchdog};

/// Runs a test on a new runtime of every backend that this host has, or of the one that
/// `REVEILLE_BACKEND` names. A test that hangs aborts the process with its name.
pub(crate) fn on_every_backend(test: impl Fn(&Runtime)) {
    if std::env::var_os("REVEILLE_BACKEND").is_some() {
        let runtime = Runtime::new().expect("the chosen backend is available");
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

/// Runs a test. Aborts the process if it hangs.
pub(crate) fn guarded(backend: &str, test: impl FnOnce()) {
    let name = format!("{:?} on {backend}", thread::current().name());
    println!("{name}");
    let _watched = Watchdog::new(name);
    test();
}

/// Whether ThreadSanitizer runs: `.ci/tools/san.sh` sets this variable only for it. In a forked
/// child of a process with several threads it lets no thread begin or end.
pub(crate) fn is_thread_sanitizer() -> bool {
    std::env::var_os("TSAN_OPTIONS").is_some()
}

/// Under ThreadSanitizer: sends SIGCHLD again and again, because it puts a handler off until its
/// thread makes a call that it knows. The kernel gives the signal to the thread that has started
/// the child or, if that has one already, to another: that of the test harness makes no such call.
pub(crate) fn repeat_sigchld_if_put_off() {
    static BEGUN: Once = Once::new();
    if is_thread_sanitizer() {
        BEGUN.call_once(|| {
            thread::spawn(|| {
                loop {
                    thread::sleep(Duration::from_millis(20));
                    // SAFETY: the call takes no pointer. By default the signal is ignored.
                    assert_eq!(unsafe { libc::raise(libc::SIGCHLD) }, 0);
                }
            });
        });
    }
}

/// How often to do something: less often under ThreadSanitizer, where a switch between threads
/// takes long.
pub(crate) fn rounds(count: u64) -> u64 {
    if is_thread_sanitizer() {
        count / 10
    } else {
        count
    }
}

/// The seeds of a model: `always`, or those that `REVEILLE_MODEL_SEEDS=first..end` names.
pub(crate) fn seeds(always: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("REVEILLE_MODEL_SEEDS") else {
        return always;
    };
    let (first, end) = text.split_once("..").expect("first..end");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// A connection: the side that connected, and the side that accepted.
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

/// A connection with a blocking stream of the standard library on one side.
pub(crate) async fn std_pair() -> (std::net::TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

/// Waits until there is something to read or to accept. Even on one host, data sent through TCP may
/// arrive after the call that sent it has returned.
pub(crate) fn arrived(socket: &impl AsRawFd) {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, alive during the call.
    while unsafe { libc::poll(&mut entry, 1, -1) } != 1 {}
}

/// Reads everything up to the end, with a buffer of that size.
pub(crate) async fn read_to_end(stream: &TcpStream, buf_len: usize) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), vec![0; buf_len]);
    loop {
        match stream.read(&mut buf).await.unwrap() {
            0 => return all,
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

/// Polls a future once with the current task's waker.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// A random number generator with a fixed seed (xorshift).
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

/// Raises the process's limit of open descriptors as far as allowed.
pub(crate) fn raise_descriptor_limit() {
    // SAFETY: an rlimit is two integers; getrlimit fills it, setrlimit reads it.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(65_536);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}
