//! The owner's plain data: slots, free list and run queue.
//!
//! Everything in here is numbers and bare pointers. No method runs foreign code (a future, a waker, an output, a
//! payload), which is why [`Tasks`](super::Tasks) may lend the whole thing out by `&mut` for the length of a call.

use std::mem;
use std::panic::Location;

use super::queue::RunQueue;
use super::raw::Raw;
use super::state::{Finish, Next, NextOther, Release, State};
use super::waker::{Key, MAX_INDEX, MIN_KEY, index_of, pack, pack_place};

/// Where a task was spawned, if anybody noted it.
pub(crate) type Origin = Option<&'static Location<'static>>;

/// One place for a task: 32 bytes on 64-bit targets, all that is known of it but its future and output.
struct Slot {
    /// The packed key of the task's wakers; in a free slot the next free index, which is smaller than any key.
    key: usize,
    /// The task's memory; `None` for a root, a vacant and a free slot.
    task: Option<Raw>,
    /// Who wants to know the output: 0 for nobody, a packed key, or (smaller) an entry of `Tasks::others`.
    join: usize,
    /// How often the slot has been given back. Odd or even, what a handle holds is compared with this alone.
    generation: u32,
    state: State,
}

/// For the test of sizes.
#[cfg(test)]
pub(super) const SLOT_SIZE: usize = size_of::<Slot>();

/// The end of the free list. Not an index, and smaller than any key.
const NONE: usize = MAX_INDEX as usize;

/// From here on the slots grow by an eighth at a time: what is not in use yet is a small part of what is.
const MANY: usize = 64;

/// What `Tasks` keeps in its cell.
pub(super) struct Slab {
    /// Never gets shorter.
    slots: Vec<Slot>,
    /// Indices into `slots`.
    queue: RunQueue,
    /// The first free slot, or `NONE`.
    free: usize,
    /// How many slots hold a task or root, ended ones included.
    live: u32,
    /// The runtime's place, as it stands in a packed key.
    place: usize,
    /// The cold column: where each task was spawned. Absent unless inspection is on.
    origins: Option<Vec<Origin>>,
}

/// The answer to a `JoinHandle` that looks for its task.
pub(super) enum Joined {
    /// There is no such task: the runtime has shut down. Or it has a reply already.
    Missing,
    /// It has not ended. The join word.
    Live(usize),
    /// It has not ended, and knows who waits.
    Waiting,
    /// It has ended and the stage holds the output. The slot is released.
    Done(Raw),
}

/// What the loop does next.
pub(super) enum Turn {
    /// The run queue is empty.
    Idle,
    /// Poll this task, of this index and packed key: its stage is the caller's.
    Poll(u32, usize, Raw),
    /// A root is to be polled.
    Root,
    /// Ask `next_other` about this index.
    Other(u32),
}

/// What there is to say about one live task; see [`Runtime::tasks`](crate::Runtime::tasks).
#[derive(Clone, Copy, Debug)]
pub struct TaskInfo {
    pub(super) id: super::Id,
    pub(super) queued: bool,
    pub(super) done: bool,
    pub(super) origin: Origin,
}

impl TaskInfo {
    /// Returns the task's name.
    #[must_use]
    pub fn id(&self) -> super::Id {
        self.id
    }

    /// Returns whether it waits to be polled: it was woken, or is new.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.queued
    }

    /// Returns whether it has ended and its output waits for the `JoinHandle`.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.done
    }

    /// Returns the place in the source that spawned it, if [inspection](crate::Builder::inspection) was on.
    #[must_use]
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.origin
    }
}

impl Slab {
    pub(super) fn new(place: u16, inspect: bool) -> Slab {
        Slab {
            slots: Vec::new(),
            queue: RunQueue::new(),
            free: NONE,
            live: 0,
            place: pack_place(place),
            origins: inspect.then(Vec::new),
        }
    }

    /// Takes a slot and puts it into the run queue (edge 1). `None` when all indices are in use.
    #[inline]
    pub(super) fn insert(
        &mut self,
        task: Option<Raw>,
        state: State,
        origin: Origin,
    ) -> Option<Key> {
        if self.free == NONE || self.origins.is_some() {
            return self.insert_slow(task, state, origin);
        }
        Some(self.fill(task, state))
    }

    #[cold]
    #[inline(never)]
    fn insert_slow(&mut self, task: Option<Raw>, state: State, origin: Origin) -> Option<Key> {
        if self.free == NONE {
            let index = self.slots.len();
            if index >= NONE {
                return None;
            }
            self.grow();
            self.slots.push(Slot {
                key: NONE,
                task: None,
                join: 0,
                generation: 0,
                state: State::NOBODY,
            });
            self.free = index;
        }
        let index = self.free;
        if let Some(origins) = &mut self.origins {
            origins.resize(self.slots.len(), None);
            origins[index] = origin;
        }
        Some(self.fill(task, state))
    }

