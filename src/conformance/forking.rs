//! The child of a fork: it gets a mechanism of its own, and takes nothing from its parent.

use super::Case;
use super::bench::{Bench, Fault, Verdict, ensure, unix_pair};
use crate::backend::Interest;
use crate::sys::fork;
use std::io::{self, Write};
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[Case::new("B10", "reset_after_fork", reset_after_fork)];

/// In the child: nothing is registered, what is added is reported, the old notifier works. In the parent all is as before,
/// and nothing that the child did is felt.
fn reset_after_fork(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    let notifier = bench.backend.notifier();
    let (mut child_ours, child_theirs) = unix_pair()?;
    let told = fork::in_child(|| {
        match bench.backend.after_fork() {
            Ok(()) => {}
            // Said by the kind alone, for that is what the parent can read.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return Err(UNSUPPORTED.into());
            }
            Err(error) => return Err(format!("after_fork: {error}")),
        }
        let verdict = (|| -> Verdict {
            child_ours.write_all(b"x")?;
            let gone =
                bench
                    .backend
                    .modify(added.number, added.token, added.interest, bench.trigger);
            let gone = gone.map_err(|error| error.kind());
            ensure!(
                gone == Err(io::ErrorKind::NotFound),
                "modify of what the parent added: {gone:?}"
            );
            let again = bench.add(&theirs, Interest::READABLE)?;
            let fresh = bench.add(&child_theirs, Interest::READABLE)?;
            bench.next(fresh)?;
            bench.silent(again)?;
            bench.remove(fresh)?;
            notifier.notify()?;
            let events = bench.wait(None)?;
            ensure!(events.is_empty(), "{events:?} for a notification");
            bench.remove(again)?;
            // Nobody takes this one; least of all the parent.
            notifier.notify().map_err(Fault::from)
        })();
        match verdict {
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
        started.elapsed() >= timeout,
        "the child has notified the parent"
    );
    ensure!(
        events.is_empty(),
        "{events:?} in the parent, from the child"
    );
    ours.write_all(b"x")?;
    bench.next(added)?;
    Ok(())
}

/// What the child writes to say that the backend does not claim this.
const UNSUPPORTED: &str = "unsupported";
