//! Closures of `spawn_blocking` that wait for a gate.

use reveille::{Handle, JoinHandle};
use std::sync::mpsc::{Sender, channel};

/// The end of a closure that waits: it ends when this is dropped.
pub(crate) type Gate = Sender<()>;

/// Spawns a closure that has begun when this returns, and waits for its gate. It is spawned at the
/// caller's line.
#[track_caller]
pub(crate) fn occupy(handle: &Handle) -> (Gate, JoinHandle<()>) {
    let (gate, wait) = channel::<()>();
    let (begin, begun) = channel();
    let job = handle.spawn_blocking(move || {
        begin.send(()).unwrap();
        wait.recv().unwrap_err();
    });
    begun.recv().unwrap();
    (gate, job)
}
