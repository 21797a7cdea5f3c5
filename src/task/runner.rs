//! [`Runner`]: takes tasks out of the run queue and polls them.
//!
//! There is one at most for the tasks of a runtime, and one task at most is polled by it. So whatever a poll calls into, it
//! does not get at the stage of the task that is being polled: that takes a `Runner`, or the bit `DONE`.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::error::JoinError;
use super::raw::{Polled, Raw};
use super::slab::{Slab, Turn};
use super::state::Finish;
use super::tasks::{NOBODY, RootKey, Tasks};
use super::waker::waker_of;
use crate::budget;

/// What came of [`Runner::run`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Outcome {
    /// As many were run as was asked for.
    Done,
    /// The run queue is empty.
    Idle,
    /// Next is the future of `block_on`: its owner polls it with [`Runner::poll_root`].
    Root,
    /// A task has ended with a panic and nobody holds its handle: [`Tasks::take_panic`] has it.
    DetachedPanic,
}

/// The right to run the tasks of a runtime, one after the other; see [`Tasks::runner`].
pub(crate) struct Runner<'a> {
    tasks: &'a Tasks,
}

impl<'a> Runner<'a> {
    /// # Panics
    ///
    /// If there is one already.
    #[inline]
    pub(super) fn new(tasks: &'a Tasks) -> Runner<'a> {
        assert!(
            !tasks.running.replace(true),
            "the tasks of a runtime are run from inside of one of them"
        );
        Runner { tasks }
    }

    /// Runs the next `polls` tasks of the run queue: polls each once, or drops it if it was aborted, and tells whoever
    /// waits for it when it ends. Returns early when there is something for the caller to do; `polls` is then what is left.
    // Not inlined into the loop around it, whose type differs from future to future: here it keeps its registers.
    #[inline(never)]
    pub(crate) fn run(&self, polls: &mut u32) -> Outcome {
        let outcome = self.run_some(polls);
        self.tasks.current.set(NOBODY);
        outcome
    }

    #[inline(always)]
    fn run_some(&self, polls: &mut u32) -> Outcome {
        let tasks = self.tasks;
        let mut left = *polls;
        while left != 0 {
            let outcome = match tasks.with_slab(Slab::next) {
                Turn::Poll(index, key, task) => {
                    if self.poll(index, key, task) == Polled::Pending {
                        // No foreign code runs before the next one is the current one.
                        left -= 1;
                        continue;
                    }
                    tasks.current.set(NOBODY);
                    self.finish(index, task)
                }
                Turn::Other(index) => match self.run_other(index) {
                    Some(outcome) => outcome,
                    None => continue,
                },
                Turn::Idle => Outcome::Idle,
                Turn::Root => Outcome::Root,
            };
            left -= 1;
            if outcome != Outcome::Done {
                *polls = left;
                return outcome;
            }
        }
        Outcome::Done
    }

    /// Polls a task that `next` has given out. It is the current one until the caller says otherwise.
    #[inline(always)]
    fn poll(&self, index: u32, key: usize, task: Raw) -> Polled {
        let tasks = self.tasks;
        let waker = ManuallyDrop::new(waker_of(key));
        budget::refill(i64::from(tasks.poll_budget));
        tasks.current.set(index);
        // SAFETY: `next` says that the stage holds the future. Nobody else touches or frees it: others must find the
        // task to be `DONE`, or get it from `next` or `start_shutdown`, for which they would need a `Runner`, and this is
        // the one there is.
        unsafe { task.poll(&mut Context::from_waker(&waker)) }
    }

    /// Drops the future if the task was aborted; frees the slot if the task is gone. `None`: there was nothing to run.
    #[cold]
    #[inline(never)]
    fn run_other(&self, index: u32) -> Option<Outcome> {
        let task = self.tasks.with_slab(|slab| slab.next_other(index))?;
        self.tasks.current.set(index);
        // SAFETY: as in `poll`; `run` alone calls this: the answer was that the future is to be dropped.
        unsafe { task.cancel(JoinError::cancelled()) };
        self.tasks.current.set(NOBODY);
        Some(self.finish(index, task))
    }

    /// The stage holds the output: passes it on.
    #[inline]
    fn finish(&self, index: u32, task: Raw) -> Outcome {
        match self.tasks.with_slab(|slab| slab.finish(index)) {
            (Finish::Keep, 0) => Outcome::Done,
            (finish, join) => self.finish_other(task, finish, join),
        }
    }

    /// What is left to do when the output is not just kept for a task of this runtime, which has been woken.
    #[inline(never)]
    fn finish_other(&self, task: Raw, finish: Finish, join: usize) -> Outcome {
        if finish == Finish::Keep {
            self.tasks.wake_join(join);
            return Outcome::Done;
        }
        let reply = self.tasks.others.take_reply(join);
        // SAFETY: the slot is released, so the memory is ours. The stage is read or dropped once.
        let panic = unsafe {
            let panic = match reply {
                Some(reply) => reply.complete(task.output()),
                None => task.drop_output(),
            };
            task.free(self.tasks.blocks());
            panic
        };
        match panic {
            None => Outcome::Done,
            Some(payload) => {
                self.tasks.stray(payload);
                Outcome::DetachedPanic
            }
        }
    }

    /// Polls a root's future, as `run` polls a task. A panic goes through.
    #[inline]
    pub(crate) fn poll_root<F: Future>(
        &self,
        root: &RootKey,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        let tasks = self.tasks;
        let waker = ManuallyDrop::new(waker_of(tasks.pack(root.key())));
        budget::refill(i64::from(tasks.poll_budget));
        tasks.current.set(root.key().index);
        let polled = future.poll(&mut Context::from_waker(&waker));
        tasks.current.set(NOBODY);
        polled
    }
}

impl Drop for Runner<'_> {
    #[inline]
    fn drop(&mut self) {
        // Also when a root has panicked.
        self.tasks.current.set(NOBODY);
        self.tasks.running.set(false);
    }
}
