//! What a `Sleep` holds of the reactor: an [`Armed`] timer, plain data that names an entry of its runtime's wheel.
//!
//! As with registrations, the owner works on the wheel and everyone else sends messages. A key that the wheel does
//! not know any more has fired, for only its holder cancels it.

use super::clock;
use super::driver::{CURRENT, Driver, REMOTES};
use super::registration::NO_RUNTIME;
use super::remote::Message;
use crate::timer::TimerKey;
use crate::token::RuntimeId;
use std::task::{Context, Poll};
use std::time::Instant;

/// Names a timer that was armed on some runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    key: TimerKey,
    runtime: RuntimeId,
}

/// Polls a timer towards `deadline`, arming it with this thread's runtime the first time.
///
/// # Panics
///
/// When it must be armed and no runtime runs here, and when it waits on a runtime that is gone.
#[inline]
pub(crate) fn poll(armed: &mut Option<Armed>, deadline: Instant, cx: &Context<'_>) -> Poll<()> {
    CURRENT.with(|driver| match (driver, *armed) {
        (Some(driver), None) => {
            let Some(key) = driver.arm_timer(deadline, cx.waker()) else {
                return Poll::Ready(());
            };
            *armed = Some(Armed {
                key,
                runtime: driver.id(),
            });
            Poll::Pending
        }
        (Some(driver), Some(timer)) if driver.id() == timer.runtime => {
            driver.poll_timer(timer.key, cx.waker())
        }
        (_, Some(timer)) => timer.poll_elsewhere(deadline, cx),
        (None, None) => panic!("{NO_RUNTIME}"),
    })
}

impl Armed {
    #[cold]
    fn poll_elsewhere(self, deadline: Instant, cx: &Context<'_>) -> Poll<()> {
        if clock::now() >= deadline {
            return Poll::Ready(());
        }
        let message = Message::Timer {
            key: self.key,
            deadline,
            waker: cx.waker().clone(),
        };
        let sent = REMOTES
            .get(self.runtime)
            .is_some_and(|remote| remote.push(message).is_ok());
        assert!(
            sent,
            "the runtime that this timer was armed on is gone: it would never fire"
        );
        Poll::Pending
    }

    fn owner<R>(self, f: impl FnOnce(Option<&Driver>) -> R) -> R {
        CURRENT.with(|driver| f(driver.filter(|driver| driver.id() == self.runtime)))
    }

    /// Gives the timer another deadline; false if it must be armed again, for it has fired.
    #[inline]
    pub(crate) fn reset(self, deadline: Instant) -> bool {
        self.owner(|driver| match driver {
            Some(driver) => driver.reset_timer(self.key, deadline),
            None => {
                if let Some(remote) = REMOTES.get(self.runtime) {
                    // A runtime that is gone is found out by the next poll.
                    let _ = remote.push(Message::Reset {
                        key: self.key,
                        deadline,
                    });
                }
                true
            }
        })
    }

    /// Takes the timer off.
    #[inline]
    pub(crate) fn cancel(self) {
        self.owner(|driver| match driver {
            Some(driver) => driver.cancel_timer(self.key),
            None => {
                if let Some(remote) = REMOTES.get(self.runtime) {
                    let _ = remote.push(Message::Cancel { key: self.key });
                }
            }
        });
    }
}
