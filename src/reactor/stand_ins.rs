//! Timers in place of others: a handle on another thread may move its timer when that has fired already, and waits then
//! for one that it cannot name. So it goes on using the old key, and the owner knows what stands for it.
//!
//! An entry lives until the owner's thread arms the handle's timer anew, or the handle is dropped.

use crate::timer::TimerKey;
use crate::token::BuildKeyHasher;
use std::cell::RefCell;
use std::collections::HashMap;

/// From the key of a timer that has fired to the timer that its handle waits for.
#[derive(Debug, Default)]
pub(super) struct StandIns(RefCell<HashMap<u64, TimerKey, BuildKeyHasher>>);

impl StandIns {
    /// What stands for `key`, fired or not.
    pub(super) fn get(&self, key: TimerKey) -> Option<TimerKey> {
        self.0.borrow().get(&key.to_u64()).copied()
    }

    pub(super) fn set(&self, key: TimerKey, stand_in: TimerKey) {
        self.0.borrow_mut().insert(key.to_u64(), stand_in);
    }

    /// Forgets `key`; almost never is there anything.
    #[inline]
    pub(super) fn take(&self, key: TimerKey) -> Option<TimerKey> {
        let mut map = self.0.borrow_mut();
        if map.is_empty() {
            return None;
        }
        map.remove(&key.to_u64())
    }
}
