//! [`ForkLock`] is a lock that the child of a fork(2) can take although a thread of its parent held
//! it.
//!
//! A child has only the thread that forked. A lock that another thread held at that moment is never
//! released in the child, and the holder may have changed one half of the value and not the other.
//! parking_lot's locks, in addition, keep their waiting threads in a process-wide table with locks
//! of its own, which the child may inherit locked.
//!
//! So the word of this lock names the process of its holder ([`fork::process`]), and waiting
//! threads are not recorded:
//!
//! | word | meaning | `lock` |
//! |---|---|---|
//! | 0 | free | takes it |
//! | this process | held by another thread | waits |
//! | another process | abandoned at a fork | takes it, forgets the value and puts `T::default()` in its place |
//!
//! In a child whose fork has not been counted, the holder seems to be another thread. A wait that
//! takes long counts the fork ([`fork::count_unnoticed`]), and then the holder is known to be gone.
//!
//! The lock is meant for a few instructions that run no foreign code and make no system call. The
//! one exception is `Remote::while_fds_are_open`, for which other threads seldom wait.
//! Nothing is done when the process forks, so a fork is safe anywhere, and in a signal handler too.

use super::fork;
#[cfg(all(test, loom))]
use loom::{
    sync::atomic::{AtomicU32, Ordering},
    thread::yield_now,
};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
#[cfg(not(all(test, loom)))]
use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread::yield_now,
};

/// The word of a lock that no thread holds.
const FREE: u32 = 0;

/// A lock around a value. In the child of a fork the value may be `T::default()`.
pub(crate) struct ForkLock<T: Default> {
    holder: AtomicU32,
    /// Touched only by the holder.
    value: UnsafeCell<ManuallyDrop<T>>,
}

// SAFETY: only one thread at a time reaches the value, the one that has written its process's
// number into `holder`.
unsafe impl<T: Default + Send> Sync for ForkLock<T> {}

impl<T: Default> ForkLock<T> {
    pub(crate) fn new(value: T) -> ForkLock<T> {
        ForkLock {
            holder: AtomicU32::new(FREE),
            value: UnsafeCell::new(ManuallyDrop::new(value)),
        }
    }

    /// Waits until no other thread of this process holds the lock, and takes it. Never waits for a
    /// thread of a parent process.
    #[inline]
    pub(crate) fn lock(&self) -> ForkLockGuard<'_, T> {
        if !self.replace(FREE, fork::process()) {
            self.lock_slowly();
        }
        ForkLockGuard {
            lock: self,
            _borrows: PhantomData,
        }
    }

    #[inline]
    fn replace(&self, from: u32, to: u32) -> bool {
        self.holder
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn lock_slowly(&self) {
        let mut waits = 0;
        // The number is read again each time, because a signal handler may fork during the wait and
        // let the child go on here.
        while !self.replace(FREE, fork::process()) {
            let (own, holder) = (fork::process(), self.holder.load(Ordering::Relaxed));
            if holder != FREE && holder != own && self.replace(holder, own) {
                // SAFETY: `replace` has made this thread the holder. The value may be half changed,
                // so it is overwritten, not dropped.
                unsafe { self.value.get().write(ManuallyDrop::new(T::default())) };
                return;
            }
            wait(&mut waits);
        }
    }
}

/// Gives the holder time: spins at first, then yields, then sleeps, because the holder may be a
/// thread of a lower priority.
fn wait(waits: &mut u32) {
    *waits += 1;
    #[cfg(not(all(test, loom)))]
    match *waits {
        ..=20 => return std::hint::spin_loop(),
        // After few yields, because on a busy machine each may take a hundredth of a second.
        100.. => {
            // The holder may not exist in this process.
            fork::count_unnoticed();
            return std::thread::sleep(std::time::Duration::from_micros(100));
        }
        _ => {}
    }
    yield_now();
}

