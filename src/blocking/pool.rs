//! [`Pool`]: the threads, and the queue that they share.

use super::error::Refusal;
use super::queue::{Kind, Queue};
use crate::panics::{catch, drop_caught};
use crate::reactor::spin::{DEFAULT_SPIN, Spin};
use crate::sync::{Arc as SharedArc, AtomicBool, Condvar, Mutex, Ordering};
use crate::sys::{fork, thread};
use crate::task::{Job, JobLabel, JobQueue, Remote};
use crate::token::RuntimeId;
#[cfg(not(all(test, loom)))]
use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
#[cfg(not(all(test, loom)))]
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// How many closures may run at once by default.
pub(super) const MAX_THREADS: usize = 64;

/// How long a thread without a job waits for one by default.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The name of the threads. Linux shows 15 bytes of a name.
const NAME: &str = "reveille-pool";

/// Threads that run the closures of [`spawn_blocking`](crate::spawn_blocking), for several
/// runtimes.
///
/// By default each runtime has a pool of its own. A program of several runtimes can give them one
/// pool with [`Builder::blocking_pool`](crate::Builder::blocking_pool), so that the bound applies
/// to all of them together. Clones refer to the same pool.
///
/// A pool has no thread before its first job. A thread that has no job for 10 seconds ends. When
/// all clones and all runtimes of the pool are dropped, threads without a job end at once.
///
/// # Examples
///
/// ```
/// use reveille::Builder;
/// use reveille::runtime::Pool;
/// use reveille::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let pool = Pool::new(4, Duration::from_secs(1));
/// let threads: Vec<_> = (0..2)
///     .map(|n| {
///         let pool = pool.clone();
///         std::thread::spawn(move || {
///             let runtime = Builder::new().blocking_pool(&pool).build()?;
///             runtime.block_on(async { Ok(reveille::spawn_blocking(move || n + 1).await?) })
///         })
///     })
///     .collect();
/// let sums = threads.into_iter().map(|thread| thread.join().unwrap());
/// assert_eq!(sums.collect::<std::io::Result<Vec<i32>>>()?, [1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool {
    user: Arc<User>,
}

/// Exists while a job may be added.
struct User {
    core: Arc<Core>,
}

impl Pool {
    /// Creates a pool without threads. At most `max_threads` closures run at once; look-ups of host
    /// names may use two threads more. A thread without a job ends after `keep_alive`.
    ///
    /// # Panics
    ///
    /// If `max_threads` is 0.
    #[track_caller]
    pub fn new(max_threads: usize, keep_alive: Duration) -> Pool {
        Pool::with_spin(max_threads, keep_alive, DEFAULT_SPIN)
    }

    /// As [`new`](Pool::new). `spin`: how long a thread without a job spins for one before it
    /// sleeps, if that is likely to help; see [`Spin`].
    #[track_caller]
    pub(super) fn with_spin(max_threads: usize, keep_alive: Duration, spin: Duration) -> Pool {
        assert!(max_threads > 0, "a pool must have at least 1 thread");
        Pool::with_start(max_threads, keep_alive, spin, start_thread)
    }

    pub(super) fn with_start(
        max_threads: usize,
        keep_alive: Duration,
        spin: Duration,
        start: Start,
    ) -> Pool {
        // From now on there may be a lock that a child must not wait for.
        fork::watch();
        let core = Core {
            process: fork::process(),
            keep_alive,
            spin,
            start,
            state: Mutex::new(State {
                queue: Queue::new(max_threads.min(usize::MAX / 2)),
                threads: 0,
                running: Vec::new(),
                awaiting: Vec::new(),
                idle: Vec::new(),
                is_ending: false,
            }),
        };
        let core = Arc::new(core);
        Pool {
            user: Arc::new(User { core }),
        }
    }

    /// Returns how many threads the pool has, with and without a job.
    pub fn threads(&self) -> usize {
        self.user.core.lock().map_or(0, |state| state.threads)
    }

    /// Returns how many threads wait for a job.
    pub fn idle_threads(&self) -> usize {
        self.user.core.lock().map_or(0, |state| state.idle.len())
    }

