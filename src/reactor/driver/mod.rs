//! The [`Driver`]: a reactor and timers side by side, and one turn of both.
//!
//! ```text
//! turn:  free the places of registrations that have ended -> due timers
//!        -> wait (until the next deadline, or not at all) -> merge events
//!        -> timers that came due during the wait
//!        -> wake foreign wakers (the runtime's own tasks are woken as they are found)
//! ```
//!
//! The clock is read once before the wait if a timer is armed, unless the caller has just read it.
//! It is read again only after a wait that found no event. Timers that come due while tasks run are
//! found by the next turn.
//!
//! One thread owns the driver, and publishes it in [`CURRENT`] while it runs the loop. The parts
//! are in separate cells, so that a function borrows only what it needs. None is borrowed while
//! foreign code runs.
//!
//! This file has the parts, a turn, and the end. `waiting.rs` has registrations, `timing.rs`
//! timers, `messages.rs` the messages of other threads, `inspect.rs` lists of what is registered
//! and armed, and `pausing.rs` the clock of tests.

mod inspect;
mod messages;
#[cfg(feature = "test-util")]
mod pausing;
mod timing;
mod waiting;

use super::Reactor;
use super::alarm::Alarm;
use super::clock::{Clock, Moment};
use super::parker::Parker;
use super::remote::{Message, REMOTES, Remote};
use super::replaced_timers::ReplacedTimers;
use super::slack::{Slack, first_wait};
use super::timer_places::TimerPlaces;
use super::wake_list::WakeList;
use super::waker_slot::{KeyWakers, WakerSlot, Wakers};
use crate::backend::Backend;
use crate::place::Place;
use crate::sync::Arc;
use crate::sys::scoped::{Published, scoped};
use crate::timer::Timers;
use crate::token::{RuntimeId, Token};
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

/// The parts and settings of a new driver.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) id: RuntimeId,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) parker: Parker,
    pub(crate) event_capacity: usize,
    pub(crate) clock: Clock,
    pub(crate) precise_timers: bool,
    pub(crate) timer_slack: Option<Duration>,
    pub(crate) keys: KeyWakers,
    /// Called with each new registration and the place where its owner was created, inside the
    /// runtime.
    pub(crate) on_register: Option<fn(Token, Place)>,
    /// Whether the places are noted where timers and owners of registrations are created.
    pub(crate) tracks_places: bool,
}

/// A reactor and timers, owned by one thread.
pub(crate) struct Driver {
    id: RuntimeId,
    clock: Clock,
    /// The last reading of the clock for timers: never later than now.
    last_reading: Cell<Moment>,
    reactor: RefCell<Reactor>,
    timers: RefCell<Timers<WakerSlot>>,
    replaced_timers: ReplacedTimers,
    /// Ends waits for timers in place of a timeout, if precise timers were chosen.
    alarm: Option<RefCell<Alarm>>,
    /// The timer slack of this thread while it runs the loop, if one was chosen.
    slack: Option<Slack>,
    wakers: Wakers,
    /// The latest name of a future that waits for readiness.
    last_waiter: Cell<u64>,
    parker: Parker,
    remote: Arc<Remote>,
    /// Messages that were taken from `remote` and not handled yet.
    messages: RefCell<VecDeque<Message>>,
    /// Called with each new registration, if the runtime keeps a record of them.
    on_register: Option<fn(Token, Place)>,
    /// Where the timers were created, if that is tracked.
    timer_places: Option<RefCell<TimerPlaces>>,
    /// Whether a host has the mechanism's descriptor and makes turns while it is readable.
    hosted: Cell<bool>,
}

/// Handles find the driver by the runtime's id.
impl Published for Driver {
    fn name(&self) -> Option<NonZeroU32> {
        Some(self.id.number())
    }
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> io::Result<Driver> {
        let parker = parts.parker;
        let clock = parts.clock;
        let mut backend = parts.backend;
        let unpark = Waker::from(parker.unparker().clone());
        let remote = Remote::new(unpark, clock.source().clone(), backend.releaser());
        let alarm = if parts.precise_timers {
            Alarm::new(&mut *backend)?
        } else {
            None
        };
        let reactor = Reactor::new(backend, parts.event_capacity);
        let (timers, wakers) = (Timers::new(), Wakers::new(parts.keys));
        // Last, so that no other thread finds a driver whose creation fails.
        REMOTES.insert(parts.id, remote.clone());
        Ok(Driver {
            id: parts.id,
            last_reading: Cell::new(clock.start()),
            clock,
            reactor: RefCell::new(reactor),
            timers: RefCell::new(timers),
            replaced_timers: ReplacedTimers::default(),
            alarm: alarm.map(RefCell::new),
            slack: parts.timer_slack.map(Slack::new),
            wakers,
            last_waiter: Cell::new(0),
            parker,
            remote,
            messages: RefCell::default(),
            on_register: parts.on_register,
            timer_places: parts
                .tracks_places
                .then(|| RefCell::new(TimerPlaces::new())),
            hosted: Cell::new(false),
        })
    }

