//! Kernels that this host is not, for tests: each is written from the manual and the source of the real one, sits on the fds of
//! this process, and has the oddities that its backend must deal with.

pub(super) mod devpoll;
pub(super) mod evport;
pub(super) mod kqueue;
