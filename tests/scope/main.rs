//! Scopes: children that borrow from their parent.
//!
//! | file | what it tests |
//! |---|---|
//! | `polls.rs` | which child is polled when, what a wake costs, budgets |
//! | `ends.rs` | outputs, errors, aborts, panics and drops |
//! | `io.rs` | children that wait for sockets, timers, tasks and threads, on every mechanism |

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod io;
mod polls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

/// Counts the wakes of the task that awaits a scope.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Wakes {
    fn new() -> (Arc<Wakes>, Waker) {
        let wakes = Arc::new(Wakes::default());
        (wakes.clone(), Waker::from(wakes))
    }

    /// Returns how many wakes there were since the last call.
    fn take(&self) -> usize {
        self.0.swap(0, SeqCst)
    }
}

/// Polls a future once.
fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}
