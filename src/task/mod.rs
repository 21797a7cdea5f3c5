//! Spawned tasks: their handles, ids and errors, and functions to call inside of a task.
//!
//! [`spawn`](crate::spawn), [`Runtime::spawn`](crate::Runtime::spawn) and
//! [`Handle::spawn`](crate::Handle::spawn) return a [`JoinHandle`], which waits for the task,
//! aborts it, or detaches it when it is dropped. A [`Builder`] spawns tasks that have a name, and a
//! [`JoinSet`] waits for any of many tasks. Inside of a task, [`yield_now`](fn@yield_now) and
//! [`consume_budget`] let other tasks run, [`unconstrained`](fn@unconstrained) lifts the budget of
//! operations, and [`id`](fn@id) identifies the task. [`task_local!`](crate::task_local!) declares
//! values that belong to a task.
//!
//! [`scope`](fn@scope) and [`try_scope`] run children that borrow from the task that awaits them.
//! They have nothing to do with [`LocalKey::scope`], which gives a future a value.
//!
//! The rest of this page describes the implementation. This module does not know what a task waits
//! for, or when it runs: the runtime drives `Tasks` by calls of `Runner::run`, and the reactor
//! wakes tasks through `core::task::Waker`.
//!
//! # Terms
//!
//! | term | meaning |
//! |---|---|
//! | owner | the thread that created the runtime: it alone runs the loop and drops the tasks |
//! | key | index and generation of a task's slot; *packed* with the runtime's place into one word |
//! | stage | the part of a task's memory that holds the future, and later the output |
//! | root | the future of a `block_on`: it has a slot, but its memory is the caller's |
//! | join word | the slot's word that stands for the waiter of a `JoinHandle`: a packed key, or an entry of `ForeignWaiters` |
//! | reply | brings an output to a handle on another thread |
//! | foreign waker | a waker that this module has not made: of another executor or of a combinator |
//!
//! # Kinds of reference
//!
//! | reference | consists of | used on thread | keeps alive |
//! |---|---|---|---|
//! | slot of the slab | the task's memory | the owner's | the task, until the slot is released |
//! | `Waker` | a number: place, index, 20 bits of generation | any | nothing |
//! | `JoinHandle` | runtime id and key; an `Arc<Reply>` after use outside of the runtime | any, if `T: Send` | the output, until joined or detached |
//! | `AbortHandle` | runtime id and key | any | nothing |
//! | run queue, inbox | an index | the owner's, any | the index: it is not reused while it is in the run queue |
//!
//! References to a task are therefore not counted. The owner's loop drops its future and output,
//! except an output that a handle has taken.
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
//! 1. `Slab::insert` takes a slot and queues its index.
//! 2. `State::wake` and `State::abort` set `QUEUED` unless it is set, and the index is pushed. A
//!    task that is woken during its poll is queued again; a task that has ended is not.
//! 3. `State::next` and `State::next_other`: the index has left the run queue. The stage belongs to
//!    the caller, which polls the future or, if `ABORTED`, drops it. After `Pending` nothing is
//!    left to do. A `DONE` task stays as it is. `start_shutdown` does the same without the queue.
//! 4. `State::finish`: the future is gone. With a handle on this thread the output stays in the
//!    stage (`DONE`). Otherwise the slot is released in the same step.
//! 5. `Slab::release`: the slot forgets the memory and changes its generation, so no key leads to
//!    it.
//! 6. `Slab::link_free`: the index may be reused, unless the slot has no generation left.
//!
//! `DETACHED`, `ABORTED` and `REPLY` are set in any state before `DONE` and stay set. `ROOT` marks
//! the future of a `block_on`, which has an index and a waker but no memory here: edges 1, 2, 3, 5
//! and 6.
//!
//! There is no state for a task that is being polled: at most one `Runner` exists, and it polls one
//! task at a time.
//!
//! # Access rules
//!
//! | data | is used by | at which time |
//! |---|---|---|
//! | slots, free list, run queue | the owner's thread, through methods of `Slab` | any, but never during foreign code |
//! | `ForeignWaiters` | the owner's thread | any, but never during foreign code; the bit `REPLY` shows whether a join word stands for a waker or a reply |
//! | `Header::vtable` | the owner's thread, read only | while the memory is alive |
//! | stage: future | the `Runner`, after `next` | until the end of the poll, or until `finish` |
//! | stage: output, after edge 5 | the `Ended` that this edge returns | once |
//! | `Remote` | all threads, with its lock | any |
//! | `Reply` | the handle's thread and the owner's, with its lock | any |
//!
//! # Why it is sound
//!
//! *Foreign code* is all code that users can supply: polls and drops of futures, drops of outputs
//! and panic payloads, all functions of a waker that is not ours. It may call any function of this
//! module. Therefore no reference into the slab, a header or the content of a lock exists while
//! foreign code runs, and states are updated before it. Foreign code receives values that were
//! moved out, or memory that belongs to the caller alone: to the `Runner`, or after a release.
//!
//! Memory is reached only through a slot, and the slot forgets it before it is freed: edge 5
//! creates an `Ended`, the only owner of the memory, which takes the output out and frees the
//! memory. A handle finds its own task because keys and runtime ids are never given out twice: see
//! `join.rs`, also for outputs that cross threads. A waker may find another task, which is only a
//! spurious wake.
//!
//! # Files, lowest first
//!
//! No file imports one of a later row.
//!
//! | files | what is in them |
//! |---|---|
//! | `key`, `state`, `queue`, `pool` | packed keys, the bits of a slot, the run queue, memory of ended tasks |
//! | `id`, `inspect`, `builder`, `error`, `unobserved` | plain data that users see |
//! | `raw`, `reply`, `ended` | the memory of a task, and where its output goes |
//! | `slab`, `slab_cell`, `foreign_waiters`, `names` | the slots, and what does not fit into one: waiters and names |
//! | `remote` | what other threads do: they find the runtime in the registry and fill its inbox |
//! | `tasks`, `current` | all that the owner's thread holds, and which tasks are current |
//! | `waker`, `unobserved_panics` | how wakers, handles and panics reach the tasks |
//! | `runner`, `inbox`, `startup`, `shutdown` | what the owner's thread does: polls, messages, the beginning and the end |
//! | `abort`, `join`, `abort_on_drop`, `spawn` | handles, and what makes them |
//! | `join_set` | a set of handles |
//! | `locals` | values that belong to a task, without any of the above |
//! | `wait`, `job` | waiting without a loop; closures that run on other threads |
//! | `scope` | children inside of a task; they are unknown to all other files |
//!
//! To understand a poll, read `state`, `slab`, `queue`, `raw`, `runner` and `waker`.

