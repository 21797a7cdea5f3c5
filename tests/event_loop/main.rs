//! The callback loop, on every mechanism of the host and with every trigger: what handlers may count on, by the contract of
//! `reveille::backend` and not by what one kernel happens to do.
//!
//! Nothing here asserts an upper bound of real time but the watchdog, which ends a test that hangs.

#[path = "../support/mod.rs"]
mod support;

mod batch;
mod changes;
mod errors;
mod fake;
mod faults;
mod files;
mod forks;
mod hang_up;
mod hosting;
mod idle;
mod marks;
mod messages;
mod order;
mod panics;
mod reentrance;
mod timeouts;
mod timers;

use reveille::backend::{Interest, Trigger};
use reveille::event_loop::{Cause, EventLoop, Source};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use support::{Loops, on_every_loop, on_every_trigger};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Two connected sockets, neither of which blocks.
fn pair() -> (UnixStream, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    there.set_nonblocking(true).unwrap();
    (here, there)
}

/// A pair whose first socket has a byte to read.
fn ready_pair() -> (UnixStream, UnixStream) {
    let (here, mut there) = pair();
    there.write_all(b"x").unwrap();
    (here, there)
}

/// A turn that does not wait; how many handlers were called.
fn turn<D: 'static>(event_loop: &mut EventLoop<D>) -> usize {
    event_loop.run_once(Some(Duration::ZERO)).unwrap()
}

/// Turns, which wait, until the handlers have brought it so far.
fn run_until<D: 'static>(event_loop: &mut EventLoop<D>, is_done: impl Fn(&D) -> bool) {
    while !is_done(event_loop.data()) {
        event_loop.run_once(None).unwrap();
    }
}

/// Asserts that nothing is called, for a while.
#[track_caller]
fn assert_quiet<D: 'static>(event_loop: &mut EventLoop<D>) {
    for _ in 0..3 {
        assert_eq!(event_loop.run_once(Some(5 * MS)).unwrap(), 0);
    }
}

/// Waits until a moment has passed, for certain.
fn pass(moment: Instant) {
    while Instant::now() <= moment {
        std::thread::sleep(MS);
    }
}

/// All that can be read now, as any trigger demands it.
fn drain(mut stream: &UnixStream) -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut all = Vec::new();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(length) => all.extend(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A turn whose panic is caught; its message.
#[track_caller]
fn panic_of<D: 'static>(event_loop: &mut EventLoop<D>) -> String {
    let turned = catch_unwind(AssertUnwindSafe(|| turn(event_loop)));
    let payload = turned.expect_err("it should panic");
    (*payload.downcast_ref::<&str>().expect("a plain text")).to_owned()
}
