//! The batch of a turn: the kernel's events, and the loop's own events, which no kernel reports.

use super::EventLoop;
use super::attached::{Attached, ready_now};
use crate::backend::{Ready, Token, Trigger};
use crate::reactor::registrations::Registrations;

/// The loop's own events, and how far the batch of this turn has been delivered.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Own events for the next turn, of fds that the mechanism refuses to watch any longer.
    pending: Vec<(Token, Ready)>,
    /// The armed fds that are always ready, and perhaps fds that were detached since the last wait.
    always_ready: Vec<Token>,
    /// The own events of this turn, and the first one that is not delivered.
    own: Vec<(Token, Ready)>,
    next_own: usize,
    /// The first of the kernel's events that is not delivered.
    next_event: usize,
}

impl Batch {
    /// Adds an own event for the next turn.
    pub(super) fn push(&mut self, token: Token, seen: Ready) {
        self.pending.push((token, seen));
    }

    /// Adds an fd that is always ready.
    pub(super) fn push_always_ready(&mut self, token: Token) {
        self.always_ready.push(token);
    }

    /// Starts at the first of the kernel's events.
    #[inline]
    pub(super) fn restart(&mut self) {
        self.next_event = 0;
    }

    /// Skips the kernel's events: a failed wait leaves those of the last wait, which have been
    /// delivered.
    pub(super) fn skip_events(&mut self, count: usize) {
        self.next_event = count;
    }

    /// Whether the next turn has own events.
    pub(super) fn has_pending<D>(&self, table: &Registrations<Attached<D>>) -> bool {
        let is_ready = |token: &Token| {
            let entry = table.peek(*token);
            entry.is_some_and(|entry| !ready_now(entry.state.effective()).is_empty())
        };
        !self.pending.is_empty() || self.always_ready.iter().any(is_ready)
    }

    /// Collects the own events of this turn.
    #[inline]
    pub(super) fn take_pending<D>(&mut self, table: &mut Registrations<Attached<D>>) {
        self.own.clear();
        self.next_own = 0;
        self.own.append(&mut self.pending);
        let own = &mut self.own;
        self.always_ready.retain(|token| {
            let Some(entry) = table.get(*token) else {
                return false;
            };
            let ready = ready_now(entry.state.effective());
            if !ready.is_empty() {
                own.push((*token, ready));
                // With the other triggers it is reported once. Arming the fd lists it again.
                entry.state.is_listed = entry.trigger == Trigger::Level;
            }
            entry.state.is_listed
        });
    }
}

impl<D: 'static> EventLoop<D> {
    /// Whether a panic has ended a turn before its batch was delivered.
    pub(super) fn is_in_batch(&self) -> bool {
        self.batch.next_own < self.batch.own.len()
            || self.batch.next_event < self.table.events().len()
    }

    /// Calls the handlers of this turn's events.
    pub(super) fn deliver(&mut self) {
        if self.batch.next_own < self.batch.own.len() {
            self.deliver_own();
        }
        while let Some(event) = self.table.events().get(self.batch.next_event).copied() {
            self.batch.next_event += 1;
            self.dispatch(event.token, event.readiness);
        }
    }

    /// Calls the handlers of the own events of this turn.
    #[cold]
    fn deliver_own(&mut self) {
        while let Some((token, seen)) = self.batch.own.get(self.batch.next_own).copied() {
            self.batch.next_own += 1;
            self.dispatch(token, seen);
        }
    }
}
