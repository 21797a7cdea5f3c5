//! [`Unobserved`]: a panic that no `JoinError` reports, and the task that it belongs to.

use std::fmt;

use super::id::Id;
use super::inspect::Description;
use crate::panics::Payload;

/// A panic that no `JoinError` reports, on its way to the policy of the runtime.
pub(crate) struct Unobserved {
    pub(crate) payload: Payload,
    /// The task or job whose future, closure or output has panicked. `None` for other code, such as
    /// a waker.
    pub(crate) id: Option<Id>,
    pub(crate) description: Description,
}

impl Unobserved {
    /// A panic of a future, a closure or an output.
    pub(super) fn of_task(id: Id, description: Description, payload: Payload) -> Unobserved {
        Unobserved {
            payload,
            id: Some(id),
            description,
        }
    }
}

/// A panic of code that belongs to no task, such as a waker.
impl From<Payload> for Unobserved {
    fn from(payload: Payload) -> Unobserved {
        Unobserved {
            payload,
            id: None,
            description: Description::default(),
        }
    }
}

impl fmt::Debug for Unobserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unobserved")
            .field("id", &self.id)
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}
