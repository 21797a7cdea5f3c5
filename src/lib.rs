//! A small single-threaded async runtime for Unix.
//!
//! It is a reactor over the fd-multiplexing mechanism that the host has, a timer wheel, and an executor for futures
//! that need not be `Send`. [`block_on`] runs a future on the thread that calls it, [`spawn`] adds tasks beside it, and
//! the types of [`net`], [`io`] and [`time`] let them wait for sockets, for any other fd, and for time to pass.
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
//! | to | look in |
//! |---|---|
//! | run a loop, set it up, drive it from a host's loop, reach it from other threads | [`runtime`] |
//! | await, abort or name a spawned task | [`task`] |
//! | talk TCP | [`net`] |
//! | wait for a pipe, a device, the fd of a C library | [`io`] |
//! | sleep, give up after a while, do something again and again | [`time`] |
//! | have handlers called instead, as libevent and its kin do | [`event_loop`] |
//! | choose a kernel mechanism, or write one | [`backend`] |
#![cfg_attr(
    feature = "conformance",
    doc = "| judge a mechanism of one's own | [`conformance`] |"
)]
//!
//! # One thread
//!
//! A [`Runtime`] belongs to the thread that made it, and everything that its tasks touch stays there. Other threads send
//! it messages: through a [`Handle`], a waker, or a socket or timer that was moved to them. That is slower and always
//! right. For more cores run one runtime on each.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `futures-io` | yes | `AsyncRead` and `AsyncWrite` of `futures-io` for the stream types |
//! | `conformance` | no | the cases that every backend must pass |
//!
//! # Platforms
//!
//! | mechanism | where | how it is tested |
//! |---|---|---|
//! | epoll, poll, select, real-time signals, io_uring | Linux | run by every run of the checks |
//! | poll, select | other Unixes | passes the compiler for the BSDs, macOS, illumos and Solaris, never run there |
//! | kqueue | the BSDs and macOS | over a fake kernel on Linux; passes the compiler for its home, never run there |
//! | event ports, /dev/poll | illumos and Solaris | likewise |
//!
//! The mechanism is the one that [`Builder::backend`] names, else the one that the environment variable
//! `REVEILLE_BACKEND` names, else the first that works here of epoll, kqueue, event ports, /dev/poll, poll and select;
//! io_uring and real-time signals are used only when asked for. [`backend::available`] tells what there is, and
//! `docs/backends.md` what is special about each.

#[cfg(not(unix))]
compile_error!("reveille runs on Unix only");

pub mod backend;
mod budget;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod event_loop;
mod interest;
pub mod io;
pub mod net;
mod reactor;
mod registry;
pub mod runtime;
mod sync;
mod sys;
pub mod task;
pub mod time;
#[doc(hidden)]
pub mod timer;
mod token;

pub use runtime::{Builder, Handle, Runtime, block_on, spawn};
pub use task::{JoinHandle, yield_now};

/// The code in the README, compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code in the notes for who comes from tokio.
#[cfg(doctest)]
#[doc = include_str!("../docs/migrating.md")]
struct Migrating;