mod abort;
mod abort_on_drop;
mod builder;
mod current;
mod ended;
mod error;
mod foreign_waiters;
mod id;
mod inbox;
mod inspect;
mod job;
mod join;
mod join_set;
mod key;
mod locals;
#[cfg(all(test, loom))]
mod loom_tests;
mod names;
mod pool;
mod queue;
mod raw;
mod remote;
mod reply;
mod runner;
mod scope;
mod shutdown;
mod slab;
mod slab_cell;
mod spawn;
mod startup;
mod state;
mod tasks;
#[cfg(all(test, not(loom)))]
mod tests;
mod unconstrained;
mod unobserved;
mod unobserved_panics;
mod wait;
mod waker;
mod yield_now;

pub use abort::AbortHandle;
pub use abort_on_drop::AbortOnDropHandle;
pub use builder::Builder;
pub(crate) use current::CURRENT;
pub use current::{id, try_id};
pub use error::JoinError;
pub use id::Id;
pub use inspect::TaskInfo;
pub(crate) use inspect::{Description, Name};
pub(crate) use job::{Job, JobLabel, JobQueue};
pub use join::JoinHandle;
pub use join_set::JoinSet;
pub(crate) use key::MIN_KEY;
pub use locals::{AccessError, LocalKey, TaskLocalFuture};
pub(crate) use remote::Remote;
pub(crate) use runner::{Outcome, Runner};
pub use scope::{Scope, ScopeFuture, ScopedJoinHandle, TryScope, TryScopeFuture, scope, try_scope};
pub(crate) use tasks::{RootKey, Tasks};
pub use unconstrained::{Unconstrained, consume_budget, unconstrained};
pub(crate) use unobserved::Unobserved;
pub(crate) use unobserved_panics::report_panic;
pub(crate) use wait::{IN_CHILD, block_thread_on};
pub(crate) use waker::{vtable, wake_key};
pub use yield_now::yield_now;
