//! The case about a fork: the child gets its own kernel object and affects nothing of its parent.

use super::Case;
use super::harness::{Added, Fault, Harness, Verdict, drain, ensure, unix_pair};
use crate::backend::{Interest, Notifier};
use crate::sys::fork;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] =
    &[Case::new("B10", "reset_after_fork", reset_after_fork).forking()];

/// In the child nothing is registered, what is added is reported, and the old notifier works. The
/// parent's registrations stay, and nothing that the child does affects it, though the child leaves
/// a ready fd registered.
fn reset_after_fork(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    harness.silent(added)?;
    let notifier = harness.backend.notifier();
    let other = unix_pair()?;
    let result = fork::in_child(|| {
        match harness.backend.after_fork() {
            Ok(()) => {}
            // The parent can read only this kind.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return Err(UNSUPPORTED.into());
            }
            Err(error) => return Err(format!("after_fork: {error}")),
        }
        match in_child(harness, &notifier, added, &theirs, &other) {
            Ok(()) => Ok(()),
            Err(Fault::Failed(reason) | Fault::Skipped(reason)) => Err(reason),
        }
    })?;
    match result {
        Ok(()) => {}
        Err(text) if text == UNSUPPORTED => {
            return Err(Fault::Skipped("cannot be used after a fork".to_owned()));
        }
        Err(text) => return Err(Fault::Failed(format!("in the child: {text}"))),
    }
    let (timeout, started) = (Duration::from_millis(1), Instant::now());
    let events = harness.wait(Some(timeout))?;
    ensure!(
        events.is_empty(),
        "{events:?} in the parent, from the child"
    );
    ensure!(
        started.elapsed() >= timeout,
        "the child notified the parent"
    );
    ours.write_all(b"x")?;
    harness.next(added)?;
    Ok(())
}

/// `added` is the parent's registration of `theirs`; the parent has not registered the pair
/// `other`.
fn in_child(
    harness: &mut Harness,
    notifier: &Notifier,
    added: Added,
    theirs: &UnixStream,
    other: &(UnixStream, UnixStream),
) -> Verdict {
    let mut gone = added;
    let gone = harness.modify(&mut gone, added.interest);
    let gone = gone.map_err(|error| error.kind());
    ensure!(
        gone == Err(io::ErrorKind::NotFound),
        "modify of what the parent added: {gone:?}"
    );
    let again = harness.add(theirs, Interest::READABLE)?;
    let fresh = harness.add(&other.1, Interest::READABLE)?;
    // It becomes ready only after it was added and polled: a later event has to reach this process.
    harness.silent(fresh)?;
    (&other.0).write_all(b"x")?;
    harness.next(fresh)?;
    harness.silent(again)?;
    drain(&other.1)?;
    harness.rearm(fresh, Interest::READABLE)?;
    notifier.notify()?;
    let events = harness.wait(None)?;
    ensure!(events.is_empty(), "{events:?} for a notification");
    harness.remove(again)?;
    // Events that no wait takes; the parent must not get them.
    (&other.0).write_all(b"x")?;
    notifier.notify().map_err(Fault::from)
}

/// What the child returns if the backend cannot be used after a fork.
const UNSUPPORTED: &str = "unsupported";
