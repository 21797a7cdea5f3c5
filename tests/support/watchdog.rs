//! [`Watchdog`]: ends a test that hangs.

// With a path, because some programs include this file alone.
#[path = "hang_report.rs"]
mod hang_report;

pub(crate) use hang_report::HangReport;
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Long, because on a slow and busy machine a second's work may take minutes.
const LIMIT: Duration = Duration::from_secs(300);

/// Aborts the process with the name of the test and a [`HangReport`], unless it is dropped within
/// five minutes.
#[must_use = "a test is watched until this is dropped"]
pub(crate) struct Watchdog {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn new(name: String) -> Watchdog {
        let (done, watched) = mpsc::channel();
        let report = HangReport::of_this_thread();
        let thread = thread::spawn(move || {
            if watched.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                // Not by `eprintln!`, whose output is captured until the test has ended.
                let _ = writeln!(io::stderr(), "{name} hangs");
                report.write();
                std::process::abort();
            }
        });
        Watchdog {
            done: Some(done),
            thread: Some(thread),
        }
    }

    /// Watches the test that this thread runs.
    pub(crate) fn of_this_test() -> Watchdog {
        Watchdog::new(thread::current().name().unwrap_or("a test").to_owned())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.done.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
