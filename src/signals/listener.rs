//! [`Listener`]: compares the counters of some kinds of signals with what it has seen.

use super::SignalKind;
use super::hub::Hub;
use crate::budget;
use crate::sys::signal::{Counter, Mark};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Listens for some kinds of signals on a runtime.
#[derive(Debug)]
pub(crate) struct Listener {
    hub: Arc<Hub>,
    id: u64,
    kinds: Vec<Watched>,
    /// Where the search for the next signal begins, so that a kind that arrives all the time does
    /// not keep another from being reported.
    first: usize,
}

#[derive(Debug)]
struct Watched {
    kind: SignalKind,
    counter: Arc<Counter>,
    seen: Mark,
}

impl Listener {
    /// Listens for signals that arrive from now on.
    ///
    /// # Errors
    ///
    /// If one of the kinds is refused. Then it listens for none.
    pub(crate) fn new(hub: Arc<Hub>, kinds: &[SignalKind]) -> io::Result<Listener> {
        let mut listener = Listener {
            id: hub.next_id(),
            hub,
            kinds: Vec::with_capacity(kinds.len()),
            first: 0,
        };
        for &kind in kinds {
            if listener.kinds.iter().any(|known| known.kind == kind) {
                continue;
            }
            let counter = listener.hub.heard.add(kind)?;
            let seen = counter.mark();
            listener.kinds.push(Watched {
                kind,
                counter,
                seen,
            });
        }
        Ok(listener)
    }

    /// Returns the kinds, without duplicates.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = SignalKind> + '_ {
        self.kinds.iter().map(|watched| watched.kind)
    }

    /// Polls for a kind that has arrived since it was returned last; `None` once the runtime has
    /// ended and everything was returned.
    pub(crate) fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<SignalKind>> {
        ready!(budget::check(cx));
        let mut found = self.take();
        if found.is_pending() {
            self.hub.wait(self.id, cx.waker());
            // Again, because a signal may have come before the waker was stored.
            found = self.take();
        }
        if found.is_ready() {
            budget::spend();
        }
        found
    }

    fn take(&mut self) -> Poll<Option<SignalKind>> {
        // Read first: what was counted before the end is returned.
        let has_ended = self.hub.has_ended();
        let count = self.kinds.len();
        for at in (self.first..count).chain(0..self.first) {
            let watched = &mut self.kinds[at];
            if watched.counter.since(&mut watched.seen) != 0 {
                self.first = (at + 1) % count;
                return Poll::Ready(Some(watched.kind));
            }
        }
        match has_ended {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for watched in &self.kinds {
            self.hub.heard.remove(watched.kind);
        }
        self.hub.forget(self.id);
    }
}
