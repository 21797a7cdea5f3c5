//! [`Reply`]: brings the output of a task to a `JoinHandle` on another thread.
//!
//! The handle has one `Arc<Reply<T>>`. The task, or a message to its runtime, has the other one, as
//! a [`ReplyTo`]. If a `ReplyTo` is dropped without an answer, the handle receives the error
//! "runtime is gone", so it never waits forever. No foreign code runs while the lock is held.

use std::mem;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use super::error::JoinError;
use super::id::Id;
use super::inspect::Description;
use super::key::Key;
use super::raw::discard;
use super::unobserved::Unobserved;
use crate::budget;
use crate::panics::{catch, drop_caught};
use crate::sync::ForkLock;
use crate::sys::fork;

/// Shared by one task or job and its handle.
pub(super) struct Reply<T> {
    /// The id of the task or job.
    id: Id,
    /// The process that created the reply: [`fork::process`].
    process: u32,
    kind: ReplyKind,
    state: ForkLock<ReplyState<T>>,
}

/// What answers a reply.
enum ReplyKind {
    /// A task, and its description if there is one. The owner stores it, or the spawn from another
    /// thread.
    Task(OnceLock<Box<Description>>),
    /// A closure on another thread.
    Job {
        /// Where it waits, unless it was refused.
        place: Option<Box<dyn JobPlace>>,
        description: Option<Box<Description>>,
    },
}

/// Where a job waits, for an abort.
pub(super) trait JobPlace: Send + Sync {
    /// Takes the job out of its queue and answers "aborted", if it has not begun.
    fn abort(&self);
}

/// The content of a [`Reply`], guarded by its lock.
struct ReplyState<T> {
    /// The answer, until the handle takes it.
    output: Option<Result<T, JoinError>>,
    /// Woken by the answer.
    waker: Option<Waker>,
    /// The task's slot, once it has one.
    key: Option<Key>,
    /// The handle has requested an abort.
    aborted: bool,
    /// There has been an answer.
    finished: bool,
    /// The handle was dropped.
    closed: bool,
}

/// The error "runtime is gone". The child of a fork finds it if another thread was changing the
/// state at the time of the fork.
impl<T> Default for ReplyState<T> {
    fn default() -> ReplyState<T> {
        ReplyState {
            output: Some(Err(JoinError::gone())),
            waker: None,
            key: None,
            aborted: false,
            finished: true,
            closed: false,
        }
    }
}

impl<T> Reply<T> {
    /// Creates the reply of a task.
    pub(super) fn new(id: Id, key: Option<Key>) -> Arc<Reply<T>> {
        Reply::of(ReplyKind::Task(OnceLock::new()), id, key)
    }

    /// Creates the reply of a job, which waits at `place`.
    pub(super) fn of_job(
        id: Id,
        place: Option<Box<dyn JobPlace>>,
        description: Description,
    ) -> Arc<Reply<T>> {
        let description = (!description.is_empty()).then(|| Box::new(description));
        Reply::of(ReplyKind::Job { place, description }, id, None)
    }

    fn of(kind: ReplyKind, id: Id, key: Option<Key>) -> Arc<Reply<T>> {
        Arc::new(Reply {
            id,
            process: fork::process(),
            kind,
            state: ForkLock::new(ReplyState {
                output: None,
                waker: None,
                key,
                aborted: false,
                finished: false,
                closed: false,
            }),
        })
    }

    pub(super) fn is_job(&self) -> bool {
        matches!(self.kind, ReplyKind::Job { .. })
    }

    /// Returns whether the process is the child of a fork, and the reply one of its parent.
    pub(super) fn is_of_parent(&self) -> bool {
        self.process != fork::process()
    }

