//! reveille with other settings of its timers: other ticks, and a timer fd for the waits. Timers only; what else there is does
//! not depend on them.

use std::future::Future;
use std::time::Duration;

use ::reveille::{Builder, JoinHandle};

use crate::contestant::{Contestant, Tasks, Timers};
use crate::workloads;

/// A tick of 2^`TICK` nanoseconds.
struct Tuned<const TICK: u32, const PRECISE: bool>;

fn contestant<const TICK: u32, const PRECISE: bool>(name: &'static str) -> Contestant {
    Contestant {
        name,
        serve: None,
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
