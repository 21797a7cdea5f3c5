//! Workloads that do one operation of reveille N times. `.ci/costs.py` counts the cost of one as
//! the difference of two runs with different N, so that work that is done once does not count.

pub mod count;
mod echo;
mod tasks;
mod timers;
mod weight;

use count::Counts;
use std::process::ExitCode;

type Workload = fn(u64) -> Counts;

const ALL: &[(&str, Workload)] = &[
    ("spawn-task", tasks::spawn_task),
    ("spawn-root", tasks::spawn_root),
    ("spawn-batch", tasks::spawn_batch),
    ("switch-1", |n| tasks::switch(n, 1)),
    ("switch-100", |n| tasks::switch(n, 100)),
    ("yield-1", |n| tasks::yields(n, 1)),
    ("yield-100", |n| tasks::yields(n, 100)),
    ("ping-pong", tasks::ping_pong),
    ("timer-0", |n| timers::timer(n, 0)),
    ("timer-10000", |n| timers::timer(n, 10_000)),
    ("reset-later", timers::reset_later),
    ("reset-earlier", timers::reset_earlier),
    ("timeout-ready", timers::timeout_ready),
    ("sleep", timers::sleep),
    ("echo-1", |n| echo::echo(n, 1)),
    ("echo-64", |n| echo::echo(n, 64)),
    ("live-task", weight::task),
    ("live-timer", weight::timer),
    ("live-fd", weight::fd),
];

/// Prints what the counting allocator saw, as JSON.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let found = match &args[..] {
        [name, n] => ALL.iter().find(|work| work.0 == name).zip(n.parse().ok()),
        _ => None,
    };
    let Some((&(_, work), n)) = found else {
        eprintln!("costs WORKLOAD N, where WORKLOAD is one of");
        ALL.iter().for_each(|work| eprintln!("  {}", work.0));
        return ExitCode::from(2);
    };
    let counts = work(n);
    println!(
        r#"{{"allocs": {}, "bytes": {}, "live": {}}}"#,
        counts.allocs, counts.bytes, counts.live
    );
    ExitCode::SUCCESS
}
