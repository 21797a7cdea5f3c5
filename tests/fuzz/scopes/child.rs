//! The children, the scopes that own them, and what children may do.

use super::super::harness::{drop_planned, lock, panic_as_planned};
use super::World;
use reveille::JoinHandle;
use reveille::task::{ScopedJoinHandle, TryScope, try_scope};
use reveille::time::{Duration, Sleep, sleep};
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;

/// How deep scopes may lie in scopes.
const DEEPEST: usize = 3;

/// The error of a child.
#[derive(Debug)]
pub(super) struct Failed;

/// A handle, and the child that it waits for.
type Held = (usize, ScopedJoinHandle<Output>);

/// What the thread of the runtime owns.
pub(super) struct Home {
    world: Arc<World>,
    scopes: RefCell<Vec<(usize, usize, TryScope<'static, Failed>)>>,
    handles: RefCell<Vec<Held>>,
    /// Tasks that wait for wakes that may never come.
    tasks: RefCell<Vec<JoinHandle<()>>>,
    /// Makes the other thread wake a child.
    wakes: RefCell<Option<mpsc::Sender<()>>>,
}

impl Home {
    pub(super) fn new(world: Arc<World>, wakes: Option<mpsc::Sender<()>>) -> Home {
        Home {
            world,
            scopes: RefCell::default(),
            handles: RefCell::default(),
            tasks: RefCell::default(),
            wakes: RefCell::new(wakes),
        }
    }

    pub(super) fn keep_task(&self, task: JoinHandle<()>) {
        self.tasks.borrow_mut().push(task);
    }

    /// Closes the channel to the other thread, which ends it.
    pub(super) fn close(&self) {
        self.wakes.take();
    }

    /// Drops all handles, which break the circle of this and the outputs.
    pub(super) fn clear(&self) {
        loop {
            lock(&self.world.wakers).clear();
            let handle = self.handles.borrow_mut().pop();
            let scope = self.scopes.borrow_mut().pop();
            let task = self.tasks.borrow_mut().pop();
            if handle.is_none() && scope.is_none() && task.is_none() {
                return;
            }
        }
    }

    /// Does one random thing that is allowed everywhere.
    pub(super) fn act(self: &Rc<Home>) {
        if !self.world.spend() {
            return;
        }
        match self.world.below(10) {
            0..=3 => self.spawn(),
            4 => {
                if let Some((child, handle)) = self.take_handle() {
                    lock(&self.world.ledger).abort(child);
                    handle.abort();
                    self.handles.borrow_mut().push((child, handle));
                }
            }
            5 => drop(self.take_handle()),
            6 if self.world.one_in(4) => {
                if let Some((number, _, scope)) = self.any_scope() {
                    lock(&self.world.ledger).abort_all(number);
                    scope.abort_all();
                }
            }
            7 => {
                if let Some(wakes) = &*self.wakes.borrow() {
                    self.world.under_way.fetch_add(1, SeqCst);
                    wakes.send(()).expect("the other thread ends last");
                }
            }
            _ => self.world.wake_kept(),
        }
    }

    fn any_scope(&self) -> Option<(usize, usize, TryScope<'static, Failed>)> {
        let mut scopes = self.scopes.borrow_mut();
        let len = scopes.len();
        let at = (len != 0).then(|| self.world.below(len))?;
        // Those that have ended are kept for a while, to spawn into them.
        match self.world.one_in(8) {
            true => Some(scopes.swap_remove(at)),
            false => Some(scopes[at].clone()),
        }
    }

    fn spawn(self: &Rc<Home>) {
        let Some((number, depth, scope)) = self.any_scope() else {
            return;
        };
        let child = Child::new(self, number, depth, false);
        let number = child.number;
        let handle = scope.spawn(child);
        if self.world.one_in(2) {
            self.handles.borrow_mut().push((number, handle));
        }
    }

    fn take_handle(&self) -> Option<Held> {
        let mut handles = self.handles.borrow_mut();
        let len = handles.len();
        (len != 0).then(|| handles.swap_remove(self.world.below(len)))
    }
}

/// A scope, with checks of its polls and its end.
pub(super) struct Watched {
    home: Rc<Home>,
    number: usize,
    depth: usize,
    has_ended: bool,
    scope: Pin<Box<dyn Future<Output = Result<Output, Failed>>>>,
}

impl Watched {
    pub(super) fn new(home: &Rc<Home>, depth: usize) -> Watched {
        let number = lock(&home.world.ledger).add_scope();
        let keeper = home.clone();
        let scope = Box::pin(try_scope(|scope| {
            keeper.scopes.borrow_mut().push((number, depth, scope));
            Child::new(&keeper, number, depth, true)
        }));
        Watched {
            home: home.clone(),
            number,
            depth,
            has_ended: false,
            scope,
        }
    }
}

impl Future for Watched {
    type Output = Result<(), Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let world = self.home.world.clone();
        lock(&world.ledger).poll_scope(self.number);
        let polled = catch_unwind(AssertUnwindSafe(|| self.scope.as_mut().poll(cx)));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(payload) => {
                self.has_ended = true;
                lock(&world.ledger).end_scope(self.number, false);
                resume_unwind(payload);
            }
        };
        self.has_ended = true;
        lock(&world.ledger).end_scope(self.number, result.is_ok());
        Poll::Ready(result.map(drop))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut ledger = lock(&self.home.world.ledger);
        ledger.drop_scope(self.number, self.has_ended, self.depth == 0);
    }
}

