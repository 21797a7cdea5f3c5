//! [`Timeout`]: a future with a time limit.

use super::sleep::{Sleep, sleep_until};
use crate::budget;
use crate::place::Place;
use pin_project_lite::pin_project;
use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Limits how long a future may wait. The time starts when the future first returns `Pending`.
///
/// The future is polled first. If it is ready, its output is returned however late it is, and no
/// clock is read and no timer is set. A duration that the clock cannot represent never ends.
///
/// tokio starts the time at this call. For that, use [`timeout_at`] with
/// [`now()`](super::now)` + duration`.
///
/// # Errors
///
/// Returns [`Elapsed`] if the time is up and the future is still pending. A poll that keeps the
/// thread busy is not interrupted.
///
/// # Panics
///
/// Panics in the same cases as a poll of [`Sleep`], and only if the future has to wait.
///
/// # Cancel safety
///
/// Dropping the `Timeout` drops the future, so it is cancel safe if the future is. The same holds
/// after [`Elapsed`].
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
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: future.into_future(),
        limit: Limit::After(After {
            seconds: duration.as_secs(),
            nanos: duration.subsec_nanos(),
            location: Location::caller(),
        }),
    }
}

/// Limits how long a future may wait: until a deadline.
///
/// The future is polled first, even if the deadline has passed.
///
/// # Errors
///
/// Returns [`Elapsed`] if the deadline has passed and the future is still pending.
///
/// # Panics
///
/// Panics in the same cases as a poll of [`Sleep`], and only if the future has to wait.
///
/// # Cancel safety
///
/// Same as [`timeout`].
///
/// # Examples
///
/// ```
/// use reveille::time::{Elapsed, now, timeout_at};
///
/// reveille::block_on(async {
///     let never = std::future::pending::<()>();
///     let late: Result<(), Elapsed> = timeout_at(now(), never).await;
///     assert!(late.is_err());
/// });
/// ```
#[inline]
#[track_caller]
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: future.into_future(),
        limit: Limit::At(sleep_until(deadline)),
    }
}

/// When the time is up.
#[derive(Debug)]
enum Limit {
    /// This long after the future first has to wait.
    After(After),
    At(Sleep),
}

/// A time limit that has not begun, and where in the source it was created. To note the location
/// costs 2 of 28 instructions of a timeout that is not needed; to find out whether any runtime asks
/// for it, 4.
///
/// Packed, and the duration in two parts, so that a `Limit` is not larger than a `Sleep`.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
struct After {
    seconds: u64,
    nanos: u32,
    location: &'static Location<'static>,
}

impl After {
    /// Starts the time.
    fn begin(self) -> Sleep {
        let duration = Duration::new(self.seconds, self.nanos);
        Sleep::after(duration, Place::at(self.location))
    }
}

impl Limit {
    /// Returns the sleep. Starts it if it was not started before.
    #[inline]
    fn sleep(&mut self) -> &mut Sleep {
        if let Limit::After(after) = *self {
            *self = Limit::At(after.begin());
        }
        match self {
            Limit::At(sleep) => sleep,
            Limit::After(_) => unreachable!("was replaced above"),
        }
    }
}

pin_project! {
    /// A future with a time limit. Returned by [`timeout`] and [`timeout_at`].
    ///
    /// # Examples
    ///
    /// The future can be reached, and taken back without the limit:
    ///
    /// ```
    /// use reveille::time::{Duration, timeout};
    /// use std::future::ready;
    ///
    /// let mut limited = timeout(Duration::from_secs(1), ready(7));
    /// assert!(format!("{:?}", limited.get_ref()).contains('7'));
    /// *limited.get_mut() = ready(8);
    /// assert_eq!(reveille::block_on(limited.into_inner()), 8);
    /// ```
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

/// Polls the limit of a future that is pending.
///
/// A future that uses the budget up in each poll must not hide the deadline, so the budget is
/// checked only if it was used up before the future was polled. In that case the task is polled
/// again with a new budget.
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

/// The error of [`timeout`] and [`timeout_at`]: the time is up and the future is still pending.
///
/// Converts into an [`io::Error`] of kind [`TimedOut`](io::ErrorKind::TimedOut).
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
        f.write_str("timed out: the deadline passed before the future was ready")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn limit_that_has_not_begun_takes_no_room_of_its_own() {
        assert_eq!(size_of::<Limit>(), size_of::<Sleep>());
    }
}
