//! Tasks: spawned futures, their wakers and handles, and the run queue of the thread that owns them.
//!
//! Nothing in here knows what a task waits for, nor when it is run: `Tasks` is driven by the runtime, by calls of
//! `Runner::run`, and meets the reactor through `core::task::Waker` alone.
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
//!           2 wake, abort
//!          ┌─────────────┐
//!          ▼             │
//!  FREE ─1─► QUEUED ──3──► none ──────4 finish─────► DONE (handle there)
//!   ▲                    polled, then idle            │
//!   │                      │ 4 (DETACHED, REPLY)      │ 5 joined, detached
//!   │                      ▼                          ▼
//!   ├──────────6──────── 5 release ◄──────────────────┘
//!   │                      │ the index is still in the run queue
//!   └─────────3, 6─────── VACANT
//! ```
//!
//! 1. `Slab::insert`: a slot is taken and its index queued.
//! 2. `State::wake`, `State::abort`: sets `QUEUED` unless it is set, and then the index is pushed. A task that is woken
//!    while it is polled is simply queued again; a task that has ended is not.
//! 3. `State::next`, `State::next_other`: the index has left the run queue. The stage belongs to the caller, to poll the
//!    future or, if `ABORTED`, to drop it; after `Pending` there is nothing left to do. What is `DONE` is left alone.
//!    `start_shutdown` does the same without the queue.
//! 4. `State::finish`: the future is gone. With a handle on this thread the output stays in the stage (`DONE`);
//!    without, or with a reply, the slot is released in the same step.
//! 5. `Slab::release`: the slot forgets the memory and changes its generation, so no key leads to it any more.
//! 6. `Slab::link_free`: the index may be reused. A slot whose generations are used up is not.
//!
//! `DETACHED`, `ABORTED` and `REPLY` are set in any state before `DONE` and stay. `ROOT` marks the future of a
//! `block_on`, which has an index and a waker but no memory here: edges 1, 2, 3, 5 and 6 only.
//!
//! Being polled is no state: there is one `Runner` at most, which polls one task at a time.
//!
//! # Who may touch what
//!
//! | what | touched by | when |
//! |---|---|---|
//! | slots, free list, run queue | the owner's thread, by methods of `Slab` | any time, never across foreign code |
//! | `Others` | the owner's thread, never across foreign code | any time; `REPLY` says what a join word names |
//! | `Header::vtable` | the owner's thread, read only | while the memory is alive |
//! | stage: future | the `Runner`, after `next` | to the end of the poll, or to `finish` |
//! | stage: output | whoever gets `Done` from `join` or `detach`, or has released the slot | once |
//! | `Remote` | all threads, by its lock | any time |
//! | `Reply` | the handle's thread and the owner's, by its lock | any time |
//!
//! # Why it is sound
//!
//! *Foreign code* is everything that users can supply: polls and drops of futures, drops of outputs and panic payloads,
//! all functions of a waker that is not ours. It may call anything here again. Therefore no reference into the slab, a
//! header or a lock's content lives while it runs, a state is brought up to date before, and what is handed to it has
//! been moved out, or is memory that being the `Runner` or a release has made ours alone.
//!
//! Memory is reached through a slot only, and the slot forgets it before it is freed. It is freed at edge 5, by the one
//! who caused that edge. That a handle finds *its* task rests on keys and runtime ids never being given out twice: see
//! `join.rs`, also for outputs that cross threads. Wakers need none of this: to them a wrong task is a spurious wake.
//!
//! Read on: `state.rs` (the bits), `slab.rs`, `tasks.rs`, `runner.rs` (the loop's side), `raw.rs` (memory), `waker.rs`, `join.rs`, `others.rs`,
//! `remote.rs`, `deliver.rs` and `reply.rs` (other threads), `shutdown.rs`.

mod blocks;
mod deliver;
mod error;
mod id;
mod join;
#[cfg(all(test, loom))]
mod loom_tests;
mod others;
mod queue;
mod raw;
mod registry;
mod remote;
mod reply;
mod runner;
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
pub(crate) use runner::{Outcome, Runner};
pub use slab::TaskInfo;
pub(crate) use tasks::{CURRENT, RootKey, Tasks};
pub(crate) use waker::{MIN_KEY, vtable, wake_key};
pub use yield_now::yield_now;
