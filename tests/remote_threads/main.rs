//! Every kind of handle, polled, woken and dropped on a thread that does not own its runtime, in
//! every state of that runtime. Nothing hangs, nothing leaks, and an operation that cannot work
//! returns an error with the reason.
//!
//! Closures on threads that block are in `tests/blocking.rs`: their threads end a moment later.
//!
//! This is one test, because it counts the descriptors of the process. It runs on the backend that
//! `REVEILLE_BACKEND` names.

#[path = "../support/mod.rs"]
mod support;

mod async_fd;
mod datagrams;
mod fixture;
mod listeners;
mod sleep;
mod streams;
mod tasks;
mod tcp;

use async_fd::*;
use datagrams::*;
use fixture::{Fixture, STATES, State};
use listeners::*;
use sleep::*;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use streams::*;
use tasks::*;
use tcp::*;

/// How often all cells are run: races need more than one try.
const ROUNDS: usize = 10;

/// A thread that waits for longer than this hangs.
const TOO_LONG: Duration = Duration::from_secs(60);

type CellTest = fn(&mut Fixture);

const TABLE: [(&str, CellTest); 42] = [
    ("TcpStream poll read", tcp_poll_read),
    ("TcpStream poll writable", tcp_poll_writable),
    ("TcpStream wake", tcp_wake),
    ("TcpStream drop", tcp_drop),
    ("TcpStream drop, half polled", tcp_drop_half_polled),
    ("UnixStream poll read", unix_poll_read),
    ("UnixStream poll write", unix_poll_write),
    ("UnixStream wake", unix_wake),
    ("UnixStream drop", unix_drop),
    ("UnixStream drop, half polled", unix_drop_half_polled),
    ("OwnedReadHalf poll read", read_half_poll_read),
    ("OwnedWriteHalf drop", write_half_drop),
    ("pipe poll read", pipe_poll_read),
    ("pipe poll write", pipe_poll_write),
    ("pipe wake", pipe_wake),
    ("Sender drop", sender_drop),
    ("Receiver drop, half polled", receiver_drop_half_polled),
    ("UdpSocket poll recv", udp_poll_recv),
    ("UdpSocket wake", udp_wake),
    ("UdpSocket drop, half polled", udp_drop_half_polled),
    ("UnixDatagram poll recv", unix_datagram_poll_recv),
    ("UnixDatagram poll send", unix_datagram_poll_send),
    ("UnixDatagram drop", unix_datagram_drop),
    ("TcpListener poll accept", tcp_accept),
    (
        "TcpListener drop, half polled",
        tcp_listener_drop_half_polled,
    ),
    ("UnixListener poll accept", unix_accept),
    (
        "UnixListener drop, half polled",
        unix_listener_drop_half_polled,
    ),
    ("Permit drop", permit_drop),
    ("AsyncFd poll", async_fd_poll),
    ("AsyncFd wake", async_fd_wake),
    ("AsyncFd drop", async_fd_drop),
    ("AsyncFd drop, half polled", async_fd_drop_half_polled),
    ("Sleep poll", sleep_poll),
    ("Sleep poll, moved after it fired", sleep_poll_moved),
    ("Sleep wake", sleep_wake),
    ("Sleep drop", sleep_drop),
    ("JoinHandle poll", join_poll),
    ("JoinHandle wake", join_wake),
    ("JoinHandle drop", join_drop),
    ("Waker poll", waker_poll),
    ("Waker wake", waker_wake),
    ("Waker drop", waker_drop),
];

#[test]
fn handles_off_their_thread_work_or_fail_with_a_reason() {
    let (alive, watched) = mpsc::channel::<String>();
    let watchdog = thread::spawn(move || {
        let mut cell = String::from("nothing");
        loop {
            match watched.recv_timeout(TOO_LONG) {
                Ok(next) => cell = next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // The output of `eprintln!` would be held back until the test has ended.
                    let _ = writeln!(io::stderr(), "hangs: {cell}");
                    std::process::abort();
                }
            }
        }
    });
    for _ in 0..ROUNDS {
        for (name, test) in TABLE {
            for state in STATES {
                let cell = format!("{name} on another thread, the runtime {state:?}");
                alive.send(cell.clone()).unwrap();
                let before = open_fds();
                run_cell(&cell, test, state);
                if open_fds() != before {
                    // A leak would leak again. (A sanitizer opens a file for its first report.)
                    let before = open_fds();
                    run_cell(&cell, test, state);
                    assert_eq!(open_fds(), before, "{cell}: descriptors are leaked");
                }
            }
        }
    }
    drop(alive);
    watchdog.join().unwrap();
}

fn run_cell(cell: &str, test: CellTest, state: State) {
    let probe = Arc::new(());
    let mut fixture = Fixture::new(state, probe.clone());
    let result = catch_unwind(AssertUnwindSafe(|| test(&mut fixture)));
    if result.is_err() {
        panic!("{cell}: see above");
    }
    fixture.clear(cell);
    drop(fixture);
    assert_eq!(Arc::strong_count(&probe), 1, "{cell}: values are leaked");
}

/// Returns how many descriptors the process has, on systems with /proc.
fn open_fds() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}
