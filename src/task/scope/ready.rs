//! [`ReadyList`]: which children of a scope were woken; [`ChildWaker`]: the wakers that add to it.
//!
//! Wakers may be used on any thread, so both are shared. A wake costs the same however many
//! children there are:
//!
//! | state of the scope | a wake of a child |
//! |---|---|
//! | the child is in the list already | changes one flag |
//! | the scope is being polled, or its task was woken | adds the child to the list |
//! | the poll has returned, the list is empty | adds the child and wakes the task of the scope |
//! | the child or the scope has ended | changes at most one flag |

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::budget;
use crate::sync::{AtomicBool, ForkLock, Ordering};

/// What may be in the list: a child, the body of the scope, or nothing that can be polled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The index in the table of the children. It is reused.
    pub(super) index: usize,
    /// Counts the children of the scope, from 1. It is never reused.
    pub(super) serial: u64,
}

impl Place {
    /// The body of the scope.
    pub(super) const BODY: Place = Place::special(0);

    /// No child: only makes the task poll the scope.
    pub(super) const NONE: Place = Place::special(1);

    const fn special(serial: u64) -> Place {
        let index = usize::MAX;
        Place { index, serial }
    }
}

/// The children that were woken and not yet polled.
pub(super) struct ReadyList {
    state: ForkLock<State>,
}

/// The content of the list, guarded by its lock. In the child of a fork it may be empty: the
/// runtimes of the parent cannot be used there.
#[derive(Default)]
struct State {
    /// The oldest first. Each child is in it at most once.
    woken: VecDeque<Place>,
    /// The waker of the task, from the end of a poll until the first wake after it.
    task: Option<Waker>,
    /// The scope has ended.
    closed: bool,
}

impl ReadyList {
    pub(super) fn new() -> Arc<ReadyList> {
        let state = ForkLock::new(State::default());
        Arc::new(ReadyList { state })
    }

    /// Adds to the end of the list and wakes the task, unless that was done since the last poll.
    /// Foreign code runs if the task's waker is foreign.
    pub(super) fn push(&self, place: Place) {
        let task = {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            state.woken.push_back(place);
            state.task.take()
        };
        if let Some(task) = task {
            // What the caller polls is not the task.
            let _unbound = budget::unbound();
            task.wake();
        }
    }

    /// Takes the oldest one out of the list.
    pub(super) fn pop(&self) -> Option<Place> {
        self.state.lock().woken.pop_front()
    }

    /// Puts back what `pop` has returned.
    pub(super) fn put_back(&self, place: Place) {
        self.state.lock().woken.push_front(place);
    }

    /// Begins a poll of the scope, during which no wake has to wake the task. Returns the waker of
    /// the previous poll if nothing has used it.
    pub(super) fn begin_poll(&self) -> Option<Waker> {
        self.state.lock().task.take()
    }

    /// Returns whether no child was woken.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().woken.is_empty()
    }

    /// Ends a poll of the scope: the next wake wakes the task. Returns the waker if a child was
    /// woken already, and then does not store it.
    pub(super) fn end_poll(&self, task: Waker) -> Result<(), Waker> {
        let mut state = self.state.lock();
        if !state.woken.is_empty() {
            return Err(task);
        }
        state.task = Some(task);
        Ok(())
    }

    /// Makes all further wakes do nothing. Returns the waker of the task, which the caller drops.
    #[must_use = "its drop is foreign code"]
    pub(super) fn close(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.closed = true;
        state.woken = VecDeque::new();
        state.task.take()
    }
}

/// The waker of a child or of the body.
pub(super) struct ChildWaker {
    place: Place,
    ready: Arc<ReadyList>,
    /// It is in the list, or has ended.
    queued: AtomicBool,
    /// Its future is to be dropped.
    aborted: AtomicBool,
}

impl ChildWaker {
    /// Creates the waker of a child that is not in the list.
    pub(super) fn new(place: Place, ready: Arc<ReadyList>) -> Arc<ChildWaker> {
        Arc::new(ChildWaker {
            place,
            ready,
            queued: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
        })
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Handles that the child has left the list and is about to be polled: from now on a wake adds
    /// it again. What the threads did before they woke it is visible to the poll.
    pub(super) fn begin_poll(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }

    /// Makes all further wakes of the child do nothing.
    pub(super) fn end(&self) {
        self.queued.store(true, Ordering::Relaxed);
    }

    /// Requests that the scope drop the future of the child.
    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
        self.add();
    }

    /// Returns whether `abort` was called. Only the thread of the scope calls either.
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Adds the child to the list, unless it is in it.
    pub(super) fn add(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.place);
        }
    }
}

impl Wake for ChildWaker {
    fn wake(self: Arc<Self>) {
        self.add();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.add();
    }
}
