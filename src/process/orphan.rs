//! [`Orphan`]: a process whose [`Child`](super::Child) was dropped, reaped by its runtime.
//!
//! ```text
//!           begin, wake                    Pending, not woken meanwhile
//!  Waits ───────────────> Polled(woken) ────────────────────────────────> Waits
//!                           │  woken: polled again
//!                           └─ reaped, or the runtime has ended ─────────> Done
//! ```
//!
//! The `Running` is taken out while it is polled, so no lock is held then. A wake by another thread
//! meanwhile sets `woken`.

use super::running::Running;
use crate::budget;
use crate::sync::ForkLock;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// A process that the runtime reaps. Only its wakers hold it.
struct Orphan(ForkLock<State>);

#[derive(Default)]
enum State {
    Waits(Running),
    Polled {
        woken: bool,
    },
    /// Also in the child of a fork, if the state was being changed: the process is no child of it.
    #[default]
    Done,
}

/// Has the runtime reap a process when it has ended. Without a runtime, the process goes to the
/// list of those that have none.
pub(super) fn begin(running: Running) {
    let orphan = Arc::new(Orphan(ForkLock::new(State::Waits(running))));
    orphan.poll();
}

impl Orphan {
    fn poll(self: &Arc<Orphan>) {
        let _unbound = budget::unbound();
        let Some(mut running) = self.take() else {
            return;
        };
        let waker = Waker::from(self.clone());
        let cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(_ended) = running.poll_exit(&cx) {
                *self.0.lock() = State::Done;
                // After an error it goes to the list.
                return;
            }
            match self.put_back(running) {
                None => return,
                Some(again) => running = again,
            }
        }
    }

    /// Takes the process to poll it. `None`: it was reaped, or another thread polls it, which polls
    /// it once more now.
    fn take(&self) -> Option<Running> {
        let mut state = self.0.lock();
        match std::mem::take(&mut *state) {
            State::Waits(running) => {
                *state = State::Polled { woken: false };
                Some(running)
            }
            State::Polled { .. } => {
                *state = State::Polled { woken: true };
                None
            }
            State::Done => None,
        }
    }

    /// Ends a poll. Returns the process if it was woken meanwhile.
    fn put_back(&self, running: Running) -> Option<Running> {
        let mut state = self.0.lock();
        if let State::Polled { woken: true } = *state {
            *state = State::Polled { woken: false };
            return Some(running);
        }
        *state = State::Waits(running);
        None
    }
}

impl Wake for Orphan {
    fn wake(self: Arc<Orphan>) {
        self.poll();
    }
}
