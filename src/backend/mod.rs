//! Kernel mechanisms that report ready fds, each behind the trait [`Backend`].
//!
//! A `Backend` turns what the kernel reports into [`Event`]s. It holds no waker, no timer and no
//! policy: the reactor above decides which fds to watch, and what an event means. One thread uses
//! it. Other threads may use only the [`Notifier`] and the [`Releaser`] that it hands out.
//!
//! [`BackendKind`] names the mechanisms of this crate, and [`available`] lists which of them this
//! host has. A program may also implement the trait itself; `docs/backends/writing_your_own.md`
//! shows how. This example does by hand what the reactor does:
//!
//! ```
//! use reveille::backend::{Backend, BackendKind, Events, Interest, Token, Trigger};
//! use std::io::Write;
//! use std::os::fd::{AsFd, AsRawFd};
//! use std::os::unix::net::UnixStream;
//!
//! let mut backend: Box<dyn Backend> = BackendKind::Poll.open(16)?;
//! assert!(backend.capabilities().supports(Trigger::Level));
//! let (ours, mut theirs) = UnixStream::pair()?;
//! let token = Token::new(0, 1);
//! backend.add(ours.as_fd(), token, Interest::READABLE, Trigger::Level)?;
//!
//! theirs.write_all(b"x")?;
//! let mut events = Events::with_capacity(16);
//! backend.wait(&mut events, None)?;
//! let event = events.as_slice()[0];
//! assert_eq!(event.token, token);
//! assert!(event.readiness.is_readable());
//!
//! backend.remove(ours.as_raw_fd(), token)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # The contract
//!
//! Every backend keeps the promises below. The cases of the module `conformance` (feature
//! `conformance`) test them one by one. Mechanisms differ only in their [`Capabilities`]; no code
//! above this module depends on the kind.
//!
//! ## Adding, modifying, removing
//!
//! - After [`add`](Backend::add), the next [`wait`](Backend::wait) reports the fd if it is ready
//!   already, just as it reports one that becomes ready later.
//! - After [`modify`](Backend::modify), only the new interest is reported, and whatever of it is
//!   ready now is reported again.
//! - After [`remove`](Backend::remove) has returned, no later `wait` reports the token, and the
//!   kernel holds no reference to the file: closing the fd gives the peer its end of file at once.
//!
//! **Closing in place of `remove`** saves a system call if [`Capabilities::close_removes`] is set:
//! then closing the last descriptor of a file ends its registration. The caller calls
//! [`forget`](Backend::forget) and closes the fd right away. After `forget` the token is not
//! registered, just as after `remove`. The caller does this only for a file that it made itself and
//! of which it knows no duplicate. An unknown duplicate may exist all the same, in a child process
//! or in another process that copied the descriptor. The kernel then goes on watching the file
//! until the duplicate is closed, and the backend must keep two promises: it reports events of the
//! old file under the old token or not at all, and the number can be added again, for another file
//! and for the same file.
//!
//! ## Triggers
//!
//! The registration's [`Trigger`] decides what is reported again:
//!
//! | trigger | reports |
//! |---|---|
//! | `Level` | in every `wait` while the condition holds, hang-ups and errors included. These cannot be masked: a caller that does not want them again removes the registration |
//! | `Oneshot` | once. Then nothing, not even a hang-up, until `modify`, which reports again what is ready then |
//! | `Edge` | each time the fd becomes ready. Each report of a direction may be its last until [`rearm`](Backend::rearm) or new data. Extra reports are allowed, lost ones are not |
//!
//! For `Edge`, a mechanism with [`Capabilities::rearm`] reports nothing more of a delivered
//! direction until `rearm`, and reports again what is ready then. On any other mechanism `rearm`
//! does nothing, because new data is reported without it.
//!
//! ## The bits of an event
//!
//! | bit | set for | needs in the interest | capability |
//! |---|---|---|---|
//! | READABLE | data, the end of the file | READABLE | |
//! | WRITABLE | room to write | WRITABLE | |
//! | READABLE and WRITABLE, both | a hang-up or an error | nothing, not even one bit | without `unasked`: READABLE or WRITABLE. Without `errors`: only those of the two that the interest has are set |
//! | ERROR | an error | as the row above | without `errors`: never |
//! | READ_CLOSED | the peer has ended its sending side; a hang-up | | may be missing, must not be false |
//! | WRITE_CLOSED | a hang-up | | may be missing, must not be false |
//! | PRIORITY | out-of-band data, never an error | PRIORITY | without `priority`: never |
//! | INVALID, READABLE and WRITABLE | the number was closed while it was registered. Reported once; then the registration is gone and `remove` returns `NotFound` | | only where the mechanism can see it |
//!
//! So an event wakes a reader for everything that would make its call return. A hang-up sets both
//! closed bits. There is one exception to "must not be false": Linux calls a socket hung up that
//! was never connected, so connect first and add afterwards. A side may open again: a FIFO gets its
//! next writer, a terminal is opened again, a socket connects or listens. From then on it is not
//! reported as closed.
//!
//! ## One wait
//!
//! **One event per registration.** If the kernel reports an fd in several records, the backend
//! merges them, or reports them in the same batch. A batch holds at most [`Events::capacity`]
//! events. What does not fit comes in the next waits, and no registration is passed over forever:
//! with room for 16, 200 ready fds are all reported within 14 waits.
//!
//! **`wait`** never ends early without an event, a notification or a signal. It rounds its timeout
//! up to the mechanism's unit. It returns `ErrorKind::Interrupted` only when there is no event to
//! report. `Duration::ZERO` does not block, and `None` blocks without limit. Any `Duration` is
//! accepted, and cut to the longest wait that the mechanism can express (24 days or more).
//!
//! ## Errors
//!
//! | call | error | when |
//! |---|---|---|
//! | `add` | `AlreadyExists` | the fd is registered. A number that was closed without `remove` or `forget` and now names another file is not registered. A mechanism that cannot notice this returns `AlreadyExists`, and the caller removes what is due and adds again |
//! | `add` | `EBADF` | the fd is not open |
//! | `add` | `Unsupported`, or the kernel's `EPERM` | the mechanism cannot watch this file |
//! | `modify`, `rearm`, `remove`, `forget` | `NotFound` | the token is not registered under this number |
//!
//! A failed `add` leaves nothing behind. After a failed `remove` or `forget` the token is not
//! registered all the same.
//!
//! ## Special cases
//!
//! **A listener of several loops** may be added with [`add_exclusive`](Backend::add_exclusive) in
//! each of them, if [`Capabilities::exclusive`] is set: a connection is reported to at least one of
//! the loops that wait, not to all. It is an `Edge` registration for READABLE that cannot be
//! modified.
//!
//! **A file that leaves its loop** is removed with `remove` before the caller gets it back. If it
//! leaves on another thread, or while the loop does not run, `remove` comes later, and the file may
//! be used and closed before that. A mechanism whose kernel object refers to files returns a
//! [`releaser`](Backend::releaser), with which any thread ends that at once. Other registrations of
//! the same file must not be lost by that.
//!
//! **After a fork** a child shares the parent's kernel object, or has lost it.
//! [`after_fork`](Backend::after_fork), called in the child before anything else, opens a new one,
//! under which nothing is registered. It removes nothing from the old one, which the parent goes on
//! using. From then on, notifiers that were handed out before reach the child's own backend.
//!
//! ## The caller
//!
//! The reactor calls the backend, on its own thread. Its tokens are unique among the live
//! registrations and never `u64::MAX`, which backends keep for their notifier. `modify`, `rearm`,
//! `remove` and `forget` take the number as a [`RawFd`], not a borrow: a handle that was dropped on
//! another thread may have been closed, and its number may name another file before the owner
//! notices. So the token decides; a backend that is keyed by numbers compares it before it touches
//! anything. The loop's registrations are borrowed during the call: a backend may wake and spawn
//! tasks, but must not use fds or timers of the loop that it serves.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

