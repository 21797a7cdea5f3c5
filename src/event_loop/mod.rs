//! The ancestors' own model, safe: an fd, an interest, a handler, and nothing of futures.
//!
//! Who comes from libevent, libuv, FastDFS or lighttpd finds here what he knows: [`EventLoop::attach`] registers a file
//! with what to wait for and a function that is called when it has come. The loop runs on the same backends,
//! registrations and timer wheel as the async side.
//!
//! ```
//! use reveille::backend::{Interest, Trigger};
//! use reveille::event_loop::EventLoop;
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//!
//! # fn main() -> std::io::Result<()> {
//! let (mut ours, theirs) = UnixStream::pair()?;
//! theirs.set_nonblocking(true)?;
//!
//! let mut event_loop = EventLoop::new(Vec::<u8>::new())?;
//! event_loop.attach(theirs, Interest::READABLE, Trigger::Level, |event_loop, source, _cause| {
//!     let mut buffer = [0; 16];
//!     let stream = event_loop.get_mut(source).expect("it is attached as long as it is called");
//!     match stream.read(&mut buffer) {
//!         Ok(0) => {
//!             event_loop.close(source);
//!             event_loop.stop();
//!         }
//!         Ok(length) => event_loop.data_mut().extend(&buffer[..length]),
//!         Err(_would_block) => {}
//!     }
//! })?;
//!
//! ours.write_all(b"good morning")?;
//! drop(ours);
//! event_loop.run()?;
//! assert_eq!(event_loop.data(), b"good morning");
//! # Ok(())
//! # }
//! ```
//!
//! # Handlers
//!
//! The loop owns what is attached, and the handler is lent the whole loop: from inside a handler any fd can be attached,
//! modified, detached and closed, the handler's own included. A [`Source`] names an attached fd; it is a plain number that
//! knows the type, so [`EventLoop::get_mut`] gives the value back as what it was. State that handlers share is the
//! loop's own [`data`](EventLoop::data_mut).
//!
//! An event that was fetched already is never delivered to an fd that was detached meanwhile, nor to a new one with the
//! same number; nor does it bring what an fd has ceased to ask for meanwhile.
//!
//! A handler that panics unwinds out of [`run`](EventLoop::run): its fd stays attached, the rest of the batch is
//! delivered by the next call.
//!
//! # A turn
//!
//! ```text
//! before_wait hooks -> wait -> handlers of ready fds -> after_events hooks -> messages of other threads
//!   -> timeouts and timers that are due -> what was deferred -> after_turn hooks
//! ```
//!
//! What was detached in a turn is dead at once; its place is used again from the next turn on. A signal that interrupts the
//! wait makes an empty turn.
//!
//! # Triggers
//!
//! `Level` calls the handler in every turn as long as there is something to do; a hang-up or an error that the fd does not
//! ask to read is told once, until [`modify`](EventLoop::modify). `Oneshot` calls it once, until `modify`. `Edge` tells a change once, so the handler goes on until
//! the call would block; mechanisms that know no edges (poll, select and their kin) tell it again after the handler has
//! returned if something is left, so ask for WRITABLE only while there is something to write, and read to the end when
//! READ_CLOSED is told, which is told once.
//!
//! Regular files, directories, and devices such as /dev/null are always ready, on every mechanism.
//!
//! Where to read on: `attach.rs` for registrations, `turn.rs` for the loop, `timers.rs`, `messages.rs` for other
//! threads, `marks.rs` for listeners that pause.

#![forbid(unsafe_code)]

mod attach;
mod builder;
mod handle;
mod hooks;
mod marks;
mod messages;
mod source;
mod timers;
mod turn;

pub use builder::Builder;
pub use handle::Handle;
pub use marks::WaterMarks;
pub use messages::{SendError, Sender};
pub use source::{AttachError, Cause, Source};
pub use timers::Timer;

use crate::backend::{Backend, Readiness, Token};
use crate::reactor::clock::{self, Clock, NEVER_TICK};
use crate::reactor::parker::Unparker;
use crate::reactor::spin::Spin;
use crate::reactor::table::Table;
use crate::timer::Timers;
use handle::Shared;
use hooks::Hooks;
use marks::Marked;
use messages::Channel;
use slab::Slab;
use source::Held;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;
use timers::{Due, FreeTimer};

/// A loop that calls handlers; see the [module](self). `D` is what the handlers share.
///
/// It stays on the thread that made it; other threads use its [`Handle`] and its [`Sender`]s.
pub struct EventLoop<D = ()> {
    data: D,
    /// Differs from every other loop's of the process: a source of another loop is refused.
    id: u32,
    table: Table<Held<D>>,
    clock: Clock,
    timers: Timers<Due>,
    free_timers: Slab<FreeTimer<D>>,
    /// Names the free timers; a number is not used twice.
    last_timer: u64,
    unparker: Arc<Unparker>,
    spin: Spin,
    shared: Arc<Shared>,
    channels: Vec<Channel<D>>,
    hooks: Hooks<D>,
    /// What is to be done after the batch.
    deferred: Vec<Deferred<D>>,
    /// Events that no kernel reports: of what the mechanism has refused to watch any longer.
    pending: Vec<(Token, Readiness)>,
    /// Events of `pending` and of what is always ready that are being delivered, and how far.
    batch: Vec<(Token, Readiness)>,
    next_of_batch: usize,
    /// Sources that are always ready and armed; and some that were detached, up to the next wait.
    always: Vec<Token>,
    /// How far the kernel's batch has been delivered.
    next_event: usize,
    /// Listeners that pause when too many fds are open.
    marked: Vec<Marked>,
    /// How many handlers were called.
    calls: usize,
    /// Inside `run` or `run_once`.
    running: bool,
    /// Something was sent that has not been looked at.
    notified: bool,
    /// The messages that are being handled are another process's: a handler has made this one by a fork.
    forgets_messages: bool,
}

