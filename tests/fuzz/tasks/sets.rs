//! What the foreign code does to sets of tasks.

use super::super::foreign::{Flag, Foreign};
use super::super::harness::{drop_planned, lock};
use super::future::{Fuzzed, Here, Output, Sent};
use super::ledger::Ledger;
use super::world::{RUNTIMES, World};
use reveille::task::{Id, JoinError, JoinSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A set of tasks of one runtime, and what the checks need to know about it.
pub(super) struct HeldSet {
    /// The runtime of all its tasks, because their ids are unique in one runtime only.
    at: usize,
    set: JoinSet<Output>,
    tasks: Vec<(Id, usize)>,
    /// The flag of the waker that waits for it.
    flag: Option<Arc<Flag>>,
}

impl HeldSet {
    pub(super) fn tasks(&self) -> Vec<usize> {
        self.tasks.iter().map(|(_, task)| *task).collect()
    }

    /// Checks that the waiter was woken if a task has ended.
    pub(super) fn check_quiet(&self, ledger: &mut Ledger) {
        let is_woken = self.flag.as_ref().is_none_or(|flag| flag.is_woken());
        let ended = self.tasks.iter().find(|(_, task)| ledger.has_ended(*task));
        if let (Some((_, task)), false) = (ended, is_woken) {
            let what = format!("the waker of the set of {task} was not woken");
            ledger.faults.push(what);
        }
    }
}

impl World {
    pub(super) fn take_set(&self) -> Option<HeldSet> {
        self.take_any(&self.sets)
    }

    pub(super) fn keep_set(&self, set: Option<HeldSet>) {
        lock(&self.sets).extend(set);
    }

    /// Does one random thing to a set.
    pub(super) fn act_on_set(self: &Arc<World>) {
        match self.below(8) {
            0..3 => self.spawn_in_set(),
            3..5 => self.poll_set(),
            5 => self.try_set(),
            6 => self.inspect_set(),
            _ => self.end_some_set(),
        }
    }

    fn spawn_in_set(self: &Arc<World>) {
        let found = (!self.one_in(4)).then(|| self.take_set()).flatten();
        let mut held = found.unwrap_or_else(|| HeldSet {
            at: self.below(self.runtimes.len()),
            set: JoinSet::new(),
            tasks: Vec::new(),
            flag: None,
        });
        let owned = RUNTIMES.with_borrow(|all| all.get(held.at).cloned());
        let owned = owned.filter(|_| self.one_in(2));
        let task = lock(&self.ledger).add(owned.is_none());
        let set = &mut held.set;
        let spawned = catch_unwind(AssertUnwindSafe(|| match owned {
            Some(runtime) => {
                let future = Fuzzed::<Here>::new(self.clone(), task);
                runtime.enter(|| set.spawn(future))
            }
            None => {
                let future = Fuzzed::<Sent>::new(self.clone(), task);
                set.spawn_on(future, &self.runtimes[held.at])
            }
        }));
        match spawned {
            Ok(abort) => {
                lock(&self.ledger).named(task, abort.id());
                held.tasks.push((abort.id(), task));
                if self.one_in(3) {
                    lock(&self.aborts).push((task, abort));
                }
            }
            // The runtime is gone, and the drop of the future panicked.
            Err(payload) => self.expect_planned(payload),
        }
        self.keep_set(Some(held));
    }

    /// Polls a set with a waker that belongs to no task.
    fn poll_set(self: &Arc<World>) {
        let Some(mut held) = self.take_set() else {
            return;
        };
        let flag = match held.flag.take() {
            Some(flag) if self.one_in(2) => flag,
            _ => self.new_flag(),
        };
        let waker = flag.waker();
        // The poll may panic as planned, in the clone of the waker or in the drop of an older one.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            self.poll_held_set(&mut held, &mut Context::from_waker(&waker))
        }));
        match polled {
            Ok(Poll::Ready(_)) => {}
            Ok(Poll::Pending) => held.flag = Some(flag),
            Err(payload) => self.expect_planned(payload),
        }
        self.keep_set(Some(held));
        if !drop_planned(waker) {
            self.fault("the drop of a waker panicked otherwise than planned");
        }
    }

    /// Polls a set and compares its answer with the ledger. Returns whether it was not empty.
    pub(super) fn poll_held_set(&self, held: &mut HeldSet, cx: &mut Context<'_>) -> Poll<bool> {
        // Its waker may be replaced.
        held.flag = None;
        let polled = held.set.poll_join_next_with_id(cx);
        polled.map(|answer| self.check_answer(held, answer))
    }

    fn try_set(&self) {
        if let Some(mut held) = self.take_set() {
            let answer = held.set.try_join_next_with_id();
            if answer.is_some() {
                self.check_answer(&mut held, answer);
            }
            self.keep_set(Some(held));
        }
    }

    /// Compares an answer with the ledger. Returns whether the set was not empty.
    fn check_answer(
        &self,
        held: &mut HeldSet,
        answer: Option<(Id, Result<Output, JoinError>)>,
    ) -> bool {
        let Some((id, answer)) = answer else {
            // Those whose spawn has panicked are not in the list.
            if !held.tasks.is_empty() {
                self.fault("a set has lost its tasks");
            }
            return false;
        };
        let answer = answer.map(|output| {
            let task = output.task();
            if !drop_planned(output) {
                self.fault("the drop of an output panicked otherwise than planned");
            }
            task
        });
        match held.tasks.iter().position(|(known, _)| *known == id) {
            Some(place) => {
                let (_, task) = held.tasks.swap_remove(place);
                lock(&self.ledger).answer(task, answer);
            }
            None => self.fault("a set has returned a task that is not in it"),
        }
        true
    }

    fn inspect_set(&self) {
        if let Some(held) = self.take_set() {
            drop(format!("{:?}", held.set));
            if held.set.len() != held.tasks.len() {
                self.fault("a set has another number of tasks");
            }
            self.keep_set(Some(held));
        }
    }

    /// Aborts, detaches or drops the tasks of a set.
    fn end_some_set(&self) {
        let Some(mut held) = self.take_set() else {
            return;
        };
        match self.below(3) {
            0 => return self.drop_set(held),
            1 => {
                self.note_aborts(&held);
                held.set.abort_all();
            }
            _ => {
                held.tasks.clear();
                held.set.detach_all();
            }
        }
        self.keep_set(Some(held));
    }

    fn note_aborts(&self, held: &HeldSet) {
        let mut ledger = lock(&self.ledger);
        held.tasks.iter().for_each(|(_, task)| ledger.abort(*task));
    }

    pub(super) fn drop_set(&self, held: HeldSet) {
        self.note_aborts(&held);
        self.drop_quietly(held.set, "a set");
    }

    /// Polls a set whose runtime was dropped until it is empty, or drops it.
    pub(super) fn end_set(&self, mut held: HeldSet) {
        if self.one_in(2) {
            return self.drop_set(held);
        }
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match self.poll_held_set(&mut held, cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return,
                Poll::Pending => return self.fault("a set waits for a runtime that is gone"),
            }
        }
    }
}
