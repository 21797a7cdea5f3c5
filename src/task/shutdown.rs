//! The end of a runtime's tasks: [`Tasks::refuse_spawns`], [`Tasks::shutdown`] and the drop.

use std::mem;

use super::current::CURRENT;
use super::error::JoinError;
use super::raw::Raw;
use super::remote::{Batch, REMOTES};
use super::runner::Runner;
use super::tasks::{NO_SLOT, Tasks};
use crate::panics::drop_caught;

impl Tasks {
    /// Refuses spawns from now on, on every thread: each drops its future, and its handle returns
    /// the error "runtime is gone". The tasks that exist run on. Spawns of other threads that have
    /// been sent are carried out.
    ///
    /// The caller has set `CURRENT`. Panics are kept for [`take_panic`](Tasks::take_panic).
    pub(crate) fn refuse_spawns(&self) {
        let mut batch = self.scratch.take();
        self.remote().refuse_spawns_from_now_on(&mut batch);
        self.deliver(&mut batch);
        self.scratch.set(batch);
        self.refuses_spawns.set(true);
        self.spawns_slowly.set(true);
    }

    /// Drops every future and every output that was not joined, wakes all waiters, and closes the
    /// inbox.
    ///
    /// The caller has set `CURRENT`, and nothing is being polled. The drops may wake, abort, drop
    /// handles and spawn. A spawn drops its future at once, so no task is added, and each step
    /// takes one pass over the slots. Panics are kept for [`take_panic`](Tasks::take_panic). A
    /// second call has no effect.
    ///
    /// # Panics
    ///
    /// If called from inside a task of this runtime.
    pub(crate) fn shutdown(&self) {
        assert!(
            !self.is_running(),
            "a runtime was dropped inside one of its own tasks: drop it outside of its loop"
        );
        if self.closed.get() {
            return;
        }
        // Makes the stages of all tasks belong to this call.
        let _runner = Runner::new(self);
        self.closed.set(true);
        self.refuses_spawns.set(true);
        self.spawns_slowly.set(true);
        self.drop_futures();
        // Before the outputs are dropped, because messages of other threads may request some of
        // them.
        let mut batch = Batch::default();
        self.remote().close(&mut batch);
        self.deliver(&mut batch);
        self.drop_outputs();
        drop(self.scratch.take());
        debug_assert_eq!(self.live(), 0);
    }

    /// Drops the futures. Their handles no longer find a task, which means that the runtime is
    /// gone.
    fn drop_futures(&self) {
        for index in 0..self.slab.len() {
            if let Some(task) = self.slab.start_shutdown(index) {
                self.end_task(index, task);
            }
        }
    }

    /// Drops the future of a task, wakes its waiter and frees its slot.
    fn end_task(&self, index: u32, task: Raw) {
        self.dropping.set(index);
        // SAFETY: `start_shutdown` returned the task, so the stage holds the future. The runner of
        // `shutdown` is the only one, so no other code uses the stage.
        unsafe { task.cancel(JoinError::gone()) };
        self.dropping.set(NO_SLOT);
        let (ended, join, has_reply) = self.slab.finish_shutdown(index, task);
        let reply = has_reply
            .then(|| self.foreign_waiters.take_reply(join))
            .flatten();
        if !has_reply && join != 0 && !self.wake_local(join) {
            self.wake_join(join);
        }
        self.pass_on(ended, reply);
    }

    /// Drops the outputs that were not joined, and releases roots that are left.
    fn drop_outputs(&self) {
        for index in 0..self.slab.len() {
            self.slab.release_root(index);
            if let Some(ended) = self.slab.take_done(index) {
                self.pass_on(ended, None);
            }
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        CURRENT.enter(self, || self.shutdown());
        if self.registered {
            REMOTES.remove(self.id());
        }
        let unobserved = mem::take(self.unobserved_panics.get_mut());
        unobserved.into_iter().for_each(drop_caught);
    }
}
