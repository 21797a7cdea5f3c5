//! How the loop goes to sleep without losing a wake-up, and how others end that sleep with at most one system call.
//!
//! ```text
//!            1 park                      2 unpark: notify()
//!   AWAKE ----------> SLEEPING ------------------------------> NOTIFIED
//!     ^ \                 | 3 wake up                           |     ^
//!     |  \________________v_____________________________________v     |
//!     |                 4 take                                        |
//!     +---------------------------- 5 unpark: no system call ---------+
//! ```
//!
//! 1. [`Unparker::park`], by the owner, when it has nothing to do. It fails when the state is NOTIFIED: look again.
//! 2. and 5. [`Unparker::unpark`], by anyone, *after* publishing what the owner should look at. Only the edge out of
//!    SLEEPING costs a call of the backend's notifier.
//! 3. and 4. [`Unparker::wake_up`] and [`Unparker::take`], by the owner, *before* it looks at what was published. So
//!    what is published later finds AWAKE or SLEEPING and sets NOTIFIED again: nothing is lost, in any order.
//!
//! Each edge is one read-modify-write of one word, so all of them have one order, and whoever reads NOTIFIED also
//! sees what was published before it was written.

use crate::backend::Notifier;
use crate::sync::{AtomicU8, Ordering};
use std::sync::Arc;
use std::task::Wake;

const AWAKE: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;

/// The park state of one loop, shared with everyone who may wake it.
#[derive(Debug)]
pub(crate) struct Unparker {
    state: AtomicU8,
    notifier: Notifier,
}

impl Unparker {
    pub(crate) fn new(notifier: Notifier) -> Arc<Unparker> {
        Arc::new(Unparker {
            state: AtomicU8::new(AWAKE),
            notifier,
        })
    }

    /// Tells the loop to look at what has been published, and ends its sleep if it sleeps.
    pub(crate) fn unpark(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == SLEEPING {
            // A failure leaves nothing to be done here: the fd is the loop's own, and "full" is success.
            let notified = self.notifier.notify();
            debug_assert!(
                notified.is_ok(),
                "the loop's own wake-up failed: {notified:?}"
            );
        }
    }

    /// Says that the loop is about to sleep; false if something was published since it looked last.
    #[must_use]
    pub(crate) fn park(&self) -> bool {
        self.state
            .compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Says that the loop sleeps no more; true if something was published.
    pub(crate) fn wake_up(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Whether something was published since the last look; consumes it. One plain load when there is nothing.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED && self.wake_up()
    }
}

impl Unparker {
    /// Whether something was published since the last look.
    pub(crate) fn is_notified(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }
}

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Notify;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Notify for Count {
        fn notify(&self) -> std::io::Result<()> {
            self.0.fetch_add(1, SeqCst);
            Ok(())
        }
    }

    #[test]
    #[cfg(not(loom))]
    fn only_the_edge_out_of_sleep_costs_a_notification() {
        let count = Arc::new(Count::default());
        let unparker = Unparker::new(Notifier::new(count.clone()));
        unparker.unpark();
        unparker.unpark();
        assert_eq!(count.0.load(SeqCst), 0);
        assert!(!unparker.park(), "parked over a notification");
        assert!(unparker.take() && !unparker.take());
        assert!(unparker.park());
        unparker.unpark();
        unparker.unpark();
        assert_eq!(count.0.load(SeqCst), 1);
        assert!(unparker.wake_up());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::backend::Notify;
    use crate::sync::Mutex;
    use loom::sync::{Condvar, Mutex as LoomMutex};
    use loom::thread;

    /// A wait that ends when notified, as a backend's does.
    struct Sleep(LoomMutex<bool>, Condvar);
    impl Notify for Sleep {
        fn notify(&self) -> std::io::Result<()> {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
            Ok(())
        }
    }
    impl Sleep {
        fn wait(&self) {
            let mut notified = self.0.lock().unwrap();
            while !*notified {
                notified = self.1.wait(notified).unwrap();
            }
            *notified = false;
        }
    }

    #[test]
    fn loom_no_published_item_is_slept_over() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.max_duration = Some(std::time::Duration::from_secs(60));
        model.check(|| {
            let sleep = Arc::new(Sleep(LoomMutex::new(false), Condvar::new()));
            let unparker = Unparker::new(Notifier::new(sleep.clone()));
            let queue = Arc::new(Mutex::new(0));
            let publisher = {
                let (queue, unparker) = (queue.clone(), unparker.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        *queue.lock() += 1;
                        unparker.unpark();
                    }
                })
            };
            let mut seen = 0;
            while seen < 2 {
                if unparker.park() {
                    sleep.wait();
                }
                unparker.wake_up();
                seen += std::mem::take(&mut *queue.lock());
            }
            publisher.join().unwrap();
        });
    }
}
