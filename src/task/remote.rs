//! [`Remote`]: how other threads reach the tasks of a runtime. They put wakes and messages into its
//! locked inbox.
//!
//! The owner's end of the inbox is in `inbox.rs`, and outputs come back by `reply.rs`. To
//! understand a runtime that one thread uses alone, skip these three files.

use std::fmt;
use std::mem;
use std::task::Waker;
use std::thread::{self, ThreadId};

use super::id::Id;
use super::inspect::{Description, Name, Origin};
use super::key::{Key, index_of, place_of};
use super::pool::Pool;
use super::raw::Raw;
use super::reply::ReplyTo;
use super::unobserved::Unobserved;
use crate::panics::drop_caught;
use crate::registry::Registry;
use crate::sync::{AtomicBool, AtomicU64, ForkLock, Ordering};
use crate::sys::fork;
use crate::token::RuntimeId;

/// The remote parts of all live runtimes. This registry gives out the ids of runtimes.
pub(super) static REMOTES: Registry<Remote> = Registry::new();

/// Allocates a task for the future that it holds, whose type only it knows.
pub(super) type MakeTask = Box<dyn FnOnce(&Pool) -> Raw + Send>;

/// A request of another thread to the owner.
pub(super) enum Message {
    /// Spawn a task whose output goes to the reply, which describes the task.
    Spawn(MakeTask, ReplyTo),
    /// Send the output of this task to the reply.
    Attach(Key, ReplyTo),
    /// Drop the future of this task.
    Abort(Key),
    /// Store in the watch whether this task has ended.
    IsFinished(Key, std::sync::Arc<Watch>),
    /// Detach this task: its `JoinHandle` was dropped.
    Detach(Key),
    /// Report this panic of a task: its `JoinHandle` was dropped before it returned the panic.
    Panicked(Box<Unobserved>),
}

/// The last answer of a runtime to whether a task has ended.
#[derive(Default)]
pub(super) struct Watch {
    /// A question is in the inbox. There is at most one at a time.
    is_sent: AtomicBool,
    /// The last answer.
    finished: AtomicBool,
}

impl Watch {
    /// Returns the last answer of the runtime to whether the task of `key` has ended. If that was
    /// "no", sends the question again.
    #[cold]
    pub(super) fn is_finished(self: &std::sync::Arc<Watch>, runtime: RuntimeId, key: Key) -> bool {
        let finished = self.finished.load(Ordering::SeqCst);
        if !finished && !self.is_sent.swap(true, Ordering::SeqCst) {
            let question = Message::IsFinished(key, self.clone());
            let remote = REMOTES.get(runtime);
            if remote.is_none_or(|remote| remote.push(question).is_err()) {
                // The runtime is gone, and the task with it.
                self.answer(true);
            }
        }
        self.finished.load(Ordering::SeqCst)
    }

    /// Stores the answer to the question.
    pub(super) fn answer(&self, finished: bool) {
        self.finished.store(finished, Ordering::SeqCst);
        self.is_sent.store(false, Ordering::SeqCst);
    }
}

/// The content of the inbox, which the owner takes out in one step.
#[derive(Default)]
pub(super) struct Batch {
    /// The indices of slots to wake, each once.
    pub(super) woken: Vec<u32>,
    /// The messages, in the order in which they were sent.
    pub(super) messages: Vec<Message>,
}

/// Wakes and messages on their way to the owner.
pub(super) struct Inbox {
    /// The runtime is about to end: the inbox accepts nothing.
    pub(super) closed: bool,
    /// The runtime is being shut down: the inbox accepts no spawns.
    pub(super) refuses_spawns: bool,
    batch: Batch,
    /// One bit per slot: its index is in `batch.woken`. Generations do not matter: if the slot has
    /// a new task meanwhile, the new task is woken once without need.
    is_woken: Vec<u64>,
}

/// A closed inbox. The child of a fork finds it if another thread was changing the inbox at the
/// time of the fork.
impl Default for Inbox {
    fn default() -> Inbox {
        Inbox {
            closed: true,
            ..Inbox::open()
        }
    }
}

impl Inbox {
    fn open() -> Inbox {
        Inbox {
            closed: false,
            refuses_spawns: false,
            batch: Batch::default(),
            is_woken: Vec::new(),
        }
    }

