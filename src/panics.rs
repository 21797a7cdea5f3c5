//! Catches, keeps, resumes and drops the panics of foreign code.
//!
//! Foreign code is all code that users supply: polls, wakers, handlers, and the drops of their
//! values. Where its panic must not interrupt the work around it, it runs in [`catch`] or
//! [`FirstPanic::call`]. A payload is a user's value, too, and its drop may panic. Therefore
//! [`drop_caught`] drops it.

#![forbid(unsafe_code)]

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// How many payloads, each thrown by the drop of the previous one, are dropped before the next one
/// is leaked.
const MAX_ROUNDS: usize = 3;

/// Runs foreign code and returns its panic as an error.
///
/// The caller must not borrow anything of this crate during the call, so that a panic leaves its
/// data consistent.
#[inline]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Drops a value where a panic can be neither passed on nor reported: the payload of such a panic
/// is dropped as well.
pub(crate) fn drop_caught<T>(value: T) {
    if let Err(payload) = catch(|| drop(value)) {
        drop_payload(payload);
    }
}

/// Drops a payload, then the payload of the panic of that drop, and so on. After [`MAX_ROUNDS`] the
/// next payload is leaked, because this may never end.
#[cold]
fn drop_payload(mut payload: Payload) {
    for _ in 0..MAX_ROUNDS {
        match catch(|| drop(payload)) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}

/// Keeps the first panic of several calls, so that the panic is resumed after the work around them.
#[derive(Default)]
#[must_use = "a kept panic is lost unless `resume` is called"]
pub(crate) struct FirstPanic(Option<Payload>);

impl FirstPanic {
    /// Runs `f` and returns its result, or `None` if it panicked. The first panic is kept, later
    /// ones are dropped.
    #[inline]
    pub(crate) fn call<R>(&mut self, f: impl FnOnce() -> R) -> Option<R> {
        match catch(f) {
            Ok(result) => Some(result),
            Err(payload) => {
                self.keep(payload);
                None
            }
        }
    }

    /// Keeps a panic, or drops it if another one is kept already.
    #[cold]
    pub(crate) fn keep(&mut self, payload: Payload) {
        match &self.0 {
            None => self.0 = Some(payload),
            Some(_) => drop_payload(payload),
        }
    }

    /// Returns whether a call has panicked.
    #[inline]
    pub(crate) fn is_panic(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the payload of the first panic, if there was one.
    pub(crate) fn into_payload(self) -> Option<Payload> {
        self.0
    }

    /// Resumes the first panic, if there was one.
    #[inline]
    pub(crate) fn resume(self) {
        if let Some(payload) = self.0 {
            resume_unwind(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::panic::panic_any;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A payload whose drop panics with another payload, a number of times.
    struct Chain {
        left: u32,
        drops: Arc<AtomicU32>,
    }

    impl Drop for Chain {
        fn drop(&mut self) {
            self.drops.fetch_add(1, Ordering::Relaxed);
            if self.left > 0 {
                panic_any(Chain {
                    left: self.left - 1,
                    drops: self.drops.clone(),
                });
            }
        }
    }

    fn chain(left: u32) -> (Chain, Arc<AtomicU32>) {
        let drops = Arc::new(AtomicU32::new(0));
        let first = Chain {
            left,
            drops: drops.clone(),
        };
        (first, drops)
    }

    #[test]
    fn catch_returns_the_result_or_the_panic() {
        assert_eq!(catch(|| 7).ok(), Some(7));
        let payload = catch(|| panic_any("no")).expect_err("it has panicked");
        assert_eq!(payload.downcast_ref(), Some(&"no"));
    }

    #[test]
    fn drop_caught_drops_the_payload_of_the_drop() {
        let (value, drops) = chain(2);
        drop_caught(value);
        assert_eq!(drops.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn drop_caught_leaks_an_endless_chain_of_payloads() {
        /// Has no size, so that the leak takes no memory.
        struct Endless;
        static DROPS: AtomicU32 = AtomicU32::new(0);

        impl Drop for Endless {
            fn drop(&mut self) {
                DROPS.fetch_add(1, Ordering::Relaxed);
                panic_any(Endless);
            }
        }
        drop_caught(Endless);
        // The value, then `MAX_ROUNDS` payloads.
        assert_eq!(DROPS.load(Ordering::Relaxed), 1 + MAX_ROUNDS as u32);
    }

    #[test]
    fn first_panic_keeps_the_first_and_drops_the_others() {
        let mut panics = FirstPanic::default();
        assert_eq!(panics.call(|| 1), Some(1));
        assert!(!panics.is_panic());
        assert_eq!(panics.call(|| panic_any("first")), None::<()>);
        let (second, drops) = chain(1);
        assert_eq!(panics.call(|| panic_any(second)), None::<()>);
        assert_eq!(drops.load(Ordering::Relaxed), 2);
        assert_eq!(panics.call(|| 2), Some(2));
        assert!(panics.is_panic());
        let payload = catch(|| panics.resume()).expect_err("it is resumed");
        assert_eq!(payload.downcast_ref(), Some(&"first"));
    }

    #[test]
    fn first_panic_resume_without_a_panic_returns() {
        let ran = Rc::new(Cell::new(false));
        let mut panics = FirstPanic::default();
        panics.call(|| ran.set(true));
        panics.resume();
        assert!(ran.get());
    }
}
