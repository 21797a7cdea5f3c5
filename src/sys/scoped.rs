//! [`Scoped`] is a scoped thread-local pointer, by which code deep in a poll finds what its thread
//! owns, without an `Rc` and without a destructor at the end of the thread.
//!
//! [`Scoped::enter`] publishes a reference for the length of a call; [`Scoped::with`] borrows it
//! from below that call. Scopes nest; leaving one, by return or by unwind, restores the outer
//! reference. This is the only unsafe code that concerns the owner's data.

use std::cell::Cell;
use std::hint::assert_unchecked;
use std::num::NonZeroU32;
use std::ptr;
use std::thread::LocalKey;

/// A type whose values may be published.
pub(crate) trait Published {
    /// The name by which [`Scoped::with_named`] finds the value; read when it is entered.
    fn name(&self) -> Option<NonZeroU32> {
        None
    }
}

/// The cells behind a scoped thread-local, always set together: declare them with `scoped!`.
pub(crate) struct Slot<T: 'static> {
    value: Cell<*const T>,
    /// The value's name; also `None` if there is no value.
    name: Cell<Option<NonZeroU32>>,
}

impl<T: 'static> Slot<T> {
    pub(crate) const fn empty() -> Slot<T> {
        Slot {
            value: Cell::new(ptr::null()),
            name: Cell::new(None),
        }
    }

    fn replace(&self, value: *const T, name: Option<NonZeroU32>) -> Restore<T> {
        Restore {
            value: self.value.replace(value),
            name: self.name.replace(name),
        }
    }
}

/// The former content of a slot.
struct Restore<T: 'static> {
    value: *const T,
    name: Option<NonZeroU32>,
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

impl<T: Published + 'static> Scoped<T> {
    pub(crate) const fn new(key: &'static LocalKey<Slot<T>>) -> Scoped<T> {
        Scoped { key }
    }

    /// Runs `f` with `value` published on this thread.
    #[inline]
    pub(crate) fn enter<R>(self, value: &T, f: impl FnOnce() -> R) -> R {
        self.replace(value, value.name(), f)
    }

    /// Runs `f` with nothing published, for foreign code that must not find the outer scope.
    #[inline]
    pub(crate) fn leave<R>(self, f: impl FnOnce() -> R) -> R {
        self.replace(ptr::null(), None, f)
    }

    #[inline]
    fn replace<R>(self, value: *const T, name: Option<NonZeroU32>, f: impl FnOnce() -> R) -> R {
        struct Leave<T: 'static>(&'static LocalKey<Slot<T>>, Restore<T>);
        impl<T: 'static> Drop for Leave<T> {
            fn drop(&mut self) {
                self.0.with(|slot| slot.replace(self.1.value, self.1.name));
            }
        }
        let _leave = Leave(self.key, self.key.with(|slot| slot.replace(value, name)));
        f()
    }

    /// Runs `f` with what is published on this thread, if anything is.
    #[inline]
    pub(crate) fn with<R>(self, f: impl FnOnce(Option<&T>) -> R) -> R {
        let value = self.key.with(|slot| slot.value.get());
        // SAFETY: a non-null pointer was made from a reference by `enter`, which is still on this
        // thread's stack below us (its guard puts the former value back before the borrow ends,
        // also on unwind), so the reference is alive; the shared reference given to `f` cannot
        // outlive this call.
        f(unsafe { value.as_ref() })
    }

    /// Runs `f` with what is published on this thread, if it has this name. One comparison finds
    /// out both.
    #[inline]
    pub(crate) fn with_named<R>(self, name: NonZeroU32, f: impl FnOnce(Option<&T>) -> R) -> R {
        let found = self.key.with(|slot| slot.name.get());
        if found != Some(name) {
            return f(None);
        }
        let value = self.key.with(|slot| slot.value.get());
        // SAFETY: `replace` alone sets the two cells, both at once, and gives a name to a value of
        // `enter` only: so the pointer was made from a reference, which is alive for the reason
        // that `with` gives. (`assert_unchecked` saves a test: `f` gets an `Option` of a reference,
        // whose `None` is the null pointer.)
        f(Some(unsafe {
            assert_unchecked(!value.is_null());
            &*value
        }))
    }
}

/// Declares a scoped thread-local: `scoped!(const CURRENT: Local);`
///
/// A constant, not a static, so that the compiler knows the thread's cell and a look-up is one
/// load. With a static it was a call through a pointer.
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
    use super::Published;
    use std::num::NonZeroU32;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Even numbers have no name.
    impl Published for u32 {
        fn name(&self) -> Option<NonZeroU32> {
            NonZeroU32::new(*self).filter(|_| self % 2 == 1)
        }
    }

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

    fn named(name: u32) -> Option<u32> {
        let name = NonZeroU32::new(name).unwrap();
        CURRENT.with_named(name, |value| value.copied())
    }

    #[test]
    fn with_named_finds_what_was_entered_last_or_nothing() {
        assert_eq!(named(1), None);
        CURRENT.enter(&1, || {
            assert_eq!(named(1), Some(1));
            assert_eq!(named(3), None);
            CURRENT.enter(&3, || assert_eq!((named(1), named(3)), (None, Some(3))));
            CURRENT.enter(&2, || {
                assert_eq!((named(1), named(2)), (None, None), "it has no name");
            });
            CURRENT.leave(|| assert_eq!(named(1), None));
            let panicked = catch_unwind(AssertUnwindSafe(|| CURRENT.enter(&3, || panic!("inner"))));
            assert!(panicked.is_err());
            assert_eq!(named(1), Some(1));
        });
        assert_eq!(named(1), None);
    }
}
