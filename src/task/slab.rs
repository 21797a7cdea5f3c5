//! [`Slab`]: the slots of all tasks, with the free list and the run queue.
//!
//! The slab contains only numbers and bare pointers. No method runs foreign code (a future, a
//! waker, an output or a payload), so a [`SlabCell`](super::slab_cell::SlabCell) can borrow the
//! slab for the length of a call.

mod handles;

pub(super) use handles::Joined;

use std::mem;

use super::ended::Ended;
use super::id::Id;
use super::inspect::{Description, Name, Origin, TaskInfo};
use super::key::{Key, MAX_INDEX, index_of, pack, pack_place};
use super::queue::RunQueue;
use super::raw::Raw;
use super::state::{Finish, Next, NextOther, Release, State};

/// All data of one task except its future and output: 32 bytes on 64-bit targets.
struct Slot {
    /// The packed key of the task's wakers. In a free slot the index of the next free one, which is
    /// smaller than any key.
    key: usize,
    /// The task's memory; `None` for a root, a vacant and a free slot.
    task: Option<Raw>,
    /// The join word, which stands for the waiter: 0 for none, a packed key, or a smaller number
    /// for an entry of `Tasks::foreign_waiters`.
    join: usize,
    /// How often the slot was released. A handle compares its key with it.
    generation: u32,
    state: State,
}

/// For a test of sizes.
#[cfg(all(test, not(loom)))]
pub(super) const SLOT_SIZE: usize = size_of::<Slot>();

/// The end of the free list, and the key of a vacant slot: larger than any index, smaller than any
/// packed key.
const NO_INDEX: usize = MAX_INDEX as usize;

/// From this number of slots on the slab grows by an eighth, in place of doubling, so that unused
/// slots are a small part of it.
const SLOW_GROWTH: usize = 64;

/// A free slot with a later generation is not removed, because new slots begin with the latest
/// generation of the removed ones, and each of them is to have many left.
const LATE_GENERATION: u32 = u32::MAX / 2;

/// The slots of all tasks; `Tasks` keeps it in a `SlabCell`.
pub(super) struct Slab {
    /// Becomes shorter only in `shrink`.
    slots: Vec<Slot>,
    /// The generation of a new slot: later than all that removed slots had.
    first_generation: u32,
    /// Indices into `slots`.
    queue: RunQueue,
    /// The first free slot, or `NO_INDEX`.
    free: usize,
    /// The number of slots with a task or root, ended or not.
    live: u32,
    /// The runtime's place, shifted as in a packed key.
    place: usize,
    /// Where each task was spawned, if that is tracked. Kept apart from the slots because it is
    /// rarely read.
    origins: Option<Vec<Origin>>,
}

/// The rest of the work for a task that has just ended.
pub(super) enum Finished {
    /// Nothing: the output stays in the task. The waiter was woken if it is a task of this runtime.
    Kept,
    /// The output stays in the task. Wake the waiter of this join word.
    Wake(usize),
    /// The slot is released. Pass the output to the reply of this join word, or drop it if the word
    /// is 0.
    Released(Ended, usize),
}

/// The next action of the loop.
pub(super) enum Work {
    /// The run queue is empty.
    Idle,
    /// Poll this task, which has this index and packed key. Its stage belongs to the caller.
    Poll(u32, usize, Raw),
    /// Poll the root.
    Root,
    /// Call `next_other` with this index.
    Other(u32),
}

impl Slab {
    pub(super) fn new(place: u16, track_origins: bool) -> Slab {
        Slab {
            slots: Vec::new(),
            first_generation: 0,
            queue: RunQueue::new(),
            free: NO_INDEX,
            live: 0,
            place: pack_place(place),
            origins: track_origins.then(Vec::new),
        }
    }

    /// Takes a slot and puts it into the run queue (edge 1). Returns `None` if all indices are in
    /// use.
    #[inline]
    pub(super) fn insert(&mut self, task: Option<Raw>, state: State) -> Option<Key> {
        if self.free >= self.slots.len() {
            return self.insert_new(task, state);
        }
        Some(self.fill(task, state))
    }

