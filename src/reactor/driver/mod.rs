//! The [`Driver`]: a reactor and timers side by side, and one turn over both.
//!
//! ```text
//! turn:  due timers -> wait (until the next deadline, or not at all) -> merge events -> timers that came due meanwhile
//!        -> release what was deregistered before -> wake foreign wakers (our own are woken as they are found)
//! ```
//!
//! The clock is read once before the wait if a timer is armed, and after it only when the wait ran out: what comes due
//! while tasks run is found by the next turn's reading.
//!
//! The driver is owned by one thread, which publishes it in [`CURRENT`] while it runs the loop. Its parts are separate
//! cells, so that nobody has to hold more than he needs, and none is borrowed while foreign code runs.
//!
//! Here: what it is made of, a turn, and its end. Next: `waiting.rs` for registrations, `timing.rs` for timers,
//! `messages.rs` for what other threads ask.

mod messages;
mod timing;
mod waiting;

use super::Reactor;
use super::alarm::Alarm;
use super::clock::{Clock, Moment, NEVER_TICK};
use super::parker::Unparker;
use super::remote::{Message, Remote};
use super::spin::Spin;
use super::stand_ins::StandIns;
use super::wake_list::{FirstPanic, WakeList};
use super::waker_slot::{KeyWakers, WakerSlot, Wakers};
use crate::backend::Backend;
use crate::interest::Readiness;
use crate::registry::Registry;
use crate::sync::Arc;
use crate::sys::scoped::{Published, scoped};
use crate::timer::Timers;
use crate::token::RuntimeId;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::task::Waker;
use std::time::{Duration, Instant};

scoped! {
    /// The driver that this thread owns and runs, if any.
    pub(crate) const CURRENT: Driver
}

/// The queues of all live drivers, for threads that own none of them.
pub(super) static REMOTES: Registry<Remote> = Registry::new();

/// What a look at cached readiness saw: shown again to clear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) round: u32,
    pub(crate) readiness: Readiness,
}

impl Seen {
    /// The round of what was seen off the owner's thread: no turn has this number, so it clears nothing, wherever it is
    /// shown.
    pub(crate) const ELSEWHERE: u32 = 0;
}

/// What a driver is made of and set to.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) id: RuntimeId,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) unparker: std::sync::Arc<Unparker>,
    pub(crate) event_capacity: usize,
    pub(crate) timer_tick: Duration,
    pub(crate) precise_timers: bool,
    pub(crate) spin: Duration,
    pub(crate) keys: KeyWakers,
}

/// A reactor and timers, owned by one thread.
pub(crate) struct Driver {
    id: RuntimeId,
    clock: Clock,
    /// The last reading of the clock for timers: never later than now.
    last_reading: Cell<Moment>,
    reactor: RefCell<Reactor>,
    timers: RefCell<Timers<WakerSlot>>,
    stand_ins: StandIns,
    /// Ends waits for timers in place of their timeouts, if precise timers are wanted.
    alarm: Option<RefCell<Alarm>>,
    wakers: Wakers,
    /// The turn's list, kept for its room; taken out while a turn fills and wakes it.
    list: Cell<WakeList>,
    /// Names the futures that wait for readiness; never 0.
    next_waiter: Cell<u32>,
    unparker: std::sync::Arc<Unparker>,
    spin: Spin,
    remote: Arc<Remote>,
    /// Messages that have been taken and not handled.
    messages: RefCell<VecDeque<Message>>,
    /// Something was sent to this thread that it has not looked at.
    notified: Cell<bool>,
    /// A notification may have been written that no wait has consumed: a host would take the loop for ready.
    unconsumed: Cell<bool>,
}

/// Handles find the driver by the runtime's id.
impl Published for Driver {
    fn name(&self) -> Option<NonZeroU32> {
        Some(self.id.number())
    }
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> io::Result<Driver> {
        let unparker = parts.unparker;
        let remote = Remote::new(Waker::from(unparker.clone()));
        let clock = Clock::new(parts.timer_tick);
        let mut backend = parts.backend;
        let alarm = if parts.precise_timers {
            Alarm::new(&mut *backend)?
        } else {
            None
        };
        let reactor = Reactor::new(backend, parts.event_capacity);
        let (timers, wakers) = (Timers::new(), Wakers::new(parts.keys));
        // Last: what failed or panicked before is known to nobody.
        REMOTES.insert(parts.id, remote.clone());
        Ok(Driver {
            id: parts.id,
            last_reading: Cell::new(clock.start()),
            clock,
            reactor: RefCell::new(reactor),
            timers: RefCell::new(timers),
            stand_ins: StandIns::default(),
            alarm: alarm.map(RefCell::new),
            wakers,
            list: Cell::default(),
            next_waiter: Cell::new(0),
            unparker,
            spin: Spin::new(parts.spin),
            remote,
            messages: RefCell::default(),
            notified: Cell::new(false),
            unconsumed: Cell::new(false),
        })
    }

    /// Whose driver this is.
    #[inline]
    pub(crate) fn id(&self) -> RuntimeId {
        self.id
    }

    /// The name of the mechanism in use.
    pub(crate) fn backend_name(&self) -> String {
        self.reactor.borrow().backend().name().to_owned()
    }

    /// Whether errors end a wait for nothing else.
    pub(crate) fn tells_errors(&self) -> bool {
        self.reactor.borrow().tells_errors()
    }

