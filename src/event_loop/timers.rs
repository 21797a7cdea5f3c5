//! Timeouts of fds, which come to the fd's own handler, and timers that belong to no fd.

use super::EventLoop;
use super::attach::not_attached;
use super::source::{Cause, Source, Timeout};
use super::turn::Caught;
use crate::backend::Token;
use crate::reactor::clock::{Moment, NEVER_TICK};
use crate::timer::TimerKey;
use std::io;
use std::time::{Duration, Instant};

/// Whose time has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Source(Token),
    /// The end of a source's pause.
    Resume(Token),
    /// A place among the free timers.
    Free(u32),
}

/// A timer of its own.
pub(super) struct FreeTimer<D> {
    /// Tells it from others that had its place.
    id: u64,
    key: TimerKey,
    /// `None` while it runs.
    handler: Option<TimerHandler<D>>,
}

type TimerHandler<D> = Box<dyn FnMut(&mut EventLoop<D>, Timer)>;

/// Names a timer set by [`EventLoop::set_timer`]. A plain number; once the timer has fired or was cancelled it names
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timer {
    id: u64,
    place: u32,
    owner: u32,
}

/// Timers that one turn fires at most: a burst of a million does not keep the fds waiting.
const EXPIRIES_PER_TURN: usize = 1024;

