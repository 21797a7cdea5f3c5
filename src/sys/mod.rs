//! System calls as functions that return `io::Result`, with fds as owned or borrowed values.
//!
//! What this layer promises:
//! - every fd that it makes is non-blocking and close-on-exec from its first moment, if the
//!   platform can do that in one call, and as soon as possible otherwise;
//! - a failed call is an `io::Error` with the raw OS code; `errno` is read in one place,
//!   `syscall.rs`;
//! - timeouts are rounded up, never down, and never to zero by accident;
//! - nothing here knows about readiness, wakers or runtimes.
//!
//! `libc` is named only here and in `backend/`. With `task/` these are the only modules that may
//! have unsafe code.

pub(crate) mod addr;
pub(crate) mod clock;
pub(crate) mod datagram;
pub(crate) mod datagram_options;
pub(crate) mod datagram_unix;
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
pub(crate) mod fork_lock;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod mmap;
pub(crate) mod once_box;
pub(crate) mod passing;
pub(crate) mod peer_cred;
pub(crate) mod pipe;
pub(crate) mod poll;
#[cfg(feature = "process")]
pub(crate) mod process;
pub(crate) mod scoped;
pub(crate) mod select;
#[cfg(feature = "signal")]
pub(crate) mod signal;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod signalfd;
pub(crate) mod socket;
pub(crate) mod socket_options;
pub(crate) mod syscall;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod test_fds;
pub(crate) mod thread;
pub(crate) mod timeout;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod timer_slack;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod timerfd;
pub(crate) mod unix_socket;
