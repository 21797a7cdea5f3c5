//! The loop: turns, and who is called in them.

use super::EventLoop;
use super::attach::ready_now;
use super::hooks::Place;
use super::source::{Cause, Handler};
use crate::backend::{self, Interest, Readiness, Token, Trigger};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Lets foreign code panic where something must be put back first.
#[derive(Default)]
pub(super) struct Caught(Option<Box<dyn Any + Send>>);

impl Caught {
    /// Runs `f` and keeps its panic.
    #[inline]
    pub(super) fn call<R>(&mut self, f: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(result) => Some(result),
            Err(payload) => {
                self.0 = Some(payload);
                None
            }
        }
    }

    pub(super) fn is_panic(&self) -> bool {
        self.0.is_some()
    }

    /// The panic goes on, if there was one.
    #[inline]
    pub(super) fn resume(self) {
        if let Some(payload) = self.0 {
            resume_unwind(payload);
        }
    }
}

impl<D: 'static> EventLoop<D> {
    /// Runs turns until the loop is told to stop, by [`stop`](EventLoop::stop) in a handler or by a
    /// [`Handle`](super::Handle), which may have been before.
    ///
    /// # Errors
    ///
    /// When the mechanism fails for good, when the process is a fork's child and [`after_fork`](EventLoop::after_fork)
    /// was not called, and when it is called from inside a handler.
    ///
    /// # Panics
    ///
    /// With a handler's panic. The loop stays usable: the next call goes on behind the handler that panicked.
    pub fn run(&mut self) -> io::Result<()> {
        self.enter(|event_loop| {
            while !event_loop.take_stopped() {
                event_loop.turn(None)?;
            }
            Ok(())
        })
    }

    /// Makes one turn, which waits for at most `limit` (`None`: until something happens; zero: not at all), and returns how many
    /// handlers of fds, timers and messages were called.
    ///
    /// # Errors
    ///
    /// As [`run`](EventLoop::run).
    ///
    /// # Panics
    ///
    /// As [`run`](EventLoop::run).
    pub fn run_once(&mut self, limit: Option<Duration>) -> io::Result<usize> {
        self.enter(|event_loop| event_loop.turn(limit))
    }

    fn enter<R>(&mut self, f: impl FnOnce(&mut Self) -> io::Result<R>) -> io::Result<R> {
        if self.running {
            return Err(io::Error::other(
                "this event loop runs already: a handler cannot run it again",
            ));
        }
        self.running = true;
        self.notified |= self.unparker.wake_up();
        let mut caught = Caught::default();
        let result = caught.call(|| f(self));
        self.running = false;
        self.suspend();
        caught.resume();
        result.expect("what did not panic has returned")
    }

    /// The thread leaves the loop for something else: who publishes from now on notifies, so that a host hears of it.
    pub(super) fn suspend(&self) {
        // Refused when something was published: then it is looked at first thing in the next turn.
        let _ = !self.notified && self.unparker.park();
    }

    fn turn(&mut self, limit: Option<Duration>) -> io::Result<usize> {
        let before = self.calls;
        if !self.is_in_batch() {
            self.call_hooks(Place::BeforeWait);
            self.wait(limit)?;
        }
        self.deliver();
        self.call_hooks(Place::AfterEvents);
        self.take_messages();
        self.fire();
        self.do_deferred();
        self.table.release();
        self.call_hooks(Place::AfterTurn);
        Ok(self.calls - before)
    }

    /// Whether a panic has cut a batch short.
    fn is_in_batch(&self) -> bool {
        self.next_of_batch < self.batch.len() || self.next_event < self.table.events().len()
    }

    /// Whether there is something to do that no kernel tells of.
    pub(super) fn has_work(&self) -> bool {
        self.notified
            || !self.deferred.is_empty()
            || !self.pending.is_empty()
            || self.is_in_batch()
            || self.is_stopped()
            || self.always.iter().any(|token| {
                let entry = self.table.peek(*token);
                entry.is_some_and(|entry| !ready_now(entry.state.effective()).is_empty())
            })
    }

    fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let mut timeout = limit;
        if self.has_work() {
            timeout = Some(Duration::ZERO);
        } else if timeout != Some(Duration::ZERO) {
            if let Some(next) = self.until_next_timer() {
                timeout = Some(timeout.map_or(next, |timeout| timeout.min(next)));
            }
        }
        let mut parked = timeout != Some(Duration::ZERO);
        if parked {
            timeout = self.spin.before_sleep(&self.unparker, timeout, None);
        }
        if parked && !self.unparker.park() {
            (parked, timeout) = (false, Some(Duration::ZERO));
        }
        self.next_event = 0;
        let waited = self.table.wait(timeout);
        if parked {
            let notified = self.unparker.wake_up();
            self.spin.after_sleep(notified);
            self.notified |= notified;
        }
        if let Err(error) = waited {
            // There is no batch: nothing of an old one may be taken for it.
            self.next_event = self.table.events().len();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.take_pending();
        Ok(())
    }

    /// Makes a batch of what no kernel reports.
    fn take_pending(&mut self) {
        self.batch.clear();
        self.next_of_batch = 0;
        self.batch.append(&mut self.pending);
        let (table, batch) = (&mut self.table, &mut self.batch);
        self.always.retain(|token| {
            let Some(entry) = table.get(*token) else {
                return false;
            };
            let ready = ready_now(entry.state.effective());
            if !ready.is_empty() {
                batch.push((*token, ready));
                // Told once, unless its trigger is the level; armed again by what arms it.
                entry.state.is_listed = entry.trigger == Trigger::Level;
            }
            entry.state.is_listed
        });
    }

    fn deliver(&mut self) {
        if self.next_of_batch < self.batch.len() {
            self.deliver_pending();
        }
        while let Some(event) = self.table.events().get(self.next_event).copied() {
            self.next_event += 1;
            self.dispatch(event.token, event.readiness);
        }
    }

    /// Delivers what no kernel has reported.
    #[cold]
    fn deliver_pending(&mut self) {
        while let Some((token, seen)) = self.batch.get(self.next_of_batch).copied() {
            self.next_of_batch += 1;
            self.dispatch(token, seen);
        }
    }

    /// Calls the handler of an fd for what was seen of it, if it is attached still and asks for it still.
    #[inline(always)]
    fn dispatch(&mut self, token: Token, seen: Readiness) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        if is_the_end(seen) {
            return self.dispatch_the_end(token, seen);
        }
        let seen = seen & entry.state.mask;
        if seen.is_empty() {
            return;
        }
        let trigger = entry.trigger;
        let Some(handler) = entry.state.handler.clone() else {
            return;
        };
        match trigger {
            Trigger::Level => {}
            Trigger::Oneshot => entry.state.spend(),
            Trigger::Edge if self.table.capabilities().rearm => {
                return self.dispatch_and_rearm(token, &handler, seen);
            }
            Trigger::Edge => {}
        }
        self.call(token, &handler, Cause::Ready(seen));
    }

    /// As `dispatch`, on a mechanism that knows no edges: looks again for what was delivered, also after a panic, or what is left
    /// would not be told.
    #[cold]
    fn dispatch_and_rearm(&mut self, token: Token, handler: &Handler<D>, seen: Readiness) {
        let mut caught = Caught::default();
        caught.call(|| self.call(token, handler, Cause::Ready(seen)));
        let armed = self.rearm(token, seen);
        if armed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            self.lost(token);
        }
        caught.resume();
    }

    /// As `dispatch`, for what is told whatever was asked for.
    #[cold]
    fn dispatch_the_end(&mut self, token: Token, seen: Readiness) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        if entry.state.is_spent && !seen.is_invalid() {
            return;
        }
        entry.state.told_the_end = true;
        if entry.trigger == Trigger::Oneshot {
            entry.state.spend();
        }
        let Some(handler) = entry.state.handler.clone() else {
            return;
        };
        let mut caught = Caught::default();
        caught.call(|| self.call(token, &handler, Cause::Ready(seen)));
        self.after_the_end(token, seen);
        caught.resume();
    }

    /// A hang-up or an error was delivered, so the backend reports this fd no more. It is armed again when the error has been
    /// taken, as a datagram socket's can be, and when a level-triggered handler still wants to read: there may be more than it
    /// took.
    fn after_the_end(&mut self, token: Token, seen: Readiness) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        let (trigger, held) = (entry.trigger, &entry.state);
        let is_settled = !held.told_the_end || seen.is_invalid();
        if is_settled || trigger == Trigger::Oneshot {
            return;
        }
        let wants_more = trigger == Trigger::Level && held.effective().is_readable();
        let over = backend::look(entry.fd, Interest::NONE).is_ok_and(|now| !is_the_end(now));
        let armed = match trigger {
            _ if !(wants_more || over) => return,
            Trigger::Level => self.apply(token),
            _ => self.rearm(token, seen),
        };
        if armed.is_err() {
            self.lost(token);
        }
    }

    /// Calls a handler.
    #[inline]
    pub(super) fn call(&mut self, token: Token, handler: &Handler<D>, cause: Cause) {
        self.calls += 1;
        if let Ok(mut handler) = handler.try_borrow_mut() {
            handler(self, token, cause);
        }
    }

    /// A reading side that has ended is not armed again: nothing more comes there, and a mechanism that knows no edges would tell
    /// the end for ever.
    fn rearm(&mut self, token: Token, seen: Readiness) -> io::Result<()> {
        let entry = self.table.get(token);
        let Some(entry) = entry.filter(|entry| entry.trigger == Trigger::Edge) else {
            return Ok(());
        };
        let mut interest = Interest::ERROR;
        for direction in [Interest::READABLE, Interest::WRITABLE, Interest::PRIORITY] {
            let was_seen = seen.intersects(Readiness::from_interest(direction));
            let has_ended = direction == Interest::READABLE && seen.is_read_closed();
            if was_seen && !has_ended && entry.watched.contains(direction) {
                interest |= direction;
            }
        }
        entry.state.told_the_end = false;
        self.table.rearm(token, interest)
    }

    /// The mechanism refuses to watch an fd any longer: its handler is told, once.
    pub(super) fn lost(&mut self, token: Token) {
        let invalid = Readiness::INVALID | Readiness::READABLE | Readiness::WRITABLE;
        self.pending.push((token, invalid));
    }

    fn do_deferred(&mut self) {
        if self.deferred.is_empty() {
            return;
        }
        // Those that are deferred meanwhile are the next turn's.
        let mut due = std::mem::take(&mut self.deferred).into_iter();
        let mut caught = Caught::default();
        for f in due.by_ref() {
            caught.call(|| f(self));
            if caught.is_panic() {
                break;
            }
        }
        let left = due.collect::<Vec<_>>();
        self.deferred.splice(0..0, left);
        caught.resume();
    }
}

/// Whether a hang-up, an error or a closed number was seen, which nobody can ask not to be told of. (A side that is closed for
/// writing is closed for both, or is what a writer waits for.)
fn is_the_end(seen: Readiness) -> bool {
    seen.intersects(Readiness::ERROR | Readiness::INVALID | Readiness::WRITE_CLOSED)
}
