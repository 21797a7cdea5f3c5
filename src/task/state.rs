//! The state of one slot: a few plain bits, and the transitions between them as named methods.
//!
//! Only the owner's thread touches a state, so a transition is a load, a test and a store. The edges carry the numbers
//! of the drawing in [`mod.rs`](super).

/// The bits of one slot, or the link of a free one.
#[derive(Clone, Copy, Debug)]
pub(super) struct State(u32);

/// The index sits in the run queue, exactly once. Set by `wake`, `abort` and creation; cleared by `next` alone.
const QUEUED: u32 = 1 << 0;
/// The future is being polled or dropped by `run_next` or `shutdown`: its memory belongs to that call.
const RUNNING: u32 = 1 << 1;
/// The future is gone, its output or error is stored, and the `JoinHandle` has not taken it yet.
const DONE: u32 = 1 << 2;
/// The `JoinHandle` is gone: nobody will ask for the output.
const DETACHED: u32 = 1 << 3;
/// The next run drops the future instead of polling it.
const ABORTED: u32 = 1 << 4;
/// The slot stands for the future of a `block_on`, which is pinned there: no allocation, never polled by `run_next`.
const ROOT: u32 = 1 << 5;
/// The header's join field holds a `ReplyTo` (the handle waits on another thread), not a waker.
const REPLY: u32 = 1 << 6;
/// The task is gone and only its entry in the run queue keeps the index from being reused. Always with `QUEUED`.
const VACANT: u32 = 1 << 7;
/// The slot is in the free list; the low bits are the next free index.
const FREE: u32 = 1 << 31;

/// The end of the free list. Not an index: indices have at most 28 bits.
pub(super) const NONE: u32 = (1 << 31) - 1;

/// What is to be done about an index that has left the run queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Next {
    /// Poll the future.
    Poll,
    /// Drop the future: it was aborted.
    Cancel,
    /// The slot is a root: its owner polls it.
    Root,
    /// Nothing: the task has ended meanwhile and waits to be joined, or runs already.
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
    pub(super) const NEW: State = State(QUEUED);
    /// Edge 1 for the future of a `block_on`.
    pub(super) const NEW_ROOT: State = State(QUEUED | ROOT);

    /// Edge 7: a free slot whose successor in the free list is `next`.
    #[inline]
    pub(super) const fn free(next: u32) -> State {
        State(FREE | next)
    }

    /// The next free index of a free slot.
    #[inline]
    pub(super) fn next_free(self) -> u32 {
        debug_assert!(self.0 & FREE != 0);
        self.0 & !FREE
    }

    /// Whether a task or root lives here, ended or not.
    #[inline]
    pub(super) fn is_occupied(self) -> bool {
        self.0 & (FREE | VACANT) == 0
    }

    #[inline]
    pub(super) fn is_done(self) -> bool {
        self.0 & (FREE | DONE) == DONE
    }

    #[inline]
    pub(super) fn is_running(self) -> bool {
        self.0 & (FREE | RUNNING) == RUNNING
    }

    #[inline]
    pub(super) fn is_queued(self) -> bool {
        self.0 & (FREE | QUEUED) == QUEUED
    }

    #[inline]
    pub(super) fn is_root(self) -> bool {
        self.0 & (FREE | ROOT) == ROOT
    }

    #[inline]
    pub(super) fn has_reply(self) -> bool {
        self.0 & (FREE | REPLY) == REPLY
    }

    /// Edge 2: true when the caller has to put the index into the run queue.
    #[inline]
    #[must_use]
    pub(super) fn wake(&mut self) -> bool {
        if self.0 & (FREE | DONE | QUEUED) != 0 {
            return false;
        }
        self.0 |= QUEUED;
        true
    }

    /// Edge 3: the index has left the run queue. With `Poll` and `Cancel` the stage belongs to the caller.
    #[inline]
    pub(super) fn next(&mut self) -> Next {
        debug_assert!(self.is_queued());
        if self.0 & (VACANT | DONE | RUNNING | ROOT | ABORTED) == 0 {
            self.0 ^= QUEUED | RUNNING;
            return Next::Poll;
        }
        self.next_other()
    }

    #[cold]
    #[inline(never)]
    fn next_other(&mut self) -> Next {
        self.0 &= !QUEUED;
        if self.0 & VACANT != 0 {
            Next::Free
        } else if self.0 & (DONE | RUNNING) != 0 {
            Next::Skip
        } else if self.0 & ROOT != 0 {
            Next::Root
        } else {
            self.0 |= RUNNING;
            Next::Cancel
        }
    }

    /// Edge 3 at the runtime's end: whatever has a future gives it up. True when there is one to drop.
    #[must_use]
    pub(super) fn start_shutdown(&mut self) -> bool {
        if self.0 & (FREE | VACANT | DONE | RUNNING | ROOT) != 0 {
            return false;
        }
        self.0 |= RUNNING;
        true
    }

    /// Edge 4: the poll answered `Pending`.
    #[inline]
    pub(super) fn suspend(&mut self) {
        debug_assert!(self.is_running());
        self.0 &= !RUNNING;
    }

    /// Edge 5: the future is gone.
    #[inline]
    pub(super) fn finish(&mut self) -> Finish {
        debug_assert!(self.is_running());
        if self.0 & (DETACHED | REPLY) == 0 {
            self.0 = self.0 & !RUNNING | DONE;
            return Finish::Keep;
        }
        if self.0 & REPLY != 0 {
            Finish::Reply
        } else {
            Finish::Discard
        }
    }

    /// Marks the task as to be dropped: true when the caller has to put the index into the run queue (edge 2). A task
    /// that has ended stays as it is.
    #[must_use]
    pub(super) fn abort(&mut self) -> bool {
        if self.0 & (FREE | VACANT | DONE | ROOT) != 0 {
            return false;
        }
        self.0 |= ABORTED;
        self.wake()
    }

    /// The `JoinHandle` is gone. True when the task has ended: its output is to be dropped and the slot released.
    #[inline]
    #[must_use]
    pub(super) fn detach(&mut self) -> bool {
        debug_assert!(self.is_occupied());
        self.0 |= DETACHED;
        self.is_done()
    }

    /// From now on the join field holds a reply.
    pub(super) fn attach_reply(&mut self) {
        debug_assert!(self.is_occupied() && !self.is_done());
        self.0 |= REPLY;
    }

    /// Edge 6: nothing of the task is left but perhaps its entry in the run queue.
    #[inline]
    pub(super) fn release(&mut self) -> Release {
        debug_assert!(self.is_occupied());
        if self.0 & QUEUED == 0 {
            return Release::Free;
        }
        self.0 = QUEUED | VACANT;
        Release::Later
    }
}
