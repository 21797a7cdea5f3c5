//! [`Jobs`]: the access of one runtime to its pool.

use super::error::Refusal;
use super::pool::{JobState, KEEP_ALIVE, MAX_THREADS, Pool};
use super::queue::Kind;
#[cfg(feature = "test-util")]
use super::unfinished::{self, Unfinished};
use crate::reactor::spin::DEFAULT_SPIN;
use crate::sync::{Arc, ForkLock};
use crate::sys::scoped::{Published, scoped};
use crate::task::{Description, Job, JoinError, JoinHandle, Remote};
use std::fmt;
use std::ptr;
use std::time::Duration;

scoped! {
    /// The jobs of the runtime that this thread is inside of.
    pub(crate) const CURRENT: Jobs
}

impl Published for Jobs {}

/// The settings of a runtime's pool.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_threads: usize,
    pub(crate) keep_alive: Duration,
    /// How long threads without a job spin.
    pub(crate) spin: Duration,
    /// A pool in use, which has settings of its own.
    pub(crate) pool: Option<Pool>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_threads: MAX_THREADS,
            keep_alive: KEEP_ALIVE,
            spin: DEFAULT_SPIN,
            pool: None,
        }
    }
}

/// Spawns and ends the jobs of one runtime, from any thread.
#[derive(Debug)]
pub(crate) struct Jobs {
    /// Gives out the ids of jobs.
    tasks: Arc<Remote>,
    max_threads: usize,
    keep_alive: Duration,
    spin: Duration,
    slot: ForkLock<Slot>,
    /// Counts the jobs that have not sent an answer.
    #[cfg(feature = "test-util")]
    unfinished: Arc<Unfinished>,
}

/// Guarded by the lock of [`Jobs`].
struct Slot {
    /// Made for the first job.
    pool: Option<Pool>,
    accepts: Accepts,
}

/// Whose jobs are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepts {
    /// All.
    All,
    /// The runtime is being shut down: those of code that the runtime runs, which may need them to
    /// end: its tasks, its closures, and futures of `Handle::block_on`.
    Own,
    /// None: the runtime was dropped, or is being dropped.
    None,
}

/// The child of a fork finds it if another thread was changing the slot at the time of the fork.
impl Default for Slot {
    fn default() -> Slot {
        Slot {
            pool: None,
            accepts: Accepts::None,
        }
    }
}

impl Jobs {
    pub(crate) fn new(tasks: Arc<Remote>, settings: Settings) -> Jobs {
        Jobs {
            #[cfg(feature = "test-util")]
            unfinished: Arc::new(Unfinished::new(tasks.clone())),
            tasks,
            max_threads: settings.max_threads,
            keep_alive: settings.keep_alive,
            spin: settings.spin,
            slot: ForkLock::new(Slot {
                pool: settings.pool,
                accepts: Accepts::All,
            }),
        }
    }

    /// Returns the pool, which the first call creates unless the settings had one.
    pub(crate) fn pool(&self) -> Pool {
        let mut slot = self.slot.lock();
        let make = || Pool::with_spin(self.max_threads, self.keep_alive, self.spin);
        slot.pool.get_or_insert_with(make).clone()
    }

