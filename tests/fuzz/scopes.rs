//! Scopes in tasks, and scopes in their children: children spawn, fail, panic, yield, sleep, wake,
//! abort, drop and await each other, also in their drops. Another thread wakes them.
//!
//! Checked: no poll of a scope polls a child twice, or more than 32; every woken child is polled; a
//! child is dropped once, and only if it has ended, was aborted, or its scope has failed; every
//! handle returns the right answer.

mod child;
mod ledger;

use super::harness::{Dice, fuzz, is_planned, lock};
use child::{Home, Watched};
use ledger::Ledger;
use reveille::backend::BackendKind;
use reveille::runtime::{PanicReport, UnhandledPanic};
use reveille::time::{Duration, now};
use reveille::{Builder, JoinHandle, Runtime};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Waker;
use std::thread;

/// What the threads share.
struct World {
    dice: Mutex<Dice>,
    ledger: Mutex<Ledger>,
    /// Wakers of children, kept after the poll that passed them.
    wakers: Mutex<Vec<(usize, Waker)>>,
    /// The number of actions left. Without any, children that are polled end.
    left: AtomicUsize,
    /// The number of wakes that the other thread has yet to make.
    under_way: AtomicUsize,
}

impl World {
    fn below(&self, most: usize) -> usize {
        lock(&self.dice).below(most)
    }

    fn one_in(&self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    /// Takes one of the actions left. Returns whether there was any.
    fn spend(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(SeqCst, SeqCst, less).is_ok()
    }

    fn keep_waker(&self, child: usize, waker: &Waker) {
        lock(&self.wakers).push((child, waker.clone()));
    }

    /// Wakes a child whose waker was kept.
    fn wake_kept(&self) {
        let (child, waker) = {
            let mut wakers = lock(&self.wakers);
            if wakers.is_empty() {
                return;
            }
            let at = self.below(wakers.len());
            wakers.swap_remove(at)
        };
        lock(&self.ledger).wake(child);
        if self.one_in(3) {
            waker.wake_by_ref();
            lock(&self.wakers).push((child, waker));
        } else {
            waker.wake();
        }
    }

    fn expect_planned(&self, payload: Box<dyn std::any::Any + Send>) {
        if !is_planned(payload) {
            lock(&self.ledger).fault("a panic that was not planned");
        }
    }
}

fn runtime(kind: BackendKind, world: &Arc<World>) -> Runtime {
    let handler = world.clone();
    let policy = move |report: PanicReport| handler.expect_planned(report.into_payload());
    Builder::new()
        .backend(kind)
        .event_interval(1 + world.below(100) as u32)
        .poll_budget(1 + world.below(20) as u32)
        .unhandled_panic(UnhandledPanic::Call(Box::new(policy)))
        .build()
        .expect("it was available a moment ago")
}

/// Runs the loop until it has nothing to do, nor the other thread.
fn settle(runtime: &Runtime, world: &World) {
    loop {
        let is_busy_elsewhere = world.under_way.load(SeqCst) != 0;
        match runtime.next_deadline() {
            Some(deadline) => {
                let limit = deadline.saturating_duration_since(now());
                runtime.turn(Some(limit)).unwrap();
            }
            None if is_busy_elsewhere => thread::yield_now(),
            None => return,
        }
    }
}

/// Runs code that may panic as planned.
fn guarded(world: &World, f: impl FnOnce()) {
    let ran = catch_unwind(AssertUnwindSafe(f));
    ran.unwrap_or_else(|payload| world.expect_planned(payload));
}

/// Awaits, aborts or keeps a task.
fn end_task(runtime: &Runtime, world: &World, home: &Home, task: JoinHandle<()>) {
    if world.one_in(2) {
        task.abort();
        lock(&world.ledger).stops_tasks = true;
    }
    settle(runtime, world);
    lock(&world.ledger).stops_tasks = false;
    if !task.is_finished() {
        return home.keep_task(task);
    }
    if let Err(error) = runtime.block_on(task) {
        if error.is_panic() {
            world.expect_planned(error.into_panic());
        }
    }
}

fn play(kind: BackendKind, seed: u64) {
    let mut dice = Dice::new(seed);
    let left = 50 + dice.below(2000);
    let world = Arc::new(World {
        dice: Mutex::new(dice),
        ledger: Mutex::default(),
        wakers: Mutex::default(),
        left: AtomicUsize::new(left),
        under_way: AtomicUsize::new(0),
    });
    let runtime = runtime(kind, &world);
    // Without another thread, a seed gives the same run each time.
    let (wakes, receiver) = mpsc::channel::<()>();
    let other = (seed % 2 == 1).then(|| {
        let world = world.clone();
        thread::spawn(move || {
            while receiver.recv().is_ok() {
                world.wake_kept();
                world.under_way.fetch_sub(1, SeqCst);
            }
        })
    });
    let wakes = other.is_some().then_some(wakes);
    let home = Rc::new(Home::new(world.clone(), wakes));
    for _ in 0..2 + world.below(6) {
        let tasks: Vec<_> = (0..1 + world.below(4))
            .map(|_| {
                let scope = Watched::new(&home, 0);
                runtime.spawn(async move { drop(scope.await) })
            })
            .collect();
        for _ in 0..world.below(4) {
            runtime.turn(Some(Duration::ZERO)).unwrap();
            guarded(&world, || home.act());
        }
        for task in tasks {
            end_task(&runtime, &world, &home, task);
        }
        settle(&runtime, &world);
        lock(&world.ledger).check_quiet();
    }
    lock(&world.ledger).stops_tasks = true;
    home.close();
    drop(runtime);
    if let Some(other) = other {
        other.join().expect("its wakes do not panic");
    }
    guarded(&world, || home.clear());
    lock(&world.ledger).check_over();
}

#[test]
fn scopes() {
    fuzz("scopes", 1..40, play);
}
