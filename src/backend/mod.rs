//! One kernel mechanism behind one trait.
//!
//! A [`Backend`] turns what the kernel reports into [`Event`]s. It holds no waker, no timer and no policy: the reactor
//! above decides what to ask for, and what an event means to whom. It is used by one thread only; the one thing that
//! another thread may touch is the [`Notifier`] it hands out.
//!
//! # The contract
//!
//! Every backend keeps these promises; the kit behind the feature `conformance` tests them, case by case. What
//! differs between mechanisms is said by [`Capabilities`], never by asking for the kind.
//!
//! **After [`add`](Backend::add)** an fd that is ready already is reported by the next [`wait`](Backend::wait), just
//! as one that becomes ready later. **After [`modify`](Backend::modify)** only the new interest is reported, and
//! again whatever of it is ready now. **After [`remove`](Backend::remove)** has returned, no later `wait` reports the
//! token, and the kernel holds no reference to the file: closing the fd gives the peer its end of file at once.
//!
//! **What repeats** is the registration's [`Trigger`]:
//! - `Level`: an event in every `wait` while the condition holds. Delivering a hang-up or an error disarms the fd
//!   until the next `modify`, for these cannot be masked and would make every wait return at once.
//! - `Oneshot`: one event, then silence (hang-ups included) until `modify`, which reports again what is ready then.
//! - `Edge`: one event for each time the fd becomes ready; *each delivery of a direction may be its last until
//!   [`rearm`](Backend::rearm) or new data*. A mechanism with `Capabilities::rearm` says nothing more of a delivered
//!   direction until it is re-armed, and reports again what is ready then; the others re-arm by themselves and
//!   `rearm` does nothing. Extra events are allowed, lost ones are not.
//!
//! **What an event says.** READABLE comes for data, end of file, hang-up and error; WRITABLE for room, hang-up and
//! error: a reader that waits is woken by whatever would make its call return. READABLE and WRITABLE alone are
//! reported only when asked for; HUP and ERR are reported whatever the interest is (also for `Interest::NONE`, at
//! most once; without `Capabilities::unasked` not for an interest that has neither READABLE nor WRITABLE), and set both
//! bits; without `Capabilities::errors` they are nothing but the READABLE and WRITABLE that were asked for. READ_CLOSED
//! and WRITE_CLOSED say which side has ended (a hang-up: both), and may be
//! missing but never wrong; the one exception is a socket that was never connected, which Linux calls hung up:
//! connect first, add then. PRIORITY comes only when asked for, and is never ERROR; without `Capabilities::priority`
//! it never comes. An fd closed behind the backend's back is reported once as INVALID, READABLE and WRITABLE (every call
//! on it returns at once), where the mechanism can see it, and forgotten: a `remove` that comes later is `NotFound`.
//!
//! **One event per registration and wait**: what a mechanism reports in halves is merged, or the halves follow each
//! other in the same batch. A batch holds at most [`Events::capacity`] events; what did not fit comes in the next
//! waits, and no registration is passed over twice in a row for ever: 200 ready fds with room for 16 are all served
//! within 14 waits.
//!
//! **`wait`** never ends early without an event, a notification or a signal, and rounds its timeout up to the
//! mechanism's unit. It reports `ErrorKind::Interrupted` only when there is no event to report; the driver decides
//! what that means. `Duration::ZERO` does not block; `None` blocks without limit; any `Duration` is accepted, and cut
//! to the longest wait that the mechanism can express (24 days, at the least) if it is longer.
//!
//! **Errors.** `add` of a registered fd: `AlreadyExists`. (A number that was closed without `remove` and now names
//! another file is not registered; a mechanism that cannot tell says `AlreadyExists`, and the caller, once it has
//! removed what is due, adds again.) `modify`, `rearm` or `remove` of a token that is not registered: `NotFound`. A
//! bad fd: `EBADF`. An fd the mechanism cannot watch: `Unsupported` or the kernel's `EPERM`. A failed `add` leaves
//! nothing behind; a failed `remove` has forgotten the token all the same.
//!
//! **A listener of several loops** may be added by [`add_exclusive`](Backend::add_exclusive) in each of them, where
//! `Capabilities::exclusive` says so: a connection is reported to at least one of the loops that wait, not to all. Otherwise
//! it is an `Edge` registration for READABLE, which cannot be modified.
//!
//! **After a fork** a child shares the parent's kernel object, or has lost it. [`after_fork`](Backend::after_fork), called
//! in the child before anything else, opens a new one, under which nothing is registered; it removes nothing from the old
//! one, which the parent goes on using. Notifiers that were handed out before reach the child's own backend from then on.
//!
//! **Who calls.** The reactor, on its own thread, with tokens that are unique among the live registrations and never
//! `u64::MAX`, which backends keep for their notifier. `modify`, `rearm` and `remove` take the number as a [`RawFd`],
//! not a borrow: a handle dropped on a foreign thread may have been closed, and its number been given to another
//! file, before the owner hears of it. The token decides; a backend keyed by numbers compares it before it touches
//! anything.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

