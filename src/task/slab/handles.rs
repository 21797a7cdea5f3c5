//! Operations of handles on a slot: join, detach and abort its task, and attach a reply to it.

use std::mem;

use super::super::ended::Ended;
use super::super::key::{Key, MIN_KEY};
use super::super::raw::Raw;
use super::{Slab, Slot};

/// The result of the search for the task of a `JoinHandle`.
pub(in crate::task) enum Joined {
    /// The task has a reply, or it is gone because the runtime has shut down.
    Missing,
    /// The task has not ended. It has this join word.
    Live(usize),
    /// The task has not ended, and the waiter is stored.
    Waiting,
    /// The task has ended, and its slot is released.
    Done(Ended),
}

impl Slab {
    /// Returns the occupied slot of a key.
    #[inline]
    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.generation == key.generation && slot.state.is_occupied()).then_some(slot)
    }

    /// Returns the slot of a `JoinHandle`'s task, and the task's memory.
    #[inline]
    fn task(&mut self, key: Key) -> Option<(&mut Slot, Raw)> {
        // The state need not be checked, because a released slot has no task.
        match self.slots.get_mut(key.index as usize) {
            Some(slot) if slot.generation == key.generation => slot.task.map(|task| (slot, task)),
            _ => None,
        }
    }

    /// Finds the task of a `JoinHandle`. If it has ended, takes it (edge 5). Otherwise stores the
    /// waiter, which is a packed key or 0.
    ///
    /// `Live` means that the waiter was not stored, because it is 0 or because a foreign one is
    /// stored.
    #[inline]
    pub(in crate::task) fn join(&mut self, key: Key, waiter: usize) -> Joined {
        let Some((slot, task)) = self.task(key) else {
            return Joined::Missing;
        };
        if slot.state.is_done() {
            return Joined::Done(self.end(key.index, task));
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

    /// Replaces the join word and returns the former one, or `None` if the task has ended or has a
    /// reply.
    pub(in crate::task) fn swap_join(&mut self, key: Key, join: usize) -> Option<usize> {
        let (slot, _) = self.task(key)?;
        let replaceable = !slot.state.is_done() && !slot.state.has_reply();
        replaceable.then(|| mem::replace(&mut slot.join, join))
    }

    /// Handles the drop of a `JoinHandle`: edge 5 if the task has ended, otherwise takes the join
    /// word out.
    #[inline]
    pub(in crate::task) fn detach(&mut self, key: Key) -> Joined {
        let Some((slot, task)) = self.task(key) else {
            return Joined::Missing;
        };
        if slot.state.has_reply() {
            return Joined::Missing;
        }
        let join = mem::take(&mut slot.join);
        if slot.state.detach() {
            return Joined::Done(self.end(key.index, task));
        }
        Joined::Live(join)
    }

    /// Makes the next run of a task drop its future.
    pub(in crate::task) fn abort(&mut self, key: Key) {
        if let Some(slot) = self.slot(key) {
            if slot.state.abort() {
                self.queue.push(key.index);
            }
        }
    }

    /// Replaces the join word by that of a reply and returns the former one.
    pub(in crate::task) fn attach_reply(&mut self, key: Key, reply: usize) -> usize {
        match self.slot(key) {
            Some(slot) => {
                slot.state.attach_reply();
                mem::replace(&mut slot.join, reply)
            }
            None => reply,
        }
    }

    /// Returns whether the task has ended or is gone.
    pub(in crate::task) fn is_finished(&mut self, key: Key) -> bool {
        self.slot(key).is_none_or(|slot| slot.state.is_done())
    }
}
