//! The notifier.

use super::Case;
use super::bench::{Bench, Fault, PATIENCE, Rescue, Verdict, ensure, of, unix_pair};
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

/// A wait without limit, or with the longest there is, lasts until it is notified.
fn infinite_and_huge(bench: &mut Bench) -> Verdict {
    let (_ours, theirs) = unix_pair()?;
    bench.add(&theirs, Interest::READABLE)?;
    let _rescue = Rescue::start(bench);
    for timeout in [
        None,
        Some(Duration::MAX),
        Some(Duration::from_secs(u64::from(u32::MAX))),
    ] {
        let notifier = bench.backend.notifier();
        let notified = thread::spawn(move || -> io::Result<Instant> {
            thread::sleep(Duration::from_millis(20));
            let notified = Instant::now();
            notifier.notify()?;
            Ok(notified)
        });
        let waited = bench.wait(timeout);
        let ended = Instant::now();
        let notified = notified.join().expect("the notifying thread returns")?;
        ensure!(waited?.is_empty(), "an event although nothing was ready");
        ensure!(ended >= notified, "wait of {timeout:?} ended by itself");
        ensure!(ended - notified < PATIENCE, "noticed too late");
    }
    Ok(())
}

/// A notification before the wait ends that wait, and no other; several count as one.
fn notify_before_wait(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    let notifier = bench.backend.notifier();
    let _rescue = Rescue::start(bench);
    for times in 1..4 {
        let started = Instant::now();
        for _ in 0..times {
            notifier.notify()?;
        }
        let events = bench.wait(None)?;
        ensure!(events.is_empty(), "the notification came as {events:?}");
        ensure!(started.elapsed() < PATIENCE, "the notification was lost");
        let (timeout, started) = (Duration::from_millis(3), Instant::now());
        let events = bench.wait(Some(timeout))?;
        ensure!(events.is_empty(), "{events:?} although nothing is ready");
        ensure!(started.elapsed() >= timeout, "notified once, ended twice");
    }
    notifier.notify()?;
    ours.write_all(b"x")?;
    let events = bench.wait(None)?;
    let ours = of(&events, added).is_some();
    ensure!(ours && events.len() == 1, "{events:?}: not the fd alone");
    Ok(())
}

/// Four threads push and, when nobody else has since the last look, notify: nothing is left lying.
fn notify_no_loss(bench: &mut Bench) -> Verdict {
    const THREADS: usize = 4;
    const ITEMS: usize = 100_000;
    struct Queue {
        items: Mutex<usize>,
        is_notified: AtomicBool,
        notifications: AtomicUsize,
    }
    impl Queue {
        fn push(&self, notifier: &Notifier) -> io::Result<()> {
            *self.items.lock().expect("no pusher panics") += 1;
            if !self.is_notified.swap(true, Ordering::SeqCst) {
                self.notifications.fetch_add(1, Ordering::Relaxed);
                notifier.notify()?;
            }
            Ok(())
        }
    }
    let queue = Queue {
        items: Mutex::new(0),
        is_notified: AtomicBool::new(false),
        notifications: AtomicUsize::new(0),
    };
    let notifier = bench.backend.notifier();
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
            let events = bench.wait(Some(PATIENCE))?;
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

/// A loop that hosts this one sees when a wait would report something.
fn host_fd(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    if !bench.capabilities.has_fd {
        let refused = bench.backend.as_fd().map(drop).map_err(|e| e.kind());
        ensure!(
            refused == Err(io::ErrorKind::Unsupported),
            "as_fd: {refused:?}"
        );
        return Err(Fault::Skipped("no kernel object".into()));
    }
    ensure!(!is_readable(bench)?, "readable with nothing to report");
    ours.write_all(b"x")?;
    ensure!(is_readable(bench)?, "not readable with an fd ready");
    bench.next(added)?;
    bench.remove(added)?;
    bench.look()?;
    ensure!(!is_readable(bench)?, "readable with nothing to report");
    for _ in 0..2 {
        bench.backend.notifier().notify()?;
        ensure!(is_readable(bench)?, "not readable when notified");
        bench.look()?;
        ensure!(!is_readable(bench)?, "readable after the notification");
    }
    Ok(())
}

fn is_readable(bench: &Bench) -> io::Result<bool> {
    sys::lab::is_readable(bench.backend.as_fd()?)
}