    /// Inserts into a new slot, because no slot is free.
    #[cold]
    fn insert_new(&mut self, task: Option<Raw>, state: State) -> Option<Key> {
        let index = self.slots.len();
        if index >= NO_INDEX {
            return None;
        }
        self.grow();
        self.slots.push(Slot {
            key: NO_INDEX,
            task: None,
            join: 0,
            generation: self.first_generation,
            state: State::UNUSED,
        });
        self.free = index;
        Some(self.fill(task, state))
    }

    /// Stores where a task was spawned, if that is tracked.
    pub(super) fn note_origin(&mut self, index: u32, origin: Origin) {
        if let Some(origins) = &mut self.origins {
            origins.resize(self.slots.len(), None);
            origins[index as usize] = origin;
        }
    }

    /// Makes room for one more slot.
    fn grow(&mut self) {
        let len = self.slots.len();
        if len == self.slots.capacity() {
            let more = if len < SLOW_GROWTH {
                len.max(4)
            } else {
                len / 8
            };
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

    /// Edge 2 for a packed key. Returns false if the key is stale or of another runtime.
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

    /// Edge 2 for the task that the slot has now.
    #[inline]
    pub(super) fn wake_index(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            if slot.state.wake() {
                self.queue.push(index);
            }
        }
    }

    /// Edge 3: takes the next index out of the run queue.
    #[inline]
    pub(super) fn next(&mut self) -> Work {
        let Some(index) = self.queue.pop() else {
            return Work::Idle;
        };
        // SAFETY: each index in the queue is that of an existing slot, and only free slots are ever
        // removed, which are not in the queue.
        // (Measured: the check costs 3 of 100 instructions per switch of tasks.)
        let slot = unsafe { self.slots.get_unchecked_mut(index as usize) };
        match slot.state.next() {
            // SAFETY: a slot in this state is not that of a root, so `insert` has put a task into
            // it, and `release`, which takes the task out, changes the state.
            Next::Poll => Work::Poll(index, slot.key, unsafe { slot.task.unwrap_unchecked() }),
            Next::Root => Work::Root,
            Next::Other => Work::Other(index),
        }
    }

    /// Edge 3 for an index that is neither to be polled nor a root. If it returns a task, the
    /// caller drops its future: the stage belongs to it.
    pub(super) fn next_other(&mut self, index: u32) -> Option<Raw> {
        let slot = &mut self.slots[index as usize];
        match slot.state.next_other() {
            NextOther::Cancel => return slot.task,
            NextOther::Free => self.link_free(index),
            NextOther::Skip => {}
        }
        None
    }

    /// Edge 3 at the end of the runtime. If it returns a task, the caller drops its future: the
    /// stage belongs to it.
    pub(super) fn start_shutdown(&mut self, index: u32) -> Option<Raw> {
        let slot = &self.slots[index as usize];
        slot.task.filter(|_| slot.state.has_future())
    }

    /// Edge 4 for a task that `next` or `next_other` returned and whose stage holds the output now.
    /// Also edge 5 if the task has no handle in this runtime.
    #[inline]
    pub(super) fn finish(&mut self, index: u32, task: Raw) -> Finished {
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.task == Some(task));
        let join = mem::take(&mut slot.join);
        match slot.state.finish() {
            Finish::Keep if join == 0 || self.wake_packed(join) => Finished::Kept,
            Finish::Keep => Finished::Wake(join),
            Finish::Discard | Finish::Reply => Finished::Released(self.end(index, task), join),
        }
    }

