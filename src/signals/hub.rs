//! [`Hub`]: the signals of one runtime, and the tasks that wait for them.
//!
//! A runtime has a hub while it has a listener. The hub registers its descriptor with the reactor
//! and waits for it with a waker of its own, a [`Pump`]. When the descriptor is readable, the
//! runtime's thread drains it, and *then* wakes the task of every listener, which compares its
//! counters. No other code drains it, so a listener may be used on any thread.
//!
//! At the end of the runtime the reactor deregisters the descriptor, which wakes the pump as well:
//! it finds the registration gone, removes the actions, and the listeners end.

use super::HeardSignals;
use crate::budget;
use crate::interest::Interest;
use crate::panics::catch;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::direction::{Direction, visible_bits};
use crate::reactor::registration::Registration;
use crate::sync::ForkLock;
use crate::task;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// How long to wait after the mechanism has refused to watch the descriptor again.
const RETRY: Duration = Duration::from_millis(10);

/// The signals that the tasks of one runtime listen for.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Ends with the hub, before the descriptor is closed.
    registration: Registration,
    pub(super) heard: HeardSignals,
    /// The wakers of listeners that wait, by the ids of the listeners.
    waiting: ForkLock<Vec<(u64, Waker)>>,
    last_id: AtomicU64,
    has_ended: AtomicBool,
}

impl Hub {
    /// Registers a descriptor with the runtime that this thread runs.
    fn new() -> io::Result<Arc<Hub>> {
        let heard = HeardSignals::new()?;
        let watch = Watch::Custom(Interest::READABLE);
        let registration = Registration::new(heard.wake_fd().as_fd(), watch, Place::UNKNOWN)?;
        let hub = Arc::new(Hub {
            registration,
            heard,
            waiting: ForkLock::new(Vec::new()),
            last_id: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
        });
        hub.pump(&Waker::from(Arc::new(Pump(Arc::downgrade(&hub)))));
        Ok(hub)
    }

    /// Returns an id for a listener.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the runtime has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    /// Wakes a listener's task after the next signal of any kind. The listener checks its
    /// counters again after this.
    pub(super) fn wait(&self, id: u64, waker: &Waker) {
        // Wakers are cloned and dropped without the lock, because that may be foreign code.
        let unbound = budget::unbound();
        let waker = waker.clone();
        drop(unbound);
        let mut waiting = self.waiting.lock();
        let former = match waiting.iter_mut().find(|(known, _)| *known == id) {
            Some((_, former)) => Some(std::mem::replace(former, waker)),
            None => {
                waiting.push((id, waker));
                None
            }
        };
        drop(waiting);
        if let Some(former) = former {
            guard(|| drop(former));
        }
    }

    /// Drops the waker of a listener.
    pub(super) fn forget(&self, id: u64) {
        let mut waiting = self.waiting.lock();
        let at = waiting.iter().position(|(known, _)| *known == id);
        let removed = at.map(|at| waiting.swap_remove(at));
        drop(waiting);
        if let Some(removed) = removed {
            guard(|| drop(removed));
        }
    }

    fn fd(&self) -> RawFd {
        self.heard.wake_fd().as_fd().as_raw_fd()
    }

    /// Drains the descriptor, wakes all listeners, and waits with `waker` for the next signal.
    fn pump(&self, waker: &Waker) {
        let cx = Context::from_waker(waker);
        while let Poll::Ready(ready) = self
            .registration
            .poll_ready(self.fd(), Direction::Read, &cx)
        {
            let Ok(seen) = ready else {
                self.end();
                break;
            };
            self.heard.wake_fd().drain();
            let bits = visible_bits(Interest::READABLE);
            if self.registration.clear(seen.round, bits).is_err() {
                // It is not armed, so try again later. If that fails too, the runtime is gone.
                let _ = self.registration.wake_after(RETRY, &cx);
                break;
            }
        }
        self.wake_all();
    }

    /// Ends all listeners, because the runtime has ended.
    fn end(&self) {
        self.heard.end();
        self.has_ended.store(true, Ordering::SeqCst);
    }

    fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for (_, waker) in waiting {
            guard(|| waker.wake());
        }
    }
}

/// Runs the wake or the drop of a waker, which may be foreign code, and reports its panic.
fn guard(f: impl FnOnce()) {
    let _unbound = budget::unbound();
    catch(f).unwrap_or_else(task::report_panic);
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.registration.end(self.fd());
    }
}

/// The waker with which a hub waits for its descriptor. It does not keep the hub alive: the
/// listeners do.
struct Pump(Weak<Hub>);

impl Wake for Pump {
    fn wake(self: Arc<Self>) {
        if let Some(hub) = self.0.upgrade() {
            hub.pump(&Waker::from(self));
        }
    }
}

/// The place of a runtime's hub.
#[derive(Debug, Default)]
pub(crate) struct HubSlot(RefCell<Weak<Hub>>);

impl HubSlot {
    /// Returns the runtime's hub. Makes one if the runtime has no listener. Called inside the
    /// runtime.
    pub(crate) fn get(&self) -> io::Result<Arc<Hub>> {
        let found = self.0.borrow().upgrade();
        if let Some(hub) = found.filter(|hub| !hub.has_ended()) {
            return Ok(hub);
        }
        // Not borrowed meanwhile: a custom mechanism is foreign code.
        let hub = Hub::new()?;
        self.0.replace(Arc::downgrade(&hub));
        Ok(hub)
    }
}
