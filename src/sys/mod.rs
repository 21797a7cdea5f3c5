//! The operating system below the layers above: system calls as `io::Result`, fds as owned or borrowed values.
//!
//! What this layer promises:
//! - every fd it makes is non-blocking and close-on-exec from its first moment, where the platform can say so in one
//!   call, and as soon as possible after it elsewhere;
//! - a failed call is an `io::Error` with the raw OS code; `errno` is read in one place, `syscall.rs`;
//! - timeouts are rounded up, never down, and never to zero by accident;
//! - nothing here knows about readiness, wakers or runtimes.
//!
//! `libc` is named only here and in `backend/`. With `task/` these are the only modules that may hold unsafe code.

pub(crate) mod addr;
pub(crate) mod clock;
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "illumos"
))]
pub(crate) mod eventfd;
#[cfg(all(test, not(loom)))]
pub(crate) mod fake_waker;
pub(crate) mod fd;
pub(crate) mod fork;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod lab;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod mmap;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod scoped;
pub(crate) mod select;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod syscall;
pub(crate) mod timeout;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod timerfd;
