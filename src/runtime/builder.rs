//! [`Builder`]: the settings of a runtime.

use super::{Runtime, UnhandledPanic};
use crate::backend::{Backend, BackendKind};
use crate::blocking::{self, Pool};
use crate::settings::Settings;
use std::fmt;
use std::io;
use std::time::Duration;

/// A user's hook around the waits.
pub(super) type Hook = Box<dyn Fn()>;

/// Builds a [`Runtime`] with custom settings.
///
/// Each method takes the builder by value and returns it, so calls are chained.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = reveille::Builder::new().name("worker").event_interval(64).build()?;
/// assert_eq!(runtime.block_on(async { 6 * 7 }), 42);
/// # Ok(())
/// # }
/// ```
///
/// A runtime on poll(2) that shares its processor: short batches, few operations per poll, no spin,
/// coarse timers.
///
/// ```
/// use reveille::Builder;
/// use reveille::backend::BackendKind;
/// use reveille::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = Builder::new()
///     .backend(BackendKind::Poll)
///     .event_capacity(256)
///     .event_interval(32)
///     .poll_budget(16)
///     .spin_before_park(Duration::ZERO)
///     .timer_tick(Duration::from_micros(500))
///     .build()?;
/// assert_eq!(runtime.backend_name(), "poll");
/// # Ok(())
/// # }
/// ```
///
/// A runtime that counts its waits:
///
/// ```
/// use reveille::time::{Duration, sleep};
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// # fn main() -> std::io::Result<()> {
/// let (before, after) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
/// let (parks, unparks) = (before.clone(), after.clone());
/// let runtime = reveille::Builder::new()
///     .on_park(move || parks.set(parks.get() + 1))
///     .on_unpark(move || unparks.set(unparks.get() + 1))
///     .precise_timers(true)
///     .build()?;
/// runtime.block_on(sleep(Duration::from_millis(1)));
/// assert!(before.get() >= 1);
/// assert_eq!(before, after);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build` is called; its methods return it"]
pub struct Builder {
    pub(super) settings: Settings,
    pub(super) event_interval: u32,
    pub(super) poll_budget: u32,
    pub(super) precise_timers: bool,
    pub(super) track_spawn_locations: bool,
    pub(super) unhandled_panic: UnhandledPanic,
    pub(super) on_park: Option<Hook>,
    pub(super) on_unpark: Option<Hook>,
    pub(super) name: Option<String>,
    pub(super) blocking: blocking::Settings,
    #[cfg(feature = "test-util")]
    pub(super) start_paused: bool,
    #[cfg(feature = "test-util")]
    pub(super) auto_advance: bool,
}

impl Builder {
    /// Creates a builder with the default settings.
    pub fn new() -> Builder {
        Builder {
            settings: Settings::new(),
            event_interval: 128,
            poll_budget: 128,
            precise_timers: false,
            track_spawn_locations: false,
            unhandled_panic: UnhandledPanic::default(),
            on_park: None,
            on_unpark: None,
            name: None,
            blocking: blocking::Settings::default(),
            #[cfg(feature = "test-util")]
            start_paused: false,
            #[cfg(feature = "test-util")]
            auto_advance: true,
        }
    }

    /// Sets the kernel mechanism, in place of the environment variable `REVEILLE_BACKEND` and of
    /// the automatic choice.
    ///
    /// Without this call the variable decides. If it is not set, [`build`](Builder::build) takes
    /// the first mechanism that works on this host. If a mechanism that was chosen by name does not
    /// work, `build` fails and tries no other.
    pub fn backend(mut self, kind: BackendKind) -> Builder {
        self.settings.kind = Some(kind);
        self
    }

    /// Sets a custom mechanism, in place of those of this crate. [`backend`](Builder::backend) and
    /// `REVEILLE_BACKEND` then have no effect. `examples/own_backend.rs` has an example.
    pub fn with_backend(mut self, backend: impl Backend + 'static) -> Builder {
        self.settings.backend = Some(Box::new(backend));
        self
    }

    /// Sets how many events one wait may return: 1,024 by default, 1,048,576 at most. The next
    /// waits return the rest.
    pub fn event_capacity(mut self, events: usize) -> Builder {
        self.settings.set_event_capacity(events);
        self
    }

    /// Sets how many tasks are polled in a batch: 128 by default. After each batch the loop checks
    /// fds, timers and messages from other threads, without waiting while a task is runnable.
    ///
    /// A batch ends early after about 500 microseconds, or after two polls that take 100
    /// microseconds or more each.
    ///
    /// # Panics
    ///
    /// If `polls` is 0.
    #[track_caller]
    pub fn event_interval(mut self, polls: u32) -> Builder {
        assert!(polls > 0, "event_interval must be at least 1");
        self.event_interval = polls;
        self
    }

