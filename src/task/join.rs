//! [`JoinHandle`], [`AbortHandle`], [`AbortOnDropHandle`]: what is left of a task in the hands of its creator.
//!
//! A handle is the runtime's id and the task's key. Inside the runtime it looks the task up directly. Anywhere else (on
//! another thread, or on this one between two calls of `block_on`) it makes a [`Reply`], once, and sends that to the
//! owner; from then on it deals with the reply alone, wherever it is.
//!
//! # Why the output may cross threads
//!
//! `T` need not be `Send`, but the reply moves it to the handle's thread. That is sound:
//!
//! * If `T: Send` there is nothing to show.
//! * If not, the handle is not `Send` (it holds an `Option<Arc<Reply<T>>>`, in effect), so it is still on the thread it
//!   was made on. It was made by `Tasks::spawn`, because everything else that makes one asks for `T: Send`; so that
//!   thread is the owner's. The task's side of the reply is never used elsewhere either: it lies in the task or in the
//!   inbox, and both are emptied by the owner alone. (`Tasks` is not `Send`, empties the inbox before it unregisters
//!   it, and if it is leaked the registry keeps the inbox for ever.) So all uses of the `T` are on one thread.
//!
//! # Why a key is enough
//!
//! As long as a `JoinHandle<T>` exists and is neither joined nor detached, its slot is not released, except by the end
//! of the runtime. Ids of runtimes and generations of slots are never given out twice. So a key that is found is the
//! handle's own task, and `T` is the type of the output in its stage.

use futures_core::FusedFuture;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use super::Id;
use super::error::JoinError;
use super::raw::{Raw, discard};
use super::registry;
use super::remote::Message;
use super::reply::{AbortStep, Reply, ReplyRef, ReplyTo, Sink};
use super::slab::Joined;
use super::tasks::{CURRENT, Tasks};
use super::waker::{Key, key_of};
use crate::budget;
use crate::token::RuntimeId;

/// Waits for the output of a task.
///
/// It is a future of `Result<T, JoinError>`. Dropping it detaches the task, which goes on.
///
/// It may be sent to and awaited on any thread, also under another runtime, if `T` is `Send`.
///
/// # Cancel safety
///
/// The output stays where it is until a poll returns it, so `&mut JoinHandle` may be dropped and awaited again.
///
/// # Panics
///
/// When polled after it has returned the output.
pub struct JoinHandle<T> {
    /// Made when the handle is first used off the owner's thread, or from the start for a task that comes from there.
    reply: OnceLock<Arc<Reply<T>>>,
    /// The task's slot; `Key::NONE` when the reply is all there is.
    key: Key,
    runtime: RuntimeId,
    /// The output has been returned.
    taken: bool,
}

impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

/// Runs `f` with the tasks of `runtime` if this code runs inside that runtime.
#[inline]
fn on_owner<R>(runtime: RuntimeId, f: impl FnOnce(&Tasks) -> R) -> Option<R> {
    CURRENT.with_named(runtime.number(), |tasks| tasks.map(f))
}

/// Sends a message to a runtime; if that is gone, drops it here.
#[cold]
fn send(runtime: RuntimeId, message: Message) {
    match registry::of(runtime) {
        Some(remote) => drop(remote.push(message)),
        None => drop(message),
    }
}

/// Aborts, here or by a message.
fn abort(runtime: RuntimeId, key: Key) {
    if on_owner(runtime, |tasks| tasks.abort(key)).is_none() {
        send(runtime, Message::Abort(key));
    }
}

/// Does what is left of an abort that a reply knows of.
fn abort_reply(runtime: RuntimeId, sink: &dyn Sink) {
    match sink.abort() {
        AbortStep::Nothing => {}
        AbortStep::Tell(key) => abort(runtime, key),
    }
}

impl<T> JoinHandle<T> {
    /// The handle of a task on this thread. Its output is a `T`.
    #[inline]
    pub(super) fn keyed(runtime: RuntimeId, key: Key) -> JoinHandle<T> {
        JoinHandle {
            reply: OnceLock::new(),
            key,
            runtime,
            taken: false,
        }
    }

