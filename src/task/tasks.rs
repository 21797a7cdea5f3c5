//! [`Tasks`]: all data of the owner's thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::task::Waker;

use super::ended::Ended;
use super::foreign_waiters::ForeignWaiters;
use super::id::Id;
use super::inspect::{Description, Name, TaskInfo};
use super::key::{Key, index_of, pack, pack_place};
use super::names::Names;
use super::pool::Pool;
use super::remote::{Batch, Remote};
use super::reply::ReplyTo;
use super::slab::{Joined, Slab};
use super::slab_cell::SlabCell;
use super::state::State;
use super::unobserved::Unobserved;
use crate::budget::{self, Polling};
use crate::panics::catch;
use crate::sync::Arc;
use crate::token::RuntimeId;

/// No slot.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// The tasks of one runtime, on the thread that owns them. Neither `Send` nor `Sync`.
pub(crate) struct Tasks {
    pub(super) slab: SlabCell,
    id: RuntimeId,
    /// Set by `shutdown`.
    pub(super) closed: Cell<bool>,
    /// Set by `refuse_spawns` and by `shutdown`: spawns drop their future.
    pub(super) refuses_spawns: Cell<bool>,
    /// A spawn has to do more than take memory and a slot: it is refused, or spawn locations are
    /// tracked. One check covers both.
    pub(super) spawns_slowly: Cell<bool>,
    /// The slot whose future the loop is dropping, or `NO_SLOT`.
    pub(super) dropping: Cell<u32>,
    /// The current poll, and the wakes that are kept until its end.
    pub(super) polling: Polling,
    /// A `Runner` exists.
    pub(super) running: Cell<bool>,
    /// How many operations a poll may complete.
    pub(super) poll_budget: u32,
    remote: Arc<Remote>,
    /// The waiters for tasks that are not tasks of this runtime.
    pub(super) foreign_waiters: ForeignWaiters,
    /// The names of the tasks that have one.
    pub(super) names: Names,
    /// A task may have a name, or spawn locations are tracked.
    pub(super) has_descriptions: Cell<bool>,
    /// The memory of ended tasks, for new ones.
    pool: Pool,
    /// The empty batch of `handle_messages`, kept for the capacity of its vectors.
    pub(super) scratch: Cell<Batch>,
    /// Panics that no `JoinError` reports.
    pub(super) unobserved_panics: RefCell<VecDeque<Unobserved>>,
    /// `unobserved_panics` is not empty. The loop checks this twice per turn, and a check of the
    /// `RefCell` would cost three more instructions.
    panicked: Cell<bool>,
    /// The remote part is in the registry.
    pub(super) registered: bool,
}

/// The slot of a root. The caller has to pass it to [`Tasks::remove_root`], also on unwind.
#[derive(Debug)]
#[must_use]
pub(crate) struct RootKey(Key);

impl RootKey {
    pub(super) fn key(&self) -> Key {
        self.0
    }
}

impl Tasks {
    /// Creates the tasks of a runtime that is not in the registry, so that wakers and handles on
    /// other threads do not find it. `Tasks::new` describes the rest.
    pub(super) fn unregistered(
        id: RuntimeId,
        unpark: Waker,
        polling: Polling,
        poll_budget: u32,
        track_origins: bool,
    ) -> Tasks {
        let mut remote = Remote::new(id, unpark);
        remote.tracks_origins = track_origins;
        Tasks {
            slab: SlabCell::new(Slab::new(id.place(), track_origins)),
            id,
            closed: Cell::new(false),
            refuses_spawns: Cell::new(false),
            spawns_slowly: Cell::new(track_origins),
            dropping: Cell::new(NO_SLOT),
            polling,
            running: Cell::new(false),
            poll_budget,
            remote: Arc::new(remote),
            foreign_waiters: ForeignWaiters::default(),
            names: Names::default(),
            has_descriptions: Cell::new(track_origins),
            pool: Pool::new(),
            scratch: Cell::default(),
            unobserved_panics: RefCell::default(),
            panicked: Cell::new(false),
            registered: false,
        }
    }

    /// Returns the id of the runtime, which all layers use.
    #[inline]
    pub(crate) fn id(&self) -> RuntimeId {
        self.id
    }

