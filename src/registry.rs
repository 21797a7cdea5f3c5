//! [`Registry`]: a process-wide table that maps a [`RuntimeId`] to the part of the runtime that
//! other threads may use.
//!
//! Handles and wakers hold no `Arc`. A thread that does not own the runtime looks its shared part
//! up here; if it is missing, the runtime is gone. The task layer and the reactor each have a
//! registry for their parts. The registry of the task layer also gives out the ids.
//!
//! No two runtimes of a process ever have the same id. Memory safety relies on this, because a
//! `JoinHandle<T>` finds the memory of its task by runtime id and key alone. A place whose
//! generations are used up is therefore retired: a process can have four billion runtimes in its
//! life (67 million on 32-bit targets).
//!
//! The child of a fork can use its copy at once, no matter what other threads of the parent were
//! doing: a claim is one atomic operation, the memory of places is never freed, and the lock of
//! each entry is a [`ForkLock`]. An id that a thread of the parent had claimed stays claimed in the
//! child.

#![forbid(unsafe_code)]

use crate::sync::{Arc, ForkLock};
use crate::sys::fork;
use crate::sys::once_box::OnceBox;
use crate::token::RuntimeId;
use std::sync::atomic::{AtomicU32, Ordering};

/// The shared parts of one layer, by the runtime's place.
pub(crate) struct Registry<T> {
    /// Chunk `n` has the 2^n places from 2^n on: places are counted from 1.
    chunks: [OnceBox<Box<[Place<T>]>>; CHUNKS],
}

/// Enough for all places of 16 bits.
const CHUNKS: usize = u16::BITS as usize;

struct Place<T> {
    /// With [`CLAIMED`], the generation of the id that was given out last; otherwise that of the
    /// next id.
    state: AtomicU32,
    /// The live runtime with this place. The id distinguishes it from earlier ones.
    entry: ForkLock<Option<(RuntimeId, Arc<T>)>>,
}

/// A bit of [`Place::state`]: the place's id is in use, or the place is retired.
const CLAIMED: u32 = 1 << u16::BITS;

impl<T> Registry<T> {
    /// Creates an empty table, for a `static`.
    pub(crate) const fn new() -> Registry<T> {
        Registry {
            chunks: [const { OnceBox::new() }; CHUNKS],
        }
    }

    /// Gives out an id with a place of at most `last`. This registry has never given it out before,
    /// neither in this process nor in its parent before the fork. Returns `None` if all places are
    /// in use.
    pub(crate) fn claim(&self, last: u16) -> Option<RuntimeId> {
        // Before any lock of an entry is used, because a `ForkLock` relies on the count of forks.
        fork::watch();
        (1..=last).find_map(|place| {
            let generation = self.place_or_create(place).claim()?;
            Some(RuntimeId::new(place, generation))
        })
    }

    /// Adds the shared part of the runtime `id`. No other live runtime has its place.
    pub(crate) fn insert(&self, id: RuntimeId, shared: Arc<T>) {
        let former = self
            .place_or_create(id.place())
            .entry
            .lock()
            .replace((id, shared));
        debug_assert!(former.is_none(), "two live runtimes at one place");
    }

    /// Removes the shared part of the runtime `id`. If the id came from [`claim`](Registry::claim),
    /// another runtime may get its place.
    pub(crate) fn remove(&self, id: RuntimeId) {
        let Some(place) = self.place(id.place()) else {
            return;
        };
        let removed = place.entry.lock().take_if(|(known, _)| *known == id);
        place.release(id.generation());
        // Without the lock, because the last owner may run any destructor.
        drop(removed);
    }

    /// Returns the shared part of the live runtime with this place, whatever its generation.
    pub(crate) fn at(&self, place: u16) -> Option<Arc<T>> {
        let entry = self.place(place)?.entry.lock();
        entry.as_ref().map(|(_, shared)| shared.clone())
    }

    /// Returns the shared part of exactly this runtime.
    pub(crate) fn get(&self, id: RuntimeId) -> Option<Arc<T>> {
        let entry = self.place(id.place())?.entry.lock();
        match &*entry {
            Some((known, shared)) if *known == id => Some(shared.clone()),
            _ => None,
        }
    }

    /// Returns the place of this number, if its chunk exists.
    #[inline]
    fn place(&self, place: u16) -> Option<&Place<T>> {
        let (chunk, index) = position(place)?;
        self.chunks[chunk].get()?.get(index)
    }

    /// Returns the place of this number. Creates its chunk if it does not exist.
    fn place_or_create(&self, place: u16) -> &Place<T> {
        let (chunk, index) = position(place).expect("places are counted from one");
        let create = || (0..1 << chunk).map(|_| Place::new()).collect();
        &self.chunks[chunk].get_or_make(create)[index]
    }
}

/// Returns the chunk of a place and the index in it; `None` for place 0, which does not exist.
#[inline]
fn position(place: u16) -> Option<(usize, usize)> {
    let chunk = place.checked_ilog2()?;
    Some((chunk as usize, usize::from(place) - (1 << chunk)))
}