impl<D: 'static> EventLoop<D> {
    /// Calls the fd's handler with [`Cause::Timeout`] when `after` has passed and the timeout was not pushed back. One per fd:
    /// a second call replaces the first.
    ///
    /// # Errors
    ///
    /// `NotFound` when nothing is attached under that name any more.
    pub fn set_timeout<T>(&mut self, source: Source<T>, after: Duration) -> io::Result<()> {
        let token = self.live(source)?;
        self.arm_timeout(token, after);
        Ok(())
    }

    /// Pushes the fd's timeout back to as long from now as it was set to, or arms it again after it has come. One store into
    /// the wheel, so cheap enough for every read.
    ///
    /// # Errors
    ///
    /// `NotFound` when nothing is attached under that name any more, or it has no timeout.
    #[inline]
    pub fn push_timeout<T>(&mut self, source: Source<T>) -> io::Result<()> {
        let token = self.live(source)?;
        let timeout = self.table.peek(token).and_then(|entry| entry.state.timeout);
        let Some(Timeout { after, key }) = timeout else {
            return Err(not_attached());
        };
        let tick = self.clock.tick_after(Moment::after(after));
        if !self.timers.reset(key, tick) {
            self.arm_timeout(token, after);
        }
        Ok(())
    }

    /// Takes the fd's timeout off; false when there was none, or it has come.
    pub fn clear_timeout<T>(&mut self, source: Source<T>) -> bool {
        let Ok(token) = self.live(source) else {
            return false;
        };
        let timeout = self
            .table
            .get(token)
            .and_then(|entry| entry.state.timeout.take());
        timeout.is_some_and(|timeout| self.timers.cancel(timeout.key).is_some())
    }

    fn arm_timeout(&mut self, token: Token, after: Duration) {
        let tick = self.clock.tick_after(Moment::after(after));
        let before = self.table.peek(token).and_then(|entry| entry.state.timeout);
        let key = match before {
            Some(before) if self.timers.reset(before.key, tick) => before.key,
            _ => self.timers.insert(tick, Due::Source(token)),
        };
        if let Some(entry) = self.table.get(token) {
            entry.state.timeout = Some(Timeout { after, key });
        }
    }

    /// Calls `handler` once when `after` has passed. The handler may arm it again with [`reset_timer`](EventLoop::reset_timer),
    /// and so make it a periodic one; else it is dropped.
    ///
    /// Timers do not keep [`run`](EventLoop::run) from stopping. One that the handler of a timer or a timeout sets fires in the
    /// next turn at the earliest.
    pub fn set_timer(
        &mut self,
        after: Duration,
        handler: impl FnMut(&mut EventLoop<D>, Timer) + 'static,
    ) -> Timer {
        self.set_timer_for(Moment::after(after), Box::new(handler))
    }

    /// As [`set_timer`](EventLoop::set_timer), at a given instant.
    pub fn set_timer_at(
        &mut self,
        deadline: Instant,
        handler: impl FnMut(&mut EventLoop<D>, Timer) + 'static,
    ) -> Timer {
        self.set_timer_for(Moment::of(deadline), Box::new(handler))
    }

    fn set_timer_for(&mut self, deadline: Moment, handler: TimerHandler<D>) -> Timer {
        let tick = self.clock.tick_after(deadline);
        let entry = self.free_timers.vacant_entry();
        let place = u32::try_from(entry.key()).expect("the wheel holds no more than that");
        self.last_timer += 1;
        entry.insert(FreeTimer {
            id: self.last_timer,
            key: self.timers.insert(tick, Due::Free(place)),
            handler: Some(handler),
        });
        Timer {
            id: self.last_timer,
            place,
            owner: self.id,
        }
    }

    /// Gives a timer another deadline, `after` from now; false when it has fired or was cancelled. Inside the timer's own
    /// handler this arms it again.
    pub fn reset_timer(&mut self, timer: Timer, after: Duration) -> bool {
        self.reset_timer_to(timer, Moment::after(after))
    }

    /// As [`reset_timer`](EventLoop::reset_timer), to a given instant.
    pub fn reset_timer_at(&mut self, timer: Timer, deadline: Instant) -> bool {
        self.reset_timer_to(timer, Moment::of(deadline))
    }

    fn reset_timer_to(&mut self, timer: Timer, deadline: Moment) -> bool {
        let tick = self.clock.tick_after(deadline);
        let Some(free) = find(&mut self.free_timers, self.id, timer) else {
            return false;
        };
        if !self.timers.reset(free.key, tick) {
            free.key = self.timers.insert(tick, Due::Free(timer.place));
        }
        true
    }

    /// Takes a timer off and drops its handler; false when it has fired or was cancelled before.
    pub fn cancel_timer(&mut self, timer: Timer) -> bool {
        let Some(free) = find(&mut self.free_timers, self.id, timer) else {
            return false;
        };
        let armed = self.timers.cancel(free.key).is_some();
        let free = self.free_timers.remove(timer.place as usize);
        // Out of the table first: its drop is foreign code.
        drop(free);
        armed
    }

    /// Stops watching an fd, as [`pause`](EventLoop::pause), and resumes after a while: what an `accept` calls for that found no
    /// descriptor left. A call of `pause`, `resume` or this one takes the place of an earlier one.
    ///
    /// # Errors
    ///
    /// As [`pause`](EventLoop::pause).
    pub fn pause_for<T>(&mut self, source: Source<T>, a_while: Duration) -> io::Result<()> {
        self.pause(source)?;
        let tick = self.clock.tick_after(Moment::after(a_while));
        let key = self.timers.insert(tick, Due::Resume(source.token));
        if let Some(entry) = self.table.get(source.token) {
            entry.state.resumes = Some(key);
        }
        Ok(())
    }

    fn end_pause(&mut self, token: Token) {
        if self.resume_any(token).is_err() {
            self.lost(token);
        }
    }

    /// Forgets when a pause was to end.
    pub(super) fn cancel_resume(&mut self, token: Token) {
        let key = self
            .table
            .get(token)
            .and_then(|entry| entry.state.resumes.take());
        if let Some(key) = key {
            self.timers.cancel(key);
        }
    }

    /// How long it is until the next timer, if there is one.
    pub(super) fn until_next_timer(&self) -> Option<Duration> {
        let tick = self.timers.next_deadline()?;
        (tick != NEVER_TICK).then(|| self.clock.moment_at(tick).since(Moment::now()))
    }

    /// Calls the handlers of the timers that are due.
    #[inline]
    pub(super) fn fire(&mut self) {
        if !self.timers.is_empty() {
            self.fire_due();
        }
    }

    fn fire_due(&mut self) {
        let now = self.clock.tick_before(Moment::now());
        if self.timers.next_deadline().is_none_or(|next| next > now) {
            return;
        }
        self.timers.begin_expiry(now);
        for _ in 0..EXPIRIES_PER_TURN {
            match self.timers.pop_expired() {
                Some((_, Due::Source(token))) => self.time_out(token),
                Some((_, Due::Resume(token))) => self.end_pause(token),
                Some((_, Due::Free(place))) => self.fire_free(place),
                None => break,
            }
        }
    }

    fn time_out(&mut self, token: Token) {
        let entry = self.table.get(token);
        if let Some(handler) = entry.and_then(|entry| entry.state.handler.clone()) {
            self.call(token, &handler, Cause::Timeout);
        }
    }

    fn fire_free(&mut self, place: u32) {
        let Some(free) = self.free_timers.get_mut(place as usize) else {
            return;
        };
        let timer = Timer {
            id: free.id,
            place,
            owner: self.id,
        };
        let Some(mut handler) = free.handler.take() else {
            return;
        };
        self.calls += 1;
        let mut caught = Caught::default();
        caught.call(|| handler(self, timer));
        if let Some(free) = find(&mut self.free_timers, self.id, timer) {
            if self.timers.deadline(free.key).is_some() {
                free.handler = Some(handler);
            } else {
                self.free_timers.remove(place as usize);
            }
        }
        caught.resume();
    }
}

/// The live timer of that name.
fn find<D>(
    timers: &mut slab::Slab<FreeTimer<D>>,
    owner: u32,
    timer: Timer,
) -> Option<&mut FreeTimer<D>> {
    let free = timers.get_mut(timer.place as usize)?;
    (timer.owner == owner && timer.id == free.id).then_some(free)
}