    /// Returns how many jobs wait for a thread.
    pub fn queued(&self) -> usize {
        self.user.core.lock().map_or(0, |state| state.queue.len())
    }

    /// Adds the job that `make` creates from its number and its queue. If `waits` is false, the job
    /// has to begin at once. `refuses` is called with the lock held, after which a call of
    /// [`remove_all`](Pool::remove_all) finds the job.
    ///
    /// `make` is called with the lock held, and only if the job is accepted.
    pub(super) fn push(
        &self,
        kind: Kind,
        runtime: RuntimeId,
        waits: bool,
        refuses: impl FnOnce() -> bool,
        make: impl FnOnce(u64, Arc<dyn JobQueue>) -> Job,
    ) -> Result<(), Refusal> {
        let core = &self.user.core;
        let mut state = core.lock().ok_or(Refusal::Child)?;
        if refuses() {
            return Err(Refusal::Closed);
        }
        if !waits && !state.queue.has_room(kind) {
            return Err(Refusal::Busy);
        }
        let mut called = None;
        // This thread may be one of the pool that runs a waker or a drop while it sends an answer:
        // it does not come before that has returned.
        let absent = usize::from(is_answering(core));
        let mut has_failed = false;
        if state.queue.needs_thread(kind, absent) {
            match core.call_thread(&mut state) {
                Ok(bell) => called = bell,
                // One of the threads takes the job when it has ended its own.
                Err(_) if waits && state.threads > 0 => has_failed = true,
                Err(error) => return Err(Refusal::NoThread(error)),
            }
        }
        state
            .queue
            .push(kind, runtime, |number| make(number, core.clone()));
        // Threads that could not be created for earlier jobs.
        while !has_failed && state.queue.lacks_thread() {
            match core.call_thread(&mut state) {
                Ok(bell) => bell.iter().for_each(|bell| bell.ring()),
                Err(_) => break,
            }
        }
        drop(state);
        if let Some(bell) = called {
            bell.ring();
        }
        Ok(())
    }

    /// Takes all waiting jobs of a runtime out. In the child of a fork it takes none.
    pub(super) fn remove_all(&self, runtime: RuntimeId) -> Vec<Job> {
        let Some(mut state) = self.user.core.lock() else {
            return Vec::new();
        };
        state.awaiting.retain(|remote| remote.id() != runtime);
        state.queue.remove_all(runtime)
    }

    /// Returns whether a runtime has jobs that wait, run, or have not sent their answers. If so,
    /// the runtime's thread is unparked when the last one is gone. In the child of a fork there is
    /// none.
    pub(super) fn await_jobs(&self, remote: &SharedArc<Remote>) -> bool {
        let Some(mut state) = self.user.core.lock() else {
            return false;
        };
        let has_jobs = state.has_jobs(remote.id());
        let is_known = |known: &SharedArc<Remote>| known.id() == remote.id();
        if has_jobs && !state.awaiting.iter().any(is_known) {
            state.awaiting.push(remote.clone());
        }
        has_jobs
    }

    /// As [`remove_all`](Pool::remove_all). Also returns what is known of the jobs of the runtime
    /// that run or have not sent their answers, then of those that were taken out. No job begins in
    /// between.
    pub(super) fn take_all(&self, runtime: RuntimeId) -> (Vec<JobState>, Vec<Job>) {
        let Some(mut state) = self.user.core.lock() else {
            return Default::default();
        };
        state.awaiting.retain(|remote| remote.id() != runtime);
        let running = state.running.iter().cloned();
        let running = running.filter(|job| job.label.runtime == runtime);
        let waiting = state.queue.waiting(runtime).map(|(kind, job)| JobState {
            label: job.label(),
            is_look_up: kind == Kind::LookUp,
            has_begun: false,
        });
        let all = running.chain(waiting).collect();
        (all, state.queue.remove_all(runtime))
    }
}

