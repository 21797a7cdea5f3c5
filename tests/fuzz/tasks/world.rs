//! State that the foreign code of one seed shares, and the things that it does.

use super::super::foreign::{Flag, Foreign, Place};
use super::super::harness::{Dice, Planned, drop_planned, is_planned, lock, panic_as_planned};
use super::super::support::panics::{message_of, text_of};
use super::future::{Fuzzed, Here, Output, Sent};
use super::ledger::Ledger;
use super::sets::HeldSet;
use reveille::task::{AbortHandle, AbortOnDropHandle, JoinHandle};
use reveille::{Handle, Runtime};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// The greatest depth of foreign code that calls foreign code.
const DEEPEST: usize = 4;

thread_local! {
    /// The runtimes, on the thread that owns them.
    pub(super) static RUNTIMES: RefCell<Vec<Rc<Runtime>>> = const { RefCell::new(Vec::new()) };
    /// The runtimes whose loop runs, one bit each.
    static LOOPING: Cell<u8> = const { Cell::new(0) };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// A handle, and what the checks need to know about it.
pub(super) struct Held {
    pub(super) task: usize,
    handle: Either,
    /// The flag of its last waker.
    flag: Option<Arc<Flag>>,
}

enum Either {
    Join(JoinHandle<Output>),
    OnDrop(AbortOnDropHandle<Output>),
}

pub(super) struct World {
    dice: Mutex<Dice>,
    pub(super) ledger: Mutex<Ledger>,
    handles: Mutex<Vec<Held>>,
    pub(super) aborts: Mutex<Vec<(usize, AbortHandle)>>,
    pub(super) sets: Mutex<Vec<HeldSet>>,
    /// Wakers of tasks, kept after the poll that passed them.
    wakers: Mutex<Vec<(usize, Waker)>>,
    /// Every flag made.
    flags: Mutex<Vec<Arc<Flag>>>,
    pub(super) runtimes: Vec<Handle>,
    /// The number of actions left. Without any, every task ends.
    left: AtomicUsize,
    /// Sends acts to another thread, if there is one.
    other: Mutex<Option<mpsc::Sender<u64>>>,
    /// The number of acts that wait there.
    pub(super) under_way: AtomicUsize,
    /// The next hook ends `Runtime::run`.
    pub(super) stops: AtomicBool,
}

impl World {
    pub(super) fn new(seed: u64, runtimes: Vec<Handle>, other: Option<mpsc::Sender<u64>>) -> World {
        let mut dice = Dice::new(seed);
        let left = 50 + dice.below(2000);
        World {
            dice: Mutex::new(dice),
            ledger: Mutex::new(Ledger::new()),
            handles: Mutex::default(),
            aborts: Mutex::default(),
            sets: Mutex::default(),
            wakers: Mutex::default(),
            flags: Mutex::default(),
            runtimes,
            left: AtomicUsize::new(left),
            other: Mutex::new(other),
            under_way: AtomicUsize::new(0),
            stops: AtomicBool::new(false),
        }
    }

    pub(super) fn below(&self, most: usize) -> usize {
        lock(&self.dice).below(most)
    }

    pub(super) fn one_in(&self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    /// Takes one of the actions left. Returns whether there was any.
    pub(super) fn spend(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(SeqCst, SeqCst, less).is_ok()
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left.load(SeqCst) == 0
    }

    /// Panics as planned, sometimes.
    pub(super) fn may_panic(&self, place: Place) {
        let odds = match place {
            Place::Poll | Place::FutureDrop | Place::OutputDrop => 20,
            _ => 30,
        };
        if !thread::panicking() && !self.is_spent() && self.one_in(odds) {
            panic_as_planned(self.one_in(4));
        }
    }

    pub(super) fn expect_planned(&self, payload: Box<dyn std::any::Any + Send>) {
        if !payload.is::<Planned>() {
            let text = text_of(&*payload);
            self.fault(&format!("a panic that was not planned: {text}"));
        }
        is_planned(payload);
    }

    /// Drops a value of the runtime. Its drop must not panic.
    pub(super) fn drop_quietly<T>(&self, value: T, what: &str) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
            self.fault(&format!("the drop of {what} panicked"));
            self.expect_planned(payload);
        }
    }

    /// Does one random thing that is allowed at every place.
    pub(super) fn act(self: &Arc<World>) {
        match self.below(20) {
            0 | 1 => self.spawn(),
            2 | 3 => self.wake_kept(),
            4 => self.abort(),
            5 => self.drop_handle(),
            6 | 7 => self.poll_handle(),
            8 => self.inspect_handle(),
            9 => self.abort_by_handle(),
            10 => self.turn_another(),
            11 => self.block_within(),
            12 | 13 => self.act_elsewhere(),
            14 => self.change_handle(),
            15..19 => self.act_on_set(),
            _ => self.drop_waker(),
        }
    }

    pub(super) fn spawn(self: &Arc<World>) {
        let at = self.below(self.runtimes.len());
        let is_inside = Handle::try_current().is_some();
        let is_sent = self.one_in(2);
        let owned = RUNTIMES.with_borrow(|all| all.get(at).cloned());
        let is_sent = is_sent || !is_inside && owned.is_none();
        let task = lock(&self.ledger).add(is_sent);
        let handle = if is_sent {
            self.runtimes[at].spawn(Fuzzed::<Sent>::new(self.clone(), task))
        } else {
            let future = Fuzzed::<Here>::new(self.clone(), task);
            match owned {
                Some(runtime) if !is_inside || self.one_in(2) => runtime.spawn(future),
                _ => reveille::spawn(future),
            }
        };
        lock(&self.ledger).named(task, handle.id());
        if self.one_in(3) {
            lock(&self.aborts).push((task, handle.abort_handle()));
        }
        let handle = Either::Join(handle);
        self.keep_handle(Held {
            task,
            handle,
            flag: None,
        });
    }

    pub(super) fn keep_handle(&self, held: Held) {
        lock(&self.handles).push(held);
    }

    /// Takes a random element of a list.
    pub(super) fn take_any<T>(&self, list: &Mutex<Vec<T>>) -> Option<T> {
        let mut list = lock(list);
        let len = list.len();
        (len != 0).then(|| list.swap_remove(self.below(len)))
    }

    pub(super) fn take_handle(&self) -> Option<Held> {
        self.take_any(&self.handles)
    }

    pub(super) fn keep_waker(&self, task: usize, waker: &Waker) {
        lock(&self.wakers).push((task, waker.clone()));
    }

    fn wake_kept(&self) {
        let Some((task, waker)) = self.take_any(&self.wakers) else {
            return;
        };
        lock(&self.ledger).wake(task);
        match self.below(3) {
            0 => waker.wake(),
            1 => {
                let clone = waker.clone();
                drop(waker);
                clone.wake();
            }
            _ => {
                waker.wake_by_ref();
                lock(&self.wakers).push((task, waker));
            }
        }
    }

    fn drop_waker(&self) {
        drop(self.take_any(&self.wakers));
    }

    fn abort(&self) {
        if let Some(held) = self.take_handle() {
            lock(&self.ledger).abort(held.task);
            match &held.handle {
                Either::Join(handle) => handle.abort(),
                Either::OnDrop(handle) => handle.abort(),
            }
            self.keep_handle(held);
        }
    }

    fn abort_by_handle(&self) {
        if let Some((task, handle)) = self.take_any(&self.aborts) {
            lock(&self.ledger).abort(task);
            handle.abort();
            if self.one_in(2) {
                lock(&self.aborts).push((task, handle.clone()));
            }
        }
    }

    fn drop_handle(&self) {
        if let Some(held) = self.take_handle() {
            self.drop_held(held);
        }
    }

    pub(super) fn drop_held(&self, held: Held) {
        if let Either::OnDrop(_) = &held.handle {
            lock(&self.ledger).abort(held.task);
        }
        self.drop_quietly(held.handle, "a handle");
    }

    fn inspect_handle(&self) {
        if let Some(held) = self.take_handle() {
            match &held.handle {
                Either::Join(handle) => drop((handle.is_finished(), format!("{handle:?}"))),
                Either::OnDrop(handle) => drop((handle.is_finished(), handle.id())),
            }
            self.keep_handle(held);
        }
    }

    fn change_handle(&self) {
        if let Some(mut held) = self.take_handle() {
            held.handle = match held.handle {
                Either::Join(handle) => Either::OnDrop(handle.abort_on_drop()),
                Either::OnDrop(handle) => Either::Join(handle.detach()),
            };
            self.keep_handle(held);
        }
    }

    /// Polls a handle with a waker that belongs to no task.
    fn poll_handle(self: &Arc<World>) {
        let Some(mut held) = self.take_handle() else {
            return;
        };
        let flag = match held.flag.take() {
            Some(flag) if self.one_in(2) => flag,
            _ => self.new_flag(),
        };
        let waker = flag.waker();
        held.flag = Some(flag);
        // The poll may panic as planned, in the clone of the waker.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            self.poll_held(&mut held, &mut Context::from_waker(&waker))
        }));
        match polled {
            Ok(Poll::Ready(())) => {}
            Ok(Poll::Pending) => self.keep_handle(held),
            Err(payload) => {
                self.expect_planned(payload);
                held.flag = None;
                self.keep_handle(held);
            }
        }
        if !drop_planned(waker) {
            self.fault("the drop of a waker panicked otherwise than planned");
        }
    }

    pub(super) fn new_flag(self: &Arc<World>) -> Arc<Flag> {
        let flag = Arc::new(Flag::new(Arc::downgrade(self) as Weak<dyn Foreign>));
        lock(&self.flags).push(flag.clone());
        flag
    }

    /// Polls a handle and compares its answer with the ledger.
    pub(super) fn poll_held(&self, held: &mut Held, cx: &mut Context<'_>) -> Poll<()> {
        let polled = match &mut held.handle {
            Either::Join(handle) => Pin::new(handle).poll(cx),
            Either::OnDrop(handle) => Pin::new(handle).poll(cx),
        };
        polled.map(|answer| {
            let answer = answer.map(|output| {
                let task = output.task();
                if !drop_planned(output) {
                    self.fault("the drop of an output panicked otherwise than planned");
                }
                task
            });
            lock(&self.ledger).answer(held.task, answer);
            if let Either::OnDrop(_) = held.handle {
                lock(&self.ledger).abort(held.task);
            }
        })
    }

    /// Makes a turn of a runtime that does not run at the moment. Another runtime may host it.
    fn turn_another(self: &Arc<World>) {
        let at = self.below(self.runtimes.len());
        let Some(runtime) = RUNTIMES.with_borrow(|all| all.get(at).cloned()) else {
            return;
        };
        if LOOPING.get() & 1 << at == 0 {
            self.drive(at, || runtime.turn(Some(Duration::ZERO)).unwrap());
        } else {
            let message = message_of(|| runtime.turn(Some(Duration::ZERO)).unwrap());
            if !message.contains("inside this runtime's own loop") {
                self.fault(&format!("turn within a turn: {message}"));
            }
        }
    }

    fn block_within(&self) {
        let at = self.below(self.runtimes.len());
        let runtime = RUNTIMES.with_borrow(|all| all.get(at).cloned());
        if let (Some(runtime), true) = (runtime, LOOPING.get() != 0) {
            let message = message_of(|| runtime.block_on(async {}));
            if !message.contains("inside a running runtime") {
                self.fault(&format!("block_on within a loop: {message}"));
            }
        }
    }

    fn act_elsewhere(&self) {
        let seed = lock(&self.dice).next();
        if let Some(other) = &*lock(&self.other) {
            self.under_way.fetch_add(1, SeqCst);
            other.send(seed).expect("the other thread ends last");
        }
    }

    /// Closes the channel to the other thread, which ends it.
    pub(super) fn leave_other(&self) {
        *lock(&self.other) = None;
    }

    /// Runs a loop of a runtime. A panic that leaves it must have been planned.
    pub(super) fn drive(&self, at: usize, f: impl FnOnce()) {
        let before = LOOPING.replace(LOOPING.get() | 1 << at);
        let driven = catch_unwind(AssertUnwindSafe(f));
        LOOPING.set(before);
        if let Err(payload) = driven {
            self.expect_planned(payload);
        }
    }

    /// Checks the state when nothing is left to do.
    pub(super) fn check_quiet(&self) {
        let mut ledger = lock(&self.ledger);
        ledger.check_quiet();
        for held in &*lock(&self.handles) {
            let is_woken = held.flag.as_ref().is_none_or(|flag| flag.is_woken());
            if ledger.has_ended(held.task) && !is_woken {
                let what = format!("the waker of the handle of {} was not woken", held.task);
                ledger.faults.push(what);
            }
        }
        for set in &*lock(&self.sets) {
            set.check_quiet(&mut ledger);
        }
        assert!(ledger.faults.is_empty(), "{}", ledger.faults.join("\n"));
    }

    /// Drops the remaining handles and wakers.
    pub(super) fn clear(&self) {
        loop {
            let waker = self.take_any(&self.wakers);
            let abort = self.take_any(&self.aborts);
            let held = self.take_handle();
            let set = self.take_set();
            if waker.is_none() && abort.is_none() && held.is_none() && set.is_none() {
                return;
            }
            if let Some((_, waker)) = waker {
                waker.wake();
            }
            drop(abort);
            if let Some(held) = held {
                self.end_handle(held);
            }
            if let Some(set) = set {
                self.end_set(set);
            }
        }
    }

    /// Polls a handle whose runtime was dropped, which must be ready, or drops it.
    fn end_handle(&self, mut held: Held) {
        if self.one_in(2) {
            return self.drop_held(held);
        }
        let polled = self.poll_held(&mut held, &mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            self.fault("a handle waits for a runtime that is gone");
        }
    }

    /// Checks that everything was dropped once.
    pub(super) fn check_over(&self) {
        let mut ledger = lock(&self.ledger);
        ledger.check_over();
        for flag in lock(&self.flags).drain(..) {
            if flag.wakers() != 0 {
                let what = format!("{} wakers of a flag are left", flag.wakers());
                ledger.faults.push(what);
            }
        }
        assert!(ledger.faults.is_empty(), "{}", ledger.faults.join("\n"));
    }
}

impl Foreign for World {
    fn enter(self: Arc<World>, place: Place) {
        let depth = DEPTH.get();
        if depth < DEEPEST {
            DEPTH.set(depth + 1);
            let acted = catch_unwind(AssertUnwindSafe(|| {
                while self.one_in(3) && self.spend() {
                    self.act();
                }
            }));
            DEPTH.set(depth);
            if let Err(payload) = acted {
                self.expect_planned(payload);
            }
        }
        self.may_panic(place);
    }

    fn fault(&self, what: &str) {
        lock(&self.ledger).faults.push(what.to_owned());
    }
}

/// A runtime's hook.
pub(super) fn hook(world: &Weak<World>, at: usize) {
    if let Some(world) = world.upgrade() {
        if world.stops.load(SeqCst) {
            world.runtimes[at].stop();
        }
        world.clone().enter(Place::Hook);
    }
}
