//! Comparison benchmark of reveille: one process measures one contestant on one workload.
//!
//! README.md beside this package says what is measured and how; `run.py` starts these processes in
//! interleaved rounds and makes tables and plots of what they print (one JSON object a line).

pub mod batch;
pub mod cli;
pub mod contestant;
pub mod contestants;
pub mod count;
pub mod load;
pub mod report;
pub mod servers;
pub mod sys;
#[cfg(feature = "tls")]
pub mod tls;
pub mod workloads;

pub use cli::main;
