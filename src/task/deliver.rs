//! The owner's end of the inbox: does what other threads ask for.

use std::future::Future;

use super::error::JoinError;
use super::raw::Raw;
use super::remote::{Batch, Message};
use super::reply::ReplyTo;
use super::slab::{Found, Origin};
use super::tasks::Tasks;
use super::waker::Key;

impl Tasks {
    /// Takes what other threads have sent: queues what they woke, then does what they ask for.
    pub(crate) fn drain_remote(&self) {
        if !self.remote().has_work() {
            return;
        }
        let mut batch = self.scratch.take();
        self.remote().take(&mut batch);
        self.deliver(&mut batch);
        self.scratch.set(batch);
    }

    /// Empties a batch.
    pub(super) fn deliver(&self, batch: &mut Batch) {
        for index in batch.woken.drain(..) {
            self.with_slab(|slab| slab.wake_index(index));
        }
        for message in batch.messages.drain(..) {
            match message {
                Message::Spawn(spawn) => self.guard(|| spawn(self)),
                Message::Attach(key, reply) => self.attach(key, reply),
                Message::Abort(key) => self.abort(key),
                Message::Detach(key) => self.detach_unseen(key),
                Message::Panicked(payload) => self.stray(payload),
            }
        }
    }

    /// Connects a task with its handle on another thread.
    fn attach(&self, key: Key, reply: ReplyTo) {
        let panic = match self.join(key) {
            Found::Done(task) => {
                // SAFETY: the task has ended, so the stage holds the output, of the handle's type and hence of the
                // reply's. The slot is released: the memory is ours; the waker is taken out before it is freed.
                unsafe {
                    let waker = task.waker().take();
                    let panic = reply.complete(task.output());
                    task.free(self.blocks());
                    self.guard(|| drop(waker));
                    panic
                }
            }
            Found::Live(task) => {
                self.put_reply(key, task, reply);
                None
            }
            Found::Missing => reply.fail(JoinError::gone()),
        };
        panic.into_iter().for_each(|payload| self.stray(payload));
    }

    /// A handle was dropped on another thread.
    fn detach_unseen(&self, key: Key) {
        match self.detach(key) {
            Found::Done(task) => {
                // SAFETY: `detach` has released the slot of a task that has ended: its memory and output are ours, and
                // its waker was woken, which took it out.
                let panic = unsafe {
                    let panic = task.drop_output();
                    task.free(self.blocks());
                    panic
                };
                panic.into_iter().for_each(|payload| self.stray(payload));
            }
            // SAFETY: `Live` says that the join field holds a waker or nothing; it is moved out, then dropped.
            Found::Live(task) => self.guard(|| drop(unsafe { task.waker().take() })),
            Found::Missing => {}
        }
    }

    /// Creates a task that came by a message.
    pub(super) fn spawn_replying<F>(&self, future: F, reply: ReplyTo, origin: Origin)
    where
        F: Future + 'static,
    {
        if self.closed.get() {
            return;
        }
        let (key, task) = self.insert(Raw::new(future, self.blocks()), origin);
        let aborted = reply.arrive(key);
        self.put_reply(key, task, reply);
        if aborted {
            self.abort(key);
        }
    }

    /// Puts a reply into a live task.
    fn put_reply(&self, key: Key, task: Raw, reply: ReplyTo) {
        self.with_slab(|slab| slab.mark_reply(key));
        // SAFETY: both callers know that the task is alive and has had no reply; its bit is set now.
        let waker = unsafe { task.put_reply(reply) };
        self.guard(|| drop(waker));
    }
}
