//! [`ForeignWaiters`]: the waiters for tasks that are not tasks of the same runtime: foreign
//! wakers, and replies to other threads.
//!
//! A slot has one word for its waiter, the join word. A task of the same runtime is stored as its
//! packed key. All other waiters are in this table, and the join word is a number that is smaller
//! than any key. The slot's bit `REPLY` shows whether it stands for a reply or a waker.

use slab::Slab;
use std::cell::RefCell;
use std::task::Waker;

use super::id::Id;
use super::key::MIN_KEY;
use super::reply::ReplyTo;

enum Waiter {
    Waker(Waker),
    Reply(ReplyTo),
}

/// The table of waiters. No method runs foreign code.
#[derive(Default)]
pub(super) struct ForeignWaiters {
    list: RefCell<Slab<Waiter>>,
}

impl ForeignWaiters {
    /// Stores a waiter and returns its join word.
    fn keep(&self, waiter: Waiter) -> usize {
        let word = self.list.borrow_mut().insert(waiter) + 1;
        assert!(word < MIN_KEY, "the table of waiters is full");
        word
    }

    /// Stores a foreign waker and returns its join word.
    pub(super) fn keep_waker(&self, waker: Waker) -> usize {
        self.keep(Waiter::Waker(waker))
    }

    /// Stores a reply and returns its join word.
    pub(super) fn keep_reply(&self, reply: ReplyTo) -> usize {
        self.keep(Waiter::Reply(reply))
    }

    /// Removes the waiter of a join word, if it is in this table.
    fn take(&self, word: usize) -> Option<Waiter> {
        if word == 0 || word >= MIN_KEY {
            return None;
        }
        self.list.borrow_mut().try_remove(word - 1)
    }

    /// Removes the foreign waker of a join word; `None` for 0 and for a packed key.
    pub(super) fn take_waker(&self, word: usize) -> Option<Waker> {
        match self.take(word)? {
            Waiter::Waker(waker) => Some(waker),
            Waiter::Reply(_) => {
                unreachable!("the slot's bit REPLY distinguishes replies from wakers")
            }
        }
    }

    /// Removes the reply of a join word; `None` for 0.
    pub(super) fn take_reply(&self, word: usize) -> Option<ReplyTo> {
        match self.take(word)? {
            Waiter::Reply(reply) => Some(reply),
            Waiter::Waker(_) => {
                unreachable!("the slot's bit REPLY distinguishes replies from wakers")
            }
        }
    }

    /// Gives back the room that is not used.
    pub(super) fn shrink(&self) {
        self.list.borrow_mut().shrink_to_fit();
    }

    /// Returns whether the waker of a join word wakes the same task as `waker`.
    pub(super) fn will_wake(&self, word: usize, waker: &Waker) -> bool {
        let list = self.list.borrow();
        match word.checked_sub(1).and_then(|at| list.get(at)) {
            Some(Waiter::Waker(known)) => known.will_wake(waker),
            _ => false,
        }
    }

    /// Returns the id of the task in the reply of a join word.
    pub(super) fn reply_id(&self, word: usize) -> Option<Id> {
        match self.list.borrow().get(word.checked_sub(1)?)? {
            Waiter::Reply(reply) => reply.id(),
            Waiter::Waker(_) => None,
        }
    }

    /// The number of waiters.
    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.list.borrow().len()
    }
}
