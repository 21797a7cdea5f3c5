//! The expected state of every scope and child.

use reveille::task::JoinError;

/// How many children one poll of a scope may poll.
const MOST_POLLS: usize = 32;

#[derive(Default, Debug)]
struct Scope {
    /// Those that its current poll has polled.
    polled: Vec<usize>,
    /// It has failed, or is being dropped: its children may be dropped.
    has_failed: bool,
    /// It has returned: further children are refused.
    has_ended: bool,
}

#[derive(Debug)]
struct Child {
    scope: usize,
    /// It is the body.
    is_body: bool,
    /// It was made or woken, and not polled since.
    woken: bool,
    aborted: bool,
    /// Its future has returned or panicked.
    ended: bool,
    /// It has made an output.
    output: bool,
    output_dropped: bool,
    dropped: bool,
    /// The child whose handle it waits for.
    awaits: Option<usize>,
}

/// All scopes and children of one seed, by number.
#[derive(Default)]
pub(super) struct Ledger {
    scopes: Vec<Scope>,
    children: Vec<Child>,
    /// Tasks may be dropped, and their scopes with them.
    pub(super) stops_tasks: bool,
    faults: Vec<String>,
}

impl Ledger {
    pub(super) fn fault(&mut self, what: &str) {
        self.faults.push(what.to_owned());
    }

    fn check(&mut self, holds: bool, child: usize, what: &str) {
        if !holds {
            let entry = &self.children[child];
            let scope = &self.scopes[entry.scope];
            let what = format!("child {child} {what}: {entry:?} of {scope:?}");
            self.faults.push(what);
        }
    }

    pub(super) fn add_scope(&mut self) -> usize {
        self.scopes.push(Scope::default());
        self.scopes.len() - 1
    }

    pub(super) fn add_child(&mut self, scope: usize, is_body: bool) -> usize {
        self.children.push(Child {
            scope,
            is_body,
            woken: true,
            aborted: false,
            ended: false,
            output: false,
            output_dropped: false,
            dropped: false,
            awaits: None,
        });
        self.children.len() - 1
    }

    pub(super) fn poll_scope(&mut self, scope: usize) {
        self.scopes[scope].polled.clear();
    }

    pub(super) fn fail(&mut self, scope: usize) {
        self.scopes[scope].has_failed = true;
    }

    pub(super) fn poll(&mut self, child: usize) {
        let entry = &mut self.children[child];
        entry.woken = false;
        let is_live = !entry.ended && !entry.dropped;
        let polled = &mut self.scopes[entry.scope].polled;
        let is_first = !polled.contains(&child);
        polled.push(child);
        let is_few = polled.len() <= MOST_POLLS;
        self.check(is_live, child, "is polled after its end");
        self.check(is_first, child, "is polled twice in one poll");
        self.check(is_few, child, "is polled as one of too many");
    }

    /// Records the end of a future. An error or a panic ends its scope.
    pub(super) fn end(&mut self, child: usize, output: bool) {
        let entry = &mut self.children[child];
        entry.ended = true;
        entry.output = output;
        let scope = entry.scope;
        self.scopes[scope].has_failed |= !output;
    }

    pub(super) fn wake(&mut self, child: usize) {
        self.children[child].woken = true;
    }

    pub(super) fn wait_for(&mut self, child: usize, other: Option<usize>) {
        self.children[child].awaits = other;
    }

    pub(super) fn abort(&mut self, child: usize) {
        self.children[child].aborted = true;
    }

    pub(super) fn abort_all(&mut self, scope: usize) {
        let children = self.children.iter_mut();
        for child in children.filter(|child| child.scope == scope && !child.is_body) {
            child.aborted = true;
        }
    }

    pub(super) fn drop_future(&mut self, child: usize) {
        let entry = &mut self.children[child];
        let scope = entry.scope;
        let is_first = !std::mem::replace(&mut entry.dropped, true);
        let Scope {
            has_failed,
            has_ended,
            ..
        } = self.scopes[scope];
        let may = entry.ended || entry.aborted || has_failed || has_ended;
        self.check(is_first, child, "is dropped twice");
        self.check(may, child, "is dropped without a reason");
    }

    /// Records that the drop of a future has panicked, which fails its scope.
    pub(super) fn panic_in_drop(&mut self, child: usize) {
        self.fail(self.children[child].scope);
    }

    /// Records the drop of the future of a scope. `is_outermost`: that of a task.
    pub(super) fn drop_scope(&mut self, scope: usize, has_ended: bool, is_outermost: bool) {
        if is_outermost && !has_ended && !self.stops_tasks && !self.scopes[scope].has_failed {
            self.fault("the scope of a task is dropped without a reason");
        }
        self.fail(scope);
    }

    /// Records the end of a scope. `is_ok`: it has not failed, so all its children have ended.
    pub(super) fn end_scope(&mut self, scope: usize, is_ok: bool) {
        let of_scope = |child: &Child| child.scope == scope;
        let is_left = |child: &Child| of_scope(child) && !child.dropped;
        if self.children.iter().any(is_left) {
            self.fault("a scope has ended before its children");
        }
        if is_ok == self.scopes[scope].has_failed {
            self.fault("a scope has ended in another way");
        }
        self.scopes[scope].has_ended = true;
    }

    pub(super) fn drop_output(&mut self, child: usize) {
        let entry = &mut self.children[child];
        let is_first = !std::mem::replace(&mut entry.output_dropped, true);
        let holds = is_first && entry.output;
        self.check(holds, child, "has its output dropped too often");
    }

    /// Checks the answer of a handle: `Ok` with the number in the output.
    pub(super) fn answer(&mut self, child: usize, answer: Result<usize, JoinError>) {
        let entry = &self.children[child];
        let holds = match answer {
            Ok(number) => number == child && entry.output,
            Err(error) => error.is_cancelled() && entry.dropped && !entry.output,
        };
        self.check(holds, child, "is reported to have ended in another way");
    }

    /// Checks that nothing is left to do.
    #[track_caller]
    pub(super) fn check_quiet(&mut self) {
        for child in 0..self.children.len() {
            let entry = &self.children[child];
            if entry.dropped {
                continue;
            }
            let (woken, aborted) = (entry.woken, entry.aborted);
            let is_over = entry
                .awaits
                .is_some_and(|other| self.children[other].dropped);
            self.check(!woken, child, "was woken and not polled");
            self.check(!aborted, child, "was aborted and not dropped");
            self.check(!is_over, child, "waits for a child that has ended");
        }
        self.check_faults();
    }

    /// Checks that everything was dropped.
    #[track_caller]
    pub(super) fn check_over(&mut self) {
        for child in 0..self.children.len() {
            let entry = &self.children[child];
            let (dropped, output) = (entry.dropped, entry.output_dropped == entry.output);
            self.check(dropped, child, "is leaked");
            self.check(output, child, "has its output leaked");
        }
        self.check_faults();
    }

    #[track_caller]
    fn check_faults(&self) {
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
    }
}
