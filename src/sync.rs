//! The one place that swaps our locks and std's atomics for loom's. What crosses threads imports
//! them from here.
//!
//! | lock | for what |
//! |---|---|
//! | [`ForkLock`] | values that are locked for a few instructions, and that the child of a fork may find locked |
//! | [`Mutex`] | parking_lot's, for values that are locked across a system call and that no child of a fork touches |
//!
//! A thread that waits for a change of what a `Mutex` guards waits in a [`Condvar`].
//!
//! Loom's types exist only while one of its models runs, and they cannot be made in a `const`.

#![forbid(unsafe_code)]

#[cfg(not(all(test, loom)))]
mod imp {
    #[allow(unused_imports, reason = "the same list for both worlds")]
    pub(crate) use crate::sys::fork_lock::ForkLock;
    #[allow(unused_imports, reason = "the same list for both worlds")]
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::Arc;
    #[allow(unused_imports, reason = "the same list for both worlds")]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

    /// parking_lot's, with the interface that loom's can have as well.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        /// Releases the guard's lock until a notification or the end of `limit`, or spuriously.
        /// Returns whether the limit ended the wait.
        pub(crate) fn wait<'a, T>(
            &self,
            _of: &'a Mutex<T>,
            mut guard: MutexGuard<'a, T>,
            limit: std::time::Duration,
        ) -> (MutexGuard<'a, T>, bool) {
            let timed_out = self.0.wait_for(&mut guard, limit).timed_out();
            (guard, timed_out)
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
    }
}

#[cfg(all(test, loom))]
mod imp {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

    /// The lock of all values in loom's world.
    pub(crate) use Mutex as ForkLock;

    /// Loom's mutex with parking_lot's face: a poisoned lock cannot happen in a model that does not
    /// panic.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no model panics with the lock held")
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0
                .get_mut()
                .expect("no model panics with the lock held")
        }

        pub(crate) fn into_inner(self) -> T {
            let value = self.0.into_inner();
            value.expect("no model panics with the lock held")
        }
    }

    /// Loom's condition variable with the interface of ours. A limit of zero ends the wait after
    /// other threads may have had the lock; no other limit ends it.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn wait<'a, T>(
            &self,
            of: &'a Mutex<T>,
            guard: MutexGuard<'a, T>,
            limit: std::time::Duration,
        ) -> (MutexGuard<'a, T>, bool) {
            if limit.is_zero() {
                drop(guard);
                loom::thread::yield_now();
                return (of.lock(), true);
            }
            let guard = self.0.wait(guard);
            (guard.expect("no model panics with the lock held"), false)
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
    }
}

#[allow(
    unused_imports,
    reason = "the same list for both worlds; loom models use part of it"
)]
pub(crate) use imp::*;
