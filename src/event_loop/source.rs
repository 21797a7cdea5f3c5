//! What names an attached fd, what is kept with it, and what its handler is called for.

use super::EventLoop;
use crate::backend::{Interest, Readiness, Token};
use crate::reactor::table::Kept;
use crate::timer::TimerKey;
use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Names an attached fd, and knows what type was attached. A plain number: copy it freely. Once the fd is detached it
/// names nothing, for ever.
pub struct Source<T> {
    pub(super) token: Token,
    pub(super) owner: u32,
    value: PhantomData<fn() -> T>,
}

impl<T> Source<T> {
    pub(super) fn new(token: Token, owner: u32) -> Source<T> {
        Source {
            token,
            owner,
            value: PhantomData,
        }
    }
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Source<T> {
        *self
    }
}

impl<T> Copy for Source<T> {}

impl<T> PartialEq for Source<T> {
    fn eq(&self, other: &Source<T>) -> bool {
        (self.token, self.owner) == (other.token, other.owner)
    }
}

impl<T> Eq for Source<T> {}

impl<T> Hash for Source<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.token, self.owner).hash(state);
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.token).finish()
    }
}

/// Why a handler is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The fd has become ready.
    Ready(Readiness),
    /// The timeout set by [`EventLoop::set_timeout`] has passed. It is not armed any more:
    /// [`push_timeout`](EventLoop::push_timeout) arms it again.
    Timeout,
}

impl Cause {
    /// Whether reading would not block, or the peer has closed its side, or an error waits.
    pub fn is_readable(self) -> bool {
        matches!(self, Cause::Ready(readiness) if readiness.is_readable())
    }

    /// Whether writing would not block, or would fail.
    pub fn is_writable(self) -> bool {
        matches!(self, Cause::Ready(readiness) if readiness.is_writable())
    }

    /// Whether the timeout has passed.
    pub fn is_timeout(self) -> bool {
        self == Cause::Timeout
    }
}

/// An fd could not be attached: why, and the fd.
pub struct AttachError<T> {
    pub(super) error: io::Error,
    pub(super) fd: T,
}

impl<T> AttachError<T> {
    /// Why.
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// Why, and what was to be attached.
    pub fn into_parts(self) -> (io::Error, T) {
        (self.error, self.fd)
    }
}

impl<T> fmt::Debug for AttachError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for AttachError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fd cannot be attached: {}", self.error)
    }
}

impl<T> Error for AttachError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// The fd is dropped, and so closed.
impl<T> From<AttachError<T>> for io::Error {
    fn from(error: AttachError<T>) -> io::Error {
        error.error
    }
}

/// An attached value whose type is known to its [`Source`] alone, and how to find its fd.
pub(super) struct Value {
    pub(super) any: Box<dyn Any>,
    fd: fn(&dyn Any) -> BorrowedFd<'_>,
}

impl Value {
    pub(super) fn new<T: AsFd + 'static>(value: T) -> Value {
        Value {
            any: Box::new(value),
            fd: |any| {
                let value = any.downcast_ref::<T>();
                value.expect("it was made of that type").as_fd()
            },
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        (self.fd)(&*self.any)
    }

    /// The value behind a `Source<T>`, which is a `T`: a source is made when its value is attached.
    pub(super) fn into_inner<T: 'static>(self) -> T {
        match self.any.downcast() {
            Ok(value) => *value,
            Err(_) => unreachable!("a source names the type that was attached"),
        }
    }
}

/// A handler, with the type of its source forgotten. Counted, so that it stays where it is while it runs, whatever becomes of its
/// fd meanwhile; it is borrowed only to be called, and never called by itself, for a loop that runs is not run again.
pub(super) type Handler<D> = Rc<RefCell<Callback<D>>>;

/// In a box of its own: behind an `Rc` its place would have to be computed at every call.
pub(super) type Callback<D> = Box<dyn FnMut(&mut EventLoop<D>, Token, Cause)>;

/// What the loop keeps with an attached fd.
pub(super) struct Held<D> {
    /// `None` once detached.
    pub(super) value: Option<Value>,
    /// `None` once the turn has ended in which it was detached.
    pub(super) handler: Option<Handler<D>>,
    pub(super) timeout: Option<Timeout>,
    /// What the user asked for; not watched while paused.
    pub(super) wanted: Interest,
    /// What of an event is delivered besides hang-ups and errors: what was asked for, nothing while paused.
    pub(super) mask: Readiness,
    pub(super) pauses: Pauses,
    /// When the pause ends that was asked for, unless it is stale.
    pub(super) resumes: Option<TimerKey>,
    /// A one-shot that was delivered and not armed since; what comes all the same is not delivered.
    pub(super) is_spent: bool,
    /// No kernel watches it: it is ready whenever it is asked for.
    pub(super) always_ready: bool,
    /// It stands in the list of those that are always ready.
    pub(super) is_listed: bool,
    /// A hang-up or an error was delivered since it was armed last: the backend has disarmed it.
    pub(super) told_the_end: bool,
}

impl<D> Kept for Held<D> {
    fn vacate(&mut self) {
        let (value, handler) = (self.value.take(), self.handler.take());
        drop(value);
        drop(handler);
    }
}

impl<D> Held<D> {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        let value = self.value.as_ref();
        value.expect("what is registered has its fd").fd()
    }

    /// Takes over a change of what was asked for or of the pauses.
    pub(super) fn refresh(&mut self) {
        self.mask = match self.is_spent {
            true => Readiness::EMPTY,
            false => Readiness::from_interest(self.effective()),
        };
    }

    /// A one-shot has been delivered: nothing more is, until it is armed.
    pub(super) fn spend(&mut self) {
        self.is_spent = true;
        self.mask = Readiness::EMPTY;
    }

    /// What is to be watched: nothing while paused, for whatever reason.
    pub(super) fn effective(&self) -> Interest {
        if self.pauses == Pauses::NONE {
            self.wanted
        } else {
            Interest::NONE
        }
    }
}

/// Reasons for a pause; several may hold at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pauses(u8);

impl Pauses {
    pub(super) const NONE: Pauses = Pauses(0);
    /// The user said so.
    pub(super) const ASKED: Pauses = Pauses(1);
    /// Too many fds are open.
    pub(super) const MARKS: Pauses = Pauses(2);

    #[must_use]
    pub(super) fn with(self, other: Pauses) -> Pauses {
        Pauses(self.0 | other.0)
    }

    pub(super) fn contains(self, other: Pauses) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub(super) fn without(self, other: Pauses) -> Pauses {
        Pauses(self.0 & !other.0)
    }
}

/// The timeout of an fd.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeout {
    pub(super) after: Duration,
    /// Armed, unless it is stale.
    pub(super) key: TimerKey,
}

/// The number of the next loop; they are told apart, not counted.
pub(super) fn next_loop_id() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}
