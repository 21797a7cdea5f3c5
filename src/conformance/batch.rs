//! Cases about changes while a batch is processed, and about batches that are too small.

use super::Case;
use super::harness::{Added, Fault, Harness, Verdict, drain, ensure, of, unix_pair};
use crate::backend::{Interest, Ready};
use crate::sys::test_fds;
use std::collections::HashSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) const CASES: &[Case] = &[
    Case::new("C23", "remove_other_in_batch", remove_other_in_batch),
    Case::new("C24", "close_reuse_in_batch", close_reuse_in_batch),
    Case::new("C25", "remove_self_in_batch", remove_self_in_batch),
    Case::new("C26", "add_in_batch", add_in_batch),
    Case::new("C27", "modify_other_in_batch", modify_other_in_batch),
    Case::new("C30", "overflow_fair", overflow_fair),
    Case::new("C32", "late_remove", late_remove),
];

/// Returns two readable fds, with the sockets that keep them so.
fn two_ready(harness: &mut Harness) -> io::Result<[(Added, UnixStream, UnixStream); 2]> {
    let ready = |harness: &mut Harness| {
        let (mut ours, theirs) = unix_pair()?;
        ours.write_all(b"x")?;
        let added = harness.add(&theirs, Interest::READABLE)?;
        io::Result::Ok((added, ours, theirs))
    };
    Ok([ready(harness)?, ready(harness)?])
}

/// Two fds are ready and one event fits. The fd that was not reported is removed, and must not be
/// reported later.
fn remove_other_in_batch(harness: &mut Harness) -> Verdict {
    harness.set_capacity(1);
    for closes in [false, true] {
        let [first, second] = two_ready(harness)?;
        let events = harness.poll_now()?;
        ensure!(events.len() == 1, "{events:?} with room for one");
        let (served, other) = match of(&events, first.0) {
            Some(_) => (first, second),
            None => (second, first),
        };
        harness.remove(other.0)?;
        let kept = other.0;
        if closes {
            drop(other);
        }
        harness.silent(kept)?;
        harness.remove(served.0)?;
    }
    Ok(())
}

/// A ready fd is removed and closed, and its number is given to an idle file under a new token.
fn close_reuse_in_batch(harness: &mut Harness) -> Verdict {
    let [_keep, (old, _ours, number)] = two_ready(harness)?;
    harness.poll_now()?;
    harness.remove(old)?;
    let (mut ours, file) = unix_pair()?;
    test_fds::replace(number.as_fd(), file.as_fd())?;
    drop(file);
    let new = harness.add(&number, Interest::READABLE)?;
    harness.silent(old)?;
    harness.silent(new)?;
    ours.write_all(b"x")?;
    check_readable(harness, new)?;
    harness.silent(old)
}

/// An fd with two ready directions is removed after the first event: no second one may come.
fn remove_self_in_batch(harness: &mut Harness) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    ours.write_all(b"x")?;
    harness.set_capacity(1);
    let added = harness.add(&theirs, Interest::READABLE | Interest::WRITABLE)?;
    harness.next(added)?;
    harness.remove(added)?;
    harness.silent(added)?;
    let again = harness.add(&theirs, Interest::READABLE)?;
    harness.silent(added)?;
    drain(&theirs)?;
    harness.rearm(again, Interest::READABLE)?;
    Ok(())
}

/// A thousand ready fds are added at once: all are reported in the waits that follow.
fn add_in_batch(harness: &mut Harness) -> Verdict {
    let [_keep, (_, _ours, ready)] = two_ready(harness)?;
    harness.poll_now()?;
    let _alone = lock_files();
    let files = clones(harness, &ready, 1000)?;
    let mut missing = HashSet::new();
    for file in &files {
        missing.insert(harness.add(file, Interest::READABLE)?.token);
    }
    // Two fds were ready before.
    let rounds = (files.len() + 2).div_ceil(64) + 1;
    for _ in 0..rounds {
        for event in harness.poll_now()? {
            missing.remove(&event.token);
        }
    }
    let count = missing.len();
    ensure!(count == 0, "{count} fds not reported in {rounds} waits");
    Ok(())
}

