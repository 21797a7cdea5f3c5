//! Unix signals (feature `signal`): [`ctrl_c`], and [`signal()`] for any kind.
//!
//! A signal that arrives in the process is reported to every listener for its kind, on any number
//! of runtimes and threads. Signals of one kind that arrive in a burst may be reported as one, as
//! the system itself does at times. The last one is never lost: after a signal has arrived, every
//! listener returns at least once more.
//!
//! [`EventLoop::on_signal`](crate::event_loop::EventLoop::on_signal) calls a handler instead.
//!
//! # Examples
//!
//! A server that ends on Ctrl-C and on SIGTERM, which service managers send. It drops the
//! connections that are open; [`Runtime::shutdown`](crate::Runtime::shutdown) gives them time to
//! end.
//!
//! ```no_run
//! use reveille::net::TcpListener;
//! use reveille::signal::{SignalKind, signals};
//!
//! fn main() -> std::io::Result<()> {
//!     reveille::block_on(async {
//!         let listener = TcpListener::bind("127.0.0.1:0").await?;
//!         let mut requests = signals(&[SignalKind::interrupt(), SignalKind::terminate()])?;
//!         reveille::spawn(async move {
//!             while let Ok((stream, _)) = listener.accept().await {
//!                 reveille::spawn(async move { stream.write_all(b"hello").await });
//!             }
//!         });
//!         if let Some(kind) = requests.recv().await {
//!             println!("ends because of {kind}");
//!         }
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # What happens to the process
//!
//! The first listener for a kind of signal installs a handler for it, which stays installed for the
//! rest of the process's life. So the default action of the signal, such as ending the process,
//! does **not** come back when the last listener or the runtime is dropped: the signal then does
//! nothing. To still end at Ctrl-C, a program has to keep a listener. If the signal was ignored
//! before, as SIGHUP is under `nohup`, it no longer is.
//!
//! | | what happens |
//! |---|---|
//! | a handler that was installed before | is called as well |
//! | handlers of other crates that use `signal-hook-registry`, such as signal-hook and tokio | are called as well |
//! | a handler that other code installs later by sigaction(2) | replaces this one, unless it calls the former handler |
//! | a program that the process executes | begins with the default action |
//! | a thread that blocks the signal | does not run the handler; another thread does. If all threads block it, the signal waits |
//!
//! The handler adds one to a counter and writes to a descriptor. A loop has one descriptor for all
//! of its signals, open while it has a listener, and its mechanism watches it like any other.
//!
//! # Kinds that are refused
//!
//! | kind | reason |
//! |---|---|
//! | SIGKILL, SIGSTOP | the system lets no program handle them |
//! | SIGSEGV, SIGBUS, SIGILL, SIGFPE | they report a fault of the running code, which would run into it again |
//! | SIGIO, and the real-time signals from `SIGRTMIN + 7` on (Linux, Android) | the mechanism of real-time signals uses them |
//! | signals that the C library keeps for itself, and numbers that are no signals | the system refuses them |
//!
//! # Fork
//!
//! A runtime, and so its listeners, cannot be used in the child of a fork. The child inherits the
//! handlers, which there count signals that nothing reports.
//! [`EventLoop::after_fork`](crate::event_loop::EventLoop::after_fork) makes a callback loop report
//! the signals of the child. If the parent had several threads, one of them may have been adding or
//! removing a listener, or handling a signal, at the moment of the fork: then adding and removing
//! listeners in the child may wait forever, in the registry that all handlers share.

#![forbid(unsafe_code)]

mod ctrl_c;
mod one;
mod several;

pub use crate::signals::SignalKind;
pub use ctrl_c::ctrl_c;
pub use one::{Signal, signal};
pub use several::{Signals, signals};
