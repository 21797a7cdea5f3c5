//! [`yield_now`]: lets the other tasks run first.

use crate::budget;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Moves this task to the end of the run queue, so that the other runnable tasks run before it
/// continues.
///
/// The loop checks sockets, timers and other threads between batches of polls, not after each
/// yield: see [`Builder::event_interval`](crate::Builder::event_interval). To wait for one of
/// these, await it.
///
/// # Cancel safety
///
/// If the future is dropped, the task may be polled once more without need.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// reveille::block_on(async {
///     let done = Rc::new(Cell::new(false));
///     let flag = done.clone();
///     let _task = reveille::spawn(async move { flag.set(true) });
///     assert!(!done.get());
///     reveille::yield_now().await;
///     assert!(done.get());
/// });
/// ```
pub async fn yield_now() {
    YieldNow { yielded: false }.await;
}

struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        budget::wake_after_poll(cx.waker());
        Poll::Pending
    }
}
