//! [`Settings`]: the settings that runtimes and callback loops have in common, with their defaults
//! and limits.

#![forbid(unsafe_code)]

use crate::backend::{self, Backend, BackendKind};
use crate::reactor::spin::DEFAULT_SPIN;
use std::io;
use std::time::Duration;

/// Room for more events at once would waste memory: a million take 16 MiB here, and as much in the
/// mechanism.
const MAX_EVENTS: usize = 1 << 20;

/// With a larger slack each wait for a timer could take that much longer, which is surely a
/// mistake.
const MAX_TIMER_SLACK: Duration = Duration::from_secs(1);

/// The settings of one loop. [`Builder`](crate::Builder) documents them.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The mechanism, in place of the automatic choice.
    pub(crate) kind: Option<BackendKind>,
    /// A custom mechanism; `kind` is ignored then.
    pub(crate) backend: Option<Box<dyn Backend>>,
    event_capacity: usize,
    timer_tick: Duration,
    timer_slack: Option<Duration>,
    pub(crate) spin_before_park: Duration,
}

impl Settings {
    pub(crate) fn new() -> Settings {
        Settings {
            kind: None,
            backend: None,
            event_capacity: 1024,
            timer_tick: Duration::from_nanos(1 << 14),
            timer_slack: None,
            spin_before_park: DEFAULT_SPIN,
        }
    }

    /// How many events one wait may return.
    pub(crate) fn event_capacity(&self) -> usize {
        self.event_capacity
    }

    pub(crate) fn set_event_capacity(&mut self, events: usize) {
        self.event_capacity = events.clamp(1, MAX_EVENTS);
    }

    /// The unit of the timers.
    pub(crate) fn timer_tick(&self) -> Duration {
        self.timer_tick
    }

    pub(crate) fn set_timer_tick(&mut self, tick: Duration) {
        self.timer_tick = tick.clamp(Duration::from_nanos(1), Duration::from_millis(1));
    }

    /// How late the kernel may end a wait, if that was set.
    pub(crate) fn timer_slack(&self) -> Option<Duration> {
        self.timer_slack
    }

    pub(crate) fn set_timer_slack(&mut self, slack: Duration) {
        self.timer_slack = Some(slack.min(MAX_TIMER_SLACK));
    }

    /// Returns the custom mechanism, or opens the chosen one.
    pub(crate) fn open(&mut self) -> io::Result<Box<dyn Backend>> {
        match self.backend.take() {
            Some(backend) => Ok(backend),
            None => backend::open(self.kind, self.event_capacity),
        }
    }
}
