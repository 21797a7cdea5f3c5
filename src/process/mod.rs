//! Child processes (feature `process`): a [`Command`] starts a [`Child`].
//!
//! A [`Command`] has the methods of std's. Three of them start the process:
//!
//! | method | returns |
//! |---|---|
//! | [`output`](Command::output) | a future of the exit status and of what the process has written |
//! | [`status`](Command::status) | a future of the exit status |
//! | [`spawn`](Command::spawn) | a [`Child`], to exchange data with, to signal, and to wait for |
//!
//! They must be called inside a runtime. Waiting for a child does not block the thread, and its
//! pipes are [`ByteStream`](crate::net::ByteStream)s.
//!
//! # Examples
//!
//! ```
//! use reveille::process::Command;
//!
//! fn main() -> std::io::Result<()> {
//!     reveille::block_on(async {
//!         let output = Command::new("echo").arg("hello").output().await?;
//!         assert!(output.status.success());
//!         assert_eq!(output.stdout, b"hello\n");
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # No zombies
//!
//! A process that has ended stays in the system's table, as a zombie, until its parent has waited
//! for it. Every `Child` is waited for, also one that is dropped while its process runs:
//!
//! | the process ends | it is reaped |
//! |---|---|
//! | while the `Child` exists | by [`wait`](Child::wait) or [`try_wait`](Child::try_wait), or by the drop of the `Child` |
//! | after the `Child` was dropped | by the runtime, in the turn that finds the end |
//! | after the runtime was dropped | when the next child is started or dropped, or the next runtime is dropped, on any thread |
//!
//! A dropped `Child` is neither a task nor a reason for the runtime to go on: `block_on` and
//! [`Runtime::run`](crate::Runtime::run) return as if it did not exist. Its process is not ended,
//! unless [`kill_on_drop`](Command::kill_on_drop) is set.
//!
//! Each child is reaped by its own number and never by a wait for any child, so the children of
//! other code in the process are not touched.
//!
//! # How the end of a process is noticed
//!
//! | way | where | cost |
//! |---|---|---|
//! | a *pidfd*, a descriptor that is readable when the process has ended | Linux since 5.3, unless a sandbox or the limit of descriptors refuses it, or the runtime's mechanism cannot watch it | one descriptor for each child |
//! | the signal SIGCHLD, through the runtime's [listeners](crate::signal) | all others, and by [`Command::watch_by_sigchld`] | a system call for each live child of the runtime whenever any child of the process ends; the [handler](crate::signal#what-happens-to-the-process) stays installed |
//!
//! Neither needs a thread. SIGCHLD must not be blocked in all threads, nor may other code replace
//! the handler by one that does not call it.
//!
//! # Signals and process ids
//!
//! [`Child::signal`], [`Child::signal_group`] and [`Child::kill`] never reach a wrong process. The
//! number of a child belongs to it until it is reaped. After that, a `Child` sends no signals.
//!
//! This holds unless other code reaps the child: a call that waits for any child, such as
//! `waitpid(-1)`, or SIGCHLD that the program ignores, so that the system reaps. The exit status is
//! lost then, and waiting returns an error of kind [`NotFound`](std::io::ErrorKind::NotFound). With
//! a pidfd, [`signal`](Child::signal) is still safe, and [`signal_group`](Child::signal_group) is
//! not.
//!
//! # Threads
//!
//! A `Child` is `Send`: it may be waited for, signaled and dropped on any thread. It belongs to the
//! runtime that ran on the thread that started it. After that runtime has ended,
//! [`try_wait`](Child::try_wait) works, and [`wait`](Child::wait) returns an error unless the
//! process has ended.
//!
//! # Fork
//!
//! In the child of a fork, a `Child` of the parent cannot be waited for or signaled: the calls
//! return an error. Dropping it there has no effect on its process, with `kill_on_drop` too.

#![forbid(unsafe_code)]

mod child;
mod command;
mod orphan;
mod running;
mod watch;

pub use child::{Child, ChildStderr, ChildStdin, ChildStdout};
pub use command::Command;