impl<T: Default> Drop for ForkLock<T> {
    fn drop(&mut self) {
        // No guard is left, so a lock that is held was abandoned at a fork, and the value may be
        // half changed.
        if self.holder.load(Ordering::Relaxed) == FREE {
            // SAFETY: the lock is being dropped, so this is the last use of the value, and
            // `ManuallyDrop` does not drop it again.
            unsafe { ManuallyDrop::drop(self.value.get_mut()) };
        }
    }
}

impl<T: Default> fmt::Debug for ForkLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForkLock")
    }
}

/// The right to use the value of a [`ForkLock`], until it is dropped.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct ForkLockGuard<'a, T: Default> {
    lock: &'a ForkLock<T>,
    /// It may be shared with other threads, or sent there, where a `&mut T` may.
    _borrows: PhantomData<&'a mut T>,
}

impl<T: Default> Deref for ForkLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: while the guard lives, `holder` names this process, so `lock` makes no other
        // guard, and only guards touch the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: Default> DerefMut for ForkLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: Default> Drop for ForkLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.holder.store(FREE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(loom))]
    mod real {
        use super::*;
        use crate::sys::fork::in_child;
        use std::sync::Barrier;
        use std::thread;

        #[test]
        fn lock_excludes_other_threads() {
            let lock = ForkLock::new(0);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..10_000 {
                            let mut value = lock.lock();
                            let seen = *value;
                            std::hint::black_box(&mut value);
                            *value = seen + 1;
                        }
                    });
                }
            });
            assert_eq!(*lock.lock(), 40_000);
        }

        #[test]
        fn lock_waits_for_a_holder_that_sleeps() {
            let (lock, held) = (ForkLock::new(1), Barrier::new(2));
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut value = lock.lock();
                    held.wait();
                    thread::sleep(std::time::Duration::from_millis(20));
                    *value = 2;
                });
                held.wait();
                assert_eq!(*lock.lock(), 2);
            });
        }

        /// The child puts a default value in the place of one that a thread of its parent was
        /// changing, once; the parent keeps its own value.
        #[test]
        fn lock_in_a_child_does_not_wait_for_a_thread_of_the_parent() {
            fork::watch();
            let lock = ForkLock::new(String::from("parent"));
            let (held, forked) = (Barrier::new(2), Barrier::new(2));
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut value = lock.lock();
                    held.wait();
                    forked.wait();
                    value.push_str("'s");
                });
                held.wait();
                let result = in_child(|| {
                    let found = std::mem::replace(&mut *lock.lock(), "child".into());
                    match (found.as_str(), lock.lock().as_str()) {
                        ("", "child") => Ok(()),
                        other => Err(format!("{other:?}")),
                    }
                });
                forked.wait();
                assert_eq!(result.unwrap(), Ok(()));
            });
            assert_eq!(*lock.lock(), "parent's");
        }

        /// As in a child of clone(2), or in a handler of pthread_atfork that comes before ours.
        #[cfg(all(
            target_os = "linux",
            any(target_arch = "x86_64", target_arch = "aarch64")
        ))]
        #[test]
        fn lock_in_a_child_that_was_not_counted_does_not_wait() {
            fork::watch();
            let result = in_child(|| {
                let lock = ForkLock::new(String::from("child"));
                // As if another thread held it.
                lock.holder.store(fork::process(), Ordering::Relaxed);
                // SAFETY: without flags the call is a fork. The grandchild uses no lock of the C
                // library, and ends here.
                let grandchild =
                    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
                if grandchild == 0 {
                    // SAFETY: the call takes no pointer. Ends the process if it waits for ever.
                    unsafe { libc::alarm(60) };
                    let found = lock.lock().len();
                    // SAFETY: the call takes no pointer.
                    unsafe { libc::_exit(found as libc::c_int) };
                }
                let mut status = -1;
                // SAFETY: the status outlives the call.
                unsafe { libc::waitpid(grandchild as libc::pid_t, &mut status, 0) };
                match status {
                    0 => Ok(()),
                    status => Err(format!("{status:#x}")),
                }
            });
            assert_eq!(result.unwrap(), Ok(()));
        }

        /// A signal handler forks while its thread waits, and the child goes on with the wait.
        #[test]
        fn lock_in_a_child_that_was_made_during_the_wait_does_not_wait() {
            use std::sync::atomic::AtomicPtr;
            static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
            extern "C" fn on_alarm(_: libc::c_int) {
                // SAFETY: the lock lives until the process ends. The calls take no pointer but that
                // to the status, and are allowed in a handler.
                unsafe {
                    let grandchild = libc::fork();
                    if grandchild == 0 {
                        // Ends it if it waits forever.
                        libc::signal(libc::SIGALRM, libc::SIG_DFL);
                        libc::alarm(60);
                        return;
                    }
                    let mut status = -1;
                    libc::waitpid(grandchild, &mut status, 0);
                    if status != 0 {
                        libc::_exit(1);
                    }
                    (*WORD.load(Ordering::Relaxed)).store(FREE, Ordering::Release);
                }
            }
            fork::watch();
            let result = in_child(|| {
                let lock = ForkLock::new(String::from("child"));
                // As if another thread held it.
                lock.holder.store(fork::process(), Ordering::Relaxed);
                let child = fork::process();
                WORD.store(
                    std::ptr::from_ref(&lock.holder).cast_mut(),
                    Ordering::Relaxed,
                );
                // SAFETY: the handler is allowed to run here.
                unsafe {
                    libc::signal(libc::SIGALRM, on_alarm as *const () as libc::sighandler_t);
                    libc::alarm(1);
                }
                let found = std::mem::take(&mut *lock.lock());
                if fork::process() != child {
                    // SAFETY: the call takes no pointer.
                    unsafe { libc::_exit(i32::from(!found.is_empty())) };
                }
                match found.as_str() {
                    "child" => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            assert_eq!(result.unwrap(), Ok(()));
        }

        #[test]
        fn drop_in_a_child_leaves_a_value_that_was_being_changed_alone() {
            #[derive(Default)]
            struct Bomb(bool);
            impl Drop for Bomb {
                fn drop(&mut self) {
                    assert!(!self.0, "dropped in the child");
                }
            }
            fork::watch();
            let mut lock = ForkLock::new(Bomb(true));
            lock.lock().0 = true;
            let result = in_child(|| {
                // What a holder in the parent leaves behind.
                lock.holder = AtomicU32::new(fork::process() - 1);
                drop(std::mem::replace(&mut lock, ForkLock::new(Bomb(false))));
                Ok(())
            });
            lock.lock().0 = false;
            assert_eq!(result.unwrap(), Ok(()));
        }
    }

    #[cfg(loom)]
    mod models {
        use super::*;
        use loom::cell::Cell;
        use loom::sync::Arc;
        use loom::thread;

        /// A value whose concurrent use loom reports, and whose default differs from what the test
        /// puts in.
        struct Value(Cell<u32>);
        impl Default for Value {
            fn default() -> Value {
                Value(Cell::new(100))
            }
        }

        /// Two threads add one each, through a lock whose word is `holder` at first. Returns the
        /// sum.
        fn add_twice(holder: u32) -> u32 {
            let lock = Arc::new(ForkLock::new(Value(Cell::new(0))));
            lock.holder.store(holder, Ordering::Release);
            let add = |lock: &ForkLock<Value>| {
                let value = lock.lock();
                value.0.set(value.0.get() + 1);
            };
            let other = {
                let lock = lock.clone();
                thread::spawn(move || add(&lock))
            };
            add(&lock);
            other.join().unwrap();
            let sum = lock.lock().0.get();
            sum
        }

        #[test]
        fn loom_fork_lock_excludes_other_threads() {
            loom::model(|| assert_eq!(add_twice(FREE), 2));
        }

        #[test]
        fn loom_fork_lock_that_was_abandoned_is_taken_over_once() {
            loom::model(|| assert_eq!(add_twice(fork::process() + 1), 102));
        }
    }
}
