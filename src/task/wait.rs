//! Waits for a future by parking the thread: [`JoinHandle::wait`].

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::error::JoinError;
use super::join::JoinHandle;
use super::remote::REMOTES;
use crate::budget;

/// The text of a panic of a call that would wait in a child for a thread of its parent.
pub(crate) const IN_CHILD: &str = "the runtime belongs to the parent of this process, whose threads do not exist here: make a new runtime after the fork";

impl<T> JoinHandle<T> {
    /// Blocks the thread until the task has ended, and returns its output.
    ///
    /// It is meant for threads that run no loop. A task `.await`s the handle instead, so that the
    /// other tasks of its thread continue to run.
    ///
    /// # Errors
    ///
    /// As awaiting the handle: if the task was aborted, has panicked, or was dropped with its
    /// runtime.
    ///
    /// # Panics
    ///
    /// If this thread owns the runtime of the task, because the task could never end while the
    /// thread waits. The closure of a [`spawn_blocking`](crate::spawn_blocking) runs on another
    /// thread, so any thread may wait for it. But a closure that itself waits for a task of the
    /// runtime, while the thread of the loop waits for the closure, never ends.
    ///
    /// In the child of a fork, if the task is one of the parent's.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let handle = runtime.handle();
    /// let thread = std::thread::spawn(move || {
    ///     let task = handle.spawn(async { 6 * 7 });
    ///     let answer = task.wait();
    ///     handle.stop();
    ///     answer
    /// });
    /// runtime.run()?;
    /// assert_eq!(thread.join().unwrap()?, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn wait(self) -> Result<T, JoinError> {
        let is_job = self.known_reply().is_some_and(|reply| reply.is_job());
        if let Some(remote) = REMOTES.get(self.runtime()) {
            assert!(!remote.is_of_parent(), "{IN_CHILD}");
            assert!(
                is_job || !remote.is_owner(),
                "`JoinHandle::wait` was called on the thread that runs the task: it would wait forever; `.await` the \
                 handle, or pass it to `Runtime::block_on`"
            );
        }
        if let Some(reply) = self.known_reply() {
            assert!(!reply.is_of_parent(), "{IN_CHILD}");
        }
        block_thread_on(self)
    }
}

/// Polls a future on this thread until it is ready. The thread is parked in between.
pub(crate) fn block_thread_on<F: Future>(future: F) -> F::Output {
    struct Unpark {
        thread: Thread,
        /// Set by a wake. The thread's own token does not suffice, because the future may use it.
        woken: AtomicBool,
    }
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.wake_by_ref();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            if !self.woken.swap(true, Ordering::SeqCst) {
                self.thread.unpark();
            }
        }
    }
    // The caller may be a part of a poll, whose budget must not end this wait.
    let _unbound = budget::unbound();
    let unpark = Arc::new(Unpark {
        thread: thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(unpark.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !unpark.woken.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
}
