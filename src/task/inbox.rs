//! The owner's end of the inbox: handles the wakes and messages of other threads.

use super::error::JoinError;
use super::key::Key;
use super::remote::{Batch, MakeTask, Message, Remote};
use super::reply::ReplyTo;
use super::slab::Joined;
use super::tasks::Tasks;
use crate::sync::Ordering;

impl Remote {
    /// Returns whether the inbox may contain something: one load.
    ///
    /// A sender sets the flag before it calls `unpark`, and an owner that is about to sleep cannot
    /// miss that call.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.dirty.load(Ordering::SeqCst)
    }

    /// Exchanges the content of the inbox for `batch`, which is empty.
    pub(super) fn take(&self, batch: &mut Batch) {
        let mut inbox = self.inbox.lock();
        self.dirty.store(false, Ordering::SeqCst);
        inbox.take(batch);
    }

    /// Refuses spawns from now on, and exchanges the content of the inbox for `batch`, which is
    /// empty. So the batch has all spawns that were accepted.
    pub(super) fn refuse_spawns_from_now_on(&self, batch: &mut Batch) {
        let mut inbox = self.inbox.lock();
        inbox.refuses_spawns = true;
        self.dirty.store(false, Ordering::SeqCst);
        inbox.take(batch);
    }

    /// Closes the inbox and exchanges its content for `batch`, which is empty. Later pushes fail.
    pub(super) fn close(&self, batch: &mut Batch) {
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        self.dirty.store(false, Ordering::SeqCst);
        inbox.take(batch);
    }
}

impl Tasks {
    /// Handles everything that other threads have sent: first the wakes, then the messages.
    pub(crate) fn handle_messages(&self) {
        if !self.remote().has_work() {
            return;
        }
        let mut batch = self.scratch.take();
        self.remote().take(&mut batch);
        self.deliver(&mut batch);
        self.scratch.set(batch);
    }

    /// Handles a batch and leaves it empty.
    pub(super) fn deliver(&self, batch: &mut Batch) {
        for index in batch.woken.drain(..) {
            self.slab.wake_index(index);
        }
        for message in batch.messages.drain(..) {
            match message {
                Message::Spawn(make, reply) => {
                    self.guard(|| self.spawn_replying(make, reply));
                }
                Message::Attach(key, reply) => self.attach(key, reply),
                Message::Abort(key) => self.abort(key),
                Message::IsFinished(key, watch) => watch.answer(self.is_finished(key)),
                Message::Detach(key) => self.detach(key),
                Message::Panicked(panic) => self.keep_panic(*panic),
            }
        }
    }

    /// Connects a task with the reply of its handle on another thread.
    fn attach(&self, key: Key, reply: ReplyTo) {
        reply.describe(self.describe(key));
        match self.join(key, 0) {
            Joined::Done(ended) => {
                self.pass_on(ended, Some(reply));
            }
            Joined::Live(_) | Joined::Waiting => self.put_reply(key, reply),
            Joined::Missing => {
                if let Some(panic) = reply.fail(JoinError::gone()) {
                    self.keep_panic(panic);
                }
            }
        }
    }

    /// Spawns a task on behalf of another thread.
    fn spawn_replying(&self, make: MakeTask, reply: ReplyTo) {
        if self.closed.get() {
            return;
        }
        let key = self.insert(make(self.pool()));
        let description = reply.description();
        self.slab.note_origin(key.index, description.origin);
        if let Some(name) = description.name {
            self.set_name(key, name);
        }
        let aborted = reply.set_key(key);
        self.put_reply(key, reply);
        if aborted {
            self.abort(key);
        }
    }

    /// Attaches a reply to a task that has not ended. Wakes the waiter that was stored before,
    /// because its handle has to poll the reply from now on.
    fn put_reply(&self, key: Key, reply: ReplyTo) {
        let reply = self.foreign_waiters.keep_reply(reply);
        let former = self.slab.attach_reply(key, reply);
        if former != 0 && !self.wake_local(former) {
            self.wake_join(former);
        }
    }
}
