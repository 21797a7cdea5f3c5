//! The owner's plain data: slots, free list and run queue.
//!
//! Everything in here is numbers and bare pointers. No method runs foreign code (a future, a waker, an output, a
//! payload), which is why [`Tasks`](super::Tasks) may lend the whole thing out by `&mut` for the length of a call.

use std::panic::Location;

use super::queue::RunQueue;
use super::raw::Raw;
use super::state::{Finish, NONE, Next, Release, State};
use super::waker::{Key, MAX_INDEX, index_of, same_generation};

/// Where a task was spawned, if anybody noted it.
pub(crate) type Origin = Option<&'static Location<'static>>;

/// One place for a task: 16 bytes on 64-bit targets.
struct Slot {
    /// The task's memory; `None` for a root, a vacant and a free slot.
    task: Option<Raw>,
    /// How often the slot has been given back. Odd or even, what a key holds is compared with this alone.
    generation: u32,
    state: State,
}

/// For the test of sizes.
#[cfg(test)]
pub(super) const SLOT_SIZE: usize = size_of::<Slot>();

/// What `Tasks` keeps in its cell.
pub(super) struct Slab {
    slots: Vec<Slot>,
    queue: RunQueue,
    /// The first free slot, or `NONE`.
    free: u32,
    /// How many slots hold a task or root, ended ones included.
    live: u32,
    /// The cold column: where each task was spawned. Absent unless inspection is on.
    origins: Option<Vec<Origin>>,
}

/// The answer to a `JoinHandle` that looks for its task.
pub(super) enum Found {
    /// There is no such task: the runtime has shut down.
    Missing,
    /// It has not ended; its join field holds a waker or nothing.
    Live(Raw),
    /// It has ended and the stage holds the output. The slot is still taken.
    Done(Raw),
}

/// What the loop does next.
pub(super) enum Turn {
    /// The run queue is empty.
    Idle,
    /// Poll this task: its stage is the caller's.
    Poll(Key, Raw),
    /// Drop the future of this one: its stage is the caller's.
    Cancel(u32, Raw),
    /// A root is to be polled.
    Root,
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
    pub(super) fn new(inspect: bool) -> Slab {
        Slab {
            slots: Vec::new(),
            queue: RunQueue::new(),
            free: NONE,
            live: 0,
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
        let index = self.free;
        if index == NONE || self.origins.is_some() {
            return self.insert_slow(task, state, origin);
        }
        Some(self.fill(index, task, state))
    }

    #[cold]
    fn insert_slow(&mut self, task: Option<Raw>, state: State, origin: Origin) -> Option<Key> {
        if self.free == NONE {
            let index = u32::try_from(self.slots.len())
                .ok()
                .filter(|&index| index <= MAX_INDEX)?;
            self.slots.push(Slot {
                task: None,
                generation: 0,
                state: State::free(NONE),
            });
            self.queue.reserve(self.slots.len());
            self.free = index;
        }
        let index = self.free;
        if let Some(origins) = &mut self.origins {
            origins.resize(self.slots.len(), None);
            origins[index as usize] = origin;
        }
        Some(self.fill(index, task, state))
    }

    /// Fills the free slot at the head of the free list.
    #[inline]
    fn fill(&mut self, index: u32, task: Option<Raw>, state: State) -> Key {
        let slot = &mut self.slots[index as usize];
        self.free = slot.state.next_free();
        slot.task = task;
        slot.state = state;
        self.live += 1;
        let generation = slot.generation;
        self.queue.push(index);
        Key { index, generation }
    }

    /// Edge 2 for a packed key.
    #[inline]
    pub(super) fn wake_packed(&mut self, data: usize) {
        let index = index_of(data);
        if let Some(slot) = self.slots.get_mut(index as usize) {
            if same_generation(data, slot.generation) && slot.state.wake() {
                self.queue.push(index);
            }
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

    /// Edge 3: takes the next index out of the run queue that has something to run.
    #[inline]
    pub(super) fn next(&mut self) -> Turn {
        let Some(index) = self.queue.pop() else {
            return Turn::Idle;
        };
        let slot = &mut self.slots[index as usize];
        match (slot.state.next(), slot.task) {
            (Next::Poll, Some(task)) => {
                let generation = slot.generation;
                Turn::Poll(Key { index, generation }, task)
            }
            (next, _) => self.next_other(index, next),
        }
    }

    /// What is not a plain poll. Apart, because a loop in `next` costs the hot path ten instructions.
    #[cold]
    #[inline(never)]
    fn next_other(&mut self, mut index: u32, mut next: Next) -> Turn {
        loop {
            let slot = &mut self.slots[index as usize];
            let generation = slot.generation;
            match (next, slot.task) {
                (Next::Poll, Some(task)) => return Turn::Poll(Key { index, generation }, task),
                (Next::Cancel, Some(task)) => return Turn::Cancel(index, task),
                (Next::Root, _) => return Turn::Root,
                (Next::Free, _) => self.link_free(index),
                _ => {}
            }
            match self.queue.pop() {
                Some(following) => index = following,
                None => return Turn::Idle,
            }
            next = self.slots[index as usize].state.next();
        }
    }

    /// Edge 3 at the runtime's end.
    pub(super) fn start_shutdown(&mut self, index: u32) -> Option<Raw> {
        let slot = &mut self.slots[index as usize];
        if slot.state.start_shutdown() {
            slot.task
        } else {
            None
        }
    }

    /// Edge 4.
    #[inline]
    pub(super) fn suspend(&mut self, index: u32) {
        self.slots[index as usize].state.suspend();
    }

    /// Edge 5; with `Discard` and `Reply` edge 6 as well: the caller alone knows the memory from then on.
    #[inline]
    pub(super) fn finish(&mut self, index: u32) -> Finish {
        let finish = self.slots[index as usize].state.finish();
        if finish != Finish::Keep {
            self.release(index);
        }
        finish
    }

    /// Edges 5 and 6 at the runtime's end: true when the join field holds a reply.
    pub(super) fn finish_shutdown(&mut self, index: u32) -> bool {
        let has_reply = self.slots[index as usize].state.has_reply();
        self.release(index);
        has_reply
    }

    /// Edge 6: takes the task out of the slot. Its memory belongs to the caller.
    #[inline]
    pub(super) fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.task = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.live -= 1;
        if slot.state.release() == Release::Free {
            self.link_free(index);
        }
    }

    /// Edge 7. A slot that has used up its generations is not used again: memory safety rests on keys being unique.
    #[inline]
    fn link_free(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.generation == 0 {
            slot.state = State::free(NONE);
            return;
        }
        slot.state = State::free(self.free);
        self.free = index;
    }

    /// The occupied slot of a key.
    #[inline]
    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.generation == key.generation && slot.state.is_occupied()).then_some(slot)
    }

