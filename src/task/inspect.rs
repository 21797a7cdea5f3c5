//! [`TaskInfo`]: what [`Runtime::tasks`](crate::Runtime::tasks) reports about a task.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::id::Id;

/// Where a task was spawned, if that is tracked.
pub(crate) type Origin = Option<&'static Location<'static>>;

/// The name of a task. Shared, because a task that other threads spawn has it in two places.
pub(crate) type Name = Arc<str>;

/// Describes a task for people: its name and where it was spawned, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) name: Option<Name>,
    pub(crate) origin: Origin,
}

impl Description {
    /// Returns whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.origin.is_none()
    }
}

/// A description of one task, returned by [`Runtime::tasks`](crate::Runtime::tasks), which has an
/// example.
#[derive(Clone)]
pub struct TaskInfo {
    pub(super) id: Id,
    pub(super) queued: bool,
    pub(super) done: bool,
    pub(super) description: Description,
}

impl TaskInfo {
    /// Returns the id of the task.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// Returns the name of the task, if [`Builder::name`](super::Builder::name) has set one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.description.name.as_deref()
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
        self.description.origin
    }
}

impl fmt::Debug for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskInfo")
            .field("id", &self.id)
            .field("name", &self.name())
            .field("queued", &self.queued)
            .field("done", &self.done)
            .field("spawned_at", &self.spawned_at())
            .finish()
    }
}
