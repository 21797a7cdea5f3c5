//! The case about one listener in several loops.

use super::harness::{Added, Fault, Harness, PATIENCE, Verdict, ensure, of};
use super::{Case, Make, Trigger};
use crate::backend::{Interest, Ready};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

pub(super) const CASES: &[Case] =
    &[Case::with_more("C37", "exclusive_listener", exclusive_listener).only(&[Trigger::Edge])];

/// A listener is in two loops: every connection is reported by one of them, even after the other
/// was closed. Such a registration cannot be modified.
fn exclusive_listener(harness: &mut Harness, make: &mut Make<'_>) -> Verdict {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    if !harness.capabilities.exclusive {
        let refused = add(harness, &listener).map_err(|error| error.kind());
        ensure!(
            matches!(refused, Err(io::ErrorKind::Unsupported)),
            "add_exclusive: {refused:?}"
        );
        let added = harness.add(&listener, Interest::READABLE)?;
        harness.silent(added)?;
        return Err(Fault::Skipped("cannot wake one loop only".into()));
    }
    // A connection that exists before the listener is added.
    let early = TcpStream::connect(listener.local_addr()?)?;
    let clone = listener.try_clone()?;
    let mut other = Harness::new(make()?, harness.trigger);
    let (mut first, second) = (add(harness, &listener)?, add(&mut other, &clone)?);
    let mut loops = [(harness, first), (&mut other, second)];
    accept_by_any(&mut loops, &listener)?;
    drop(early);
    for _ in 0..20 {
        let _client = TcpStream::connect(listener.local_addr()?)?;
        accept_by_any(&mut loops, &listener)?;
    }
    let [(harness, _), (other, _)] = loops;
    let twice = add(harness, &listener).map_err(|error| error.kind());
    ensure!(
        matches!(twice, Err(io::ErrorKind::AlreadyExists)),
        "added twice: {twice:?}"
    );
    let modified = harness.modify(&mut first, Interest::READABLE);
    let kind = modified.map_err(|error| error.kind());
    ensure!(
        kind == Err(io::ErrorKind::InvalidInput),
        "modify of an exclusive registration: {kind:?}"
    );
    other.remove(second)?;
    let _client = TcpStream::connect(listener.local_addr()?)?;
    accept_by_any(&mut [(harness, first)], &listener)?;
    other.silent(second)?;
    harness.remove(first)?;
    // What is added later can be modified.
    let mut plain = harness.add(&listener, Interest::EMPTY)?;
    harness.modify(&mut plain, Interest::READABLE)?;
    let _client = TcpStream::connect(listener.local_addr()?)?;
    harness.next(plain).map(drop)
}

fn add(harness: &mut Harness, listener: &TcpListener) -> io::Result<Added> {
    let added = Added {
        number: listener.as_raw_fd(),
        token: harness.token(),
        interest: Interest::READABLE,
    };
    harness
        .backend
        .add_exclusive(listener.as_fd(), added.token)?;
    Ok(added)
}

/// Polls each loop in turn until one reports the listener, then accepts until the call would block.
fn accept_by_any(loops: &mut [(&mut Harness, Added)], listener: &TcpListener) -> Verdict {
    let (mut accepted, started) = (0, Instant::now());
    while accepted == 0 {
        ensure!(
            started.elapsed() < PATIENCE,
            "no loop reported a connection"
        );
        for (harness, added) in &mut *loops {
            let Some(seen) = of(&harness.poll_now()?, *added) else {
                continue;
            };
            ensure!(
                seen == Ready::READABLE,
                "{seen:?} for a connection of {added:?}"
            );
            loop {
                match listener.accept() {
                    Ok(_) => accepted += 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            let number = added.number;
            harness.backend.rearm(number, added.token, added.interest)?;
        }
    }
    ensure!(accepted == 1, "{accepted} connections instead of one");
    Ok(())
}
