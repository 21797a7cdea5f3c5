//! [`Parker`] puts the loop to sleep without losing a wake-up; [`Unparker`], its shared half, lets
//! other threads end that sleep with at most one system call.
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
//! - 1: [`Unparker::park`], by the owner, when it has nothing to do. It fails if the state is
//!   NOTIFIED; then the owner checks again what was published.
//! - 2 and 5: [`Unparker::unpark`], by any thread, *after* it has published something. Only the
//!   edge out of SLEEPING calls the backend's notifier.
//! - 3 and 4: [`Unparker::wake_up`] and [`Unparker::take`], by the owner, *before* it checks what
//!   was published. So whatever is published later finds AWAKE or SLEEPING and sets NOTIFIED again:
//!   nothing is lost, in any order.
//!
//! If the notifier of edge 2 fails or panics, as a custom one may, the state is NOTIFY_FAILED in
//! place of NOTIFIED. The owner treats both the same, and the next `unpark` notifies again.
//!
//! Each edge is one read-modify-write of one word, so all of them have one order, and a thread that
//! reads NOTIFIED also sees what was published before it was written.

use super::spin::Spin;
use crate::backend::Notifier;
use crate::sync::{AtomicU8, ForkLock, Ordering};
use std::cell::Cell;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

const AWAKE: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;
const NOTIFY_FAILED: u8 = 3;

/// The park state of one loop, shared with everything that may wake it. Handles may keep it after
/// the end of the loop; then it holds no descriptor.
#[derive(Debug)]
pub(crate) struct Unparker {
    state: AtomicU8,
    /// `None` after the end of the loop. Only the edge out of SLEEPING takes the lock, and that
    /// edge makes a system call anyway.
    notifier: ForkLock<Option<Notifier>>,
}

impl Unparker {
    pub(crate) fn new(notifier: Notifier) -> Arc<Unparker> {
        Arc::new(Unparker {
            state: AtomicU8::new(AWAKE),
            notifier: ForkLock::new(Some(notifier)),
        })
    }

    /// Makes the loop check what has been published, and ends its sleep if it sleeps.
    pub(crate) fn unpark(&self) {
        let before = self.state.swap(NOTIFIED, Ordering::AcqRel);
        if matches!(before, SLEEPING | NOTIFY_FAILED) {
            self.notify();
        }
    }

    #[cold]
    fn notify(&self) {
        // Called without the lock, because the notifier may be a custom one. If the loop ends
        // meanwhile, the clone keeps the descriptor open until the call has returned.
        let notifier = self.notifier.lock().clone();
        struct MarkFailed<'a>(&'a Unparker);
        impl Drop for MarkFailed<'_> {
            fn drop(&mut self) {
                let state = &self.0.state;
                // If this fails, the owner has woken up by itself.
                let _ = state.compare_exchange(
                    NOTIFIED,
                    NOTIFY_FAILED,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            }
        }
        let on_failure = MarkFailed(self);
        if notifier.is_none_or(|notifier| notifier.notify().is_ok()) {
            std::mem::forget(on_failure);
        }
    }

    /// Puts the notifier back, in the child of a fork, where the lock may have been abandoned.
    fn restore(&self, notifier: Notifier) {
        *self.notifier.lock() = Some(notifier);
    }

    /// Drops the notifier at the end of the loop. What is published later notifies no thread.
    fn close(&self) {
        self.state.store(NOTIFIED, Ordering::Release);
        let notifier = self.notifier.lock().take();
        // Without the lock, because the drop of a custom notifier is foreign code.
        drop(notifier);
    }

    /// Marks the loop as about to sleep. Returns false if something was published since the last
    /// check.
    #[must_use]
    pub(crate) fn park(&self) -> bool {
        self.state
            .compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Marks the loop as awake. Returns true if something was published.
    pub(crate) fn wake_up(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) >= NOTIFIED
    }

    /// Returns whether something was published since the last check, and consumes that. Costs one
    /// plain load when there is nothing.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.is_notified() && self.wake_up()
    }

    /// Whether something was published since the last check.
    #[inline]
    pub(crate) fn is_notified(&self) -> bool {
        self.state.load(Ordering::Relaxed) >= NOTIFIED
    }
}

