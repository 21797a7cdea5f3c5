//! Panics that a test expects, without output on standard error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread expects a panic.
    static HUSHED: Cell<bool> = const { Cell::new(false) };
}

/// Runs code that may panic, without output.
pub(crate) fn hushed<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !HUSHED.get() {
                loud(info);
            }
        }));
    });
    let before = HUSHED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    HUSHED.set(before);
    result
}

/// Returns the message of a panic.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| Some((*payload.downcast_ref::<&str>()?).to_owned()));
    text.unwrap_or_else(|| "no text".to_owned())
}

/// Runs code that must panic, without output, and returns the message.
pub(crate) fn message_of(f: impl FnOnce()) -> String {
    match hushed(f) {
        Ok(()) => "it did not panic".to_owned(),
        Err(payload) => text_of(&*payload),
    }
}
