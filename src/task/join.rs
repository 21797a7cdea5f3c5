//! [`JoinHandle`]: a future of the output of a task.
//!
//! A handle consists of the runtime's id and the task's key. Inside the runtime it finds the task
//! by its key. Elsewhere, that is on another thread or on the same one between two calls of
//! `block_on`, it creates a [`Reply`] once and sends it to the owner. From then on it uses only the
//! reply, on every thread.
//!
//! # Why the output may cross threads
//!
//! `T` need not be `Send`, but the reply moves it to the handle's thread. That is sound:
//!
//! * If `T: Send` there is nothing to prove.
//! * Otherwise the handle is not `Send`, because it holds an `Arc<Reply<T>>`. So it is still on the
//!   thread that created it. That is the owner's thread: only `Tasks::spawn` creates such a handle,
//!   because all other ways require `T: Send`. The task's end of the reply is used on the owner's
//!   thread, too: it is in the task or in the inbox, and only the owner empties these. (`Tasks` is
//!   not `Send`, empties the inbox before it leaves the registry, and if it is leaked, the registry
//!   keeps the inbox.) So one thread alone uses the `T`.
//!
//! # Why a key is enough
//!
//! A slot that is released changes its generation, and neither generations of a slot nor ids of
//! runtimes are ever given out twice. So if a handle finds a task by its key, that is its own task,
//! and `T` is the type of the output in its stage.

use futures_core::FusedFuture;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use super::abort::{AbortHandle, abort, abort_reply};
use super::current::{CURRENT, on_owner};
use super::ended::Ended;
use super::error::JoinError;
use super::id::Id;
use super::inspect::{Description, Name};
use super::key::Key;
use super::remote::{Message, send};
use super::reply::{Reply, ReplyRef, ReplyTo, Sink};
use super::slab::Joined;
use super::tasks::Tasks;
use super::unobserved::Unobserved;
use super::unobserved_panics::report;
use super::waker::key_of;
use crate::budget;
use crate::panics::Payload;
use crate::token::RuntimeId;

/// Waits for a spawned task and returns its output.
///
/// It is a future of `Result<T, JoinError>`. If `T` is `Send`, it can be sent to another thread and
/// awaited there, also on another runtime.
///
/// Dropping the handle detaches the task, which continues to run. If the task has already ended,
/// its output is dropped. A panic in that drop goes to
/// [`UnhandledPanic`](crate::runtime::UnhandledPanic).
///
/// # Panics
///
/// If it is polled after it has returned the output.
///
/// # Cancel safety
///
/// The output stays in the task until a poll returns it, so `&mut JoinHandle` can be dropped and
/// awaited again.
///
/// # Examples
///
/// ```
/// reveille::block_on(async {
///     let task = reveille::spawn(async { 6 * 7 });
///     assert!(!task.is_finished());
///     assert_eq!(task.await.unwrap(), 42);
///
///     let endless = reveille::spawn(std::future::pending::<()>());
///     endless.abort();
///     assert!(endless.await.unwrap_err().is_cancelled());
/// });
/// ```
pub struct JoinHandle<T> {
    /// Created when the handle is first used outside of the runtime, or by a spawn from another
    /// thread.
    reply: OnceLock<Arc<Reply<T>>>,
    /// The task's key; `Key::NONE` if the handle has only the reply.
    key: Key,
    runtime: RuntimeId,
    /// The output has been returned.
    taken: bool,
}

impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// Creates the handle of a task on this thread, whose output is a `T`.
    #[inline]
    pub(super) fn keyed(runtime: RuntimeId, key: Key) -> JoinHandle<T> {
        JoinHandle {
            reply: OnceLock::new(),
            key,
            runtime,
            taken: false,
        }
    }

    /// Creates the handle of a task that was sent to its runtime together with a reply.
    pub(super) fn replied(runtime: RuntimeId, reply: Arc<Reply<T>>) -> JoinHandle<T> {
        JoinHandle {
            reply: OnceLock::from(reply),
            key: Key::NONE,
            runtime,
            taken: false,
        }
    }

    /// Requests that the runtime drop the task's future.
    ///
    /// The `JoinHandle` then returns an error for which [`JoinError::is_cancelled`] is true, unless
    /// the task has already ended. The runtime's loop drops the future, not this call: a task that
    /// aborts itself runs until its poll ends.
    ///
    /// A closure of [`spawn_blocking`](crate::spawn_blocking) that has not begun is dropped by this
    /// call. One that has begun runs to its end.
    pub fn abort(&self) {
        if self.taken {
            return;
        }
        match self.reply.get() {
            Some(reply) => abort_reply(self.runtime, &**reply),
            None => abort(self.runtime, self.key),
        }
    }

    /// Returns whether the task has ended. Outside of its runtime, `false` may be out of date.
    pub fn is_finished(&self) -> bool {
        if self.taken {
            return true;
        }
        if self.reply.get().is_none() {
            if let Some(finished) = on_owner(self.runtime, |tasks| tasks.is_finished(self.key)) {
                return finished;
            }
        }
        self.reply().is_finished()
    }

    /// Returns a handle that can only abort the task; [`AbortHandle`] has an example.
    pub fn abort_handle(&self) -> AbortHandle {
        // Without a key, the reply is needed to find the task.
        let reply = self.reply.get().filter(|_| self.key == Key::NONE);
        let reply = reply.map(|reply| ReplyRef::new(reply.clone()));
        AbortHandle::new(self.runtime, self.key, self.id(), reply)
    }

    /// Returns the id of the task, which is unique among the tasks of its runtime;
    /// [`id`](fn@super::id) has an example.
    pub fn id(&self) -> Id {
        match self.reply.get() {
            Some(reply) => reply.id(),
            None => Id::local(self.key),
        }
    }

    /// Returns the key of the task; `None` if the handle has only the reply, or if the runtime was
    /// closed.
    pub(super) fn key(&self) -> Option<Key> {
        (self.key != Key::NONE).then_some(self.key)
    }

    /// Returns the name of the task, if it has one and this thread can know it.
    fn name(&self) -> Option<Name> {
        let stored = self.reply.get().and_then(|reply| reply.description().name);
        stored.or_else(|| on_owner(self.runtime, |tasks| tasks.names.get(self.key)).flatten())
    }

    /// Describes the panic of the task, which this handle has just returned, for the policy.
    ///
    /// No other code may run between the poll that has returned it and this call: the slot of the
    /// task is free, and the next task that takes it replaces the place in the source.
    pub(super) fn unobserved(&self, payload: Payload) -> Unobserved {
        let origin = match self.reply.get() {
            Some(reply) => reply.description().origin,
            None => on_owner(self.runtime, |tasks| tasks.slab.origin(self.key.index)).flatten(),
        };
        let name = self.name();
        let description = Description { name, origin };
        Unobserved::of_task(self.id(), description, payload)
    }

    /// Moves the handle out and leaves one whose drop does nothing.
    pub(super) fn take_handle(&mut self) -> JoinHandle<T> {
        let mut spent = JoinHandle::keyed(self.runtime, Key::NONE);
        spent.taken = true;
        mem::replace(self, spent)
    }

    /// Returns the reply, if there is one.
    pub(super) fn known_reply(&self) -> Option<&Reply<T>> {
        self.reply.get().map(|reply| &**reply)
    }

    /// Returns the id of the runtime of the task.
    pub(super) fn runtime(&self) -> RuntimeId {
        self.runtime
    }

    /// Returns the reply. The first call creates it and sends it to the owner.
    #[cold]
    fn reply(&self) -> &Arc<Reply<T>> {
        self.reply.get_or_init(|| {
            let reply = Reply::new(Id::local(self.key), Some(self.key));
            let message = Message::Attach(self.key, ReplyTo::new(reply.clone()));
            send(self.runtime, message);
            reply
        })
    }

    /// Polls where the short way of `poll` does not apply: outside of the task's runtime, with a
    /// foreign waker, with a reply, or without any budget left.
    #[cold]
    fn poll_slowly(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        assert!(
            !self.taken,
            "JoinHandle polled after it returned its output: poll it no more after `Ready`"
        );
        let here = on_owner(self.runtime, |tasks| self.poll_here(tasks, cx));
        let answer = match here {
            Some(Some(answer)) => answer,
            _ => self.reply().poll(cx),
        };
        self.taken = answer.is_ready();
        answer
    }

    /// Polls inside the runtime. `None`: the handle has a reply, which has to be polled instead.
    fn poll_here(&self, tasks: &Tasks, cx: &mut Context<'_>) -> Option<Poll<Result<T, JoinError>>> {
        if self.reply.get().is_some() {
            return None;
        }
        if budget::check(cx).is_pending() {
            return Some(Poll::Pending);
        }
        Some(match tasks.join(self.key, 0) {
            Joined::Done(ended) => {
                budget::spend();
                Poll::Ready(self.take(tasks, ended))
            }
            Joined::Live(join) => {
                if !tasks.foreign_waiters.will_wake(join, cx.waker()) {
                    self.store_foreign(tasks, cx);
                }
                Poll::Pending
            }
            Joined::Waiting | Joined::Missing => Poll::Ready(Err(JoinError::gone())),
        })
    }

    /// Takes the output out of this handle's task, which has ended.
    #[inline]
    fn take(&self, tasks: &Tasks, ended: Ended) -> Result<T, JoinError> {
        // SAFETY: `ended` was found by this handle's key, so its output is a `T`: see the head of
        // this file.
        unsafe { ended.take::<T>(tasks.pool()) }
    }

    /// Stores a foreign waker, or one of ours in place of a foreign one. Foreign code runs, so the
    /// task is looked up again.
    fn store_foreign(&self, tasks: &Tasks, cx: &Context<'_>) {
        let unbound = budget::unbound();
        let waker = cx.waker().clone();
        let word = match key_of(&waker) {
            Some(key) => key,
            None => tasks.foreign_waiters.keep_waker(waker),
        };
        match tasks.slab.swap_join(self.key, word) {
            Some(former) => drop(tasks.foreign_waiters.take_waker(former)),
            None => {
                // The clone has ended the task or the runtime: poll again.
                drop(tasks.foreign_waiters.take_waker(word));
                drop(unbound);
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Wakes `waker` when the task has ended; now, if it has ended already. Later polls have to
    /// pass the same waker.
    pub(super) fn wake_at_end(&self, waker: &Waker) {
        let cx = &Context::from_waker(waker);
        let stored = match self.reply.get() {
            Some(_) => None,
            None => on_owner(self.runtime, |tasks| self.store_foreign(tasks, cx)),
        };
        if stored.is_none() {
            self.reply().wake_at_end(waker);
        }
    }

    /// Detaches the task. If it has ended, drops its output. Never panics.
    // Inlined it would cost 10 of 373 instructions per spawn and join.
    #[inline(never)]
    fn detach(&self) {
        if let Some(reply) = self.reply.get() {
            return self.close_reply(reply);
        }
        if on_owner(self.runtime, |tasks| tasks.detach(self.key)).is_none() {
            send(self.runtime, Message::Detach(self.key));
        }
    }

    /// Closes the reply and drops its content.
    #[cold]
    fn close_reply(&self, reply: &Reply<T>) {
        if let Some(panic) = reply.close() {
            report(self.runtime, panic);
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        CURRENT.with_named(self.runtime.number(), |tasks| {
            let waiter = key_of(cx.waker());
            let (Some(tasks), Some(waiter), false) = (tasks, waiter, budget::is_spent()) else {
                return self.poll_slowly(cx);
            };
            // Whether the handle has a reply need not be checked here. Until the owner attaches the
            // reply, the key leads to the task, and when it attaches the reply, it wakes this
            // handle. After that the key leads to no task.
            match tasks.join(self.key, waiter) {
                Joined::Waiting => Poll::Pending,
                Joined::Done(ended) => {
                    budget::spend();
                    self.taken = true;
                    Poll::Ready(self.take(tasks, ended))
                }
                Joined::Live(_) | Joined::Missing => self.poll_slowly(cx),
            }
        })
    }
}

impl<T> FusedFuture for JoinHandle<T> {
    fn is_terminated(&self) -> bool {
        self.taken
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.taken {
            self.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("JoinHandle");
        text.field("id", &self.id());
        if let Some(name) = self.name() {
            text.field("name", &name);
        }
        text.finish_non_exhaustive()
    }
}
