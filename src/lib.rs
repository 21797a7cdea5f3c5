//! A small single-threaded async runtime for Unix.

#[cfg(not(unix))]
compile_error!("reveille runs on Unix only");

pub mod backend;
mod budget;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod interest;
mod sync;
mod sys;
mod token;

/// `AsyncFd` and what can be waited for on it.
pub mod io {
    pub use crate::interest::{Interest, Readiness as Ready};
}
