//! A callback event loop in the style of libevent: register an fd with an interest and a handler.
//! No futures involved.
//!
//! If you know libevent, libuv, FastDFS or lighttpd, this will be familiar: [`EventLoop::attach`]
//! registers an fd together with what to wait for and a function that is called when the fd is
//! ready. The loop uses the same backends, registrations and timer wheel as the async side.
//!
//! # Examples
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
//! event_loop.attach(theirs, Interest::READABLE, Trigger::Level, |event_loop, key, _cause| {
//!     let mut buffer = [0; 16];
//!     let stream = event_loop.get_mut(key).expect("the fd of a called handler is attached");
//!     match stream.read(&mut buffer) {
//!         Ok(0) => {
//!             event_loop.close(key);
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
//! The loop owns each attached value and passes itself to the handler. So a handler can attach,
//! modify, detach and close any fd, its own included. A [`Key`] names an attached fd. It is a plain
//! number that knows the type of the value, so [`EventLoop::get_mut`] returns the value with its
//! type. Handlers share state through [`data_mut`](EventLoop::data_mut).
//!
//! The loop drops an event of this turn if its fd was detached after the wait; a new fd with the
//! same number does not receive it. Of any other event it drops the parts that are no longer in the
//! fd's interest.
//!
//! A panic in a handler unwinds out of [`run`](EventLoop::run). The fd stays attached, and the next
//! call delivers the rest of the batch.
//!
//! # A turn
//!
//! ```text
//! before_wait hooks -> wait -> handlers of ready fds -> after_events hooks
//!   -> messages from other threads -> due timeouts and timers -> deferred functions
//!   -> after_turn hooks
//! ```
//!
//! The key of a detached fd is invalid at once. The handler is dropped at the end of the turn. A
//! signal that interrupts the wait makes an empty turn.
//!
//! # Triggers
//!
//! | trigger | ready | hang-up or error |
//! |---|---|---|
//! | `Level` with READABLE | in every turn while the fd is ready | in every turn, until the handler closes the fd |
//! | `Level` without READABLE | in every turn while the fd is ready | once; select reports an error as WRITABLE, in every turn |
//! | `Oneshot` | once, then again after [`modify`](EventLoop::modify) | once, then again after `modify` |
//! | `Edge` | once for each change | once |
//!
//! - `Level` without READABLE: after a hang-up the fd is not watched until the next `modify`. After
//!   an error that lasts, the fd is watched again as soon as it is ready for its interest.
//! - `Edge`: a handler should read or write until the call would block. Mechanisms without edges
//!   (poll, select and the like) call it again if something is left when it returns, so ask for
//!   WRITABLE only while there is something to write. READ_CLOSED is reported once: read to the end
//!   then. While a hang-up or error lasts, mechanisms without edges may report other events of the
//!   fd up to 32 ms late.
//!
//! Files that the kernel cannot poll (regular files on a disk, directories, devices such as
//! /dev/null) are always ready, on every mechanism. Files of /proc and /sys that report changes are
//! watched like any other fd.
//!
//! # Parity
//!
//! These items exist because the event layers of FastDFS (libfastcommon's ioevent) and lighttpd
//! (fdevent) have them. A program that does not come from there seldom needs them.
//!
//! | parity item | what it stands for |
//! |---|---|
//! | [`set_water_marks`](EventLoop::set_water_marks) | lighttpd turns its listeners off above one number of connections and on below another |
//! | [`pause`](EventLoop::pause), [`resume`](EventLoop::resume), [`pause_for`](EventLoop::pause_for) | lighttpd turns a listener off when descriptors run out |
//! | [`replace_fd`](EventLoop::replace_fd) | FastDFS gives a task another descriptor |
//! | [`set_trigger`](EventLoop::set_trigger) | FastDFS chooses level or edge for a whole poller |
//! | [`defer`](EventLoop::defer) | FastDFS keeps a list of tasks to free after the batch |
//! | [`before_wait`](EventLoop::before_wait), [`after_events`](EventLoop::after_events), [`after_turn`](EventLoop::after_turn) | FastDFS calls a function in every turn |
//! | [`after_fork`](EventLoop::after_fork) | lighttpd opens its mechanism again in a child process |
//!
//! `docs/ancestors.md` compares both with this crate row by row.
//!
//! # Reading the source
//!
//! | file | contains |
//! |---|---|
//! | `turn.rs` | the loop |
//! | `batch.rs`, `dispatch.rs` | the delivery of its events |
//! | `attach.rs`, `pause.rs` | changes of registrations |
//! | `attached.rs` | what the loop keeps with an fd |
//! | `timers.rs`, `messages.rs`, `hooks.rs` | timers, messages from other threads, hooks |
//! | `signals.rs` | handlers of signals (feature `signal`) |
//! | `water_marks.rs`, `replace_fd.rs` | parity items |

