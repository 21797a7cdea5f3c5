//! [`Runtime`]: an event loop and the tasks that run on it, set up by a [`Builder`], reached from
//! other threads by a [`Handle`].
//!
//! One thread owns a runtime. While the thread is inside `block_on`, `run`, `turn` or `enter`, the
//! runtime is its *current* one: `spawn` adds tasks to it, sockets and timers register with it, and
//! wakers and handles use it directly. All other code, on another thread or on the same thread
//! between two calls, sends messages to the runtime.
//!
//! This is the only module where tasks and the reactor meet. The loop is in `local.rs`.

#![forbid(unsafe_code)]

/// Makes `$call` with a future of type `$F`, which is boxed first if it is large, because each call
/// that moves the future may keep a copy in its frame, and threads have stacks of 2 MiB.
///
/// A debug build boxes every future, because it keeps one copy per branch of an `if`: with a branch
/// for small futures only 640 KiB would fit on such a stack, not 896.
macro_rules! boxed_if_large {
    ($F:ident, $future:ident => $call:expr) => {{
        #[cfg(debug_assertions)]
        {
            let $future = Box::pin($future);
            $call
        }
        #[cfg(not(debug_assertions))]
        if size_of::<$F>() > 16 << 10 {
            let $future = Box::pin($future);
            $call
        } else {
            $call
        }
    }};
}

mod batch;
mod build;
mod builder;
mod context;
mod functions;
mod handle;
mod join_set;
mod local;
mod named;
mod origins;
mod paused;
mod shared;
mod shutdown;
mod spawner;
mod unhandled_panic;

#[cfg(feature = "signal")]
pub(crate) use context::signal_hub;

pub use crate::blocking::{Pool, TrySpawnBlockingError};
pub use builder::Builder;
pub use functions::{block_on, spawn, spawn_blocking};
pub use handle::Handle;
pub use shutdown::{DescriptorInfo, JobInfo, ShutdownReport, TimerInfo};
pub use unhandled_panic::{PanicReport, UnhandledPanic};

use crate::budget;
use crate::panics;
use crate::task::{JoinHandle, TaskInfo, Unobserved};
use context::InLoop;
use local::Local;
use std::cell::OnceCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A single-threaded runtime: an event loop over fds and timers, and the tasks that run on it.
///
/// It stays on the thread that created it, and futures need not be `Send`. Other threads use its
/// [`Handle`].
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = reveille::Runtime::new()?;
/// let answer = runtime.block_on(async {
///     let task = reveille::spawn(async { 40 });
///     task.await.unwrap() + 2
/// });
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
///
/// A runtime is not `Send`: create it on the thread that runs it.
///
/// ```compile_fail,E0277
/// let runtime = reveille::Runtime::new().unwrap();
/// std::thread::spawn(move || runtime.block_on(async {}));
/// ```
///
/// # Dropping
///
/// Dropping the runtime drops its tasks; meanwhile it is the current runtime of the thread. After
/// that, sockets, handles and join handles that still exist return an error, and a `Sleep` that is
/// not due panics when it is polled.
///
/// A task may drop a runtime other than the one that runs it.
///
/// Closures of [`spawn_blocking`] that have not begun are dropped. Those that have begun run to
/// their end, and the drop does not wait for them.
///
/// [`shutdown`](Runtime::shutdown) gives the tasks and the closures some time to end, and reports
/// what was left.
///
/// # Waiting
///
/// When nothing is runnable, the loop waits in the kernel. After a wait that another thread has
/// ended, it may first check for messages from other threads for up to 20 microseconds, which uses
/// the processor. [`Builder::spin_before_park`] with `Duration::ZERO` turns this off.
///
/// # Fork
///
/// A runtime cannot be used in the child of a fork, because its kernel object is the parent's:
/// `run` and `turn` return an error, and `block_on` panics if its future has to wait. The parent's
/// runtime is not affected. Make a new runtime in the child. A callback loop can go on there:
/// [`EventLoop::after_fork`](crate::event_loop::EventLoop::after_fork).
///
/// # Memory
///
/// The future and the output of a task are freed when they are dropped. The slots of tasks, timers
/// and sockets are reused, and freed by [`shrink`](Runtime::shrink) or when the runtime is dropped.
pub struct Runtime {
    /// Each call that is inside the runtime holds another reference: see `Drop`.
    local: Rc<Local>,
    backend_name: Box<str>,
    /// A duplicate of the mechanism's descriptor, made by the first call of `host_fd`.
    host_fd: OnceCell<OwnedFd>,
}

