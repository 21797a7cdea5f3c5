//! How a runtime is set up: the mechanism, the bounds of fairness, the timers' tick, what a panic does.

use super::Runtime;
use crate::backend::{Backend, BackendKind};
use crate::reactor::spin::DEFAULT_SPIN;
use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

/// A hook of the user's.
pub(super) type Hook = Box<dyn Fn()>;

/// Room for more events than that at once is memory for nothing: 16 MiB of it here, and as much in the mechanism.
const MOST_EVENTS: usize = 1 << 20;

/// Takes the payload of a panic that no handle will see.
type PanicHandler = Box<dyn Fn(Box<dyn Any + Send>)>;

/// What happens when a task panics and its [`JoinHandle`](crate::task::JoinHandle) is gone, so that nobody will learn
/// of it.
///
/// A panic of a task whose handle is held goes to the handle, whatever is set here.
#[derive(Default)]
#[non_exhaustive]
pub enum UnhandledPanic {
    /// The task is gone, the others go on, and a line on standard error says so.
    #[default]
    Isolate,
    /// The panic goes on in the thread that runs the loop, out of `block_on`, `run` or `turn`. The runtime stays usable.
    Propagate,
    /// The payload is given to this function, on the runtime's thread.
    Call(PanicHandler),
}

impl UnhandledPanic {
    pub(super) fn handle(&self, payload: Box<dyn Any + Send>, runtime: Option<&str>) {
        match self {
            UnhandledPanic::Propagate if !std::thread::panicking() => {
                std::panic::resume_unwind(payload)
            }
            UnhandledPanic::Isolate | UnhandledPanic::Propagate => {
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                let (runtime, text) = (runtime.unwrap_or("reveille"), text.unwrap_or("no message"));
                // Not by `eprintln!`, which panics when nobody reads what it says: the others shall go on.
                let _ = writeln!(
                    io::stderr(),
                    "{runtime}: a task that nobody waits for panicked, the others go on: {text}"
                );
            }
            UnhandledPanic::Call(handler) => handler(payload),
        }
    }
}

impl fmt::Debug for UnhandledPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnhandledPanic::Isolate => "Isolate",
            UnhandledPanic::Propagate => "Propagate",
            UnhandledPanic::Call(_) => "Call",
        })
    }
}

/// Builds a [`Runtime`] with settings of one's own.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = reveille::Builder::new().name("worker").event_interval(64).build()?;
/// assert_eq!(runtime.block_on(async { 6 * 7 }), 42);
/// # Ok(())
/// # }
/// ```
pub struct Builder {
    pub(super) kind: Option<BackendKind>,
    pub(super) backend: Option<Box<dyn Backend>>,
    pub(super) event_capacity: usize,
    pub(super) event_interval: u32,
    pub(super) poll_budget: u32,
    pub(super) timer_tick: Duration,
    pub(super) precise_timers: bool,
    pub(super) spin_before_park: Duration,
    pub(super) inspection: bool,
    pub(super) unhandled_panic: UnhandledPanic,
    pub(super) on_park: Option<Hook>,
    pub(super) on_unpark: Option<Hook>,
    pub(super) name: Option<String>,
}

impl Builder {
    /// The default settings.
    pub fn new() -> Builder {
        Builder {
            kind: None,
            backend: None,
            event_capacity: 1024,
            event_interval: 128,
            poll_budget: 128,
            timer_tick: Duration::from_nanos(1 << 14),
            precise_timers: false,
            spin_before_park: DEFAULT_SPIN,
            inspection: false,
            unhandled_panic: UnhandledPanic::default(),
            on_park: None,
            on_unpark: None,
            name: None,
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

    /// How many events one wait may bring (1,024; a million at most). More are brought by the next waits.
    pub fn event_capacity(mut self, events: usize) -> Builder {
        self.event_capacity = events.clamp(1, MOST_EVENTS);
        self
    }

    /// How many tasks are polled between two looks at the fds and timers, while there is always one runnable (128).
    /// A batch also ends after about 100 microseconds.
    pub fn event_interval(mut self, polls: u32) -> Builder {
        self.event_interval = polls.max(1);
        self
    }

    /// How many reads, writes, sleeps and the like may succeed in one poll of one task (128); then they answer
    /// "pending", with the task queued again, so that the others get their turn.
    pub fn poll_budget(mut self, operations: u32) -> Builder {
        self.poll_budget = operations.clamp(1, u32::MAX - 1);
        self
    }

    /// The unit of the timers (16.384 microseconds). It is rounded down to a power of two of nanoseconds, and what is
    /// above 1 ms counts as 1 ms: the coarsest unit is 2^19 ns, that is 0.524 ms, whatever is asked for.
    /// A timer fires up to one unit late and never early; coarser units let more timers share one wake-up.
    pub fn timer_tick(mut self, tick: Duration) -> Builder {
        self.timer_tick = tick.clamp(Duration::from_nanos(1), Duration::from_millis(1));
        self
    }

    /// Lets a timer fd end the waits (Linux). It has neither the 50 microseconds of slack nor the 0.1 % that the kernel
    /// adds to a wait's timeout, and costs one more system call whenever the earliest deadline changes. Elsewhere, and in a
    /// sandbox that forbids timer fds, it does nothing.
    pub fn precise_timers(mut self, precise: bool) -> Builder {
        self.precise_timers = precise;
        self
    }

    /// How long the loop looks out for other threads before it sleeps: 20 microseconds if not said otherwise, 1 millisecond at
    /// most, zero for not at all.
    ///
    /// It looks only after a sleep that another thread has ended, and each look that saw nothing makes the next one rarer, down to
    /// one in 256 of such sleeps. A look takes the processor for its time, and fds that become ready meanwhile wait for
    /// its end; timers do not. A thread that answers within it (its own wake-up included, if it sleeps) spares both the sleep
    /// and the wake-up. A loop of sockets and timers alone never looks.
    pub fn spin_before_park(mut self, limit: Duration) -> Builder {
        self.spin_before_park = limit;
        self
    }

    /// Keeps for every task the place in the source that spawned it. Costs 8 bytes a task; off by default.
    pub fn inspection(mut self, on: bool) -> Builder {
        self.inspection = on;
        self
    }

    /// What the panic of a task does whose handle is gone (default: [`UnhandledPanic::Isolate`]).
    pub fn unhandled_panic(mut self, policy: UnhandledPanic) -> Builder {
        self.unhandled_panic = policy;
        self
    }

    /// Runs `hook` each time before the loop sleeps, or would but for a timer that is due or for another thread that is heard of
    /// just then (see [`spin_before_park`](Builder::spin_before_park)). What it wakes is run without sleeping first.
    pub fn on_park(mut self, hook: impl Fn() + 'static) -> Builder {
        self.on_park = Some(Box::new(hook));
        self
    }

    /// Runs `hook` each time after the loop has slept, or would have: once for each call of the other hook.
    pub fn on_unpark(mut self, hook: impl Fn() + 'static) -> Builder {
        self.on_unpark = Some(Box::new(hook));
        self
    }

    /// A name for messages.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Builds the runtime.
    ///
    /// # Errors
    ///
    /// When the chosen mechanism is unknown or not to be had (the text lists what this host has and why not the
    /// others), and when the system is out of descriptors or memory.
    pub fn build(self) -> io::Result<Runtime> {
        Runtime::from_builder(self)
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
            .field("event_interval", &self.event_interval)
            .field("poll_budget", &self.poll_budget)
            .field("timer_tick", &self.timer_tick)
            .field("spin_before_park", &self.spin_before_park)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
