//! Spawns tasks: directly inside the runtime, elsewhere by a message.

use std::future::Future;

use super::current::CURRENT;
use super::ended::Ended;
use super::error::JoinError;
use super::inspect::{Description, Name, Origin};
use super::join::JoinHandle;
use super::key::Key;
use super::pool::Pool;
use super::raw::Raw;
use super::remote::{Message, Remote};
use super::reply::{Reply, ReplyTo, Sink};
use super::state::State;
use super::tasks::Tasks;
use crate::panics::{catch, drop_caught};

impl Tasks {
    /// Spawns a task and puts it into the run queue.
    ///
    /// After `refuse_spawns` and during and after `shutdown` it drops the future, and the handle
    /// returns the error "runtime is gone".
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

    /// Spawns a task that has a name, unless `name` is `None`. The rest is that of
    /// [`spawn`](Tasks::spawn).
    pub(crate) fn spawn_named<F>(
        &self,
        future: F,
        origin: Origin,
        name: Option<Name>,
    ) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let handle = self.spawn(future, origin);
        if let (Some(name), Some(key)) = (name, handle.key()) {
            self.set_name(key, name);
        }
        handle
    }

    /// Spawns on a runtime that refuses spawns or tracks spawn locations.
    #[cold]
    fn spawn_slowly<F: Future + 'static>(&self, future: F, origin: Origin) -> Key {
        if self.refuses_spawns.get() {
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
    /// If the runtime is gone or refuses spawns, it drops the future, and the handle returns an
    /// error.
    pub(crate) fn spawn<F>(
        &self,
        future: F,
        origin: Origin,
        name: Option<Name>,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut parts = Some((future, name));
        let spawned = CURRENT.with(|tasks| {
            let tasks = tasks.filter(|tasks| tasks.id() == self.id())?;
            let (future, name) = parts.take()?;
            Some(tasks.spawn_named(future, origin, name))
        });
        match (spawned, parts) {
            (Some(handle), _) => handle,
            (None, Some((future, name))) => self.spawn_message(future, self.describe(name, origin)),
            (None, None) => unreachable!("the future is taken only to be spawned"),
        }
    }

    /// Spawns by a message, on every thread.
    pub(super) fn spawn_message<F>(
        &self,
        future: F,
        description: Description,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let reply = Reply::new(self.next_id(), None);
        reply.describe(description);
        let to = ReplyTo::new(reply.clone());
        let make = Box::new(move |pool: &Pool| Raw::new(future, pool));
        let message = Message::Spawn(make, to);
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