/// Puts the loop's own thread to sleep, and remembers a notification until the loop has checked its
/// queues.
#[derive(Debug)]
pub(crate) struct Parker {
    unparker: Arc<Unparker>,
    /// The notifier of `unparker`.
    notifier: Notifier,
    spin: Spin,
    /// Whether the loop still has to check everything published.
    notified: Cell<bool>,
    /// Whether a notification may be pending that no wait has consumed, so that a host would find
    /// the loop ready.
    unconsumed: Cell<bool>,
}

impl Parker {
    /// Makes a parker. `spin` is how long to spin for other threads before a sleep; see [`Spin`].
    pub(crate) fn new(notifier: Notifier, spin: Duration) -> Parker {
        Parker {
            unparker: Unparker::new(notifier.clone()),
            notifier,
            spin: Spin::new(spin),
            notified: Cell::new(false),
            unconsumed: Cell::new(false),
        }
    }

    /// Returns the half for other threads.
    pub(crate) fn unparker(&self) -> &Arc<Unparker> {
        &self.unparker
    }

    /// Sleeps in `wait` for at most `timeout`, or until another thread notifies. Something else may
    /// end the sleep after `alarm`. `wait` receives its timeout, which is zero if there is
    /// something to check. Returns the result of `wait`, and whether it slept.
    #[inline(always)]
    pub(crate) fn sleep<R>(
        &self,
        timeout: Option<Duration>,
        alarm: Option<Duration>,
        wait: impl FnOnce(Option<Duration>) -> R,
    ) -> (R, bool) {
        const NOT_AT_ALL: Option<Duration> = Some(Duration::ZERO);
        let mut timeout = timeout;
        let mut sleeps = timeout != NOT_AT_ALL;
        if sleeps {
            timeout = self
                .spin
                .before_sleep(|| self.unparker.is_notified(), timeout, alarm);
            sleeps = self.unparker.park();
        }
        // One call, so that it is inlined.
        let waited = wait(if sleeps { timeout } else { NOT_AT_ALL });
        if sleeps {
            self.spin.after_sleep(self.resume());
        }
        (waited, sleeps)
    }

    /// Marks the loop as awake, when its thread begins to run it or has slept: other threads that
    /// publish from now on need not end a sleep. Returns true if something was published since the
    /// thread left the loop.
    #[inline]
    pub(crate) fn resume(&self) -> bool {
        let notified = self.unparker.wake_up();
        if notified {
            self.notified.set(true);
            self.unconsumed.set(true);
        }
        notified
    }

    /// Marks the loop as left: other threads that publish from now on notify, so that a host sees
    /// it. Returns false if something was published already; the next turn checks that first.
    pub(crate) fn suspend(&self) -> bool {
        !self.notified.get() && self.unparker.park()
    }

    /// Returns whether something was published since the last call. The caller then checks every
    /// queue.
    #[inline]
    pub(crate) fn take_notified(&self) -> bool {
        self.is_notified() && self.notice()
    }

    #[cold]
    fn notice(&self) -> bool {
        self.notified.set(false);
        self.unparker.take();
        true
    }

    /// Whether the queues still have to be checked.
    #[inline]
    pub(crate) fn is_notified(&self) -> bool {
        self.notified.get() || self.unparker.is_notified()
    }

    /// Makes the loop check the queues again.
    pub(crate) fn notify_self(&self) {
        self.notified.set(true);
    }

    /// Makes the parker the child's, after a fork. What was published before belongs to the parent.
    pub(crate) fn after_fork(&self) {
        self.unparker.restore(self.notifier.clone());
        self.unparker.wake_up();
    }

    /// Returns whether a notification is not consumed yet. The caller makes a wait that consumes
    /// it.
    #[inline]
    pub(crate) fn take_unconsumed(&self) -> bool {
        self.unconsumed.replace(false)
    }
}

