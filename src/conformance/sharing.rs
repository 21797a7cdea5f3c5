//! One listener, several loops.

use super::bench::{Added, Bench, Fault, PATIENCE, Verdict, ensure, of};
use super::{Case, Make, Trigger};
use crate::backend::{Interest, Readiness};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

pub(super) const CASES: &[Case] =
    &[Case::with_more("C37", "exclusive_listener", exclusive_listener).only(&[Trigger::Edge])];

/// A listener in two loops: every connection is heard of by one of them, also when the other has gone, and nobody can
/// modify what was added so.
fn exclusive_listener(bench: &mut Bench, make: &mut Make<'_>) -> Verdict {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    if !bench.capabilities.exclusive {
        let refused = add(bench, &listener).map_err(|error| error.kind());
        ensure!(
            matches!(refused, Err(io::ErrorKind::Unsupported)),
            "add_exclusive: {refused:?}"
        );
        let added = bench.add(&listener, Interest::READABLE)?;
        bench.silent(added)?;
        return Err(Fault::Skipped("cannot choose one loop".into()));
    }
    // There before it is added.
    let early = TcpStream::connect(listener.local_addr()?)?;
    let clone = listener.try_clone()?;
    let mut other = Bench::new(make()?, bench.trigger);
    let (mut first, second) = (add(bench, &listener)?, add(&mut other, &clone)?);
    let mut loops = [(bench, first), (&mut other, second)];
    accept_by_any(&mut loops, &listener)?;
    drop(early);
    for _ in 0..20 {
        let _client = TcpStream::connect(listener.local_addr()?)?;
        accept_by_any(&mut loops, &listener)?;
    }
    let [(bench, _), (other, _)] = loops;
    let twice = add(bench, &listener).map_err(|error| error.kind());
    ensure!(
        matches!(twice, Err(io::ErrorKind::AlreadyExists)),
        "added twice: {twice:?}"
    );
    let modified = bench.modify(&mut first, Interest::READABLE);
    let kind = modified.map_err(|error| error.kind());
    ensure!(
        kind == Err(io::ErrorKind::InvalidInput),
        "modify of an exclusive registration: {kind:?}"
    );
    other.remove(second)?;
    let _client = TcpStream::connect(listener.local_addr()?)?;
    accept_by_any(&mut [(bench, first)], &listener)?;
    other.silent(second)?;
    bench.remove(first)?;
    // What is added afterwards can be modified.
    let mut plain = bench.add(&listener, Interest::NONE)?;
    bench.modify(&mut plain, Interest::READABLE)?;
    let _client = TcpStream::connect(listener.local_addr()?)?;
    bench.next(plain).map(drop)
}

fn add(bench: &mut Bench, listener: &TcpListener) -> io::Result<Added> {
    let added = Added {
        number: listener.as_raw_fd(),
        token: bench.token(),
        interest: Interest::READABLE,
    };
    bench.backend.add_exclusive(listener.as_fd(), added.token)?;
    Ok(added)
}

/// Looks at each loop in turn until one reports the listener, and accepts then until the call would block.
fn accept_by_any(loops: &mut [(&mut Bench, Added)], listener: &TcpListener) -> Verdict {
    let (mut accepted, started) = (0, Instant::now());
    while accepted == 0 {
        ensure!(
            started.elapsed() < PATIENCE,
            "no loop heard of a connection"
        );
        for (bench, added) in &mut *loops {
            let Some(seen) = of(&bench.look()?, *added) else {
                continue;
            };
            ensure!(
                seen == Readiness::READABLE,
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
            bench.backend.rearm(number, added.token, added.interest)?;
        }
    }
    ensure!(accepted == 1, "{accepted} connections instead of one");
    Ok(())
}
