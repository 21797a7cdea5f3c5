//! The end of a runtime's tasks.

use super::error::JoinError;
use super::raw::Raw;
use super::remote::Batch;
use super::tasks::Tasks;

impl Tasks {
    /// Drops every future and every output that nobody has joined, tells all who wait, and closes the inbox.
    ///
    /// Called with `CURRENT` set and nothing being polled. What is dropped may wake, abort, drop handles and spawn; a
    /// spawn drops its future at once, so nothing new appears and one pass over the slots is enough for each step.
    /// Panics are caught and kept for [`take_panic`](Tasks::take_panic). A second call does nothing.
    ///
    /// # Panics
    ///
    /// If called from inside a task of this runtime.
    pub(crate) fn shutdown(&self) {
        assert!(
            !self.is_running(),
            "a runtime is shut down from inside one of its own tasks"
        );
        if self.closed.get() {
            return;
        }
        let _nobody_else = self.runner();
        self.closed.set(true);
        self.drop_futures();
        // Outputs that other threads ask for go out while there are any.
        let mut batch = Batch::default();
        self.remote().close(&mut batch);
        self.deliver(&mut batch);
        self.drop_outputs();
        drop(self.scratch.take());
        debug_assert_eq!(self.live(), 0);
    }

    /// Drops the futures one by one; their handles find no task any more, which means "runtime gone".
    fn drop_futures(&self) {
        for index in 0..self.with_slab(|slab| slab.len()) {
            if let Some(task) = self.with_slab(|slab| slab.start_shutdown(index)) {
                self.end_task(index, task);
            }
        }
    }

    fn end_task(&self, index: u32, task: Raw) {
        // SAFETY: `start_shutdown` says that the stage holds the future, and the runner is ours: nobody else touches it.
        unsafe { task.cancel(JoinError::gone()) };
        let (has_reply, join) = self.with_slab(|slab| slab.finish_shutdown(index));
        // SAFETY: the slot is released, so the memory is ours; its stage holds an error.
        let panic = unsafe {
            let panic = match has_reply.then(|| self.others.take_reply(join)).flatten() {
                Some(reply) => reply.complete(task.output()),
                None => {
                    if join != 0 && !self.wake_local(join) {
                        self.wake_join(join);
                    }
                    task.drop_output()
                }
            };
            task.free(self.blocks());
            panic
        };
        panic.into_iter().for_each(|payload| self.stray(payload));
    }

    /// Drops the outputs, and releases roots whose `block_on` has forgotten to.
    fn drop_outputs(&self) {
        for index in 0..self.with_slab(|slab| slab.len()) {
            self.with_slab(|slab| slab.release_root(index));
            if let Some(task) = self.with_slab(|slab| slab.take_done(index)) {
                // SAFETY: the task has ended and its slot is released: the memory is ours, and the stage holds the output.
                let panic = unsafe {
                    let panic = task.drop_output();
                    task.free(self.blocks());
                    panic
                };
                panic.into_iter().for_each(|payload| self.stray(payload));
            }
        }
    }
}
