//! [`Builder`]: spawns tasks that have a name.
//!
//! The functions that spawn are in `runtime/named.rs`, because they need the current runtime or a
//! handle.

use super::inspect::Name;

/// Spawns tasks and closures that have a name.
///
/// The name appears in [`TaskInfo::name`](super::TaskInfo::name), in the `Debug` text of a
/// [`JoinHandle`](super::JoinHandle), and in the
/// [`PanicReport`](crate::runtime::PanicReport) of a panic that no handle reports. Names need not
/// be unique: an [`Id`](super::Id) identifies a task.
///
/// Otherwise the task is the same as one of [`spawn`](crate::spawn()). A name costs an allocation,
/// unless an `Arc<str>` is passed, and an entry of 24 bytes in a table. The entry is kept until
/// another task with a name takes the slot of the task. In a program that names tasks, a task
/// without a name costs nothing more, except that the table is read if the task ends after its
/// handle was dropped.
///
/// # Examples
///
/// ```
/// use reveille::task::Builder;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = reveille::Runtime::new()?;
/// let task = Builder::new().name("accept").spawn_local_on(async {}, &runtime);
/// let seen = runtime.tasks();
/// assert_eq!((seen[0].id(), seen[0].name()), (task.id(), Some("accept")));
///
/// runtime.block_on(async {
///     let number = 7;
///     let task = Builder::new().name(format!("connection {number}")).spawn(async { 1 + 2 });
///     assert!(format!("{task:?}").contains("connection 7"));
///     assert_eq!(task.await.unwrap(), 3);
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    pub(crate) name: Option<Name>,
}

impl Builder {
    /// Creates a builder for tasks without a name.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the name of the task or closure that this builder spawns.
    ///
    /// A clone of the builder shares the name, so that many tasks of one name need one allocation.
    pub fn name(mut self, name: impl Into<std::sync::Arc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }
}
