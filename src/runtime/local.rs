//! [`Local`]: the part of a runtime that its own thread owns, and the loop over it.
//!
//! ```text
//! loop:  a batch of polls (`batch.rs`: at most `event_interval`, fewer if they are expensive)
//!        -> a turn of the driver: waits for events if no task is runnable
//!           and no other thread has sent anything
//!        -> the messages of other threads, and panics that no handle reports
//! ```

use super::batch::{Batch, Pace};
use super::builder::Hook;
use super::origins::Origins;
use super::shared::Shared;
use super::unhandled_panic::UnhandledPanic;
use crate::reactor::clock::{self, Moment};
use crate::reactor::driver::Driver;
#[cfg(feature = "signal")]
use crate::signals::HubSlot;
use crate::sync::Arc;
use crate::task::{Outcome, RootKey, Runner, Tasks, Unobserved};
use crate::token::Token;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// The owner's part of a runtime.
pub(crate) struct Local {
    pub(super) shared: Arc<Shared>,
    pub(super) tasks: Tasks,
    pub(super) driver: Driver,
    pub(super) event_interval: u32,
    pub(super) pace: Pace,
    pub(super) on_park: Option<Hook>,
    pub(super) on_unpark: Option<Hook>,
    pub(super) unhandled_panic: UnhandledPanic,
    /// Which task has registered each fd, if that is tracked.
    pub(super) origins: Option<RefCell<Origins>>,
    /// Whether a paused clock may jump to the next deadline.
    #[cfg(feature = "test-util")]
    pub(super) auto_advance: bool,
    #[cfg(feature = "signal")]
    pub(super) signals: HubSlot,
    /// The thread is inside `block_on`, `run` or `turn` of this runtime.
    pub(super) looping: Cell<bool>,
}

impl Local {
    /// Runs the loop until `future` has ended.
    pub(super) fn drive<F: Future>(&self, mut future: Pin<&mut F>) -> F::Output {
        let runner = Runner::new(&self.tasks);
        // So that a program of many short calls handles the messages of other threads.
        self.catch_up(&mut None);
        let root = Root::new(&self.tasks);
        let mut batch = self.new_batch();
        // Tasks that were queued earlier come before the root in the queue. So the first batch
        // polls each of these once, and ends after the root. A root that is ready at once needs no
        // turn of the driver, and if a root yields once, there is a turn before anything is polled
        // again.
        let mut first = true;
        loop {
            self.run_until_root(&runner, &mut batch);
            if let Poll::Ready(output) = runner.poll_root(root.key(), future.as_mut()) {
                self.report_kept_panics();
                return output;
            }
            if first {
                first = false;
                batch.end();
            }
        }
    }

    /// Polls tasks and makes turns of the driver until the root is the next to be polled.
    ///
    /// Separate from `drive`, which is compiled once for each type of future.
    #[inline(never)]
    fn run_until_root(&self, runner: &Runner<'_>, batch: &mut Batch) {
        loop {
            let outcome = runner.run(batch.polls());
            if outcome == Outcome::Root {
                return;
            }
            if !self.handle_outcome(outcome, batch) {
                // If other threads have sent messages since the last turn, this turn does not wait,
                // and they are handled at its end. To check for them here as well would cost 10 of
                // 670 instructions a turn.
                self.turn_driver(batch.reading(), None)
                    .unwrap_or_else(|error| panic!("the event loop failed: {error}"));
                *batch = self.new_batch();
            }
        }
    }

    /// Runs the loop until `Handle::stop` is called.
    pub(super) fn run(&self) -> io::Result<()> {
        let runner = Runner::new(&self.tasks);
        loop {
            let mut reading = self.run_tasks(&runner);
            // Before the flag is read, because a thread that sets the flag later ends the next
            // wait.
            self.catch_up(&mut reading);
            if self.shared.take_stop() {
                // Messages that were sent before the stop are handled: a spawn is queued.
                self.catch_up(&mut reading);
                return Ok(());
            }
            self.turn_driver(reading, None)?;
        }
    }

    /// Makes one turn for a host: runs what is runnable, makes a turn of the driver that takes at
    /// most `limit`, and runs what that made runnable.
    pub(super) fn turn(&self, mut limit: Option<Duration>) -> io::Result<()> {
        let runner = Runner::new(&self.tasks);
        let has_run = self.is_runnable();
        let mut reading = self.run_tasks(&runner);
        let has_caught_up = self.catch_up(&mut reading);
        if has_run || has_caught_up {
            // That may have made true what the host waits for.
            limit = Some(Duration::ZERO);
        }
        self.turn_driver(reading, limit)?;
        self.run_tasks(&runner);
        self.catch_up(&mut None);
        Ok(())
    }

    #[inline]
    fn new_batch(&self) -> Batch {
        Batch::new(self.event_interval)
    }

    /// Makes one batch of polls without a root. Returns the reading of the clock after it, if it
    /// was read.
    pub(super) fn run_tasks(&self, runner: &Runner<'_>) -> Option<Moment> {
        let mut batch = self.new_batch();
        loop {
            let outcome = runner.run(batch.polls());
            if !self.handle_outcome(outcome, &mut batch) {
                return batch.reading();
            }
        }
    }

