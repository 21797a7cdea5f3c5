//! Peers that act whenever they like, from another thread.

use super::Case;
use super::bench::{Added, Bench, Fault, PATIENCE, Verdict, drain, ensure, unix_pair};
use crate::backend::Interest;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

pub(super) const CASES: &[Case] = &[Case::new("C38", "peers_at_work", peers_at_work)];

const ROUNDS: usize = 40;
const FDS: usize = 8;
const LENGTH: usize = 100;

/// Whatever the peers do just then, no call fails, what is removed is let go of, and the rest is told of all that came.
fn peers_at_work(bench: &mut Bench) -> Verdict {
    let (begin, begun) = mpsc::channel::<Vec<UnixStream>>();
    let (end, ended) = mpsc::channel();
    // Goes when the case does, however that ends.
    thread::spawn(move || {
        for peers in begun {
            for mut peer in &peers {
                // Those that are closed by now refuse it.
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
            // Now: macOS refuses it on a socket whose two directions have ended.
            one.set_read_timeout(Some(PATIENCE))?;
            ours.push(one);
            theirs.push(other);
        }
        begin.send(ours).expect("the thread waits for it");
        let mut open = Vec::new();
        for theirs in theirs {
            open.push((bench.add(&theirs, Interest::READABLE)?, theirs));
        }
        for (mut added, _) in open.drain(..FDS / 2) {
            bench.modify(&mut added, Interest::READABLE | Interest::WRITABLE)?;
            bench.remove(added)?;
        }
        read_all(bench, open)?;
        let ours = ended.recv().expect("the thread answers");
        for mut peer in ours {
            peer.set_nonblocking(false)?;
            let read = loop {
                match peer.read(&mut [0]).map_err(|error| error.kind()) {
                    Err(io::ErrorKind::Interrupted) => {}
                    read => break read,
                }
            };
            // Reset, if what it wrote was not read.
            let is_closed = matches!(read, Ok(0) | Err(io::ErrorKind::ConnectionReset));
            ensure!(is_closed, "held after it was removed and closed: {read:?}");
        }
    }
    Ok(())
}

/// Reads as it is told to, up to the end of each.
fn read_all(bench: &mut Bench, mut open: Vec<(Added, UnixStream)>) -> Verdict {
    let mut total = open.len() * LENGTH;
    while !open.is_empty() {
        let events = bench.wait(Some(PATIENCE))?;
        ensure!(
            !events.is_empty(),
            "silent, with {} to read from",
            open.len()
        );
        for event in events {
            let known = open
                .iter()
                .position(|(added, _)| added.token == event.token);
            let Some(at) = known else {
                return Err(Fault::Failed(format!("{event:?}, which was removed")));
            };
            let (count, ended) = drain(&open[at].1)?;
            ensure!(count <= total, "more than was written");
            total -= count;
            let added = open[at].0;
            if ended {
                bench.remove(added)?;
                open.swap_remove(at);
            } else {
                bench.again(added, Interest::READABLE)?;
            }
        }
    }
    ensure!(total == 0, "{total} bytes were not told of");
    Ok(())
}
