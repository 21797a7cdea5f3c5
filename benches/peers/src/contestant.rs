//! The trait of contestants, and the list of all of them.
//!
//! The workloads are written once, generic over these traits, so that every contestant runs the
//! same code around its own primitives. Every future here stays on one thread; contestants whose
//! `spawn` asks for `Send` wrap it in [`Solo`].

use std::future::Future;
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::report::Report;
use crate::servers::Server;

pub trait Tasks: 'static {
    type Join: Future + 'static;
    fn block_on<F: Future>(f: F) -> F::Output;
    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join;
    /// For contestants whose handle cancels when dropped.
    fn detach(join: Self::Join) {
        drop(join);
    }
    /// The contestant's own `yield_now`, where it has one.
    fn yield_now() -> impl Future + 'static {
        crate::workloads::tasks::Switch::default()
    }
}

pub trait Timers: Tasks {
    fn sleep(d: Duration) -> impl Future + 'static;
    fn timeout<F: Future + 'static>(d: Duration, f: F) -> impl Future;
}

/// Timers that move to another deadline without being made anew.
pub trait Reset: Timers {
    type Sleep: Future + 'static;
    fn armed(d: Duration) -> Self::Sleep;
    fn reset(sleep: Pin<&mut Self::Sleep>, at: Instant);
}

/// Contestants with threads for closures that block.
pub trait Blocking: Tasks {
    fn unblock<T, F>(f: F) -> impl Future<Output = T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static;
}

/// Contestants with pipes. Buffers are lent and come back, as io_uring wants it.
pub trait Pipes: Tasks {
    type Sender: 'static;
    type Receiver: 'static;
    fn pipe() -> impl Future<Output = (Self::Sender, Self::Receiver)>;
    fn write_all(sender: &mut Self::Sender, data: Vec<u8>) -> impl Future<Output = Vec<u8>>;
    fn read(receiver: &mut Self::Receiver, buf: Vec<u8>) -> impl Future<Output = (usize, Vec<u8>)>;
}

/// Contestants with datagrams.
pub trait Datagrams: Tasks {
    type Socket: 'static;
    fn adopt(socket: std::net::UdpSocket) -> impl Future<Output = Self::Socket>;
    /// Receives `n` datagrams that wait, with their sources.
    fn receive(socket: Self::Socket, n: usize) -> impl Future<Output = Self::Socket>;
}

/// Contestants that can register an fd which no task waits for.
pub trait Fds: Tasks {
    type Fd: 'static;
    fn udp() -> impl Future<Output = Self::Fd>;
}

pub struct Serve {
    pub listener: TcpListener,
    /// Bytes of a connection's buffer.
    pub buffer: usize,
    /// Connections only wait to become readable, without a buffer where the contestant can.
    pub idle: bool,
}

pub struct Args {
    pub n: u64,
    /// Tasks, other timers: the population beside what is measured.
    pub k: u64,
    pub us: u64,
    pub warm: u64,
    pub peer_core: Option<usize>,
}

pub type Micro = (&'static str, fn(&Args) -> Report);

pub struct Contestant {
    pub name: &'static str,
    /// The echo over TCP.
    pub serve: Option<fn(Serve)>,
    pub servers: Vec<Server>,
    pub micro: Vec<Micro>,
    /// Workloads it cannot run, and why.
    pub missing: Vec<(&'static str, &'static str)>,
}

/// Promises `Send` for a future that never leaves its thread: single-threaded runtimes only.
pub struct Solo<F>(pub F);

// SAFETY: every contestant here polls and drops all futures on the thread that made them.
unsafe impl<F> Send for Solo<F> {}

impl<F: Future> Future for Solo<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `.0` is pinned whenever `self` is.
        unsafe { self.map_unchecked_mut(|s| &mut s.0) }.poll(cx)
    }
}

