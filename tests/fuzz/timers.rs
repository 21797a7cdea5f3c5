//! Timers: tasks and foreign wakers poll, reset, move, await and drop sleeps, intervals and
//! timeouts, on two threads with a runtime each and on a third thread without one. The wakers may
//! panic.
//!
//! Checked: no timer is early; each returns its deadline; when it is due, its last waker is woken;
//! a timer whose runtime was dropped panics with that reason.

use super::foreign::{Flag, Foreign, Place};
use super::harness::{Dice, Planned, fuzz, is_planned, join, lock, panic_as_planned};
use super::support::panics::{hushed, message_of, text_of};
use reveille::backend::BackendKind;
use reveille::runtime::UnhandledPanic;
use reveille::time::{
    Duration, Instant, Interval, Sleep, interval_at, now, sleep, sleep_until, timeout,
};
use reveille::{Builder, Runtime, spawn, yield_now};
use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;

/// The number of sleeps that the threads share.
const ITEMS: usize = 24;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread runs a runtime, so that it can poll a timer that was never armed.
    static IS_HOME: Cell<bool> = const { Cell::new(false) };
}

enum Timer {
    Sleep(Sleep),
    Interval(Interval),
}

/// A timer, and what the checks need to know about it.
struct Item {
    timer: Timer,
    /// The earliest time at which it may be ready.
    due: Instant,
    /// It was armed with a runtime, so any thread may poll it.
    is_armed: bool,
    /// The flag of its last waker.
    flag: Option<Arc<Flag>>,
}

struct World {
    dice: Mutex<Dice>,
    items: Mutex<Vec<Item>>,
    flags: Mutex<Vec<Arc<Flag>>>,
    faults: Mutex<Vec<String>>,
    /// The number of actions left.
    left: AtomicUsize,
    /// A runtime was dropped, so timers may panic with that reason.
    is_ended: AtomicBool,
}

impl World {
    fn below(&self, most: usize) -> usize {
        lock(&self.dice).below(most)
    }

