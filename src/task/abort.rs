//! [`AbortHandle`]: aborts a task, from any thread.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, OnceLock};

use super::current::on_owner;
use super::id::Id;
use super::key::Key;
use super::remote::{Message, Watch, send};
use super::reply::{ReplyRef, Sink};
use crate::token::RuntimeId;

/// Aborts a task: directly inside its runtime, elsewhere by a message.
pub(super) fn abort(runtime: RuntimeId, key: Key) {
    if on_owner(runtime, |tasks| tasks.abort(key)).is_none() {
        send(runtime, Message::Abort(key));
    }
}

/// Aborts a task through its reply, which knows the task's key once it has one.
pub(super) fn abort_reply(runtime: RuntimeId, sink: &dyn Sink) {
    if let Some(key) = sink.abort() {
        abort(runtime, key);
    }
}

/// Aborts a task from any thread, without waiting for it to end.
///
/// # Examples
///
/// ```
/// reveille::block_on(async {
///     let task = reveille::spawn(std::future::pending::<()>());
///     let abort = task.abort_handle();
///     assert!(!abort.is_finished());
///     abort.abort();
///     assert!(task.await.unwrap_err().is_cancelled());
///     assert!(abort.is_finished());
/// });
/// ```
#[derive(Clone)]
pub struct AbortHandle {
    runtime: RuntimeId,
    key: Key,
    id: Id,
    /// The reply of a task that was sent to its runtime, if `key` is `NONE`.
    reply: Option<ReplyRef>,
    /// The owner's answers to `is_finished`. Created by the first call outside of the runtime.
    watch: OnceLock<Arc<Watch>>,
}

impl AbortHandle {
    pub(super) fn new(runtime: RuntimeId, key: Key, id: Id, reply: Option<ReplyRef>) -> Self {
        AbortHandle {
            runtime,
            key,
            id,
            reply,
            watch: OnceLock::new(),
        }
    }

    /// Requests that the runtime drop the task's future, as
    /// [`JoinHandle::abort`](super::JoinHandle::abort) does.
    pub fn abort(&self) {
        match &self.reply {
            Some(reply) => abort_reply(self.runtime, reply.sink()),
            None => abort(self.runtime, self.key),
        }
    }

    /// Returns whether the task has ended, that is, whether its future or its runtime has been
    /// dropped.
    ///
    /// Inside the task's runtime the result is up to date. Elsewhere, such as between two calls of
    /// `block_on`, this sends a question to the runtime, and a later call returns the answer:
    /// `false` may be out of date, `true` never is.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        if let Some(reply) = &self.reply {
            return reply.sink().is_finished();
        }
        match on_owner(self.runtime, |tasks| tasks.is_finished(self.key)) {
            Some(finished) => finished,
            None => {
                let watch = self.watch.get_or_init(Arc::default);
                watch.is_finished(self.runtime, self.key)
            }
        }
    }

    /// Returns the id of the task.
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
