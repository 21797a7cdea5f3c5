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

use super::alarm::Alarm;
use super::clock::{Clock, Moment, NEVER_TICK};
use super::io_state::{Direction, answers};
use super::parker::Unparker;
use super::remote::{Message, Remote};
use super::stand_ins::StandIns;
use super::wake_list::{FirstPanic, WakeList};
use super::waker_slot::{KeyWakers, WakerSlot, Wakers};
use super::{Reactor, Watch, deregistered};
use crate::backend::{self, Backend};
use crate::budget;
use crate::interest::{Interest, Readiness};
use crate::registry::Registry;
use crate::sync::Arc;
use crate::sys::scoped::scoped;
use crate::timer::{TimerKey, Timers};
use crate::token::{RuntimeId, Token};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker};
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
    remote: Arc<Remote>,
    /// Messages that have been taken and not handled.
    messages: RefCell<VecDeque<Message>>,
    /// Something was sent to this thread that it has not looked at.
    notified: Cell<bool>,
    /// A notification may have been written that no wait has consumed: a host would take the loop for ready.
    unconsumed: Cell<bool>,
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
        let driver = Driver {
            id: parts.id,
            last_reading: Cell::new(clock.start()),
            clock,
            reactor: RefCell::new(Reactor::new(backend, parts.event_capacity)),
            timers: RefCell::new(Timers::new()),
            stand_ins: StandIns::default(),
            alarm: alarm.map(RefCell::new),
            wakers: Wakers::new(parts.keys),
            list: Cell::default(),
            next_waiter: Cell::new(0),
            unparker,
            remote,
            messages: RefCell::default(),
            notified: Cell::new(false),
            unconsumed: Cell::new(false),
        };
        // Last: what failed or panicked before is known to nobody.
        REMOTES.insert(driver.id, driver.remote.clone());
        Ok(driver)
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

    /// A descriptor of the mechanism's kernel object, for a host loop.
    pub(crate) fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.reactor
            .borrow()
            .backend()
            .as_fd()?
            .try_clone_to_owned()
    }

    // ---- a turn -----------------------------------------------------------------------------------------------

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
            self.resume();
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
                Some((_, mut slot)) => list.take(&self.wakers, &mut slot),
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

    /// The loop's thread is about to run it: who publishes from now on need not end a sleep.
    pub(crate) fn resume(&self) {
        if self.unparker.wake_up() {
            self.notified.set(true);
            self.unconsumed.set(true);
        }
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

    // ---- messages of other threads ----------------------------------------------------------------------------

    /// Does what other threads have asked for, in the order they asked, also when it is called by a waker that one of
    /// the messages wakes.
    ///
    /// When such a waker panics the rest is left for the next call, which is owed then.
    pub(crate) fn handle_messages(&self) {
        struct Owed<'a>(&'a Cell<bool>);
        impl Drop for Owed<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        self.remote.drain(&mut self.messages.borrow_mut());
        let owed = Owed(&self.notified);
        while let Some(message) = self.next_message() {
            self.handle(message);
        }
        std::mem::forget(owed);
    }

    fn next_message(&self) -> Option<Message> {
        self.messages.borrow_mut().pop_front()
    }

    fn handle(&self, message: Message) {
        match message {
            Message::Arm {
                token,
                direction,
                waker,
            } => self.arm_for(token, direction, waker),
            Message::Deregister { token, fd } => {
                // An error means that the number was closed already; there is nobody left to tell.
                let _ = self.deregister(token, fd);
            }
            Message::Timer {
                key,
                deadline,
                waker,
            } => self.wait_timer(key, deadline, waker),
            Message::Reset { key, deadline } => {
                let key = self.stand_ins.get(key).unwrap_or(key);
                let tick = self.deadline_tick(deadline);
                self.timers.borrow_mut().reset(key, tick);
            }
            Message::Cancel { key } => self.cancel_timer(key),
        }
    }

    /// Stores a foreign thread's waker, then looks at the fd once: what happened before is not lost, and what happens
    /// from now on comes as an event.
    fn arm_for(&self, token: Token, direction: Direction, waker: Waker) {
        let interest = direction.interest();
        let mut list = WakeList::default();
        let mut reactor = self.reactor.borrow_mut();
        let watched = reactor.watch(token, interest);
        let Some(state) = reactor.get(token) else {
            drop(reactor);
            // So that the waiter finds out.
            return waker.wake();
        };
        if direction == Direction::Priority {
            // The cached bit is cleared below, and reads stop at the mark all the same.
            state.traits.short_proves = false;
        }
        let (fd, round) = (state.fd, state.round);
        let mut known = None;
        if state.waits(direction, &self.wakers, &waker) {
            known = Some(waker);
        } else {
            let slot = self.wakers.store_owned(waker);
            let replaced = state.store(0, interest, slot, &self.wakers, &mut list);
            debug_assert!(replaced.is_none(), "only futures replace what they stored");
        }
        let seen = watched
            .and_then(|()| reactor.clear(token, round, direction.bit()))
            .and_then(|()| backend::look(fd, interest))
            // What cannot be asked is found out by trying.
            .unwrap_or(answers(interest));
        if !seen.is_empty() {
            reactor.merge_one(token, seen, &self.wakers, &mut list);
        }
        drop(reactor);
        drop(known);
        list.wake_all();
    }

    // ---- registrations ----------------------------------------------------------------------------------------

    /// Registers an fd. When it is taken for registered still, a foreign drop may wait in the queue: look, and try again.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, watch: Watch) -> io::Result<Token> {
        let first = self.reactor.borrow_mut().register(fd, watch);
        match first {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.handle_messages();
                self.reactor.borrow_mut().register(fd, watch)
            }
            result => result,
        }
    }

    /// Ends a registration and closes `fd` if one is given. Its waiters are woken.
    pub(crate) fn deregister(&self, token: Token, fd: Option<OwnedFd>) -> io::Result<()> {
        let mut list = WakeList::default();
        let closing = fd.is_some();
        let result = self
            .reactor
            .borrow_mut()
            .deregister(token, closing, &self.wakers, &mut list);
        drop(fd);
        if !list.is_idle() {
            list.wake_all();
        }
        result
    }

    /// Whether the registration is ready in one direction; stores the waker if not.
    #[inline]
    pub(crate) fn poll_ready(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        let mut reactor = self.reactor.borrow_mut();
        let Some(state) = reactor.get(token) else {
            return Poll::Ready(Err(deregistered()));
        };
        if state.readiness.intersects(answers(direction.interest())) {
            let readiness = state.readiness;
            return Poll::Ready(Ok(Seen {
                round: state.round,
                readiness,
            }));
        }
        if state.waits(direction, &self.wakers, cx.waker()) {
            return Poll::Pending;
        }
        drop(reactor);
        self.store_waiter(token, 0, direction.interest(), cx.waker())
            .map_or(Poll::Pending, |e| Poll::Ready(Err(e)))
    }

    /// Stores the waker of a direction that was just seen not ready, the long way.
    fn wait_ready(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self.poll_ready(token, direction, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // It got ready while a foreign waker was cloned: come again.
            Poll::Ready(Ok(_)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// As `poll_ready` for a future, which waits for any of `interest` and is named by `id` (0: not named yet).
    pub(crate) fn poll_ready_named(
        &self,
        token: Token,
        id: &mut u32,
        interest: Interest,
        cx: &Context<'_>,
    ) -> Poll<io::Result<Seen>> {
        let mut reactor = self.reactor.borrow_mut();
        let Some(state) = reactor.get(token) else {
            return Poll::Ready(Err(deregistered()));
        };
        if state.readiness.intersects(answers(interest)) {
            let readiness = state.readiness;
            return Poll::Ready(Ok(Seen {
                round: state.round,
                readiness,
            }));
        }
        if *id != 0 && state.holds(*id, &self.wakers, cx.waker()) {
            return Poll::Pending;
        }
        drop(reactor);
        if *id == 0 {
            *id = self.next_waiter.get().wrapping_add(1).max(1);
            self.next_waiter.set(*id);
        }
        self.store_waiter(token, *id, interest, cx.waker())
            .map_or(Poll::Pending, |e| Poll::Ready(Err(e)))
    }

    /// Stores a waker that is not stored yet. Some: why the wait cannot be.
    fn store_waiter(
        &self,
        token: Token,
        id: u32,
        interest: Interest,
        waker: &Waker,
    ) -> Option<io::Error> {
        // A foreign waker is cloned here, with nothing borrowed; the registration may be gone afterwards.
        let slot = self.wakers.store(waker);
        let mut list = WakeList::default();
        let mut reactor = self.reactor.borrow_mut();
        let watched = reactor.watch(token, interest);
        let (unused, error) = match (watched, reactor.get(token)) {
            // The clone has looked at messages, and one of them at the fd.
            (Ok(()), Some(state)) if state.readiness.intersects(answers(interest)) => {
                list.take(&self.wakers, &mut { slot });
                (None, None)
            }
            (Ok(()), Some(state)) => (
                state.store(id, interest, slot, &self.wakers, &mut list),
                None,
            ),
            (Err(error), _) => (self.wakers.take(slot), Some(error)),
            (_, None) => (self.wakers.take(slot), Some(deregistered())),
        };
        drop(reactor);
        drop(unused);
        if !list.is_idle() {
            list.wake_all();
        }
        error
    }

    /// Takes a future's waiter off.
    pub(crate) fn forget_waiter(&self, token: Token, id: u32) {
        let taken = {
            let mut reactor = self.reactor.borrow_mut();
            reactor
                .get(token)
                .and_then(|state| state.remove(id, &self.wakers))
        };
        drop(taken);
    }

    /// The cached readiness, whatever it is.
    pub(crate) fn cached(&self, token: Token) -> Option<Seen> {
        let mut reactor = self.reactor.borrow_mut();
        reactor.get(token).map(|state| Seen {
            round: state.round,
            readiness: state.readiness,
        })
    }

    /// Clears cached bits, unless something was merged since they were seen.
    #[inline]
    pub(crate) fn clear(&self, token: Token, round: u32, bits: Readiness) -> io::Result<()> {
        self.reactor.borrow_mut().clear(token, round, bits)
    }

    /// Takes back that a short read proves something: the caller has reason to think that it does not.
    pub(crate) fn distrust_short(&self, token: Token) {
        if let Some(state) = self.reactor.borrow_mut().get(token) {
            state.traits.short_proves = false;
        }
    }

    /// Runs a read or write of at most `len` bytes when the direction is ready; the heart of every stream's `poll_`.
    /// `call` is one of `sys`: it runs with the reactor borrowed.
    #[inline]
    pub(crate) fn poll_io(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
        len: usize,
        call: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if budget::check(cx).is_pending() {
            return Poll::Pending;
        }
        let mut reactor = self.reactor.borrow_mut();
        let done = reactor.try_call(token, direction, len, call);
        if done.is_ready() {
            budget::spend();
            return done;
        }
        if let Some(slot) = self.wakers.key_slot(cx.waker()) {
            if reactor.store_key(token, direction, slot) {
                return Poll::Pending;
            }
        }
        drop(reactor);
        self.wait_ready(token, direction, cx)
    }

    /// Runs any call when the direction is ready, with nothing borrowed.
    pub(crate) fn poll_call<R>(
        &self,
        token: Token,
        direction: Direction,
        cx: &Context<'_>,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        if budget::check(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            let seen = match self.poll_ready(token, direction, cx) {
                Poll::Ready(Ok(seen)) => seen,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            match call() {
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.clear(token, seen.round, direction.bit())?,
                    io::ErrorKind::Interrupted => {}
                    _ => return Poll::Ready(Err(error)),
                },
                done => {
                    budget::spend();
                    return Poll::Ready(done);
                }
            }
        }
    }

    // ---- timers -----------------------------------------------------------------------------------------------

    /// Arms a timer, or says that its deadline has passed already as far as the last reading of the clock can tell.
    #[inline]
    pub(crate) fn arm_timer(&self, deadline: Moment, waker: &Waker) -> Option<TimerKey> {
        if deadline <= self.last_reading.get() {
            return None;
        }
        let slot = self.wakers.store(waker);
        Some(
            self.timers
                .borrow_mut()
                .insert(self.clock.tick_after(deadline), slot),
        )
    }

    /// Whether an armed timer has fired; stores the waker if not.
    #[inline]
    pub(crate) fn poll_timer(&self, key: TimerKey, waker: &Waker) -> Poll<()> {
        let mut timers = self.timers.borrow_mut();
        let Some(slot) = timers.get_mut(key) else {
            drop(timers);
            self.cancel_stand_in(key);
            return Poll::Ready(());
        };
        if self.wakers.holds(*slot, waker) {
            return Poll::Pending;
        }
        drop(timers);
        let fresh = self.wakers.store(waker);
        drop(self.swap_timer_waker(key, fresh));
        Poll::Pending
    }

    /// Puts another waker into a timer and returns the one that is in it no more; a timer that has fired meanwhile
    /// gives the new one back.
    fn swap_timer_waker(&self, key: TimerKey, fresh: WakerSlot) -> Option<Waker> {
        let mut timers = self.timers.borrow_mut();
        let old = match timers.get_mut(key) {
            Some(slot) => std::mem::replace(slot, fresh),
            None => fresh,
        };
        drop(timers);
        self.wakers.take(old)
    }

    /// A foreign thread waits for a timer: stores its waker. When the timer has fired before a foreign reset reached
    /// it, another one is armed in its place.
    fn wait_timer(&self, key: TimerKey, deadline: Moment, waker: Waker) {
        let live = self.stand_ins.get(key).unwrap_or(key);
        let armed = self.timers.borrow_mut().get_mut(live).is_some();
        if !armed && Moment::now() >= deadline {
            return waker.wake();
        }
        let fresh = self.wakers.store_owned(waker);
        if armed {
            drop(self.swap_timer_waker(live, fresh));
        } else {
            let tick = self.deadline_tick(deadline);
            let stand_in = self.timers.borrow_mut().insert(tick, fresh);
            self.stand_ins.set(key, stand_in);
        }
    }

    /// Gives a timer another deadline; false if it has fired.
    #[inline]
    pub(crate) fn reset_timer(&self, key: TimerKey, deadline: Moment) -> bool {
        let tick = self.deadline_tick(deadline);
        let armed = self.timers.borrow_mut().reset(key, tick);
        if !armed {
            self.cancel_stand_in(key);
        }
        armed
    }

    /// The tick of a deadline.
    #[inline]
    pub(crate) fn deadline_tick(&self, deadline: Moment) -> u64 {
        self.clock.tick_after(deadline)
    }

    /// Takes a timer off; nothing happens if it has fired.
    #[inline]
    pub(crate) fn cancel_timer(&self, key: TimerKey) {
        let slot = self.timers.borrow_mut().cancel(key);
        match slot {
            Some(slot) => drop(self.wakers.take(slot)),
            None => self.cancel_stand_in(key),
        }
    }

    /// Takes off what stands for a timer that has fired.
    #[inline]
    fn cancel_stand_in(&self, key: TimerKey) {
        if let Some(stand_in) = self.stand_ins.take(key) {
            let slot = self.timers.borrow_mut().cancel(stand_in);
            drop(slot.and_then(|slot| self.wakers.take(slot)));
        }
    }

    // ---- the end ----------------------------------------------------------------------------------------------

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
        for mut slot in slots {
            list.take(&self.wakers, &mut slot);
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
