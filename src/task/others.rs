//! Who waits for a task and is not a task of the same runtime: foreign wakers, and replies to other threads.
//!
//! A slot has one word for who waits. A packed key fits; what else waits is kept here, and the word is its number, which is
//! smaller than any key. That a number names a reply, and not a waker, is said by the slot's bit `REPLY`.

use slab::Slab;
use std::cell::RefCell;
use std::task::Waker;

use super::Id;
use super::reply::ReplyTo;
use super::waker::MIN_KEY;

enum Other {
    Waker(Waker),
    Reply(ReplyTo),
}

/// The table. No method runs foreign code.
#[derive(Default)]
pub(super) struct Others {
    list: RefCell<Slab<Other>>,
}

impl Others {
    fn keep(&self, other: Other) -> usize {
        let word = self.list.borrow_mut().insert(other) + 1;
        assert!(word < MIN_KEY, "the table of waiters is full");
        word
    }

    /// The join word for a foreign waker.
    pub(super) fn keep_waker(&self, waker: Waker) -> usize {
        self.keep(Other::Waker(waker))
    }

    /// The join word for a reply.
    pub(super) fn keep_reply(&self, reply: ReplyTo) -> usize {
        self.keep(Other::Reply(reply))
    }

    /// Takes out what a join word names, if it is in here.
    fn take(&self, word: usize) -> Option<Other> {
        if word == 0 || word >= MIN_KEY {
            return None;
        }
        self.list.borrow_mut().try_remove(word - 1)
    }

    /// Takes the foreign waker of a join word out.
    pub(super) fn take_waker(&self, word: usize) -> Option<Waker> {
        match self.take(word)? {
            Other::Waker(waker) => Some(waker),
            Other::Reply(_) => unreachable!("the slot's bit REPLY says what its word names"),
        }
    }

    /// Takes the reply of a join word out; `None` for a word that names nobody.
    pub(super) fn take_reply(&self, word: usize) -> Option<ReplyTo> {
        match self.take(word)? {
            Other::Reply(reply) => Some(reply),
            Other::Waker(_) => unreachable!("the slot's bit REPLY says what its word names"),
        }
    }

    /// Whether the word names a waker that wakes the same task as this one.
    pub(super) fn will_wake(&self, word: usize, waker: &Waker) -> bool {
        let list = self.list.borrow();
        match word.checked_sub(1).and_then(|at| list.get(at)) {
            Some(Other::Waker(known)) => known.will_wake(waker),
            _ => false,
        }
    }

    /// The name that the reply of a join word has for the task.
    pub(super) fn reply_id(&self, word: usize) -> Option<Id> {
        match self.list.borrow().get(word.checked_sub(1)?)? {
            Other::Reply(reply) => reply.id(),
            Other::Waker(_) => None,
        }
    }

    /// How many there are.
    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.list.borrow().len()
    }
}