pub use crate::interest::{Interest, Ready};
pub use crate::token::Token;

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
mod fd_table;
mod fdsets;
mod identity;
mod kind;
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
mod pollable;
mod pollset;
mod releaser;
mod revents;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod rtsig;
mod select;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod uring;

pub(crate) use kind::open;
pub use kind::{Availability, BackendKind, ParseBackendKindError, available};
pub use notifier::{Notifier, Notify, NotifyFd};
pub(crate) use pollable::is_always_ready;
pub(crate) use pollset::{poll_now, poll_now_ignoring_errors};
pub use releaser::{Release, Releaser};
pub(crate) use revents::{
    Revents, is_hangup_or_error, poll_revents, poll_revents_of_all, poll_revents_twice,
};

/// Calls [`Backend::add`] for the fd of a registration, of which the reactor has the number.
///
/// The registration's owner keeps the fd open until it has ended the registration. If another
/// thread owns it, the caller makes sure that it is not ended meanwhile
/// (`Remote::while_fds_are_open`).
pub(crate) fn add_number(
    backend: &mut dyn Backend,
    fd: RawFd,
    token: Token,
    interest: Interest,
    trigger: Trigger,
) -> io::Result<()> {
    // SAFETY: the fd is open during the call, as said above.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    backend.add(fd, token, interest, trigger)
}

/// How often a registration is reported; see the [contract](self#triggers).
///
/// The reactor registers fds of futures with `Edge`; the callback loop uses all three.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trigger {
    /// Reports once each time the fd becomes ready.
    Edge,
    /// Reports in every wait while the condition holds.
    Level,
    /// Reports once, until `modify`.
    Oneshot,
}

