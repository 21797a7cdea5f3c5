//! A small single-threaded async runtime for Unix.

#[cfg(not(unix))]
compile_error!("reveille runs on Unix only");

pub mod backend;
#[allow(dead_code, reason = "used by the layers to come")]
mod budget;
mod interest;
#[allow(dead_code, reason = "used by the I/O types to come")]
mod reactor;
#[allow(dead_code, reason = "used by the layers to come")]
mod registry;
mod sync;
mod sys;
pub mod time;
#[doc(hidden)]
pub mod timer;
mod token;

/// `AsyncFd` and what can be waited for on it.
pub mod io {
    pub use crate::interest::{Interest, Readiness as Ready};
}
