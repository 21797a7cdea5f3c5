//! The futures and outputs of the tasks.

use super::super::foreign::{Foreign, Place};
use super::super::harness::lock;
use super::ledger::End;
use super::sets::HeldSet;
use super::world::{Held, World};
use reveille::time::{Duration, Sleep, sleep};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A future that is sent to its runtime.
pub(super) type Sent = ();
/// A future that is spawned on the runtime's thread.
pub(super) type Here = *const ();

/// A future that does random things in each poll and in its drop.
pub(super) struct Fuzzed<M> {
    world: Arc<World>,
    task: usize,
    awaits: Option<Held>,
    joins: Option<HeldSet>,
    nap: Option<Sleep>,
    yields: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    kind: PhantomData<M>,
}

impl<M> Unpin for Fuzzed<M> {}

impl<M> Fuzzed<M> {
    pub(super) fn new(world: Arc<World>, task: usize) -> Fuzzed<M> {
        Fuzzed {
            world,
            task,
            awaits: None,
            joins: None,
            nap: None,
            yields: None,
            kind: PhantomData,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        world.clone().enter(Place::Poll);
        self.poll_parts(cx);
        if world.is_spent() {
            return Poll::Ready(());
        }
        match world.below(13) {
            0 | 1 => return Poll::Ready(()),
            2 | 3 => {
                lock(&world.ledger).wake(self.task);
                cx.waker().wake_by_ref();
            }
            4 | 5 => world.keep_waker(self.task, cx.waker()),
            6 if self.awaits.is_none() => self.awaits = world.take_handle(),
            7 => {
                let short = Duration::from_micros(world.below(100) as u64);
                self.nap = Some(sleep(short));
            }
            8 if self.joins.is_none() => self.joins = world.take_set(),
            9 => self.yields = Some(Box::pin(reveille::yield_now())),
            _ => {}
        }
        self.poll_parts(cx);
        Poll::Pending
    }

    /// Polls the handle that it waits for.
    fn poll_parts(&mut self, cx: &mut Context<'_>) {
        if let Some(held) = &mut self.awaits {
            let other = held.task;
            // Set before the poll, because the waker may be woken during it.
            lock(&self.world.ledger).wait_for(self.task, None);
            if self.world.poll_held(held, cx).is_ready() {
                self.awaits = None;
            } else {
                lock(&self.world.ledger).wait_for(self.task, Some(other));
            }
        }
        self.poll_set(cx);
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
    }
}

impl<M> Fuzzed<M> {
    /// Polls the set that it waits for, until it would wait or the set is empty.
    fn poll_set(&mut self, cx: &mut Context<'_>) {
        let Some(set) = &mut self.joins else { return };
        loop {
            lock(&self.world.ledger).wait_for_any(self.task, Vec::new());
            match self.world.poll_held_set(set, cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => break,
                Poll::Pending => {
                    lock(&self.world.ledger).wait_for_any(self.task, set.tasks());
                    return;
                }
            }
        }
        self.world.keep_set(self.joins.take());
    }
}

impl<M> Future for Fuzzed<M> {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let this = self.get_mut();
        lock(&this.world.ledger).poll(this.task, reveille::task::try_id());
        let (world, task) = (this.world.clone(), this.task);
        match catch_unwind(AssertUnwindSafe(|| this.step(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                lock(&world.ledger).end(task, End::Returned);
                Poll::Ready(Output { world, task })
            }
            Err(payload) => {
                lock(&world.ledger).end(task, End::Panicked);
                resume_unwind(payload);
            }
        }
    }
}

impl<M> Drop for Fuzzed<M> {
    fn drop(&mut self) {
        lock(&self.world.ledger).drop_future(self.task);
        if let Some(held) = self.awaits.take() {
            self.world.drop_held(held);
        }
        if let Some(set) = self.joins.take() {
            self.world.drop_set(set);
        }
        let entered = catch_unwind(AssertUnwindSafe(|| {
            self.world.clone().enter(Place::FutureDrop)
        }));
        if let Err(payload) = entered {
            lock(&self.world.ledger).panic_in_drop(self.task);
            resume_unwind(payload);
        }
    }
}

/// What a task returns.
pub(super) struct Output {
    world: Arc<World>,
    task: usize,
}

impl Output {
    pub(super) fn task(&self) -> usize {
        self.task
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        lock(&self.world.ledger).drop_output(self.task);
        self.world.clone().enter(Place::OutputDrop);
    }
}
