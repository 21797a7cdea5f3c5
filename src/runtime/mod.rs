//! [`Runtime`]: the only place where tasks and the reactor meet.
//!
//! One thread owns a runtime. While it is inside `block_on`, `run`, `turn` or `enter`, the runtime is its *current*
//! one: `spawn` finds it, sockets and timers register with it, and wakers and handles take their short path. Everything
//! else (another thread, or the same one between two `block_on` calls) reaches the runtime by messages.
//!
//! The loop itself is in `local.rs`, a handful of short functions.

#![forbid(unsafe_code)]

mod builder;
mod context;
mod handle;
mod local;
mod shared;
mod spawner;

pub use builder::{Builder, UnhandledPanic};
pub use handle::Handle;

use crate::backend;
use crate::budget;
use crate::reactor::driver::{Driver, Parts};
use crate::reactor::parker::Unparker;
use crate::reactor::registration::NO_RUNTIME;
use crate::reactor::waker_slot::KeyWakers;
use crate::sync::Arc;
use crate::sys::syscall::failure;
use crate::task::{self, JoinHandle, TaskInfo, Tasks};
use context::InLoop;
use local::Local;
use shared::Shared;
use std::borrow::Borrow;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::pin;
use std::task::Waker;
use std::time::{Duration, Instant};

/// A single-threaded runtime: an event loop over fds and timers, and the tasks that run on it.
///
/// It stays on the thread that made it. Futures need not be `Send`; other threads use its [`Handle`].
///
/// ```compile_fail,E0277
/// let runtime = reveille::Runtime::new().unwrap();
/// std::thread::spawn(move || runtime.block_on(async {})); // not `Send`: make it there, on that thread
/// ```
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
/// # Dropping
///
/// Dropping the runtime drops its tasks, with it as the current runtime, then refuses what other threads send. Handles,
/// sockets and join handles that are still around give a clear error from then on; a `Sleep` that waits panics.
pub struct Runtime {
    local: Box<Local>,
    /// A duplicate of the mechanism's descriptor, made when a host asks for it.
    host_fd: OnceCell<OwnedFd>,
}

