//! [`Timer`] names a timer in a runtime's wheel; a `Sleep` holds one. It is plain data.
//!
//! A timer belongs to the runtime that first polls it, and stays there when it fires and is reset.
//! As with registrations, the owner works on the wheel, and every remote thread sends messages. A
//! key that the wheel does not know has fired, because only its handle cancels it. The deadline is
//! checked all the same, because a message may have moved it too late.
//!
//! ```text
//!           poll by the owner            expiry, then poll
//! unarmed ---------------------> armed ---------------------> done
//!    ^   \                       ^ |  ^                          |
//!    |    \______________________/ +--+ reset                    |
//!    |      poll off the owner's thread (ReplacedTimers)         |
//!    +----------------- reset, when the wheel forgot it ---------+
//! ```

use super::clock::{Moment, is_monotonic};
use super::driver::{CURRENT, Driver};
use super::registration::NO_RUNTIME;
use super::remote::{self, Message};
use crate::place::Place;
use crate::timer::TimerKey;
use crate::token::RuntimeId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

/// A timer that may be armed on a runtime. Dropping it cancels it there.
#[derive(Debug)]
pub(crate) struct Timer {
    /// The runtime that polled the timer first, and the timer's key there.
    home: Option<Home>,
    entry: Entry,
    /// Whether the deadline is known to be ahead or to have passed.
    known: Deadline,
    /// Where in the source the timer was created.
    place: Place,
}

/// The key of an entry of the wheel, which may have fired. Messages from other threads use this
/// key.
#[derive(Clone, Copy, Debug)]
struct Home {
    key: TimerKey,
    runtime: RuntimeId,
}

/// Whether the runtime of a timer has an entry for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entry {
    None,
    /// There may be an entry under the timer's key.
    Armed,
    /// There may be an entry, and a message about it may be on its way. Then the owner handles its
    /// messages before it touches the timer, or the message would undo the new state.
    Sent,
}

/// Whether a deadline is known to be ahead or to have passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deadline {
    /// It had not passed when the clock was read for it. From then on the wheel decides.
    Ahead,
    /// A caller chose it, and it may be in the past: the next poll checks.
    Given,
    /// It has passed, according to a reading of the clock.
    Passed,
}

impl Timer {
    /// Makes a timer that is armed by its first poll, unless its deadline is known to have passed:
    /// then it needs no entry in the wheel. `place` is where it was created.
    #[inline]
    pub(crate) fn new(known: Deadline, place: Place) -> Timer {
        Timer {
            home: None,
            entry: Entry::None,
            known: before_first_poll(known, place),
            place,
        }
    }

    /// Polls the timer, and arms it with this thread's runtime the first time.
    ///
    /// # Panics
    ///
    /// If it must be armed and no runtime runs here, or if it waits on a runtime that is gone.
    #[inline]
    pub(crate) fn poll(&mut self, deadline: Moment, cx: &Context<'_>) -> Poll<()> {
        self.poll_wheel(deadline, cx.waker())
    }

    /// One call, so that little code is inlined into a future.
    fn poll_wheel(&mut self, deadline: Moment, waker: &Waker) -> Poll<()> {
        CURRENT.with(|driver| match self.home {
            None => match driver {
                _ if self.known != Deadline::Ahead => self.poll_unsure(driver, deadline, waker),
                Some(driver) => self.arm(driver, deadline, waker),
                None => panic!("{NO_RUNTIME}"),
            },
            Some(home) => self.poll_again(driver, home, deadline, waker),
        })
    }

    /// Polls a timer for the first time whose deadline has passed or may have.
    #[cold]
    fn poll_unsure(
        &mut self,
        driver: Option<&Driver>,
        deadline: Moment,
        waker: &Waker,
    ) -> Poll<()> {
        match driver {
            Some(driver) if self.has_passed(driver, deadline) => self.pass(driver),
            Some(driver) => self.arm_noting(driver, deadline, waker),
            None if self.known == Deadline::Passed => Poll::Ready(()),
            None => panic!("{NO_RUNTIME}"),
        }
    }

    #[inline]
    fn arm(&mut self, driver: &Driver, deadline: Moment, waker: &Waker) -> Poll<()> {
        match driver.arm_timer(deadline, waker) {
            Some(key) => {
                let runtime = driver.id();
                self.home = Some(Home { key, runtime });
                self.entry = Entry::Armed;
                Poll::Pending
            }
            None => self.pass(driver),
        }
    }

    /// As `arm`, and notes where the timer was created.
    #[cold]
    fn arm_noting(&mut self, driver: &Driver, deadline: Moment, waker: &Waker) -> Poll<()> {
        let polled = self.arm(driver, deadline, waker);
        if let (Some(home), Poll::Pending) = (self.home, polled) {
            driver.note_place(home.key, self.place);
        }
        polled
    }

    /// Ties a timer without a runtime to the runtime that runs here, if any. Arms nothing.
    #[cold]
    pub(crate) fn claim(&mut self) {
        CURRENT.with(|driver| driver.map(|driver| self.tie_to(driver)));
    }

    /// Ties a timer without a runtime to the driver's.
    fn tie_to(&mut self, driver: &Driver) {
        self.home.get_or_insert_with(|| Home {
            key: remote_key(),
            runtime: driver.id(),
        });
    }

