//! [`Reply`]: where a `JoinHandle` on another thread gets its output from.
//!
//! The handle keeps one `Arc<Reply<T>>`, the task (or a message on its way to the owner) the other, wrapped in
//! [`ReplyTo`]: whoever holds that one owes an answer, and dropping it answers "the runtime is gone". So a handle never
//! waits for ever, whatever became of the message. No foreign code runs under the lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Id;
use super::error::JoinError;
use super::raw::{Payload, discard, drop_caught};
use super::waker::Key;
use crate::budget;
use crate::sync::Mutex;

/// The meeting place of one task and its handle.
pub(super) struct Reply<T> {
    /// The task's name: its own, or one made before it reached the slab.
    id: Id,
    state: Mutex<ReplyState<T>>,
}

/// Guarded by the lock.
struct ReplyState<T> {
    /// From the answer until the handle takes it.
    output: Option<Result<T, JoinError>>,
    /// Whom to wake at the answer.
    waker: Option<Waker>,
    /// The task's slot, once it has one.
    key: Option<Key>,
    /// The handle asked for an abort.
    aborted: bool,
    /// There has been an answer.
    finished: bool,
    /// The handle is gone.
    closed: bool,
}

/// What an abort has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AbortStep {
    /// It has ended, was asked before, or will be told when it arrives.
    Nothing,
    /// Tell the owner.
    Tell(Key),
}

impl<T> Reply<T> {
    pub(super) fn new(id: Id, key: Option<Key>) -> Arc<Reply<T>> {
        Arc::new(Reply {
            id,
            state: Mutex::new(ReplyState {
                output: None,
                waker: None,
                key,
                aborted: false,
                finished: false,
                closed: false,
            }),
        })
    }

    /// Takes the answer, or leaves the waker.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        if let Some(answer) = self.look(cx) {
            return answer;
        }
        // Cloning and dropping wakers is foreign code: not under the lock. The answer may come in between.
        let mut waker = Some(cx.waker().clone());
        let answer = {
            let mut state = self.state.lock();
            if state.output.is_none() {
                std::mem::swap(&mut state.waker, &mut waker);
            }
            state.output.is_some()
        };
        drop(waker);
        if answer {
            self.look(cx).unwrap_or(Poll::Pending)
        } else {
            Poll::Pending
        }
    }

    /// `None` when the waker has to be stored.
    fn look(&self, cx: &mut Context<'_>) -> Option<Poll<Result<T, JoinError>>> {
        let mut state = self.state.lock();
        if state.output.is_none() {
            let known = state.waker.as_ref();
            return known
                .is_some_and(|waker| waker.will_wake(cx.waker()))
                .then_some(Poll::Pending);
        }
        drop(state);
        // The charge may wake.
        if budget::charge(cx).is_pending() {
            return Some(Poll::Pending);
        }
        state = self.state.lock();
        state.output.take().map(Poll::Ready)
    }

    /// Answers. When the handle is gone the output is dropped here; returns a panic that nobody else will see.
    pub(super) fn settle(&self, result: Result<T, JoinError>) -> Option<Payload> {
        let mut result = Some(result);
        let waker = {
            let mut state = self.state.lock();
            state.finished = true;
            if !state.closed {
                state.output = result.take();
            }
            state.waker.take()
        };
        if let Some(result) = result {
            drop_caught(waker);
            return discard(result);
        }
        catch_unwind(AssertUnwindSafe(|| waker.map(Waker::wake))).err()
    }

    /// The handle is gone: takes what it leaves behind.
    pub(super) fn close(&self) -> Option<Result<T, JoinError>> {
        let (output, waker) = {
            let mut state = self.state.lock();
            state.closed = true;
            (state.output.take(), state.waker.take())
        };
        drop(waker);
        output
    }
}

/// A reply without its type, as the task and the messages see it.
pub(super) trait Sink {
    /// The task's name.
    fn id(&self) -> Id;

    /// Moves the output in. Returns a panic that nobody else will see.
    ///
    /// # Safety
    ///
    /// `output` points to a `Result<T, JoinError>` of the reply's `T` that is not read again.
    unsafe fn complete(&self, output: NonNull<()>) -> Option<Payload>;