impl Runtime {
    /// A runtime with the default settings; see [`Builder`] for others.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> io::Result<Runtime> {
        Builder::new().build()
    }

    fn from_builder(builder: Builder) -> io::Result<Runtime> {
        let backend = match builder.backend {
            Some(backend) => backend,
            None => backend::open(builder.kind, builder.event_capacity)?,
        };
        if !backend.capabilities().edge {
            let text = format!(
                "the backend {} lacks edge triggers, which a runtime needs",
                backend.name()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let unparker = Unparker::new(backend.notifier());
        let unpark = Waker::from(unparker.clone());
        let tasks =
            Tasks::new(unpark, builder.poll_budget, builder.inspection).ok_or_else(|| {
                failure(
                    io::ErrorKind::Other,
                    "too many runtimes are alive in this process",
                )
            })?;
        let keys = KeyWakers {
            vtable: task::vtable(),
            wake: task::wake_key,
            min_key: task::MIN_KEY,
        };
        // Before the driver, whose drop on an unwind is long code.
        let remote = tasks.remote().clone();
        let shared = Shared::new(tasks.id(), builder.name, remote, unparker.clone());
        let shared = Arc::new(shared);
        let driver = Driver::new(Parts {
            id: tasks.id(),
            backend,
            unparker,
            event_capacity: builder.event_capacity,
            timer_tick: builder.timer_tick,
            precise_timers: builder.precise_timers,
            spin: builder.spin_before_park,
            keys,
        })?;
        let local = Box::new(Local {
            shared,
            tasks,
            driver,
            event_interval: builder.event_interval,
            on_park: builder.on_park,
            on_unpark: builder.on_unpark,
            unhandled_panic: builder.unhandled_panic,
            looping: Cell::new(false),
        });
        local.driver.suspend();
        Ok(Runtime {
            local,
            host_fd: OnceCell::new(),
        })
    }

    /// Runs the loop until `future` is done, and returns its output. Tasks that are not done by then stay, and go on
    /// with the next call.
    ///
    /// # Panics
    ///
    /// When this thread is inside a running runtime already, this one or another; when the mechanism fails for good; and
    /// with the future's own panic.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _in_loop = InLoop::blocking("`block_on`");
        self.inside(|| {
            let future = pin!(future);
            self.local.drive(future)
        })
    }

    /// Runs the loop until [`Handle::stop`] is called, which may have been before.
    ///
    /// # Errors
    ///
    /// When the mechanism fails for good.
    ///
    /// # Panics
    ///
    /// When this thread is inside a running runtime already.
    #[track_caller]
    pub fn run(&self) -> io::Result<()> {
        let _in_loop = InLoop::blocking("`Runtime::run`");
        self.inside(|| self.local.run())
    }

    /// Makes one turn, for a host that has a loop of its own: runs what is runnable, waits for fds and timers for at
    /// most `limit` (`None`: until something happens; zero: not at all), and runs what that made runnable.
    ///
    /// A host calls it when [`as_fd`](Runtime::as_fd) is readable and when
    /// [`next_deadline`](Runtime::next_deadline) has come.
    ///
    /// # Errors
    ///
    /// When the mechanism fails for good.
    ///
    /// # Panics
    ///
    /// When it is called from inside this runtime's own `turn`, `block_on` or `run`. Inside another runtime it may be.
    ///
    /// # Examples
    ///
    /// A host that sleeps in `poll(2)`:
    ///
    /// ```
    /// use reveille::time::{Duration, now, sleep};
    /// use std::os::fd::AsRawFd;
    ///
    /// fn main() -> std::io::Result<()> {
    ///     let runtime = reveille::Runtime::new()?;
    ///     let task = runtime.spawn(sleep(Duration::from_millis(1)));
    ///     let fd = match runtime.as_fd() {
    ///         Ok(fd) => fd.as_raw_fd(),
    ///         // The mechanism in use has no kernel object: it cannot be hosted like this.
    ///         Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
    ///         Err(error) => return Err(error),
    ///     };
    ///     while !task.is_finished() {
    ///         // Rounded up, for a host that comes too early comes again.
    ///         let timeout = runtime.next_deadline().map_or(-1, |deadline| {
    ///             let left = deadline.saturating_duration_since(now());
    ///             left.as_nanos().div_ceil(1_000_000).min(60_000) as libc::c_int
    ///         });
    ///         // The fds that the host itself waits for stand here too.
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

    /// When [`turn`](Runtime::turn) must be called again at the latest: now while a task is runnable, else the earliest
    /// timer's deadline, else `None`.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.local.next_deadline()
    }

    /// The kernel object behind the loop, for a host to wait on: readable when a [`turn`](Runtime::turn) has something
    /// to do that is not a matter of time.
    ///
    /// Watch this very fd rather than a duplicate of it: with event ports, to close any duplicate in this process ends
    /// everything that is registered (`port_close`).
    ///
    /// # Errors
    ///
    /// `Unsupported` on a mechanism without a kernel object: epoll, kqueue, io_uring and event ports have one; poll, select,
    /// real-time signals and /dev/poll have not. And when the system is out of descriptors.
    pub fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(fd) = self.host_fd.get() {
            return Ok(fd.as_fd());
        }
        let fd = self.local.driver.try_clone_fd()?;
        Ok(self.host_fd.get_or_init(|| fd).as_fd())
    }

    /// Runs `f` with this runtime as the thread's current one, without running the loop: for registering sockets and
    /// spawning before it runs. A function takes the place of tokio's guard, which could be forgotten.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        context::enter(&self.local, f)
    }

    /// Spawns a future, which need not be `Send`; it runs when the loop runs.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.local.tasks.spawn(future, Some(Location::caller()))
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.local.shared.clone(),
        }
    }

    /// What there is to say about the tasks that are alive or not yet joined, in no order. A walk over all of them, to look
    /// inside with; [`Builder::inspection`] adds where each was spawned.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Builder::new().inspection(true).build()?;
    /// let task = runtime.spawn(std::future::pending::<()>());
    /// let seen = runtime.tasks();
    /// assert_eq!(seen[0].id(), task.id());
    /// assert_eq!(seen[0].spawned_at().map(|place| place.file()), Some(file!()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn tasks(&self) -> Vec<TaskInfo> {
        self.local.tasks.inspect()
    }

    /// The name of the mechanism in use, as `REVEILLE_BACKEND` spells it.
    pub fn backend_name(&self) -> String {
        self.local.driver.backend_name()
    }

    /// Enters the runtime for a loop of its own.
    #[track_caller]
    fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
        assert!(
            !self.local.looping.replace(true),
            "`Runtime::turn` was called inside this runtime's own loop, which runs its tasks already: `.await` or `spawn` \
             the future, or call it where nothing of this runtime runs"
        );
        let _leave = Leave {
            local: &self.local,
            budget: budget::refill(budget::UNLIMITED),
        };
        self.local.driver.resume();
        context::enter(&self.local, f)
    }
}

/// Marks the loop as not running any more and gives the host its budget back, also on unwind.
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
        let local = &*self.local;
        context::enter(local, || {
            local.tasks.shutdown();
            // A foreign waker's panic must not come out of a drop, which may be part of an unwinding.
            let ended = catch_unwind(AssertUnwindSafe(|| local.driver.shutdown()));
            local.report_panics();
            if let Err(payload) = ended {
                local.report_panic(payload);
            }
        });
    }
}

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

/// Runs a future to its end on a new runtime with the default settings.
///
/// ```
/// let sum = reveille::block_on(async { 1 + 2 });
/// assert_eq!(sum, 3);
/// ```
///
/// # Panics
///
/// When no runtime can be made (see [`Builder::build`]) and as [`Runtime::block_on`].
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = made();
    (*runtime).borrow().block_on(future)
}

/// A runtime, or a panic. Behind a pointer that knows how to drop it: the function above is compiled in the caller's
/// crate for each of its futures, and would bring the code that drops a whole runtime there.
#[track_caller]
#[inline(never)]
fn made() -> Box<dyn Borrow<Runtime>> {
    match Runtime::new() {
        Ok(runtime) => Box::new(runtime),
        Err(error) => panic!("no runtime could be made: {error}"),
    }
}

/// Spawns a future on the runtime that this thread is in. It need not be `Send`, and runs also if the handle is dropped.
///
/// ```
/// reveille::block_on(async {
///     let shared = std::rc::Rc::new(7);
///     let task = reveille::spawn(async move { *shared });
///     assert_eq!(task.await.unwrap(), 7);
/// });
/// ```
///
/// # Panics
///
/// When the thread is in no runtime.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let place = Location::caller();
    let handle = task::CURRENT.with(|tasks| tasks.map(|tasks| tasks.spawn(future, Some(place))));
    // Not in the closure, which would put its own line into the message.
    match handle {
        Some(handle) => handle,
        None => panic!("{NO_RUNTIME}"),
    }
}
