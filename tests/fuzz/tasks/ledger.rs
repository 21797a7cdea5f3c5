//! The expected state of every task: what must and what must not happen to it next.

use super::super::harness::is_planned;
use reveille::task::{Id, JoinError};
use std::thread::{self, ThreadId};

/// How a future ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Returned,
    Panicked,
    /// Dropped while it waited.
    Dropped,
}

#[derive(Debug)]
pub(super) struct Entry {
    name: Option<Id>,
    /// Its future may be dropped where it was made, if its runtime is gone.
    is_sent: bool,
    end: Option<End>,
    /// It was made or woken, and not polled since.
    woken: bool,
    aborted: bool,
    /// The task whose handle it waits for.
    awaits: Option<usize>,
    /// The tasks of the set that it waits for.
    joins: Vec<usize>,
    future_dropped: bool,
    /// The drop of its future panicked.
    drop_panicked: bool,
    output_made: bool,
    output_dropped: bool,
}

/// All tasks of one seed, by number.
pub(super) struct Ledger {
    entries: Vec<Entry>,
    owner: ThreadId,
    /// The runtimes are being dropped.
    pub(super) closing: bool,
    /// Faults found at places that must not panic.
    pub(super) faults: Vec<String>,
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger {
            entries: Vec::new(),
            owner: thread::current().id(),
            closing: false,
            faults: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, is_sent: bool) -> usize {
        self.entries.push(Entry {
            name: None,
            is_sent,
            end: None,
            woken: true,
            aborted: false,
            awaits: None,
            joins: Vec::new(),
            future_dropped: false,
            drop_panicked: false,
            output_made: false,
            output_dropped: false,
        });
        self.entries.len() - 1
    }

    pub(super) fn named(&mut self, task: usize, name: Id) {
        self.entries[task].name = Some(name);
    }

    fn check(&mut self, holds: bool, task: usize, what: &str) {
        if !holds {
            let entry = &self.entries[task];
            self.faults.push(format!("task {task} {what}: {entry:?}"));
        }
    }

    /// Records the beginning of a poll. `name` is the id that the runtime reports.
    pub(super) fn poll(&mut self, task: usize, name: Option<Id>) {
        let entry = &mut self.entries[task];
        entry.woken = false;
        let is_live = entry.end.is_none() && !entry.future_dropped;
        let is_named = entry.name.is_none() || entry.name == name;
        let is_home = self.owner == thread::current().id();
        self.check(is_live, task, "is polled after its end");
        self.check(is_named, task, "is polled under another's name");
        self.check(is_home, task, "is polled on another thread");
    }

    pub(super) fn wait_for(&mut self, task: usize, other: Option<usize>) {
        self.entries[task].awaits = other;
    }

    pub(super) fn wait_for_any(&mut self, task: usize, others: Vec<usize>) {
        self.entries[task].joins = others;
    }

    pub(super) fn end(&mut self, task: usize, end: End) {
        let entry = &mut self.entries[task];
        entry.end = Some(end);
        entry.output_made = end == End::Returned;
    }

    pub(super) fn wake(&mut self, task: usize) {
        let entry = &mut self.entries[task];
        entry.woken |= entry.end.is_none();
    }

    pub(super) fn abort(&mut self, task: usize) {
        self.entries[task].aborted = true;
    }

    pub(super) fn drop_future(&mut self, task: usize) {
        let is_home = self.owner == thread::current().id();
        let closing = self.closing;
        let entry = &mut self.entries[task];
        let is_first = !std::mem::replace(&mut entry.future_dropped, true);
        let may_be_dropped = entry.end.is_some() || entry.aborted || closing;
        let may_be_here = is_home || closing && entry.is_sent;
        entry.end.get_or_insert(End::Dropped);
        self.check(is_first, task, "has its future dropped twice");
        self.check(
            may_be_dropped,
            task,
            "has its future dropped without an abort or an end",
        );
        self.check(
            may_be_here,
            task,
            "has its future dropped on another thread",
        );
    }

    pub(super) fn panic_in_drop(&mut self, task: usize) {
        self.entries[task].drop_panicked = true;
    }

    pub(super) fn drop_output(&mut self, task: usize) {
        let entry = &mut self.entries[task];
        let is_first = !std::mem::replace(&mut entry.output_dropped, true);
        let was_made = entry.output_made;
        self.check(
            is_first && was_made,
            task,
            "has its output dropped too often",
        );
    }

    /// Checks the answer of a handle: `Ok` with the number in the output.
    pub(super) fn answer(&mut self, task: usize, answer: Result<usize, JoinError>) {
        let closing = self.closing;
        let entry = &self.entries[task];
        let holds = match answer {
            Ok(number) => {
                number == task && entry.end == Some(End::Returned) && !entry.drop_panicked
            }
            Err(error) if error.is_panic() => {
                let has_panicked = entry.end == Some(End::Panicked) || entry.drop_panicked;
                is_planned(error.into_panic()) && has_panicked
            }
            Err(error) if error.is_runtime_gone() => closing,
            Err(_cancelled) => entry.aborted && entry.end == Some(End::Dropped),
        };
        self.check(holds, task, "is reported to have ended in another way");
    }

    /// Returns whether a task has ended and its future was dropped.
    pub(super) fn has_ended(&self, task: usize) -> bool {
        self.entries[task].future_dropped
    }

    /// Checks that nothing is left to do: no live task was woken or waits for an ended one.
    pub(super) fn check_quiet(&mut self) {
        for task in 0..self.entries.len() {
            let entry = &self.entries[task];
            if entry.future_dropped {
                continue;
            }
            let (woken, aborted) = (entry.woken, entry.aborted);
            let awaited = entry.awaits.iter().chain(&entry.joins);
            let is_over = awaited.into_iter().any(|other| self.has_ended(*other));
            self.check(!woken, task, "was woken and not polled");
            self.check(!is_over, task, "waits for a task that has ended");
            self.check(!aborted, task, "was aborted and not dropped");
        }
    }

    /// Checks that everything was dropped.
    pub(super) fn check_over(&mut self) {
        for task in 0..self.entries.len() {
            let entry = &self.entries[task];
            let is_output_gone = entry.output_dropped || !entry.output_made;
            let is_future_gone = entry.future_dropped;
            self.check(is_future_gone, task, "has its future leaked");
            self.check(is_output_gone, task, "has its output leaked");
        }
    }
}
