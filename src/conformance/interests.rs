//! Only what was asked for.

use super::Case;
use super::bench::{Bench, Fault, PATIENCE, Verdict, drain, ensure, of, tcp_pair, unix_pair};
use crate::backend::{Interest, Readiness};
use crate::sys::lab::send_oob;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Instant;

pub(super) const CASES: &[Case] = &[
    Case::new("C12", "interest_filter", interest_filter),
    Case::new("C13", "narrow_interest", narrow_interest),
    Case::new("C14", "interest_none", interest_none),
    Case::new("C15", "both_merged", both_merged),
    Case::new("C22", "priority_not_error", priority_not_error),
];

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A socket that can always be written, but is only to be read.
fn interest_filter(bench: &mut Bench) -> Verdict {
    let (ours, mut theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    for _ in 0..1000 {
        theirs.write_all(b"x")?;
        drain(&ours)?;
        let seen = of(&bench.look()?, added);
        ensure!(seen.is_none(), "{seen:?} although nothing can be read");
    }
    Ok(())
}

/// READABLE is taken back while there is something to read.
fn narrow_interest(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let mut added = bench.add(&theirs, BOTH)?;
    ours.write_all(b"x")?;
    bench.next(added)?;
    bench.modify(&mut added, Interest::WRITABLE)?;
    let seen = bench.next(added)?;
    ensure!(seen == Readiness::WRITABLE, "{seen:?}: only room is wanted");
    bench.modify(&mut added, Interest::READABLE)?;
    let seen = bench.next(added)?;
    ensure!(seen == Readiness::READABLE, "{seen:?}: only data is wanted");
    Ok(())
}

/// Nothing is asked for: data is silent, a hang-up comes once, or never where it is not claimed. Then READABLE again.
fn interest_none(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let mut added = bench.add(&theirs, Interest::READABLE)?;
    bench.modify(&mut added, Interest::NONE)?;
    ours.write_all(b"x")?;
    bench.silent(added)?;
    drop(ours);
    if bench.capabilities.unasked {
        let seen = bench.next(added)?;
        let is_hangup = seen.is_read_closed() || seen.is_error();
        ensure!(is_hangup, "{seen:?} is no hang-up");
    }
    bench.silent(added)?;
    bench.modify(&mut added, Interest::READABLE)?;
    let seen = bench.next(added)?;
    ensure!(seen.is_readable(), "{seen:?} with data and end of file");
    // The end may come late: a child that another thread forks at this moment has a copy of the other side while it lives.
    let begin = Instant::now();
    let (mut read, mut ended) = drain(&theirs)?;
    while !ended && begin.elapsed() < PATIENCE {
        std::thread::yield_now();
        let (more, end) = drain(&theirs)?;
        (read, ended) = (read + more, end);
    }
    ensure!((read, ended) == (1, true), "not one byte and the end");
    Ok(())
}

/// Readable and writable: in one batch, as one event or as halves.
fn both_merged(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    ours.write_all(b"x")?;
    let added = bench.add(&theirs, BOTH)?;
    let seen = bench.next(added)?;
    let expected = Readiness::READABLE | Readiness::WRITABLE;
    ensure!(seen == expected, "{seen:?} in the first batch");
    Ok(())
}

/// An out-of-band byte is PRIORITY for who asks, nothing for others, and an error for nobody.
fn priority_not_error(bench: &mut Bench) -> Verdict {
    let (ours, theirs) = tcp_pair()?;
    let asked = bench.add(&theirs, Interest::PRIORITY)?;
    send_oob(ours.as_fd())?;
    if bench.capabilities.priority {
        let seen = bench.until(asked, Readiness::PRIORITY)?;
        ensure!(seen == Readiness::PRIORITY, "{seen:?} for who asked");
    } else {
        bench.silent(asked)?;
    }

    let (mut ours, theirs) = tcp_pair()?;
    let other = bench.add(&theirs, Interest::READABLE)?;
    send_oob(ours.as_fd())?;
    ours.write_all(b"x")?;
    let seen = bench.until(other, Readiness::READABLE)?;
    ensure!(seen == Readiness::READABLE, "{seen:?} for who did not ask");
    if !bench.capabilities.priority {
        return Err(Fault::Skipped("does not tell out-of-band data".into()));
    }
    Ok(())
}
