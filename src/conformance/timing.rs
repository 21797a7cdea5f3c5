//! Cases about how long a wait lasts.

use super::harness::{Harness, PATIENCE, Rescue, Verdict, ensure, of, unix_pair};
use super::{Case, Trigger};
use crate::backend::Interest;
use crate::sys::test_fds::SignalStorm;
use std::io::{self, Write};
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    Case::new("C01", "timeout_exact", timeout_exact),
    Case::new("C02", "zero_timeout", zero_timeout),
    Case::new("C04", "eintr", eintr),
];

/// The delay that a mechanism of whole milliseconds may add, and that a loaded machine adds in the
/// best of as many tries as it needs.
const SLACK: Duration = Duration::from_millis(1 + 4);

/// Nothing is ready: the wait lasts as long as its timeout, never less, and in the best try not
/// much more.
fn timeout_exact(harness: &mut Harness) -> Verdict {
    let (_ours, theirs) = unix_pair()?;
    harness.add(&theirs, Interest::READABLE)?;
    for timeout in [300, 1_000, 20_000].map(Duration::from_micros) {
        let (mut best, begin) = (Duration::MAX, Instant::now());
        while best >= timeout + SLACK {
            let in_time = begin.elapsed() < PATIENCE;
            ensure!(in_time, "at best {best:?} for {timeout:?}");
            let started = Instant::now();
            let events = harness.wait(Some(timeout))?;
            let elapsed = started.elapsed();
            ensure!(events.is_empty(), "{events:?} on an idle fd");
            ensure!(elapsed >= timeout, "{elapsed:?} instead of {timeout:?}");
            best = best.min(elapsed);
        }
    }
    Ok(())
}

/// A timeout of zero does not block, and reports what is ready.
fn zero_timeout(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    let (mut best, mut waits, begin) = (Duration::MAX, 0, Instant::now());
    while waits < 20 || best >= SLACK {
        let in_time = waits < 20 || begin.elapsed() < PATIENCE;
        ensure!(in_time, "a wait of zero took {best:?} at best");
        waits += 1;
        let started = Instant::now();
        let events = harness.poll_now()?;
        best = best.min(started.elapsed());
        ensure!(events.is_empty(), "{events:?} on an idle fd");
    }
    ours.write_all(b"x")?;
    let events = harness.poll_now()?;
    ensure!(events.len() == 1, "{events:?} instead of one");
    ensure!(of(&events, added).is_some(), "{events:?}: not ours");
    Ok(())
}

/// A signal ends a wait that has nothing to report, and never one that has events.
fn eintr(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let mut added = harness.add(&theirs, Interest::READABLE)?;
    let storm = SignalStorm::start()?;
    let _rescue = Rescue::start(harness);
    let mut events = crate::backend::Events::with_capacity(4);
    for timeout in [Some(PATIENCE), None] {
        let started = Instant::now();
        let waited = harness.backend.wait(&mut events, timeout);
        let elapsed = started.elapsed();
        let kind = waited.map_err(|error| error.kind());
        ensure!(
            kind == Err(io::ErrorKind::Interrupted),
            "{kind:?} after {elapsed:?} of signals, wait of {timeout:?}"
        );
        ensure!(events.as_slice().is_empty(), "Interrupted, with events");
        ensure!(elapsed < PATIENCE, "the signals did not end the wait");
    }
    ours.write_all(b"x")?;
    for _ in 0..500 {
        if harness.trigger != Trigger::Level {
            harness.modify(&mut added, Interest::READABLE)?;
        }
        let waited = harness.backend.wait(&mut events, Some(PATIENCE));
        ensure!(waited.is_ok(), "{waited:?} although an fd is ready");
        ensure!(events.as_slice().len() == 1, "{events:?} instead of one");
    }
    drop(storm);
    Ok(())
}
