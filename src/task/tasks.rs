//! [`Tasks`]: what the owner's thread holds; spawn, wake, join. Who runs them: `runner.rs`.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::fmt;
use std::future::Future;
use std::mem;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use super::Id;
use super::blocks::Blocks;
use super::error::JoinError;
use super::join::JoinHandle;
use super::others::Others;
use super::raw::{Payload, Raw, drop_caught};
use super::registry;
use super::remote::{Batch, Remote};
use super::runner::Runner;
use super::slab::{Joined, Origin, Slab, TaskInfo};
use super::state::State;
use super::waker::{Key, pack, pack_place, wake_elsewhere};
use crate::sync::Arc;
use crate::sys::scoped::{Published, scoped};
use crate::token::RuntimeId;

scoped! {
    /// The tasks of the runtime that this thread is inside of. Set by the runtime, around everything it calls here.
    pub(crate) const CURRENT: Tasks
}

/// Handles find the tasks by the runtime's id.
impl Published for Tasks {
    fn name(&self) -> Option<NonZeroU32> {
        Some(self.id.number())
    }
}

/// No slot: nothing is being polled.
pub(super) const NOBODY: u32 = u32::MAX;

/// The tasks of one runtime, on the thread that owns them. Neither `Send` nor `Sync`.
pub(crate) struct Tasks {
    slab: Lent<Slab>,
    id: RuntimeId,
    /// Set by `shutdown`: nothing is spawned any more.
    pub(super) closed: Cell<bool>,
    /// The slot whose future or root is being polled, or `NOBODY`.
    pub(super) current: Cell<u32>,
    /// There is a `Runner`.
    pub(super) running: Cell<bool>,
    /// How many leaf operations a poll may make.
    pub(super) poll_budget: u32,
    remote: Arc<Remote>,
    /// Those who wait for a task and are not tasks of this runtime.
    pub(super) others: Others,
    /// Memory of ended tasks.
    blocks: Blocks,
    /// Vectors of `drain_remote`, kept for their capacity.
    pub(super) scratch: Cell<Batch>,
    /// Panics that nobody will see in a `JoinError`.
    strays: RefCell<Vec<Payload>>,
    /// Whether the remote part is in the registry.
    registered: bool,
}

/// A cell whose content is lent out by `&mut` for the length of a call.
struct Lent<T> {
    cell: UnsafeCell<T>,
    #[cfg(debug_assertions)]
    lent: Cell<bool>,
}

impl Lent<Slab> {
    fn new(slab: Slab) -> Lent<Slab> {
        Lent {
            cell: UnsafeCell::new(slab),
            #[cfg(debug_assertions)]
            lent: Cell::new(false),
        }
    }

    /// Every `f` calls methods of `Slab` and nothing else.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Slab) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(!self.lent.replace(true), "the slab is lent out twice");
        // SAFETY: the cell is not Sync, so only this thread gets here. `f` is a method of `Slab`, none of which runs
        // foreign code or comes back here, so there is no second reference while this one lives.
        let result = f(unsafe { &mut *self.cell.get() });
        #[cfg(debug_assertions)]
        self.lent.set(false);
        result
    }
}

/// The place in the run queue of a future that is pinned in a frame of `block_on`. Give it to
/// [`Tasks::remove_root`] at the end, also on unwind.
#[derive(Debug)]
#[must_use]
pub(crate) struct RootKey(Key);

impl RootKey {
    pub(super) fn key(&self) -> Key {
        self.0
    }
}

impl Tasks {
    /// Makes the tasks of a new runtime and registers their remote part. `unpark` ends the owner's park, from any
    /// thread. `None` when no more runtimes fit into the process.
    pub(crate) fn new(unpark: Waker, poll_budget: u32, inspect: bool) -> Option<Tasks> {
        let id = registry::claim()?;
        let mut tasks = Tasks::unregistered(id, unpark, poll_budget, inspect);
        registry::register(id, tasks.remote.clone());
        tasks.registered = true;
        Some(tasks)
    }

    /// As `new`, without the process-wide registry (loom models must not touch it): wakes from other threads and
    /// handles there do not find it.
    pub(super) fn unregistered(
        id: RuntimeId,
        unpark: Waker,
        poll_budget: u32,
        inspect: bool,
    ) -> Tasks {
        Tasks {
            slab: Lent::new(Slab::new(id.place(), inspect)),
            id,
            closed: Cell::new(false),
            current: Cell::new(NOBODY),
            running: Cell::new(false),
            poll_budget,
            remote: Arc::new(Remote::new(id, unpark)),
            others: Others::default(),
            blocks: Blocks::new(),
            scratch: Cell::default(),
            strays: RefCell::default(),
            registered: false,
        }
    }

    /// The runtime's id: the one every layer above uses too.
    #[inline]
    pub(crate) fn id(&self) -> RuntimeId {
        self.id
    }

