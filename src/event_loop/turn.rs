//! The loop: a turn, and the order of the work in it.

use super::EventLoop;
use super::hooks::HookPoint;
use crate::backend::{Ready, Token};
use crate::budget;
use crate::panics::FirstPanic;
use std::io;
use std::time::Duration;

impl<D: 'static> EventLoop<D> {
    /// Runs turns until [`stop`](EventLoop::stop) or [`Handle::stop`](super::Handle::stop) is
    /// called.
    ///
    /// If it was called before, `run` returns at once. The [module](super) has an example.
    ///
    /// # Errors
    ///
    /// Returns an error if the mechanism fails permanently, if the process is the child of a fork
    /// and has not called [`after_fork`](EventLoop::after_fork), or if a handler calls it.
    ///
    /// # Panics
    ///
    /// Panics if a handler panics. The loop stays usable: the next call continues after the handler
    /// that panicked.
    pub fn run(&mut self) -> io::Result<()> {
        self.enter(|event_loop| {
            while !event_loop.take_stopped() {
                event_loop.one_turn(None)?;
            }
            Ok(())
        })
    }

    /// Makes one turn and returns how many handlers of fds, timers and messages were called.
    ///
    /// The turn waits for at most `limit`: with `None` until something happens, with zero not at
    /// all. A signal ends the wait early, and then no handler may have been called.
    ///
    /// # Errors
    ///
    /// Same as [`run`](EventLoop::run).
    ///
    /// # Panics
    ///
    /// Same as [`run`](EventLoop::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::event_loop::EventLoop;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = EventLoop::new(())?;
    /// assert_eq!(event_loop.turn(Some(Duration::ZERO))?, 0);
    /// event_loop.set_timer(Duration::ZERO, |_, _| {});
    /// while event_loop.turn(None)? == 0 {}
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn(&mut self, limit: Option<Duration>) -> io::Result<usize> {
        self.enter(|event_loop| event_loop.one_turn(limit))
    }

    fn enter<R>(&mut self, f: impl FnOnce(&mut Self) -> io::Result<R>) -> io::Result<R> {
        if self.running {
            return Err(io::Error::other(
                "cannot run the event loop: it is running already; a handler must not call `run` or `turn` of its loop",
            ));
        }
        self.running = true;
        if let Some(slack) = &self.slack {
            slack.enter();
        }
        self.parker.resume();
        let mut panics = FirstPanic::default();
        // A task may host this loop, and the handlers must not use up its budget.
        let unbound = budget::unbound();
        let result = panics.call(|| f(self));
        drop(unbound);
        self.running = false;
        self.suspend();
        panics.resume();
        result.expect("a function that has not panicked has returned")
    }

    /// Ends the thread's stay in the loop. From now on other threads use the notifier, which makes
    /// `host_fd` readable.
    pub(super) fn suspend(&self) {
        if let Some(slack) = &self.slack {
            slack.leave();
        }
        self.parker.suspend();
    }

    fn one_turn(&mut self, limit: Option<Duration>) -> io::Result<usize> {
        let before = self.calls;
        if !self.is_in_batch() {
            self.call_hooks(HookPoint::BeforeWait);
            self.wait(limit)?;
        }
        self.deliver();
        self.call_hooks(HookPoint::AfterEvents);
        self.take_messages();
        self.fire_timers();
        self.run_deferred();
        self.table.release();
        self.call_hooks(HookPoint::AfterTurn);
        Ok(self.calls - before)
    }

    /// Whether there is work that no kernel reports, so that the loop must not wait.
    pub(super) fn has_work(&self) -> bool {
        self.parker.is_notified()
            || !self.deferred.is_empty()
            || self.is_in_batch()
            || self.is_stopped()
            || self.batch.has_pending(&self.table)
    }

    fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let mut timeout = limit;
        if self.has_work() {
            timeout = Some(Duration::ZERO);
        } else if timeout != Some(Duration::ZERO) {
            let next = [self.until_next_timer(), self.table.until_next_recheck()];
            timeout = next.into_iter().chain([timeout]).flatten().min();
        }
        self.batch.restart();
        let wait = |timeout| self.table.wait(timeout);
        let (waited, _) = self.parker.sleep(timeout, None, wait);
        if let Err(error) = waited {
            // The events are those of an earlier wait.
            self.batch.skip_events(self.table.events().len());
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.batch.take_pending(&mut self.table);
        Ok(())
    }

    /// Reports an fd that the mechanism no longer watches: its handler is called once, with
    /// `INVALID`.
    pub(super) fn report_lost(&mut self, token: Token) {
        let invalid = Ready::INVALID | Ready::READABLE | Ready::WRITABLE;
        self.batch.push(token, invalid);
    }

    fn run_deferred(&mut self) {
        if self.deferred.is_empty() {
            return;
        }
        // Functions that are deferred meanwhile belong to the next turn.
        let mut due = std::mem::take(&mut self.deferred).into_iter();
        let mut panics = FirstPanic::default();
        for f in due.by_ref() {
            panics.call(|| f(self));
            if panics.is_panic() {
                break;
            }
        }
        let left = due.collect::<Vec<_>>();
        self.deferred.splice(0..0, left);
        panics.resume();
    }
}
