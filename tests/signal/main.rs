//! Signals, on every mechanism: none is lost, none is reported twice, and nothing is left behind.
//!
//! Signals belong to the whole process, so these tests are in a program of their own, and take
//! turns ([`alone`]). They raise only signals for which a listener exists or has existed. Most are
//! sent to the sending thread itself by [`raise`], which returns after the handler has run. Those
//! that are sent to the process may run the handler on any thread, at any time: then a test waits
//! until a listener has returned.

mod ends;
mod event_loop;
mod listeners;
mod refused;
mod storms;
#[path = "../support/mod.rs"]
mod support;
mod threads;

use reveille::backend::BackendKind;
use reveille::signal::{Signal, SignalKind, Signals};
use reveille::{Builder, Runtime};
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use support::is_thread_sanitizer;

/// Makes this test the only one that runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test on a new runtime of every mechanism, while no other test runs.
fn on_every_backend(test: impl Fn(&Runtime)) {
    let _alone = alone();
    support::on_every_backend(test);
}

/// As `on_every_backend`, for callback loops.
fn on_every_loop(test: impl Fn(support::Loops)) {
    let _alone = alone();
    support::on_every_loop(test);
}

/// Makes another runtime of the same mechanism.
fn another_like(runtime: &Runtime) -> Runtime {
    let builder = Builder::new();
    match kind_of(runtime) {
        Some(kind) => builder.backend(kind).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// Returns the mechanism of a runtime; `None` if the environment has chosen it.
fn kind_of(runtime: &Runtime) -> Option<BackendKind> {
    let mut kinds = BackendKind::ALL.into_iter();
    let is_chosen = std::env::var_os("REVEILLE_BACKEND").is_some();
    kinds.find(|kind| !is_chosen && kind.name() == runtime.backend_name())
}

/// Sends a signal to this thread, and returns when its handler has run.
fn raise(kind: SignalKind) {
    // SAFETY: the call takes no pointer.
    assert_eq!(unsafe { libc::raise(kind.as_raw_value()) }, 0);
}

/// Sends a signal to this process. Its handler runs on any thread, perhaps later.
fn kill(kind: SignalKind) {
    // ThreadSanitizer puts a handler off until its thread makes a call that it knows, and the
    // thread of the test harness, to which the kernel gives most signals, makes none.
    if is_thread_sanitizer() {
        return raise(kind);
    }
    // SAFETY: the calls take no pointer.
    let sent = unsafe { libc::kill(libc::getpid(), kind.as_raw_value()) };
    assert_eq!(sent, 0);
}

/// Whether a listener has a signal to report, which is taken.
fn has_signal(signal: &mut Signal) -> bool {
    poll_once(signal.recv()) == Poll::Ready(Some(()))
}

/// Returns the kinds that a listener has to report, sorted.
fn take_all(signals: &mut Signals) -> Vec<SignalKind> {
    let mut all = Vec::new();
    while let Poll::Ready(Some(kind)) = poll_once(signals.recv()) {
        all.push(kind);
    }
    all.sort();
    all
}

/// Polls a future once and drops it.
fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns how many descriptors are open.
fn open_descriptors() -> usize {
    // SAFETY: the call takes no pointer.
    let is_open = |fd: &i32| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1;
    (0..4096).filter(is_open).count()
}

const USR1: SignalKind = SignalKind::user_defined1();
const USR2: SignalKind = SignalKind::user_defined2();