    /// Sets the bit of an index. Returns true if it was not set.
    fn set_woken(&mut self, index: u32) -> bool {
        let (word, bit) = (index as usize / 64, 1 << (index % 64));
        if self.is_woken.len() <= word {
            self.is_woken.resize(word + 1, 0);
        }
        let before = self.is_woken[word];
        self.is_woken[word] |= bit;
        before & bit == 0
    }

    /// Exchanges the content for `batch`, which is empty.
    pub(super) fn take(&mut self, batch: &mut Batch) {
        mem::swap(&mut self.batch, batch);
        for &index in &batch.woken {
            self.is_woken[index as usize / 64] &= !(1 << (index % 64));
        }
    }
}

/// The part of a runtime's tasks that is `Send` and `Sync`: other threads use it.
pub(crate) struct Remote {
    id: RuntimeId,
    /// The thread that owns the runtime.
    owner: ThreadId,
    /// The process that created the runtime: [`fork::process`].
    process: u32,
    pub(super) inbox: ForkLock<Inbox>,
    /// The inbox may contain something. The owner reads this without the lock; it is written with
    /// the lock held.
    pub(super) dirty: AtomicBool,
    /// Spawn locations are tracked. Set before the remote part is shared.
    pub(super) tracks_origins: bool,
    /// How many tasks were spawned from other threads: the next number for an id.
    spawned: AtomicU64,
    /// Unparks the owner. Called after every push, without the lock. A second call before the owner
    /// runs has no effect.
    unpark: Waker,
}

impl Remote {
    pub(crate) fn new(id: RuntimeId, unpark: Waker) -> Remote {
        Remote {
            id,
            owner: thread::current().id(),
            process: fork::process(),
            inbox: ForkLock::new(Inbox::open()),
            dirty: AtomicBool::new(false),
            tracks_origins: false,
            spawned: AtomicU64::new(0),
            unpark,
        }
    }

    /// Returns the id of the runtime.
    pub(crate) fn id(&self) -> RuntimeId {
        self.id
    }

    /// Returns whether this thread owns the runtime.
    pub(crate) fn is_owner(&self) -> bool {
        self.owner == thread::current().id()
    }

    /// Returns whether the process is the child of a fork, and the runtime one of its parent.
    pub(crate) fn is_of_parent(&self) -> bool {
        self.process != fork::process()
    }

    /// Returns whether spawns are refused: the runtime has ended, or is about to.
    pub(crate) fn refuses_spawns(&self) -> bool {
        let inbox = self.inbox.lock();
        inbox.closed || inbox.refuses_spawns
    }

    /// Makes the owner check again whether there is anything to do.
    pub(crate) fn unpark(&self) {
        self.unpark.wake_by_ref();
    }

    /// Wakes the task of a slot: once until the owner takes the batch, and not at all after the
    /// close.
    pub(super) fn wake(&self, index: u32) {
        {
            let mut inbox = self.inbox.lock();
            if inbox.closed || !inbox.set_woken(index) {
                return;
            }
            inbox.batch.woken.push(index);
            self.dirty.store(true, Ordering::SeqCst);
        }
        self.unpark.wake_by_ref();
    }

    /// Sends a message. Returns it if it is refused: after the close, and a spawn already during a
    /// shutdown. The caller then drops the message without the lock.
    pub(super) fn push(&self, message: Message) -> Result<(), Message> {
        {
            let mut inbox = self.inbox.lock();
            let is_spawn = matches!(message, Message::Spawn(..));
            if inbox.closed || is_spawn && inbox.refuses_spawns {
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

    /// Describes a task or job that is spawned with this name at this place.
    pub(crate) fn describe(&self, name: Option<Name>, origin: Origin) -> Description {
        Description {
            name,
            origin: origin.filter(|_| self.tracks_origins),
        }
    }

    /// Returns the id of the next task that is spawned from another thread.
    pub(super) fn next_id(&self) -> Id {
        Id::remote(self.spawned.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Sends a message to a runtime. If the runtime is gone, drops the message here. Never panics.
#[cold]
pub(super) fn send(runtime: RuntimeId, message: Message) {
    let refused = match REMOTES.get(runtime) {
        Some(remote) => remote.push(message).err(),
        None => Some(message),
    };
    refused.into_iter().for_each(drop_caught);
}

/// Wakes the task of a packed key by a message to its runtime. Does nothing if the runtime is gone.
pub(super) fn wake(key: usize) {
    if let Some(remote) = REMOTES.at(place_of(key)) {
        remote.wake(index_of(key));
    }
}
