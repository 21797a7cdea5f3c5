//! What happens to the process of a `Child` that is dropped.

use super::{
    Way, another_like, id, is_reaped, on_every_way, poll_once, turn_until_reaped, wait_for_the_end,
};
use reveille::time::{Duration, sleep, timeout};
use reveille::{Runtime, spawn};
use std::panic::{AssertUnwindSafe, catch_unwind};

const NOW: Option<Duration> = Some(Duration::ZERO);

/// Has the runtime reap an ended process, and asserts that one turn is enough.
fn assert_reaped_by_a_turn(runtime: &Runtime, way: Way, pid: u32) {
    wait_for_the_end(pid);
    if way == Way::Sigchld {
        // Another thread may still have to run the handler.
        return turn_until_reaped(runtime, pid);
    }
    runtime.turn(NOW).unwrap();
    assert!(is_reaped(pid), "{way}");
}

#[test]
fn dropped_child_is_reaped_in_the_turn_after_its_end() {
    on_every_way(|runtime, way| {
        let mut child = runtime.enter(|| way.cat());
        let (pid, stdin) = (id(&child), child.stdin.take());
        // It is dropped inside of the runtime, and again outside of it.
        runtime.enter(|| drop(child));
        runtime.turn(NOW).unwrap();
        assert!(!is_reaped(pid));
        runtime.enter(|| drop(stdin));
        assert_reaped_by_a_turn(runtime, way, pid);

        let mut child = runtime.enter(|| way.cat());
        let (pid, stdin) = (id(&child), child.stdin.take());
        drop(child);
        runtime.turn(NOW).unwrap();
        assert!(!is_reaped(pid));
        runtime.enter(|| drop(stdin));
        assert_reaped_by_a_turn(runtime, way, pid);
    });
}

#[test]
fn drop_reaps_a_child_that_has_ended() {
    on_every_way(|runtime, way| {
        let child = runtime.enter(|| way.shell("exit 1").spawn().unwrap());
        let pid = id(&child);
        wait_for_the_end(pid);
        drop(child);
        assert!(is_reaped(pid));
    });
}

#[test]
fn kill_on_drop_ends_the_process() {
    on_every_way(|runtime, way| {
        let mut command = way.command("sleep");
        command.arg("1000").kill_on_drop(true);
        assert!(command.get_kill_on_drop());
        let child = runtime.enter(|| command.spawn().unwrap());
        let pid = id(&child);
        runtime.enter(|| drop(child));
        turn_until_reaped(runtime, pid);
        // A future that is cancelled drops its child.
        let status = runtime.enter(|| command.status());
        let waited = runtime.block_on(timeout(Duration::from_millis(1), status));
        assert!(waited.is_err());
        let output = runtime.enter(|| command.output());
        drop(output);
        // It was reaped by `wait`, so nothing is killed.
        let mut short = way.shell("exit 0");
        short.kill_on_drop(true);
        assert!(runtime.block_on(async { short.status().await.unwrap().success() }));
    });
}

#[test]
fn runtime_does_not_wait_for_a_dropped_child() {
    on_every_way(|runtime, way| {
        let stdin = runtime.block_on(async {
            let mut child = way.cat();
            child.stdin.take()
        });
        assert!(runtime.tasks().is_empty());
        runtime.handle().stop();
        runtime.run().unwrap();
        drop(stdin);
    });
}

#[test]
fn child_of_a_task_that_panics_is_reaped() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut child = way.cat();
            let (pid, stdin) = (id(&child), child.stdin.take());
            let task = spawn(async move {
                let _child = child;
                std::panic::resume_unwind(Box::new("it ends so"));
            });
            assert!(task.await.unwrap_err().is_panic());
            drop(stdin);
            while !is_reaped(pid) {
                sleep(Duration::from_millis(1)).await;
            }
        });
    });
}

#[test]
fn drop_after_a_canceled_wait_is_reaped() {
    on_every_way(|runtime, way| {
        let mut child = runtime.enter(|| way.cat());
        let (pid, stdin) = (id(&child), child.stdin.take());
        runtime.block_on(async {
            assert!(poll_once(child.wait()).is_pending());
            assert!(
                timeout(Duration::from_millis(1), child.wait())
                    .await
                    .is_err()
            );
        });
        runtime.enter(|| drop(child));
        runtime.enter(|| drop(stdin));
        assert_reaped_by_a_turn(runtime, way, pid);
    });
}

#[test]
fn child_that_outlives_its_runtime_is_reaped_by_the_next_one() {
    on_every_way(|runtime, way| {
        // Dropped before the runtime's end, in it, and after it.
        let other = another_like(runtime);
        let mut children: Vec<_> = (0..4).map(|_| other.enter(|| way.cat())).collect();
        let mut stdins: Vec<_> = children
            .iter_mut()
            .map(|child| child.stdin.take())
            .collect();
        let pids: Vec<_> = children.iter().map(id).collect();
        drop(children.pop());
        other.enter(|| drop(children.pop()));
        let held = children.pop();
        let task = children.pop();
        other.spawn(async move {
            let _task = task;
            std::future::pending::<()>().await;
        });
        let _ = other.turn(NOW);
        drop(other);
        drop(held);
        assert!(pids.iter().all(|pid| !is_reaped(*pid)));
        stdins.clear();
        // Tests of other threads try them as well, so they may be reaped at any time.
        while !pids.iter().all(|pid| is_reaped(*pid)) {
            std::thread::sleep(Duration::from_millis(1));
            drop(another_like(runtime));
        }
    });
}

/// Many, one after the other, that are treated in each possible way.
#[test]
fn short_children_leave_no_zombie() {
    on_every_way(|runtime, way| {
        let count = super::support::rounds(200) as usize;
        let mut pids = Vec::new();
        runtime.block_on(async {
            while pids.len() < count {
                let mut tasks = Vec::new();
                for at in 0..20 {
                    let mut child = way.command("true").spawn().unwrap();
                    pids.push(id(&child));
                    match at % 5 {
                        0 => tasks.push(spawn(async move { child.wait().await })),
                        1 => drop(child),
                        2 => drop(poll_once(child.wait())),
                        3 => {
                            let _ = child.try_wait();
                            let _ = child.start_kill();
                        }
                        _ => {
                            let task = spawn(async move { child.wait().await });
                            reveille::yield_now().await;
                            task.abort();
                        }
                    }
                }
                for task in tasks {
                    assert!(task.await.unwrap().unwrap().success());
                }
            }
        });
        for pid in pids {
            turn_until_reaped(runtime, pid);
        }
    });
}

#[test]
fn panic_out_of_the_loop_loses_no_child() {
    on_every_way(|runtime, way| {
        let mut pid = 0;
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let child = way.shell("exit 0").spawn().unwrap();
                pid = id(&child);
                std::panic::resume_unwind(Box::new("it ends so"));
            })
        }));
        assert!(unwound.is_err());
        turn_until_reaped(runtime, pid);
    });
}