    /// Handles the outcome of a run of polls. Returns whether the batch continues.
    #[inline]
    fn handle_outcome(&self, outcome: Outcome, batch: &mut Batch) -> bool {
        match outcome {
            Outcome::Done => batch.end_stretch(&self.pace, !self.is_runnable(), Moment::monotonic),
            Outcome::Idle => batch.end_stretch(&self.pace, true, Moment::monotonic),
            Outcome::DetachedPanic => {
                self.report_panics();
                true
            }
            // Only `drive` has a root, and polls it itself.
            Outcome::Root => false,
        }
    }

    /// Does the work between two batches: handles the messages of other threads, and reports
    /// panics, including those that came with the messages. If there was any, it returns true, and
    /// `reading` is dropped, because the work may take any time.
    #[inline]
    pub(super) fn catch_up(&self, reading: &mut Option<Moment>) -> bool {
        let is_notified = self.driver.take_notified();
        if is_notified {
            *reading = None;
            self.handle_messages();
        }
        let has_panics = self.tasks.has_panics();
        if has_panics {
            *reading = None;
            self.report_panics();
        }
        is_notified || has_panics
    }

    /// Makes a turn of the driver, then catches up. Waits for at most `limit`, and not at all while
    /// a task is runnable or a panic is to be reported. `reading` is the present, if it is known.
    ///
    /// The hooks run around a wait. The first one may wake a task, so the queue is checked after
    /// it.
    ///
    /// Not inlined: its code takes registers from the polls, 4 of 118 instructions a `yield_now`.
    #[inline(never)]
    pub(super) fn turn_driver(
        &self,
        mut reading: Option<Moment>,
        mut limit: Option<Duration>,
    ) -> io::Result<()> {
        let waits = !self.is_runnable() && !self.tasks.has_panics();
        let mut is_idle = waits;
        if !waits {
            limit = Some(Duration::ZERO);
        } else if let Some(hook) = &self.on_park {
            reading = None;
            hook();
            self.report_kept_panics();
            if self.is_runnable() {
                limit = Some(Duration::ZERO);
                is_idle = false;
            }
        }
        self.wait(reading, limit, is_idle)?;
        if waits {
            if let Some(hook) = &self.on_unpark {
                hook();
            }
        }
        self.catch_up(&mut None);
        Ok(())
    }

    /// Handles the messages of other threads to the driver and to the tasks.
    pub(super) fn handle_messages(&self) {
        self.driver.handle_messages();
        self.tasks.handle_messages();
    }

    /// Reports panics that no handle reports: of a detached task, of a foreign waker, of the drop
    /// of an output.
    #[cold]
    fn report_panics(&self) {
        while let Some(panic) = self.tasks.take_panic() {
            self.report_panic(panic, true);
        }
    }

    /// Calls `report_panics` if there are any panics.
    #[inline]
    fn report_kept_panics(&self) {
        if self.tasks.has_panics() {
            self.report_panics();
        }
    }

    /// Ends a call of the loop. Reports panics that are still kept when the call unwinds or returns
    /// an error, so that none comes out of a later call.
    pub(super) fn end_call(&self) {
        if self.tasks.has_panics() {
            self.report_last_panics(None);
        }
    }

    /// Reports all panics at the end of the runtime, and `last`. It does not panic, because the
    /// runtime is being dropped.
    pub(super) fn report_last_panics(&self, last: Option<Unobserved>) {
        while let Some(panic) = self.tasks.take_panic() {
            self.report_panic(panic, false);
        }
        if let Some(panic) = last {
            self.report_panic(panic, false);
        }
    }

    fn report_panic(&self, panic: Unobserved, may_unwind: bool) {
        self.unhandled_panic
            .handle(panic.into(), self.name(), may_unwind);
    }

    #[inline]
    pub(super) fn is_runnable(&self) -> bool {
        self.tasks.queued() != 0
    }

    /// The latest time at which a host must call `turn` again, if nothing becomes readable.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let is_due = self.is_runnable() || self.driver.is_notified() || self.tasks.has_panics();
        if is_due || self.will_jump() {
            return Some(clock::monotonic());
        }
        self.driver.next_deadline()
    }

    /// Gives back memory for the origins of registrations that have ended.
    pub(super) fn shrink_origins(&self) {
        if let Some(origins) = &self.origins {
            let mut live: Vec<Token> = self
                .driver
                .registered_fds()
                .iter()
                .map(|fd| fd.token)
                .collect();
            live.sort_unstable();
            origins
                .borrow_mut()
                .shrink(|token| live.binary_search(&token).is_ok());
        }
    }

    fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

/// The slot of the root, which is released also on unwind.
struct Root<'a> {
    tasks: &'a Tasks,
    /// Taken only by the drop.
    key: Option<RootKey>,
}

impl<'a> Root<'a> {
    fn new(tasks: &'a Tasks) -> Root<'a> {
        Root {
            tasks,
            key: Some(tasks.add_root()),
        }
    }

    #[inline]
    fn key(&self) -> &RootKey {
        self.key.as_ref().expect("only the drop takes the key")
    }
}

impl Drop for Root<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.tasks.remove_root(key);
        }
    }
}
