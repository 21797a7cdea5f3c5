//! [`Builder`]: the settings of a callback loop.

use super::EventLoop;
use crate::backend::{Backend, BackendKind};
use crate::settings::Settings;
use std::fmt;
use std::io;
use std::time::Duration;

/// Builds an [`EventLoop`] with custom settings.
///
/// The defaults and the bounds are those of [`crate::Builder`]. If both builders are needed, write
/// `event_loop::Builder` for this one, like `thread::Builder` of std.
///
/// # Examples
///
/// ```
/// use reveille::backend::BackendKind;
/// use reveille::event_loop;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let event_loop = event_loop::Builder::new()
///     .backend(BackendKind::Poll)
///     .event_capacity(256)
///     .timer_tick(Duration::from_micros(100))
///     .timer_slack(Duration::from_micros(1))
///     .spin_before_park(Duration::ZERO)
///     .build(())?;
/// assert_eq!(event_loop.backend_name(), "poll");
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// Creates a builder with the default settings.
    pub fn new() -> Builder {
        Builder {
            settings: Settings::new(),
        }
    }

    /// Sets the mechanism. Without this call the environment variable `REVEILLE_BACKEND` decides;
    /// without that variable the loop uses the best mechanism that works here. Only this last,
    /// automatic choice falls back to the next mechanism.
    pub fn backend(mut self, kind: BackendKind) -> Builder {
        self.settings.kind = Some(kind);
        self
    }

    /// Sets a custom mechanism (`examples/own_backend.rs` has one); [`backend`](Builder::backend)
    /// and `REVEILLE_BACKEND` are then ignored.
    pub fn with_backend(mut self, backend: impl Backend + 'static) -> Builder {
        self.settings.backend = Some(Box::new(backend));
        self
    }

    /// Sets how many events one wait may return: 1,024 by default, at least 1, at most 1,048,576.
    /// The next waits return the rest.
    pub fn event_capacity(mut self, events: usize) -> Builder {
        self.settings.set_event_capacity(events);
        self
    }

    /// Sets the unit of the timers: 16.384 microseconds by default. It is rounded down to a power
    /// of two of nanoseconds, at most 2^19 ns (0.524 ms). A timer fires up to one unit late and
    /// never early.
    pub fn timer_tick(mut self, tick: Duration) -> Builder {
        self.settings.set_timer_tick(tick);
        self
    }

    /// Sets the timer slack of the thread while it is inside [`run`](EventLoop::run) or
    /// [`turn`](EventLoop::turn) (Linux): how late the kernel may end a wait, 50 microseconds by
    /// default. With 1 microsecond timers are about as exact as their unit; a wait for a timer more
    /// than 50 ms ahead is then made in two or more steps, each a turn without events. See
    /// [`crate::Builder::timer_slack`] for the bounds and the costs.
    pub fn timer_slack(mut self, slack: Duration) -> Builder {
        self.settings.set_timer_slack(slack);
        self
    }

    /// Sets how long the loop spins before it sleeps when another thread is likely to send a
    /// message: 20 microseconds by default, 1 millisecond at most, zero for no spinning. See
    /// [`crate::Builder::spin_before_park`] for when the loop spins and what that costs.
    pub fn spin_before_park(mut self, limit: Duration) -> Builder {
        self.settings.spin_before_park = limit;
        self
    }

    /// Builds the loop. Its handlers share `data`.
    ///
    /// # Errors
    ///
    /// Same as [`crate::Builder::build`]: the chosen mechanism is unknown or unavailable, or the
    /// system is out of descriptors or memory.
    pub fn build<D: 'static>(self, data: D) -> io::Result<EventLoop<D>> {
        let event_loop = EventLoop::from_settings(data, self.settings)?;
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
            .field("settings", &self.settings)
            .finish()
    }
}
