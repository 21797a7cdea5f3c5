//! The beginning of a runtime's tasks: [`Tasks::new`]. The end is in `shutdown.rs`.

use std::task::Waker;

use super::key::MAX_PLACE;
use super::remote::REMOTES;
use super::tasks::Tasks;
use super::waker::vtable;
use crate::budget::Polling;

impl Tasks {
    /// Creates the tasks of a new runtime and adds their remote part to the registry. `unpark`
    /// unparks the owner, from any thread. Returns `None` if the process has as many runtimes as
    /// there are ids.
    pub(crate) fn new(unpark: Waker, poll_budget: u32, track_origins: bool) -> Option<Tasks> {
        let id = REMOTES.claim(MAX_PLACE)?;
        let mut tasks = Tasks::unregistered(
            id,
            unpark,
            Polling::new(vtable()),
            poll_budget,
            track_origins,
        );
        REMOTES.insert(id, tasks.remote().clone());
        tasks.registered = true;
        Some(tasks)
    }
}