/// The order of tables: references first.
pub const NAMES: &[&str] = &[
    "rawepoll",
    "rawepoll-mmsg",
    "rawuring",
    "rawfut",
    "rawexec",
    "rawwheel",
    "rawwake-park",
    "rawwake-futex",
    "rawwake-epoll",
    "rawwake-read",
    "reveille",
    "reveille-many",
    "reveille-futures",
    "reveille-loop",
    "reveille-precise",
    "reveille-1us",
    "reveille-131us",
    "reveille-524us",
    "reveille-spin-0",
    "reveille-spin-5",
    "reveille-spin-10",
    "reveille-spin-50",
    "tokio",
    "tokio-local",
    "smol",
    "monoio-legacy",
    "monoio-uring",
    "glommio",
    "compio",
];

/// Returns the contestant called `name`, or the reason why it is missing.
pub fn find(name: &str) -> Result<Contestant, String> {
    use crate::contestants as c;
    match name {
        "rawepoll" => Ok(c::rawepoll::contestant()),
        "rawepoll-mmsg" => Ok(c::rawudp::batched()),
        "rawfut" => Ok(c::rawfut::contestant()),
        "rawexec" => Ok(c::rawexec::contestant()),
        "rawwheel" => Ok(c::rawwheel::contestant()),
        "rawwake-park" => Ok(c::rawwake::park()),
        "rawwake-futex" => Ok(c::rawwake::futex()),
        "rawwake-epoll" => Ok(c::rawwake::epoll()),
        "rawwake-read" => Ok(c::rawwake::read()),
        #[cfg(feature = "rawuring")]
        "rawuring" => Ok(c::rawuring::contestant()),
        #[cfg(feature = "reveille")]
        "reveille" => Ok(c::reveille::contestant()),
        #[cfg(feature = "reveille")]
        "reveille-many" => Ok(c::reveille_many::contestant()),
        #[cfg(all(feature = "reveille", feature = "tls"))]
        "reveille-futures" => Ok(c::reveille::futures()),
        #[cfg(feature = "reveille")]
        "reveille-loop" => Ok(c::reveille_loop::contestant()),
        #[cfg(feature = "reveille")]
        "reveille-precise" => Ok(c::reveille_tuned::precise()),
        #[cfg(feature = "reveille")]
        "reveille-1us" => Ok(c::reveille_tuned::fine()),
        #[cfg(feature = "reveille")]
        "reveille-131us" => Ok(c::reveille_tuned::coarse()),
        #[cfg(feature = "reveille")]
        "reveille-524us" => Ok(c::reveille_tuned::coarsest()),
        #[cfg(feature = "reveille")]
        "reveille-spin-0" => Ok(c::reveille_tuned::spin_0()),
        #[cfg(feature = "reveille")]
        "reveille-spin-5" => Ok(c::reveille_tuned::spin_5()),
        #[cfg(feature = "reveille")]
        "reveille-spin-10" => Ok(c::reveille_tuned::spin_10()),
        #[cfg(feature = "reveille")]
        "reveille-spin-50" => Ok(c::reveille_tuned::spin_50()),
        #[cfg(feature = "tokio")]
        "tokio" => Ok(c::tokio::contestant()),
        #[cfg(feature = "tokio")]
        "tokio-local" => Ok(c::tokio_local::contestant()),
        #[cfg(feature = "smol")]
        "smol" => Ok(c::smol::contestant()),
        #[cfg(feature = "monoio")]
        "monoio-legacy" => Ok(c::monoio::legacy()),
        #[cfg(feature = "monoio")]
        "monoio-uring" => Ok(c::monoio::uring()),
        #[cfg(feature = "glommio")]
        "glommio" => Ok(c::glommio::contestant()),
        #[cfg(feature = "compio")]
        "compio" => Ok(c::compio::contestant()),
        _ if NAMES.contains(&name) => Err("not built in: its cargo feature is off".into()),
        _ => Err(format!(
            "no such contestant; there are {}",
            NAMES.join(", ")
        )),
    }
}
