//! The workloads, each written once and generic over the contestant.

pub mod blocking;
pub mod cross;
pub mod datagrams;
pub mod fds;
pub mod pipes;
pub mod tasks;
pub mod timers;

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use crate::contestant::Tasks;

/// Runs `f` inside a spawned task (not as the root future of `block_on`).
pub fn in_task<R: Tasks, T: 'static>(f: impl Future<Output = T> + 'static) -> T {
    let slot = Rc::new(Cell::new(None));
    let inner = slot.clone();
    R::block_on(async move {
        R::spawn(async move { inner.set(Some(f.await)) }).await;
    });
    slot.take().expect("the task has run")
}
