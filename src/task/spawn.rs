//! Spawns tasks: directly inside the runtime, elsewhere by a message.

use std::future::Future;

use super::current::CURRENT;
use super::ended::Ended;
use super::error::JoinError;
use super::inspect::Origin;
use super::join::JoinHandle;
use super::key::Key;
use super::pool::Pool;
use super::raw::Raw;
use super::remote::{Message, Remote};
use super::reply::{Reply, ReplyTo};
use super::state::State;
use super::tasks::Tasks;
use crate::panics::{catch, drop_caught};

impl Tasks {
    /// Spawns a task and puts it into the run queue.
    ///
    /// During and after `shutdown` it drops the future, and the handle returns the error "runtime
    /// is gone".
    ///
    /// # Panics
    ///
    /// If there are 2^28 - 1 tasks (2^22 - 1 on 32-bit targets).
    #[inline]
    pub(crate) fn spawn<F>(&self, future: F, origin: Origin) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let key = if self.spawns_slowly.get() {
            self.spawn_slowly(future, origin)
        } else {
            self.insert(Raw::new(future, self.pool()))
        };
        JoinHandle::keyed(self.id(), key)
    }

    /// Spawns on a runtime that is closed or tracks spawn locations.
    #[cold]
    fn spawn_slowly<F: Future + 'static>(&self, future: F, origin: Origin) -> Key {
        if self.closed.get() {
            self.guard(|| drop(future));
            return Key::NONE;
        }
        let key = self.insert(Raw::new(future, self.pool()));
        self.slab.note_origin(key.index, origin);
        key
    }

    /// Puts a task that was just created into a slot and into the run queue.
    #[inline]
    pub(super) fn insert(&self, task: Raw) -> Key {
        match self.slab.insert(Some(task), State::NEW) {
            Some(key) => key,
            None => too_many(task, self.pool()),
        }
    }
}

/// Drops a task that got no slot, and panics.
#[cold]
fn too_many(task: Raw, pool: &Pool) -> ! {
    // SAFETY: every caller of `insert` passes a task that it has just created, and no slot has been
    // given to it, so no other reference to its memory exists. Its stage holds the future, and
    // after `cancel` the output.
    let ended = unsafe {
        task.cancel(JoinError::cancelled());
        Ended::new(task, Key::NONE)
    };
    drop_caught(ended.discard(pool));
    panic!("too many tasks: every slot of the runtime is in use");
}

impl Remote {
    /// Spawns a `Send` future from any thread: directly inside the runtime, elsewhere by a message.
    ///
    /// If the runtime is gone, it drops the future, and the handle returns an error.
    pub(crate) fn spawn<F>(&self, future: F, origin: Origin) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut future = Some(future);
        let spawned = CURRENT.with(|tasks| {
            let tasks = tasks.filter(|tasks| tasks.id() == self.id())?;
            Some(tasks.spawn(future.take()?, origin))
        });
        match (spawned, future) {
            (Some(handle), _) => handle,
            (None, Some(future)) => self.spawn_message(future, origin),
            (None, None) => unreachable!("the future is taken only to be spawned"),
        }
    }

    /// Spawns by a message, on every thread.
    pub(super) fn spawn_message<F>(&self, future: F, origin: Origin) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let reply = Reply::new(self.next_id(), None);
        let to = ReplyTo::new(reply.clone());
        let make = Box::new(move |pool: &Pool| Raw::new(future, pool));
        let message = Message::Spawn(make, to, origin);
        if let Err(refused) = self.push(message) {
            // Drops the future and its end of the reply. The answer is "runtime is gone", or the
            // panic of that drop.
            if let Err(payload) = catch(|| drop(refused)) {
                drop_caught(reply.settle(Err(JoinError::panic(payload))));
            }
        }
        JoinHandle::replied(self.id(), reply)
    }
}
