//! The output of a measurement: one flat JSON object on one line.

use std::time::Instant;

use crate::{count, sys};

#[derive(Default)]
pub struct Report(Vec<(&'static str, f64)>);

impl Report {
    pub fn set(&mut self, key: &'static str, value: f64) {
        self.0.push((key, value));
    }

    pub fn print(&self, names: &[(&str, &str)]) {
        let names = names.iter().map(|(k, v)| format!("\"{k}\":\"{v}\""));
        let values = self.0.iter().map(|(k, v)| format!("\"{k}\":{v}"));
        println!("{{{}}}", names.chain(values).collect::<Vec<_>>().join(","));
    }
}

/// Clock, CPU time of this process (a runtime may have helper
/// threads) and allocations at one point; [`Meter::done`] takes the difference.
pub struct Meter {
    wall: Instant,
    cpu: u64,
    counts: count::Counts,
}

impl Meter {
    #[expect(
        clippy::new_without_default,
        reason = "reading three clocks is no default"
    )]
    pub fn new() -> Meter {
        Meter {
            counts: count::now(),
            cpu: sys::process_cpu(),
            wall: Instant::now(),
        }
    }

    /// Per-operation times and allocations of `ops` operations since `new`.
    pub fn done(self, ops: u64) -> Report {
        let wall = self.wall.elapsed().as_nanos() as f64;
        let cpu = (sys::process_cpu() - self.cpu) as f64;
        let now = count::now();
        let ops_f = ops as f64;
        let mut r = Report::default();
        r.set("ops", ops_f);
        r.set("ns", wall / ops_f);
        r.set("cpu_ns", cpu / ops_f);
        if count::on() {
            r.set("allocs", (now.calls - self.counts.calls) as f64 / ops_f);
            r.set("bytes", (now.bytes - self.counts.bytes) as f64 / ops_f);
            r.set("live", (now.live as f64 - self.counts.live as f64) / ops_f);
        }
        r
    }
}

/// The value at `q` (0 to 1) of sorted `values`.
pub fn quantile(values: &[u64], q: f64) -> u64 {
    values[((values.len() - 1) as f64 * q).round() as usize]
}