    /// Where tasks get their memory.
    #[inline]
    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The part that other threads may touch.
    pub(crate) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Spawns a task; it is in the run queue when this returns.
    ///
    /// During and after `shutdown` the future is dropped here and the handle says that the runtime is gone.
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
        if self.closed.get() {
            return JoinHandle::keyed(self.id, Key::NONE);
        }
        let key = self.insert(Raw::new(future, &self.blocks), origin);
        JoinHandle::keyed(self.id, key)
    }

    #[inline]
    pub(super) fn insert(&self, task: Raw, origin: Origin) -> Key {
        match self
            .slab
            .with(|slab| slab.insert(Some(task), State::NEW, origin))
        {
            Some(key) => key,
            None => too_many(task, &self.blocks),
        }
    }

    /// How many entries the run queue has: an upper bound of what there is to run.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.slab.with(|slab| slab.queued())
    }

    /// What runs tasks. There is one at a time: this is what makes a task's stage belong to the call that polls it.
    ///
    /// # Panics
    ///
    /// If there is one already: the caller is inside of something that it runs.
    #[inline]
    pub(crate) fn runner(&self) -> Runner<'_> {
        Runner::new(self)
    }

    /// Wakes who waits for a task and is not a task of this runtime.
    #[cold]
    pub(super) fn wake_join(&self, join: usize) {
        match self.others.take_waker(join) {
            Some(waker) => self.guard(|| waker.wake()),
            None => wake_elsewhere(join),
        }
    }

    /// Wakes the task of a packed key. False: the key is of another runtime, or stale.
    #[inline]
    #[must_use]
    pub(super) fn wake_local(&self, data: usize) -> bool {
        self.slab.with(|slab| slab.wake_packed(data))
    }

    /// Marks a task to be dropped by `run_next`.
    pub(super) fn abort(&self, key: Key) {
        self.slab.with(|slab| slab.abort(key));
    }

    #[inline]
    pub(super) fn join(&self, key: Key, waiter: usize) -> Joined {
        self.slab.with(|slab| slab.join(key, waiter))
    }

    #[inline]
    pub(super) fn detach(&self, key: Key) -> Joined {
        self.slab.with(|slab| slab.detach(key))
    }

    pub(super) fn is_finished(&self, key: Key) -> bool {
        self.slab.with(|slab| slab.is_finished(key))
    }

    /// Lends the slab to the rest of this module's `impl Tasks`: `f` calls methods of `Slab` and nothing else.
    #[inline]
    pub(super) fn with_slab<R>(&self, f: impl FnOnce(&mut Slab) -> R) -> R {
        self.slab.with(f)
    }

    /// Whether there is a [`Runner`], which may be polling something right now.
    pub(super) fn is_running(&self) -> bool {
        self.running.get()
    }

    /// Gives the future of `block_on` a place in the run queue; it is queued for its first poll.
    pub(crate) fn add_root(&self) -> RootKey {
        assert!(!self.closed.get(), "block_on on a runtime that has ended");
        match self
            .slab
            .with(|slab| slab.insert(None, State::NEW_ROOT, None))
        {
            Some(key) => RootKey(key),
            None => panic!("no slot is left for the future of block_on"),
        }
    }

    /// A waker of the root, for what the runtime itself waits for.
    #[cfg(test)]
    pub(crate) fn root_waker(&self, root: &RootKey) -> Waker {
        super::waker::waker_of(self.pack(root.0))
    }

    /// The packed key.
    pub(super) fn pack(&self, key: Key) -> usize {
        pack(pack_place(self.id.place()), key)
    }

    /// Gives the root's slot back.
    pub(crate) fn remove_root(&self, root: RootKey) {
        self.slab.with(|slab| slab.release_root(root.0.index));
    }

    /// Runs foreign code whose panic must not stop the loop; it is kept for `take_panic`.
    pub(super) fn guard(&self, f: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            self.stray(payload);
        }
    }

    /// Keeps a panic for `take_panic`.
    pub(super) fn stray(&self, payload: Payload) {
        self.strays.borrow_mut().push(payload);
    }

    /// The next panic that no `JoinError` carries: of a detached task, of a task whose handle was dropped after it had
    /// ended, of the drop of an output, of a foreign waker. To be asked after `DetachedPanic`, and once in a while.
    pub(crate) fn take_panic(&self) -> Option<Payload> {
        let mut strays = self.strays.borrow_mut();
        if strays.is_empty() {
            None
        } else {
            Some(strays.remove(0))
        }
    }

    /// Whether [`take_panic`](Tasks::take_panic) has one.
    #[inline]
    pub(crate) fn has_panics(&self) -> bool {
        !self.strays.borrow().is_empty()
    }

    /// How many tasks and roots there are, ended but unjoined ones included.
    pub(crate) fn live(&self) -> u32 {
        self.slab.with(|slab| slab.live())
    }

    /// The name of the task that is being polled; `None` outside a task.
    pub(crate) fn current_id(&self) -> Option<Id> {
        let index = self.current.get();
        let polling = index != NOBODY && !self.slab.with(|slab| slab.is_root(index));
        polling.then(|| self.name(index)).flatten()
    }

    fn name(&self, index: u32) -> Option<Id> {
        let (key, reply) = self.slab.with(|slab| slab.name(index))?;
        match reply {
            Some(reply) => self.others.reply_id(reply),
            None => Some(Id::local(key)),
        }
    }

    /// All live tasks (roots and ended ones included), for whoever looks inside.
    pub(crate) fn inspect(&self) -> Vec<TaskInfo> {
        let len = self.slab.with(|slab| slab.len());
        let named = (0..len).filter_map(|index| Some((index, self.name(index)?)));
        named
            .map(|(index, id)| self.slab.with(|slab| slab.info(index, id)))
            .collect()
    }
}

#[cold]
#[inline(never)]
fn too_many(task: Raw, blocks: &Blocks) -> ! {
    // SAFETY: the task got no slot, so it is ours; its stage holds the future.
    let panic = unsafe {
        task.cancel(JoinError::cancelled());
        let panic = task.drop_output();
        task.free(blocks);
        panic
    };
    drop_caught(panic);
    panic!("too many tasks: every index is in use");
}

impl Drop for Tasks {
    fn drop(&mut self) {
        CURRENT.enter(self, || self.shutdown());
        if self.registered {
            registry::unregister(self.id);
        }
        for payload in mem::take(self.strays.get_mut()) {
            drop_caught(payload);
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