    /// Makes room for one more slot.
    fn grow(&mut self) {
        let len = self.slots.len();
        if len == self.slots.capacity() {
            let more = if len < MANY { len.max(4) } else { len / 8 };
            self.slots.reserve_exact(more);
        }
        self.queue.reserve(len + 1);
    }

    /// Fills the free slot at the head of the free list.
    #[inline]
    fn fill(&mut self, task: Option<Raw>, state: State) -> Key {
        let at = self.free;
        let slot = &mut self.slots[at];
        let (index, generation) = (at as u32, slot.generation);
        self.free = slot.key;
        *slot = Slot {
            key: pack(self.place, Key { index, generation }),
            task,
            join: 0,
            generation,
            state,
        };
        self.live += 1;
        self.queue.push(index);
        Key { index, generation }
    }

    /// Edge 2 for a packed key. False: it is of another runtime, or stale.
    #[inline]
    #[must_use]
    pub(super) fn wake_packed(&mut self, key: usize) -> bool {
        let index = index_of(key);
        match self.slots.get_mut(index as usize) {
            // One comparison for place, generation and index.
            Some(slot) if slot.key == key => {
                if slot.state.wake() {
                    self.queue.push(index);
                }
                true
            }
            _ => false,
        }
    }

    /// Edge 2 for whatever lives at an index.
    pub(super) fn wake_index(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            if slot.state.wake() {
                self.queue.push(index);
            }
        }
    }

    /// Edge 3: takes the next index out of the run queue.
    #[inline]
    pub(super) fn next(&mut self) -> Turn {
        let Some(index) = self.queue.pop() else {
            return Turn::Idle;
        };
        // SAFETY: what is pushed to the queue is the index of a slot that was just looked at, and slots are never taken
        // away. (Measured: the check is 3 of 100 instructions per switch of tasks.)
        let slot = unsafe { self.slots.get_unchecked_mut(index as usize) };
        match slot.state.next() {
            // SAFETY: what is to be polled has memory, unlike a root: it got this state with the task, by `insert`, and `release`, which
            // takes the task out, puts another state in its place.
            Next::Poll => Turn::Poll(index, slot.key, unsafe { slot.task.unwrap_unchecked() }),
            Next::Root => Turn::Root,
            Next::Other => Turn::Other(index),
        }
    }

    /// Edge 3 for what is neither to be polled nor a root. With a task its future is to be dropped: the stage is the
    /// caller's.
    pub(super) fn next_other(&mut self, index: u32) -> Option<Raw> {
        let slot = &mut self.slots[index as usize];
        match slot.state.next_other() {
            NextOther::Cancel => return slot.task,
            NextOther::Free => self.link_free(index),
            NextOther::Skip => {}
        }
        None
    }

    /// Edge 3 at the runtime's end.
    pub(super) fn start_shutdown(&mut self, index: u32) -> Option<Raw> {
        let slot = &self.slots[index as usize];
        slot.task.filter(|_| slot.state.start_shutdown())
    }

    /// Edge 4; with `Discard` and `Reply` edge 5 as well: the caller alone knows the memory from then on.
    ///
    /// Who waits for the output, in this runtime, is woken; the number is that of a reply or of any other waiter, for the
    /// caller to take care of, or 0.
    #[inline]
    pub(super) fn finish(&mut self, index: u32) -> (Finish, usize) {
        let slot = &mut self.slots[index as usize];
        let join = mem::take(&mut slot.join);
        let finish = slot.state.finish();
        if finish != Finish::Keep {
            self.release(index);
            return (finish, join);
        }
        let told = join == 0 || self.wake_packed(join);
        (finish, if told { 0 } else { join })
    }

    /// Edges 4 and 5 at the runtime's end: the join word, and whether it names a reply.
    pub(super) fn finish_shutdown(&mut self, index: u32) -> (bool, usize) {
        let slot = &mut self.slots[index as usize];
        let (has_reply, join) = (slot.state.has_reply(), mem::take(&mut slot.join));
        self.release(index);
        (has_reply, join)
    }

    /// Edge 5: takes the task out of the slot. Its memory belongs to the caller.
    #[inline]
    pub(super) fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.join == 0, "somebody still waits");
        slot.task = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.live -= 1;
        match slot.state.release() {
            Release::Free => self.link_free(index),
            Release::Later => slot.key = NONE,
        }
    }

    /// Edge 6. A slot that has used up its generations is not used again: memory safety rests on keys being unique.
    #[inline]
    fn link_free(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.state = State::NOBODY;
        slot.key = self.free;
        if slot.generation != 0 {
            self.free = index as usize;
        }
    }

    /// The occupied slot of a key.
    #[inline]
    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.generation == key.generation && slot.state.is_occupied()).then_some(slot)
    }

    /// The slot of a `JoinHandle`'s task, and its memory.
    #[inline]
    fn task(&mut self, key: Key) -> Option<(&mut Slot, Raw)> {
        // A slot has a task exactly if one lives there.
        match self.slots.get_mut(key.index as usize) {
            Some(slot) if slot.generation == key.generation => slot.task.map(|task| (slot, task)),
            _ => None,
        }
    }

    /// Finds a `JoinHandle`'s task, to take its output (then edge 5 is done, and the memory belongs to the caller) or to
    /// leave word who waits for it: `waiter` is a packed key, or 0.
    ///
    /// `Live` says that the word was not left: there is none, or another kind of waiter is in its place.
    #[inline]
    pub(super) fn join(&mut self, key: Key, waiter: usize) -> Joined {
        let Some((slot, task)) = self.task(key) else {
            return Joined::Missing;
        };
        if slot.state.is_done() {
            self.release(key.index);
            return Joined::Done(task);
        }
        if slot.state.has_reply() {
            return Joined::Missing;
        }
        if waiter == 0 || slot.join != 0 && slot.join < MIN_KEY {
            return Joined::Live(slot.join);
        }
        slot.join = waiter;
        Joined::Waiting
    }

    /// Puts a new join word into the place of the former one, which is returned. None: the task has ended.
    pub(super) fn swap_join(&mut self, key: Key, join: usize) -> Option<usize> {
        let (slot, _) = self.task(key)?;
        let replaceable = !slot.state.is_done() && !slot.state.has_reply();
        replaceable.then(|| mem::replace(&mut slot.join, join))
    }

    /// The `JoinHandle` is gone. `Done` comes with edge 5: the memory belongs to the caller. With `Live` comes the join
    /// word, which is taken out.
    #[inline]
    pub(super) fn detach(&mut self, key: Key) -> Joined {
        let Some((slot, task)) = self.task(key) else {
            return Joined::Missing;
        };
        if slot.state.has_reply() {
            return Joined::Missing;
        }
        let join = mem::take(&mut slot.join);
        if slot.state.detach() {
            self.release(key.index);
            return Joined::Done(task);
        }
        Joined::Live(join)
    }

    /// Marks a task as to be dropped by `run`.
    pub(super) fn abort(&mut self, key: Key) {
        if let Some(slot) = self.slot(key) {
            if slot.state.abort() {
                self.queue.push(key.index);
            }
        }
    }

    /// The join word names a reply from now on; the former one is returned.
    pub(super) fn attach_reply(&mut self, key: Key, reply: usize) -> usize {
        match self.slot(key) {
            Some(slot) => {
                slot.state.attach_reply();
                mem::replace(&mut slot.join, reply)
            }
            None => reply,
        }
    }

    /// Whether the task has ended, or is not there any more.
    pub(super) fn is_finished(&mut self, key: Key) -> bool {
        self.slot(key).is_none_or(|slot| slot.state.is_done())
    }

    /// Takes the task out of a slot whose output nobody has joined (edge 5), at the runtime's end.
    pub(super) fn take_done(&mut self, index: u32) -> Option<Raw> {
        let slot = &self.slots[index as usize];
        let task = slot.task.filter(|_| slot.state.is_done())?;
        self.release(index);
        Some(task)
    }

    /// Releases a root's slot, if it is one.
    pub(super) fn release_root(&mut self, index: u32) {
        if self.slots[index as usize].state.is_root() {
            self.release(index);
        }
    }

    /// The task of an index as its key, and its join word when that names a reply (which knows its name).
    pub(super) fn name(&self, index: u32) -> Option<(Key, Option<usize>)> {
        let slot = self.slots.get(index as usize)?;
        let generation = slot.generation;
        slot.state.is_occupied().then(|| {
            let reply = slot.state.has_reply().then_some(slot.join);
            (Key { index, generation }, reply)
        })
    }

    /// What there is to say about the task of an index.
    pub(super) fn info(&self, index: u32, id: super::Id) -> TaskInfo {
        let slot = &self.slots[index as usize];
        TaskInfo {
            id,
            queued: slot.state.is_queued(),
            done: slot.state.is_done(),
            origin: self
                .origins
                .as_ref()
                .and_then(|column| *column.get(index as usize)?),
        }
    }

    /// Whether a root lives at an index.
    pub(super) fn is_root(&self, index: u32) -> bool {
        self.slots[index as usize].state.is_root()
    }

    /// Pretends that a free slot has been used that often.
    #[cfg(test)]
    pub(super) fn set_generation(&mut self, index: u32, generation: u32) {
        self.slots[index as usize].generation = generation;
    }

    /// How many slots there are, free ones included.
    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// How many tasks and roots there are, ended ones included.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// How many entries the run queue has.
    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }
}
