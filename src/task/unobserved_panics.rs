//! Passes panics that no [`JoinError`] reports to a runtime, whose policy handles them.
//!
//! They come from the drop of a `JoinError` that contains a payload, from the drop of a
//! [`ReplyTo`], and from handles. The files of these two types must not import the tasks, so their
//! `Drop` is here.

use super::current::{CURRENT, on_owner};
use super::error::JoinError;
use super::remote::{Message, send};
use super::reply::ReplyTo;
use super::unobserved::Unobserved;
use crate::budget;
use crate::panics::{Payload, catch, drop_caught};
use crate::token::RuntimeId;

/// Passes a panic that must not leave a drop to the current runtime of this thread. Without one it
/// drops the payload: the panic hook has reported the panic.
#[cold]
pub(crate) fn report_panic(payload: Payload) {
    report_here(payload.into());
}

/// Passes a panic to the current runtime of this thread, or drops the payload.
fn report_here(panic: Unobserved) {
    CURRENT.with(|tasks| match tasks {
        Some(tasks) => tasks.keep_panic(panic),
        None => drop_caught(panic),
    });
}

/// Passes a panic that no handle will report to a runtime, from any thread.
#[cold]
pub(super) fn report(runtime: RuntimeId, panic: Unobserved) {
    let mut panic = Some(panic);
    on_owner(runtime, |tasks| {
        if let Some(panic) = panic.take() {
            tasks.keep_panic(panic);
        }
    });
    if let Some(panic) = panic {
        send(runtime, Message::Panicked(Box::new(panic)));
    }
}

impl Drop for JoinError {
    /// Drops the payload if it was not taken. Never panics.
    fn drop(&mut self) {
        if let Some(payload) = self.take_payload() {
            // The payload belongs to another task, not to the poll that drops it.
            let _unbound = budget::unbound();
            catch(|| drop(payload)).unwrap_or_else(report_panic);
        }
    }
}

impl Drop for ReplyTo {
    /// Answers "runtime is gone" if there was no answer.
    fn drop(&mut self) {
        if let Some(panic) = self.abandon() {
            report_here(panic);
        }
    }
}