    fn one_in(&self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn spend(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(SeqCst, SeqCst, less).is_ok()
    }

    fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.fault(what);
        }
    }

    fn expect_planned(&self, payload: Box<dyn std::any::Any + Send>) {
        self.check(payload.is::<Planned>(), "a panic that was not planned");
        is_planned(payload);
    }

    /// Draws a deadline: mostly soon, sometimes long ago or never.
    fn deadline(&self) -> Instant {
        let now = now();
        match self.below(12) {
            0 => now - Duration::from_micros(self.below(5000) as u64),
            1 => now + Duration::from_secs(3600),
            2 => now + Duration::from_secs(1 << 33),
            3 => now,
            _ => now + Duration::from_micros(self.below(3000) as u64),
        }
    }

    fn make(&self) -> Item {
        let due = self.deadline();
        let timer = if self.one_in(5) {
            let period = Duration::from_micros(1 + self.below(500) as u64);
            Timer::Interval(interval_at(due, period))
        } else {
            Timer::Sleep(sleep_until(due))
        };
        Item {
            timer,
            due,
            is_armed: false,
            flag: None,
        }
    }

    fn take(&self) -> Option<Item> {
        let mut items = lock(&self.items);
        let len = items.len();
        (len != 0).then(|| items.swap_remove(self.below(len)))
    }

    fn put(&self, item: Item) {
        lock(&self.items).push(item);
    }

    fn new_flag(self: &Arc<World>) -> Arc<Flag> {
        let world: Weak<World> = Arc::downgrade(self);
        let flag = Arc::new(Flag::new(world));
        lock(&self.flags).push(flag.clone());
        flag
    }

    /// Does one random thing with one timer.
    fn act(self: &Arc<World>) {
        let Some(mut item) = self.take() else {
            return;
        };
        match self.below(8) {
            0 => {
                drop(item);
                item = self.make();
            }
            1 | 2 => self.reset(&mut item),
            3 => self.look(&item),
            _ => self.poll_by_flag(&mut item),
        }
        self.put(item);
    }

    fn reset(&self, item: &mut Item) {
        item.due = self.deadline();
        match &mut item.timer {
            Timer::Sleep(sleep) => sleep.reset(item.due),
            Timer::Interval(interval) => interval.reset_at(item.due),
        }
    }

    fn look(&self, item: &Item) {
        if let Timer::Sleep(sleep) = &item.timer {
            self.check(sleep.deadline() == item.due, "another deadline is returned");
            let is_elapsed = sleep.is_elapsed();
            self.check(!is_elapsed || now() >= item.due, "elapsed too early");
        }
    }

    /// Polls a timer with a foreign waker, if this thread may.
    fn poll_by_flag(self: &Arc<World>, item: &mut Item) {
        if !item.is_armed && !IS_HOME.get() {
            return;
        }
        let flag = match item.flag.take() {
            Some(flag) if self.one_in(2) => flag,
            _ => self.new_flag(),
        };
        flag.rest();
        let waker = flag.waker();
        let polled = self.poll(item, &mut Context::from_waker(&waker));
        if polled == Some(Poll::Pending) {
            item.flag = Some(flag);
        }
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(waker))) {
            self.expect_planned(payload);
        }
    }

    /// Polls a timer. `None`: it panicked, as planned or because its runtime was dropped.
    fn poll(&self, item: &mut Item, cx: &mut Context<'_>) -> Option<Poll<()>> {
        let polled = hushed(|| match &mut item.timer {
            Timer::Sleep(sleep) => Pin::new(sleep).poll(cx).map(|()| None),
            Timer::Interval(interval) => interval
                .poll_tick(cx)
                .map(|due| Some((due, interval.period()))),
        });
        match polled {
            Ok(Poll::Pending) => {
                item.is_armed = true;
                Some(Poll::Pending)
            }
            Ok(Poll::Ready(tick)) => {
                self.check(now() >= item.due, "a timer is early");
                if let Some((due, period)) = tick {
                    self.check(due == item.due, "a tick is due at another instant");
                    item.due = due.checked_add(period).unwrap_or(due);
                }
                Some(Poll::Ready(()))
            }
            Err(payload) => {
                if payload.is::<Planned>() {
                    is_planned(payload);
                } else {
                    let text = text_of(&*payload);
                    let is_known = self.is_ended.load(SeqCst);
                    self.check(is_known, &text);
                    // Its runtime is gone: replace the timer.
                    *item = self.make();
                }
                None
            }
        }
    }

    /// One of the tasks of a runtime.
    async fn task(self: Arc<World>) {
        while self.spend() {
            match self.below(6) {
                0 => self.sleep().await,
                1 => self.await_one().await,
                2 => self.give_up().await,
                3 => yield_now().await,
                _ => self.clone().enter(Place::Poll),
            }
        }
    }

    async fn sleep(&self) {
        let (short, before) = (Duration::from_micros(self.below(1500) as u64), now());
        sleep(short).await;
        self.check(now() - before >= short, "a sleep was short");
    }

    async fn give_up(&self) {
        let (short, before) = (Duration::from_micros(self.below(500) as u64), now());
        let given_up = timeout(short, pending::<()>()).await;
        let is_right = given_up.is_err() && now() - before >= short;
        self.check(is_right, "a timeout was short");
    }

    /// Waits for one of the timers with the task's own waker, for a while.
    async fn await_one(self: &Arc<World>) {
        let Some(mut item) = self.take() else {
            return;
        };
        item.flag = None;
        let most = Duration::from_micros(self.below(800) as u64);
        let until = poll_fn(|cx| match self.poll(&mut item, cx) {
            Some(Poll::Pending) => Poll::Pending,
            _ => Poll::Ready(()),
        });
        // A timer that a task leaves behind wakes that task at some time.
        let _ = timeout(most, until).await;
        self.put(item);
    }
}

impl Foreign for World {
    fn enter(self: Arc<World>, place: Place) {
        let depth = DEPTH.get();
        if depth < 3 {
            DEPTH.set(depth + 1);
            while self.one_in(2) && self.spend() {
                self.act();
            }
            DEPTH.set(depth);
        }
        let may_panic = place != Place::Poll && self.left.load(SeqCst) != 0;
        if may_panic && !thread::panicking() && self.one_in(40) {
            panic_as_planned(false);
        }
    }

    fn fault(&self, what: &str) {
        lock(&self.faults).push(what.to_owned());
    }
}

/// Runs a loop until `is_over`, or until a foreign waker panics.
fn run(world: &World, runtime: &Runtime, mut is_over: impl FnMut() -> bool) {
    IS_HOME.set(true);
    while !is_over() {
        let turned = catch_unwind(AssertUnwindSafe(|| {
            runtime.turn(Some(Duration::from_micros(500))).unwrap();
        }));
        if let Err(payload) = turned {
            world.expect_planned(payload);
        }
    }
    IS_HOME.set(false);
}

