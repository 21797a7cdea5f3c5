//! [`Tasks`]: what the owner's thread holds; spawn, wake, run.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::fmt;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::Id;
use super::blocks::Blocks;
use super::error::JoinError;
use super::join::JoinHandle;
use super::raw::{Payload, Polled, Raw, drop_caught};
use super::registry;
use super::remote::{Batch, Remote};
use super::slab::{Found, Origin, Slab, TaskInfo, Turn};
use super::state::{Finish, State};
use super::waker::{Key, key_of, pack, place_of, wake_foreign, waker_of};
use crate::budget;
use crate::sync::Arc;
use crate::sys::scoped::scoped;
use crate::token::RuntimeId;

scoped! {
    /// The tasks of the runtime that this thread is inside of. Set by the runtime, around everything it calls here.
    pub(crate) const CURRENT: Tasks
}

/// No slot: nothing is being polled.
const NOBODY: u32 = u32::MAX;

/// The tasks of one runtime, on the thread that owns them. Neither `Send` nor `Sync`.
pub(crate) struct Tasks {
    slab: Lent<Slab>,
    id: RuntimeId,
    /// Set by `shutdown`: nothing is spawned any more.
    pub(super) closed: Cell<bool>,
    /// The slot whose future or root is being polled, or `NOBODY`.
    current: Cell<u32>,
    /// How many leaf operations a poll may make.
    poll_budget: u32,
    remote: Arc<Remote>,
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

/// What came of [`Tasks::run_next`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Outcome {
    /// The run queue is empty.
    Idle,
    /// The task waits.
    Pending,
    /// The task has ended and whoever cares has been told.
    Finished,
    /// This is the future of `block_on`: its owner polls it with [`Tasks::poll_root`].
    Root,
    /// The task has ended with a panic and nobody holds its handle: [`Tasks::take_panic`] has it.
    DetachedPanic,
}

