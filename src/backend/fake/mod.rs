//! Fake kernels for tests: each is written from the manual and the source of the real one, works on
//! the fds of this process, and has the oddities that its backend must handle.

pub(super) mod devpoll;
pub(super) mod evport;
pub(super) mod kqueue;
mod signal;
