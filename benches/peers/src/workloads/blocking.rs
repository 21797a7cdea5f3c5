//! Closures on other threads: the round trip from a task to a thread that may block and back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use super::in_task;
use crate::contestant::{Args, Blocking, Micro};
use crate::report::{Meter, Report, quantile};
use crate::sys;

pub fn all<R: Blocking>() -> Vec<Micro> {
    vec![("blocking", blocking::<R>)]
}

/// The clocks of all round trips, with those of the measuring thread alone.
pub struct RoundTrips {
    own: u64,
    meter: Meter,
}

impl RoundTrips {
    #[expect(clippy::new_without_default, reason = "reading clocks is no default")]
    pub fn new() -> RoundTrips {
        RoundTrips {
            own: sys::thread_cpu(),
            meter: Meter::new(),
        }
    }

    /// `times`: of each round trip, in nanoseconds.
    pub fn done(self, mut times: Vec<u64>) -> Report {
        let n = times.len() as u64;
        let own = sys::thread_cpu() - self.own;
        let mut r = self.meter.done(n);
        times.sort_unstable();
        r.set("p50_ns", quantile(&times, 0.5) as f64);
        r.set("p99_ns", quantile(&times, 0.99) as f64);
        r.set("own_cpu_ns", own as f64 / n as f64);
        r
    }
}

/// The closure of this workload. The threads of a pool come from the measuring thread and would
/// stay on its core; each moves to the other one when it runs its first closure.
pub fn closure(core: Option<usize>) -> impl FnOnce() -> u64 + Send + 'static {
    thread_local! {
        static PINNED: Cell<bool> = const { Cell::new(false) };
    }
    move || {
        if let Some(core) = core
            && !PINNED.replace(true)
        {
            let _ = sys::pin(core);
        }
        1
    }
}

async fn round_trips<R: Blocking>(n: u64, core: Option<usize>) -> Vec<u64> {
    let mut times = Vec::with_capacity(n as usize);
    for _ in 0..n {
        let begin = Instant::now();
        assert_eq!(R::unblock(closure(core)).await, 1);
        times.push(begin.elapsed().as_nanos() as u64);
    }
    times
}

/// `k` tasks, each with one closure in flight.
async fn by_tasks<R: Blocking>(k: u64, n: u64, core: Option<usize>) -> Vec<u64> {
    let times = Rc::new(RefCell::new(Vec::with_capacity(n as usize)));
    let mut joins = Vec::with_capacity(k as usize);
    for _ in 0..k {
        let times = times.clone();
        joins.push(R::spawn(async move {
            let own = round_trips::<R>(n.div_ceil(k), core).await;
            times.borrow_mut().extend(own);
        }));
    }
    for join in joins {
        join.await;
    }
    times.take()
}

/// One operation is a closure that returns at once: handed over, run, and its value awaited.
fn blocking<R: Blocking>(a: &Args) -> Report {
    let (n, k, warm, core) = (a.n, a.k.max(1), a.warm, a.peer_core);
    in_task::<R, _>(async move {
        by_tasks::<R>(k, warm.max(k), core).await;
        let clocks = RoundTrips::new();
        let times = by_tasks::<R>(k, n, core).await;
        clocks.done(times)
    })
}
