//! [`State`]: the state of one slot, a few bits with named methods for the transitions.
//!
//! Only the owner's thread uses a state, so a transition is a load, a test and a store. The numbers
//! of the edges are those of the drawing in [`mod.rs`](super). There is no bit for a task that is
//! being polled: at most one task is, because there is at most one [`Runner`](super::Runner).

/// The bits of one slot, in two bytes. A run reads only the first one, so that one comparison leads
/// to a poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// How the next run handles the slot.
    run: u8,
    /// Where the output goes when the task has ended.
    completion: u8,
}

// Bits of `run`:

/// The index is in the run queue, exactly once. Set by `wake`, `abort` and creation; cleared only
/// by `next` and `next_other`.
const QUEUED: u8 = 1 << 0;
/// The future is gone, its output or error is stored, and the `JoinHandle` has not taken it yet.
const DONE: u8 = 1 << 1;
/// The next run drops the future, and does not poll it.
const ABORTED: u8 = 1 << 2;
/// The slot belongs to a root: the future of a `block_on`, which has no memory here and is not
/// polled by `run`.
const ROOT: u8 = 1 << 3;
/// The task is gone, but its index is still in the run queue and must not be reused. Always
/// together with `QUEUED`.
const VACANT: u8 = 1 << 4;
/// The slot is free. Always the only bit.
const FREE: u8 = 1 << 5;

// Bits of `completion`:

/// The `JoinHandle` was dropped: the output is to be dropped.
const DETACHED: u8 = 1 << 0;
/// The slot's join word stands for a `ReplyTo`, because the handle waits outside of the runtime.
const REPLY: u8 = 1 << 1;

/// How to handle an index that has left the run queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Next {
    /// Poll the future.
    Poll,
    /// The slot is a root: `block_on` polls it.
    Root,
    /// Call `next_other`.
    Other,
}

/// How to handle an index that is neither to be polled nor a root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum NextOther {
    /// Drop the future, because the task was aborted.
    Cancel,
    /// Do nothing: the task has ended and was not joined yet.
    Skip,
    /// Free the slot: its task is gone.
    Free,
}

/// Where the result of an ended task goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Finish {
    /// It stays in the task, which is `DONE` now. The caller wakes the waiter.
    Keep,
    /// It is dropped. The caller releases the slot.
    Discard,
    /// It goes into the attached reply. The caller releases the slot.
    Reply,
}

/// How to handle a slot whose task is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Release {
    /// The index can be reused at once.
    Free,
    /// The index is still in the run queue: `next_other` frees the slot.
    Later,
}

impl State {
    /// Edge 1: a new task with a `JoinHandle`. The caller puts it into the run queue.
    pub(super) const NEW: State = State {
        run: QUEUED,
        completion: 0,
    };
    /// Edge 1 for the future of a `block_on`.
    pub(super) const NEW_ROOT: State = State {
        run: QUEUED | ROOT,
        completion: 0,
    };
    /// Edge 6: no task.
    pub(super) const UNUSED: State = State {
        run: FREE,
        completion: 0,
    };

    /// Returns whether the slot has a task or root, ended or not.
    #[inline]
    pub(super) fn is_occupied(self) -> bool {
        self.run & (FREE | VACANT) == 0
    }

    /// Returns whether the slot may be used for a new task.
    pub(super) fn is_free(self) -> bool {
        self.run & FREE != 0
    }

    #[inline]
    pub(super) fn is_done(self) -> bool {
        self.run & DONE != 0
    }

    #[inline]
    pub(super) fn is_queued(self) -> bool {
        self.run & QUEUED != 0
    }

    #[inline]
    pub(super) fn is_root(self) -> bool {
        self.run & ROOT != 0
    }

    #[inline]
    pub(super) fn has_reply(self) -> bool {
        self.completion & REPLY != 0
    }

    /// Edge 2. Returns true if the caller has to put the index into the run queue.
    #[inline]
    #[must_use]
    pub(super) fn wake(&mut self) -> bool {
        if self.run & (FREE | DONE | QUEUED) != 0 {
            return false;
        }
        self.run |= QUEUED;
        true
    }

    /// Edge 3: the index has left the run queue. With `Poll` and `Cancel` the stage belongs to the
    /// caller.
    #[inline]
    pub(super) fn next(&mut self) -> Next {
        if self.run == QUEUED {
            self.run = 0;
            return Next::Poll;
        }
        if self.run == QUEUED | ROOT {
            self.run = ROOT;
            return Next::Root;
        }
        Next::Other
    }

    /// Edge 3 for a task that was aborted, has ended, or is gone.
    pub(super) fn next_other(&mut self) -> NextOther {
        debug_assert!(self.is_queued());
        self.run &= !QUEUED;
        if self.run & VACANT != 0 {
            NextOther::Free
        } else if self.run & DONE != 0 {
            NextOther::Skip
        } else {
            debug_assert!(self.run & ABORTED != 0);
            NextOther::Cancel
        }
    }

    /// Returns whether the slot has a task whose future was not dropped yet.
    pub(super) fn has_future(self) -> bool {
        self.run & (FREE | VACANT | DONE | ROOT) == 0
    }

    /// Edge 4: the future is gone.
    #[inline]
    pub(super) fn finish(&mut self) -> Finish {
        debug_assert!(self.is_occupied() && !self.is_done());
        if self.completion == 0 {
            self.run = self.run & QUEUED | DONE;
            return Finish::Keep;
        }
        if self.has_reply() {
            Finish::Reply
        } else {
            Finish::Discard
        }
    }

    /// Makes the next run drop the future, unless the task has ended. Returns true if the caller
    /// has to put the index into the run queue (edge 2).
    #[must_use]
    pub(super) fn abort(&mut self) -> bool {
        if self.run & (FREE | VACANT | DONE | ROOT) != 0 {
            return false;
        }
        self.run |= ABORTED;
        self.wake()
    }

    /// Handles the drop of the `JoinHandle`. Returns true if the task has ended, so that the caller
    /// drops its output and releases the slot.
    #[inline]
    #[must_use]
    pub(super) fn detach(&mut self) -> bool {
        debug_assert!(self.is_occupied());
        self.completion |= DETACHED;
        self.is_done()
    }

    /// Makes the join word stand for a reply.
    pub(super) fn attach_reply(&mut self) {
        debug_assert!(self.is_occupied() && !self.is_done());
        self.completion |= REPLY;
    }

    /// Edge 5: the task is gone, except perhaps for its entry in the run queue.
    #[inline]
    pub(super) fn release(&mut self) -> Release {
        debug_assert!(self.is_occupied());
        if self.run & QUEUED == 0 {
            return Release::Free;
        }
        self.run = QUEUED | VACANT;
        Release::Later
    }
}