/// The place in the run queue of a future that is pinned in a frame of `block_on`. Give it to
/// [`Tasks::remove_root`] at the end, also on unwind.
#[derive(Debug)]
#[must_use]
pub(crate) struct RootKey(Key);

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
            slab: Lent::new(Slab::new(inspect)),
            id,
            closed: Cell::new(false),
            current: Cell::new(NOBODY),
            poll_budget,
            remote: Arc::new(Remote::new(id, unpark)),
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

    #[inline]
    pub(super) fn place(&self) -> u16 {
        self.id.place()
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
    /// If there are 2^28 tasks (2^22 on 32-bit targets).
    #[inline]
    pub(crate) fn spawn<F>(&self, future: F, origin: Origin) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        if self.closed.get() {
            return JoinHandle::keyed(self.id, Key::NONE);
        }
        let (key, _) = self.insert(Raw::new(future, &self.blocks), origin);
        JoinHandle::keyed(self.id, key)
    }

    #[inline]
    pub(super) fn insert(&self, task: Raw, origin: Origin) -> (Key, Raw) {
        match self
            .slab
            .with(|slab| slab.insert(Some(task), State::NEW, origin))
        {
            Some(key) => (key, task),
            None => too_many(task, &self.blocks),
        }
    }

    /// How many entries the run queue has: an upper bound of what there is to run.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.slab.with(|slab| slab.queued())
    }

    /// Runs the next task of the run queue: polls it once, or drops it if it was aborted. Tells whoever waits for it
    /// when it ends.
    // Always inlined: the loop around it then keeps its registers.
    #[inline(always)]
    pub(crate) fn run_next(&self) -> Outcome {
        let (key, task) = match self.slab.with(Slab::next) {
            Turn::Poll(key, task) => (key, task),
            Turn::Idle => return Outcome::Idle,
            Turn::Root => return Outcome::Root,
            Turn::Cancel(index, task) => return self.cancel(index, task),
        };
        let waker = ManuallyDrop::new(waker_of(pack(self.place(), key)));
        budget::refill(self.poll_budget);
        self.current.set(key.index);
        // SAFETY: `next` says that the stage holds the future and has set RUNNING, so that nobody else touches the
        // stage, frees it or gets it by `next` again before `suspend` or `finish`.
        let polled = unsafe { task.poll(&mut Context::from_waker(&waker)) };
        self.current.set(NOBODY);
        if polled == Polled::Pending {
            self.slab.with(|slab| slab.suspend(key.index));
            return Outcome::Pending;
        }
        self.finish(key.index, task)
    }

    /// Drops the future of an aborted task.
    #[cold]
    #[inline(never)]
    fn cancel(&self, index: u32, task: Raw) -> Outcome {
        self.current.set(index);
        // SAFETY: as in `run_next`: the answer was `Cancel`.
        unsafe { task.cancel(JoinError::cancelled()) };
        self.current.set(NOBODY);
        self.finish(index, task)
    }

    /// The stage holds the output: passes it on.
    #[inline]
    fn finish(&self, index: u32, task: Raw) -> Outcome {
        match self.slab.with(|slab| slab.finish(index)) {
            Finish::Keep => {
                self.wake_join(task);
                Outcome::Finished
            }
            finish => self.finish_released(task, finish),
        }
    }

    /// The slot is released: nobody will ask for the output, or a reply takes it.
    #[inline(never)]
    fn finish_released(&self, task: Raw, finish: Finish) -> Outcome {
        // SAFETY: the slot is released, so the memory is ours, and `finish` says what the join field holds. The stage
        // is read or dropped once. Without a reply the join field holds no waker: `detach` has taken it.
        let panic = unsafe {
            let panic = if finish == Finish::Reply {
                task.take_reply().complete(task.output())
            } else {
                task.drop_output()
            };
            task.free(&self.blocks);
            panic
        };
        match panic {
            None => Outcome::Finished,
            Some(payload) => {
                self.stray(payload);
                Outcome::DetachedPanic
            }
        }
    }

    /// Wakes who waits for a task that has just ended and kept its output.
    #[inline]
    fn wake_join(&self, task: Raw) {
        // SAFETY: DONE without REPLY: the memory is alive and the join field holds a waker or nothing. It is moved out
        // before it is woken.
        match unsafe { task.waker().take() } {
            None => {}
            Some(waker) => match key_of(&waker) {
                Some(key) if place_of(key) == self.place() => self.wake_local(key),
                Some(key) => wake_foreign(key),
                None => self.guard(|| waker.wake()),
            },
        }
    }

    /// Wakes the task of a packed key of this runtime.
    #[inline]
    pub(super) fn wake_local(&self, data: usize) {
        self.slab.with(|slab| slab.wake_packed(data));
    }

    /// Marks a task to be dropped by `run_next`.
    pub(super) fn abort(&self, key: Key) {
        self.slab.with(|slab| slab.abort(key));
    }

    #[inline]
    pub(super) fn find(&self, key: Key) -> Found {
        self.slab.with(|slab| slab.find(key))
    }

    #[inline]
    pub(super) fn join(&self, key: Key) -> Found {
        self.slab.with(|slab| slab.join(key))
    }

    #[inline]
    pub(super) fn detach(&self, key: Key) -> Found {
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

    /// Whether something of this runtime is being polled right now.
    pub(super) fn is_polling(&self) -> bool {
        self.current.get() != NOBODY
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

    /// Polls a root's future, as `run_next` polls a task. A panic goes through.
    #[inline]
    pub(crate) fn poll_root<F: Future>(
        &self,
        root: &RootKey,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        struct Leave<'a>(&'a Cell<u32>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.set(NOBODY);
            }
        }
        let waker = ManuallyDrop::new(waker_of(pack(self.place(), root.0)));
        budget::refill(self.poll_budget);
        self.current.set(root.0.index);
        let _leave = Leave(&self.current);
        future.poll(&mut Context::from_waker(&waker))
    }

    /// A waker of the root, for what the runtime itself waits for.
    #[cfg(test)]
    pub(crate) fn root_waker(&self, root: &RootKey) -> Waker {
        waker_of(pack(self.place(), root.0))
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
        let (key, replying) = self.slab.with(|slab| slab.name(index))?;
        match replying {
            // SAFETY: the slot says that the task is alive and has a reply.
            Some(task) => unsafe { task.reply_id() },
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
    // SAFETY: the task got no slot, so it is ours; its stage holds the future and its join field nothing.
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
