//! Kernels that this host is not: each behaves as the manual of the real one says, on the fds of this process, so that the
//! backend for it can be run here. Only in tests.

pub(super) mod kqueue;
