//! [`FullPeer`]: how long a send pauses while the queue of its peer is full.
//!
//! On Linux a send to a full queue fails with `EAGAIN`. If the socket is connected to that peer,
//! the socket is not writable meanwhile, and an event reports when it is (net/unix/af_unix.c of the
//! kernel). If it is not connected, the socket stays writable, and nothing reports when the peer
//! has room. So the send is tried again after a pause.

use crate::reactor::clock::Moment;
use crate::sync::ForkLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

/// Short, because the peer may read at any moment.
const FIRST: Duration = Duration::from_millis(1);

/// A call every 32 ms is little work for each task that waits.
const LONGEST: Duration = Duration::from_millis(32);

/// Since when sends of one socket have found a full peer. All tasks that send share it.
#[derive(Debug)]
pub(super) struct FullPeer {
    /// Whether `since` is set. Most sends read only this.
    is_full: AtomicBool,
    since: ForkLock<Option<Moment>>,
    /// The tasks that a timer will wake, and when: a task that is polled again meanwhile needs no
    /// second timer.
    waiters: ForkLock<Vec<(Moment, Waker)>>,
}

impl FullPeer {
    pub(super) fn new() -> FullPeer {
        FullPeer {
            is_full: AtomicBool::new(false),
            since: ForkLock::new(None),
            waiters: ForkLock::new(Vec::new()),
        }
    }

    /// Returns how long the task is to pause, or `None` if a timer will wake it already.
    #[cold]
    pub(super) fn pause_of(&self, waker: &Waker) -> Option<Duration> {
        let (pause, now) = (self.pause(), Moment::now());
        // Cloned and dropped without the lock, because both may run foreign code.
        let waiter = (now.plus(pause), waker.clone());
        let mut waiters = self.waiters.lock();
        let all = std::mem::take(&mut *waiters);
        let (kept, over): (Vec<_>, Vec<_>) = all.into_iter().partition(|(until, _)| *until > now);
        *waiters = kept;
        let is_known = waiters.iter().any(|(_, kept)| kept.will_wake(waker));
        let unused = match is_known {
            true => Some(waiter),
            false => {
                waiters.push(waiter);
                None
            }
        };
        drop(waiters);
        drop((over, unused));
        (!is_known).then_some(pause)
    }

    /// Notes that a send has found a full peer. Returns how long to pause: half of the time since
    /// the first such send, so that the pauses grow.
    #[cold]
    pub(super) fn pause(&self) -> Duration {
        let now = Moment::now();
        // Relaxed is enough: a send that misses it pauses a little longer the next time.
        self.is_full.store(true, Ordering::Relaxed);
        let since = *self.since.lock().get_or_insert(now);
        (now.since(since) / 2).clamp(FIRST, LONGEST)
    }

    /// Notes that a send has succeeded.
    #[inline]
    pub(super) fn reset(&self) {
        if self.is_full.load(Ordering::Relaxed) {
            self.begin_again();
        }
    }

    #[cold]
    fn begin_again(&self) {
        self.is_full.store(false, Ordering::Relaxed);
        *self.since.lock() = None;
        // So that no waker is kept for longer than needed. Dropped without the lock.
        let waiters = std::mem::take(&mut *self.waiters.lock());
        drop(waiters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_send_succeeds() {
        let peer = FullPeer::new();
        assert!(peer.pause() >= FIRST);
        let long_ago = Moment::ZERO;
        *peer.since.lock() = Some(long_ago);
        assert_eq!(peer.pause(), LONGEST);
        peer.reset();
        assert_eq!(*peer.since.lock(), None);
        peer.pause();
        assert!(peer.since.lock().is_some_and(|since| since > long_ago));
    }

    #[cfg(not(loom))]
    #[test]
    fn a_task_that_is_polled_again_needs_no_second_timer() {
        let peer = FullPeer::new();
        let waker = crate::sys::fake_waker::key(1);
        assert!(peer.pause_of(&waker).is_some());
        for _ in 0..10 {
            // Unless this thread was held up for the pause.
            let again = peer.pause_of(&waker);
            let left = peer.waiters.lock().len();
            assert!(again.is_none() || left == 1, "{left} timers");
        }
    }
}