impl Runtime {
    /// Creates a runtime with the default settings; [`Builder`] has the others.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> io::Result<Runtime> {
        Builder::new().build()
    }

    /// Runs the loop until `future` has ended, and returns its output.
    ///
    /// Tasks that have not ended by then stay in the runtime and continue with the next call.
    ///
    /// # Panics
    ///
    /// - This thread is already inside a running runtime, this one or another.
    /// - The future panics.
    /// - The mechanism fails permanently, or the future has to wait in the child of a fork.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let task = runtime.spawn(async { 40 });
    /// assert_eq!(runtime.block_on(async { task.await.unwrap() + 2 }), 42);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        boxed_if_large!(F, future => self.block_on_small(future))
    }

    /// Moves the future several times, so it must not be large.
    #[track_caller]
    fn block_on_small<F: Future>(&self, future: F) -> F::Output {
        let _in_loop = InLoop::blocking("`block_on`");
        self.inside(|| {
            // Pinned inside the closure, so that the future is dropped inside the runtime.
            let future = pin!(future);
            self.local.drive(future)
        })
    }

    /// Runs the loop until [`Handle::stop`] is called. Returns at once if it was called before.
    ///
    /// [`Handle`] has an example.
    ///
    /// # Errors
    ///
    /// If the mechanism fails permanently, or in the child of a fork.
    ///
    /// # Panics
    ///
    /// If this thread is already inside a running runtime.
    #[track_caller]
    pub fn run(&self) -> io::Result<()> {
        let _in_loop = InLoop::blocking("`Runtime::run`");
        self.inside(|| self.local.run())
    }

    /// Makes one turn, for a host that has its own loop: runs the runnable tasks, waits for fds and
    /// timers for at most `limit`, and runs the tasks that became runnable. `None` waits until
    /// something happens, and zero does not wait.
    ///
    /// A turn that has run a task, handled a message of another thread or reported a panic before
    /// the wait does not wait, because the host may wait for just that. So
    /// `while !done.get() { runtime.turn(None)?; }` ends as soon as a task has set `done`.
    ///
    /// A host calls it when [`host_fd`](Runtime::host_fd) is readable and when
    /// [`next_deadline`](Runtime::next_deadline) has come.
    ///
    /// Another thread ends the wait with `handle.spawn(async {})`: the turn runs that task and
    /// returns.
    ///
    /// # Errors
    ///
    /// If the mechanism fails permanently, or in the child of a fork.
    ///
    /// # Panics
    ///
    /// If it is called from inside this runtime's own `turn`, `block_on` or `run`. A task of
    /// another runtime may call it.
    ///
    /// # Examples
    ///
    /// A host that waits in `poll(2)`:
    ///
    /// ```
    /// use reveille::time::{Duration, now, sleep};
    /// use std::os::fd::AsRawFd;
    ///
    /// fn main() -> std::io::Result<()> {
    ///     let runtime = reveille::Runtime::new()?;
    ///     let task = runtime.spawn(sleep(Duration::from_millis(1)));
    ///     let fd = match runtime.host_fd() {
    ///         Ok(fd) => fd.as_raw_fd(),
    ///         // The mechanism has no kernel object, so a host cannot wait for it.
    ///         Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
    ///         Err(error) => return Err(error),
    ///     };
    ///     while !task.is_finished() {
    ///         // Rounded up, because a turn that comes too early has to be repeated.
    ///         let timeout = runtime.next_deadline().map_or(-1, |deadline| {
    ///             let left = deadline.saturating_duration_since(now());
    ///             left.as_nanos().div_ceil(1_000_000).min(60_000) as libc::c_int
    ///         });
    ///         // The host adds its own fds here.
    ///         let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
    ///         // SAFETY: the entries are alive during the call.
    ///         unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    ///         runtime.turn(Some(Duration::ZERO))?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[track_caller]
    pub fn turn(&self, limit: Option<Duration>) -> io::Result<()> {
        let _in_loop = InLoop::hosted();
        self.inside(|| self.local.turn(limit))
    }

    /// Returns the latest time at which a host must call [`turn`](Runtime::turn) again; `turn` has
    /// an example.
    ///
    /// That is now if a task is runnable or a panic has to be reported, else the deadline of the
    /// earliest timer. `None`: a host may wait for [`host_fd`](Runtime::host_fd) without limit.
    ///
    /// It is an instant of [`Instant::now`]. While the runtime's clock is paused (feature
    /// `test-util`), no timer has such an instant. The result is now if a turn would move the clock
    /// to the next deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.local.next_deadline()
    }

    /// Returns the kernel object behind the loop, for a host to wait on: it is readable when
    /// [`turn`](Runtime::turn) has work to do other than timers. `turn` has an example.
    ///
    /// It stays readable until the work is done, which may take several turns. A host that watches
    /// it with an edge trigger must make turns until it is not readable any more.
    ///
    /// Watch this fd and not a duplicate of it: with event ports, closing a duplicate in this
    /// process ends every registration of the loop.
    ///
    /// # Errors
    ///
    /// `Unsupported` on a mechanism without a kernel object. epoll, kqueue, io_uring and event
    /// ports have one; poll, select, real-time signals and /dev/poll have none. Any call fails in
    /// the child of a fork, where the kernel object is the parent's, and if the system has no
    /// descriptors left.
    pub fn host_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.local.driver.check_forked()?;
        if let Some(fd) = self.host_fd.get() {
            return Ok(fd.as_fd());
        }
        let fd = self.local.driver.try_clone_fd()?;
        Ok(self.host_fd.get_or_init(|| fd).as_fd())
    }

    /// Runs `f` with this runtime as the thread's current one, without running the loop.
    ///
    /// Use it to register sockets and to spawn before the loop runs. It takes a closure, unlike
    /// tokio's `enter`, which returns a guard that could be forgotten.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let task = runtime.enter(|| reveille::spawn(async { 7 }));
    /// assert_eq!(runtime.block_on(task).unwrap(), 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        let local = self.local.clone();
        context::enter(&local, f)
    }

    /// Spawns a future, which need not be `Send`. It is polled when the loop runs;
    /// [`block_on`](Runtime::block_on) has an example.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (tasks, place) = (&self.local.tasks, Some(Location::caller()));
        boxed_if_large!(F, future => tasks.spawn(future, place))
    }

    /// Returns a handle for other threads; [`Handle`] has an example.
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.local.shared.clone(),
        }
    }

    /// Returns a description of each task that has not ended or was not joined, in no particular
    /// order.
    ///
    /// It visits all tasks, so it is meant for debugging. [`Builder::track_spawn_locations`] adds
    /// where each was spawned, and [`task::Builder`](crate::task::Builder) gives tasks a name.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Builder::new().track_spawn_locations(true).build()?;
    /// let task = runtime.spawn(std::future::pending::<()>());
    /// let seen = runtime.tasks();
    /// assert_eq!(seen[0].id(), task.id());
    /// assert!(seen[0].is_queued() && !seen[0].is_finished());
    /// assert_eq!(seen[0].spawned_at().map(|place| place.file()), Some(file!()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn tasks(&self) -> Vec<TaskInfo> {
        self.local.tasks.inspect()
    }

    /// Gives back memory that the runtime keeps for new tasks, timers and registrations.
    ///
    /// A runtime keeps the places of a burst for the next burst, about 200 bytes for each
    /// connection with a task and a timer. This frees all places after the last one in use, so it
    /// frees most when little is left, for example after a burst. It takes time in proportion to
    /// the number of places. What the mechanism keeps for each descriptor number (up to about 100
    /// bytes) stays, and the C library may keep freed memory for the process (`malloc_trim(3)`).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let tasks: Vec<_> = (0..10_000).map(|n| runtime.spawn(async move { n })).collect();
    /// runtime.block_on(async {
    ///     for task in tasks {
    ///         task.await.unwrap();
    ///     }
    /// });
    /// runtime.shrink();
    /// # Ok(())
    /// # }
    /// ```
    pub fn shrink(&self) {
        self.local.tasks.shrink();
        self.local.driver.shrink();
        self.local.shrink_origins();
    }

    /// Returns the name of the mechanism in use, as in `REVEILLE_BACKEND`.
    pub fn backend_name(&self) -> &str {
        &self.backend_name
    }

    /// Drops the tasks, and the closures that have not begun. Later spawns are refused. A second
    /// call has no effect.
    fn drop_tasks(&self) {
        let local = &*self.local;
        // A task of another runtime may drop this one.
        let _unbound = budget::unbound();
        context::enter_loop(local, || {
            // First, so that the drops of the tasks can add no job.
            local.shared.blocking.close();
            local.tasks.shutdown();
        });
    }

    /// Runs `f`, which runs this runtime's loop, inside the runtime.
    #[track_caller]
    fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
        assert!(
            !self.local.looping.replace(true),
            "`Runtime::turn` was called inside this runtime's own loop, which already runs its tasks: `.await` or `spawn` \
             the future, or call `turn` outside of the loop"
        );
        let local = self.local.clone();
        let _leave = Leave {
            local: &local,
            budget: budget::refill(budget::UNLIMITED),
        };
        local.driver.resume();
        context::enter_loop(&local, || {
            let _end = EndCall(&local);
            f()
        })
    }
}

