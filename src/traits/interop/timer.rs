//! [`HyperTimer`]: hyper's time limits on this crate's timers.

use crate::time::{self, Sleep};
use hyper::rt;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// Makes hyper's timers from [`Sleep`]s, and returns the time of the runtime's clock.
///
/// A connection that moves a deadline, as after each request, moves the same timer: nothing is
/// allocated. Each `Sleep` belongs to the runtime that polls it first.
///
/// # Examples
///
/// ```
/// use hyper::rt::Timer;
/// use reveille::interop::HyperTimer;
/// use std::time::Duration;
///
/// reveille::block_on(async {
///     let timer = HyperTimer::new();
///     let deadline = timer.now() + Duration::from_millis(1);
///     let mut sleep = timer.sleep(Duration::from_secs(3600));
///     timer.reset(&mut sleep, deadline);
///     sleep.await;
///     assert!(timer.now() >= deadline);
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HyperTimer;

impl HyperTimer {
    /// Returns a timer. It holds nothing.
    #[must_use]
    pub const fn new() -> HyperTimer {
        HyperTimer
    }
}

impl rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(time::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(time::sleep_until(deadline))
    }

    fn now(&self) -> Instant {
        time::now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(mut sleep) => sleep.reset(new_deadline),
            // Made by another timer.
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}
