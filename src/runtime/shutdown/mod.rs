//! [`Runtime::shutdown`]: the end of a runtime that gives its tasks time to end, and reports what
//! was left.
//!
//! ```text
//! shutdown:  refuse spawns
//!            -> turns of the loop, until no task and no closure is left, or the time is over
//!            -> the report: what is left
//!            -> drop the tasks, and the closures that have not begun
//!            -> the report: what of it is left without the tasks
//!            -> the drop of the runtime
//! ```
//!
//! # Decisions
//!
//! *By value.* After a shutdown nothing of the runtime can be used, so there is no state in between
//! for other methods to refuse. This is the signature of tokio's `shutdown_timeout`. If the call
//! unwinds, the runtime is dropped like any other local value: tasks, closures, fds and timers end
//! as in a drop without a shutdown.
//!
//! *Which spawns are refused.* All spawns of tasks, from any thread, tasks of the runtime included,
//! so the number of tasks only shrinks. This lets the search for a task that is left begin where
//! the last search ended: all searches together visit each slot once. Closures of `spawn_blocking`
//! and look-ups of host names are refused from other threads only: a task that ends may still need
//! a file or an address, and there the thread that could go on is its own.
//!
//! *How.* The flag for other threads is set in the inbox, under the lock under which the spawns are
//! sent, and the spawns that were sent before are carried out. So each spawn is either carried out
//! or refused, and a refused one drops its future and answers "runtime is gone", as after the end
//! of the runtime.
//!
//! *How it waits.* As in any other loop, for fds, timers and messages. Closures are counted by the
//! pool, which unparks the loop when the last one has sent its answer. The deadline is a timer.
//!
//! *When the time is checked.* Before each batch of polls. A limit of zero therefore polls nothing.
//! A poll cannot be interrupted, so one that takes long delays the end of the shutdown; a task that
//! wakes itself forever does not.
//!
//! *Panics.* While the loop runs, the policy for unhandled panics applies as in `run`: with
//! `Propagate`, and with a handler that panics, the panic unwinds out of the call. From the drop of
//! the tasks on nothing unwinds, as in the drop of a runtime.
//!
//! *Costs.* A program that does not call it pays nothing in the loop. A pool keeps a list of the
//! closures that run. With spawn locations tracked, each registration of an fd notes its task and
//! place, and each timer its place. While no runtime tracks them, a new timer costs 5 of 230
//! instructions more, to find that out.

#![forbid(unsafe_code)]

mod deadline;
mod report;

pub use report::{DescriptorInfo, JobInfo, ShutdownReport, TimerInfo};

use super::Runtime;
use super::context::InLoop;
use super::local::Local;
use crate::task::Runner;
use deadline::Deadline;
use std::io;
use std::time::Duration;