/// Ends a call of the loop while the runtime is still the current one, also on unwind.
struct EndCall<'a>(&'a Local);

impl Drop for EndCall<'_> {
    fn drop(&mut self) {
        self.0.end_call();
    }
}

/// Marks the loop as no longer running and restores the budget of the host, also on unwind.
struct Leave<'a> {
    local: &'a Local,
    budget: i64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.local.looping.set(false);
        self.local.driver.suspend();
        budget::refill(self.budget);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if Rc::strong_count(&self.local) > 1 {
            // Code inside the runtime has called `process::exit`, which drops the thread-locals of
            // this thread. The frames below never return, and still use the runtime.
            return;
        }
        self.drop_tasks();
        let local = &*self.local;
        let _unbound = budget::unbound();
        context::enter_loop(local, || {
            // A panic of a custom mechanism must not leave the drop, because the thread may be
            // unwinding already.
            let ended = panics::catch(|| local.driver.shutdown());
            #[cfg(feature = "process")]
            crate::sys::process::reap_left();
            local.report_last_panics(ended.err().map(Unobserved::from));
        });
    }
}

// A runtime is usable after a panic: a panic that leaves the loop leaves no task half polled, and
// nothing of the loop is borrowed while foreign code runs.
impl UnwindSafe for Runtime {}
impl RefUnwindSafe for Runtime {}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fds, timers) = self.local.driver.counts();
        f.debug_struct("Runtime")
            .field("id", &self.local.tasks.id())
            .field("name", &self.local.shared.name)
            .field("backend", &self.backend_name())
            .field("fds", &fds)
            .field("timers", &timers)
            .finish_non_exhaustive()
    }
}
