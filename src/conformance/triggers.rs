//! Cases about the triggers: what is reported, and how often.

use super::harness::{Fault, Harness, Verdict, drain, ensure, of, unix_pair};
use super::{Case, Trigger};
use crate::backend::{Interest, Ready};
use std::io::Write;

pub(super) const CASES: &[Case] = &[
    Case::new("C07", "ready_at_add", ready_at_add),
    Case::new("C08", "ready_after_add", ready_after_add),
    Case::new("C09", "level_repeats", level_repeats).only(&[Trigger::Level]),
    Case::new("C10", "oneshot_once", oneshot_once).only(&[Trigger::Oneshot]),
    Case::new("C11", "edge_no_loss", edge_no_loss).only(&[Trigger::Edge]),
    Case::new("C34", "rearm_by_direction", rearm_by_direction).only(&[Trigger::Edge]),
];

/// An fd that is ready when it is added is reported by the next wait.
fn ready_at_add(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    ours.write_all(b"x")?;
    let readable = harness.add(&theirs, Interest::READABLE)?;
    let seen = harness.next(readable)?;
    ensure!(seen == Ready::READABLE, "{seen:?} for a byte");
    harness.remove(readable)?;
    let writable = harness.add(&theirs, Interest::WRITABLE)?;
    let seen = harness.next(writable)?;
    ensure!(seen == Ready::WRITABLE, "{seen:?} for room");
    Ok(())
}

/// An fd that becomes ready is reported, each time.
fn ready_after_add(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    for _ in 0..3 {
        harness.silent(added)?;
        ours.write_all(b"x")?;
        let seen = harness.next(added)?;
        ensure!(seen == Ready::READABLE, "{seen:?} for a byte");
        drain(&theirs)?;
        harness.rearm(added, Interest::READABLE)?;
    }
    Ok(())
}

/// Level: a readable fd is reported in every wait until it is read.
fn level_repeats(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    ours.write_all(b"x")?;
    for _ in 0..3 {
        let seen = harness.next(added)?;
        ensure!(seen == Ready::READABLE, "{seen:?} for a byte");
    }
    drain(&theirs)?;
    harness.silent(added)
}

/// One-shot: an fd is reported once, and after `modify` what is ready then.
fn oneshot_once(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let mut added = harness.add(&theirs, Interest::READABLE | Interest::WRITABLE)?;
    harness.next(added)?;
    ours.write_all(b"x")?;
    harness.silent(added)?;
    harness.modify(&mut added, Interest::READABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::READABLE, "{seen:?} for a byte");
    drop(ours);
    harness.silent(added)?;
    harness.modify(&mut added, Interest::READABLE)?;
    harness.next(added).map(drop)
}

/// Edge: data that comes after everything was read is reported, with and without an event in
/// between.
fn edge_no_loss(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    for _ in 0..3 {
        ours.write_all(b"1")?;
        harness.next(added)?;
        ours.write_all(b"2")?;
        harness.poll_now()?;
        let (read, _) = drain(&theirs)?;
        ensure!(read == 2, "{read} bytes instead of 2");
        harness.rearm(added, Interest::READABLE)?;
        ours.write_all(b"3")?;
        harness.next(added)?;
        // Data that comes after the call that would block, and before the fd is armed again.
        drain(&theirs)?;
        ours.write_all(b"4")?;
        harness.rearm(added, Interest::READABLE)?;
        harness.next(added)?;
        drain(&theirs)?;
        harness.rearm(added, Interest::READABLE)?;
    }
    Ok(())
}

/// Edge with `rearm`: a delivered direction is silent until it is re-armed, and the other stays as
/// it was.
fn rearm_by_direction(harness: &mut Harness) -> Verdict {
    if !harness.capabilities.rearm {
        return Err(Fault::Skipped("needs no rearm".into()));
    }
    let (mut ours, theirs) = unix_pair()?;
    let mut added = harness.add(&theirs, Interest::READABLE | Interest::WRITABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::WRITABLE, "{seen:?} for room");
    harness.silent(added)?;
    // The other direction is still armed.
    harness.rearm(added, Interest::WRITABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::WRITABLE, "{seen:?} for room, again");
    ours.write_all(b"x")?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::READABLE, "{seen:?} for a byte");
    harness.silent(added)?;
    for (direction, expected) in [
        (Interest::READABLE, Ready::READABLE),
        (Interest::WRITABLE, Ready::WRITABLE),
        (
            Interest::WRITABLE | Interest::READABLE,
            Ready::WRITABLE | Ready::READABLE,
        ),
    ] {
        harness.rearm(added, direction)?;
        let seen = of(&harness.poll_now()?, added);
        ensure!(seen == Some(expected), "{seen:?} after {direction:?}");
        harness.silent(added)?;
    }
    // A direction outside the interest is not armed.
    harness.modify(&mut added, Interest::READABLE)?;
    harness.next(added)?;
    harness.rearm(added, Interest::WRITABLE)?;
    harness.silent(added)
}
