//! Names of tasks: `task::Builder` sets them; `Runtime::tasks` and the `Debug` text of handles show
//! them.

mod support;

use reveille::backend::BackendKind;
use reveille::task::{self, TaskInfo};
use reveille::{Builder, Handle, JoinHandle, Runtime, yield_now};
use std::fmt::Debug;
use std::future::pending;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use support::on_every_backend;
use support::panics::message_of;

/// Returns a runtime on the same mechanism that tracks where tasks are spawned.
fn tracking(like: &Runtime) -> Runtime {
    let kind: BackendKind = like.backend_name().parse().unwrap();
    let builder = Builder::new().backend(kind).track_spawn_locations(true);
    builder.build().unwrap()
}

fn named(name: &str) -> task::Builder {
    task::Builder::new().name(name)
}

/// Returns what the runtime reports about the task of a handle.
fn info<T>(runtime: &Runtime, task: &JoinHandle<T>) -> TaskInfo {
    let mut all = runtime.tasks().into_iter();
    all.find(|info| info.id() == task.id())
        .expect("it is listed")
}

fn shows(value: &impl Debug, name: &str) -> bool {
    format!("{value:?}").contains(&format!("{name:?}"))
}

/// The line of the source that calls it.
#[track_caller]
fn line() -> u32 {
    Location::caller().line()
}

#[test]
fn tasks_lists_names_with_ids_and_places() {
    on_every_backend(|like| {
        let runtime = tracking(like);
        let handle = runtime.handle();
        let not_send = Rc::new(());
        let future = async move {
            pending::<()>().await;
            drop(not_send);
        };
        let builder = task::Builder::new();
        let inside = runtime.enter(|| (named("inside").spawn(future), line()));
        let local = (named("local").spawn_local_on(pending(), &runtime), line());
        let sent = (named("sent").spawn_on(pending(), &handle), line());
        let without = (builder.spawn_on(pending(), &handle), line());
        runtime.block_on(yield_now());
        let names = [Some("inside"), Some("local"), Some("sent"), None];
        let tasks: [(JoinHandle<()>, u32); 4] = [inside, local, sent, without];
        for ((task, line), name) in tasks.into_iter().zip(names) {
            let info = info(&runtime, &task);
            assert_eq!(info.name(), name);
            let place = info.spawned_at().expect("it is tracked");
            assert_eq!((place.file(), place.line()), (file!(), line), "{name:?}");
            assert!(!info.is_finished());
            assert_eq!(shows(&info, name.unwrap_or("")), name.is_some());
        }
    });
}

#[test]
fn names_need_no_tracking() {
    on_every_backend(|runtime| {
        let task = named("x").spawn_local_on(async { 7 }, runtime);
        let seen = info(runtime, &task);
        assert_eq!((seen.name(), seen.spawned_at()), (Some("x"), None));
        assert_eq!(runtime.block_on(task).unwrap(), 7);
        assert!(runtime.tasks().is_empty());
        assert_eq!(seen.name(), Some("x"), "a description outlives its task");
    });
}

#[test]
fn name_stays_with_its_task_when_the_slot_is_reused() {
    on_every_backend(|runtime| {
        for round in 0..4 {
            let name = format!("round {round}");
            let one = named(&name).spawn_local_on(async {}, runtime);
            assert_eq!(info(runtime, &one).name(), Some(&*name));
            runtime.block_on(one).unwrap();
            // One of them gets the slot of the first task.
            let others = [(); 4].map(|()| runtime.spawn(async {}));
            for other in others {
                assert_eq!(info(runtime, &other).name(), None);
                runtime.enter(|| assert!(!shows(&other, &name), "{other:?}"));
                runtime.block_on(other).unwrap();
            }
        }
    });
}

#[test]
fn clones_of_a_builder_share_the_name() {
    on_every_backend(|runtime| {
        let name: Arc<str> = "worker".into();
        let builder = task::Builder::new().name(name.clone());
        let tasks = [(); 3].map(|()| builder.clone().spawn_local_on(async {}, runtime));
        assert_eq!(Arc::strong_count(&name), 1 + 1 + tasks.len());
        for task in &tasks {
            assert_eq!(info(runtime, task).name(), Some("worker"));
        }
    });
}