impl<T> Place<T> {
    fn new() -> Place<T> {
        Place {
            state: AtomicU32::new(0),
            entry: ForkLock::new(None),
        }
    }

    /// Claims the place and returns the generation of its id; `None` if it is in use or retired.
    fn claim(&self) -> Option<u16> {
        let state = self.state.load(Ordering::Relaxed);
        if state & CLAIMED != 0 {
            return None;
        }
        let (order, claimed) = (Ordering::AcqRel, state | CLAIMED);
        self.state
            .compare_exchange(state, claimed, order, Ordering::Relaxed)
            .ok()
            .map(|state| state as u16)
    }

    /// Lets the place be claimed again, under the next generation if there is one.
    fn release(&self, generation: u16) {
        let claimed = CLAIMED | u32::from(generation);
        if let Some(next) = generation.checked_add(1) {
            // Fails for a place that was never claimed, because its id came from another registry.
            let (next, order) = (u32::from(next), Ordering::AcqRel);
            let _ = self
                .state
                .compare_exchange(claimed, next, order, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fork::in_child;
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn get_misses_another_generation_at_the_same_place() {
        static TABLE: Registry<u32> = Registry::new();
        let (old, new) = (RuntimeId::new(3, 1), RuntimeId::new(3, 2));
        assert!(TABLE.get(old).is_none() && TABLE.at(3).is_none() && TABLE.at(0).is_none());
        TABLE.insert(old, Arc::new(1));
        assert_eq!(TABLE.get(old).as_deref(), Some(&1));
        TABLE.remove(old);
        assert!(TABLE.get(old).is_none());
        TABLE.insert(new, Arc::new(2));
        TABLE.remove(old);
        assert!(TABLE.get(old).is_none());
        assert_eq!(TABLE.get(new).as_deref(), Some(&2));
        assert_eq!(TABLE.at(3).as_deref(), Some(&2));
    }

    #[test]
    fn claim_gives_the_first_free_place_under_another_generation() {
        static TABLE: Registry<u32> = Registry::new();
        let ids = [(); 3].map(|()| TABLE.claim(3).unwrap());
        assert_eq!(ids, [1, 2, 3].map(|place| RuntimeId::new(place, 0)));
        assert_eq!(TABLE.claim(3), None);
        TABLE.insert(ids[1], Arc::new(0));
        TABLE.remove(ids[1]);
        assert_eq!(TABLE.claim(3), Some(RuntimeId::new(2, 1)));
        // A second removal has no effect: another runtime has the place now.
        TABLE.remove(ids[1]);
        assert_eq!(TABLE.claim(3), None);
    }

    #[test]
    fn claim_retires_a_place_whose_generations_are_used_up() {
        static TABLE: Registry<u32> = Registry::new();
        for generation in 0..=u16::MAX {
            let id = TABLE.claim(1).unwrap();
            assert_eq!(id, RuntimeId::new(1, generation));
            TABLE.remove(id);
        }
        assert_eq!(TABLE.claim(1), None);
        assert_eq!(TABLE.claim(2), Some(RuntimeId::new(2, 0)));
    }

    #[test]
    fn claim_gives_each_thread_other_ids() {
        static TABLE: Registry<u32> = Registry::new();
        let claim = || [(); 500].map(|()| TABLE.claim(u16::MAX).unwrap());
        let ids = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(claim));
            threads.map(|thread| thread.join().unwrap())
        });
        let ids: HashSet<RuntimeId> = ids.into_iter().flatten().collect();
        assert_eq!(ids.len(), 2000);
    }

    /// When the process forks, a thread of the parent holds the lock of an entry and has claimed an
    /// id.
    #[test]
    fn registry_works_in_a_child_while_a_thread_of_the_parent_holds_a_lock() {
        static TABLE: Registry<u32> = Registry::new();
        let ids = [(); 2].map(|()| TABLE.claim(9).unwrap());
        for (id, shared) in ids.into_iter().zip([10, 20]) {
            TABLE.insert(id, Arc::new(shared));
        }
        let (held, forked) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let _entry = TABLE.place(1).unwrap().entry.lock();
                TABLE.claim(9).unwrap();
                held.wait();
                forked.wait();
            });
            held.wait();
            let result = in_child(|| {
                let others = (TABLE.at(1), TABLE.get(ids[1]).as_deref() == Some(&20));
                let claimed = TABLE.claim(9);
                TABLE.remove(ids[0]);
                let again = TABLE.claim(9);
                TABLE.insert(again.unwrap(), Arc::new(30));
                match (others, claimed, again, TABLE.at(1).as_deref()) {
                    ((None, true), Some(four), Some(one), Some(30))
                        if four == RuntimeId::new(4, 0) && one == RuntimeId::new(1, 1) =>
                    {
                        Ok(())
                    }
                    other => Err(format!("{other:?}")),
                }
            });
            forked.wait();
            assert_eq!(result.unwrap(), Ok(()));
        });
        assert_eq!(TABLE.get(ids[0]).as_deref(), Some(&10));
    }
}
