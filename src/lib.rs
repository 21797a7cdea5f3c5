//! A small single-threaded async runtime for Unix.

#[cfg(not(unix))]
compile_error!("reveille runs on Unix only");

pub mod backend;
mod budget;
mod interest;
mod sync;
mod sys;
mod task;
mod token;

/// `AsyncFd` and what can be waited for on it.
pub mod io {
    pub use crate::interest::{Interest, Readiness as Ready};
}
