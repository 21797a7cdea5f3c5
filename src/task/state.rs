//! The state of one slot: a few plain bits, and the transitions between them as named methods.
//!
//! Only the owner's thread touches a state, so a transition is a load, a test and a store. The edges carry the numbers
//! of the drawing in [`mod.rs`](super). That a task is being polled is no state of it: one task at most is, for the loop
//! cannot be entered twice ([`Tasks::runner`](super::Tasks::runner)).

/// The bits of one slot. Two bytes, because a run must look at the first alone: a plain poll is one comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// Whether it runs, and how.
    run: u8,
    /// Who is told when it has ended.
    fate: u8,
}

// Bits of `run`:

/// The index sits in the run queue, exactly once. Set by `wake`, `abort` and creation; cleared by `next` and `next_other` alone.
const QUEUED: u8 = 1 << 0;
/// The future is gone, its output or error is stored, and the `JoinHandle` has not taken it yet.
const DONE: u8 = 1 << 1;
/// The next run drops the future instead of polling it.
const ABORTED: u8 = 1 << 2;
/// The slot stands for the future of a `block_on`, which is pinned there: no allocation, never polled by `run`.
const ROOT: u8 = 1 << 3;
/// The task is gone and only its entry in the run queue keeps the index from being reused. Always with `QUEUED`.
const VACANT: u8 = 1 << 4;
/// Nothing lives in the slot. Alone.
const FREE: u8 = 1 << 5;

// Bits of `fate`:

/// The `JoinHandle` is gone: nobody will ask for the output.
const DETACHED: u8 = 1 << 0;
/// The slot's join word names a `ReplyTo` (the handle waits on another thread), not a waker.
const REPLY: u8 = 1 << 1;

/// What is to be done about an index that has left the run queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Next {
    /// Poll the future.
    Poll,
    /// The slot is a root: its owner polls it.
    Root,
    /// Ask `next_other`.
    Other,
}

/// The same for what is neither.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum NextOther {
    /// Drop the future: it was aborted.
    Cancel,
    /// Nothing: the task has ended meanwhile and waits to be joined.
    Skip,
    /// Nothing is left but the slot: it can be freed now.
    Free,
}

/// To whom the result of an ended task goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Finish {
    /// It stays in the task; the state is `DONE`; the join waker is to be woken.
    Keep,
    /// Nobody wants it; the slot is to be released.
    Discard,
    /// It goes into the attached reply; the slot is to be released.
    Reply,
}

/// What becomes of a slot whose task is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Release {
    /// The index can be reused at once.
    Free,
    /// The run queue still holds the index: `next` frees it.
    Later,
}

impl State {
    /// Edge 1: a new task with a `JoinHandle`, which its creator puts into the run queue.
    pub(super) const NEW: State = State {
        run: QUEUED,
        fate: 0,
    };
    /// Edge 1 for the future of a `block_on`.
    pub(super) const NEW_ROOT: State = State {
        run: QUEUED | ROOT,
        fate: 0,
    };
    /// Edge 6: nobody.
    pub(super) const NOBODY: State = State { run: FREE, fate: 0 };

    /// Whether a task or root lives here, ended or not.
    #[inline]
    pub(super) fn is_occupied(self) -> bool {
        self.run & (FREE | VACANT) == 0
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
        self.fate & REPLY != 0
    }

    /// Edge 2: true when the caller has to put the index into the run queue.
    #[inline]
    #[must_use]
    pub(super) fn wake(&mut self) -> bool {
        if self.run & (FREE | DONE | QUEUED) != 0 {
            return false;
        }
        self.run |= QUEUED;
        true
    }

    /// Edge 3: the index has left the run queue. With `Poll` and `Cancel` the stage belongs to the caller.
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

    /// Edge 3 for what was aborted, has ended, or is not there any more.
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

    /// Edge 3 at the runtime's end: whatever has a future gives it up. True when there is one to drop.
    #[must_use]
    pub(super) fn start_shutdown(self) -> bool {
        self.run & (FREE | VACANT | DONE | ROOT) == 0
    }

    /// Edge 4: the future is gone.
    #[inline]
    pub(super) fn finish(&mut self) -> Finish {
        debug_assert!(self.is_occupied() && !self.is_done());
        if self.fate == 0 {
            self.run = self.run & QUEUED | DONE;
            return Finish::Keep;
        }
        if self.has_reply() {
            Finish::Reply
        } else {
            Finish::Discard
        }
    }

    /// Marks the task as to be dropped: true when the caller has to put the index into the run queue (edge 2). A task
    /// that has ended stays as it is.
    #[must_use]
    pub(super) fn abort(&mut self) -> bool {
        if self.run & (FREE | VACANT | DONE | ROOT) != 0 {
            return false;
        }
        self.run |= ABORTED;
        self.wake()
    }

    /// The `JoinHandle` is gone. True when the task has ended: its output is to be dropped and the slot released.
    #[inline]
    #[must_use]
    pub(super) fn detach(&mut self) -> bool {
        debug_assert!(self.is_occupied());
        self.fate |= DETACHED;
        self.is_done()
    }

    /// From now on the join word names a reply.
    pub(super) fn attach_reply(&mut self) {
        debug_assert!(self.is_occupied() && !self.is_done());
        self.fate |= REPLY;
    }

    /// Edge 5: nothing of the task is left but perhaps its entry in the run queue.
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