    /// The handle of something that knows its reply from the start.
    pub(super) fn replied(runtime: RuntimeId, reply: Arc<Reply<T>>) -> JoinHandle<T> {
        JoinHandle {
            reply: OnceLock::from(reply),
            key: Key::NONE,
            runtime,
            taken: false,
        }
    }

    /// Asks the runtime to drop the future. The task's `JoinHandle` then gives an error that is
    /// [`is_cancelled`](JoinError::is_cancelled), unless the task had ended before.
    ///
    /// The future is dropped by the runtime's loop, not here; a task that aborts itself runs on to its next `Pending`.
    pub fn abort(&self) {
        if self.taken {
            return;
        }
        match self.reply.get() {
            Some(reply) => abort_reply(self.runtime, &**reply),
            None => abort(self.runtime, self.key),
        }
    }

    /// Whether the task has ended (and, off the owner's thread, word of it has come).
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

    /// A handle that can abort the task and do nothing else.
    pub fn abort_handle(&self) -> AbortHandle {
        // Only what was born without a slot needs the reply.
        let reply = self.reply.get().filter(|_| self.key == Key::NONE);
        AbortHandle {
            runtime: self.runtime,
            key: self.key,
            id: self.id(),
            reply: reply.map(|reply| ReplyRef::new(reply.clone())),
        }
    }

    /// Turns this handle into one that aborts the task when it is dropped.
    #[must_use = "dropping the handle aborts the task"]
    pub fn abort_on_drop(self) -> AbortOnDropHandle<T> {
        AbortOnDropHandle { handle: self }
    }

    /// The task's name, unique among the tasks of its runtime.
    pub fn id(&self) -> Id {
        match self.reply.get() {
            Some(reply) => reply.id(),
            None => Id::local(self.key),
        }
    }

    /// The reply; the first time, makes it and sends it to the owner.
    #[cold]
    fn reply(&self) -> &Arc<Reply<T>> {
        self.reply.get_or_init(|| {
            let reply = Reply::new(Id::local(self.key), Some(self.key));
            let message = Message::Attach(self.key, ReplyTo::new(reply.clone()));
            send(self.runtime, message);
            reply
        })
    }

