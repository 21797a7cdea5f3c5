//! Waiting for any fd: [`AsyncFd`], and what can be waited for.
//!
//! The socket types of `net` are made of the same parts; this is for everything else the kernel can poll: pipes,
//! terminals, devices, `timerfd`, `eventfd`, `inotify`, the sockets of a C library.
//!
//! [`Interest`] is what is asked for, [`Ready`] what was seen.

#![forbid(unsafe_code)]

mod async_fd;
mod error;
mod link;
mod ready_guard;

pub use crate::interest::{Interest, Readiness as Ready};
pub use async_fd::AsyncFd;
pub use error::{AsyncFdTryNewError, TryIoError};
pub use ready_guard::{AsyncFdReadyGuard, AsyncFdReadyMutGuard};
