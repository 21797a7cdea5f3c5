//! The callback loop, on every mechanism of the host and with every trigger: what handlers may rely
//! on by the contract of `reveille::backend`.
//!
//! Only the watchdog, which ends a test that hangs, is an upper bound of real time. `C23` and the
//! like are cases of `conformance`, listed in `docs/backends/mechanisms.md`.

#[path = "../support/mod.rs"]
mod support;

mod batch;
mod changes;
mod drops;
mod errors;
mod fake;
mod files;
mod hang_up;
mod host_event_loop;
mod idle;
mod messages;
mod misbehaving_backend;
mod order;
mod panics;
mod reentrance;
mod timeouts;
mod timers;
mod water_marks;

use reveille::backend::{Interest, Trigger};
use reveille::event_loop::{Cause, EventLoop, Key};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use support::loops::{
    MS, assert_quiet, assert_rests, drain, pair, pass, ready_pair, run_until, turn,
};
use support::{Loops, Refusing, on_every_loop, on_every_trigger};

const HOUR: Duration = Duration::from_secs(3600);

/// Makes a turn that has to panic, and returns the message.
#[track_caller]
fn panic_of<D: 'static>(event_loop: &mut EventLoop<D>) -> String {
    let turned = catch_unwind(AssertUnwindSafe(|| turn(event_loop)));
    let payload = turned.expect_err("it should panic");
    (*payload.downcast_ref::<&str>().expect("a plain text")).to_owned()
}
