//! A small single-threaded async runtime for Unix.
//!
//! It consists of a reactor over the host's mechanism for waiting (epoll, kqueue and others), a
//! timer wheel, and an executor for futures that need not be `Send`. [`block_on`] runs a future on
//! the calling thread and [`spawn`] adds tasks. With the types of [`net`], [`io`] and [`time`]
//! tasks wait for sockets, for any other fd, and for time to pass.
//!
//! # Quick start
//!
//! ```
//! use reveille::net::{TcpListener, TcpStream};
//!
//! fn main() -> std::io::Result<()> {
//!     reveille::block_on(async {
//!         let listener = TcpListener::bind("127.0.0.1:0").await?;
//!         let addr = listener.local_addr()?;
//!         let server = reveille::spawn(async move {
//!             let (stream, _peer) = listener.accept().await?;
//!             stream.write_all(b"good morning").await
//!         });
//!
//!         let client = TcpStream::connect(addr).await?;
//!         let mut greeting = [0; 12];
//!         client.read_exact(&mut greeting).await?;
//!         assert_eq!(&greeting, b"good morning");
//!         server.await?
//!     })
//! }
//! ```
//!
//! # Modules
//!
//! | to | see |
//! |---|---|
//! | run a loop, configure it, end it gracefully, drive it from a host's loop, reach it from other threads | [`runtime`] |
//! | await, abort, name and identify tasks, also in sets; spawn children that borrow | [`task`] |
//! | give a task values of its own | [`task_local!`] |
//! | run code that blocks | [`spawn_blocking`] |
//! | read and write files and standard streams | [`io::Unblock`] |
//! | use TCP, UDP, Unix sockets and pipes | [`net`] |
//! | wait for a device, the fd of a C library | [`io`] |
//! | sleep, limit the time of a future, repeat something periodically | [`time`] |
//! | use handlers instead of futures, in the style of libevent | [`event_loop`] |
//! | choose a kernel mechanism, or write one | [`backend`] |
#![cfg_attr(
    feature = "signal",
    doc = "| wait for Ctrl-C and other Unix signals | [`signal`](mod@signal) |"
)]
#![cfg_attr(
    feature = "process",
    doc = "| start child processes and wait for them | [`process`] |"
)]
#![cfg_attr(
    feature = "hyper",
    doc = "| serve or request HTTP with hyper | [`interop`] |"
)]
#![cfg_attr(
    feature = "conformance",
    doc = "| test a custom mechanism | [`conformance`] |"
)]
//!
//! # One thread
//!
//! A [`Runtime`] belongs to the thread that made it, and its tasks run there. Another thread may
//! spawn tasks through a [`Handle`], wake tasks, and use a socket, timer or [`JoinHandle`] that was
//! moved to it. A wait on another thread sends messages to the runtime's thread, which is slower.
//! To use several cores, run one runtime per thread.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `futures-io` | yes | `AsyncRead` and `AsyncWrite` of `futures-io` for the streams, `AsyncFd` and `Unblock`; `io::copy` |
//! | `hyper` | no | the traits of hyper 1 for the streams, `AsyncFd`, `Unblock` and `Sleep`; the module `interop` |
//! | `tokio` | no | `AsyncRead` and `AsyncWrite` of tokio for the streams, `AsyncFd` and `Unblock`; brings tokio's traits, not its runtime |
//! | `signal` | no | Unix signals: the module `signal`, and `EventLoop::on_signal` |
//! | `process` | no | child processes: the module `process`; turns on `signal` |
//! | `test-util` | no | a clock that tests can pause and move: `time::pause` and related functions |
//! | `conformance` | no | the cases that every backend must pass |
//!
//! # Platforms
//!
//! | mechanism | where | how it is tested |
//! |---|---|---|
//! | epoll, poll, select, real-time signals, io_uring | Linux | by all tests |
//! | poll, select | other Unixes | compiled for the BSDs, macOS, illumos and Solaris; never run there |
//! | kqueue | the BSDs and macOS | over a fake kernel on Linux; compiled for the BSDs and macOS, never run there |
//! | event ports, /dev/poll | illumos and Solaris | over fake kernels on Linux; compiled for both, never run there |
//!
//! [`Builder::backend`] chooses the mechanism. If it is not called, the environment variable
//! `REVEILLE_BACKEND` chooses. If that is not set either, the runtime uses the first one that works
//! of epoll, kqueue, event ports, /dev/poll, poll and select. io_uring and real-time signals are
//! used only if they are chosen. [`backend::available`] lists the mechanisms of this host, and
//! `docs/backends/choosing.md` compares them.

// With it rustdoc says which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!("reveille runs on Unix only");

pub mod backend;
mod blocking;
mod budget;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod event_loop;
mod interest;
pub mod io;
pub mod net;
mod panics;
mod place;
#[cfg(feature = "process")]
pub mod process;
mod reactor;
mod registry;
pub mod runtime;
mod settings;
#[cfg(feature = "signal")]
pub mod signal;
#[cfg(feature = "signal")]
mod signals;
mod sync;
mod sys;
pub mod task;
pub mod time;
mod timer;
mod token;
mod traits;

pub use runtime::{Builder, Handle, Runtime, block_on, spawn, spawn_blocking};
pub use task::{JoinHandle, yield_now};
#[cfg(feature = "hyper")]
pub use traits::interop;

/// The code in the README, compiled with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code in `docs/migrating.md`, compiled with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/migrating.md")]
struct Migrating;

/// The code in `docs/custom_fds.md`, compiled and partly run with the other examples. Most of these
/// files exist on Linux only.
#[cfg(all(doctest, target_os = "linux"))]
#[doc = include_str!("../docs/custom_fds.md")]
struct CustomFds;

/// The code in `docs/guide.md`, compiled and run with the other examples. Some of them need a
/// feature.
#[cfg(all(doctest, feature = "process", feature = "test-util"))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;