fn runtime(world: &Arc<World>, kind: BackendKind, seed: u64) -> Runtime {
    let unhandled = world.clone();
    let policy = UnhandledPanic::Call(Box::new(move |report| {
        unhandled.expect_planned(report.into_payload())
    }));
    let mut dice = Dice::new(seed);
    Builder::new()
        .backend(kind)
        .unhandled_panic(policy)
        .precise_timers(dice.one_in(3))
        .timer_tick(Duration::from_nanos(1 << dice.below(21)))
        .poll_budget(1 + dice.below(20) as u32)
        .build()
        .expect("it was available a moment ago")
}

/// Runs tasks until no action is left and they have ended, and then goes on until `is_over`.
fn live(world: &Arc<World>, runtime: &Runtime, mut is_over: impl FnMut() -> bool) {
    let tasks = runtime.enter(|| [(); 4].map(|()| spawn(world.clone().task())));
    let is_done = || runtime.enter(|| tasks.iter().all(|task| task.is_finished()));
    run(world, runtime, || is_done() && is_over());
}

fn play(kind: BackendKind, seed: u64) {
    let mut dice = Dice::new(seed);
    let world = Arc::new(World {
        left: AtomicUsize::new(100 + dice.below(600)),
        dice: Mutex::new(dice),
        items: Mutex::default(),
        flags: Mutex::default(),
        faults: Mutex::default(),
        is_ended: AtomicBool::new(false),
    });
    for _ in 0..ITEMS {
        let item = world.make();
        world.put(item);
    }
    // Until every timer with a waiter has fired.
    let (is_over, ready) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let loop_there = scope.spawn(|| {
            let there = runtime(&world, kind, seed + 1);
            let mut is_ready = false;
            live(&world, &there, || {
                if !std::mem::replace(&mut is_ready, true) {
                    ready.fetch_add(1, SeqCst);
                }
                is_over.load(SeqCst)
            });
            world.is_ended.store(true, SeqCst);
        });
        let no_loop = scope.spawn(|| {
            while world.spend() {
                let acted = catch_unwind(AssertUnwindSafe(|| world.clone().enter(Place::Outside)));
                if let Err(payload) = acted {
                    world.expect_planned(payload);
                }
            }
            ready.fetch_add(1, SeqCst);
        });
        let here = runtime(&world, kind, seed);
        live(&world, &here, || ready.load(SeqCst) == 2);
        wake_all(&world, &here);
        is_over.store(true, SeqCst);
        join(loop_there);
        join(no_loop);
    });
    polls_without_a_runtime(&world);
    for flag in lock(&world.flags).drain(..) {
        world.check(flag.wakers() == 0, "a waker is left, or was dropped twice");
    }
    let faults = lock(&world.faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Gives every timer with a waiter a near deadline, and waits until all waiters were woken.
fn wake_all(world: &World, here: &Runtime) {
    let mut items = std::mem::take(&mut *lock(&world.items));
    for item in &mut items {
        if item.flag.is_some() && item.due > now() {
            item.due = now() + Duration::from_micros(world.below(1000) as u64);
            match &mut item.timer {
                Timer::Sleep(sleep) => sleep.reset(item.due),
                Timer::Interval(interval) => interval.reset_at(item.due),
            }
        }
    }
    let is_woken = |item: &Item| item.flag.as_ref().is_none_or(|flag| flag.is_woken());
    run(world, here, || items.iter().all(is_woken));
    *lock(&world.items) = items;
}

/// Checks that, with every runtime dropped, the poll of a sleep panics with that reason. Drops all
/// timers.
fn polls_without_a_runtime(world: &World) {
    // Not under the lock, because foreign wakers take it too.
    let mut items = std::mem::take(&mut *lock(&world.items));
    for item in &mut items {
        let Timer::Sleep(sleep) = &mut item.timer else {
            continue;
        };
        sleep.reset(now() + Duration::from_secs(3600));
        let message = message_of(|| {
            let _ = Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop()));
        });
        let is_right = message.contains("is gone") || message.contains("no reveille runtime");
        world.check(is_right, &message);
    }
}

#[test]
fn timers() {
    fuzz("timers", 1..50, play);
}
