//! Tasks, handles, sets and wakers, on two runtimes of one thread and from another thread. At every
//! place that calls foreign code, that code spawns tasks, panics, and wakes, aborts, drops, awaits
//! or polls any task, any handle and any set.
//!
//! The ledger checks the results: no task is polled after its end, every woken task is polled,
//! every value is dropped once and on the right thread, and every handle and every set returns the
//! right answer.

mod future;
mod ledger;
mod sets;
mod world;

use super::foreign::{Foreign, Place};
use super::harness::{Dice, fuzz, lock};
use reveille::backend::BackendKind;
use reveille::runtime::UnhandledPanic;
use reveille::time::now;
use reveille::{Builder, Handle, Runtime};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;
use world::{RUNTIMES, World, hook};

/// Empty until the world exists, because the world needs the handles of the runtimes.
type Late = Arc<Mutex<Weak<World>>>;

/// Makes a runtime whose hooks and panic handler are foreign code too.
fn runtime(kind: BackendKind, seed: u64, at: usize, late: &Late) -> Runtime {
    let mut dice = Dice::new(seed + at as u64);
    let [parks, unparks, handler] = [(); 3].map(|()| late.clone());
    // The fixed seeds do not propagate, because that prints to standard error when a runtime is
    // dropped.
    let policy = if seed > 1000 && dice.one_in(3) {
        UnhandledPanic::Propagate
    } else {
        UnhandledPanic::Call(Box::new(move |report| {
            let world = lock(&handler).upgrade().expect("a runtime ends first");
            world.expect_planned(report.into_payload());
            if !lock(&world.ledger).closing {
                world.enter(Place::PanicHandler);
            }
        }))
    };
    let weak = |late: &Late| lock(late).clone();
    Builder::new()
        .backend(kind)
        .event_interval(1 + dice.below(200) as u32)
        .poll_budget(1 + dice.below(20) as u32)
        .event_capacity(1 + dice.below(8))
        .track_spawn_locations(dice.one_in(2))
        .precise_timers(dice.one_in(3))
        .unhandled_panic(policy)
        .on_park(move || hook(&weak(&parks), at))
        .on_unpark(move || hook(&weak(&unparks), at))
        .build()
        .expect("it was available a moment ago")
}

/// The future of `block_on`, which ends after some polls.
struct Root {
    world: Arc<World>,
    left: usize,
}

impl Future for Root {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.world.clone().enter(Place::Poll);
        if self.left == 0 {
            return Poll::Ready(());
        }
        self.left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runs one of the loops for a while.
fn drive(world: &Arc<World>, at: usize) {
    let runtime = RUNTIMES.with_borrow(|all| all[at].clone());
    match world.below(3) {
        0 => {
            let left = world.below(20);
            let world = world.clone();
            let root = Root {
                world: world.clone(),
                left,
            };
            world.drive(at, || runtime.block_on(root));
        }
        1 => {
            world.stops.store(true, SeqCst);
            world.drive(at, || runtime.run().unwrap());
            world.stops.store(false, SeqCst);
        }
        _ => {
            for _ in 0..world.below(4) {
                world.drive(at, || runtime.turn(Some(Duration::ZERO)).unwrap());
            }
        }
    }
}

/// Runs both loops until neither has anything to do, nor the other thread.
fn settle(world: &World) {
    loop {
        let is_busy_elsewhere = world.under_way.load(SeqCst) != 0;
        let mut is_busy = false;
        for at in 0..world.runtimes.len() {
            let runtime = RUNTIMES.with_borrow(|all| all[at].clone());
            if let Some(deadline) = runtime.next_deadline() {
                is_busy = true;
                let limit = deadline.saturating_duration_since(now());
                world.drive(at, || runtime.turn(Some(limit)).unwrap());
            }
        }
        if !is_busy && !is_busy_elsewhere {
            return;
        }
        if !is_busy {
            thread::yield_now();
        }
    }
}

/// Acts on another thread, once per message.
fn act_elsewhere(world: &Mutex<Weak<World>>, acts: &mpsc::Receiver<u64>) {
    while acts.recv().is_ok() {
        let world = lock(world).upgrade().expect("it is left first");
        guarded(&world, |world| world.clone().enter(Place::Outside));
        world.under_way.fetch_sub(1, SeqCst);
    }
}

/// Runs code that may panic as planned.
fn guarded(world: &Arc<World>, f: impl FnOnce(&Arc<World>)) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(world))) {
        world.expect_planned(payload);
    }
}

/// Drops the runtimes and their tasks.
fn end(world: &Arc<World>) {
    lock(&world.ledger).closing = true;
    for runtime in RUNTIMES.take() {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(runtime))) {
            world.fault("the drop of a runtime panicked");
            world.expect_planned(payload);
        }
    }
}

/// After a failure the runtimes are leaked, because dropping their tasks would run more foreign
/// code.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        std::mem::forget(RUNTIMES.take());
    }
}

fn play(kind: BackendKind, seed: u64) {
    let mut dice = Dice::new(seed);
    let late: Late = Arc::default();
    let runtimes = [0, 1].map(|at| Rc::new(runtime(kind, seed, at, &late)));
    let handles: Vec<Handle> = runtimes.iter().map(|runtime| runtime.handle()).collect();
    // Without another thread, a seed gives the same run each time.
    let (sender, receiver) = mpsc::channel();
    let has_other = seed % 2 == 1;
    let world = World::new(dice.next(), handles, has_other.then_some(sender));
    let world = Arc::new(world);
    *lock(&late) = Arc::downgrade(&world);
    RUNTIMES.set(runtimes.into());
    let _forget = Forget;
    let other = has_other.then(|| {
        let late = late.clone();
        thread::spawn(move || act_elsewhere(&late, &receiver))
    });
    for _ in 0..2 + world.below(8) {
        for _ in 0..world.below(8) {
            guarded(&world, |world| world.spawn());
        }
        guarded(&world, |world| world.clone().enter(Place::Outside));
        drive(&world, world.below(2));
        if world.one_in(2) {
            settle(&world);
            world.check_quiet();
        }
    }
    end(&world);
    world.leave_other();
    if let Some(other) = other {
        other.join().expect("its panics are caught");
    }
    guarded(&world, |world| world.clear());
    world.check_over();
}

#[test]
fn tasks() {
    fuzz("tasks", 1..50, play);
}
