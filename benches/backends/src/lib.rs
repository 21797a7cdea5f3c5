//! A ring of socket pairs in which bytes travel, served by one mechanism after the other: what libevent's
//! `bench.c` measures. `run.py` beside this starts the processes, one for each measurement.

mod chain;
mod cli;
mod pairs;
mod pollers;
mod report;
mod sys;
mod timeouts;

pub use cli::main;