impl Runtime {
    /// Ends the runtime gracefully: runs the loop until no task is left or the time is over, drops
    /// the tasks that are left, and reports what was left.
    ///
    /// It waits until every task has ended, and every closure of
    /// [`spawn_blocking`](crate::spawn_blocking), for at most `limit`. Meanwhile sockets and timers
    /// work as usual, and the thread sleeps when there is nothing to do. Then it drops the runtime,
    /// as [described there](Runtime#dropping), together with outputs that no handle has taken.
    ///
    /// A task that would never end by itself, such as one that accepts connections, keeps the call
    /// waiting until the time is over. Abort it before, or make it end in another way.
    ///
    /// `examples/graceful.rs` is a server that ends this way on SIGTERM, without losing a request.
    ///
    /// # What is refused
    ///
    /// | from the beginning of the call on | |
    /// |---|---|
    /// | [`spawn`](crate::spawn()), [`Handle::spawn`](crate::Handle::spawn) and the other functions that spawn a task, on any thread, also in a task of the runtime | drops the future; the handle returns an error for which [`is_runtime_gone`](crate::task::JoinError::is_runtime_gone) is true |
    /// | `spawn_blocking` and look-ups of host names, by code outside of the runtime | the same; `try_spawn_blocking` returns the closure |
    /// | `spawn_blocking` and look-ups, by its tasks and closures and in [`Handle::block_on`](crate::Handle::block_on) | works until the time is over |
    /// | children of a [`scope`](fn@crate::task::scope), which are not tasks | work until the time is over |
    ///
    /// Spawns that were made before are carried out, also those of other threads that the loop has
    /// not seen yet.
    ///
    /// The call does not wait for futures of `Handle::block_on`: they are no tasks.
    ///
    /// # The time
    ///
    /// The time is over when `limit` has passed on the clock of the runtime.
    ///
    /// | limit | |
    /// |---|---|
    /// | zero | nothing is polled: the runtime is dropped, with a report |
    /// | [`Duration::MAX`] | waits without limit |
    ///
    /// A poll that takes long is not interrupted. Closures that run are not either: after the
    /// deadline they continue on their threads, as they do after a drop, and the report names them.
    ///
    /// With a paused clock (feature `test-util`), the time passes as the clock moves, and the clock
    /// jumps as usual. Closures hold up the clock: while it stands because of them, the time is
    /// also over when `limit` has passed in reality.
    ///
    /// # Errors
    ///
    /// If the mechanism fails permanently, and in the child of a fork, the call does not wait. The
    /// runtime is dropped, and [`ShutdownReport::error`] returns the error.
    ///
    /// # Panics
    ///
    /// - This thread is inside a running runtime. Then, as in all cases here, the runtime is
    ///   dropped by the unwinding.
    /// - A hook panics, or a task does whose panic no handle reports, and
    ///   [`Builder::unhandled_panic`](crate::Builder::unhandled_panic) is `Propagate`, or a handler
    ///   that panics. The tasks that are left then get no more time. Panics of values that are
    ///   dropped after the deadline do not unwind.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::time::{Duration, sleep};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// runtime.spawn(async {
    ///     sleep(Duration::from_millis(1)).await;
    ///     println!("good night");
    /// });
    /// let report = runtime.shutdown(Duration::from_secs(5));
    /// assert!(report.is_clean());
    ///
    /// let runtime = reveille::Builder::new().track_spawn_locations(true).build()?;
    /// let endless = runtime.spawn(std::future::pending::<()>());
    /// let id = endless.id();
    ///
    /// let report = runtime.shutdown(Duration::from_millis(20));
    /// assert!(!report.is_clean());
    /// assert_eq!(report.tasks().len(), 1);
    /// assert_eq!(report.tasks()[0].id(), id);
    /// println!("{report}"); // names the line that has spawned the task
    /// assert!(endless.wait().unwrap_err().is_runtime_gone());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn shutdown(self, limit: Duration) -> ShutdownReport {
        let mut report = {
            let _in_loop = InLoop::blocking("`Runtime::shutdown`");
            self.inside(|| self.local.wind_down(limit))
        };
        self.drop_tasks();
        // Sockets and timers that were dropped with the tasks, on any thread.
        self.enter(|| self.local.driver.handle_messages());
        report.note_what_outlives_tasks(&self.local.driver);
        drop(self);
        report
    }
}

impl Local {
    /// Refuses spawns and runs the loop until no task and no job is left, or the time is over.
    fn wind_down(&self, limit: Duration) -> ShutdownReport {
        if let Err(error) = self.driver.check_forked() {
            return self.report(false, Some(error));
        }
        let deadline = Deadline::after(self, limit);
        self.tasks.refuse_spawns();
        self.shared.blocking.refuse_others();
        let (is_late, error) = match self.run_until_ended(&deadline) {
            Ok(is_late) => (is_late, None),
            Err(error) => (false, Some(error)),
        };
        deadline.disarm(self);
        // Other threads may have dropped sockets and timers.
        self.handle_messages();
        self.report(is_late, error)
    }

    /// Lists what is left. Closures that have not begun do not begin any more, so that the report
    /// stays true; they are dropped after the listing, because sockets may be in them.
    fn report(&self, is_late: bool, error: Option<io::Error>) -> ShutdownReport {
        let (jobs, waiting) = self.shared.blocking.close_and_list();
        let report = ShutdownReport::of(self, jobs, is_late, error);
        waiting.cancel();
        report
    }

    /// Runs the loop until no task and no job is left. Returns true if the time was over before.
    fn run_until_ended(&self, deadline: &Deadline) -> io::Result<bool> {
        let runner = Runner::new(&self.tasks);
        // No task gets a slot before this one, because spawns are refused.
        let mut first = 0;
        loop {
            if self.has_ended(&mut first) {
                return Ok(false);
            }
            if deadline.has_passed(self) {
                return Ok(true);
            }
            let mut reading = self.run_tasks(&runner);
            self.catch_up(&mut reading);
            if self.has_ended(&mut first) {
                return Ok(false);
            }
            self.turn_driver(reading, deadline.limit(self))?;
        }
    }

    /// Returns whether no task and no job is left. No task before slot `first` is; this sets it to
    /// the first one that is left. If only jobs are left, the end of the last one ends the next
    /// wait.
    fn has_ended(&self, first: &mut u32) -> bool {
        match self.tasks.next_unfinished(*first) {
            Some(index) => {
                *first = index;
                false
            }
            None => {
                *first = u32::MAX;
                !self.shared.blocking.await_all()
            }
        }
    }
}