    /// Sets how many operations, such as reads, writes and sleeps, may complete in one poll of a
    /// task: 128 by default.
    ///
    /// When the budget is used up, further operations return "pending" and the task is queued
    /// again, so that the other tasks run. [`consume_budget`](crate::task::consume_budget) takes
    /// from the budget, and [`unconstrained`](crate::task::unconstrained) lifts it.
    ///
    /// # Panics
    ///
    /// If `operations` is 0, because then no operation would ever complete.
    #[track_caller]
    pub fn poll_budget(mut self, operations: u32) -> Builder {
        assert!(operations > 0, "poll_budget must be at least 1");
        self.poll_budget = operations;
        self
    }

    /// Sets the unit of the timers: 2^14 ns (16.384 microseconds) by default.
    ///
    /// The value is rounded down to a power of two of nanoseconds, at most 2^19 ns (0.524 ms). A
    /// timer fires up to one unit late, never early. With a coarser unit more timers share one
    /// wake-up.
    pub fn timer_tick(mut self, tick: Duration) -> Builder {
        self.settings.set_timer_tick(tick);
        self
    }

    /// Sets whether a timer fd ends the waits (Linux); off by default.
    ///
    /// The kernel ends a wait's timeout up to 50 microseconds plus 0.1 % of its length late. A
    /// timer fd has no such delay, but costs one more system call whenever the earliest deadline
    /// changes. [`timer_slack`](Builder::timer_slack) is about as exact and mostly costs less. This
    /// has no effect on other systems, or if a sandbox forbids timer fds.
    pub fn precise_timers(mut self, precise: bool) -> Builder {
        self.precise_timers = precise;
        self
    }

