//! The one place that swaps std and parking_lot for loom. What crosses threads imports its locks and atomics from here.
//!
//! Loom's types exist only while one of its models runs, and they cannot be made in a `const`: a process-wide static
//! uses [`StaticLock`], which is parking_lot's lock in both worlds and stays out of the models.

#![forbid(unsafe_code)]

pub(crate) use parking_lot::RwLock as StaticLock;

#[cfg(not(all(test, loom)))]
mod imp {
    #[allow(unused_imports, reason = "the same list for both worlds")]
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::Arc;
    #[allow(unused_imports, reason = "the same list for both worlds")]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
}

#[cfg(all(test, loom))]
mod imp {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

    /// Loom's mutex with parking_lot's face: a poisoned lock cannot happen in a model that does not panic.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no model panics with the lock held")
        }
    }
}

#[allow(
    unused_imports,
    reason = "the same list for both worlds; loom models use part of it"
)]
pub(crate) use imp::*;