    /// Polls where there is more to it than taking the output, or leaving word with one's own runtime.
    #[cold]
    #[inline(never)]
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        assert!(
            !self.taken,
            "JoinHandle polled after it returned its output"
        );
        let here = on_owner(self.runtime, |tasks| self.poll_here(tasks, cx));
        let answer = match here {
            Some(Some(answer)) => answer,
            _ => self.reply().poll(cx),
        };
        self.taken = answer.is_ready();
        answer
    }

    /// Polls inside the runtime. `None`: there is a reply, which is to be asked.
    fn poll_here(&self, tasks: &Tasks, cx: &mut Context<'_>) -> Option<Poll<Result<T, JoinError>>> {
        if self.reply.get().is_some() {
            return None;
        }
        if budget::check(cx).is_pending() {
            return Some(Poll::Pending);
        }
        Some(match tasks.join(self.key, 0) {
            Joined::Done(task) => {
                budget::spend();
                Poll::Ready(self.take(tasks, task))
            }
            Joined::Live(join) => {
                if !tasks.others.will_wake(join, cx.waker()) {
                    self.store_foreign(tasks, cx);
                }
                Poll::Pending
            }
            Joined::Waiting | Joined::Missing => Poll::Ready(Err(JoinError::gone())),
        })
    }

    /// The output of a task that `join` or `detach` called `Done`.
    #[inline]
    fn take(&self, tasks: &Tasks, task: Raw) -> Result<T, JoinError> {
        // SAFETY: the slot said that the task has ended, so the stage holds the output, of type `T` (head of this file);
        // the slot is released and does not lead to the memory any more, so it is ours.
        unsafe { task.take_output::<T>(tasks.blocks()) }
    }

    /// Stores a waker whose clone is foreign code, or in the place of such a one: the task is looked up after it.
    fn store_foreign(&self, tasks: &Tasks, cx: &mut Context<'_>) {
        let waker = cx.waker().clone();
        let word = match key_of(&waker) {
            Some(key) => key,
            None => tasks.others.keep_waker(waker),
        };
        match tasks.with_slab(|slab| slab.swap_join(self.key, word)) {
            Some(former) => drop(tasks.others.take_waker(former)),
            None => {
                // The clone has ended the task or the runtime: come again.
                drop(tasks.others.take_waker(word));
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Lets the task go on without a handle; if it has ended, drops its output.
    #[inline(never)]
    fn detach(&self) {
        if let Some(reply) = self.reply.get() {
            return self.close_reply(reply);
        }
        let detached = on_owner(self.runtime, |tasks| match tasks.detach(self.key) {
            Joined::Done(task) => self.discard_local(tasks, task),
            Joined::Live(join) => drop(tasks.others.take_waker(join)),
            Joined::Waiting | Joined::Missing => {}
        });
        if detached.is_none() {
            send(self.runtime, Message::Detach(self.key));
        }
    }

    /// Drops what a handle on the owner's thread leaves behind.
    fn discard_local(&self, tasks: &Tasks, task: Raw) {
        match self.take(tasks, task) {
            Ok(value) => drop(value),
            Err(error) => {
                if let Ok(payload) = error.try_into_panic() {
                    tasks.stray(payload);
                }
            }
        }
    }

    /// Closes the reply and drops what is in it.
    #[cold]
    fn close_reply(&self, reply: &Reply<T>) {
        match reply.close() {
            None => {}
            Some(Ok(value)) => drop(value),
            Some(error) => {
                if let Some(payload) = discard(error) {
                    send(self.runtime, Message::Panicked(payload));
                }
            }
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
                return self.poll_other(cx);
            };
            // Once there is a reply only that is asked.
            let waiter = if self.reply.get().is_none() {
                waiter
            } else {
                0
            };
            match tasks.join(self.key, waiter) {
                Joined::Waiting => Poll::Pending,
                Joined::Done(task) => {
                    budget::spend();
                    self.taken = true;
                    Poll::Ready(self.take(tasks, task))
                }
                Joined::Live(_) | Joined::Missing => self.poll_other(cx),
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
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// Aborts a task from anywhere, without waiting for it.
#[derive(Clone)]
pub struct AbortHandle {
    runtime: RuntimeId,
    key: Key,
    id: Id,
    /// Of a task that was sent to its runtime and had no slot yet.
    reply: Option<ReplyRef>,
}

impl AbortHandle {
    /// Asks the runtime to drop the future, as [`JoinHandle::abort`] does.
    pub fn abort(&self) {
        match &self.reply {
            Some(reply) => abort_reply(self.runtime, reply.sink()),
            None => abort(self.runtime, self.key),
        }
    }

    /// The task's name.
    pub fn id(&self) -> Id {
        self.id
    }
}

impl UnwindSafe for AbortHandle {}
impl RefUnwindSafe for AbortHandle {}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").field("id", &self.id).finish()
    }
}

/// A [`JoinHandle`] that aborts its task when it is dropped; made by [`JoinHandle::abort_on_drop`].
#[must_use = "dropping the handle aborts the task"]
pub struct AbortOnDropHandle<T> {
    handle: JoinHandle<T>,
}

impl<T> AbortOnDropHandle<T> {
    /// Asks the runtime to drop the future, as [`JoinHandle::abort`] does.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// A handle that can abort the task and do nothing else.
    pub fn abort_handle(&self) -> AbortHandle {
        self.handle.abort_handle()
    }

    /// The task's name.
    pub fn id(&self) -> Id {
        self.handle.id()
    }

    /// Turns it back into a handle whose drop lets the task go on.
    pub fn detach(mut self) -> JoinHandle<T> {
        let mut spent = JoinHandle::keyed(self.handle.runtime, Key::NONE);
        spent.taken = true;
        std::mem::replace(&mut self.handle, spent)
    }
}

impl<T> Future for AbortOnDropHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx)
    }
}

impl<T> Drop for AbortOnDropHandle<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl<T> fmt::Debug for AbortOnDropHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortOnDropHandle")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
