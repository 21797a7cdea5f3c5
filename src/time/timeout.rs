//! [`Timeout`]: a future that is given up at a deadline.

use super::sleep::{Sleep, sleep, sleep_until};
use crate::budget;
use pin_project_lite::pin_project;
use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Gives a future at most `duration` from when it first has to wait.
///
/// The future is polled first: one that is ready gives its output, however late it is, and costs neither a look at
/// the clock nor a timer. tokio counts from this call instead; to do so, use [`timeout_at`] with
/// [`now()`](super::now)` + duration`. A duration that the clock cannot hold is *never*.
///
/// # Errors
///
/// [`Elapsed`] when the time is up and the future is still pending. A future that keeps the thread busy between two
/// polls, or for ever within one, is not interrupted.
///
/// # Cancel safety
///
/// Dropping it drops the future, which is also what the caller does to the future by not awaiting it again after
/// [`Elapsed`]; whether that loses anything is the future's own matter.
///
/// # Panics
///
/// As [`Sleep`] does, and only when the future has to wait.
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, timeout};
///
/// reveille::block_on(async {
///     assert_eq!(timeout(Duration::from_millis(1), async { 7 }).await, Ok(7));
///     let never = std::future::pending::<()>();
///     assert!(timeout(Duration::from_millis(1), never).await.is_err());
/// });
/// ```
#[inline]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: future.into_future(),
        limit: Limit::After(duration),
    }
}

/// Gives a future time until `deadline`.
///
/// The future is polled first, also when the deadline has passed already.
///
/// # Errors
///
/// [`Elapsed`] when the deadline has come and the future is still pending.
///
/// # Cancel safety
///
/// As [`timeout`].
///
/// # Panics
///
/// As [`Sleep`] does, and only when the future has to wait.
///
/// # Examples
///
/// ```
/// use reveille::time::{now, timeout_at};
///
/// reveille::block_on(async {
///     let never = std::future::pending::<()>();
///     assert!(timeout_at(now(), never).await.is_err());
/// });
/// ```
#[inline]
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: future.into_future(),
        limit: Limit::At(sleep_until(deadline)),
    }
}

/// When the future is given up.
#[derive(Debug)]
enum Limit {
    /// So long after it first has to wait.
    After(Duration),
    At(Sleep),
}

impl Limit {
    /// The sleep, begun now if it has not been.
    #[inline]
    fn sleep(&mut self) -> &mut Sleep {
        if let Limit::After(duration) = *self {
            *self = Limit::At(sleep(duration));
        }
        match self {
            Limit::At(sleep) => sleep,
            Limit::After(_) => unreachable!("was replaced above"),
        }
    }
}

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        limit: Limit,
    }
}

impl<F> Timeout<F> {
    /// Returns a reference to the future.
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// Returns a mutable reference to the future.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }

    /// Returns the future, without a limit.
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let had_budget = !budget::is_spent();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => poll_limit(this.limit, had_budget, cx),
        }
    }
}

/// Whether the time is up, for a future that is pending.
///
/// A future that used the budget up itself, again and again, must not hide the deadline; one that found it used up
/// already comes again with a fresh one.
fn poll_limit<T>(
    limit: &mut Limit,
    had_budget: bool,
    cx: &Context<'_>,
) -> Poll<Result<T, Elapsed>> {
    let sleep = limit.sleep();
    if !had_budget && budget::check(cx).is_pending() {
        return Poll::Pending;
    }
    sleep.poll_timer(cx).map(|()| {
        budget::spend();
        Err(Elapsed(()))
    })
}

/// The error of a [`timeout`]: the time is up and the future was still pending.
///
/// It converts into an [`io::Error`] of kind [`TimedOut`](io::ErrorKind::TimedOut).
///
/// # Examples
///
/// ```
/// use reveille::time::{Duration, timeout};
/// use std::io;
///
/// fn run() -> io::Result<()> {
///     reveille::block_on(async {
///         timeout(Duration::from_millis(1), std::future::pending::<()>()).await?;
///         Ok(())
///     })
/// }
/// assert_eq!(run().unwrap_err().kind(), io::ErrorKind::TimedOut);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
