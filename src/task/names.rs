//! [`Names`]: the names of tasks, in a table beside the slots.
//!
//! Only the spawn of a task that has a name and `Runtime::shrink` change the table, which is empty
//! until one is spawned. So an entry remains until another task with a name takes the slot, or
//! `shrink` is called. The generation of the slot shows which task it belongs to. Once there was a
//! name, the end of a task whose handle was dropped looks into the table, because its panic is
//! reported with the name.

use std::cell::RefCell;

use super::inspect::Name;
use super::key::Key;

/// The names of the tasks of one runtime. No method runs foreign code.
#[derive(Default)]
pub(super) struct Names {
    /// For each slot, the last task with a name: the generation and the name.
    entries: RefCell<Vec<Option<(u32, Name)>>>,
}

impl Names {
    /// Stores the name of a task, in place of that of an earlier task in the same slot.
    #[cold]
    pub(super) fn set(&self, key: Key, name: Name) {
        let mut entries = self.entries.borrow_mut();
        let index = key.index as usize;
        if entries.len() <= index {
            entries.resize(index + 1, None);
        }
        entries[index] = Some((key.generation, name));
    }

    /// Drops the names of tasks that have ended, and frees memory that is not used.
    pub(super) fn shrink(&self, is_live: impl Fn(Key) -> bool) {
        let mut entries = self.entries.borrow_mut();
        for (index, entry) in entries.iter_mut().enumerate() {
            let index = index as u32;
            entry.take_if(|(generation, _)| {
                let generation = *generation;
                !is_live(Key { index, generation })
            });
        }
        let len = entries.iter().rposition(Option::is_some);
        entries.truncate(len.map_or(0, |at| at + 1));
        entries.shrink_to_fit();
    }

    /// Returns the name of a task, which may have ended.
    pub(super) fn get(&self, key: Key) -> Option<Name> {
        match self.entries.borrow().get(key.index as usize)? {
            Some((generation, name)) if *generation == key.generation => Some(name.clone()),
            _ => None,
        }
    }
}
