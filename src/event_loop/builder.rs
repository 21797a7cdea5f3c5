//! How a loop is set up: the mechanism, the size of a batch, the timers' tick.

use super::EventLoop;
use crate::backend::{self, Backend, BackendKind};
use crate::reactor::clock::Clock;
use crate::reactor::spin::{DEFAULT_SPIN, Spin};
use std::fmt;
use std::io;
use std::time::Duration;

/// Builds an [`EventLoop`] with settings of one's own.
///
/// ```
/// use reveille::backend::BackendKind;
/// # fn main() -> std::io::Result<()> {
/// let event_loop = reveille::event_loop::Builder::new()
///     .backend(BackendKind::Poll)
///     .build(())?;
/// assert_eq!(event_loop.backend_name(), "poll");
/// # Ok(())
/// # }
/// ```
pub struct Builder {
    kind: Option<BackendKind>,
    backend: Option<Box<dyn Backend>>,
    event_capacity: usize,
    timer_tick: Duration,
    spin_before_park: Duration,
}

/// Room for more events than that at once is memory for nothing.
const MOST_EVENTS: usize = 1 << 20;

impl Builder {
    /// The default settings: those of [`crate::Builder`].
    pub fn new() -> Builder {
        Builder {
            kind: None,
            backend: None,
            event_capacity: 1024,
            timer_tick: Duration::from_nanos(1 << 14),
            spin_before_park: DEFAULT_SPIN,
        }
    }

    /// Chooses the mechanism. Without a choice the environment variable `REVEILLE_BACKEND` decides, and without that
    /// the best one that works here; only that last, automatic choice falls back to the next mechanism.
    pub fn backend(mut self, kind: BackendKind) -> Builder {
        self.kind = Some(kind);
        self
    }

    /// Uses a mechanism of the caller's own; no other choice counts then.
    pub fn with_backend(mut self, backend: impl Backend + 'static) -> Builder {
        self.backend = Some(Box::new(backend));
        self
    }

    /// How many events one wait may bring, 1024 if not said otherwise; 1 to 1,048,576.
    pub fn event_capacity(mut self, capacity: usize) -> Builder {
        self.event_capacity = capacity.clamp(1, MOST_EVENTS);
        self
    }

    /// The unit in which timers are counted: a power of two of nanoseconds, the nearest below `tick`; 16.384 us if not
    /// said otherwise. Timers are late by up to one tick, and never early.
    pub fn timer_tick(mut self, tick: Duration) -> Builder {
        self.timer_tick = tick;
        self
    }

    /// How long the loop looks out for messages of other threads before it sleeps, where that has turned out to pay: 20
    /// microseconds if not said otherwise, 1 millisecond at most, zero for not at all. Fds wait for the end of a look; when
    /// there is one, and what it costs: [`crate::Builder::spin_before_park`].
    pub fn spin_before_park(mut self, limit: Duration) -> Builder {
        self.spin_before_park = limit;
        self
    }

    /// Makes the loop, with what its handlers share.
    ///
    /// # Errors
    ///
    /// As [`crate::Builder::build`]: a mechanism that is not to be had, and `EMFILE` and its like.
    pub fn build<D: 'static>(self, data: D) -> io::Result<EventLoop<D>> {
        let backend = match self.backend {
            Some(backend) => backend,
            None => backend::open(self.kind, self.event_capacity)?,
        };
        let clock = Clock::new(self.timer_tick);
        let spin = Spin::new(self.spin_before_park);
        let event_loop = super::assemble(data, backend, self.event_capacity, clock, spin);
        event_loop.suspend();
        Ok(event_loop)
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("kind", &self.kind)
            .field("backend", &self.backend)
            .field("event_capacity", &self.event_capacity)
            .field("timer_tick", &self.timer_tick)
            .field("spin_before_park", &self.spin_before_park)
            .finish()
    }
}