    /// Finds a `JoinHandle`'s task.
    #[inline]
    pub(super) fn find(&mut self, key: Key) -> Found {
        // A slot has a task exactly if one lives there.
        match self.slots.get(key.index as usize) {
            Some(&Slot {
                task: Some(task),
                generation,
                state,
            }) if generation == key.generation => {
                if state.is_done() {
                    Found::Done(task)
                } else if state.has_reply() {
                    Found::Missing
                } else {
                    Found::Live(task)
                }
            }
            _ => Found::Missing,
        }
    }

    /// Finds a `JoinHandle`'s task to take its output: as `find`, but `Done` comes with edge 6, so that the memory belongs
    /// to the caller.
    #[inline]
    pub(super) fn join(&mut self, key: Key) -> Found {
        let found = self.find(key);
        if matches!(found, Found::Done(_)) {
            self.release(key.index);
        }
        found
    }

    /// The `JoinHandle` is gone. `Done` comes with edge 6: the memory belongs to the caller.
    #[inline]
    pub(super) fn detach(&mut self, key: Key) -> Found {
        let found = self.find(key);
        if !matches!(found, Found::Missing) && self.slots[key.index as usize].state.detach() {
            self.release(key.index);
        }
        found
    }

    /// Marks a task as to be dropped by `run`.
    pub(super) fn abort(&mut self, key: Key) {
        if let Some(slot) = self.slot(key) {
            if slot.state.abort() {
                self.queue.push(key.index);
            }
        }
    }

    /// From now on the task's join field holds a reply.
    pub(super) fn mark_reply(&mut self, key: Key) {
        if let Some(slot) = self.slot(key) {
            slot.state.attach_reply();
        }
    }

    /// Whether the task has ended, or is not there any more.
    pub(super) fn is_finished(&mut self, key: Key) -> bool {
        self.slot(key).is_none_or(|slot| slot.state.is_done())
    }

    /// Takes the task out of a slot whose output nobody has joined (edge 6), at the runtime's end.
    pub(super) fn take_done(&mut self, index: u32) -> Option<Raw> {
        let slot = &self.slots[index as usize];
        if !slot.state.is_done() {
            return None;
        }
        let task = slot.task;
        self.release(index);
        task
    }

    /// Releases a root's slot, if it is one.
    pub(super) fn release_root(&mut self, index: u32) {
        if self.slots[index as usize].state.is_root() {
            self.release(index);
        }
    }

    /// The task of an index as its key, and its memory when a reply is attached (which knows its name).
    pub(super) fn name(&self, index: u32) -> Option<(Key, Option<Raw>)> {
        let slot = self.slots.get(index as usize)?;
        let generation = slot.generation;
        slot.state.is_occupied().then(|| {
            let replying = slot.task.filter(|_| slot.state.has_reply());
            (Key { index, generation }, replying)
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
