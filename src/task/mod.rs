//! Tasks: spawned futures, their wakers and handles, and the run queue of the thread that owns them.
//!
//! Nothing in here knows what a task waits for, nor when it is run: `Tasks` is driven by the runtime, by calls of
//! `run_next`, and meets the reactor through `core::task::Waker` alone.
//!
//! # Kinds of reference
//!
//! | who | holds | on which thread | keeps alive |
//! |---|---|---|---|
//! | slot of the slab | the task's memory | the owner's | the task: it is freed by whoever releases the slot |
//! | `Waker` | a number: place, index, 20 bits of generation | any | nothing |
//! | `JoinHandle` | runtime id and key; an `Arc<Reply>` once it was used elsewhere | any, if `T: Send` | the output, until joined or detached |
//! | `AbortHandle` | runtime id and key | any | nothing |
//! | run queue, inbox | an index | the owner's, any | the index: it is not reused while it is in the run queue |
//!
//! So there is no count of references to a task. Its future and output are dropped by the owner's loop, except an
//! output that a handle has been given.
//!
//! # States of a slot
//!
//! ```text
//!            2 wake, abort        2 wake, abort: RUNNING and QUEUED at once
//!          ┌───────────────┐        ┌───┐
//!          ▼               │        ▼   │
//!  FREE ─1─► QUEUED ──3──► │ ────► RUNNING ────5 finish────► DONE (handle there)
//!   ▲                      │        │   │                      │
//!   │                     idle ◄─4──┘   │ 5 (DETACHED, REPLY)  │ 6 joined, detached
//!   │                                   ▼                      ▼
//!   ├───────────────7──────────────── 6 release ◄──────────────┘
//!   │                                   │ the index is still in the run queue
//!   └───────────────3, 7────────────  VACANT
//! ```
//!
//! 1. `Slab::insert`: a slot is taken and its index queued.
//! 2. `State::wake`, `State::abort`: sets `QUEUED` unless it is set, and then the index is pushed. A running task
//!    that is woken is simply queued again; a task that has ended is not.
//! 3. `State::next`: the index has left the run queue. A task that waits gets `RUNNING`: its stage belongs to the
//!    caller, to poll the future or, if `ABORTED`, to drop it. What is `DONE` is left alone. `start_shutdown` does the
//!    same without the queue.
//! 4. `State::suspend`: the poll was `Pending`. If it was woken meanwhile it is `QUEUED`, else idle.
//! 5. `State::finish`: the future is gone. With a handle on this thread the output stays in the stage (`DONE`);
//!    without, or with a reply, the slot is released in the same step.
//! 6. `Slab::release`: the slot forgets the memory and changes its generation, so no key leads to it any more.
//! 7. `Slab::link_free`: the index may be reused. A slot whose generations are used up is not.
//!
//! `DETACHED`, `ABORTED` and `REPLY` are set in any state before `DONE` and stay. `ROOT` marks the future of a
//! `block_on`, which has an index and a waker but no memory here: edges 1, 2, 3, 6 and 7 only.
//!
//! # Who may touch what
//!
//! | what | touched by | when |
//! |---|---|---|
//! | slots, free list, run queue | the owner's thread, by methods of `Slab` | any time, never across foreign code |
//! | `Header::vtable` | the owner's thread, read only | while the memory is alive |
//! | `Header::join` | the owner's thread | any time before the release; `REPLY` says what is in it |
//! | stage: future | the caller of `next` | from there to `suspend` or `finish` |
//! | stage: output | whoever gets `Done` from `find`, or has released the slot | once |
//! | `Remote` | all threads, by its lock | any time |
//! | `Reply` | the handle's thread and the owner's, by its lock | any time |
//!
//! # Why it is sound
//!
//! *Foreign code* is everything that users can supply: polls and drops of futures, drops of outputs and panic payloads,
//! all functions of a waker that is not ours. It may call anything here again. Therefore no reference into the slab, a
//! header or a lock's content lives while it runs, a state is brought up to date before, and what is handed to it has
//! been moved out, or is memory that `RUNNING` or a release has made ours alone.
//!
//! Memory is reached through a slot only, and the slot forgets it before it is freed. It is freed at edge 6, by the one
//! who caused that edge. That a handle finds *its* task rests on keys and runtime ids never being given out twice: see
//! `join.rs`, also for outputs that cross threads. Wakers need none of this: to them a wrong task is a spurious wake.
//!
//! Read on: `state.rs` (the bits), `slab.rs`, `tasks.rs` (the loop's side), `raw.rs` (memory), `waker.rs`, `join.rs`,
//! `remote.rs`, `deliver.rs` and `reply.rs` (other threads), `shutdown.rs`.

mod blocks;
mod deliver;
mod error;
mod id;
mod join;
#[cfg(all(test, loom))]
mod loom_tests;
mod queue;
mod raw;
mod registry;
mod remote;
mod reply;
mod shutdown;
mod slab;
mod state;
mod tasks;
#[cfg(all(test, not(loom)))]
mod tests;
mod waker;
mod yield_now;

pub use error::JoinError;
pub use id::{Id, try_id};
pub use join::{AbortHandle, AbortOnDropHandle, JoinHandle};
pub(crate) use raw::Payload;
pub(crate) use remote::Remote;
pub use slab::TaskInfo;
pub(crate) use tasks::{CURRENT, Outcome, RootKey, Tasks};
pub(crate) use waker::{MIN_KEY, vtable, wake_key};
pub use yield_now::yield_now;