#![forbid(unsafe_code)]

mod attach;
mod attached;
mod batch;
mod builder;
mod dispatch;
mod error;
mod handle;
mod hooks;
mod key;
mod messages;
mod pause;
mod replace_fd;
#[cfg(feature = "signal")]
mod signals;
mod timers;
mod turn;
mod water_marks;

pub use attached::Cause;
pub use builder::Builder;
pub use error::AttachError;
pub use handle::Handle;
#[cfg(feature = "signal")]
pub use key::SignalKey;
pub use key::{Key, TimerKey};
pub use messages::{SendError, Sender};
pub use water_marks::WaterMarks;

use crate::panics::{FirstPanic, drop_caught};
use crate::reactor::clock::{self, Clock, Source};
use crate::reactor::parker::Parker;
use crate::reactor::registrations::Registrations;
use crate::reactor::slack::Slack;
use crate::settings::Settings;
use crate::timer::Timers;
use crate::token::Token;
use attached::{Attached, Due};
use batch::Batch;
use handle::Shared;
use hooks::Hooks;
use messages::Channel;
#[cfg(feature = "signal")]
use signals::SignalHandlers;
use slab::Slab;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;
use timers::UserTimer;
use water_marks::MarkedFd;

/// A loop that waits for fds and timers and calls their handlers. `D` is the type of the data that
/// the handlers share.
///
/// The [module](self) has an overview and an example. The loop stays on the thread that created it;
/// other threads use its [`Handle`] and its [`Sender`]s.
pub struct EventLoop<D = ()> {
    data: D,
    /// Differs from the id of every other loop of the process, so that a key of another loop is
    /// refused.
    id: u32,
    table: Registrations<Attached<D>>,
    clock: Clock,
    timers: Timers<Due>,
    /// The timer slack of the thread while it runs the loop, if one was set.
    slack: Option<Slack>,
    /// The timers of [`EventLoop::set_timer`].
    user_timers: Slab<UserTimer<D>>,
    /// The id of the timer that was set last; no id is used twice.
    last_timer_id: u64,
    parker: Parker,
    shared: Arc<Shared>,
    channels: Vec<Channel<D>>,
    #[cfg(feature = "signal")]
    signals: SignalHandlers<D>,
    hooks: Hooks<D>,
    /// Functions to call after the batch.
    deferred: Vec<Deferred<D>>,
    batch: Batch,
    /// The fds with water marks.
    marked: Vec<MarkedFd>,
    /// How many handlers were called.
    calls: usize,
    /// Whether the thread is inside `run` or `turn`.
    running: bool,
    /// Set by `after_fork` inside a handler: the messages that are being handled belong to the
    /// parent.
    discard_messages: bool,
}

/// A function to call once, with the loop.
type Deferred<D> = Box<dyn FnOnce(&mut EventLoop<D>)>;