impl Default for Pool {
    /// Creates a pool of at most 64 threads, which end after 10 seconds without a job.
    fn default() -> Pool {
        Pool::new(MAX_THREADS, KEEP_ALIVE)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// What is known of a job that has not sent its answer.
#[derive(Clone, Debug)]
pub(crate) struct JobState {
    pub(crate) label: JobLabel,
    pub(crate) is_look_up: bool,
    pub(crate) has_begun: bool,
}

/// The end of the last user: no job will come, so idle threads end.
impl Drop for User {
    fn drop(&mut self) {
        let Some(mut state) = self.core.lock() else {
            return;
        };
        state.is_ending = true;
        let idle = mem::take(&mut state.idle);
        idle.iter().for_each(|_| state.queue.note_coming());
        drop(state);
        idle.iter().for_each(|bell| bell.ring());
    }
}

/// Starts a thread that calls [`Core::work`]. Called with the lock held.
pub(super) type Start = fn(Arc<Core>) -> io::Result<()>;

fn start_thread(core: Arc<Core>) -> io::Result<()> {
    thread::spawn_without_signals(NAME, move || core.work())
}

/// What the threads and the users of a pool share.
pub(super) struct Core {
    /// The process that created the pool: [`fork::process`].
    process: u32,
    keep_alive: Duration,
    spin: Duration,
    start: Start,
    state: Mutex<State>,
}

/// Guarded by the lock of a [`Core`].
struct State {
    queue: Queue<Job>,
    /// How many threads exist, including those that were started and do not run yet.
    threads: usize,
    /// The jobs that run or have not sent their answers.
    running: Vec<JobState>,
    /// The runtimes that are being shut down and wait for the end of their jobs.
    awaiting: Vec<SharedArc<Remote>>,
    /// One entry for each thread that waits and was not called, longest wait first. The caller of a
    /// thread removes the entry, so a thread without an entry has been called.
    idle: Vec<Arc<Bell>>,
    /// No job will be added.
    is_ending: bool,
}

impl Core {
    /// Makes one more thread come: an idle one, whose bell the caller rings, or else a new one.
    fn call_thread(self: &Arc<Core>, state: &mut State) -> io::Result<Option<Arc<Bell>>> {
        let idle = state.idle.pop();
        if idle.is_none() {
            (self.start)(self.clone())?;
            state.threads += 1;
        }
        state.queue.note_coming();
        Ok(idle)
    }

    /// Locks the state. `None` in the child of a fork, where another thread of the parent may have
    /// held the lock.
    fn lock(&self) -> Option<crate::sync::MutexGuard<'_, State>> {
        (self.process == fork::process()).then(|| self.state.lock())
    }

    /// Runs jobs until there is none for `keep_alive`: the code of each thread. Without a job it
    /// spins at first, if that has helped before.
    pub(super) fn work(&self) {
        let bell = Arc::new(Bell::default());
        let spin = Spin::new(self.spin);
        let mut state = self.state.lock();
        loop {
            state.queue.note_arrival();
            while let Some((kind, mut job)) = state.queue.take() {
                let label = job.label();
                state.running.push(JobState {
                    label: label.clone(),
                    is_look_up: kind == Kind::LookUp,
                    has_begun: true,
                });
                drop(state);
                // The closure's own panic is in its answer. What is caught here is a panic of a
                // custom mechanism that was notified of another panic.
                call_caught(|| job.call());
                let Some(locked) = self.lock() else {
                    // The closure has forked, and has returned in the child, where this is the only
                    // thread. The answer is the parent's to send.
                    return mem::forget(job);
                };
                state = locked;
                state.queue.end(kind);
                // Before the answer, so that a job that is pushed because of it finds this thread.
                state.queue.note_coming();
                drop(state);
                answering(self, || call_caught(|| job.answer()));
                state = self.state.lock();
                if let Some(remote) = state.end_job(&label) {
                    drop(state);
                    call_caught(|| remote.unpark());
                    state = self.state.lock();
                }
                state.queue.note_arrival();
            }
            if state.is_ending {
                state.threads -= 1;
                return;
            }
            bell.has_rung.store(false, Ordering::Relaxed);
            state.idle.push(bell.clone());
            drop(state);
            let has_rung = || bell.has_rung.load(Ordering::Relaxed);
            spin.before_sleep(has_rung, None, Some(self.keep_alive));
            state = self.state.lock();
            let mut timed_out = false;
            while let Some(place) = state.place_of(&bell) {
                if timed_out {
                    state.idle.remove(place);
                    state.threads -= 1;
                    return;
                }
                (state, timed_out) = bell.condvar.wait(&self.state, state, self.keep_alive);
                spin.after_sleep(!timed_out);
            }
        }
    }
}

impl State {
    /// Returns whether a runtime has jobs that wait, run, or have not sent their answers.
    fn has_jobs(&self, runtime: RuntimeId) -> bool {
        let runs = self.running.iter().any(|job| job.label.runtime == runtime);
        runs || self.queue.waiting(runtime).next().is_some()
    }

