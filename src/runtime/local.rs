//! What the owner thread holds of a runtime, and the loop over it.
//!
//! ```text
//! loop:  a batch of polls (at most `event_interval`, or TIME_SLICE)
//!        -> what other threads have sent, if they said so
//!        -> a turn of the driver: without waiting while a task is runnable, else until something happens
//! ```

use super::builder::{Hook, UnhandledPanic};
use super::shared::Shared;
use crate::budget;
use crate::reactor::clock::{self, Moment};
use crate::reactor::driver::Driver;
use crate::sync::Arc;
use crate::task::{Outcome, Payload, RootKey, Runner, Tasks};
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A batch of polls ends after this long even if `event_interval` polls have not been made: cheap polls are counted,
/// expensive ones are timed. Looked at every `POLLS_PER_CLOCK` polls, so that the clock costs nothing per poll.
const TIME_SLICE: Duration = Duration::from_micros(100);

/// Polls between two readings of the clock.
const POLLS_PER_CLOCK: u32 = 32;

/// The owner's part of a runtime.
pub(crate) struct Local {
    pub(super) shared: Arc<Shared>,
    pub(super) tasks: Tasks,
    pub(super) driver: Driver,
    pub(super) event_interval: u32,
    pub(super) on_park: Option<Hook>,
    pub(super) on_unpark: Option<Hook>,
    pub(super) unhandled_panic: UnhandledPanic,
    /// Inside `block_on`, `run` or `turn` of this very runtime.
    pub(super) looping: Cell<bool>,
}

impl Local {
    /// Runs the loop until `future` is done.
    pub(super) fn drive<F: Future>(&self, mut future: Pin<&mut F>) -> F::Output {
        let root = Root::new(&self.tasks);
        loop {
            let polled = self.batch(|runner| runner.poll_root(root.key(), future.as_mut()));
            if let Poll::Ready(output) = polled {
                return output;
            }
            self.look(None)
                .unwrap_or_else(|error| panic!("the event loop failed: {error}"));
        }
    }

    /// Runs the loop until someone asks it to stop.
    pub(super) fn run(&self) -> io::Result<()> {
        loop {
            let _no_root: Poll<()> = self.batch(|_| Poll::Pending);
            // Before the flag is looked at: whoever sets it after that ends the sleep.
            self.catch_up();
            if self.shared.take_stop() {
                // What was sent before the stop is the runtime's: a spawn that came since the look above is queued.
                self.catch_up();
                return Ok(());
            }
            self.pass(None)?;
        }
    }

    /// One turn for a host: what is runnable, one look at the driver of at most `limit`, and what that made runnable.
    pub(super) fn turn(&self, limit: Option<Duration>) -> io::Result<()> {
        let _no_root: Poll<()> = self.batch(|_| Poll::Pending);
        self.look(limit)?;
        let _no_root: Poll<()> = self.batch(|_| Poll::Pending);
        if self.driver.take_notified() {
            self.handle_messages();
        }
        Ok(())
    }

    /// Polls what is runnable, up to the bounds of a batch. `root` polls the root future when its turn has come.
    #[inline]
    fn batch<T>(&self, mut root: impl FnMut(&Runner<'_>) -> Poll<T>) -> Poll<T> {
        let runner = self.tasks.runner();
        let mut left = self.event_interval;
        let mut started = None;
        while left != 0 {
            let mut polls = left.min(POLLS_PER_CLOCK);
            left -= polls;
            loop {
                match runner.run(&mut polls) {
                    Outcome::Done => break,
                    Outcome::Idle => return Poll::Pending,
                    Outcome::Root => {
                        if let Poll::Ready(output) = root(&runner) {
                            return Poll::Ready(output);
                        }
                    }
                    Outcome::DetachedPanic => self.report_panics(),
                }
            }
            let now = Moment::now();
            if now.since(*started.get_or_insert(now)) > TIME_SLICE {
                break;
            }
        }
        Poll::Pending
    }

    /// Catches up with the other threads and makes a pass over the driver.
    fn look(&self, limit: Option<Duration>) -> io::Result<()> {
        self.catch_up();
        self.pass(limit)
    }

    /// Does what is owed between two batches: panics are reported, and other threads are heard if they said something.
    fn catch_up(&self) {
        if self.tasks.has_panics() {
            self.report_panics();
        }
        if self.driver.take_notified() {
            self.handle_messages();
        }
    }

    /// Looks at the driver: without waiting while a task is runnable, else for at most `limit`.
    fn pass(&self, limit: Option<Duration>) -> io::Result<()> {
        if self.is_runnable() {
            self.driver.turn(Some(Duration::ZERO))?;
        } else {
            self.wait(limit)?;
        }
        if self.driver.take_notified() {
            self.handle_messages();
        }
        Ok(())
    }

    /// Waits, with the hooks around it. A hook may wake a task: the queue is looked at again after each.
    fn wait(&self, mut limit: Option<Duration>) -> io::Result<()> {
        // What the last poll left over would otherwise bound the hooks and foreign wakers that run now.
        budget::refill(budget::UNLIMITED);
        if let Some(hook) = &self.on_park {
            hook();
            if self.is_runnable() {
                limit = Some(Duration::ZERO);
            }
        }
        self.driver.turn(limit)?;
        if let Some(hook) = &self.on_unpark {
            hook();
        }
        Ok(())
    }

    /// Takes what other threads have sent to either layer.
    fn handle_messages(&self) {
        self.driver.handle_messages();
        self.tasks.drain_remote();
    }

    /// Panics that no handle will see: of a detached task, of a foreign waker, of an output that nobody wanted.
    #[cold]
    pub(super) fn report_panics(&self) {
        while let Some(payload) = self.tasks.take_panic() {
            self.report_panic(payload);
        }
    }

    pub(super) fn report_panic(&self, payload: Payload) {
        self.unhandled_panic.handle(payload, self.name());
    }

    #[inline]
    fn is_runnable(&self) -> bool {
        self.tasks.queued() != 0
    }

    /// When the host must call `turn` again at the latest, though nothing is readable.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.is_runnable() || self.driver.is_notified() {
            return Some(clock::now());
        }
        self.driver.next_deadline()
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

/// The root future's place in the run queue, given back also on unwind.
struct Root<'a> {
    tasks: &'a Tasks,
    /// Taken by the drop alone.
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
        self.key
            .as_ref()
            .expect("the key is taken by the drop alone")
    }
}

impl Drop for Root<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.tasks.remove_root(key);
        }
    }
}
