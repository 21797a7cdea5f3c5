//! The owner's end of the inbox: does what other threads ask for.

use std::future::Future;

use super::error::JoinError;
use super::raw::Raw;
use super::remote::{Batch, Message};
use super::reply::ReplyTo;
use super::slab::{Joined, Origin};
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
        let panic = match self.join(key, 0) {
            Joined::Done(task) => {
                // SAFETY: the task has ended, so the stage holds the output, of the handle's type and hence of the
                // reply's. The slot is released: the memory is ours.
                unsafe {
                    let panic = reply.complete(task.output());
                    task.free(self.blocks());
                    panic
                }
            }
            Joined::Live(_) | Joined::Waiting => {
                self.put_reply(key, reply);
                None
            }
            Joined::Missing => reply.fail(JoinError::gone()),
        };
        panic.into_iter().for_each(|payload| self.stray(payload));
    }

    /// A handle was dropped on another thread.
    fn detach_unseen(&self, key: Key) {
        match self.detach(key) {
            Joined::Done(task) => {
                // SAFETY: `detach` has released the slot of a task that has ended: its memory and output are ours.
                let panic = unsafe {
                    let panic = task.drop_output();
                    task.free(self.blocks());
                    panic
                };
                panic.into_iter().for_each(|payload| self.stray(payload));
            }
            Joined::Live(join) => self.guard(|| drop(self.others.take_waker(join))),
            Joined::Waiting | Joined::Missing => {}
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
        let key = self.insert(Raw::new(future, self.blocks()), origin);
        let aborted = reply.arrive(key);
        self.put_reply(key, reply);
        if aborted {
            self.abort(key);
        }
    }

    /// Puts a reply into a live task.
    fn put_reply(&self, key: Key, reply: ReplyTo) {
        let reply = self.others.keep_reply(reply);
        let former = self.with_slab(|slab| slab.attach_reply(key, reply));
        self.guard(|| drop(self.others.take_waker(former)));
    }
}