/// What a mechanism can do. Code above the backend checks these, never the kind.
///
/// ```
/// use reveille::backend::{BackendKind, Capabilities, Trigger};
/// let poll = BackendKind::Poll.open(16)?.capabilities();
/// assert!(poll.supports(Trigger::Edge) && poll.rearm && !poll.has_fd);
///
/// // A custom backend starts from nothing and sets what it supports.
/// let mut custom = Capabilities::none();
/// custom.edge = true;
/// assert!(!custom.supports(Trigger::Level));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether `Trigger::Edge` is supported.
    pub edge: bool,
    /// Whether `Trigger::Level` is supported.
    pub level: bool,
    /// Whether `Trigger::Oneshot` is supported.
    pub oneshot: bool,
    /// Whether a delivered direction of an `Edge` registration has to be re-armed.
    ///
    /// Such a mechanism reports again what is ready when it is armed, so it may be re-armed after a
    /// short read or write. Without this capability, `rearm` need not be called.
    pub rearm: bool,
    /// Whether closing the last descriptor of a file removes its registration.
    ///
    /// Then a file of which the runtime has the only descriptor may be closed after
    /// [`forget`](Backend::forget) in place of `remove`.
    pub close_removes: bool,
    /// Whether the mechanism is a kernel object that a host loop can watch: `as_fd` works.
    pub has_fd: bool,
    /// Whether READ_CLOSED reports a peer that ended only its sending side. Without it, the read
    /// that returns 0 shows the end.
    pub read_closed: bool,
    /// Whether hang-ups and errors are reported as such, for every interest.
    ///
    /// Without it they are reported as readiness to read and to write, if the interest has these
    /// bits. A wait for errors alone would never end there, and is refused.
    pub errors: bool,
    /// Whether PRIORITY reports out-of-band data. Without it, an interest may have PRIORITY, but no
    /// event has it.
    pub priority: bool,
    /// Whether hang-ups and errors are reported even if the interest has neither READABLE nor
    /// WRITABLE. Without it, such a registration reports nothing.
    pub unasked: bool,
    /// Whether `add_exclusive` works: of several loops that watch one listener, one is woken.
    pub exclusive: bool,
    /// Whether `add` refuses every file that cannot be polled and so is always ready: regular files
    /// on a disk, directories, devices such as /dev/null.
    ///
    /// Without it `add` may accept them. `AsyncFd` and the callback loop check with the kernel
    /// before they add an fd.
    pub refuses_files: bool,
    /// Whether a `Level` registration costs no system call more than an `Edge` one, and hardly any
    /// time. Not public, because a backend need not say.
    pub(crate) cheap_level: bool,
    /// The largest fd number that can be registered, if the mechanism has such a limit.
    pub max_fd: Option<RawFd>,
}

impl Capabilities {
    /// Returns the weakest set: nothing is supported. A custom backend starts from here and sets
    /// what it supports.
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
            cheap_level: false,
            max_fd: None,
        }
    }

    /// Returns whether registrations may use `trigger`.
    pub const fn supports(&self, trigger: Trigger) -> bool {
        match trigger {
            Trigger::Edge => self.edge,
            Trigger::Level => self.level,
            Trigger::Oneshot => self.oneshot,
        }
    }
}

/// One report of [`Backend::wait`]: a registration, and what was observed of its fd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The token of the registration.
    pub token: Token,
    /// What was observed; see the [table](self#the-bits-of-an-event).
    pub readiness: Ready,
}

/// The batch of events that one [`Backend::wait`] fills.
///
/// ```
/// use reveille::backend::{Events, Ready, Token};
/// let mut events = Events::with_capacity(2);
/// events.push(Token::new(1, 1), Ready::READABLE);
/// assert_eq!((events.as_slice().len(), events.room()), (1, 1));
/// ```
#[derive(Debug)]
pub struct Events {
    list: Vec<Event>,
    capacity: usize,
}

impl Events {
    /// Returns an empty batch with room for `capacity` events, at least one.
    pub fn with_capacity(capacity: usize) -> Events {
        let capacity = capacity.max(1);
        Events {
            list: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// Returns how many events one wait may report.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns how many more events fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.capacity - self.list.len()
    }

    /// Appends an event. For custom backends.
    ///
    /// # Panics
    ///
    /// In debug builds, if the batch is full: check [`room`](Events::room) first.
    #[inline]
    pub fn push(&mut self, token: Token, readiness: Ready) {
        debug_assert!(
            self.room() > 0,
            "a backend reported more events than `Events::capacity`"
        );
        self.list.push(Event { token, readiness });
    }

    /// Removes all events. Keeps the allocated memory.
    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Returns the events of the last wait.
    #[inline]
    pub fn as_slice(&self) -> &[Event] {
        &self.list
    }

    /// Returns the events of the last wait, to change them. For custom backends that merge several
    /// records of the kernel into one event.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Event] {
        &mut self.list
    }
}

