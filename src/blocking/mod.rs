//! Threads for code that blocks: closures of the user, and look-ups of host names.
//!
//! [`Jobs`] is the access of one runtime; the [`Pool`] behind it may serve several runtimes. The
//! reply of a job is one of `task`: this module knows neither loops nor futures.
//!
//! ```text
//! any thread                                    a thread of the pool
//! Jobs::push ─ Pool::push                       Core::work ── repeat:
//!  ├─ Queue::push        one FIFO                ├─ Queue::take   the oldest job that may begin
//!  └─ calls a thread, if the job may begin:      ├─ Job::call     runs the closure
//!     an idle one, the last that became idle;    ├─ Queue::end
//!     else a new one                             ├─ Job::answer ─ Reply::settle ─ wakes the handle
//!                                                └─ State::end_job  unparks a runtime that waits
//! ```
//!
//! A pool lists the jobs that run, so that the shutdown of a runtime can name them. If a runtime
//! waits for the end of its jobs, the thread that ends the last one unparks it.
//!
//! A thread without a job spins before it sleeps, if a spin is likely to be shorter than the sleep:
//! with the rules of the loop ([`Spin`](crate::reactor::spin::Spin)). A loop that awaits one
//! closure after the other then makes no system call, and neither does the thread.
//!
//! # Invariants
//!
//! - At most `max_threads` closures of the user run at once. Look-ups may use two threads beyond
//!   them, so that slow closures never hold up a look-up.
//! - A job waits only if the bound forbids it to begin, or if the system refuses to create a
//!   thread. The next push tries again to create all that are missing. `Queue` counts the threads
//!   that are on their way to the queue, so that none is called or created without need.
//! - Every accepted job is answered: by its thread, by an abort, or by the drop of its runtime. The
//!   drop of a job that has no answer answers "runtime is gone".
//! - A thread that sends an answer has announced itself to the queue before. A job that is pushed
//!   because of the answer therefore calls no other thread, unless the waker or the drop that the
//!   answer runs pushes it: the thread comes only when that has returned.
//!
//! # Access rules
//!
//! | data | is used by | at which time |
//! |---|---|---|
//! | `State` of a pool | all threads, with its lock | never during foreign code; in the child of a fork never |
//! | `Slot` of `Jobs` | all threads, with its lock | for a few instructions; the lock may be taken while that of the pool is held, not the reverse |
//! | `Job` | the thread that took it out of the queue | once |
//!
//! Foreign code is the closure, the drop of the closure, the drop of an output that no handle
//! takes, and the waker of the handle. All of it runs with no lock held.
//!
//! # Fork
//!
//! The child of a fork has none of the threads, and the lock of a pool may be held forever. So each
//! use of a pool compares the process first, and refuses in the child. If a closure forks and
//! returns in the child, its thread ends there.

#![forbid(unsafe_code)]

mod error;
mod jobs;
#[cfg(all(test, loom))]
mod loom_tests;
mod pool;
mod queue;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(feature = "test-util")]
mod unfinished;

pub use error::TrySpawnBlockingError;

pub(crate) use jobs::{CURRENT, Jobs, Settings};
pub(crate) use pool::JobState;
pub use pool::Pool;