    /// Answers with an error.
    fn fail(&self, error: JoinError) -> Option<Payload>;

    /// The task has got its slot. True when it was aborted before.
    fn arrive(&self, key: Key) -> bool;

    /// Asks for an abort.
    fn abort(&self) -> AbortStep;

    /// Whether there has been an answer.
    fn is_finished(&self) -> bool;
}

impl<T> Sink for Reply<T> {
    fn id(&self) -> Id {
        self.id
    }

    unsafe fn complete(&self, output: NonNull<()>) -> Option<Payload> {
        // SAFETY: the caller says what is there and that it is read once.
        self.settle(unsafe { output.cast::<Result<T, JoinError>>().read() })
    }

    fn fail(&self, error: JoinError) -> Option<Payload> {
        self.settle(Err(error))
    }

    fn arrive(&self, key: Key) -> bool {
        let mut state = self.state.lock();
        state.key = Some(key);
        state.aborted
    }

    fn abort(&self) -> AbortStep {
        let mut state = self.state.lock();
        if state.finished || state.aborted {
            return AbortStep::Nothing;
        }
        state.aborted = true;
        state.key.map_or(AbortStep::Nothing, AbortStep::Tell)
    }

    fn is_finished(&self) -> bool {
        self.state.lock().finished
    }
}

/// A reply without its type that may cross threads.
#[derive(Clone)]
pub(super) struct ReplyRef(Arc<dyn Sink>);

// SAFETY: what a `Reply<T>` gives to other threads is a `T`. Either `T: Send`, or no handle of it has ever left the
// thread of its task, and then the argument at the head of join.rs says that no other thread touches the `T`. The rest
// of a reply (lock, wakers, numbers, errors) is Send and Sync.
unsafe impl Send for ReplyRef {}
// SAFETY: as above; all access is by the lock.
unsafe impl Sync for ReplyRef {}

impl ReplyRef {
    pub(super) fn new<T>(reply: Arc<Reply<T>>) -> ReplyRef {
        let sink: Arc<dyn Sink + '_> = reply;
        // SAFETY: only the bound on the lifetime changes. Every `T` here is `'static`: handles are made by `spawn` and
        // its like alone, which ask for it, though the type `JoinHandle<T>` does not say so.
        ReplyRef(unsafe {
            std::mem::transmute::<Arc<dyn Sink + '_>, Arc<dyn Sink + 'static>>(sink)
        })
    }

    pub(super) fn sink(&self) -> &dyn Sink {
        &*self.0
    }
}

/// The right, and duty, to answer: dropping it answers "the runtime is gone".
pub(super) struct ReplyTo(Option<ReplyRef>);

impl ReplyTo {
    pub(super) fn new<T>(reply: Arc<Reply<T>>) -> ReplyTo {
        ReplyTo(Some(ReplyRef::new(reply)))
    }

    fn sink(&self) -> Option<&dyn Sink> {
        self.0.as_ref().map(ReplyRef::sink)
    }

    pub(super) fn id(&self) -> Option<Id> {
        self.sink().map(Sink::id)
    }

    pub(super) fn arrive(&self, key: Key) -> bool {
        self.sink().is_some_and(|sink| sink.arrive(key))
    }

    /// Answers with the output. Returns a panic that nobody else will see.
    ///
    /// # Safety
    ///
    /// As [`Sink::complete`].
    pub(super) unsafe fn complete(mut self, output: NonNull<()>) -> Option<Payload> {
        // SAFETY: the caller keeps the promise.
        self.0
            .take()
            .and_then(|reply| unsafe { reply.sink().complete(output) })
    }

    /// Answers with an error. Returns a panic that nobody else will see.
    pub(super) fn fail(mut self, error: JoinError) -> Option<Payload> {
        self.0.take().and_then(|reply| reply.sink().fail(error))
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            if let Some(payload) = reply.sink().fail(JoinError::gone()) {
                drop_caught(payload);
            }
        }
    }
}