impl<D: 'static> EventLoop<D> {
    /// Creates a loop with the default settings; see [`Builder`] for others. Its handlers share
    /// `data`.
    ///
    /// # Errors
    ///
    /// Same as [`Builder::build`].
    pub fn new(data: D) -> io::Result<EventLoop<D>> {
        Builder::new().build(data)
    }

    /// Returns the data that the handlers share.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// Returns the data that the handlers share, mutably.
    pub fn data_mut(&mut self) -> &mut D {
        &mut self.data
    }

    /// Returns how many fds are attached.
    pub fn len(&self) -> usize {
        self.attached()
    }

    /// Returns true if no fd is attached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the name of the mechanism in use, as `REVEILLE_BACKEND` spells it.
    pub fn backend_name(&self) -> &str {
        self.table.backend().name()
    }

    /// Calls `f` once, after the batch: when the handlers of this turn's events, messages and
    /// timers have been called. If a deferred function defers another one, that is called in the
    /// next turn, which does not wait.
    ///
    /// *Parity: FastDFS frees its tasks after the batch.* Here a detached fd needs no such care.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(Vec::new())?;
    /// event_loop.defer(|event_loop| {
    ///     event_loop.data_mut().push("deferred");
    ///     event_loop.stop();
    /// });
    /// event_loop.after_events(|event_loop| event_loop.data_mut().push("after events"));
    /// event_loop.run()?;
    /// assert_eq!(*event_loop.data(), ["after events", "deferred"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn defer(&mut self, f: impl FnOnce(&mut EventLoop<D>) + 'static) {
        self.deferred.push(Box::new(f));
    }

    /// Returns the kernel object behind the loop, for a host to wait on: it is readable when
    /// [`turn`](EventLoop::turn) has something to do, apart from timers.
    ///
    /// Watch this very fd rather than a duplicate of it: with event ports, closing any duplicate in
    /// this process ends every registration of the loop.
    ///
    /// # Errors
    ///
    /// `Unsupported` on a mechanism without a kernel object: epoll, kqueue, io_uring and event
    /// ports have one; poll, select, real-time signals and /dev/poll have none. Any call fails in
    /// the child of a fork before [`after_fork`](EventLoop::after_fork).
    ///
    /// # Examples
    ///
    /// A host that sleeps in `poll(2)`:
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    /// use std::io;
    /// use std::os::fd::AsRawFd;
    /// use std::time::{Duration, Instant};
    ///
    /// fn main() -> io::Result<()> {
    ///     let mut event_loop = EventLoop::new(false)?;
    ///     event_loop.set_timer(Duration::from_millis(1), |event_loop, _| {
    ///         *event_loop.data_mut() = true;
    ///     });
    ///     while !event_loop.data() {
    ///         let fd = match event_loop.host_fd() {
    ///             Ok(fd) => fd.as_raw_fd(),
    ///             // The mechanism in use has no kernel object, so no host can wait for it.
    ///             Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
    ///             Err(error) => return Err(error),
    ///         };
    ///         // In milliseconds, rounded up: a host that wakes too early has to wait again.
    ///         let timeout = event_loop.next_deadline().map_or(-1, |deadline| {
    ///             let left = deadline.saturating_duration_since(Instant::now());
    ///             left.as_nanos().div_ceil(1_000_000).min(60_000) as libc::c_int
    ///         });
    ///         let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
    ///         // SAFETY: the entries are alive during the call.
    ///         unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    ///         event_loop.turn(Some(Duration::ZERO))?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn host_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.table.check_forked()?;
        self.table.backend().as_fd()
    }

    /// Returns when [`turn`](EventLoop::turn) must be called again at the latest.
    ///
    /// This is now if the turn has something to do, and otherwise the deadline of the earliest
    /// timeout or timer. It is `None` if there is neither. [`host_fd`](EventLoop::host_fd) has an
    /// example.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.has_work() {
            return Some(clock::monotonic());
        }
        let tick = self.timers.next_deadline();
        let timer = tick.and_then(|tick| self.clock.moment_at(tick));
        let next = timer.into_iter().chain(self.table.next_recheck()).min()?;
        Some(next.instant())
    }

    /// Makes the loop usable in the child of a fork(2): opens a new kernel object and registers
    /// every attached fd with it. Call it in the child before anything else.
    ///
    /// The parent's registrations are not touched. Timers go on. Messages that other threads had
    /// sent belong to the parent and are dropped here. Signals that had arrived in the parent are
    /// not reported here; those that have arrived in the child since the fork are. As always after
    /// a fork, parent and child share the open files, and have to agree which of them uses each. In
    /// a child that does not call this, [`run`](EventLoop::run) fails; the loop can be dropped.
    ///
    /// The handler of an fd that cannot be registered again is called once with
    /// [`INVALID`](crate::backend::Ready::INVALID).
    ///
    /// *Parity: lighttpd opens its mechanism again in a child.* [`Runtime`](crate::Runtime) has no
    /// such method.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the mechanism cannot do this, or the error of opening the kernel object.
    /// The loop is unusable then. It is also unusable after the error of a mechanism that refuses
    /// the loop's own descriptor for signals (feature `signal`), which has no handler to report it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn fork() -> std::io::Result<bool> { Ok(false) }
    /// use reveille::event_loop::EventLoop;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(())?;
    /// // ... attach a listener ...
    /// let is_child = fork()?; // by `libc::fork`
    /// if is_child {
    ///     event_loop.after_fork()?;
    /// }
    /// event_loop.run()
    /// # }
    /// ```
    pub fn after_fork(&mut self) -> io::Result<()> {
        #[cfg(feature = "signal")]
        self.signals.after_fork()?;
        let lost = self.table.after_fork()?;
        // The kernel's events belong to the parent. The loop's own events are delivered here as
        // well.
        self.batch.restart();
        self.parker.after_fork();
        let mut panics = FirstPanic::default();
        for channel in &mut self.channels {
            channel.clear(&mut panics);
        }
        // Inside a handler of a message, the messages that were drained are not in `channels`.
        self.discard_messages = self.running;
        let mut signals = Ok(());
        for (token, refusal) in lost {
            // The descriptor for signals has no handler of the user.
            if self.hears_signals_by(token) {
                signals = Err(refusal);
            } else {
                self.report_lost(token);
            }
        }
        if !self.running {
            self.suspend();
        }
        panics.resume();
        signals
    }

    /// Returns whether a token is that of the descriptor for signals.
    fn hears_signals_by(&self, token: Token) -> bool {
        #[cfg(feature = "signal")]
        let own = self.signals.token();
        #[cfg(not(feature = "signal"))]
        let own = None;
        own == Some(token)
    }
}