    /// Returns the pool that tasks get their memory from.
    #[inline]
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns the current poll, which the runtime publishes while it runs its loop.
    pub(crate) fn polling(&self) -> &Polling {
        &self.polling
    }

    /// Returns the part that other threads use.
    pub(crate) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Returns the number of entries of the run queue, some of which may be of ended tasks.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.slab.queued()
    }

    /// Wakes the task of a packed key. Returns false if the key is stale or of another runtime.
    #[inline]
    #[must_use]
    pub(super) fn wake_local(&self, data: usize) -> bool {
        self.slab.wake_packed(data)
    }

    /// Makes the next run of a task drop its future.
    pub(super) fn abort(&self, key: Key) {
        self.slab.abort(key);
    }

    /// Finds the task of a `JoinHandle`: see [`Slab::join`].
    #[inline]
    pub(super) fn join(&self, key: Key, waiter: usize) -> Joined {
        self.slab.join(key, waiter)
    }

    /// Detaches a task whose handle was dropped. If it has ended, drops its output. Never panics.
    pub(super) fn detach(&self, key: Key) {
        match self.slab.detach(key) {
            Joined::Done(ended) => {
                self.pass_on(ended, None);
            }
            Joined::Live(join) => self.drop_waiter(join),
            Joined::Waiting | Joined::Missing => {}
        }
    }

    /// Drops the foreign waker of a join word that does not stand for a reply. Never panics.
    pub(super) fn drop_waiter(&self, join: usize) {
        if let Some(waker) = self.foreign_waiters.take_waker(join) {
            self.guard(|| drop(waker));
        }
    }

    /// Returns whether the task has ended or is gone.
    pub(super) fn is_finished(&self, key: Key) -> bool {
        self.slab.is_finished(key)
    }

    /// Returns whether a `Runner` exists.
    pub(super) fn is_running(&self) -> bool {
        self.running.get()
    }

    /// Adds a root and queues it for its first poll.
    pub(crate) fn add_root(&self) -> RootKey {
        assert!(
            !self.closed.get(),
            "`block_on` was called while the runtime is dropped: spawn or block before that"
        );
        match self.slab.insert(None, State::NEW_ROOT) {
            Some(key) => {
                self.slab.note_origin(key.index, None);
                RootKey(key)
            }
            None => panic!("too many tasks: no slot is left for the future of `block_on`"),
        }
    }

    /// Packs a key of this runtime.
    pub(super) fn pack(&self, key: Key) -> usize {
        pack(pack_place(self.id.place()), key)
    }

    /// Releases the slot of a root.
    pub(crate) fn remove_root(&self, root: RootKey) {
        self.slab.release_root(root.0.index);
    }

    /// Passes the output of an ended task to its reply, or drops it. Returns true if there was a
    /// panic that no handle will report. The panic is kept for `take_panic`.
    pub(super) fn pass_on(&self, ended: Ended, reply: Option<ReplyTo>) -> bool {
        let panic = match reply {
            // SAFETY: a reply was created by the task's own handle, which sent it together with the
            // task's key, or by `Remote::spawn_message`, which sent it together with the future. So
            // its type is that of the output.
            Some(reply) => unsafe { ended.answer(reply, &self.pool) },
            None => self.discard(ended),
        };
        let Some(panic) = panic else { return false };
        self.keep_panic(panic);
        true
    }

    /// Drops the output of an ended task. Returns the panic of the task or of the drop.
    fn discard(&self, ended: Ended) -> Option<Unobserved> {
        let key = ended.key();
        // Before the drop, which may spawn a task into the same slot.
        let described = self.has_descriptions.get().then(|| self.describe(key));
        let payload = ended.discard(&self.pool)?;
        let description = described.unwrap_or_default();
        Some(Unobserved::of_task(Id::local(key), description, payload))
    }

    /// Runs foreign code without a budget. Its panic is kept for `take_panic`, because it must not
    /// stop the loop.
    pub(super) fn guard(&self, f: impl FnOnce()) {
        let _unbound = budget::unbound();
        if let Err(payload) = catch(f) {
            self.keep_panic(payload.into());
        }
    }

    /// Keeps a panic for `take_panic`.
    pub(super) fn keep_panic(&self, panic: Unobserved) {
        self.panicked.set(true);
        self.unobserved_panics.borrow_mut().push_back(panic);
    }

    /// Removes and returns the oldest panic that no `JoinError` reports: of a task without a
    /// handle, of the drop of an output, or of a foreign waker. The caller has to check after
    /// `DetachedPanic`, and between batches.
    pub(crate) fn take_panic(&self) -> Option<Unobserved> {
        let mut panics = self.unobserved_panics.borrow_mut();
        let first = panics.pop_front();
        self.panicked.set(!panics.is_empty());
        first
    }

    /// Returns whether [`take_panic`](Tasks::take_panic) would return a panic.
    #[inline]
    pub(crate) fn has_panics(&self) -> bool {
        self.panicked.get()
    }

    /// Gives back memory that is kept for new tasks.
    pub(crate) fn shrink(&self) {
        self.slab.shrink();
        self.pool.clear();
        self.foreign_waiters.shrink();
        let in_slot = |index| Some(self.slab.key_and_reply(index)?.0);
        self.names.shrink(|key| in_slot(key.index) == Some(key));
        self.unobserved_panics.borrow_mut().shrink_to_fit();
        // Empty, but with room.
        drop(self.scratch.take());
    }

    /// Returns the number of tasks and roots, including tasks that have ended and were not joined.
    pub(crate) fn live(&self) -> u32 {
        self.slab.live()
    }

    /// Returns the slot of the task or root that is being polled or whose future is being dropped,
    /// or `NO_SLOT`.
    pub(super) fn current(&self) -> u32 {
        match self.polling.key() {
            0 => self.dropping.get(),
            key => index_of(key),
        }
    }

    /// Returns the id of the task that is being polled or whose future is being dropped; `None` for
    /// a root.
    pub(crate) fn current_id(&self) -> Option<Id> {
        let index = self.current();
        let is_task = index != NO_SLOT && !self.slab.is_root(index);
        is_task.then(|| self.id_at(index)).flatten()
    }

    /// Returns the id of the task of a slot.
    fn id_at(&self, index: u32) -> Option<Id> {
        let (key, reply) = self.slab.key_and_reply(index)?;
        match reply {
            Some(reply) => self.foreign_waiters.reply_id(reply),
            None => Some(Id::local(key)),
        }
    }

    /// Describes all tasks and roots, including tasks that have ended and were not joined.
    pub(crate) fn inspect(&self) -> Vec<TaskInfo> {
        let info = |index| {
            let (key, _) = self.slab.key_and_reply(index)?;
            let (id, name) = (self.id_at(index)?, self.names.get(key));
            Some(self.slab.info(index, id, name))
        };
        (0..self.slab.len()).filter_map(info).collect()
    }

    /// Stores the name of a task.
    pub(super) fn set_name(&self, key: Key, name: Name) {
        self.has_descriptions.set(true);
        self.names.set(key, name);
    }

    /// Returns the id and the description of the task that is being polled or whose future is being
    /// dropped; `None` for a root.
    pub(crate) fn describe_current(&self) -> Option<(Id, Description)> {
        let id = self.current_id()?;
        let (key, _) = self.slab.key_and_reply(self.current())?;
        Some((id, self.describe(key)))
    }

    /// Returns the id of the task of a packed key, if the key is that of a task that has not ended
    /// or was not joined.
    pub(crate) fn id_of(&self, packed: usize) -> Option<Id> {
        let index = index_of(packed);
        let (key, _) = self.slab.key_and_reply(index)?;
        let is_task = self.pack(key) == packed && !self.slab.is_root(index);
        is_task.then(|| self.id_at(index)).flatten()
    }

    /// Returns the slot of a task that has not ended, the first one from slot `from` on.
    pub(crate) fn next_unfinished(&self, from: u32) -> Option<u32> {
        self.slab.next_unfinished(from)
    }

    /// Describes a task whose slot has no other task yet.
    #[cold]
    pub(super) fn describe(&self, key: Key) -> Description {
        Description {
            name: self.names.get(key),
            origin: self.slab.origin(key.index),
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("id", &self.id)
            .field("live", &self.live())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}