/// A kernel mechanism that reports ready fds.
///
/// Read the [contract](self#the-contract) before you implement it, and let the module `conformance`
/// (feature `conformance`) check the implementation. `examples/own_backend.rs` in the repository is
/// a complete one.
pub trait Backend: fmt::Debug {
    /// Returns the name, as `REVEILLE_BACKEND` and messages spell it.
    fn name(&self) -> &str;

    /// Returns what the mechanism can do. The result never changes.
    fn capabilities(&self) -> Capabilities;

    /// Starts to watch `fd` and to report it under `token`.
    ///
    /// # Errors
    ///
    /// - `AlreadyExists` if the fd is registered;
    /// - `InvalidInput` for a trigger that is not supported;
    /// - `Unsupported` or `EPERM` for a file that the mechanism cannot watch;
    /// - `EBADF`, and other errors of the system call.
    ///
    /// After an error nothing is left behind.
    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()>;

    /// Starts to watch a listening socket that other loops watch too, each under its own number or
    /// the same one. A connection is reported to at least one of the loops that wait, and not to
    /// all.
    ///
    /// The trigger is `Edge` and the interest READABLE; `modify` fails with `InvalidInput`.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the mechanism cannot do this, which is the default; otherwise as
    /// [`add`](Backend::add).
    fn add_exclusive(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let _ = (fd, token);
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "the {} backend cannot watch a listener exclusively, because it wakes every loop that watches \
                 one: share the listener with `TcpListener::from_std` instead",
                self.name()
            ),
        ))
    }

    /// Replaces the interest and the trigger of a registration, and arms it.
    ///
    /// # Errors
    ///
    /// `NotFound` if the token is not registered under that number. After an error of the system
    /// call the old interest stays.
    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()>;

    /// Arms the directions in `interest` again, in addition to those that are still armed.
    ///
    /// `Interest::ERROR` arms the report of errors and hang-ups, even if the registration's
    /// interest does not contain it. For `Edge` registrations only. Does nothing if
    /// [`Capabilities::rearm`] is false.
    ///
    /// # Errors
    ///
    /// As [`modify`](Backend::modify).
    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()>;

    /// Stops watching an fd. Afterwards the token is not registered, even after an error.
    ///
    /// # Errors
    ///
    /// `NotFound` if the token is not registered. A number that was closed already is no error.
    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()>;

    /// Forgets a registration whose fd the caller closes next, which ends it in the kernel.
    ///
    /// Called in place of [`remove`](Backend::remove), and only if [`Capabilities::close_removes`]
    /// is set; see "Closing in place of `remove`" in the
    /// [contract](self#adding-modifying-removing). Afterwards the token is not registered, even
    /// after an error.
    ///
    /// The default calls `remove`, which is always correct. Override it if the mechanism needs no
    /// system call here. Then `add` must succeed under this number even if the kernel still has the
    /// file: epoll fails with `EEXIST` when a file comes back under its old number.
    ///
    /// # Errors
    ///
    /// As [`remove`](Backend::remove).
    fn forget(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.remove(fd, token)
    }

    /// Waits for an event, a notification, a signal or the end of `timeout`. Clears `events`, then
    /// fills it.
    ///
    /// A notification ends the wait without an event, and is consumed by it.
    ///
    /// # Errors
    ///
    /// `Interrupted` if a signal handler ran and there is no event. The loop ends after any other
    /// error.
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()>;

    /// Gives up the inherited kernel object in the child of a fork(2), and opens a new one.
    ///
    /// The parent's registrations stay as they are. Afterwards nothing is registered here, and the
    /// notifiers that were handed out before end this process's waits.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the mechanism cannot do this, which is the default; otherwise the error of
    /// opening a new kernel object. The backend must not be used after an error.
    fn after_fork(&mut self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "the {} backend cannot be used after a fork: make a new loop in the child",
                self.name()
            ),
        ))
    }

    /// Returns the handle with which other threads end a `wait`: the running one, or the next.
    fn notifier(&self) -> Notifier;

    /// Returns the handle with which other threads drop the kernel's reference to a file whose
    /// registration has ended there, or while the loop does not run.
    ///
    /// `remove` follows when the loop runs, and may return `NotFound` then. The default is `None`:
    /// the kernel does not refer to files.
    fn releaser(&self) -> Option<Releaser> {
        None
    }

    /// Returns the kernel object, which a host loop can watch: it is readable when a `wait` would
    /// report something.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with the reason, if the mechanism has no such object.
    fn as_fd(&self) -> io::Result<BorrowedFd<'_>>;
}