    /// Returns whether the handle was dropped.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Takes the answer, or stores the waker.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        if let Some(answer) = self.poll_stored(cx) {
            return answer;
        }
        // Clones and drops of wakers are foreign code, which must not run with the lock held. The
        // answer may arrive meanwhile.
        let unbound = budget::unbound();
        let mut waker = Some(cx.waker().clone());
        let answer = {
            let mut state = self.state.lock();
            if state.output.is_none() {
                mem::swap(&mut state.waker, &mut waker);
            }
            state.output.is_some()
        };
        drop(waker);
        drop(unbound);
        if answer {
            self.poll_stored(cx).unwrap_or(Poll::Pending)
        } else {
            Poll::Pending
        }
    }

    /// Takes the answer, or returns pending if the waker is stored already. `None`: the waker has
    /// to be stored.
    fn poll_stored(&self, cx: &mut Context<'_>) -> Option<Poll<Result<T, JoinError>>> {
        let mut state = self.state.lock();
        if state.output.is_none() {
            let known = state.waker.as_ref();
            return known
                .is_some_and(|waker| waker.will_wake(cx.waker()))
                .then_some(Poll::Pending);
        }
        drop(state);
        // Without the lock, because the charge may wake.
        if budget::charge(cx).is_pending() {
            return Some(Poll::Pending);
        }
        state = self.state.lock();
        state.output.take().map(Poll::Ready)
    }

    /// Stores the waker, or wakes it if there has been an answer.
    pub(super) fn wake_at_end(&self, waker: &Waker) {
        let _unbound = budget::unbound();
        let mut stored = Some(waker.clone());
        let finished = {
            let mut state = self.state.lock();
            if !state.finished {
                mem::swap(&mut state.waker, &mut stored);
            }
            state.finished
        };
        drop(stored);
        if finished {
            waker.wake_by_ref();
        }
    }

    /// Stores the answer and wakes the handle. If the handle was dropped, drops the output. Returns
    /// a panic that no handle will report.
    pub(super) fn settle(&self, result: Result<T, JoinError>) -> Option<Unobserved> {
        let mut result = Some(result);
        let waker = {
            let mut state = self.state.lock();
            state.finished = true;
            if !state.closed {
                state.output = result.take();
            }
            state.waker.take()
        };
        let _unbound = budget::unbound();
        if let Some(result) = result {
            drop_caught(waker);
            return self.discard(result);
        }
        let woken = catch(|| waker.map(Waker::wake));
        woken.err().map(Unobserved::from)
    }

    /// Handles the drop of the handle: drops the answer or the waker. Returns a panic that no
    /// handle will report.
    pub(super) fn close(&self) -> Option<Unobserved> {
        let (output, waker) = {
            let mut state = self.state.lock();
            state.closed = true;
            (state.output.take(), state.waker.take())
        };
        // There is never an output together with a waker: an answer takes the waker, and after an
        // answer no waker is stored.
        match output {
            Some(output) => self.discard(output),
            None => catch(|| drop(waker)).err().map(Unobserved::from),
        }
    }

    /// Drops an output that no handle takes. Returns the panic of the task or of the drop.
    pub(super) fn discard(&self, output: Result<T, JoinError>) -> Option<Unobserved> {
        let payload = discard(self.id, output)?;
        Some(Unobserved::of_task(self.id, self.description(), payload))
    }
}

/// The operations of a [`Reply`] that do not depend on its type, for the task and the messages.
pub(super) trait Sink {
    /// The id of the task.
    fn id(&self) -> Id;

    /// Stores the description of the task, if there is none yet.
    fn describe(&self, description: Description);

    /// Returns the description of the task or job, which is empty if none is stored.
    fn description(&self) -> Description;

    /// Answers with the output, which is moved out. Returns a panic that no handle will report.
    ///
    /// # Safety
    ///
    /// `output` points to a `Result<T, JoinError>`, with the `T` of the reply, that is not read
    /// again.
    unsafe fn complete(&self, output: NonNull<()>) -> Option<Unobserved>;

    /// Answers with an error. Returns a panic that no handle will report.
    fn fail(&self, error: JoinError) -> Option<Unobserved>;

    /// Stores the key of the task. Returns true if an abort was requested before.
    fn set_key(&self, key: Key) -> bool;

    /// Requests an abort. Returns the key of the task if the caller has to abort it. Otherwise the
    /// task has ended, was aborted before, or has no slot yet and is aborted when it gets one. A
    /// job that has not begun is aborted before this returns; one that has begun is left alone.
    fn abort(&self) -> Option<Key>;

    /// Returns whether there has been an answer.
    fn is_finished(&self) -> bool;
}

impl<T> Sink for Reply<T> {
    fn id(&self) -> Id {
        self.id
    }

    fn describe(&self, description: Description) {
        if let ReplyKind::Task(stored) = &self.kind {
            if !description.is_empty() {
                let _ = stored.set(Box::new(description));
            }
        }
    }