#[test]
fn shrink_drops_the_names_of_ended_tasks() {
    on_every_backend(|runtime| {
        let name: Arc<str> = "worker".into();
        let builder = || task::Builder::new().name(name.clone());
        let stays = builder().spawn_local_on(pending::<()>(), runtime);
        let ends = [(); 9].map(|()| builder().spawn_local_on(async {}, runtime));
        runtime.block_on(async {
            for task in ends {
                task.await.unwrap();
            }
        });
        assert_eq!(Arc::strong_count(&name), 1 + 1 + 9);
        runtime.shrink();
        assert_eq!(Arc::strong_count(&name), 1 + 1);
        assert_eq!(info(runtime, &stays).name(), Some("worker"));
        let next = runtime.spawn(async {});
        assert_eq!(info(runtime, &next).name(), None);
    });
}

#[test]
fn name_of_a_task_spawned_by_another_thread() {
    on_every_backend(|like| {
        let runtime = tracking(like);
        let handle = runtime.handle();
        let (task, line) = thread::spawn(move || {
            let task = named("remote").spawn_on(pending::<()>(), &handle);
            let line = line() - 1;
            assert!(shows(&task, "remote"), "{task:?}");
            (task, line)
        })
        .join()
        .unwrap();
        assert!(shows(&task, "remote"));
        runtime.block_on(yield_now());
        let info = info(&runtime, &task);
        assert_eq!(info.name(), Some("remote"));
        assert_eq!(info.spawned_at().unwrap().line(), line);
    });
}

/// Outside of the runtime the handle knows the name once it has been used there and the runtime has
/// answered.
#[test]
fn debug_of_a_handle_shows_the_name() {
    on_every_backend(|runtime| {
        let task = named("x").spawn_local_on(pending::<()>(), runtime);
        runtime.enter(|| assert!(shows(&task, "x"), "{task:?}"));
        assert!(!task.is_finished());
        runtime.block_on(yield_now());
        assert!(shows(&task, "x"), "{task:?}");
        let task = thread::spawn(move || {
            assert!(shows(&task, "x"), "{task:?}");
            task
        });
        drop(task.join().unwrap());
    });
}

#[test]
fn debug_of_a_closures_handle_shows_the_name() {
    on_every_backend(|runtime| {
        let handle = runtime.handle();
        let one = named("one").spawn_blocking_on(|| 1, &handle);
        assert!(shows(&one, "one"), "{one:?}");
        let two = runtime.enter(|| named("two").spawn_blocking(|| 2));
        assert!(shows(&two, "two"), "{two:?}");
        assert_eq!((one.wait().unwrap(), two.wait().unwrap()), (1, 2));
    });
}

#[test]
fn spawn_with_a_name_after_the_end_of_the_runtime() {
    on_every_backend(|like| {
        let runtime = tracking(like);
        let handle = runtime.handle();
        /// Spawns when it is dropped, while its runtime is.
        struct Spawns;
        impl Drop for Spawns {
            fn drop(&mut self) {
                let task = named("late").spawn(async {});
                assert!(task.is_finished());
                assert!(!shows(&task, "late"));
                drop(named("late").spawn_on(async {}, &Handle::current()));
            }
        }
        let spawns = Spawns;
        drop(runtime.spawn(async move {
            let _spawns = spawns;
            pending::<()>().await;
        }));
        drop(runtime);
        let task = named("later").spawn_on(async {}, &handle);
        assert!(task.wait().unwrap_err().is_runtime_gone());
        let closure = named("later").spawn_blocking_on(|| (), &handle);
        assert!(closure.wait().unwrap_err().is_runtime_gone());
    });
}

#[test]
fn spawn_panics_outside_of_a_runtime() {
    for call in [
        || drop(named("x").spawn(async {})),
        || drop(named("x").spawn_blocking(|| ())),
    ] {
        let text = message_of(call);
        assert!(text.contains("no reveille runtime"), "{text}");
    }
}

#[test]
fn large_futures_can_have_names() {
    on_every_backend(|runtime| {
        let large = [7_u8; 64 << 10];
        let future = async move {
            yield_now().await;
            large.iter().map(|&byte| usize::from(byte)).sum::<usize>()
        };
        let task = named("large").spawn_local_on(future, runtime);
        assert_eq!(info(runtime, &task).name(), Some("large"));
        assert_eq!(runtime.block_on(task).unwrap(), 7 * (64 << 10));
    });
}
