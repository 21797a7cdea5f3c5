//! [`OnceBox`] is a value that is made when it is first needed and then stays.
//!
//! Unlike `std::sync::OnceLock`, it never makes a thread wait for another one that makes the value:
//! both make one, and the first to finish wins. So a child of fork(2) never waits for a thread that
//! does not exist there.

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value of a `static`, made by its first user. It is never dropped.
pub(crate) struct OnceBox<T> {
    /// Null until the value is made. It was allocated as a `Box`.
    value: AtomicPtr<T>,
    _owns: PhantomData<T>,
}

impl<T> OnceBox<T> {
    pub(crate) const fn new() -> OnceBox<T> {
        OnceBox {
            value: AtomicPtr::new(ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// Returns the value, if it has been made.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: what is not null points to a value that is never dropped nor borrowed
        // exclusively. The store released what `make` had written.
        unsafe { self.value.load(Ordering::Acquire).as_ref() }
    }

    /// Returns the value; makes it first if there is none. `make` may run on several threads; all
    /// get the same value.
    #[inline]
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.make(make),
        }
    }

    #[cold]
    fn make(&self, make: impl FnOnce() -> T) -> &T {
        let made = Box::into_raw(Box::new(make()));
        let (null, order) = (ptr::null_mut(), Ordering::AcqRel);
        match self
            .value
            .compare_exchange(null, made, order, Ordering::Acquire)
        {
            // SAFETY: as in `get`.
            Ok(_) => unsafe { &*made },
            Err(first) => {
                // SAFETY: it was made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(made) });
                // SAFETY: as in `get`; it is not null.
                unsafe { &*first }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn get_or_make_gives_every_thread_the_same_value() {
        static VALUE: OnceBox<usize> = OnceBox::new();
        assert_eq!(VALUE.get(), None);
        // Both threads are making a value before one of them has made it.
        let making = &Barrier::new(2);
        let made = thread::scope(|scope| {
            let threads = [1, 2].map(|value| {
                scope.spawn(move || {
                    ptr::from_ref(VALUE.get_or_make(|| {
                        making.wait();
                        value
                    }))
                    .addr()
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(made[0], made[1]);
        assert_eq!(VALUE.get_or_make(|| unreachable!()), VALUE.get().unwrap());
    }
}
