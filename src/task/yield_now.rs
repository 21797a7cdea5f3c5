//! [`yield_now`]: lets the others run first.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Goes to the end of the run queue once.
///
/// # Cancel safety
///
/// Dropping the future is fine; the task has been queued and is polled once more.
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
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
