//! How long a wait lasts.

use super::bench::{Bench, PATIENCE, Rescue, Verdict, ensure, of, unix_pair};
use super::{Case, Trigger};
use crate::backend::Interest;
use crate::sys::lab::Storm;
use std::io::{self, Write};
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    Case::new("C01", "timeout_exact", timeout_exact),
    Case::new("C02", "zero_timeout", zero_timeout),
    Case::new("C04", "eintr", eintr),
];

/// What a mechanism of whole milliseconds may add, and what a loaded machine adds at the best of as many tries as it needs.
const SLACK: Duration = Duration::from_millis(1 + 4);

/// Nothing is ready: the wait lasts as long as it was told, never less, and sometimes not much more.
fn timeout_exact(bench: &mut Bench) -> Verdict {
    let (_ours, theirs) = unix_pair()?;
    bench.add(&theirs, Interest::READABLE)?;
    for timeout in [300, 1_000, 20_000].map(Duration::from_micros) {
        let (mut best, begin) = (Duration::MAX, Instant::now());
        while best >= timeout + SLACK {
            let in_time = begin.elapsed() < PATIENCE;
            ensure!(in_time, "at best {best:?} for {timeout:?}");
            let started = Instant::now();
            let events = bench.wait(Some(timeout))?;
            let elapsed = started.elapsed();
            ensure!(events.is_empty(), "{events:?} on an idle fd");
            ensure!(elapsed >= timeout, "{elapsed:?} instead of {timeout:?}");
            best = best.min(elapsed);
        }
    }
    Ok(())
}

/// Zero does not block, and reports what is ready.
fn zero_timeout(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    let (mut best, mut looks, begin) = (Duration::MAX, 0, Instant::now());
    while looks < 20 || best >= SLACK {
        let in_time = looks < 20 || begin.elapsed() < PATIENCE;
        ensure!(in_time, "a wait of zero took {best:?} at best");
        looks += 1;
        let started = Instant::now();
        let events = bench.look()?;
        best = best.min(started.elapsed());
        ensure!(events.is_empty(), "{events:?} on an idle fd");
    }
    ours.write_all(b"x")?;
    let events = bench.look()?;
    ensure!(events.len() == 1, "{events:?} instead of one");
    ensure!(of(&events, added).is_some(), "{events:?}: not ours");
    Ok(())
}

/// A signal ends a wait that has nothing to report, and never one that has.
fn eintr(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let mut added = bench.add(&theirs, Interest::READABLE)?;
    let storm = Storm::start()?;
    let _rescue = Rescue::start(bench);
    let mut events = crate::backend::Events::with_capacity(4);
    for timeout in [Some(PATIENCE), None] {
        let started = Instant::now();
        let waited = bench.backend.wait(&mut events, timeout);
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
        if bench.trigger != Trigger::Level {
            bench.modify(&mut added, Interest::READABLE)?;
        }
        let waited = bench.backend.wait(&mut events, Some(PATIENCE));
        ensure!(waited.is_ok(), "{waited:?} although an fd is ready");
        ensure!(events.as_slice().len() == 1, "{events:?} instead of one");
    }
    drop(storm);
    Ok(())
}