    /// Returns ready for a deadline that has passed, and notes that nothing is armed.
    #[cold]
    fn pass(&mut self, driver: &Driver) -> Poll<()> {
        self.tie_to(driver);
        (self.entry, self.known) = (Entry::None, Deadline::Passed);
        Poll::Ready(())
    }

    /// Whether the deadline is known to have passed. Reads the clock once, if needed, for a
    /// deadline that a caller chose.
    #[inline]
    fn has_passed(&mut self, driver: &Driver, deadline: Moment) -> bool {
        if self.known == Deadline::Given {
            self.known = Deadline::Ahead;
            return driver.has_passed(deadline);
        }
        self.known == Deadline::Passed
    }

    // A separate function, because every timer has a first poll and few have a second.
    fn poll_again(
        &mut self,
        driver: Option<&Driver>,
        home: Home,
        deadline: Moment,
        waker: &Waker,
    ) -> Poll<()> {
        if self.known == Deadline::Passed {
            return Poll::Ready(());
        }
        match driver {
            Some(driver) if driver.id() == home.runtime => {
                self.poll_here(driver, home.key, deadline, waker)
            }
            _ => self.poll_remote(home, deadline, waker),
        }
    }

    #[inline]
    fn poll_here(
        &mut self,
        driver: &Driver,
        key: TimerKey,
        deadline: Moment,
        waker: &Waker,
    ) -> Poll<()> {
        self.catch_up(driver);
        if self.has_passed(driver, deadline) {
            if self.entry != Entry::None {
                driver.cancel_timer(key);
            }
            return self.pass(driver);
        }
        if self.entry != Entry::None && driver.poll_timer(key, waker).is_pending() {
            return Poll::Pending;
        }
        // It has fired. If it was reset to later after that, it is armed again; otherwise it is
        // done.
        if self.place.is_known() {
            return self.arm_noting(driver, deadline, waker);
        }
        self.arm(driver, deadline, waker)
    }

    #[cold]
    fn poll_remote(&mut self, home: Home, deadline: Moment, waker: &Waker) -> Poll<()> {
        if remote::now(home.runtime) >= deadline {
            self.known = Deadline::Passed;
            return Poll::Ready(());
        }
        self.entry = Entry::Sent;
        remote::poll_timer(home.runtime, home.key, deadline, self.place, waker);
        Poll::Pending
    }

    /// Returns the present of the timer's runtime; before it has one, of the current runtime.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        match self.home {
            Some(home) if !is_monotonic() => remote::now(home.runtime),
            _ => Moment::now(),
        }
    }

    /// Handles messages that this handle has sent, before anything else is done on the owner's
    /// thread.
    #[inline]
    fn catch_up(&mut self, driver: &Driver) {
        if self.entry == Entry::Sent {
            self.entry = Entry::Armed;
            driver.handle_messages();
        }
    }

    /// Sets another deadline; `known` is whether it is ahead or has passed.
    ///
    /// A timer that is armed stays armed and keeps its waker; one that has fired is armed by the
    /// next poll.
    #[inline]
    pub(crate) fn reset(&mut self, deadline: Moment, known: Deadline) {
        self.known = known;
        let Some(home) = self.home.filter(|_| self.entry != Entry::None) else {
            if self.home.is_none() {
                self.known = before_first_poll(known, self.place);
            }
            return;
        };
        CURRENT.with_named(home.runtime.number(), |driver| match driver {
            Some(driver) => {
                self.catch_up(driver);
                if !driver.reset_timer(home.key, deadline) {
                    self.entry = Entry::None;
                }
            }
            None => self.reset_remote(home, deadline),
        });
    }

    #[cold]
    fn reset_remote(&mut self, Home { key, runtime }: Home, deadline: Moment) {
        self.entry = Entry::Sent;
        // If the runtime is gone, the next poll notices.
        drop(remote::send(runtime, Message::Reset { key, deadline }));
    }
}

/// Returns what is known of the deadline of a timer that was not polled yet: with a place, less, so
/// that its first poll notes the place and other polls need not check for one.
#[inline]
fn before_first_poll(known: Deadline, place: Place) -> Deadline {
    match known {
        Deadline::Ahead if place.is_known() => Deadline::Given,
        known => known,
    }
}

/// Returns a key for a timer that is armed from another thread and never had an entry.
#[cold]
fn remote_key() -> TimerKey {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    TimerKey::outside(NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Drop for Timer {
    #[inline]
    fn drop(&mut self) {
        if self.entry != Entry::None {
            if let Some(Home { key, runtime }) = self.home {
                disarm(key, runtime, self.entry);
            }
        }
    }
}

/// Cancels a timer.
fn disarm(key: TimerKey, runtime: RuntimeId, entry: Entry) {
    CURRENT.with_named(runtime.number(), |driver| match driver {
        Some(driver) if entry != Entry::Sent => driver.cancel_timer(key),
        // Messages may be on their way, even if this is the owner's thread. The cancellation must
        // come behind them, or they would arm a timer that no handle has.
        _ => cancel_remote(key, runtime),
    });
}

#[cold]
fn cancel_remote(key: TimerKey, runtime: RuntimeId) {
    drop(remote::send(runtime, Message::Cancel { key }));
}