    /// Notes that a job has sent its answer. Returns its runtime if that waits for the end of its
    /// jobs, and this was the last one. The caller unparks it without the lock.
    fn end_job(&mut self, label: &JobLabel) -> Option<SharedArc<Remote>> {
        let is_it = |job: &JobState| job.label.runtime == label.runtime && job.label.id == label.id;
        let at = self.running.iter().position(is_it);
        self.running
            .swap_remove(at.expect("it was added when it began"));
        self.ended_waiting(label.runtime)
    }

    /// Returns a runtime that waits for the end of its jobs, if it has none. The caller unparks it
    /// without the lock.
    fn ended_waiting(&mut self, runtime: RuntimeId) -> Option<SharedArc<Remote>> {
        let at = self
            .awaiting
            .iter()
            .position(|remote| remote.id() == runtime)?;
        (!self.has_jobs(runtime)).then(|| self.awaiting.swap_remove(at))
    }

    /// Returns the place of a thread in `idle`, if it was not called.
    fn place_of(&self, bell: &Arc<Bell>) -> Option<usize> {
        self.idle.iter().position(|other| Arc::ptr_eq(other, bell))
    }
}

/// Ends the wait of an idle thread, after it was taken out of [`State::idle`].
#[derive(Default)]
struct Bell {
    /// For a thread that spins. A ring may come late, when the thread waits for the next one:
    /// whether it was called is in `State::idle`.
    has_rung: AtomicBool,
    /// For a thread that sleeps.
    condvar: Condvar,
}

impl Bell {
    /// Called without the lock, which the thread takes next. If it spins, there is no system call.
    fn ring(&self) {
        self.has_rung.store(true, Ordering::Relaxed);
        self.condvar.notify_one();
    }
}

#[cfg(not(all(test, loom)))]
thread_local! {
    /// The address of the pool whose answer this thread is sending, or 0.
    static ANSWERING: Cell<usize> = const { Cell::new(0) };
}

/// Calls `f`, which sends an answer of the pool. Wakers and drops that it runs may add jobs.
#[cfg(not(all(test, loom)))]
fn answering(core: &Core, f: impl FnOnce()) {
    let before = ANSWERING.replace(ptr::from_ref(core).addr());
    f();
    ANSWERING.set(before);
}

/// Returns whether this thread is sending an answer of the pool.
#[cfg(not(all(test, loom)))]
fn is_answering(core: &Core) -> bool {
    ANSWERING.get() == ptr::from_ref(core).addr()
}

// Loom's threads share the thread-locals, and no model adds a job while it sends an answer.
#[cfg(all(test, loom))]
fn answering(_core: &Core, f: impl FnOnce()) {
    f();
}

#[cfg(all(test, loom))]
fn is_answering(_core: &Core) -> bool {
    false
}

/// Calls `f`. If it panics, drops the payload.
fn call_caught(f: impl FnOnce()) {
    catch(f).unwrap_or_else(drop_caught);
}

/// An abort takes a job that waits out of the queue.
impl JobQueue for Core {
    fn take_out(&self, number: u64) -> Option<Job> {
        let mut state = self.lock()?;
        let job = state.queue.remove(number)?;
        // The usual case, in which no label is made.
        if state.awaiting.is_empty() {
            return Some(job);
        }
        let ended = state.ended_waiting(job.label().runtime);
        drop(state);
        if let Some(remote) = ended {
            call_caught(|| remote.unpark());
        }
        Some(job)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Core")
    }
}
