//! A scoped thread-local pointer: how code deep in a poll finds what its thread owns, without an `Rc` and without a
//! destructor at thread end.
//!
//! [`Scoped::enter`] publishes a reference for the length of a call; [`Scoped::with`] borrows it from below that call.
//! Scopes nest; leaving one, by return or by unwind, puts the outer reference back. This is the only unsafe code of
//! the owner's data.

use std::cell::Cell;
use std::ptr;
use std::thread::LocalKey;

/// The cell behind a scoped thread-local: declare it with [`scoped!`](crate::sys::scoped!).
pub(crate) struct Slot<T: 'static>(Cell<*const T>);

impl<T: 'static> Slot<T> {
    pub(crate) const fn empty() -> Slot<T> {
        Slot(Cell::new(ptr::null()))
    }
}

/// A scoped thread-local reference to a `T`: a copyable name of the thread's cell.
pub(crate) struct Scoped<T: 'static> {
    key: &'static LocalKey<Slot<T>>,
}

impl<T> Clone for Scoped<T> {
    fn clone(&self) -> Scoped<T> {
        *self
    }
}

impl<T> Copy for Scoped<T> {}

impl<T: 'static> Scoped<T> {
    pub(crate) const fn new(key: &'static LocalKey<Slot<T>>) -> Scoped<T> {
        Scoped { key }
    }

    /// Runs `f` with `value` published on this thread.
    #[inline]
    pub(crate) fn enter<R>(self, value: &T, f: impl FnOnce() -> R) -> R {
        self.replace(value, f)
    }

    /// Runs `f` with nothing published: for foreign code that must not find the outer scope.
    #[inline]
    #[allow(
        dead_code,
        reason = "used by tests that play a foreign thread on this one"
    )]
    pub(crate) fn leave<R>(self, f: impl FnOnce() -> R) -> R {
        self.replace(ptr::null(), f)
    }

    #[inline]
    fn replace<R>(self, value: *const T, f: impl FnOnce() -> R) -> R {
        struct Restore<T: 'static>(&'static LocalKey<Slot<T>>, *const T);
        impl<T: 'static> Drop for Restore<T> {
            fn drop(&mut self) {
                self.0.with(|slot| slot.0.set(self.1));
            }
        }
        let _restore = Restore(self.key, self.key.with(|slot| slot.0.replace(value)));
        f()
    }

    /// Runs `f` with what is published on this thread, if anything.
    #[inline]
    pub(crate) fn with<R>(self, f: impl FnOnce(Option<&T>) -> R) -> R {
        let value = self.key.with(|slot| slot.0.get());
        // SAFETY: a non-null pointer was made from a reference by `enter`, which is still on this thread's stack below
        // us (its guard puts the former value back before the borrow ends, also on unwind), so the reference is alive;
        // the shared reference given to `f` cannot outlive this call.
        f(unsafe { value.as_ref() })
    }
}

/// Declares a scoped thread-local: `scoped!(const CURRENT: Local);`
///
/// A constant, not a static: so the compiler sees through the key to the thread's cell, and a look-up is one load. Behind a
/// static it was a call through a pointer.
macro_rules! scoped {
    ($(#[$meta:meta])* $vis:vis const $name:ident: $ty:ty) => {
        $(#[$meta])*
        $vis const $name: $crate::sys::scoped::Scoped<$ty> = {
            ::std::thread_local! {
                static SLOT: $crate::sys::scoped::Slot<$ty> =
                    const { $crate::sys::scoped::Slot::empty() };
            }
            $crate::sys::scoped::Scoped::new(&SLOT)
        };
    };
}
pub(crate) use scoped;

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    scoped!(const CURRENT: u32);

    fn current() -> Option<u32> {
        CURRENT.with(|value| value.copied())
    }

    #[test]
    fn scopes_nest_and_unwind_restores() {
        assert_eq!(current(), None);
        CURRENT.enter(&1, || {
            assert_eq!(current(), Some(1));
            let panicked = catch_unwind(AssertUnwindSafe(|| CURRENT.enter(&2, || panic!("inner"))));
            assert!(panicked.is_err());
            assert_eq!(current(), Some(1));
            CURRENT.leave(|| assert_eq!(current(), None));
        });
        assert_eq!(current(), None);
    }
}
