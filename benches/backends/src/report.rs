//! Prints the results of the runs of one process as JSON.

use crate::sys::Times;
use std::fmt::Write;

/// One run.
#[derive(Clone, Copy)]
pub struct Run {
    /// The time to remove and add every pair again, and for one turn without events.
    pub register: Times,
    /// The time from the first turn with events to the last one.
    pub looped: Times,
    pub turns: u64,
    /// The number of events that the mechanism reported.
    pub events: u64,
    /// Of these, the number with nothing to read.
    pub empty: u64,
    /// The number of bytes read.
    pub bytes: u64,
    /// The number of turns that began with a lost signal.
    pub overflows: u64,
}

/// Prints every run; `split` is the loops' CPU in user space and in the kernel.
pub fn print(runs: &[Run], split: (u64, u64)) {
    let mut text = String::from("{");
    let mut row = |name: &str, of: fn(&Run) -> u64| {
        let values: Vec<_> = runs.iter().map(|run| of(run).to_string()).collect();
        let _ = write!(text, "\"{name}\": [{}], ", values.join(", "));
    };
    row("register_wall", |run| run.register.wall);
    row("register_cpu", |run| run.register.cpu);
    row("wall", |run| run.looped.wall);
    row("cpu", |run| run.looped.cpu);
    row("turns", |run| run.turns);
    row("events", |run| run.events);
    row("empty", |run| run.empty);
    row("bytes", |run| run.bytes);
    row("overflows", |run| run.overflows);
    let (user, kernel) = split;
    println!("{text}\"user_us\": {user}, \"kernel_us\": {kernel}}}");
}
