//! Cases about wrong calls and their errors.

use super::Case;
use super::harness::{Added, Fault, Harness, Verdict, ensure, of, unix_pair};
use crate::backend::{Interest, Ready, Trigger};
use crate::sys::test_fds;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};

pub(super) const CASES: &[Case] = &[
    Case::new("C29", "api_errors", api_errors),
    Case::new("C36", "high_numbers", high_numbers),
];

fn api_errors(harness: &mut Harness) -> Verdict {
    twice(harness)?;
    unknown(harness)?;
    not_open(harness)?;
    wrong_trigger(harness)?;
    regular_file(harness)
}

/// A high number works like a low one, up to the limit that the mechanism names. Above it `add`
/// fails and leaves nothing behind.
fn high_numbers(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let low = harness.add(&theirs, Interest::WRITABLE)?;
    let high = harness.move_up(theirs.try_clone()?)?;
    let added = harness.add(&high, Interest::READABLE)?;
    ours.write_all(b"x")?;
    let events = harness.poll_now()?;
    let seen = [low, added].map(|added| of(&events, added));
    let expected = [Some(Ready::WRITABLE), Some(Ready::READABLE)];
    ensure!(seen == expected, "{seen:?} for {low:?} and {added:?}");
    harness.remove(added)?;
    harness.silent(added)?;
    let Some(highest) = harness.capabilities.max_fd else {
        return Ok(());
    };
    let beyond = match test_fds::move_beyond(high.as_fd(), highest.saturating_add(1)) {
        Ok(beyond) => beyond,
        Err(error) => return Err(Fault::Skipped(format!("no fd above {highest}: {error}"))),
    };
    let refused = harness.add(&beyond, Interest::READABLE);
    let unknown = Added {
        number: beyond.as_raw_fd(),
        token: harness.token(),
        interest: Interest::READABLE,
    };
    expect_error("a number too high", refused, ErrorKind::Unsupported)?;
    check_unknown(harness, "a number too high", unknown)
}

fn expect_error<T>(what: &str, result: io::Result<T>, expected: ErrorKind) -> Verdict {
    match result {
        Ok(_) => Err(Fault::Failed(format!("{what}: no error"))),
        Err(error) if error.kind() == expected => Ok(()),
        Err(error) => Err(Fault::Failed(format!(
            "{what}: {error} instead of {expected:?}"
        ))),
    }
}

/// The second `add` of an fd fails, and the first registration stays as it was.
fn twice(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    let second = harness.add(&theirs, Interest::WRITABLE);
    expect_error("add twice", second, ErrorKind::AlreadyExists)?;
    harness.silent(added)?;
    ours.write_all(b"x")?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::READABLE, "{seen:?} after a second add");
    harness.remove(added)?;
    let again = harness.add(&theirs, Interest::READABLE)?;
    harness.next(again)?;
    harness.remove(again)?;
    Ok(())
}

/// A registration that was never added, one under another token, and one that was removed: all are
/// unknown.
fn unknown(harness: &mut Harness) -> Verdict {
    let (_ours, theirs) = unix_pair()?;
    let never = Added {
        number: theirs.as_raw_fd(),
        token: harness.token(),
        interest: Interest::READABLE,
    };
    check_unknown(harness, "never added", never)?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    check_unknown(harness, "another token", never)?;
    harness.remove(added)?;
    check_unknown(harness, "removed", added)?;
    let nowhere = Added {
        number: test_fds::NOT_OPEN,
        ..never
    };
    check_unknown(harness, "no such number", nowhere)
}

fn check_unknown(harness: &mut Harness, what: &str, mut added: Added) -> Verdict {
    let Added {
        number,
        token,
        interest,
    } = added;
    let modified = harness.modify(&mut added, interest);
    expect_error(&format!("modify, {what}"), modified, ErrorKind::NotFound)?;
    if harness.capabilities.rearm {
        let rearmed = harness.backend.rearm(number, token, interest);
        expect_error(&format!("rearm, {what}"), rearmed, ErrorKind::NotFound)?;
    }
    let removed = harness.remove(added);
    expect_error(&format!("remove, {what}"), removed, ErrorKind::NotFound)
}

/// A number that was closed after `add` can be removed. A number that is not open cannot be added;
/// only the mechanisms of this crate are tested for that, because safe code never lends such a
/// number.
fn not_open(harness: &mut Harness) -> Verdict {
    #[cfg(test)]
    match harness.add(&test_fds::not_open(), Interest::READABLE) {
        Err(error) if test_fds::is_bad_fd(&error) => {}
        other => return Err(Fault::Failed(format!("add of a bad fd: {other:?}"))),
    }
    let (_ours, theirs) = unix_pair()?;
    let closed = harness.move_up(theirs)?;
    let added = harness.add(&closed, Interest::READABLE)?;
    drop(closed);
    harness.remove(added)?;
    harness.silent(added)
}

/// A trigger that is not claimed is refused.
fn wrong_trigger(harness: &mut Harness) -> Verdict {
    let (_ours, theirs) = unix_pair()?;
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        if !harness.capabilities.supports(trigger) {
            let claimed = std::mem::replace(&mut harness.trigger, trigger);
            let refused = harness.add(&theirs, Interest::READABLE);
            harness.trigger = claimed;
            expect_error(
                "a trigger that is not supported",
                refused,
                ErrorKind::InvalidInput,
            )?;
        }
    }
    Ok(())
}

/// A regular file is refused, and nothing is left behind; or it is always ready.
fn regular_file(harness: &mut Harness) -> Verdict {
    let file = File::open(std::env::current_exe()?)?;
    match harness.add(&file, Interest::READABLE) {
        Ok(added) => {
            ensure!(
                !harness.capabilities.refuses_files,
                "a regular file is accepted, although `refuses_files` is set"
            );
            let seen = harness.next(added)?;
            ensure!(seen.is_readable(), "{seen:?} for a regular file");
            harness.remove(added)?;
        }
        Err(error) => {
            let is_refusal = matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported
            );
            ensure!(is_refusal, "a regular file: {error}");
            let events = harness.poll_now()?;
            ensure!(events.is_empty(), "{events:?} after a refused add");
        }
    }
    Ok(())
}
