//! The child of a fork: it gets a mechanism of its own, and takes nothing from its parent.

use super::Case;
use super::bench::{Added, Bench, Fault, Verdict, drain, ensure, unix_pair};
use crate::backend::{Interest, Notifier};
use crate::sys::fork;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] =
    &[Case::new("B10", "reset_after_fork", reset_after_fork).forking()];

/// In the child: nothing is registered, what is added is reported, the old notifier works. In the parent all is as before,
/// and nothing that the child did is felt, though it leaves an fd registered and ready.
fn reset_after_fork(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    bench.silent(added)?;
    let notifier = bench.backend.notifier();
    let other = unix_pair()?;
    let told = fork::in_child(|| {
        match bench.backend.after_fork() {
            Ok(()) => {}
            // Said by the kind alone, for that is what the parent can read.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return Err(UNSUPPORTED.into());
            }
            Err(error) => return Err(format!("after_fork: {error}")),
        }
        match in_child(bench, &notifier, added, &theirs, &other) {
            Ok(()) => Ok(()),
            Err(Fault::Failed(reason) | Fault::Skipped(reason)) => Err(reason),
        }
    })?;
    match told {
        Ok(()) => {}
        Err(text) if text == UNSUPPORTED => {
            return Err(Fault::Skipped("cannot be used after a fork".to_owned()));
        }
        Err(text) => return Err(Fault::Failed(format!("in the child: {text}"))),
    }
    let (timeout, started) = (Duration::from_millis(1), Instant::now());
    let events = bench.wait(Some(timeout))?;
    ensure!(
        events.is_empty(),
        "{events:?} in the parent, from the child"
    );
    ensure!(
        started.elapsed() >= timeout,
        "the child has notified the parent"
    );
    ours.write_all(b"x")?;
    bench.next(added)?;
    Ok(())
}

/// `added` is what the parent has registered, for `theirs`; `other` is a pair that it has not.
fn in_child(
    bench: &mut Bench,
    notifier: &Notifier,
    added: Added,
    theirs: &UnixStream,
    other: &(UnixStream, UnixStream),
) -> Verdict {
    let mut gone = added;
    let gone = bench.modify(&mut gone, added.interest);
    let gone = gone.map_err(|error| error.kind());
    ensure!(
        gone == Err(io::ErrorKind::NotFound),
        "modify of what the parent added: {gone:?}"
    );
    let again = bench.add(theirs, Interest::READABLE)?;
    let fresh = bench.add(&other.1, Interest::READABLE)?;
    // Not ready before it was added and looked at: what comes then has to find this process.
    bench.silent(fresh)?;
    (&other.0).write_all(b"x")?;
    bench.next(fresh)?;
    bench.silent(again)?;
    drain(&other.1)?;
    bench.again(fresh, Interest::READABLE)?;
    notifier.notify()?;
    let events = bench.wait(None)?;
    ensure!(events.is_empty(), "{events:?} for a notification");
    bench.remove(again)?;
    // Nobody takes these; least of all the parent.
    (&other.0).write_all(b"x")?;
    notifier.notify().map_err(Fault::from)
}

/// What the child writes to say that the backend does not claim this.
const UNSUPPORTED: &str = "unsupported";