    /// Adds a closure with this description to the pool; `wrap` turns it into the closure that runs
    /// there. If the runtime is closed, drops the closure, and the handle returns the error
    /// "runtime is gone".
    ///
    /// # Errors
    ///
    /// `Child` and `NoThread`: no thread will ever run the closure.
    pub(crate) fn spawn<F, W, R>(
        &self,
        description: Description,
        f: F,
        wrap: impl FnOnce(F) -> W,
    ) -> Result<JoinHandle<R>, Refusal>
    where
        F: FnOnce() -> R + Send + 'static,
        W: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.push(Kind::Work, true, description, f, wrap)
            .or_else(|(refusal, f)| self.answer_closed(refusal, f))
    }

    /// Adds a closure to the pool if it can begin at once; otherwise returns it.
    pub(crate) fn try_spawn<F, W, R>(
        &self,
        description: Description,
        f: F,
        wrap: impl FnOnce(F) -> W,
    ) -> Result<JoinHandle<R>, (Refusal, F)>
    where
        W: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.push(Kind::Work, false, description, f, wrap)
    }

    /// Adds a look-up of a host name, which may use two threads beyond the bound of the pool.
    /// Errors are those of [`spawn`](Jobs::spawn).
    pub(crate) fn look_up<F, R>(&self, f: F) -> Result<JoinHandle<R>, Refusal>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.push(Kind::LookUp, true, Description::default(), f, |f| f)
            .or_else(|(refusal, f)| self.answer_closed(refusal, f))
    }

    /// Returns a handle with the error "runtime is gone", if that is the reason of a refusal.
    fn answer_closed<F, R>(&self, refusal: Refusal, f: F) -> Result<JoinHandle<R>, Refusal>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let Refusal::Closed = refusal else {
            return Err(refusal);
        };
        let (job, handle) = Job::new(&self.tasks, f, Description::default(), None);
        job.cancel(JoinError::gone());
        Ok(handle)
    }

    /// Adds a job, or returns the closure.
    fn push<F, W, R>(
        &self,
        kind: Kind,
        waits: bool,
        description: Description,
        f: F,
        wrap: impl FnOnce(F) -> W,
    ) -> Result<JoinHandle<R>, (Refusal, F)>
    where
        W: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        if self.refuses() {
            return Err((Refusal::Closed, f));
        }
        let (mut f, mut handle) = (Some((f, description)), None);
        let make = |number, queue| {
            let (f, description) = f.take().expect("a job is made once");
            let place = Some((queue, number));
            let (job, its_handle) = Job::new(&self.tasks, wrap(f), description, place);
            #[cfg(feature = "test-util")]
            let job = unfinished::counted(job, &self.unfinished);
            handle = Some(its_handle);
            job
        };
        // Checked again with the lock of the pool held: `close` may have come in between.
        let refuses = || self.refuses();
        let pool = self.pool();
        let pushed = pool.push(kind, self.tasks.id(), waits, refuses, make);
        match (pushed, handle, f) {
            (Ok(()), Some(handle), _) => Ok(handle),
            (Err(refusal), None, Some((f, _))) => Err((refusal, f)),
            _ => unreachable!("a job is made if and only if it is accepted"),
        }
    }

    /// Returns whether a job waits or runs, or has not sent its answer, or its thread has not noted
    /// its end. If so, the runtime's thread is unparked when that is over.
    #[cfg(feature = "test-util")]
    pub(crate) fn is_active(&self) -> bool {
        // Both: a job that was taken out of the queue is only counted until it is dropped, and one
        // that has sent its answer is only listed.
        self.unfinished.is_any() || self.await_all()
    }

    /// Returns whether a job of this thread is refused.
    fn refuses(&self) -> bool {
        let accepts = self.slot.lock().accepts;
        match accepts {
            Accepts::All => false,
            Accepts::Own => !CURRENT.with(|jobs| jobs.is_some_and(|jobs| ptr::eq(jobs, self))),
            Accepts::None => true,
        }
    }

    /// Refuses jobs from now on, except those of code that the runtime runs.
    pub(crate) fn refuse_others(&self) {
        self.slot.lock().accepts = Accepts::Own;
    }

    /// Returns whether any job waits, runs, or has not sent its answer. If so, the runtime's thread
    /// is unparked when the last one is gone.
    pub(crate) fn await_all(&self) -> bool {
        let pool = self.slot.lock().pool.clone();
        pool.is_some_and(|pool| pool.await_jobs(&self.tasks))
    }

    /// Refuses later jobs, and takes out those that wait. Returns what is known of all jobs that
    /// have not sent their answers: those that run, which are left alone, then those that wait.
    pub(crate) fn close_and_list(&self) -> (Vec<JobState>, TakenOut) {
        let pool = self.refuse_all();
        let (states, jobs) = pool
            .map(|pool| pool.take_all(self.tasks.id()))
            .unwrap_or_default();
        (states, TakenOut(jobs))
    }

    /// Drops the jobs that wait: their handles return the error "runtime is gone". Jobs that run
    /// are left alone. Later jobs are refused. Never waits for a job.
    pub(crate) fn close(&self) {
        let pool = self.refuse_all();
        let jobs = pool.map_or_else(Vec::new, |pool| pool.remove_all(self.tasks.id()));
        TakenOut(jobs).cancel();
    }

    fn refuse_all(&self) -> Option<Pool> {
        let mut slot = self.slot.lock();
        slot.accepts = Accepts::None;
        slot.pool.take()
    }
}

/// Jobs that will not run.
pub(crate) struct TakenOut(Vec<Job>);

impl TakenOut {
    /// Drops the jobs: their handles return the error "runtime is gone".
    pub(crate) fn cancel(self) {
        for job in self.0 {
            job.cancel(JoinError::gone());
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