pub use crate::interest::{Interest, Readiness};
pub use crate::token::Token;

mod choice;
#[cfg(any(
    target_os = "illumos",
    target_os = "solaris",
    all(test, target_os = "linux")
))]
mod devpoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(
    target_os = "illumos",
    target_os = "solaris",
    all(test, target_os = "linux")
))]
mod evport;
#[cfg(all(test, target_os = "linux"))]
mod fake;
mod fdsets;
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    all(test, target_os = "linux")
))]
mod kqueue;
mod notifier;
mod poll;
mod pollset;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod rtsig;
mod select;
mod table;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod uring;

pub(crate) use choice::open;
pub use choice::{Availability, BackendKind, ParseBackendKindError, available};
pub use notifier::{Notifier, Notify, NotifyFd};
pub(crate) use pollset::look;

/// Whether no kernel mechanism reports a device, because it is always ready: /dev/null is one. Where this cannot be asked,
/// what the mechanism says counts.
pub(crate) fn is_never_reported(fd: BorrowedFd<'_>) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return epoll::refuses(fd);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = fd;
        Ok(false)
    }
}

/// How a registration repeats itself; see the [contract](self#the-contract).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trigger {
    /// Once per change: what futures use.
    Edge,
    /// As long as the condition holds.
    Level,
    /// Once, until `modify`.
    Oneshot,
}

/// What one mechanism can do. Code above the backend asks this, never for the kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// `Trigger::Edge` is supported.
    pub edge: bool,
    /// `Trigger::Level` is supported.
    pub level: bool,
    /// `Trigger::Oneshot` is supported.
    pub oneshot: bool,
    /// An `Edge` registration must be re-armed, direction by direction, after a delivery. Such a mechanism reports
    /// again what is ready when it is armed, so a short read or write proves enough to re-arm. Without it, `rearm`
    /// need not be called.
    pub rearm: bool,
    /// Closing the last descriptor of a file removes its registration, so that a file which the runtime alone owns may
    /// be closed without `remove`.
    pub close_removes: bool,
    /// The mechanism is a kernel object that a host loop can watch: `as_fd` works.
    pub has_fd: bool,
    /// A peer that ended only its sending side is told by READ_CLOSED. Without it, by the read that returns 0.
    pub read_closed: bool,
    /// Hang-ups and errors are told as such, whatever was asked for. Without it, as readiness to read and to write, to who
    /// asked for that: a wait for errors alone would not end, and is refused.
    pub errors: bool,
    /// Out-of-band data is told by PRIORITY. Without it PRIORITY may be asked for, and never comes.
    pub priority: bool,
    /// Hang-ups and errors are told also to who asked for neither READABLE nor WRITABLE. Without it such a registration is
    /// silent.
    pub unasked: bool,
    /// Of several loops that watch one listener, one is woken: `add_exclusive` works.
    pub exclusive: bool,
    /// `add` refuses whatever is always ready: regular files, directories, devices such as /dev/null. Without it they may be
    /// taken, and the callback loop asks what kind of file an fd is before it adds it.
    pub refuses_files: bool,
    /// The largest fd number that can be registered, if there is a limit of the mechanism's own.
    pub max_fd: Option<RawFd>,
}

impl Capabilities {
    /// The weakest set: nothing is supported. Start from here and set what holds.
    pub const fn none() -> Capabilities {
        Capabilities {
            edge: false,
            level: false,
            oneshot: false,
            rearm: false,
            close_removes: false,
            has_fd: false,
            read_closed: false,
            errors: false,
            priority: false,
            unasked: false,
            exclusive: false,
            refuses_files: false,
            max_fd: None,
        }
    }

    /// Whether registrations may use `trigger`.
    pub const fn supports(&self, trigger: Trigger) -> bool {
        match trigger {
            Trigger::Edge => self.edge,
            Trigger::Level => self.level,
            Trigger::Oneshot => self.oneshot,
        }
    }
}

