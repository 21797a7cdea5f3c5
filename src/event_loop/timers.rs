//! Timeouts of fds, which call the handler of the fd, and timers with handlers of their own.

use super::EventLoop;
use super::attached::{Cause, Due, Timeout};
use super::error::no_timeout;
use super::key::{Key, TimerKey};
use crate::backend::Token;
use crate::panics::FirstPanic;
use crate::reactor::clock::Moment;
use crate::reactor::slack::first_wait;
use crate::timer::TimerKey as WheelKey;
use slab::Slab;
use std::io;
use std::time::{Duration, Instant};

/// A timer of [`EventLoop::set_timer`].
pub(super) struct UserTimer<D> {
    /// Differs from those of earlier timers with the same index.
    id: u64,
    key: WheelKey,
    /// `None` while the handler runs.
    handler: Option<TimerHandler<D>>,
}

type TimerHandler<D> = Box<dyn FnMut(&mut EventLoop<D>, TimerKey)>;

/// How many timers one turn fires at most, so that a burst of a million timers does not keep the
/// fds waiting.
const EXPIRIES_PER_TURN: usize = 1024;

impl<D: 'static> EventLoop<D> {
    /// Sets the timeout of an fd: its handler is called with [`Cause::Timeout`] once `after` has
    /// passed.
    ///
    /// The timeout can be [pushed back](EventLoop::push_timeout) or
    /// [cleared](EventLoop::clear_timeout) before that. An fd has one timeout; a second call
    /// replaces the first.
    ///
    /// # Errors
    ///
    /// `NotFound` if the key is no longer valid.
    ///
    /// # Examples
    ///
    /// A connection that is closed when it has been idle for too long:
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::EventLoop;
    /// use std::io::Read;
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let mut event_loop = EventLoop::new(())?;
    /// let (readable, level) = (Interest::READABLE, Trigger::Level);
    /// let key = event_loop.attach(ours, readable, level, |event_loop, key, cause| {
    ///     let Some(stream) = event_loop.get_mut(key) else { return };
    ///     if cause.is_timeout() || matches!(stream.read(&mut [0; 512]), Ok(0)) {
    ///         event_loop.close(key);
    ///         event_loop.stop();
    ///     } else {
    ///         // Cheap enough for each read. It fails only without a timeout.
    ///         let _ = event_loop.push_timeout(key);
    ///     }
    /// })?;
    /// event_loop.set_timeout(key, Duration::from_millis(1))?;
    /// event_loop.run()?;
    /// assert!(event_loop.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_timeout<T>(&mut self, key: Key<T>, after: Duration) -> io::Result<()> {
        let token = self.live_token(key)?;
        self.arm_timeout(token, after);
        Ok(())
    }

    /// Starts the timeout of an fd again, with the duration that was set, even after it has passed.
    ///
    /// This is usually one store into the timer wheel, cheap enough for each read.
    /// [`set_timeout`](EventLoop::set_timeout) has an example.
    ///
    /// # Errors
    ///
    /// `NotFound` if the key is no longer valid or the fd has no timeout.
    #[inline]
    pub fn push_timeout<T>(&mut self, key: Key<T>) -> io::Result<()> {
        let token = self.live_token(key)?;
        let timeout = self.table.peek(token).and_then(|entry| entry.state.timeout);
        let Some(Timeout { after, key }) = timeout else {
            return Err(no_timeout());
        };
        let tick = self.clock.tick_after(self.clock.now().plus(after));
        if !self.timers.reset(key, tick) {
            self.arm_timeout(token, after);
        }
        Ok(())
    }

    /// Clears the timeout of an fd. Returns false if there is none or it has passed.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::backend::{Interest, Trigger};
    /// use reveille::event_loop::EventLoop;
    /// use std::net::UdpSocket;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let mut event_loop = EventLoop::new(())?;
    /// let key = event_loop.attach(socket, Interest::READABLE, Trigger::Level, |_, _, _| {})?;
    /// event_loop.set_timeout(key, Duration::from_secs(60))?;
    /// assert!(event_loop.clear_timeout(key));
    /// assert!(!event_loop.clear_timeout(key));
    /// assert!(event_loop.push_timeout(key).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear_timeout<T>(&mut self, key: Key<T>) -> bool {
        let Ok(token) = self.live_token(key) else {
            return false;
        };
        let timeout = self
            .table
            .get(token)
            .and_then(|entry| entry.state.timeout.take());
        timeout.is_some_and(|timeout| self.timers.cancel(timeout.key).is_some())
    }

    fn arm_timeout(&mut self, token: Token, after: Duration) {
        let tick = self.clock.tick_after(self.clock.now().plus(after));
        let before = self.table.peek(token).and_then(|entry| entry.state.timeout);
        let key = match before {
            Some(before) if self.timers.reset(before.key, tick) => before.key,
            _ => self.timers.insert(tick, Due::Timeout(token)),
        };
        if let Some(entry) = self.table.get(token) {
            entry.state.timeout = Some(Timeout { after, key });
        }
    }

    /// Sets a timer, which calls `handler` once `after` has passed.
    ///
    /// The handler may arm the timer again with [`reset_timer`](EventLoop::reset_timer); otherwise
    /// it is dropped after the call.
    ///
    /// Timers do not keep [`run`](EventLoop::run) from stopping. A timer that the handler of a
    /// timer or a timeout sets fires in the next turn at the earliest.
    ///
    /// # Examples
    ///
    /// A timer that fires three times, and one that is cancelled:
    ///
    /// ```
    /// use reveille::event_loop::{EventLoop, TimerKey};
    /// use std::time::Duration;
    ///
    /// const PERIOD: Duration = Duration::from_millis(1);
    ///
    /// fn tick(event_loop: &mut EventLoop<u32>, key: TimerKey) {
    ///     *event_loop.data_mut() += 1;
    ///     if *event_loop.data() < 3 {
    ///         event_loop.reset_timer(key, PERIOD);
    ///     } else {
    ///         event_loop.stop();
    ///     }
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(0)?;
    /// let cancelled = event_loop.set_timer(PERIOD, |_, _| unreachable!());
    /// assert!(event_loop.cancel_timer(cancelled));
    /// event_loop.set_timer(PERIOD, tick);
    /// event_loop.run()?;
    /// assert_eq!(*event_loop.data(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_timer(
        &mut self,
        after: Duration,
        handler: impl FnMut(&mut EventLoop<D>, TimerKey) + 'static,
    ) -> TimerKey {
        self.set_timer_for(self.clock.now().plus(after), Box::new(handler))
    }

    /// Same as [`set_timer`](EventLoop::set_timer), with a deadline.
    ///
    /// # Examples
    ///
    /// A period that does not drift, because each deadline is computed from the last one:
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    /// use std::time::{Duration, Instant};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let period = Duration::from_millis(1);
    /// let mut event_loop = EventLoop::new(0)?;
    /// let mut deadline = Instant::now() + period;
    /// event_loop.set_timer_at(deadline, move |event_loop, key| {
    ///     *event_loop.data_mut() += 1;
    ///     if *event_loop.data() == 3 {
    ///         return event_loop.stop();
    ///     }
    ///     deadline += period;
    ///     event_loop.reset_timer_at(key, deadline);
    /// });
    /// event_loop.run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_timer_at(
        &mut self,
        deadline: Instant,
        handler: impl FnMut(&mut EventLoop<D>, TimerKey) + 'static,
    ) -> TimerKey {
        self.set_timer_for(Moment::of(deadline), Box::new(handler))
    }

    fn set_timer_for(&mut self, deadline: Moment, handler: TimerHandler<D>) -> TimerKey {
        let tick = self.clock.tick_after(deadline);
        let entry = self.user_timers.vacant_entry();
        let index = u32::try_from(entry.key()).expect("the wheel holds fewer timers");
        self.last_timer_id += 1;
        entry.insert(UserTimer {
            id: self.last_timer_id,
            key: self.timers.insert(tick, Due::User(index)),
            handler: Some(handler),
        });
        TimerKey {
            id: self.last_timer_id,
            index,
            owner: self.id,
        }
    }

    /// Sets the deadline of a timer to `after` from now. Returns false if the timer has fired or
    /// was cancelled.
    ///
    /// Called in the timer's own handler, it arms the timer again.
    /// [`set_timer`](EventLoop::set_timer) has an example.
    pub fn reset_timer(&mut self, key: TimerKey, after: Duration) -> bool {
        self.reset_timer_to(key, self.clock.now().plus(after))
    }

    /// Same as [`reset_timer`](EventLoop::reset_timer), with a deadline.
    /// [`set_timer_at`](EventLoop::set_timer_at) has an example.
    pub fn reset_timer_at(&mut self, key: TimerKey, deadline: Instant) -> bool {
        self.reset_timer_to(key, Moment::of(deadline))
    }

    fn reset_timer_to(&mut self, key: TimerKey, deadline: Moment) -> bool {
        let tick = self.clock.tick_after(deadline);
        let Some(user_timer) = find_timer(&mut self.user_timers, self.id, key) else {
            return false;
        };
        if !self.timers.reset(user_timer.key, tick) {
            user_timer.key = self.timers.insert(tick, Due::User(key.index));
        }
        true
    }

    /// Cancels a timer and drops its handler. Returns false if the timer has fired or was cancelled
    /// before. [`set_timer`](EventLoop::set_timer) has an example.
    pub fn cancel_timer(&mut self, key: TimerKey) -> bool {
        let Some(user_timer) = find_timer(&mut self.user_timers, self.id, key) else {
            return false;
        };
        let armed = self.timers.cancel(user_timer.key).is_some();
        let user_timer = self.user_timers.remove(key.index as usize);
        // Removed first, because the drop of the handler is foreign code.
        drop(user_timer);
        armed
    }

    /// Returns how long to wait for the next timer, if there is one. With a timer slack a long wait
    /// ends before it.
    pub(super) fn until_next_timer(&self) -> Option<Duration> {
        let tick = self.timers.next_deadline()?;
        let next = self.clock.moment_at(tick)?.since(self.clock.now());
        Some(match self.slack {
            Some(_) => first_wait(next),
            None => next,
        })
    }

    /// Handles the timers that are due.
    #[inline]
    pub(super) fn fire_timers(&mut self) {
        if !self.timers.is_empty() {
            self.fire_due_timers();
        }
    }

    fn fire_due_timers(&mut self) {
        let now = self.clock.tick_before(self.clock.now());
        if self.timers.next_deadline().is_none_or(|next| next > now) {
            return;
        }
        self.timers.begin_expiry(now);
        for _ in 0..EXPIRIES_PER_TURN {
            match self.timers.pop_expired() {
                Some((_, Due::Timeout(token))) => self.fire_timeout(token),
                Some((_, Due::PauseEnd(token))) => self.fire_pause_end(token),
                Some((_, Due::User(index))) => self.fire_user_timer(index),
                None => break,
            }
        }
    }

    fn fire_timeout(&mut self, token: Token) {
        let entry = self.table.get(token);
        if let Some(handler) = entry.and_then(|entry| entry.state.handler.clone()) {
            self.call(token, &handler, Cause::Timeout);
        }
    }

    fn fire_user_timer(&mut self, index: u32) {
        let Some(user_timer) = self.user_timers.get_mut(index as usize) else {
            return;
        };
        let key = TimerKey {
            id: user_timer.id,
            index,
            owner: self.id,
        };
        let Some(mut handler) = user_timer.handler.take() else {
            return;
        };
        self.calls += 1;
        let mut panics = FirstPanic::default();
        panics.call(|| handler(self, key));
        if let Some(user_timer) = find_timer(&mut self.user_timers, self.id, key) {
            if self.timers.deadline(user_timer.key).is_some() {
                user_timer.handler = Some(handler);
                return panics.resume();
            }
            self.user_timers.remove(index as usize);
        }
        // The drop is foreign code too, so after a panic of the handler it must not run during the
        // unwinding.
        panics.call(|| drop(handler));
        panics.resume();
    }
}

/// Returns the timer of a key, if it is valid.
fn find_timer<D>(
    timers: &mut Slab<UserTimer<D>>,
    owner: u32,
    key: TimerKey,
) -> Option<&mut UserTimer<D>> {
    let user_timer = timers.get_mut(key.index as usize)?;
    (key.owner == owner && key.id == user_timer.id).then_some(user_timer)
}
