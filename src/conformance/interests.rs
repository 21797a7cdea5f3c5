//! Cases about the interest: only what it contains is reported.

use super::harness::{Fault, Harness, PATIENCE, Verdict, drain, ensure, of, tcp_pair, unix_pair};
use super::{Case, Trigger};
use crate::backend::{Interest, Ready};
use crate::sys::test_fds::send_oob;
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

const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);

/// A socket is writable all the time, but its interest is READABLE.
fn interest_filter(harness: &mut Harness) -> Verdict {
    let (ours, mut theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    for _ in 0..1000 {
        theirs.write_all(b"x")?;
        drain(&ours)?;
        let seen = of(&harness.poll_now()?, added);
        ensure!(seen.is_none(), "{seen:?} although nothing can be read");
    }
    Ok(())
}

/// READABLE is removed from the interest while there is something to read.
fn narrow_interest(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let mut added = harness.add(&theirs, BOTH)?;
    ours.write_all(b"x")?;
    harness.next(added)?;
    harness.modify(&mut added, Interest::WRITABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::WRITABLE, "{seen:?}: only room is wanted");
    harness.modify(&mut added, Interest::READABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::READABLE, "{seen:?}: only data is wanted");
    Ok(())
}

/// The interest is empty: data is not reported, and a hang-up is reported as the trigger says, or
/// never without `unasked`. Then the interest is READABLE again.
fn interest_none(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let mut added = harness.add(&theirs, Interest::READABLE)?;
    harness.modify(&mut added, Interest::EMPTY)?;
    ours.write_all(b"x")?;
    harness.silent(added)?;
    drop(ours);
    if harness.capabilities.unasked {
        let times = match harness.trigger {
            Trigger::Level => 3,
            Trigger::Edge | Trigger::Oneshot => 1,
        };
        for _ in 0..times {
            let seen = harness.next(added)?;
            let is_hangup = seen.is_read_closed() || seen.is_error();
            ensure!(is_hangup, "{seen:?} is no hang-up");
        }
    }
    if harness.trigger != Trigger::Level || !harness.capabilities.unasked {
        harness.silent(added)?;
    }
    harness.modify(&mut added, Interest::READABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen.is_readable(), "{seen:?} with data and end of file");
    // The end may come late: a child that another thread forks at this moment has a copy of the
    // peer's socket while it lives.
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

/// An fd is readable and writable: both come in one batch, as one event or as two.
fn both_merged(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    ours.write_all(b"x")?;
    let added = harness.add(&theirs, BOTH)?;
    let seen = harness.next(added)?;
    let expected = Ready::READABLE | Ready::WRITABLE;
    ensure!(seen == expected, "{seen:?} in the first batch");
    Ok(())
}

/// An out-of-band byte is reported as PRIORITY if the interest has it, as nothing otherwise, and
/// never as an error.
fn priority_not_error(harness: &mut Harness) -> Verdict {
    let (ours, theirs) = tcp_pair()?;
    let urgent = harness.add(&theirs, Interest::PRIORITY)?;
    send_oob(ours.as_fd())?;
    if harness.capabilities.priority {
        let seen = harness.until(urgent, Ready::PRIORITY)?;
        ensure!(
            seen == Ready::PRIORITY,
            "{seen:?} with PRIORITY in the interest"
        );
    } else {
        harness.silent(urgent)?;
    }

    let (mut ours, theirs) = tcp_pair()?;
    let other = harness.add(&theirs, Interest::READABLE)?;
    send_oob(ours.as_fd())?;
    ours.write_all(b"x")?;
    let seen = harness.until(other, Ready::READABLE)?;
    ensure!(
        seen == Ready::READABLE,
        "{seen:?} without PRIORITY in the interest"
    );
    if !harness.capabilities.priority {
        return Err(Fault::Skipped("does not report out-of-band data".into()));
    }
    Ok(())
}
