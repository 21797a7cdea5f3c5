//! The delivery of one event: masking, the call of the handler, arming the fd again, and lasting
//! hang-ups.

use super::EventLoop;
use super::attached::{Cause, Handler};
use crate::backend::{Interest, Ready, Token, Trigger};
use crate::panics::FirstPanic;
use crate::reactor::registrations::Rearm;
use std::io;

impl<D: 'static> EventLoop<D> {
    /// Calls the handler of an fd, if the fd is still attached and its interest still contains
    /// something that was seen.
    #[inline(always)]
    pub(super) fn dispatch(&mut self, token: Token, seen: Ready) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        if is_hangup(seen) {
            return self.dispatch_hangup(token, seen);
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
            Trigger::Oneshot => entry.state.disarm(),
            Trigger::Edge if self.table.capabilities().rearm => {
                return self.dispatch_and_rearm(token, &handler, seen);
            }
            Trigger::Edge => {}
        }
        self.call(token, &handler, Cause::Ready(seen));
    }

    /// Same as `dispatch`, for an edge on a mechanism without edges: arms the fd again, even after
    /// a panic. Otherwise data that the handler has left would not be reported.
    #[cold]
    fn dispatch_and_rearm(&mut self, token: Token, handler: &Handler<D>, seen: Ready) {
        let mut panics = FirstPanic::default();
        panics.call(|| self.call(token, handler, Cause::Ready(seen)));
        let armed = self.rearm(token, seen);
        if armed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            self.report_lost(token);
        }
        panics.resume();
    }

    /// Same as `dispatch`, for a hang-up or an error, which is reported whatever the interest is.
    #[cold]
    fn dispatch_hangup(&mut self, token: Token, seen: Ready) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        if (entry.state.is_disarmed || entry.is_taken_out()) && !seen.is_invalid() {
            return;
        }
        entry.state.hangup_delivered = true;
        if entry.trigger == Trigger::Oneshot {
            entry.state.disarm();
        }
        let Some(handler) = entry.state.handler.clone() else {
            return;
        };
        let mut panics = FirstPanic::default();
        panics.call(|| self.call(token, &handler, Cause::Ready(seen)));
        self.after_hangup(token, seen);
        panics.resume();
    }

    /// Keeps a lasting hang-up or error, which cannot be masked, from being reported in every turn:
    ///
    /// | trigger | what is done |
    /// |---|---|
    /// | `Level` with READABLE | nothing: it is reported again until the handler closes the fd |
    /// | `Level` without READABLE | taken out, see [`Registrations::take_out`](crate::reactor::registrations::Registrations::take_out) |
    /// | `Edge`, mechanism with `rearm` | armed again, except for a side that has ended; on the recheck list while there is nothing else to report |
    /// | `Edge`, other mechanisms | nothing: the next event is a new one |
    /// | `Oneshot` | nothing: the fd is silent until `modify` |
    fn after_hangup(&mut self, token: Token, seen: Ready) {
        let rearm = self.table.capabilities().rearm;
        let Some(entry) = self.table.get(token) else {
            return;
        };
        let was_armed = !std::mem::take(&mut entry.state.hangup_delivered);
        if was_armed || seen.is_invalid() {
            return;
        }
        match entry.trigger {
            Trigger::Level if !entry.state.effective().is_readable() => self.table.take_out(token),
            Trigger::Edge if rearm => {
                let again = Rearm {
                    interest: entry.watched | Interest::ERROR,
                    armed: entry.watched,
                    ended: seen,
                };
                if self.table.rearm(token, again).is_err() {
                    self.report_lost(token);
                }
            }
            Trigger::Level | Trigger::Edge | Trigger::Oneshot => {}
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

    /// Arms an edge-triggered fd again after an event. A reading side that has ended is not armed:
    /// nothing more arrives, and a mechanism without edges would report the end in every turn.
    fn rearm(&mut self, token: Token, seen: Ready) -> io::Result<()> {
        let entry = self.table.get(token);
        let Some(entry) = entry.filter(|entry| entry.trigger == Trigger::Edge) else {
            return Ok(());
        };
        let (mut interest, mut armed) = (Interest::ERROR, entry.watched);
        if seen.is_read_closed() {
            armed = armed - Interest::READABLE;
        }
        for direction in [Interest::READABLE, Interest::WRITABLE, Interest::PRIORITY] {
            let was_seen = seen.intersects(Ready::from_interest(direction));
            if was_seen && armed.contains(direction) {
                interest |= direction;
            }
        }
        entry.state.hangup_delivered = false;
        let again = Rearm {
            interest,
            armed,
            ended: Ready::EMPTY,
        };
        self.table.rearm(token, again)
    }
}

/// Whether a hang-up, an error or a closed descriptor was seen. These are reported whatever the
/// interest is.
///
/// `WRITE_CLOSED` counts as a hang-up: no more can be written, whether or not the peer still sends.
fn is_hangup(seen: Ready) -> bool {
    seen.intersects(Ready::ERROR | Ready::INVALID | Ready::WRITE_CLOSED)
}