/// Something to be done once, with the loop.
type Deferred<D> = Box<dyn FnOnce(&mut EventLoop<D>)>;

impl<D: 'static> EventLoop<D> {
    /// A loop with the default settings; see [`Builder`] for others.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new(data: D) -> io::Result<EventLoop<D>> {
        Builder::new().build(data)
    }

    /// What the handlers share.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// What the handlers share, to change it.
    pub fn data_mut(&mut self) -> &mut D {
        &mut self.data
    }

    /// How many fds are attached.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no fd is attached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the mechanism in use, as `REVEILLE_BACKEND` spells it.
    pub fn backend_name(&self) -> &str {
        self.table.backend().name()
    }

    /// Does something after the batch: when the handlers of this turn's events, messages and timers have been called, and
    /// before the loop waits again. What is deferred meanwhile is done in the next turn, which does not wait.
    pub fn defer(&mut self, f: impl FnOnce(&mut EventLoop<D>) + 'static) {
        self.deferred.push(Box::new(f));
    }

    /// The kernel object behind the loop, for a host to wait on: readable when
    /// [`run_once`](EventLoop::run_once) has something to do that is not a matter of time.
    ///
    /// # Errors
    ///
    /// `Unsupported` on a mechanism without a kernel object, as [`Runtime::as_fd`](crate::Runtime::as_fd) lists them; what it
    /// says of duplicates holds here, too.
    pub fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.table.backend().as_fd()
    }

    /// When [`run_once`](EventLoop::run_once) must be called again at the latest: now if there is something to do already, else at
    /// the earliest timeout or timer, else `None`.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.has_work() || self.unparker.is_notified() {
            return Some(clock::now());
        }
        let tick = self.timers.next_deadline()?;
        (tick != NEVER_TICK).then(|| self.clock.moment_at(tick).instant())
    }

    /// In the child of a fork(2), before anything else: takes a kernel object of the child's own and registers all that is
    /// attached with it. The parent's registrations are not touched. Timers go on; messages that other threads had sent are the
    /// parent's, and dropped here.
    ///
    /// The fds themselves are shared with the parent, as always after a fork: who goes on using a connection is for the
    /// two to agree on. A thread that is sending at the moment of the fork does not exist in the child, and holds its queue's lock
    /// there for ever: fork when nobody sends. A child that does not call this gets an error from [`run`](EventLoop::run) and may drop the loop.
    ///
    /// An fd that cannot be registered any more gets one event with
    /// [`INVALID`](crate::backend::Readiness::INVALID).
    ///
    /// # Errors
    ///
    /// `Unsupported` where the mechanism cannot do this, and what opening it says. The loop is of no use then.
    pub fn after_fork(&mut self) -> io::Result<()> {
        let lost = self.table.after_fork(Held::fd)?;
        // The kernel's batch is the parent's. What no kernel reports is delivered here too.
        self.next_event = 0;
        self.unparker.wake_up();
        for channel in &mut self.channels {
            channel.clear();
        }
        // Those that are being handled are not among them.
        self.forgets_messages = self.running;
        for (token, _refusal) in lost {
            self.lost(token);
        }
        if !self.running {
            self.suspend();
        }
        Ok(())
    }
}

impl<D> Drop for EventLoop<D> {
    /// Closes what is attached, and tells senders that nobody listens any more.
    fn drop(&mut self) {
        for channel in &mut self.channels {
            channel.close();
        }
        for token in self.table.tokens() {
            // Told to the mechanism before the fd is closed; nothing can be done about a refusal.
            let _ = self.table.deregister(token, false);
        }
    }
}

impl<D> fmt::Debug for EventLoop<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("backend", &self.table.backend().name())
            .field("fds", &self.table.len())
            .field("timers", &self.timers.len())
            .finish_non_exhaustive()
    }
}

/// Makes a loop of its parts.
fn assemble<D>(
    data: D,
    backend: Box<dyn Backend>,
    event_capacity: usize,
    clock: Clock,
    spin: Spin,
) -> EventLoop<D> {
    let unparker = Unparker::new(backend.notifier());
    EventLoop {
        data,
        id: source::next_loop_id(),
        table: Table::new(backend, event_capacity),
        clock,
        timers: Timers::new(),
        free_timers: Slab::new(),
        last_timer: 0,
        shared: Shared::new(unparker.clone()),
        unparker,
        spin,
        channels: Vec::new(),
        hooks: Hooks::default(),
        deferred: Vec::new(),
        pending: Vec::new(),
        batch: Vec::new(),
        next_of_batch: 0,
        always: Vec::new(),
        next_event: 0,
        marked: Vec::new(),
        calls: 0,
        running: false,
        notified: false,
        forgets_messages: false,
    }
}
