//! [`TaskInfo`]: what [`Runtime::tasks`](crate::Runtime::tasks) reports about a task.

use std::panic::Location;

use super::id::Id;

/// Where a task was spawned, if that is tracked.
pub(crate) type Origin = Option<&'static Location<'static>>;

/// A description of one task, returned by [`Runtime::tasks`](crate::Runtime::tasks), which has an
/// example.
#[derive(Clone, Copy, Debug)]
pub struct TaskInfo {
    pub(super) id: Id,
    pub(super) queued: bool,
    pub(super) done: bool,
    pub(super) origin: Origin,
}

impl TaskInfo {
    /// Returns the id of the task.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// Returns whether the task is in the run queue, because it is new or was woken.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.queued
    }

    /// Returns whether the task has ended and its `JoinHandle` has not taken the output.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.done
    }

    /// Returns where in the source the task was spawned, if
    /// [`Builder::track_spawn_locations`](crate::Builder::track_spawn_locations) was on.
    #[must_use]
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.origin
    }
}
