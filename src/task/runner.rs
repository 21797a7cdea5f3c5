//! [`Runner`]: takes tasks out of the run queue and polls them.
//!
//! A runtime has at most one runner, which polls one task at a time. So code that a poll calls
//! cannot access the stage of the polled task, because access requires a `Runner` or the bit
//! `DONE`.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::error::JoinError;
use super::key::index_of;
use super::raw::{Polled, Raw};
use super::slab::{Finished, Work};
use super::tasks::{NO_SLOT, RootKey, Tasks};
use super::waker::waker_of;
use crate::budget::{self, ITSELF};

/// The result of [`Runner::run`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Outcome {
    /// All polls were made.
    Done,
    /// The run queue is empty.
    Idle,
    /// The root is next: the caller polls it with [`Runner::poll_root`].
    Root,
    /// A task without a handle has panicked: [`Tasks::take_panic`] returns the panic.
    DetachedPanic,
}

/// The right to run the tasks of a runtime, one after the other; see [`Runner::new`].
pub(crate) struct Runner<'a> {
    tasks: &'a Tasks,
}

impl<'a> Runner<'a> {
    /// Begins to run tasks. There is one runner at a time: this is what makes a task's stage belong
    /// to the call that polls it.
    ///
    /// # Panics
    ///
    /// If there is one already: the caller is inside of code that it runs.
    #[inline]
    pub(crate) fn new(tasks: &'a Tasks) -> Runner<'a> {
        assert!(
            !tasks.running.replace(true),
            "a runtime's loop was entered inside one of its own tasks: `.await` or `spawn` instead"
        );
        Runner { tasks }
    }

    /// Runs the next `polls` tasks of the run queue: polls each one once, or drops its future if it
    /// was aborted, and wakes the waiter of a task that ends. Returns early if the caller has
    /// something to do. `polls` becomes the number of polls that are left.
    // Inlined into its two callers: as a call it costs 23 of 700 instructions a turn, and 19 of 400
    // per spawn and join from a root.
    #[inline(always)]
    pub(crate) fn run(&self, polls: &mut u32) -> Outcome {
        let outcome = self.run_some(polls);
        self.leave_poll();
        outcome
    }

    /// Ends the poll: code that runs from now on is not part of it.
    #[inline]
    fn leave_poll(&self) {
        self.tasks.polling.end();
        budget::refill(budget::UNLIMITED);
    }

    /// Wakes the polled task, whose own wake was kept. Inlined: as a call it costs 20 of 120
    /// instructions per `yield_now`.
    #[inline]
    fn wake_itself(&self, index: u32) {
        self.tasks.polling.take_itself();
        self.tasks.slab.wake_index(index);
    }

    /// Makes all wakes that were kept during the poll. `pending`: the polled task or root has not
    /// ended, so that it has to be woken as well if its own wake was kept.
    #[cold]
    fn wake_kept(&self, pending: bool) {
        let tasks = self.tasks;
        let key = tasks.polling.key();
        let itself = tasks.polling.take_itself();
        // Code that the wakers run is not part of the poll.
        tasks.polling.end();
        for waker in tasks.polling.take_others() {
            tasks.guard(|| waker.wake());
        }
        tasks.polling.begin(key);
        if itself && pending {
            tasks.slab.wake_index(index_of(key));
        }
    }

    /// Runs tasks as `run` does, but does not end the last poll.
    #[inline(always)]
    fn run_some(&self, polls: &mut u32) -> Outcome {
        let tasks = self.tasks;
        let mut left = *polls;
        while left != 0 {
            let outcome = match tasks.slab.next() {
                Work::Poll(index, key, task) => {
                    let polled = self.poll(key, task);
                    match tasks.polling.kept() {
                        0 => {}
                        ITSELF if polled == Polled::Pending => self.wake_itself(index),
                        _ => self.wake_kept(polled == Polled::Pending),
                    }
                    if polled == Polled::Pending {
                        // No foreign code runs before the next poll begins.
                        left -= 1;
                        continue;
                    }
                    self.finish(index, task)
                }
                Work::Other(index) => match self.run_other(index) {
                    Some(outcome) => outcome,
                    None => continue,
                },
                Work::Idle => Outcome::Idle,
                Work::Root => Outcome::Root,
            };
            left -= 1;
            if outcome != Outcome::Done {
                *polls = left;
                return outcome;
            }
        }
        *polls = 0;
        Outcome::Done
    }

    /// Polls a task that `next` has returned. It stays the current one until `leave_poll` or the
    /// next poll.
    #[inline(always)]
    fn poll(&self, key: usize, task: Raw) -> Polled {
        let tasks = self.tasks;
        let waker = ManuallyDrop::new(waker_of(key));
        budget::refill(i64::from(tasks.poll_budget));
        tasks.polling.begin(key);
        // SAFETY: `next` has returned the task, so the stage holds the future. No other code uses
        // or frees it during the poll: it would have to find the task `DONE`, or get it from `next`
        // or `start_shutdown`, which requires a `Runner`, and this is the only one.
        unsafe { task.poll(&mut Context::from_waker(&waker)) }
    }

    /// Drops the future if the task was aborted. Frees the slot if the task is gone. Returns `None`
    /// if nothing was run.
    #[cold]
    fn run_other(&self, index: u32) -> Option<Outcome> {
        let task = self.tasks.slab.next_other(index)?;
        self.leave_poll();
        self.tasks.dropping.set(index);
        // SAFETY: as in `poll`. `next_other` has returned the task, so its future is to be dropped.
        unsafe { task.cancel(JoinError::cancelled()) };
        self.tasks.dropping.set(NO_SLOT);
        Some(self.finish(index, task))
    }

    /// Handles the end of a task, whose stage holds the output.
    #[inline]
    fn finish(&self, index: u32, task: Raw) -> Outcome {
        match self.tasks.slab.finish(index, task) {
            Finished::Kept => Outcome::Done,
            finished => self.finish_other(finished),
        }
    }

    /// Wakes a foreign waiter, or passes on the output of a released task.
    fn finish_other(&self, finished: Finished) -> Outcome {
        self.leave_poll();
        match finished {
            Finished::Kept => {}
            Finished::Wake(join) => self.tasks.wake_join(join),
            Finished::Released(ended, join) => {
                let reply = self.tasks.foreign_waiters.take_reply(join);
                if self.tasks.pass_on(ended, reply) {
                    return Outcome::DetachedPanic;
                }
            }
        }
        Outcome::Done
    }

    /// Polls a root, as `run` polls a task. Does not catch a panic.
    #[inline]
    pub(crate) fn poll_root<F: Future>(
        &self,
        root: &RootKey,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        let tasks = self.tasks;
        let key = tasks.pack(root.key());
        let waker = ManuallyDrop::new(waker_of(key));
        budget::refill(i64::from(tasks.poll_budget));
        tasks.polling.begin(key);
        let polled = future.poll(&mut Context::from_waker(&waker));
        if tasks.polling.kept() != 0 {
            self.wake_kept(polled.is_pending());
        }
        self.leave_poll();
        polled
    }
}

impl Drop for Runner<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave_poll();
        // Wakes are left only if a root has panicked.
        if self.tasks.polling.kept() != 0 {
            self.wake_kept(false);
        }
        self.tasks.running.set(false);
    }
}