/// READABLE is removed from the interest of another fd of the batch: it must not be reported.
fn modify_other_in_batch(harness: &mut Harness) -> Verdict {
    harness.set_capacity(1);
    let [first, second] = two_ready(harness)?;
    let events = harness.poll_now()?;
    let (served, other) = match of(&events, first.0) {
        Some(_) => (first, second),
        None => (second, first),
    };
    harness.remove(served.0)?;
    let mut other_added = other.0;
    harness.modify(&mut other_added, Interest::EMPTY)?;
    harness.silent(other_added)?;
    harness.modify(&mut other_added, Interest::WRITABLE)?;
    let seen = harness.next(other_added)?;
    ensure!(seen == Ready::WRITABLE, "{seen:?}: only room is wanted");
    Ok(())
}

/// 200 fds are ready, with room for 16: each is reported soon, though those that were reported are
/// still ready.
fn overflow_fair(harness: &mut Harness) -> Verdict {
    const CAPACITY: usize = 16;
    let (mut ours, ready) = unix_pair()?;
    ours.write_all(b"x")?;
    harness.set_capacity(CAPACITY);
    let _alone = lock_files();
    let files = clones(harness, &ready, 200)?;
    let mut all = Vec::new();
    for file in &files {
        all.push(harness.add(file, Interest::READABLE)?);
    }
    // Twice, to notice a start that is fair by accident.
    for _ in 0..2 {
        let mut missing: HashSet<_> = all.iter().map(|added| added.token).collect();
        let rounds = all.len().div_ceil(CAPACITY) + 1;
        for _ in 0..rounds {
            let events = harness.poll_now()?;
            ensure!(events.len() <= CAPACITY, "{} events", events.len());
            for event in events {
                missing.remove(&event.token);
                if let Some(&added) = all.iter().find(|added| added.token == event.token) {
                    harness.rearm(added, Interest::READABLE)?;
                }
            }
        }
        let count = missing.len();
        ensure!(count == 0, "{count} fds not reported in {rounds} waits");
        for added in &mut all {
            harness.modify(added, Interest::READABLE)?;
        }
    }
    Ok(())
}

/// A number is closed without `remove` and reused: the late `remove` must not affect the new file.
fn late_remove(harness: &mut Harness) -> Verdict {
    let (_peer, number) = unix_pair()?;
    let (mut ours, file) = unix_pair()?;
    let mut old = harness.add(&number, Interest::READABLE)?;
    test_fds::replace(number.as_fd(), file.as_fd())?;
    drop(file);
    let new = match harness.add(&number, Interest::READABLE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            harness.remove(old)?;
            harness.add(&number, Interest::READABLE)?
        }
        added => added?,
    };
    let modified = harness.modify(&mut old, Interest::WRITABLE);
    let removed = harness.remove(old);
    for late in [modified, removed] {
        let kind = late.map_err(|error| error.kind());
        ensure!(
            kind == Err(io::ErrorKind::NotFound),
            "a late call: {kind:?}"
        );
    }
    ours.write_all(b"x")?;
    check_readable(harness, new)?;
    harness.silent(old)
}

fn check_readable(harness: &mut Harness, added: Added) -> Verdict {
    let seen = harness.next(added)?;
    ensure!(seen == Ready::READABLE, "{seen:?} for a byte");
    Ok(())
}

/// A lock for cases that open many files. Two at once would leave too few for other threads.
fn lock_files() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Duplicates one file as often as wanted, or a quarter of what the process may open and the
/// backend can watch, because other threads need some too.
fn clones(harness: &Harness, file: &UnixStream, wanted: usize) -> Verdict<Vec<UnixStream>> {
    let most = harness.capabilities.max_fd.unwrap_or(RawFd::MAX);
    let most = test_fds::open_limit()?.min(usize::try_from(most).unwrap_or(0));
    let wanted = wanted.min(most / 4);
    let mut clones = Vec::new();
    while clones.len() < wanted {
        let clone = file
            .try_clone()
            .and_then(|clone| match harness.capabilities.max_fd {
                Some(highest) if clone.as_raw_fd() > highest => Err(io::Error::other("max_fd")),
                _ => Ok(clone),
            });
        match clone {
            Ok(clone) => clones.push(clone),
            Err(error) if clones.len() < 100 => {
                return Err(Fault::Skipped(format!("too few fds: {error}")));
            }
            Err(_) => {
                clones.truncate(clones.len() / 2);
                break;
            }
        }
    }
    Ok(clones)
}