impl Drop for Parker {
    fn drop(&mut self) {
        self.unparker.close();
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

#[cfg(all(test, not(loom)))]
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
    fn unpark_notifies_only_a_sleeping_loop() {
        let count = Arc::new(Count::default());
        let unparker = Unparker::new(Notifier::new(count.clone()));
        unparker.unpark();
        unparker.unpark();
        assert_eq!(count.0.load(SeqCst), 0);
        assert!(!unparker.park(), "parked in spite of a notification");
        assert!(unparker.take() && !unparker.take());
        assert!(unparker.park());
        unparker.unpark();
        unparker.unpark();
        assert_eq!(count.0.load(SeqCst), 1);
        assert!(unparker.wake_up());
    }

    #[test]
    fn unpark_calls_a_failed_notifier_again() {
        use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
        /// Panics in the first call, fails in the second.
        #[derive(Default)]
        struct Fails(AtomicUsize);
        impl Notify for Fails {
            fn notify(&self) -> std::io::Result<()> {
                match self.0.fetch_add(1, SeqCst) {
                    0 => resume_unwind(Box::new("quiet")),
                    1 => Err(std::io::ErrorKind::OutOfMemory.into()),
                    _ => Ok(()),
                }
            }
        }
        let fails = Arc::new(Fails::default());
        let unparker = Unparker::new(Notifier::new(fails.clone()));
        assert!(unparker.park());
        catch_unwind(AssertUnwindSafe(|| unparker.unpark())).unwrap_err();
        for calls in [2, 3, 3] {
            assert!(unparker.is_notified());
            unparker.unpark();
            assert_eq!(fails.0.load(SeqCst), calls);
        }
        assert!(unparker.take() && !unparker.take());
        assert!(unparker.park());
        fails.0.store(1, SeqCst);
        unparker.unpark();
        assert!(!unparker.park() && unparker.wake_up());
    }

    #[test]
    fn unparker_drops_the_notifier_when_the_loop_ends() {
        for suspended in [false, true] {
            let count = Arc::new(Count::default());
            let parker = Parker::new(Notifier::new(count.clone()), Duration::ZERO);
            let unparker = parker.unparker().clone();
            if suspended {
                assert!(parker.suspend());
            }
            drop(parker);
            assert_eq!(Arc::strong_count(&count), 1);
            unparker.unpark();
            assert_eq!(count.0.load(SeqCst), 0);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::backend::Notify;
    use crate::sync::ForkLock;
    use loom::sync::{Condvar, Mutex as LoomMutex};
    use loom::thread;

    /// A wait that ends when notified, like a backend's.
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

    /// The loop ends while another thread publishes: it never sleeps if something came before its
    /// last check, and the notifier is dropped when both are done.
    #[test]
    fn loom_parker_drop_drops_the_notifier() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.max_duration = Some(std::time::Duration::from_secs(60));
        model.check(|| {
            let sleep = Arc::new(Sleep(LoomMutex::new(false), Condvar::new()));
            let parker = Parker::new(Notifier::new(sleep.clone()), Duration::ZERO);
            let unparker = parker.unparker().clone();
            let queue = Arc::new(ForkLock::new(0));
            let publisher = {
                let queue = queue.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        *queue.lock() += 1;
                        unparker.unpark();
                    }
                })
            };
            // Until the first item has come. The second may come before, during or after the end.
            while *queue.lock() == 0 {
                parker.sleep(None, None, |timeout| {
                    if timeout.is_none() {
                        sleep.wait();
                    }
                });
                parker.take_notified();
            }
            parker.suspend();
            drop(parker);
            publisher.join().unwrap();
            assert_eq!(Arc::strong_count(&sleep), 1);
        });
    }

    #[test]
    fn loom_park_sleeps_over_no_published_item() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.max_duration = Some(std::time::Duration::from_secs(60));
        model.check(|| {
            let sleep = Arc::new(Sleep(LoomMutex::new(false), Condvar::new()));
            let unparker = Unparker::new(Notifier::new(sleep.clone()));
            let queue = Arc::new(ForkLock::new(0));
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
