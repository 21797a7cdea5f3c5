//! A small single-threaded async runtime for Unix.

#[cfg(not(unix))]
compile_error!("reveille runs on Unix only");

pub mod backend;
mod budget;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod interest;
pub mod io;
pub mod net;
#[allow(dead_code, reason = "used by the I/O types to come")]
mod reactor;
mod registry;
pub mod runtime;
mod sync;
mod sys;
pub mod task;
pub mod time;
#[doc(hidden)]
pub mod timer;
mod token;

pub use runtime::{Builder, Handle, Runtime, block_on, spawn};
pub use task::{JoinHandle, yield_now};
