//! [`HeardSignals`]: the signals that one loop listens for, and the descriptor that wakes it.

use super::SignalKind;
use crate::sync::ForkLock;
use crate::sys::signal::{Action, Counter, WakeFd};
use std::io;
use std::sync::Arc;

/// The signals that one loop listens for.
#[derive(Debug)]
pub(crate) struct HeardSignals {
    wake: Arc<WakeFd>,
    heard: ForkLock<Vec<Heard>>,
}

/// One signal that a loop listens for.
#[derive(Debug)]
struct Heard {
    kind: SignalKind,
    counter: Arc<Counter>,
    listeners: usize,
    /// Removed with the last listener, or at the end of the loop.
    action: Action,
}

impl HeardSignals {
    /// Makes a descriptor that no signal wakes yet.
    pub(crate) fn new() -> io::Result<HeardSignals> {
        Ok(HeardSignals {
            wake: Arc::new(WakeFd::new()?),
            heard: ForkLock::new(Vec::new()),
        })
    }

    /// Returns the descriptor, which the loop watches for reading.
    pub(crate) fn wake_fd(&self) -> &Arc<WakeFd> {
        &self.wake
    }

    /// Adds a listener for a kind of signal, and returns the counter of this kind. Called on the
    /// loop's thread alone.
    ///
    /// # Errors
    ///
    /// See [`SignalKind::check`] and [`Action::new`].
    pub(crate) fn add(&self, kind: SignalKind) -> io::Result<Arc<Counter>> {
        kind.check()?;
        if let Some(heard) = find(&mut self.heard.lock(), kind) {
            heard.listeners += 1;
            return Ok(heard.counter.clone());
        }
        let counter = Arc::new(Counter::default());
        // Without the lock, because this waits for handlers that run.
        let action = Action::new(kind.as_raw_value(), counter.clone(), self.wake.clone())?;
        self.heard.lock().push(Heard {
            kind,
            counter: counter.clone(),
            listeners: 1,
            action,
        });
        Ok(counter)
    }

    /// Removes a listener for a kind of signal. The last one of its kind takes the action with it.
    pub(crate) fn remove(&self, kind: SignalKind) {
        let mut all = self.heard.lock();
        let Some(heard) = find(&mut all, kind) else {
            return; // The loop has ended.
        };
        heard.listeners -= 1;
        if heard.listeners == 0 {
            let at = all.iter().position(|heard| heard.kind == kind);
            let removed = at.map(|at| all.swap_remove(at));
            drop(all);
            // Without the lock, as above.
            drop(removed.map(|removed| removed.action));
        }
    }

    /// Whether there is no listener.
    pub(crate) fn is_empty(&self) -> bool {
        self.heard.lock().is_empty()
    }

    /// Removes all actions, at the end of the loop. The counters keep their values.
    pub(crate) fn end(&self) {
        let all = std::mem::take(&mut *self.heard.lock());
        drop(all);
    }

    /// Makes the descriptor the child's own after a fork. The mechanism has to watch it again. It
    /// is readable, so that the loop checks what was counted in the child since the fork.
    pub(crate) fn after_fork(&self) -> io::Result<()> {
        self.wake.after_fork()?;
        self.wake.wake();
        Ok(())
    }
}

fn find(all: &mut [Heard], kind: SignalKind) -> Option<&mut Heard> {
    all.iter_mut().find(|heard| heard.kind == kind)
}
