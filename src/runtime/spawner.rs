//! The traits `Spawn` and `LocalSpawn` of `futures-task` for [`Handle`] and [`Runtime`].

use super::{Handle, Runtime};
use futures_task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn, SpawnError};

/// Spawns as [`Handle::spawn`] does, and detaches the task.
impl Spawn for Handle {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status()?;
        drop(self.spawn(future));
        Ok(())
    }

    fn status(&self) -> Result<(), SpawnError> {
        if self.shared.tasks.refuses_spawns() {
            Err(SpawnError::shutdown())
        } else {
            Ok(())
        }
    }
}

/// Spawns as [`Runtime::spawn`] does, and detaches the task.
impl Spawn for Runtime {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn_local_obj(future.into())
    }
}

/// Spawns as [`Runtime::spawn`] does, and detaches the task.
impl LocalSpawn for Runtime {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        drop(self.spawn(future));
        Ok(())
    }
}
