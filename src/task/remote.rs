//! What other threads may touch of a runtime's tasks: a locked inbox of wakes and messages.

use std::fmt;
use std::future::Future;
use std::mem;
use std::task::Waker;

use super::Id;
use super::join::JoinHandle;
use super::raw::Payload;
use super::reply::{Reply, ReplyTo};
use super::slab::Origin;
use super::tasks::{CURRENT, Tasks};
use super::waker::Key;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use crate::token::RuntimeId;

/// What another thread asks the owner to do.
pub(super) enum Message {
    /// Create a task: the closure knows the future's type.
    Spawn(Box<dyn FnOnce(&Tasks) + Send>),
    /// Send the output of this task there.
    Attach(Key, ReplyTo),
    /// Drop the future of this task.
    Abort(Key),
    /// The `JoinHandle` of this task is gone.
    Detach(Key),
    /// A task's panic that its `JoinHandle` was dropped with.
    Panicked(Payload),
}

/// What the owner takes out of the inbox at a time.
#[derive(Default)]
pub(super) struct Batch {
    /// Indices of slots to wake, each once.
    pub(super) woken: Vec<u32>,
    /// In the order they were sent.
    pub(super) messages: Vec<Message>,
}

/// Guarded by the lock.
#[derive(Default)]
struct Inbox {
    /// The runtime is about to end: nothing is taken any more.
    closed: bool,
    batch: Batch,
    /// One bit per slot index: it is in `batch.woken`. Generations do not matter: a wake for a task that was replaced
    /// wakes its successor for nothing, it is never lost.
    bits: Vec<u64>,
}

impl Inbox {
    /// Sets the bit of an index: true when it was not set.
    fn mark(&mut self, index: u32) -> bool {
        let (word, bit) = (index as usize / 64, 1 << (index % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let was = self.bits[word];
        self.bits[word] |= bit;
        was & bit == 0
    }

    /// Takes all, leaving empty vectors behind.
    fn take(&mut self, batch: &mut Batch) {
        mem::swap(&mut self.batch, batch);
        for &index in &batch.woken {
            self.bits[index as usize / 64] &= !(1 << (index % 64));
        }
    }
}

/// The part of a runtime's tasks that is `Send` and `Sync`.
pub(crate) struct Remote {
    id: RuntimeId,
    inbox: Mutex<Inbox>,
    /// The inbox may hold something: lets the owner look without the lock. Written under the lock.
    dirty: AtomicBool,
    /// How many tasks came from other threads: makes their ids.
    births: AtomicU64,
    /// Ends the owner's park. Called after every push, with no lock held; it does its own "once is enough".
    unpark: Waker,
}

impl Remote {
    pub(super) fn new(id: RuntimeId, unpark: Waker) -> Remote {
        Remote {
            id,
            inbox: Mutex::new(Inbox::default()),
            dirty: AtomicBool::new(false),
            births: AtomicU64::new(0),
            unpark,
        }
    }

    /// Whose tasks these are.
    pub(crate) fn id(&self) -> RuntimeId {
        self.id
    }

    /// Whether the runtime has ended, or is about to.
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    /// Whether the inbox may hold something: one load.
    ///
    /// The flag is written before `unpark` is called, which an owner that is about to sleep cannot miss.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.dirty.load(Ordering::SeqCst)
    }

    /// Wakes whatever lives at an index, once until the owner has looked. No-op after the close.
    pub(super) fn wake(&self, index: u32) {
        {
            let mut inbox = self.inbox.lock();
            if inbox.closed || !inbox.mark(index) {
                return;
            }
            inbox.batch.woken.push(index);
            self.dirty.store(true, Ordering::SeqCst);
        }
        self.unpark.wake_by_ref();
    }

    /// Sends a message, or gives it back after the close: the caller drops it, with no lock held.
    pub(super) fn push(&self, message: Message) -> Result<(), Message> {
        {
            let mut inbox = self.inbox.lock();
            if inbox.closed {
                return Err(message);
            }
            let repeated = match (inbox.batch.messages.last(), &message) {
                (Some(Message::Abort(last)), Message::Abort(key)) => last == key,
                _ => false,
            };
            if !repeated {
                inbox.batch.messages.push(message);
            }
            self.dirty.store(true, Ordering::SeqCst);
        }
        self.unpark.wake_by_ref();
        Ok(())
    }

    /// Moves all that waits into `batch`, whose empty vectors stay behind.
    pub(super) fn take(&self, batch: &mut Batch) {
        let mut inbox = self.inbox.lock();
        self.dirty.store(false, Ordering::SeqCst);
        inbox.take(batch);
    }

    /// Closes the inbox and moves what is left into `batch`: later pushes come back to their callers.
    pub(super) fn close(&self, batch: &mut Batch) {
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        self.dirty.store(false, Ordering::SeqCst);
        inbox.take(batch);
    }

    /// Spawns a `Send` future from any thread; inside the runtime itself at once, else by a message.
    ///
    /// When the runtime is gone the future is dropped here and the handle says so.
    pub(crate) fn spawn<F>(&self, future: F, origin: Origin) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut future = Some(future);
        let spawned = CURRENT.with(|tasks| {
            let tasks = tasks.filter(|tasks| tasks.id() == self.id)?;
            Some(tasks.spawn(future.take()?, origin))
        });
        match (spawned, future) {
            (Some(handle), _) => handle,
            (None, Some(future)) => self.spawn_message(future, origin),
            (None, None) => unreachable!("the future is taken only to be spawned"),
        }
    }

    /// Spawns by a message, whatever this thread is.
    pub(super) fn spawn_message<F>(&self, future: F, origin: Origin) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let reply = Reply::new(self.next_id(), None);
        let to = ReplyTo::new(reply.clone());
        let message = Message::Spawn(Box::new(move |tasks: &Tasks| {
            tasks.spawn_replying(future, to, origin);
        }));
        // A message that comes back is dropped here: the future, and the reply, which then says "gone".
        drop(self.push(message));
        JoinHandle::replied(self.id, reply)
    }

    /// A name for something that starts its life outside the slab.
    pub(super) fn next_id(&self) -> Id {
        Id::foreign(self.births.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
