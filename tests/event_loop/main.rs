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
use support::loops::{MS, assert_quiet, drain, pair, pass, ready_pair, run_until, turn};
use support::{Loops, Refusing, on_every_loop, on_every_trigger};

const HOUR: Duration = Duration::from_secs(3600);

/// A turn whose panic is caught; its message.
#[track_caller]
fn panic_of<D: 'static>(event_loop: &mut EventLoop<D>) -> String {
    let turned = catch_unwind(AssertUnwindSafe(|| turn(event_loop)));
    let payload = turned.expect_err("it should panic");
    (*payload.downcast_ref::<&str>().expect("a plain text")).to_owned()
}
