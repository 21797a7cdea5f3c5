//! What is reported, and how often.

use super::bench::{Bench, Fault, Verdict, drain, ensure, of, unix_pair};
use super::{Case, Trigger};
use crate::backend::{Interest, Readiness};
use std::io::Write;

pub(super) const CASES: &[Case] = &[
    Case::new("C07", "ready_at_add", ready_at_add),
    Case::new("C08", "ready_after_add", ready_after_add),
    Case::new("C09", "level_repeats", level_repeats).only(&[Trigger::Level]),
    Case::new("C10", "oneshot_once", oneshot_once).only(&[Trigger::Oneshot]),
    Case::new("C11", "edge_no_loss", edge_no_loss).only(&[Trigger::Edge]),
    Case::new("C34", "rearm_by_direction", rearm_by_direction).only(&[Trigger::Edge]),
];

/// What is ready already is reported by the next wait.
fn ready_at_add(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    ours.write_all(b"x")?;
    let readable = bench.add(&theirs, Interest::READABLE)?;
    let seen = bench.next(readable)?;
    ensure!(seen == Readiness::READABLE, "{seen:?} for a byte");
    bench.remove(readable)?;
    let writable = bench.add(&theirs, Interest::WRITABLE)?;
    let seen = bench.next(writable)?;
    ensure!(seen == Readiness::WRITABLE, "{seen:?} for room");
    Ok(())
}

/// What becomes ready is reported, again and again.
fn ready_after_add(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    for _ in 0..3 {
        bench.silent(added)?;
        ours.write_all(b"x")?;
        let seen = bench.next(added)?;
        ensure!(seen == Readiness::READABLE, "{seen:?} for a byte");
        drain(&theirs)?;
        bench.again(added, Interest::READABLE)?;
    }
    Ok(())
}

/// Level: in every wait until it is read.
fn level_repeats(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    ours.write_all(b"x")?;
    for _ in 0..3 {
        let seen = bench.next(added)?;
        ensure!(seen == Readiness::READABLE, "{seen:?} for a byte");
    }
    drain(&theirs)?;
    bench.silent(added)
}

/// One-shot: once until it is modified, and then what is ready then.
fn oneshot_once(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let mut added = bench.add(&theirs, Interest::READABLE | Interest::WRITABLE)?;
    bench.next(added)?;
    ours.write_all(b"x")?;
    bench.silent(added)?;
    bench.modify(&mut added, Interest::READABLE)?;
    let seen = bench.next(added)?;
    ensure!(seen == Readiness::READABLE, "{seen:?} for a byte");
    drop(ours);
    bench.silent(added)?;
    bench.modify(&mut added, Interest::READABLE)?;
    bench.next(added).map(drop)
}

/// Edge: an event after data that came while everything had been read, with and without an event in between.
fn edge_no_loss(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    for _ in 0..3 {
        ours.write_all(b"1")?;
        bench.next(added)?;
        ours.write_all(b"2")?;
        bench.look()?;
        let (read, _) = drain(&theirs)?;
        ensure!(read == 2, "{read} bytes instead of 2");
        bench.again(added, Interest::READABLE)?;
        ours.write_all(b"3")?;
        bench.next(added)?;
        // Data that comes after the call that would block, and before it is armed again.
        drain(&theirs)?;
        ours.write_all(b"4")?;
        bench.again(added, Interest::READABLE)?;
        bench.next(added)?;
        drain(&theirs)?;
        bench.again(added, Interest::READABLE)?;
    }
    Ok(())
}

/// Edge, where it must be re-armed: a delivered direction is silent until then, and the other one stays as it was.
fn rearm_by_direction(bench: &mut Bench) -> Verdict {
    if !bench.capabilities.rearm {
        return Err(Fault::Skipped("arms itself again".into()));
    }
    let (mut ours, theirs) = unix_pair()?;
    let mut added = bench.add(&theirs, Interest::READABLE | Interest::WRITABLE)?;
    let seen = bench.next(added)?;
    ensure!(seen == Readiness::WRITABLE, "{seen:?} for room");
    bench.silent(added)?;
    // The other direction is armed still, and stays so.
    bench.again(added, Interest::WRITABLE)?;
    let seen = bench.next(added)?;
    ensure!(seen == Readiness::WRITABLE, "{seen:?} for room, again");
    ours.write_all(b"x")?;
    let seen = bench.next(added)?;
    ensure!(seen == Readiness::READABLE, "{seen:?} for a byte");
    bench.silent(added)?;
    for (direction, expected) in [
        (Interest::READABLE, Readiness::READABLE),
        (Interest::WRITABLE, Readiness::WRITABLE),
        (
            Interest::WRITABLE | Interest::READABLE,
            Readiness::WRITABLE | Readiness::READABLE,
        ),
    ] {
        bench.again(added, direction)?;
        let seen = of(&bench.look()?, added);
        ensure!(seen == Some(expected), "{seen:?} after {direction:?}");
        bench.silent(added)?;
    }
    // What was not asked for is not armed either.
    bench.modify(&mut added, Interest::READABLE)?;
    bench.next(added)?;
    bench.again(added, Interest::WRITABLE)?;
    bench.silent(added)
}
