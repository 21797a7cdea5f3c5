//! What happens to fds between two waits, while a batch is worked off; and batches that are too small.

use super::Case;
use super::bench::{Added, Bench, Fault, Verdict, drain, ensure, of, unix_pair};
use crate::backend::{Interest, Readiness};
use crate::sys::lab;
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

/// Two fds that can be read, and the sockets that keep them so.
fn two_ready(bench: &mut Bench) -> io::Result<[(Added, UnixStream, UnixStream); 2]> {
    let ready = |bench: &mut Bench| {
        let (mut ours, theirs) = unix_pair()?;
        ours.write_all(b"x")?;
        let added = bench.add(&theirs, Interest::READABLE)?;
        io::Result::Ok((added, ours, theirs))
    };
    Ok([ready(bench)?, ready(bench)?])
}

/// Both are ready and one event fits: the fd that was not reported yet is removed, and never is.
fn remove_other_in_batch(bench: &mut Bench) -> Verdict {
    bench.set_capacity(1);
    for closes in [false, true] {
        let [first, second] = two_ready(bench)?;
        let events = bench.look()?;
        ensure!(events.len() == 1, "{events:?} where one fits");
        let (served, other) = match of(&events, first.0) {
            Some(_) => (first, second),
            None => (second, first),
        };
        bench.remove(other.0)?;
        let kept = other.0;
        if closes {
            drop(other);
        }
        bench.silent(kept)?;
        bench.remove(served.0)?;
    }
    Ok(())
}

/// A ready fd is removed and closed, and its number given to an idle file under a new token.
fn close_reuse_in_batch(bench: &mut Bench) -> Verdict {
    let [_keep, (old, _ours, number)] = two_ready(bench)?;
    bench.look()?;
    bench.remove(old)?;
    let (mut ours, file) = unix_pair()?;
    lab::replace(number.as_fd(), file.as_fd())?;
    drop(file);
    let new = bench.add(&number, Interest::READABLE)?;
    bench.silent(old)?;
    bench.silent(new)?;
    ours.write_all(b"x")?;
    works(bench, new)?;
    bench.silent(old)
}

/// An fd with two directions ready removes itself: no half comes later.
fn remove_self_in_batch(bench: &mut Bench) -> Verdict {
    let (mut ours, theirs) = unix_pair()?;
    ours.write_all(b"x")?;
    bench.set_capacity(1);
    let added = bench.add(&theirs, Interest::READABLE | Interest::WRITABLE)?;
    bench.next(added)?;
    bench.remove(added)?;
    bench.silent(added)?;
    let again = bench.add(&theirs, Interest::READABLE)?;
    bench.silent(added)?;
    drain(&theirs)?;
    bench.again(again, Interest::READABLE)?;
    Ok(())
}

/// A thousand ready fds are added at once: all are reported in the waits that follow.
fn add_in_batch(bench: &mut Bench) -> Verdict {
    let [_keep, (_, _ours, ready)] = two_ready(bench)?;
    bench.look()?;
    let _alone = alone();
    let files = clones(bench, &ready, 1000)?;
    let mut missing = HashSet::new();
    for file in &files {
        missing.insert(bench.add(file, Interest::READABLE)?.token);
    }
    // Two fds were ready before.
    let rounds = (files.len() + 2).div_ceil(64) + 1;
    for _ in 0..rounds {
        for event in bench.look()? {
            missing.remove(&event.token);
        }
    }
    let count = missing.len();
    ensure!(count == 0, "{count} fds not reported in {rounds} waits");
    Ok(())
}

/// READABLE of another fd of the batch is taken back: it does not come any more.
fn modify_other_in_batch(bench: &mut Bench) -> Verdict {
    bench.set_capacity(1);
    let [first, second] = two_ready(bench)?;
    let events = bench.look()?;
    let (served, other) = match of(&events, first.0) {
        Some(_) => (first, second),
        None => (second, first),
    };
    bench.remove(served.0)?;
    let mut other_added = other.0;
    bench.modify(&mut other_added, Interest::NONE)?;
    bench.silent(other_added)?;
    bench.modify(&mut other_added, Interest::WRITABLE)?;
    let seen = bench.next(other_added)?;
    ensure!(seen == Readiness::WRITABLE, "{seen:?}: only room is wanted");
    Ok(())
}

/// 200 ready fds, room for 16: each is served soon, though those that were served are ready still.
fn overflow_fair(bench: &mut Bench) -> Verdict {
    const CAPACITY: usize = 16;
    let (mut ours, ready) = unix_pair()?;
    ours.write_all(b"x")?;
    bench.set_capacity(CAPACITY);
    let _alone = alone();
    let files = clones(bench, &ready, 200)?;
    let mut all = Vec::new();
    for file in &files {
        all.push(bench.add(file, Interest::READABLE)?);
    }
    // Twice, so that a start which is fair by accident is noticed.
    for _ in 0..2 {
        let mut missing: HashSet<_> = all.iter().map(|added| added.token).collect();
        let rounds = all.len().div_ceil(CAPACITY) + 1;
        for _ in 0..rounds {
            let events = bench.look()?;
            ensure!(events.len() <= CAPACITY, "{} events", events.len());
            for event in events {
                missing.remove(&event.token);
                if let Some(&added) = all.iter().find(|added| added.token == event.token) {
                    bench.again(added, Interest::READABLE)?;
                }
            }
        }
        let count = missing.len();
        ensure!(count == 0, "{count} fds not served in {rounds} waits");
        for added in &mut all {
            bench.modify(added, Interest::READABLE)?;
        }
    }
    Ok(())
}

/// A number is closed without `remove` and reused; the late `remove` must not hit the new owner.
fn late_remove(bench: &mut Bench) -> Verdict {
    let (_peer, number) = unix_pair()?;
    let (mut ours, file) = unix_pair()?;
    let mut old = bench.add(&number, Interest::READABLE)?;
    lab::replace(number.as_fd(), file.as_fd())?;
    drop(file);
    let new = match bench.add(&number, Interest::READABLE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bench.remove(old)?;
            bench.add(&number, Interest::READABLE)?
        }
        added => added?,
    };
    let modified = bench.modify(&mut old, Interest::WRITABLE);
    let removed = bench.remove(old);
    for late in [modified, removed] {
        let kind = late.map_err(|error| error.kind());
        ensure!(
            kind == Err(io::ErrorKind::NotFound),
            "a late call: {kind:?}"
        );
    }
    ours.write_all(b"x")?;
    works(bench, new)?;
    bench.silent(old)
}

fn works(bench: &mut Bench, added: Added) -> Verdict {
    let seen = bench.next(added)?;
    ensure!(seen == Readiness::READABLE, "{seen:?} for a byte");
    Ok(())
}

/// Held by whoever has many files open: two or more at once would leave too few to those who run beside them.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More numbers of one file: as many as wanted, or a quarter of what the process may open and the backend can watch. Other
/// threads need some too.
fn clones(bench: &Bench, file: &UnixStream, wanted: usize) -> Verdict<Vec<UnixStream>> {
    let most = bench.capabilities.max_fd.unwrap_or(RawFd::MAX);
    let most = lab::open_limit()?.min(usize::try_from(most).unwrap_or(0));
    let wanted = wanted.min(most / 4);
    let mut clones = Vec::new();
    while clones.len() < wanted {
        let clone = file
            .try_clone()
            .and_then(|clone| match bench.capabilities.max_fd {
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