    /// A descriptor of the mechanism's kernel object, for a host loop.
    pub(crate) fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.reactor
            .borrow()
            .backend()
            .as_fd()?
            .try_clone_to_owned()
    }

    /// One turn: waits for at most `limit` (`None`: without limit, `ZERO`: not at all), merges, expires and wakes.
    ///
    /// When someone else's wake panics, all others are woken first.
    pub(crate) fn turn(&self, limit: Option<Duration>) -> io::Result<()> {
        let mut list = self.list.take();
        let collected = self.collect(limit, &mut list);
        self.reactor.borrow_mut().release();
        if !list.is_idle() {
            list.wake_all();
        }
        self.list.set(list);
        collected
    }

    fn collect(&self, limit: Option<Duration>, list: &mut WakeList) -> io::Result<()> {
        let next = self.expire(list);
        let mut timeout = if list.is_idle() {
            limit
        } else {
            Some(Duration::ZERO)
        };
        if timeout != Some(Duration::ZERO) {
            timeout = self.until(next, timeout)?;
        }
        let mut parked = timeout != Some(Duration::ZERO);
        if parked {
            timeout = self.spin.before_sleep(&self.unparker, timeout, next);
        }
        if parked && !self.unparker.park() {
            (parked, timeout) = (false, Some(Duration::ZERO));
        }
        let mut reactor = self.reactor.borrow_mut();
        // Nothing is registered, so a look without waiting cannot bring anything.
        let idle = reactor.len() == 0 && self.alarm.is_none() && !self.unconsumed.get();
        let waited = if !parked && idle {
            Ok(false)
        } else {
            self.unconsumed.set(false);
            reactor.turn(timeout, &self.wakers, list)
        };
        let waited = match (waited, &self.alarm) {
            (Ok(true), Some(alarm)) => alarm.borrow_mut().gone_off(reactor.backend_mut()),
            (waited, _) => waited.map(drop),
        };
        drop(reactor);
        if parked {
            self.spin.after_sleep(self.resume());
            if list.is_idle() {
                self.expire(list);
            }
        }
        waited
    }

    /// How long to wait: until the next deadline, or `limit` if that is earlier. With an alarm the timer fd ends the wait.
    fn until(
        &self,
        next: Option<Duration>,
        limit: Option<Duration>,
    ) -> io::Result<Option<Duration>> {
        let Some(next) = next else { return Ok(limit) };
        if let Some(alarm) = &self.alarm {
            if !next.is_zero() {
                // The timer fd of a fork's child is its parent's.
                self.reactor.borrow().check_forked()?;
                let deadline = self.last_reading.get().plus(next);
                alarm.borrow_mut().set(deadline, next)?;
                return Ok(limit);
            }
        }
        Ok(Some(limit.map_or(next, |limit| limit.min(next))))
    }

    /// Moves the wakers of due timers to `list`; returns how long it is until the next deadline, if there is one.
    fn expire(&self, list: &mut WakeList) -> Option<Duration> {
        let mut timers = self.timers.borrow_mut();
        let next = timers.next_deadline().filter(|next| *next != NEVER_TICK)?;
        let now = Moment::now();
        self.last_reading.set(now);
        let next = self.clock.moment_at(next);
        if next > now {
            return Some(next.since(now));
        }
        timers.begin_expiry(self.clock.tick_before(now));
        for _ in 0..EXPIRIES_PER_TURN {
            match timers.pop_expired() {
                Some((_, slot)) => list.take(&self.wakers, slot),
                None => break,
            }
        }
        let next = timers.next_deadline().filter(|next| *next != NEVER_TICK)?;
        Some(self.clock.moment_at(next).since(now))
    }

    /// Whether something was sent to this thread since the last call. The caller looks at every queue afterwards.
    #[inline]
    pub(crate) fn take_notified(&self) -> bool {
        self.notified.replace(false) | self.unparker.take()
    }

    /// Whether a look at the queues is owed.
    pub(crate) fn is_notified(&self) -> bool {
        self.notified.get() || self.unparker.is_notified()
    }

    /// The loop's thread is about to run it: who publishes from now on need not end a sleep. True if somebody has published
    /// something since it was left.
    pub(crate) fn resume(&self) -> bool {
        let notified = self.unparker.wake_up();
        if notified {
            self.notified.set(true);
            self.unconsumed.set(true);
        }
        notified
    }

    /// The loop's thread leaves it for something else: who publishes from now on notifies, so that a host hears of it.
    /// False when something is there already.
    pub(crate) fn suspend(&self) -> bool {
        !self.notified.get() && self.unparker.park()
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tick = self.timers.borrow().next_deadline();
        let tick = tick.filter(|tick| *tick != NEVER_TICK)?;
        Some(self.clock.moment_at(tick).instant())
    }

    /// How many fds and timers there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.reactor.borrow().len(), self.timers.borrow().len())
    }

    /// How many foreign wakers are stored.
    #[cfg(all(test, not(loom)))]
    pub(super) fn foreign_wakers(&self) -> usize {
        self.wakers.foreign_len()
    }

    /// Refuses messages, handles those that are queued, wakes everyone who waits and forgets every fd and timer.
    /// Called once, by the runtime's drop, after the tasks are gone.
    ///
    /// When someone else's wake panics, all this is done first.
    pub(crate) fn shutdown(&self) {
        REMOTES.remove(self.id);
        self.remote.close();
        let mut panics = FirstPanic::default();
        // Each call goes on behind the message that panicked.
        while !panics.guard(|| self.handle_messages()) {}
        let mut list = WakeList::default();
        let tokens = self.reactor.borrow().tokens();
        for token in tokens {
            // The fd may have been closed; the mechanism goes away in a moment.
            let _ = self
                .reactor
                .borrow_mut()
                .deregister(token, false, &self.wakers, &mut list);
        }
        let slots = self.timers.borrow_mut().drain();
        for slot in slots {
            list.take(&self.wakers, slot);
        }
        panics.guard(|| list.wake_all());
        panics.resume();
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("id", &self.id)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Timers that one turn fires at most: a burst of a million does not keep the fds waiting.
const EXPIRIES_PER_TURN: usize = 1024;
