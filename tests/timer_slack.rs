//! `Builder::timer_slack`: it applies to the thread while the loop runs, and makes no timer early
//! or lost, on every backend.

#![cfg(target_os = "linux")]

mod support;

use reveille::backend::BackendKind;
use reveille::time::{Duration, Instant, sleep};
use reveille::{Builder, Runtime, spawn};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::guarded;

fn current() -> i32 {
    // SAFETY: the call takes no pointer.
    unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) }
}

fn with(nanos: u64) -> Runtime {
    let builder = Builder::new().timer_slack(Duration::from_nanos(nanos));
    builder.build().unwrap()
}

/// A real-time thread has no slack, and keeps none.
fn has_slack() -> bool {
    current() != 0
}

#[test]
fn timer_slack_applies_to_the_thread_while_the_loop_runs() {
    if !has_slack() {
        return;
    }
    let before = current();
    let runtime = with(3000);
    assert_eq!(current(), before, "building it");
    let inside = || async { current() };
    assert_eq!(runtime.block_on(inside()), 3000);
    assert_eq!(current(), before, "after block_on");
    runtime.block_on(async {
        spawn(async { assert_eq!(current(), 3000) });
    });
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(current(), before, "after turn");
    runtime.handle().stop();
    runtime.run().unwrap();
    assert_eq!(current(), before, "after run");
    runtime.enter(|| assert_eq!(current(), before, "no loop runs"));
    // Zero would mean the thread's default.
    assert_eq!(with(0).block_on(inside()), 1);
    // A runtime without the setting.
    assert_eq!(Runtime::new().unwrap().block_on(inside()), before);
    assert_eq!(current(), before);
}

#[test]
fn timer_slack_is_restored_after_a_panic_and_between_runtimes() {
    if !has_slack() {
        return;
    }
    let before = current();
    let runtime = with(3000);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async { panic!("meant to be caught") })
    }));
    assert!(panicked.is_err());
    assert_eq!(current(), before);
    let inner = with(2000);
    runtime.block_on(async {
        inner.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(current(), 3000);
    });
    // A slack that the program sets in between is restored.
    std::thread::spawn(|| {
        // SAFETY: the call takes no pointer.
        let set = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 7777, 0, 0, 0) };
        assert_eq!(set, 0);
        with(3000).block_on(async {});
        assert_eq!(current(), 7777);
    })
    .join()
    .unwrap();
}

#[test]
fn timer_slack_makes_no_sleep_early_or_lost() {
    for kind in BackendKind::ALL {
        for precise in [false, true] {
            let builder = Builder::new().timer_slack(Duration::from_nanos(1));
            let runtime = match builder.precise_timers(precise).backend(kind).build() {
                Ok(runtime) => runtime,
                Err(error) if error.kind() == ErrorKind::Unsupported => continue,
                Err(error) => panic!("{kind}: {error}"),
            };
            guarded(kind.name(), || {
                for micros in [1, 100, 3000, 49_999, 50_001, 60_000, 120_000] {
                    let length = Duration::from_micros(micros);
                    let start = Instant::now();
                    runtime.block_on(sleep(length));
                    assert!(start.elapsed() >= length, "{micros} us");
                }
            });
        }
    }
}
