//! [`Attached`]: what the loop keeps with an fd; [`Cause`]: why its handler is called.

use super::EventLoop;
use crate::backend::{Interest, Ready, Token};
use crate::panics::FirstPanic;
use crate::reactor::registrations::RegistrationState;
use crate::timer::TimerKey as WheelKey;
use std::any::Any;
use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

/// The reason why a handler is called.
///
/// # Examples
///
/// A handler for an fd with a timeout:
///
/// ```
/// use reveille::event_loop::{Cause, EventLoop, Key};
/// use std::os::unix::net::UnixStream;
///
/// fn handler(event_loop: &mut EventLoop, key: Key<UnixStream>, cause: Cause) {
///     match cause {
///         Cause::Timeout => {
///             event_loop.close(key);
///         }
///         Cause::Ready(ready) if ready.is_readable() => { /* read */ }
///         Cause::Ready(_) => { /* write */ }
///     }
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The fd is ready.
    Ready(Ready),
    /// The timeout set by [`EventLoop::set_timeout`] has passed, and is no longer armed.
    /// [`push_timeout`](EventLoop::push_timeout) arms it again.
    Timeout,
}

impl Cause {
    /// Returns true if a read would not block: there is data, the peer has closed its side, or an
    /// error is pending.
    pub fn is_readable(self) -> bool {
        matches!(self, Cause::Ready(ready) if ready.is_readable())
    }

    /// Returns true if a write would not block: there is room, or the write would fail.
    pub fn is_writable(self) -> bool {
        matches!(self, Cause::Ready(ready) if ready.is_writable())
    }

    /// Returns true if the timeout of the fd has passed.
    pub fn is_timeout(self) -> bool {
        self == Cause::Timeout
    }
}

/// An attached value, and the function that returns its fd. Only its [`Key`](super::Key) knows the
/// type.
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
                value
                    .expect("the value has the type that it was made of")
                    .as_fd()
            },
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        (self.fd)(&*self.any)
    }

    /// Returns the value under a `Key<T>`. It is a `T`, because a key is made only when its value
    /// is attached.
    pub(super) fn into_inner<T: 'static>(self) -> T {
        match self.any.downcast() {
            Ok(value) => *value,
            Err(_) => unreachable!("a key knows the type that was attached"),
        }
    }
}

/// A handler, without the type of its key. Reference-counted so that it survives its fd being
/// closed while it runs. The `RefCell` is borrowed only during the call, and a running loop cannot
/// be re-entered, so it is never borrowed twice.
pub(super) type Handler<D> = Rc<RefCell<Callback<D>>>;

/// In a box, because the address of a `dyn FnMut` directly in an `Rc` would have to be computed at
/// every call.
pub(super) type Callback<D> = Box<dyn FnMut(&mut EventLoop<D>, Token, Cause)>;

/// The state of an attached fd.
pub(super) struct Attached<D> {
    /// `None` once the fd is detached.
    pub(super) value: Option<Value>,
    /// `None` after the turn in which the fd was detached.
    pub(super) handler: Option<Handler<D>>,
    pub(super) timeout: Option<Timeout>,
    /// The interest that the user has set. It is not watched while the fd is paused.
    pub(super) interest: Interest,
    /// The part of an event that is delivered, apart from hang-ups and errors. Empty while the fd
    /// is paused or disarmed.
    pub(super) mask: Ready,
    pub(super) pauses: Pauses,
    /// The timer that ends a pause by the user; it may be stale.
    pub(super) pause_end: Option<WheelKey>,
    /// Whether a `Oneshot` event was delivered and the fd was not armed since. Further events are
    /// dropped.
    pub(super) is_disarmed: bool,
    /// Whether the file is always ready; the kernel does not watch it.
    pub(super) always_ready: bool,
    /// Whether it is in the batch's list of fds that are always ready.
    pub(super) is_listed: bool,
    /// Whether a hang-up or an error is being delivered and the handler has not armed the fd since.
    pub(super) hangup_delivered: bool,
}

impl<D> RegistrationState for Attached<D> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.value.as_ref().map(Value::fd)
    }

    fn vacate(&mut self) {
        let (value, handler) = (self.value.take(), self.handler.take());
        let mut panics = FirstPanic::default();
        panics.call(|| drop(value));
        panics.call(|| drop(handler));
        panics.resume();
    }
}

impl<D> Attached<D> {
    /// Computes the mask again after a change of the interest, the pauses or `is_disarmed`.
    pub(super) fn refresh(&mut self) {
        self.mask = match self.is_disarmed {
            true => Ready::EMPTY,
            false => Ready::from_interest(self.effective()),
        };
    }

    /// Marks a `Oneshot` fd as delivered: its events are dropped until it is armed.
    pub(super) fn disarm(&mut self) {
        self.is_disarmed = true;
        self.mask = Ready::EMPTY;
    }

    /// Returns the interest to watch: empty while the fd is paused.
    pub(super) fn effective(&self) -> Interest {
        if self.pauses == Pauses::NONE {
            self.interest
        } else {
            Interest::EMPTY
        }
    }
}

/// The reasons for a pause; several may hold at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pauses(u8);

impl Pauses {
    pub(super) const NONE: Pauses = Pauses(0);
    /// The user has called `pause`.
    pub(super) const BY_USER: Pauses = Pauses(1);
    /// Too many fds are attached.
    pub(super) const BY_WATER_MARK: Pauses = Pauses(2);

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
    /// Stale once the timeout has passed.
    pub(super) key: WheelKey,
}

/// The purpose of a timer of the wheel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The timeout of an fd.
    Timeout(Token),
    /// The end of an fd's pause.
    PauseEnd(Token),
    /// A timer of the user, by its index in `EventLoop::user_timers`.
    User(u32),
}

/// Returns what the loop reports for an fd that is always ready.
pub(super) fn ready_now(interest: Interest) -> Ready {
    Ready::from_interest(interest) & (Ready::READABLE | Ready::WRITABLE)
}