/// One record out of [`Backend::wait`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Whose.
    pub token: Token,
    /// What was seen.
    pub readiness: Readiness,
}

/// The batch of events that one `wait` fills.
#[derive(Debug)]
pub struct Events {
    list: Vec<Event>,
    capacity: usize,
}

impl Events {
    /// A batch with room for `capacity` events, at least one.
    pub fn with_capacity(capacity: usize) -> Events {
        let capacity = capacity.max(1);
        Events {
            list: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// How many events one wait may report.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many more fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.capacity - self.list.len()
    }

    /// Appends an event. For backends.
    ///
    /// # Panics
    ///
    /// In debug builds, when the batch is full: a backend asks [`room`](Events::room) first.
    #[inline]
    pub fn push(&mut self, token: Token, readiness: Readiness) {
        debug_assert!(self.room() > 0, "a backend reported more events than fit");
        self.list.push(Event { token, readiness });
    }

    /// Forgets all events and keeps the room.
    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// The events of the last wait.
    #[inline]
    pub fn as_slice(&self) -> &[Event] {
        &self.list
    }

    /// The events of the last wait, to change them: for backends that merge halves.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Event] {
        &mut self.list
    }
}

/// One kernel mechanism. Read the [contract](self#the-contract) before implementing it; the kit behind the feature
/// `conformance` judges one.
pub trait Backend: fmt::Debug {
    /// Its name, as `REVEILLE_BACKEND` and messages spell it.
    fn name(&self) -> &str;

    /// What it can do. Constant over its life.
    fn capabilities(&self) -> Capabilities;

    /// Starts to watch `fd` and to report it under `token`.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when the fd is registered, `InvalidInput` for a trigger it does not support, `Unsupported` or
    /// `EPERM` for an fd it cannot watch, `EBADF`, and whatever the system call says. Nothing is left behind.
    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()>;

    /// Starts to watch a listening socket that other loops watch too, each with its own number or the same one: of those
    /// that wait, at least one hears of a connection, and not all. Its trigger is `Edge`, its interest READABLE;
    /// `modify` of it is `InvalidInput`.
    ///
    /// # Errors
    ///
    /// `Unsupported` where a mechanism cannot do this, as one that does not say otherwise; else as
    /// [`add`](Backend::add).
    fn add_exclusive(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let _ = (fd, token);
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "the {} backend wakes every loop that watches a listener, it cannot choose one",
                self.name()
            ),
        ))
    }

    /// Replaces the interest of a registration and arms it afresh.
    ///
    /// # Errors
    ///
    /// `NotFound` when the token is not registered under that number; else what the system call says, with the old
    /// interest kept.
    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()>;

    /// Arms the directions in `interest` again, in addition to those that are armed still; with `Interest::ERROR`, also if
    /// it was not asked for, the report of errors and hang-ups. `Edge` registrations only. Does nothing where
    /// `Capabilities::rearm` is false.
    ///
    /// # Errors
    ///
    /// As `modify`.
    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()>;

    /// Stops watching. Afterwards the token is unknown, whatever was returned.
    ///
    /// # Errors
    ///
    /// `NotFound` when the token is not registered. A number that was closed already is no error.
    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()>;

    /// Waits until an event, a notification, a signal or the end of `timeout`, and fills `events` (cleared first).
    /// A notification ends the wait without an event, and is consumed by it.
    ///
    /// # Errors
    ///
    /// `Interrupted` when a signal handler ran and there is no event; anything else is fatal to the loop.
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()>;

    /// In the child of a fork(2): gives the inherited kernel object up, without a removal that the parent would feel, and
    /// opens a new one. Nothing is registered afterwards; the notifiers handed out before wake this process's waits.
    ///
    /// # Errors
    ///
    /// `Unsupported` where a mechanism cannot do this, as one that does not say otherwise; else what opening it says.
    /// The backend must not be used any more then.
    fn after_fork(&mut self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the {} backend cannot be used after a fork", self.name()),
        ))
    }

    /// The handle by which another thread ends a `wait`, the running one or the next.
    fn notifier(&self) -> Notifier;

    /// The kernel object, readable when a `wait` would report something, for a loop that hosts this one.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with the reason, where the mechanism has none.
    fn as_fd(&self) -> io::Result<BorrowedFd<'_>>;
}