    /// Sets the timer slack of the thread while it runs the loop (Linux).
    ///
    /// The slack is how late the kernel may end a wait, 50 microseconds by default. With 1
    /// microsecond, timers of up to 50 ms are about as exact as with
    /// [`precise_timers`](Builder::precise_timers), without another descriptor or system call. A
    /// larger slack makes every timer that much later. Zero counts as 1 ns, and more than 1 second
    /// as 1 second.
    ///
    /// With any slack the kernel may be late by 0.1 % of a wait's length. The loop therefore waits
    /// for a timer that is more than 50 ms away in two or more steps, and the last step is short.
    /// Each further step costs one system call and one call of each hook. In addition, timers are
    /// late by up to one [`timer_tick`](Builder::timer_tick).
    ///
    /// `block_on`, `run` and `turn` set the slack when they begin and restore the previous value
    /// when they end, which takes three system calls. It applies to all waits of the thread in
    /// between. A thread with a real-time policy has no slack. This has no effect on other systems,
    /// or if a sandbox forbids `prctl`.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::Builder;
    /// use reveille::time::{Duration, sleep};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = Builder::new().timer_slack(Duration::from_micros(1)).build()?;
    /// runtime.block_on(sleep(Duration::from_millis(1)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn timer_slack(mut self, slack: Duration) -> Builder {
        self.settings.set_timer_slack(slack);
        self
    }

    /// Sets how long the loop may spin before it sleeps: 20 microseconds by default, 1 millisecond
    /// at most. `Duration::ZERO` turns the spin off.
    ///
    /// While it spins, the loop checks for messages from other threads. A thread that answers
    /// within that time costs neither a sleep nor a wake-up: a round trip takes about 1 microsecond
    /// in place of 50. A thread that answers later costs the processor time of the spin, and fds
    /// that become ready during the spin wait for its end. Timers do not.
    ///
    /// The loop spins only after a sleep that another thread has ended. Each spin without success
    /// makes the next one rarer, down to one in 256 of these sleeps. A loop that only serves
    /// sockets and timers never spins.
    ///
    /// The threads of [`spawn_blocking`](crate::spawn_blocking) do the same before they sleep,
    /// except those of a pool that [`blocking_pool`](Builder::blocking_pool) has set.
    pub fn spin_before_park(mut self, limit: Duration) -> Builder {
        self.settings.spin_before_park = limit;
        self
    }

    /// Sets whether the runtime remembers where in the source each task was spawned; off by
    /// default.
    ///
    /// [`TaskInfo::spawned_at`](crate::task::TaskInfo::spawned_at) returns the place. It costs 8
    /// bytes per task.
    ///
    /// For the report of [`Runtime::shutdown`], the runtime then also remembers where each
    /// descriptor and timer was created, and which task has registered each descriptor. That costs
    /// 56 bytes per descriptor and 12 per timer, and a new timer takes some nanoseconds longer.
    pub fn track_spawn_locations(mut self, on: bool) -> Builder {
        self.track_spawn_locations = on;
        self
    }

    /// Sets the policy for panics that no handle reports: [`UnhandledPanic::Isolate`] by default.
    /// [`UnhandledPanic`] has an example.
    pub fn unhandled_panic(mut self, policy: UnhandledPanic) -> Builder {
        self.unhandled_panic = policy;
        self
    }

    /// Sets a hook that runs before each wait, including waits that end at once because a timer is
    /// due or another thread has sent something. If the hook wakes a task, the task runs without a
    /// sleep before it.
    pub fn on_park(mut self, hook: impl Fn() + 'static) -> Builder {
        self.on_park = Some(Box::new(hook));
        self
    }

    /// Sets a hook that runs after each wait: once for each call of the
    /// [`on_park`](Builder::on_park) hook.
    pub fn on_unpark(mut self, hook: impl Fn() + 'static) -> Builder {
        self.on_unpark = Some(Box::new(hook));
        self
    }

    /// Sets the name of the runtime, which appears in messages and in
    /// [`Handle::name`](super::Handle::name).
    ///
    /// # Panics
    ///
    /// If the name contains a NUL byte.
    #[track_caller]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        let name = name.into();
        assert!(
            !name.contains('\0'),
            "the name of a runtime must not contain a NUL byte: {name:?}"
        );
        self.name = Some(name);
        self
    }

    /// Sets how many closures of [`spawn_blocking`](crate::spawn_blocking) may run at once: 64 by
    /// default. Further closures wait in a queue. Look-ups of host names may use two threads more.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Builder::new()
    ///     .max_blocking_threads(8)
    ///     .blocking_keep_alive(Duration::from_secs(1))
    ///     .build()?;
    /// let sum = runtime.block_on(async { reveille::spawn_blocking(|| 1 + 2).await })?;
    /// assert_eq!(sum, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn max_blocking_threads(mut self, threads: usize) -> Builder {
        assert!(threads > 0, "max_blocking_threads must be at least 1");
        self.blocking.max_threads = threads;
        self
    }

    /// Sets how long a thread of [`spawn_blocking`](crate::spawn_blocking) waits for another
    /// closure before it ends: 10 seconds by default.
    pub fn blocking_keep_alive(mut self, limit: Duration) -> Builder {
        self.blocking.keep_alive = limit;
        self
    }

    /// Sets the threads for [`spawn_blocking`](crate::spawn_blocking) and look-ups of host names:
    /// those of a pool that other runtimes use, too. Without this call the runtime has a pool of
    /// its own. [`Pool`] has an example.
    ///
    /// [`max_blocking_threads`](Builder::max_blocking_threads) and
    /// [`blocking_keep_alive`](Builder::blocking_keep_alive) then have no effect.
    pub fn blocking_pool(mut self, pool: &Pool) -> Builder {
        self.blocking.pool = Some(pool.clone());
        self
    }

    /// Sets whether the runtime's clock is paused from the beginning (feature `test-util`); off by
    /// default.
    ///
    /// [`time::pause`](crate::time::pause) explains what that means.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::time::{Duration, now, sleep};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Builder::new().start_paused(true).build()?;
    /// runtime.block_on(async {
    ///     let start = now();
    ///     sleep(Duration::from_secs(3600)).await; // takes no time
    ///     assert_eq!(now() - start, Duration::from_secs(3600));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "test-util")]
    pub fn start_paused(mut self, paused: bool) -> Builder {
        self.start_paused = paused;
        self
    }

    /// Sets whether a paused clock jumps to the next deadline when nothing else is left to do
    /// (feature `test-util`); on by default.
    ///
    /// If it is off, only [`time::advance`](crate::time::advance) moves a paused clock. A
    /// `block_on` that waits for a timer then returns only if a task advances the clock.
    /// `time::advance` has an example.
    #[cfg(feature = "test-util")]
    pub fn auto_advance(mut self, on: bool) -> Builder {
        self.auto_advance = on;
        self
    }

    /// Builds the runtime.
    ///
    /// # Errors
    ///
    /// - The chosen mechanism is unknown or unavailable: the text lists the mechanisms of this
    ///   host, and why the others are unavailable.
    /// - A custom mechanism lacks edge triggers.
    /// - The system has no descriptors or memory left, or the process has too many runtimes.
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
            .field("settings", &self.settings)
            .field("event_interval", &self.event_interval)
            .field("poll_budget", &self.poll_budget)
            .field("precise_timers", &self.precise_timers)
            .field("name", &self.name)
            .field("blocking", &self.blocking)
            .finish_non_exhaustive()
    }
}
