//! Fuzzers: random operations from a seed, on every backend of the host, with checks of the
//! results.
//!
//! Every test run tries a few fixed seeds. With `REVEILLE_FUZZ_SECONDS=60` a fuzzer tries new seeds
//! for a minute, each on every backend, and prints how many it tried. A seed that fails or hangs
//! prints the command that runs it again, with `REVEILLE_FUZZ_SEED` and `REVEILLE_BACKEND`.
//! `.ci/fuzz.sh` runs the fuzzers under sanitizers.
//!
//! No check depends on speed. Only the watchdog measures time, in minutes. Before it aborts a seed
//! that hangs, it prints the descriptors, the stack of each thread and what the fuzzer was doing.

#[path = "../support/mod.rs"]
mod support;

mod activity;
mod callbacks;
#[cfg(feature = "process")]
mod children;
mod datagrams;
mod foreign;
mod hang;
mod harness;
mod jobs;
mod scopes;
#[cfg(feature = "signal")]
mod signals;
mod streams;
mod tasks;
mod timers;
