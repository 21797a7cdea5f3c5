//! Shutdowns under a paused clock (feature `test-util`).

use super::{LONG, Make, assert_clean, on_every_mechanism, spawn_sending};
use reveille::time::{Duration, Instant, advance, now, sleep};
use reveille::{Runtime, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

const DAY: Duration = Duration::from_secs(86_400);
const NS: Duration = Duration::from_nanos(1);

fn paused(make: Make) -> Runtime {
    make.builder().start_paused(true).build().unwrap()
}

#[test]
fn clock_jumps_to_the_ends_of_the_tasks() {
    on_every_mechanism(|make| {
        let runtime = paused(make);
        let tasks = [DAY, 2 * DAY, 3 * DAY]
            .map(|time| spawn_sending(&runtime, async move { sleep(time).await }));
        assert_clean(&runtime.shutdown(3 * DAY + NS));
        for task in tasks {
            task.recv().unwrap();
        }
    });
}

/// Notes the time of its drop.
struct Dropped(Rc<Cell<Option<Instant>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(Some(now()));
    }
}

#[test]
fn clock_jumps_to_the_deadline_and_no_farther() {
    on_every_mechanism(|make| {
        let runtime = paused(make);
        let start = runtime.enter(now);
        let at = Rc::new(Cell::new(None));
        let (value, ended) = (
            Dropped(at.clone()),
            spawn_sending(&runtime, async { sleep(DAY - NS).await }),
        );
        drop(runtime.spawn(async move {
            let _value = value;
            sleep(DAY + NS).await;
        }));
        let report = runtime.shutdown(DAY);
        assert!(report.is_late());
        assert_eq!((report.tasks().len(), report.timers().len()), (1, 1));
        assert_eq!(report.timers()[0].deadline(), Some(start + DAY + NS));
        assert_eq!(at.get().unwrap() - start, DAY);
        ended.recv().unwrap();
    });
}

#[test]
fn clock_that_tasks_move_reaches_the_deadline() {
    on_every_mechanism(|make| {
        let builder = make.builder().start_paused(true).auto_advance(false);
        let runtime = builder.build().unwrap();
        let days = Rc::new(Cell::new(0));
        let count = days.clone();
        drop(runtime.spawn(async move {
            loop {
                // Before the call: the deadline may end the task while it waits.
                count.set(count.get() + 1);
                advance(DAY).await;
                yield_now().await;
            }
        }));
        let report = runtime.shutdown(10 * DAY);
        assert_eq!((report.tasks().len(), report.is_late()), (1, true));
        // A batch of polls may move it farther, because the time is checked between batches.
        assert!(days.get() >= 10, "{}", days.get());
    });
}

/// The closure answers in real time, while the clock stands; then the clock jumps.
#[test]
fn clock_waits_for_closures() {
    on_every_mechanism(|make| {
        let runtime = paused(make);
        let handle = runtime.handle();
        let job = handle.spawn_blocking(|| std::thread::sleep(Duration::from_millis(5)));
        let task = spawn_sending(&runtime, async move {
            job.await.unwrap();
            sleep(DAY).await;
        });
        assert_clean(&runtime.shutdown(DAY + LONG));
        task.recv().unwrap();
    });
}

/// A closure that never ends holds the clock up, so real time counts.
#[test]
fn closure_that_never_ends_is_left_in_real_time() {
    on_every_mechanism(|make| {
        for with_task in [false, true] {
            let runtime = paused(make);
            let (gate, job) = super::support::occupy(&runtime.handle());
            if with_task {
                drop(runtime.spawn(pending::<()>()));
            }
            let begin = std::time::Instant::now();
            let report = runtime.shutdown(super::SHORT);
            assert!(begin.elapsed() >= super::SHORT);
            assert!(report.is_late());
            assert_eq!(report.blocking_jobs().len(), 1);
            assert_eq!(report.tasks().len(), usize::from(with_task));
            drop(gate);
            job.wait().unwrap();
        }
    });
}