/// A future that does random things in each poll and in its drop.
struct Child {
    home: Rc<Home>,
    number: usize,
    depth: usize,
    awaits: Option<Held>,
    nap: Option<Sleep>,
    yields: Option<Pin<Box<dyn Future<Output = ()>>>>,
    inner: Option<Box<Watched>>,
}

impl Child {
    fn new(home: &Rc<Home>, scope: usize, depth: usize, is_body: bool) -> Child {
        let number = lock(&home.world.ledger).add_child(scope, is_body);
        Child {
            home: home.clone(),
            number,
            depth,
            awaits: None,
            nap: None,
            yields: None,
            inner: None,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let (home, world) = (self.home.clone(), self.home.world.clone());
        home.act();
        self.poll_parts(cx)?;
        if !world.spend() {
            return Poll::Ready(Ok(()));
        }
        match world.below(16) {
            0 | 1 => return Poll::Ready(Ok(())),
            2 if world.one_in(3) => return Poll::Ready(Err(Failed)),
            3 if world.one_in(3) => panic_as_planned(world.one_in(4)),
            4 | 5 => {
                lock(&world.ledger).wake(self.number);
                cx.waker().wake_by_ref();
            }
            6 | 7 => world.keep_waker(self.number, cx.waker()),
            8 if self.awaits.is_none() => self.awaits = home.take_handle(),
            9 => self.nap = Some(sleep(Duration::from_micros(world.below(100) as u64))),
            10 => self.yields = Some(Box::pin(reveille::yield_now())),
            11 if self.depth < DEEPEST && self.inner.is_none() => {
                self.inner = Some(Box::new(Watched::new(&home, self.depth + 1)));
            }
            12 => drop(self.inner.take()),
            _ => {}
        }
        self.poll_parts(cx)?;
        Poll::Pending
    }

    /// Polls what it waits for.
    fn poll_parts(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        let ledger = &self.home.world.ledger;
        if let Some((other, handle)) = &mut self.awaits {
            lock(ledger).wait_for(self.number, None);
            match Pin::new(handle).poll(cx) {
                Poll::Pending => lock(ledger).wait_for(self.number, Some(*other)),
                Poll::Ready(answer) => {
                    let answer = answer.map(|output| {
                        let number = output.number;
                        if !drop_planned(output) {
                            lock(ledger).fault("an output panicked otherwise than planned");
                        }
                        number
                    });
                    lock(ledger).answer(*other, answer);
                    self.awaits = None;
                }
            }
        }
        if let Some(inner) = &mut self.inner {
            if let Poll::Ready(result) = Pin::new(&mut **inner).poll(cx) {
                self.inner = None;
                result?;
            }
        }
        if let Some(nap) = &mut self.nap {
            if Pin::new(nap).poll(cx).is_ready() {
                self.nap = None;
            }
        }
        if let Some(yields) = &mut self.yields {
            if yields.as_mut().poll(cx).is_ready() {
                self.yields = None;
            }
        }
        Ok(())
    }
}

impl Future for Child {
    type Output = Result<Output, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (home, number) = (self.home.clone(), self.number);
        let ledger = &home.world.ledger;
        lock(ledger).poll(number);
        match catch_unwind(AssertUnwindSafe(|| self.step(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => {
                lock(ledger).end(number, result.is_ok());
                Poll::Ready(result.map(|()| Output {
                    home: home.clone(),
                    number,
                }))
            }
            Err(payload) => {
                lock(ledger).end(number, false);
                resume_unwind(payload);
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let (home, world) = (self.home.clone(), self.home.world.clone());
        lock(&world.ledger).drop_future(self.number);
        if thread::panicking() {
            return;
        }
        let inner = self.inner.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            // The children of the inner scope may panic.
            drop(inner);
            home.act();
            if world.one_in(30) && world.spend() {
                panic_as_planned(world.one_in(4));
            }
        }));
        if let Err(payload) = dropped {
            lock(&world.ledger).panic_in_drop(self.number);
            resume_unwind(payload);
        }
    }
}

/// What a child returns.
pub(super) struct Output {
    home: Rc<Home>,
    number: usize,
}

impl Drop for Output {
    fn drop(&mut self) {
        let world = &self.home.world;
        lock(&world.ledger).drop_output(self.number);
        if !thread::panicking() {
            self.home.act();
            if world.one_in(30) && world.spend() {
                panic_as_planned(world.one_in(4));
            }
        }
    }
}
