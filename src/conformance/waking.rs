//! Cases about the notifier and the fd for a host.

use super::Case;
use super::harness::{Fault, Harness, PATIENCE, Rescue, Verdict, ensure, of, unix_pair};
use crate::backend::{Interest, Notifier};
use crate::sys;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    Case::new("C03", "infinite_and_huge", infinite_and_huge),
    Case::new("C05", "notify_before_wait", notify_before_wait),
    Case::new("C06", "notify_no_loss", notify_no_loss),
    Case::new("C31", "host_fd", host_fd),
];

/// A wait without limit, or with the longest limit, lasts until it is notified.
fn infinite_and_huge(harness: &mut Harness) -> Verdict {
    let (_ours, theirs) = unix_pair()?;
    harness.add(&theirs, Interest::READABLE)?;
    let _rescue = Rescue::start(harness);
    for timeout in [
        None,
        Some(Duration::MAX),
        Some(Duration::from_secs(u64::from(u32::MAX))),
    ] {
        let notifier = harness.backend.notifier();
        let notified = thread::spawn(move || -> io::Result<Instant> {
            thread::sleep(Duration::from_millis(20));
            let notified = Instant::now();
            notifier.notify()?;
            Ok(notified)
        });
        let waited = harness.wait(timeout);
        let ended = Instant::now();
        let notified = notified.join().expect("the notifying thread returns")?;
        ensure!(waited?.is_empty(), "an event although nothing was ready");
        ensure!(
            ended >= notified,
            "a wait of {timeout:?} ended before the notification"
        );
        ensure!(
            ended - notified < PATIENCE,
            "the notification ended the wait too late"
        );
    }
    Ok(())
}

/// A notification before the wait ends that wait, and no other; several count as one.
fn notify_before_wait(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    let notifier = harness.backend.notifier();
    let _rescue = Rescue::start(harness);
    for times in 1..4 {
        let started = Instant::now();
        for _ in 0..times {
            notifier.notify()?;
        }
        let events = harness.wait(None)?;
        ensure!(events.is_empty(), "the notification came as {events:?}");
        ensure!(started.elapsed() < PATIENCE, "the notification was lost");
        let (timeout, started) = (Duration::from_millis(3), Instant::now());
        let events = harness.wait(Some(timeout))?;
        ensure!(events.is_empty(), "{events:?} although nothing is ready");
        ensure!(
            started.elapsed() >= timeout,
            "one notification ended two waits"
        );
    }
    notifier.notify()?;
    ours.write_all(b"x")?;
    let events = harness.wait(None)?;
    let ours = of(&events, added).is_some();
    ensure!(ours && events.len() == 1, "{events:?}: not the fd alone");
    Ok(())
}

/// A queue of items that the loop takes, with the rule by which pushing threads notify.
struct Queue {
    items: Mutex<usize>,
    is_notified: AtomicBool,
    notifications: AtomicUsize,
}

impl Queue {
    /// Adds an item, and notifies if no thread has since the loop last took items.
    fn push(&self, notifier: &Notifier) -> io::Result<()> {
        *self.items.lock().expect("no pusher panics") += 1;
        if !self.is_notified.swap(true, Ordering::SeqCst) {
            self.notifications.fetch_add(1, Ordering::Relaxed);
            notifier.notify()?;
        }
        Ok(())
    }
}

/// Four threads push, and notify if no other has since the loop last took items: no item may be
/// left.
fn notify_no_loss(harness: &mut Harness) -> Verdict {
    const THREADS: usize = 4;
    const ITEMS: usize = 100_000;
    let queue = Queue {
        items: Mutex::new(0),
        is_notified: AtomicBool::new(false),
        notifications: AtomicUsize::new(0),
    };
    let notifier = harness.backend.notifier();
    let (seen, waits) = thread::scope(|scope| -> Verdict<(usize, usize)> {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ITEMS / THREADS {
                    queue.push(&notifier).expect("notify works");
                }
            });
        }
        let (mut seen, mut waits) = (0, 0);
        while seen < ITEMS {
            let started = Instant::now();
            let events = harness.wait(Some(PATIENCE))?;
            ensure!(events.is_empty(), "the notification came as {events:?}");
            ensure!(started.elapsed() < PATIENCE, "stuck with {seen} items");
            waits += 1;
            queue.is_notified.store(false, Ordering::SeqCst);
            seen += std::mem::take(&mut *queue.items.lock().expect("no pusher panics"));
        }
        Ok((seen, waits))
    })?;
    ensure!(seen == ITEMS, "{seen} items instead of {ITEMS}");
    let notifications = queue.notifications.into_inner();
    ensure!(
        waits <= notifications,
        "{waits} waits ended, by {notifications} notifications"
    );
    Ok(())
}

/// The fd for a host is readable exactly when a wait would report something.
fn host_fd(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    if !harness.capabilities.has_fd {
        let refused = harness.backend.as_fd().map(drop).map_err(|e| e.kind());
        ensure!(
            refused == Err(io::ErrorKind::Unsupported),
            "as_fd: {refused:?}"
        );
        return Err(Fault::Skipped("no kernel object".into()));
    }
    ensure!(!is_readable(harness)?, "readable with nothing to report");
    ours.write_all(b"x")?;
    ensure!(is_readable(harness)?, "not readable with an fd ready");
    harness.next(added)?;
    harness.remove(added)?;
    harness.poll_now()?;
    ensure!(!is_readable(harness)?, "readable with nothing to report");
    for _ in 0..2 {
        harness.backend.notifier().notify()?;
        ensure!(is_readable(harness)?, "not readable when notified");
        harness.poll_now()?;
        ensure!(!is_readable(harness)?, "readable after the notification");
    }
    Ok(())
}

fn is_readable(harness: &Harness) -> io::Result<bool> {
    sys::test_fds::is_readable(harness.backend.as_fd()?)
}