impl<D> EventLoop<D> {
    /// Returns how many fds the user has attached.
    fn attached(&self) -> usize {
        let all = self.table.len();
        #[cfg(feature = "signal")]
        let all = all - self.signals.attached();
        all
    }

    fn from_settings(data: D, mut settings: Settings) -> io::Result<EventLoop<D>> {
        let backend = settings.open()?;
        let parker = Parker::new(backend.notifier(), settings.spin_before_park);
        Ok(EventLoop {
            data,
            id: key::next_loop_id(),
            table: Registrations::new(backend, settings.event_capacity()),
            clock: Clock::new(Source::new(), settings.timer_tick()),
            timers: Timers::new(),
            slack: settings.timer_slack().map(Slack::new),
            user_timers: Slab::new(),
            last_timer_id: 0,
            shared: Shared::new(parker.unparker().clone()),
            parker,
            channels: Vec::new(),
            #[cfg(feature = "signal")]
            signals: SignalHandlers::new(),
            hooks: Hooks::default(),
            deferred: Vec::new(),
            batch: Batch::default(),
            marked: Vec::new(),
            calls: 0,
            running: false,
            discard_messages: false,
        })
    }
}

impl<D> Drop for EventLoop<D> {
    /// Closes every attached fd and makes later sends fail. A panic in the drop of a handler, an fd
    /// or a message is caught, and everything else is still dropped. Only a panic in the drop of
    /// the shared data leaves this function.
    fn drop(&mut self) {
        let mut panics = FirstPanic::default();
        for channel in &mut self.channels {
            channel.close(&mut panics);
        }
        for token in self.table.tokens() {
            // Before the fd is closed. Nothing can be done about an error.
            let removed = self.table.deregister(token, false);
            drop_caught(removed.map(|(_, removed)| removed));
        }
        // Each call continues after the value whose drop panicked.
        while panics.call(|| self.table.release()).is_none() {}
        #[cfg(feature = "signal")]
        self.signals.clear(&mut panics);
        for hook in self.hooks.take() {
            panics.call(|| drop(hook));
        }
        for f in std::mem::take(&mut self.deferred) {
            panics.call(|| drop(f));
        }
        for timer in self.user_timers.drain() {
            panics.call(|| drop(timer));
        }
        for channel in std::mem::take(&mut self.channels) {
            panics.call(|| drop(channel));
        }
        drop_caught(panics);
    }
}

impl<D> fmt::Debug for EventLoop<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("backend", &self.table.backend().name())
            .field("fds", &self.attached())
            .field("timers", &self.timers.len())
            .finish_non_exhaustive()
    }
}
