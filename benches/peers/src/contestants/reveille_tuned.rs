//! reveille with other settings: other ticks, and a timer fd for the waits (timers alone); another
//! time to spin for other threads before a sleep (wakes across threads alone). Other workloads do
//! not depend on these settings.

use std::future::Future;
use std::time::Duration;

use ::reveille::{Builder, JoinHandle};

use crate::contestant::{Blocking, Contestant, Tasks, Timers};
use crate::workloads;

/// A tick of 2^`TICK` nanoseconds.
struct Tuned<const TICK: u32, const PRECISE: bool>;

fn contestant<const TICK: u32, const PRECISE: bool>(name: &'static str) -> Contestant {
    Contestant {
        name,
        serve: None,
        servers: vec![],
        micro: workloads::timers::fired::<Tuned<TICK, PRECISE>>(),
        missing: vec![],
    }
}

pub fn precise() -> Contestant {
    contestant::<14, true>("reveille-precise")
}

pub fn fine() -> Contestant {
    contestant::<10, false>("reveille-1us")
}

pub fn coarse() -> Contestant {
    contestant::<17, false>("reveille-131us")
}

pub fn coarsest() -> Contestant {
    contestant::<19, false>("reveille-524us")
}

/// Spins for other threads for `SPIN` microseconds.
struct Spinning<const SPIN: u64>;

fn spinning<const SPIN: u64>(name: &'static str) -> Contestant {
    let mut micro = workloads::cross::all::<Spinning<SPIN>>();
    micro.extend(workloads::blocking::all::<Spinning<SPIN>>());
    Contestant {
        name,
        serve: None,
        servers: vec![],
        micro,
        missing: vec![],
    }
}

pub fn spin_0() -> Contestant {
    spinning::<0>("reveille-spin-0")
}

pub fn spin_5() -> Contestant {
    spinning::<5>("reveille-spin-5")
}

pub fn spin_10() -> Contestant {
    spinning::<10>("reveille-spin-10")
}

pub fn spin_50() -> Contestant {
    spinning::<50>("reveille-spin-50")
}

impl<const SPIN: u64> Tasks for Spinning<SPIN> {
    type Join = JoinHandle<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        Builder::new()
            .spin_before_park(Duration::from_micros(SPIN))
            .build()
            .expect("a runtime")
            .block_on(f)
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        ::reveille::spawn(f)
    }
}

impl<const SPIN: u64> Blocking for Spinning<SPIN> {
    async fn unblock<T, F>(f: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        ::reveille::spawn_blocking(f).await.expect("no panic")
    }
}

impl<const TICK: u32, const PRECISE: bool> Tasks for Tuned<TICK, PRECISE> {
    type Join = JoinHandle<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        Builder::new()
            .timer_tick(Duration::from_nanos(1 << TICK))
            .precise_timers(PRECISE)
            .build()
            .expect("a runtime")
            .block_on(f)
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        ::reveille::spawn(f)
    }
}

impl<const TICK: u32, const PRECISE: bool> Timers for Tuned<TICK, PRECISE> {
    fn sleep(d: Duration) -> impl Future + 'static {
        ::reveille::time::sleep(d)
    }

    fn timeout<F: Future + 'static>(d: Duration, f: F) -> impl Future {
        ::reveille::time::timeout(d, f)
    }
}
