//! Measures the mechanisms on a ring of socket pairs in which bytes travel, as libevent's `bench.c`
//! does. `run.py` starts the processes, one for each measurement.

mod chain;
mod cli;
mod pairs;
mod pollers;
mod report;
mod sys;
mod timeouts;

pub use cli::main;