    /// Edges 4 and 5 at the end of the runtime. Returns the task, its join word, and whether that
    /// stands for a reply.
    pub(super) fn finish_shutdown(&mut self, index: u32, task: Raw) -> (Ended, usize, bool) {
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.task == Some(task));
        let (has_reply, join) = (slot.state.has_reply(), mem::take(&mut slot.join));
        (self.end(index, task), join, has_reply)
    }

    /// Edge 5 for a task that has ended.
    #[inline]
    fn end(&mut self, index: u32, task: Raw) -> Ended {
        let generation = self.slots[index as usize].generation;
        self.release(index);
        // SAFETY: the stage holds the output, because every caller has checked that the state was
        // `DONE`, or is called right after the output was stored. The slot was the only reference
        // to the memory, and `release` has cleared it.
        unsafe { Ended::new(task, Key { index, generation }) }
    }

    /// Edge 5: the slot forgets its task or root.
    #[inline]
    fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.join == 0, "a waiter is left");
        slot.task = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.live -= 1;
        match slot.state.release() {
            Release::Free => self.link_free(index),
            Release::Later => slot.key = NO_INDEX,
        }
    }

    /// Edge 6. A slot without a next generation is not used again, because memory safety relies on
    /// unique keys.
    #[inline]
    fn link_free(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.state = State::UNUSED;
        slot.key = self.free;
        if slot.generation != 0 {
            self.free = index as usize;
        }
    }

    /// Takes an ended task that was not joined out of its slot (edge 5), at the end of the runtime.
    pub(super) fn take_done(&mut self, index: u32) -> Option<Ended> {
        let slot = &self.slots[index as usize];
        let task = slot.task.filter(|_| slot.state.is_done())?;
        Some(self.end(index, task))
    }

    /// Edge 5 for a root. Does nothing if the slot has none.
    pub(super) fn release_root(&mut self, index: u32) {
        if self.slots[index as usize].state.is_root() {
            self.release(index);
        }
    }

    /// Returns the key of a slot's task, and the join word if it stands for a reply: the task's id
    /// is then in the reply.
    pub(super) fn key_and_reply(&self, index: u32) -> Option<(Key, Option<usize>)> {
        let slot = self.slots.get(index as usize)?;
        let generation = slot.generation;
        slot.state.is_occupied().then(|| {
            let reply = slot.state.has_reply().then_some(slot.join);
            (Key { index, generation }, reply)
        })
    }

    /// Describes the task of a slot, which has this id and name.
    pub(super) fn info(&self, index: u32, id: Id, name: Option<Name>) -> TaskInfo {
        let slot = &self.slots[index as usize];
        let origin = self.origin(index);
        TaskInfo {
            id,
            queued: slot.state.is_queued(),
            done: slot.state.is_done(),
            description: Description { name, origin },
        }
    }

    /// Gives back the memory of the free slots after the last one in use, and of the room that is
    /// not used.
    pub(super) fn shrink(&mut self) {
        // A slot that is not used again keeps its place, so that none of its keys comes back.
        let stays = |slot: &Slot| {
            let generation = slot.generation;
            !slot.state.is_free() || generation == 0 || generation > LATE_GENERATION
        };
        let len = self.slots.iter().rposition(stays).map_or(0, |at| at + 1);
        let removed = self.slots[len..].iter().map(|slot| slot.generation);
        self.first_generation = removed.fold(self.first_generation, u32::max);
        let mut next = mem::replace(&mut self.free, NO_INDEX);
        while next != NO_INDEX {
            let at = next;
            next = self.slots[at].key;
            if at < len {
                self.slots[at].key = mem::replace(&mut self.free, at);
            }
        }
        self.slots.truncate(len);
        self.slots.shrink_to_fit();
        self.queue.shrink(len);
        if let Some(origins) = &mut self.origins {
            origins.truncate(len);
            origins.shrink_to_fit();
        }
    }

    /// Returns where the last task of a slot was spawned, if that is tracked.
    pub(super) fn origin(&self, index: u32) -> Origin {
        let column = self.origins.as_ref()?;
        column.get(index as usize).copied().flatten()
    }

    /// Returns the slot of a task that has not ended, the first one from slot `from` on.
    pub(super) fn next_unfinished(&self, from: u32) -> Option<u32> {
        let has_future = |index: &u32| self.slots[*index as usize].state.has_future();
        (from..self.len()).find(has_future)
    }

    /// Returns whether the slot has a root.
    pub(super) fn is_root(&self, index: u32) -> bool {
        self.slots[index as usize].state.is_root()
    }

    /// Sets the generation of a free slot.
    #[cfg(all(test, not(loom)))]
    pub(super) fn set_generation(&mut self, index: u32, generation: u32) {
        self.slots[index as usize].generation = generation;
    }

    /// Returns the number of slots, free or not.
    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Returns the number of tasks and roots, ended or not.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// Returns the number of entries of the run queue.
    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }
}
