//! `Runtime::shutdown`: what ends, what is refused, what the report lists, and where panics go.
//!
//! A limit that has to pass is short; one that must not pass is [`LONG`], so that no test depends
//! on how fast it runs. A test that hangs is ended by the watchdog.

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod jobs;
mod panics;
#[cfg(feature = "test-util")]
mod paused;
mod places;
mod reports;
mod spawns;

use reveille::backend::BackendKind;
use reveille::runtime::ShutdownReport;
use reveille::time::Duration;
use reveille::{Builder, Runtime};
use std::future::Future;
use std::sync::mpsc::{Receiver, Sender, channel};
use support::on_every_backend;

/// Passes in every test that uses it.
const SHORT: Duration = Duration::from_millis(20);

/// Passes in none.
const LONG: Duration = Duration::from_secs(3600);

/// Makes runtimes on one mechanism.
#[derive(Clone, Copy)]
struct Make(BackendKind);

impl Make {
    fn builder(self) -> Builder {
        Builder::new().backend(self.0)
    }

    fn runtime(self) -> Runtime {
        self.builder().build().unwrap()
    }

    /// A runtime that sends a message before each wait. As long as nothing else has run the loop,
    /// the first message says that the shutdown waits.
    fn announcing(self) -> (Runtime, Receiver<()>) {
        let (send, waits) = channel();
        let builder = self.builder().on_park(move || {
            send.send(()).ok();
        });
        (builder.build().unwrap(), waits)
    }
}

/// Runs a test on every mechanism.
fn on_every_mechanism(test: impl Fn(Make)) {
    on_every_backend(|like| test(Make(like.backend_name().parse().unwrap())));
}

#[track_caller]
fn assert_clean(report: &ShutdownReport) {
    assert!(report.is_clean() && !report.is_late(), "{report}");
    assert!(report.error().is_none());
    assert_eq!(report.to_string(), "nothing was left");
}

/// Spawns a task and returns where its output arrives, because the runtime drops outputs that no
/// handle has taken.
fn spawn_sending<F>(runtime: &Runtime, future: F) -> Receiver<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let (send, output) = channel();
    drop(runtime.spawn(async move { send.send(future.await).unwrap() }));
    output
}

/// A value that sends its name when it is dropped.
struct OnDrop(&'static str, Sender<&'static str>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.1.send(self.0).ok();
    }
}
