//! Kernels that this host is not, for tests: each is written from the manual and the source of the real one, sits on
//! poll(2) over the real fds, and has the oddities that its backend must deal with.

pub(super) mod devpoll;