    /// Returns the id of the runtime.
    #[inline]
    pub(crate) fn id(&self) -> RuntimeId {
        self.id
    }

    /// Returns the name of the mechanism.
    pub(crate) fn backend_name(&self) -> String {
        self.reactor.borrow().table.backend().name().to_owned()
    }

    /// Returns whether an error alone ends a wait.
    pub(crate) fn reports_errors(&self) -> bool {
        self.reactor.borrow().table.capabilities().errors
    }

    /// Returns whether the end of the peer's side is reported while data is unread.
    pub(crate) fn reports_end(&self) -> bool {
        self.reactor.borrow().table.capabilities().read_closed
    }

    /// Returns an error in the child of a fork, where the mechanism's kernel object is the
    /// parent's.
    pub(crate) fn check_forked(&self) -> io::Result<()> {
        self.reactor.borrow().table.check_forked()
    }

    /// Returns whether the mechanism refuses to register files that cannot be polled.
    pub(crate) fn refuses_files(&self) -> bool {
        self.reactor.borrow().table.capabilities().refuses_files
    }

    /// Returns a descriptor of the mechanism's kernel object, for a host loop. From now on each
    /// turn polls that object.
    pub(crate) fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        let reactor = self.reactor.borrow();
        let fd = reactor.table.backend().as_fd()?.try_clone_to_owned()?;
        self.hosted.set(true);
        Ok(fd)
    }

    /// Makes one turn, which waits for at most `limit` (`None`: without limit).
    #[cfg(all(test, not(loom)))]
    pub(crate) fn turn(&self, limit: Option<Duration>) -> io::Result<()> {
        self.turn_at(None, limit)
    }

    /// Makes one turn: fires timers, waits for at most `limit` (`None`: without limit), merges
    /// events and wakes. `now` is the present of the monotonic clock, if the caller knows it.
    #[inline]
    pub(crate) fn turn_at(&self, now: Option<Moment>, limit: Option<Duration>) -> io::Result<()> {
        let mut turn = Turn {
            list: WakeList::default(),
            driver: self,
        };
        let collected = self.collect(now, limit, &mut turn.list);
        turn.wake();
        std::mem::forget(turn);
        collected
    }

    fn collect(
        &self,
        now: Option<Moment>,
        limit: Option<Duration>,
        list: &mut WakeList,
    ) -> io::Result<()> {
        let mut reactor = self.reactor.borrow_mut();
        reactor.table.release();
        let next = self.expire(now, list);
        let timeout = match limit {
            _ if !list.is_idle() => Some(Duration::ZERO),
            Some(Duration::ZERO) => limit,
            _ => self.timeout(next, limit, &reactor)?,
        };
        let wait = |timeout| self.wait(timeout, &mut reactor, list);
        let (waited, slept) = self.parker.sleep(timeout, next, wait);
        drop(reactor);
        if slept && list.is_idle() {
            self.expire(None, list);
        }
        waited
    }

    /// Waits in the mechanism and merges its events.
    #[inline]
    fn wait(
        &self,
        timeout: Option<Duration>,
        reactor: &mut Reactor,
        list: &mut WakeList,
    ) -> io::Result<()> {
        // If nothing is registered, a wait of zero length reports nothing. Only a host needs it: it
        // consumes events that keep the kernel object readable, of files that were closed here and
        // still have another descriptor.
        let is_needed = self.parker.take_unconsumed()
            || reactor.table.len() != 0
            || timeout != Some(Duration::ZERO)
            || self.alarm.is_some()
            || self.hosted.get();
        if is_needed && reactor.turn(timeout, &self.wakers, list)? {
            if let Some(alarm) = &self.alarm {
                return alarm.borrow_mut().expired(reactor.table.backend_mut());
            }
        }
        Ok(())
    }

    /// Returns how long to wait: until the next deadline, the next recheck, or `limit`, whichever
    /// is earliest. With an alarm the timer fd ends the wait for the deadline.
    #[inline]
    fn timeout(
        &self,
        next: Option<Duration>,
        limit: Option<Duration>,
        reactor: &Reactor,
    ) -> io::Result<Option<Duration>> {
        let recheck = reactor.table.until_next_recheck();
        let limit = recheck.into_iter().chain(limit).min();
        let Some(next) = next else { return Ok(limit) };
        if let Some(alarm) = &self.alarm {
            if !next.is_zero() {
                // The timer fd of a fork's child is its parent's.
                reactor.table.check_forked()?;
                let deadline = self.last_reading.get().plus(next);
                // The timer fd counts real time.
                let deadline = self.clock.source().to_monotonic(deadline);
                let deadline = deadline.unwrap_or(Moment::NEVER);
                alarm.borrow_mut().set(deadline, next)?;
                return Ok(limit);
            }
        }
        let next = match self.slack {
            Some(_) => first_wait(next),
            None => next,
        };
        Ok(Some(limit.map_or(next, |limit| limit.min(next))))
    }

    /// Moves the wakers of due timers to `list`. Returns how long it is until the next deadline, if
    /// there is one and the clock runs. `now` is the present of the monotonic clock, if the caller
    /// knows it.
    #[inline]
    fn expire(&self, now: Option<Moment>, list: &mut WakeList) -> Option<Duration> {
        if self.timers.borrow().is_empty() {
            return None;
        }
        self.expire_due(now, list)
    }

    // Inlined it would cost a turn without timers 32 of 656 instructions, for registers to save.
    #[inline(never)]
    fn expire_due(&self, now: Option<Moment>, list: &mut WakeList) -> Option<Duration> {
        let mut timers = self.timers.borrow_mut();
        let next = self.clock.moment_at(timers.next_deadline()?)?;
        let now = self.clock.now_or_at(now);
        self.last_reading.set(now);
        if next > now {
            return self.clock.source().wait_until(next, now);
        }
        timers.begin_expiry(self.clock.tick_before(now));
        for _ in 0..EXPIRIES_PER_TURN {
            match timers.pop_expired() {
                Some((_, slot)) => list.take(&self.wakers, slot),
                None => break,
            }
        }
        let next = self.clock.moment_at(timers.next_deadline()?)?;
        self.clock.source().wait_until(next, now)
    }

    /// As [`Parker::take_notified`].
    #[inline]
    pub(crate) fn take_notified(&self) -> bool {
        self.parker.take_notified()
    }

    /// As [`Parker::is_notified`].
    pub(crate) fn is_notified(&self) -> bool {
        self.parker.is_notified()
    }

    /// As [`Parker::resume`]; also sets the timer slack that was chosen.
    pub(crate) fn resume(&self) {
        if let Some(slack) = &self.slack {
            slack.enter();
        }
        self.parker.resume();
    }

    /// As [`Parker::suspend`]; also restores the thread's own timer slack.
    pub(crate) fn suspend(&self) -> bool {
        if let Some(slack) = &self.slack {
            slack.leave();
        }
        self.parker.suspend()
    }

    /// Gives back memory that is kept for new timers and registrations.
    pub(crate) fn shrink(&self) {
        self.timers.borrow_mut().shrink();
        if let Some(places) = &self.timer_places {
            let timers = self.timers.borrow();
            let is_armed = |key| timers.deadline(key).is_some();
            places.borrow_mut().shrink(is_armed);
        }
        self.reactor.borrow_mut().table.shrink();
        self.wakers.shrink();
        self.messages.borrow_mut().shrink_to_fit();
    }

    /// Returns when the next timer or the next recheck is due, on the monotonic clock.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tick = self.timers.borrow().next_deadline();
        let timer = tick.and_then(|tick| self.clock.moment_at(tick));
        let timer = timer.and_then(|timer| self.clock.source().to_monotonic(timer));
        let recheck = self.reactor.borrow().table.next_recheck();
        let next = timer.into_iter().chain(recheck).min()?;
        Some(next.instant())
    }

    /// Returns the numbers of fds and timers.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (
            self.reactor.borrow().table.len(),
            self.timers.borrow().len(),
        )
    }

    /// Returns the number of stored foreign wakers.
    #[cfg(all(test, not(loom)))]
    pub(super) fn foreign_wakers(&self) -> usize {
        self.wakers.foreign_len()
    }

    /// Refuses new messages, handles the queued ones, deregisters all fds, cancels all timers and
    /// wakes all waiters. Called once, by the drop of the runtime, after the tasks are gone.
    pub(crate) fn shutdown(&self) {
        self.remote.stop_watching();
        REMOTES.remove(self.id);
        self.remote.close();
        self.handle_messages();
        let mut list = WakeList::default();
        let tokens = self.reactor.borrow().table.tokens();
        for token in tokens {
            let removed =
                self.reactor
                    .borrow_mut()
                    .deregister(token, false, &self.wakers, &mut list);
            // On an error the fd was closed before; the mechanism is dropped soon.
            if let Err(panic) = removed {
                self.wakers.report_panic(panic);
            }
        }
        let slots = self.timers.borrow_mut().drain();
        for slot in slots {
            list.take(&self.wakers, slot);
        }
        list.wake_all(&self.wakers);
    }
}

/// A turn that has not ended. If the mechanism panics, the drop wakes the wakers that the turn has
/// collected.
struct Turn<'a> {
    driver: &'a Driver,
    list: WakeList,
}

impl Turn<'_> {
    /// Wakes the collected wakers.
    #[inline]
    fn wake(&mut self) {
        self.list.wake_all(&self.driver.wakers);
    }
}

impl Drop for Turn<'_> {
    /// Runs only after a panic of the mechanism. The wakers are in no other place. The reactor may
    /// be borrowed, if a method of the mechanism has called `turn_at`.
    #[cold]
    fn drop(&mut self) {
        self.wake();
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

/// The largest number of timers that one turn fires, so that a burst of a million does not keep the
/// fds waiting.
const EXPIRIES_PER_TURN: usize = 1024;
