//! [`ReplacedTimers`] maps the key of a fired timer to the timer that replaces it.
//!
//! If a handle on a remote thread resets a timer that has already fired, the owner arms a new one.
//! The handle goes on using the old key. An entry lives until the owner's thread arms the handle's
//! timer again, or the handle is dropped.

use crate::timer::TimerKey;
use crate::token::BuildKeyHasher;
use std::cell::RefCell;
use std::collections::HashMap;

/// The replacements, by the key of the timer that has fired.
#[derive(Debug, Default)]
pub(super) struct ReplacedTimers(RefCell<HashMap<u64, TimerKey, BuildKeyHasher>>);

impl ReplacedTimers {
    /// Returns the timer that replaces `key`, even if it has fired.
    pub(super) fn get(&self, key: TimerKey) -> Option<TimerKey> {
        self.0.borrow().get(&key.to_u64()).copied()
    }

    pub(super) fn set(&self, key: TimerKey, replacement: TimerKey) {
        self.0.borrow_mut().insert(key.to_u64(), replacement);
    }

    /// Removes the entry of `key`. There is almost never one.
    #[inline]
    pub(super) fn take(&self, key: TimerKey) -> Option<TimerKey> {
        let mut map = self.0.borrow_mut();
        if map.is_empty() {
            return None;
        }
        map.remove(&key.to_u64())
    }
}
