//! Cases with peers that write, shut down and close concurrently.

use super::Case;
use super::harness::{Added, Fault, Harness, PATIENCE, Verdict, drain, ensure, unix_pair};
use crate::backend::Interest;
use crate::sys::syscall::retry;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

pub(super) const CASES: &[Case] = &[Case::new("C38", "peers_at_work", peers_at_work)];

const ROUNDS: usize = 40;
const FDS: usize = 8;
const LENGTH: usize = 100;

/// Adds, modifies and removes fds while their peers write and shut down. No call may fail, the
/// kernel must release what was removed, and all data must be reported.
fn peers_at_work(harness: &mut Harness) -> Verdict {
    let (begin, begun) = mpsc::channel::<Vec<UnixStream>>();
    let (end, ended) = mpsc::channel();
    // Ends with the case, however that ends.
    thread::spawn(move || {
        for peers in begun {
            for mut peer in &peers {
                // A peer that is closed by now fails.
                let _ = peer.write(&[7; LENGTH]);
                let _ = peer.shutdown(Shutdown::Write);
            }
            let _ = end.send(peers);
        }
    });
    for _ in 0..ROUNDS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..FDS {
            let (one, other) = unix_pair()?;
            // Set now, because macOS refuses it on a socket whose two directions have ended.
            one.set_read_timeout(Some(PATIENCE))?;
            ours.push(one);
            theirs.push(other);
        }
        begin
            .send(ours)
            .expect("the peers' thread receives until the case ends");
        let mut open = Vec::new();
        for theirs in theirs {
            open.push((harness.add(&theirs, Interest::READABLE)?, theirs));
        }
        for (mut added, _) in open.drain(..FDS / 2) {
            harness.modify(&mut added, Interest::READABLE | Interest::WRITABLE)?;
            harness.remove(added)?;
        }
        read_all(harness, open)?;
        let ours = ended
            .recv()
            .expect("the peers' thread sends each group back");
        for peer in ours {
            check_closed(peer)?;
        }
    }
    Ok(())
}

/// Checks that a peer reads the end of a connection that was removed and closed.
fn check_closed(mut peer: UnixStream) -> Verdict {
    peer.set_nonblocking(false)?;
    let read = retry(|| peer.read(&mut [0])).map_err(|error| error.kind());
    // The connection is reset if what the peer wrote was not read.
    let is_closed = matches!(read, Ok(0) | Err(io::ErrorKind::ConnectionReset));
    ensure!(
        is_closed,
        "still open for the peer after remove and close: {read:?}"
    );
    Ok(())
}

/// Reads each fd to its end, as events come.
fn read_all(harness: &mut Harness, mut open: Vec<(Added, UnixStream)>) -> Verdict {
    let mut total = open.len() * LENGTH;
    while !open.is_empty() {
        let events = harness.wait(Some(PATIENCE))?;
        ensure!(
            !events.is_empty(),
            "no event, with {} fds left to read",
            open.len()
        );
        for event in events {
            let known = open
                .iter()
                .position(|(added, _)| added.token == event.token);
            let Some(at) = known else {
                return Err(Fault::Failed(format!("{event:?} for a removed fd")));
            };
            let (count, ended) = drain(&open[at].1)?;
            ensure!(count <= total, "more than was written");
            total -= count;
            let added = open[at].0;
            if ended {
                harness.remove(added)?;
                open.swap_remove(at);
            } else {
                harness.rearm(added, Interest::READABLE)?;
            }
        }
    }
    ensure!(total == 0, "{total} bytes were not reported");
    Ok(())
}
