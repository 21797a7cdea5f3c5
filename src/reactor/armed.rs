//! What a `Sleep` holds of the reactor: a [`Timer`], plain data that names an entry of a runtime's wheel once it has
//! been armed there.
//!
//! As with registrations, the owner works on the wheel and everyone else sends messages. A key that the wheel does
//! not know any more has fired, for only its holder cancels it; that the deadline has come is still looked at, since
//! it may have been moved by a message that came too late.
//!
//! ```text
//!           poll by the owner            expiry, then poll
//! unarmed ---------------------> armed ---------------------> done
//!    ^                             |  ^                          |
//!    |                             +--+ reset                    |
//!    +----------------- reset, when the wheel forgot it ---------+
//! ```

use super::clock::Moment;
use super::driver::{CURRENT, Driver, REMOTES};
use super::registration::NO_RUNTIME;
use super::remote::Message;
use crate::timer::TimerKey;
use crate::token::RuntimeId;
use std::task::{Context, Poll, Waker};

/// A timer that may be armed on some runtime. Dropping it takes it off there.
#[derive(Debug)]
pub(crate) struct Timer {
    armed: Option<Armed>,
    /// The deadline is known to have passed.
    done: bool,
    /// A message about the timer may be under way: the owner looks at its queue before it touches the timer, or that
    /// message would undo what is done now.
    sent: bool,
}

/// Names an entry of a wheel, there or fired.
#[derive(Clone, Copy, Debug)]
struct Armed {
    key: TimerKey,
    runtime: RuntimeId,
}

impl Timer {
    /// A timer that is armed by its first poll.
    #[inline]
    pub(crate) const fn new() -> Timer {
        Timer::known(false)
    }

    /// As `new`; `done` says that the deadline is known to have passed, so that no poll needs the wheel.
    #[inline]
    pub(crate) const fn known(done: bool) -> Timer {
        Timer {
            armed: None,
            done,
            sent: false,
        }
    }

    /// Polls towards `deadline`, arming the timer with this thread's runtime the first time.
    ///
    /// # Panics
    ///
    /// When it must be armed and no runtime runs here, and when it waits on a runtime that is gone.
    #[inline]
    pub(crate) fn poll(&mut self, deadline: Moment, cx: &Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        self.poll_wheel(deadline, cx.waker())
    }

    /// One call for all of it, so that what is inlined into a future is short.
    #[inline(never)]
    fn poll_wheel(&mut self, deadline: Moment, waker: &Waker) -> Poll<()> {
        CURRENT.with(|driver| match self.armed {
            None => match driver {
                Some(driver) => self.arm(driver, deadline, waker),
                None => panic!("{NO_RUNTIME}"),
            },
            Some(armed) => self.poll_armed(driver, armed, deadline, waker),
        })
    }

    #[inline]
    fn arm(&mut self, driver: &Driver, deadline: Moment, waker: &Waker) -> Poll<()> {
        match driver.arm_timer(deadline, waker) {
            Some(key) => {
                let runtime = driver.id();
                self.armed = Some(Armed { key, runtime });
                Poll::Pending
            }
            None => {
                self.armed = None;
                self.done = true;
                Poll::Ready(())
            }
        }
    }

    // Apart, for the first poll is the one that every timer has.
    #[inline(never)]
    fn poll_armed(
        &mut self,
        driver: Option<&Driver>,
        armed: Armed,
        deadline: Moment,
        waker: &Waker,
    ) -> Poll<()> {
        let polled = match driver {
            Some(driver) if driver.id() == armed.runtime => {
                self.poll_here(driver, armed, deadline, waker)
            }
            _ => self.poll_elsewhere(armed, deadline, waker),
        };
        self.done = polled.is_ready();
        polled
    }

    #[inline]
    fn poll_here(
        &mut self,
        driver: &Driver,
        armed: Armed,
        deadline: Moment,
        waker: &Waker,
    ) -> Poll<()> {
        self.catch_up(driver);
        match driver.poll_timer(armed.key, waker) {
            Poll::Pending => Poll::Pending,
            // It has fired. That is the end of it, unless a foreign reset to later came after the expiry: then it is
            // armed again.
            Poll::Ready(()) => self.arm(driver, deadline, waker),
        }
    }

    #[cold]
    fn poll_elsewhere(&mut self, armed: Armed, deadline: Moment, waker: &Waker) -> Poll<()> {
        if Moment::now() >= deadline {
            return Poll::Ready(());
        }
        self.sent = true;
        let message = Message::Timer {
            key: armed.key,
            deadline,
            waker: waker.clone(),
        };
        let sent = REMOTES
            .get(armed.runtime)
            .is_some_and(|remote| remote.push(message).is_ok());
        assert!(
            sent,
            "the runtime that this timer was armed on is gone: it would never fire"
        );
        Poll::Pending
    }

    /// On the owner's thread: lets what was sent before take effect before anything else is done.
    #[inline]
    fn catch_up(&mut self, driver: &Driver) {
        if self.sent {
            self.sent = false;
            driver.handle_messages();
        }
    }

    /// Gives the timer another deadline; `done` says that it is known to have passed.
    ///
    /// A timer that is armed stays armed and keeps its waker; one that has fired is armed by the next poll.
    #[inline]
    pub(crate) fn reset(&mut self, deadline: Moment, done: bool) {
        self.done = done;
        let Some(armed) = self.armed else { return };
        CURRENT.with_named(armed.runtime.number(), |driver| match driver {
            Some(driver) => {
                self.catch_up(driver);
                if !driver.reset_timer(armed.key, deadline) {
                    self.armed = None;
                }
            }
            None => self.reset_elsewhere(armed, deadline),
        });
    }

    #[cold]
    fn reset_elsewhere(&mut self, armed: Armed, deadline: Moment) {
        if let Some(remote) = REMOTES.get(armed.runtime) {
            self.sent = true;
            // A runtime that is gone is found out by the next poll.
            let _ = remote.push(Message::Reset {
                key: armed.key,
                deadline,
            });
        }
    }
}

impl Drop for Timer {
    #[inline]
    fn drop(&mut self) {
        if let Some(Armed { key, runtime }) = self.armed {
            disarm(key, runtime, self.sent);
        }
    }
}

/// Takes a timer off. `sent`: messages about it may be under way.
#[inline(never)]
fn disarm(key: TimerKey, runtime: RuntimeId, sent: bool) {
    CURRENT.with_named(runtime.number(), |driver| match driver {
        Some(driver) if !sent => driver.cancel_timer(key),
        // Also here when messages are under way: behind them, or they would arm what is not there any more.
        _ => cancel_elsewhere(key, runtime),
    });
}

#[cold]
fn cancel_elsewhere(key: TimerKey, runtime: RuntimeId) {
    if let Some(remote) = REMOTES.get(runtime) {
        let _ = remote.push(Message::Cancel { key });
    }
}
