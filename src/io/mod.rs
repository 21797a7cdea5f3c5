//! Waiting for any fd with [`AsyncFd`], with the sets [`Interest`] and [`Ready`]; files and
//! standard streams with [`Unblock`].
//!
//! `AsyncFd` is for everything that the kernel can poll and that has no type in
//! [`net`](crate::net): pipes, terminals, devices, `timerfd`, `eventfd`, `inotify`, the sockets of
//! a C library.
//!
//! `Unblock` is for what the kernel cannot poll, above all files, and for standard input and
//! output, whose flags belong to other processes as well.
//!
//! `copy` and `copy_bidirectional` (feature `futures-io`) move bytes between streams.
//!
//! An [`Interest`] says what to wait for. A [`Ready`] says what was found.

#![forbid(unsafe_code)]

mod async_fd;
#[cfg(feature = "futures-io")]
mod copy;
mod error;
mod nonblocking;
mod readiness;
mod readiness_only;
mod ready_guard;
mod registered_fd;
mod unblock;

pub use crate::interest::{Interest, Ready};
pub use async_fd::AsyncFd;
#[cfg(feature = "futures-io")]
pub use copy::{copy, copy_bidirectional};
pub use error::{AsyncFdTryNewError, TryIoError};
pub use nonblocking::set_nonblocking;
pub use readiness_only::ReadinessOnly;
pub use ready_guard::{AsyncFdReadyGuard, AsyncFdReadyMutGuard};
pub use unblock::Unblock;
