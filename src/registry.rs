//! From a [`RuntimeId`] to what other threads may touch of that runtime.
//!
//! Handles and wakers hold no `Arc`; a thread that does not own the runtime looks its shared part up here, and a miss
//! means that the runtime is gone. The reactor keeps its queues here; the task layer, which hands out the ids, has a
//! table of its own, for wakers find their runtime by its place alone.

#![forbid(unsafe_code)]

use crate::sync::{Arc, StaticLock};
use crate::token::RuntimeId;

/// What is known of the runtime at one place.
type Entry<T> = (RuntimeId, Arc<T>);

/// A process-wide table of one layer's shared parts, by the runtime's place.
pub(crate) struct Registry<T> {
    /// By place; who was there before is told apart by the whole id.
    entries: StaticLock<Vec<Option<Entry<T>>>>,
}

impl<T> Registry<T> {
    /// An empty table, for a `static`.
    pub(crate) const fn new() -> Registry<T> {
        Registry {
            entries: StaticLock::new(Vec::new()),
        }
    }

    /// Makes `shared` known under `id`, whose place no live runtime has.
    pub(crate) fn insert(&self, id: RuntimeId, shared: Arc<T>) {
        let mut entries = self.entries.write();
        let place = usize::from(id.place());
        if entries.len() <= place {
            entries.resize_with(place + 1, || None);
        }
        debug_assert!(entries[place].is_none(), "two live runtimes at one place");
        entries[place] = Some((id, shared));
    }

    /// Forgets `id`; later look-ups miss.
    pub(crate) fn remove(&self, id: RuntimeId) {
        let mut entries = self.entries.write();
        if let Some(entry) = entries.get_mut(usize::from(id.place())) {
            if entry.as_ref().is_some_and(|(known, _)| *known == id) {
                let removed = entry.take();
                drop(entries);
                // Dropped outside the lock: the last owner may run any destructor.
                drop(removed);
            }
        }
    }

    /// The shared part of exactly this runtime.
    pub(crate) fn get(&self, id: RuntimeId) -> Option<Arc<T>> {
        let entries = self.entries.read();
        match entries.get(usize::from(id.place())) {
            Some(Some((known, shared))) if *known == id => Some(shared.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_generation_at_the_same_place_is_a_miss() {
        static TABLE: Registry<u32> = Registry::new();
        let (old, new) = (RuntimeId::new(3, 1), RuntimeId::new(3, 2));
        TABLE.insert(old, Arc::new(1));
        assert_eq!(TABLE.get(old).as_deref(), Some(&1));
        TABLE.remove(old);
        assert!(TABLE.get(old).is_none());
        TABLE.insert(new, Arc::new(2));
        TABLE.remove(old);
        assert!(TABLE.get(old).is_none());
        assert_eq!(TABLE.get(new).as_deref(), Some(&2));
    }
}
