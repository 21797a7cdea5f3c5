//! [`Unfinished`] counts the jobs of a runtime that have not sent their answers, because a paused
//! clock stands still until there is none (feature `test-util`).

use crate::sync::{Arc, AtomicU64, Ordering};
use crate::task::{Job, Remote};

/// The number of jobs that wait, run, or have not sent their answers.
#[derive(Debug)]
pub(super) struct Unfinished {
    count: AtomicU64,
    /// The runtime, which may sleep until the count is zero.
    tasks: Arc<Remote>,
}

impl Unfinished {
    pub(super) fn new(tasks: Arc<Remote>) -> Unfinished {
        Unfinished {
            count: AtomicU64::new(0),
            tasks,
        }
    }

    /// Returns whether there is any job. If not, what the jobs have sent can be seen.
    pub(super) fn is_any(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0
    }
}

/// Counts a job until it has sent its answer, or is dropped.
pub(super) fn counted(mut job: Job, unfinished: &Arc<Unfinished>) -> Job {
    unfinished.count.fetch_add(1, Ordering::Relaxed);
    job.hold(Counted(unfinished.clone()));
    job
}

/// One job of the count.
struct Counted(Arc<Unfinished>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.tasks.unpark();
        }
    }
}
