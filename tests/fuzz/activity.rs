//! [`Activity`]: what a part of a fuzzer is doing, for the report of a hang.
//!
//! It is written with relaxed stores and no lock, so that it hides no missing synchronization of
//! the crate from ThreadSanitizer.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What is being done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Begins,
    Reads,
    Writes,
    Accepts,
    Connects,
    /// Waits until its peer's task has ended.
    Joins,
}

impl Step {
    const ALL: [Step; 6] = [
        Step::Begins,
        Step::Reads,
        Step::Writes,
        Step::Accepts,
        Step::Connects,
        Step::Joins,
    ];
}

struct State {
    /// Which part of the fuzzer this is.
    who: String,
    /// The index in `Step::ALL`.
    step: AtomicUsize,
    fd: AtomicI32,
    /// How far it has come: a number of bytes, or of connections.
    at: AtomicUsize,
    /// The number of steps so far.
    steps: AtomicUsize,
}

/// What a part of a fuzzer is doing, while this exists.
pub(crate) struct Activity(Arc<State>);

static ALL: Mutex<Vec<Weak<State>>> = Mutex::new(Vec::new());

impl Activity {
    pub(crate) fn new(who: String) -> Activity {
        let state = Arc::new(State {
            who,
            step: AtomicUsize::new(Step::Begins as usize),
            fd: AtomicI32::new(-1),
            at: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
        });
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() != 0);
        all.push(Arc::downgrade(&state));
        Activity(state)
    }

    /// Notes what begins now.
    pub(crate) fn set(&self, step: Step, fd: RawFd, at: usize) {
        self.0.step.store(step as usize, Relaxed);
        self.0.fd.store(fd, Relaxed);
        self.0.at.store(at, Relaxed);
        self.0.steps.fetch_add(1, Relaxed);
    }
}

/// Describes all activities, one in a line.
pub(crate) fn all() -> Vec<String> {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let live = all.iter().filter_map(Weak::upgrade);
    let describe = |state: Arc<State>| {
        let step = Step::ALL[state.step.load(Relaxed)];
        let [fd, at, steps] = [
            i64::from(state.fd.load(Relaxed)),
            state.at.load(Relaxed) as i64,
            state.steps.load(Relaxed) as i64,
        ];
        format!("{}: {step:?} fd {fd} at {at}, step {steps}", state.who)
    };
    live.map(describe).collect()
}
