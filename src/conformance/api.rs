//! Wrong calls.

use super::Case;
use super::bench::{Added, Bench, Fault, Verdict, ensure, of, unix_pair};
use crate::backend::{Interest, Readiness, Trigger};
use crate::sys::lab;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};

pub(super) const CASES: &[Case] = &[
    Case::new("C29", "api_errors", api_errors),
    Case::new("C36", "high_numbers", high_numbers),
];

fn api_errors(bench: &mut Bench) -> Verdict {
    twice(bench)?;
    unknown(bench)?;
    not_open(bench)?;
    wrong_trigger(bench)?;
    regular_file(bench)
}

/// A high number is as good as a low one, up to the limit that the mechanism names; above it `add` says so and leaves
/// nothing behind.
fn high_numbers(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let low = bench.add(&theirs, Interest::WRITABLE)?;
    let high = bench.move_up(theirs.try_clone()?)?;
    let added = bench.add(&high, Interest::READABLE)?;
    ours.write_all(b"x")?;
    let events = bench.look()?;
    let seen = [low, added].map(|added| of(&events, added));
    let expected = [Some(Readiness::WRITABLE), Some(Readiness::READABLE)];
    ensure!(seen == expected, "{seen:?} for {low:?} and {added:?}");
    bench.remove(added)?;
    bench.silent(added)?;
    let Some(highest) = bench.capabilities.max_fd else {
        return Ok(());
    };
    let beyond = match lab::move_beyond(high.as_fd(), highest.saturating_add(1)) {
        Ok(beyond) => beyond,
        Err(error) => return Err(Fault::Skipped(format!("no fd above {highest}: {error}"))),
    };
    let refused = bench.add(&beyond, Interest::READABLE);
    let unknown = Added {
        number: beyond.as_raw_fd(),
        token: bench.token(),
        interest: Interest::READABLE,
    };
    expect("a number too high", refused, ErrorKind::Unsupported)?;
    is_unknown(bench, "a number too high", unknown)
}

fn expect<T>(what: &str, result: io::Result<T>, expected: ErrorKind) -> Verdict {
    match result {
        Ok(_) => Err(Fault::Failed(format!("{what}: no error"))),
        Err(error) if error.kind() == expected => Ok(()),
        Err(error) => Err(Fault::Failed(format!(
            "{what}: {error} instead of {expected:?}"
        ))),
    }
}

/// The second `add` is refused, and the first stays as it was.
fn twice(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    let second = bench.add(&theirs, Interest::WRITABLE);
    expect("add twice", second, ErrorKind::AlreadyExists)?;
    bench.silent(added)?;
    ours.write_all(b"x")?;
    let seen = bench.next(added)?;
    ensure!(seen == Readiness::READABLE, "{seen:?} after a second add");
    bench.remove(added)?;
    let again = bench.add(&theirs, Interest::READABLE)?;
    bench.next(again)?;
    bench.remove(again)?;
    Ok(())
}

/// What was never added, under another token, or no more: all are unknown.
fn unknown(bench: &mut Bench) -> Verdict {
    let (_ours, theirs) = unix_pair()?;
    let never = Added {
        number: theirs.as_raw_fd(),
        token: bench.token(),
        interest: Interest::READABLE,
    };
    is_unknown(bench, "never added", never)?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    is_unknown(bench, "another token", never)?;
    bench.remove(added)?;
    is_unknown(bench, "removed", added)?;
    let nowhere = Added {
        number: lab::not_open().as_raw_fd(),
        ..never
    };
    is_unknown(bench, "no such number", nowhere)
}

fn is_unknown(bench: &mut Bench, what: &str, mut added: Added) -> Verdict {
    let Added {
        number,
        token,
        interest,
    } = added;
    let modified = bench.modify(&mut added, interest);
    expect(&format!("modify, {what}"), modified, ErrorKind::NotFound)?;
    if bench.capabilities.rearm {
        let rearmed = bench.backend.rearm(number, token, interest);
        expect(&format!("rearm, {what}"), rearmed, ErrorKind::NotFound)?;
    }
    let removed = bench.remove(added);
    expect(&format!("remove, {what}"), removed, ErrorKind::NotFound)
}

/// A number that is not open cannot be added; one that was closed since can be removed.
fn not_open(bench: &mut Bench) -> Verdict {
    match bench.add(&lab::not_open(), Interest::READABLE) {
        Err(error) if lab::is_bad_fd(&error) => {}
        other => return Err(Fault::Failed(format!("add of a bad fd: {other:?}"))),
    }
    let (_ours, theirs) = unix_pair()?;
    let closed = bench.move_up(theirs)?;
    let added = bench.add(&closed, Interest::READABLE)?;
    drop(closed);
    bench.remove(added)?;
    bench.silent(added)
}

/// A trigger that is not claimed is refused.
fn wrong_trigger(bench: &mut Bench) -> Verdict {
    let (_ours, theirs) = unix_pair()?;
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        if !bench.capabilities.supports(trigger) {
            let claimed = std::mem::replace(&mut bench.trigger, trigger);
            let refused = bench.add(&theirs, Interest::READABLE);
            bench.trigger = claimed;
            expect("a trigger it has not", refused, ErrorKind::InvalidInput)?;
        }
    }
    Ok(())
}

/// Refused, with nothing left behind, or always ready.
fn regular_file(bench: &mut Bench) -> Verdict {
    let file = File::open(std::env::current_exe()?)?;
    match bench.add(&file, Interest::READABLE) {
        Ok(added) => {
            ensure!(
                !bench.capabilities.refuses_files,
                "a regular file is taken, in spite of the capabilities"
            );
            let seen = bench.next(added)?;
            ensure!(seen.is_readable(), "{seen:?} for a regular file");
            bench.remove(added)?;
        }
        Err(error) => {
            let is_refusal = matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported
            );
            ensure!(is_refusal, "a regular file: {error}");
            let events = bench.look()?;
            ensure!(events.is_empty(), "{events:?} after a refused add");
        }
    }
    Ok(())
}