    fn description(&self) -> Description {
        let stored = match &self.kind {
            ReplyKind::Task(stored) => stored.get(),
            ReplyKind::Job { description, .. } => description.as_ref(),
        };
        stored.map_or_else(Description::default, |stored| Description::clone(stored))
    }

    unsafe fn complete(&self, output: NonNull<()>) -> Option<Unobserved> {
        // SAFETY: the caller guarantees the type, and that the output is not read again.
        self.settle(unsafe { output.cast::<Result<T, JoinError>>().read() })
    }

    fn fail(&self, error: JoinError) -> Option<Unobserved> {
        self.settle(Err(error))
    }

    fn set_key(&self, key: Key) -> bool {
        let mut state = self.state.lock();
        state.key = Some(key);
        state.aborted
    }

    fn abort(&self) -> Option<Key> {
        if let ReplyKind::Job { place, .. } = &self.kind {
            place.iter().for_each(|place| place.abort());
            return None;
        }
        let mut state = self.state.lock();
        if state.finished || state.aborted {
            return None;
        }
        state.aborted = true;
        state.key
    }

    fn is_finished(&self) -> bool {
        self.state.lock().finished
    }
}

/// A shared reply of any type, which may cross threads.
#[derive(Clone)]
pub(super) struct ReplyRef(Arc<dyn Sink>);

// SAFETY: a `Reply<T>` passes a `T` to other threads. Either `T: Send`, or its handle has never
// left the thread of the task, and then no other thread uses the `T`: see the head of join.rs. The
// rest of a reply (lock, wakers, numbers, errors, the place of a job) is Send and Sync.
unsafe impl Send for ReplyRef {}
// SAFETY: as for `Send`: all access to the state of a `Reply` goes through its lock.
unsafe impl Sync for ReplyRef {}

impl ReplyRef {
    pub(super) fn new<T>(reply: Arc<Reply<T>>) -> ReplyRef {
        let sink: Arc<dyn Sink + '_> = reply;
        // SAFETY: only the lifetime bound changes. Every `T` is `'static`, because all functions
        // that create a handle require it, although the type `JoinHandle<T>` does not.
        ReplyRef(unsafe { mem::transmute::<Arc<dyn Sink + '_>, Arc<dyn Sink + 'static>>(sink) })
    }

    pub(super) fn sink(&self) -> &dyn Sink {
        &*self.0
    }
}

/// The task's end of a reply. If it is dropped without an answer, the answer is "runtime is gone":
/// its `Drop` is in `unobserved_panics.rs`.
pub(super) struct ReplyTo(Option<ReplyRef>);

impl ReplyTo {
    pub(super) fn new<T>(reply: Arc<Reply<T>>) -> ReplyTo {
        ReplyTo(Some(ReplyRef::new(reply)))
    }

    fn sink(&self) -> Option<&dyn Sink> {
        self.0.as_ref().map(ReplyRef::sink)
    }

    /// Returns the id of the task.
    pub(super) fn id(&self) -> Option<Id> {
        self.sink().map(Sink::id)
    }

    /// Stores the description of the task: see [`Sink::describe`].
    pub(super) fn describe(&self, description: Description) {
        if let Some(sink) = self.sink() {
            sink.describe(description);
        }
    }

    /// Returns the description of the task: see [`Sink::description`].
    pub(super) fn description(&self) -> Description {
        self.sink().map(Sink::description).unwrap_or_default()
    }

    /// Stores the key of the task: see [`Sink::set_key`].
    pub(super) fn set_key(&self, key: Key) -> bool {
        self.sink().is_some_and(|sink| sink.set_key(key))
    }

    /// Answers with the output. Returns a panic that no handle will report.
    ///
    /// # Safety
    ///
    /// As [`Sink::complete`].
    pub(super) unsafe fn complete(mut self, output: NonNull<()>) -> Option<Unobserved> {
        // SAFETY: the caller gives the same guarantee.
        self.0
            .take()
            .and_then(|reply| unsafe { reply.sink().complete(output) })
    }

    /// Answers with an error. Returns a panic that no handle will report.
    pub(super) fn fail(mut self, error: JoinError) -> Option<Unobserved> {
        self.0.take().and_then(|reply| reply.sink().fail(error))
    }

    /// Answers "runtime is gone", if there was no answer. Returns a panic that no handle will
    /// report.
    pub(super) fn abandon(&mut self) -> Option<Unobserved> {
        let reply = self.0.take()?;
        reply.sink().fail(JoinError::gone())
    }
}
