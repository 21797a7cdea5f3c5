//! [`Source`]: what a runtime's clock reads.
//!
//! Without the feature `test-util` that is the monotonic clock, and a source is nothing.
//!
//! With the feature each runtime has a source of its own, which its program can pause and move.
//! Runtimes and other threads share it by reference. It is in one of two states:
//!
//! ```text
//!                       pause
//!  Runs { ahead } ----------------> Stands { at } --+
//!  the present is  <---------------  the present    | advance: a later `at`
//!  monotonic + ahead    resume       is `at`     <--+
//! ```
//!
//! Neither edge changes the present, so time continues without a step, and it never goes back.
//!
//! Code that knows its runtime reads that runtime's source. All other code, such as `sleep` and
//! `time::now`, reads the source of the runtime that the thread is inside of. A thread outside of a
//! runtime reads the monotonic clock. As long as no clock of the process has been paused, all of
//! them are the same clock, and a reading costs one more load and a branch.

#[cfg(not(feature = "test-util"))]
mod imp {
    use super::super::Moment;
    use std::time::Duration;

    /// The monotonic clock.
    #[derive(Clone, Debug)]
    pub(crate) struct Source;

    impl Source {
        pub(crate) fn new() -> Source {
            Source
        }

        #[inline]
        pub(crate) fn now(&self) -> Moment {
            Moment::monotonic()
        }

        #[inline]
        pub(crate) fn at(&self, monotonic: Moment) -> Moment {
            monotonic
        }

        #[inline]
        pub(crate) fn to_monotonic(&self, moment: Moment) -> Option<Moment> {
            Some(moment)
        }

        #[inline]
        pub(crate) fn wait_until(&self, next: Moment, now: Moment) -> Option<Duration> {
            Some(next.since(now))
        }
    }

    #[inline]
    pub(crate) fn is_monotonic() -> bool {
        true
    }

    #[inline]
    pub(crate) fn current_now() -> Moment {
        Moment::monotonic()
    }

    #[inline]
    pub(crate) fn enter<R>(_: &Source, f: impl FnOnce() -> R) -> R {
        f()
    }
}

#[cfg(feature = "test-util")]
mod imp {
    use super::super::Moment;
    use crate::sync::{Arc, ForkLock};
    use crate::sys::scoped::{Published, scoped};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// Whether a clock of this process was ever paused. Until then they are all the same.
    ///
    /// Relaxed is enough: if a thread reads a runtime's clock because of something that happened
    /// after the pause, a stronger operation has made the pause visible to it.
    static EVER_PAUSED: AtomicBool = AtomicBool::new(false);

    scoped! {
        /// The source of the runtime that this thread is inside of.
        const CURRENT: Source
    }

    impl Published for Source {}

    /// The clock of a runtime, which may be paused. Clones are the same clock.
    #[derive(Clone, Debug)]
    pub(crate) struct Source {
        state: Arc<ForkLock<State>>,
    }

    #[derive(Clone, Copy, Debug)]
    enum State {
        /// The clock is ahead of the monotonic clock by this many nanoseconds, or behind it if they
        /// are negative.
        Runs { ahead: i64 },
        /// The clock is paused.
        Stands { at: Moment },
    }

    impl Default for State {
        fn default() -> State {
            State::Runs { ahead: 0 }
        }
    }

    impl State {
        fn of(self, monotonic: Moment) -> Moment {
            match self {
                // A clock at its end stands there.
                State::Runs { ahead } => {
                    Moment(monotonic.0.saturating_add_signed(ahead)).min(Moment::LAST)
                }
                State::Stands { at } => at,
            }
        }
    }

    impl Source {
        /// Makes a clock that is the monotonic clock until it is paused.
        pub(crate) fn new() -> Source {
            Source {
                state: Arc::new(ForkLock::new(State::default())),
            }
        }

        /// Returns the present.
        #[inline]
        pub(crate) fn now(&self) -> Moment {
            if is_monotonic() {
                return Moment::monotonic();
            }
            self.read()
        }

        #[cold]
        fn read(&self) -> Moment {
            // Read with the lock held, so that a reading is never older than the state.
            let state = self.state.lock();
            state.of(Moment::monotonic())
        }

        /// Returns the moment of this clock at a moment of the monotonic clock.
        #[inline]
        pub(crate) fn at(&self, monotonic: Moment) -> Moment {
            if is_monotonic() {
                return monotonic;
            }
            self.state().of(monotonic)
        }

        /// Returns the moment of the monotonic clock at which this clock will show `moment`; `None`
        /// if it is paused.
        pub(crate) fn to_monotonic(&self, moment: Moment) -> Option<Moment> {
            match self.state() {
                State::Runs { .. } if moment == Moment::NEVER => Some(moment),
                State::Runs { ahead } => Some(Moment(
                    moment.0.saturating_add_signed(ahead.saturating_neg()),
                )),
                State::Stands { .. } => None,
            }
        }

        /// Returns how long the loop may wait for `next`, which is `None` if the clock is paused
        /// and will not get there by itself.
        #[inline]
        pub(crate) fn wait_until(&self, next: Moment, now: Moment) -> Option<Duration> {
            (is_monotonic() || next <= now || !self.is_paused()).then(|| next.since(now))
        }

        pub(crate) fn is_paused(&self) -> bool {
            matches!(self.state(), State::Stands { .. })
        }

        /// Pauses the clock at the present. Returns false if it was paused already.
        pub(crate) fn pause(&self) -> bool {
            let mut state = self.state.lock();
            let State::Runs { .. } = *state else {
                return false;
            };
            let at = state.of(Moment::monotonic());
            *state = State::Stands { at };
            EVER_PAUSED.store(true, Ordering::Relaxed);
            true
        }

        /// Makes a paused clock run on from where it stands. Returns false if it was not paused.
        pub(crate) fn resume(&self) -> bool {
            let mut state = self.state.lock();
            let State::Stands { at } = *state else {
                return false;
            };
            // They are less than 2^63 apart: both lie after the zero of `Moment`.
            let ahead = at.0.wrapping_sub(Moment::monotonic().0) as i64;
            *state = State::Runs { ahead };
            true
        }

        /// Moves a paused clock to `moment`, if that is later than its present. A clock that runs
        /// is not moved.
        pub(crate) fn move_to(&self, moment: Moment) {
            if let State::Stands { at } = &mut *self.state.lock() {
                *at = moment.max(*at);
            }
        }

        fn state(&self) -> State {
            *self.state.lock()
        }
    }

    /// Returns whether every clock of the process is the monotonic clock.
    #[inline]
    pub(crate) fn is_monotonic() -> bool {
        !EVER_PAUSED.load(Ordering::Relaxed)
    }

    /// Returns the present of the runtime that this thread is inside of, or of the monotonic clock.
    #[inline]
    pub(crate) fn current_now() -> Moment {
        if is_monotonic() {
            return Moment::monotonic();
        }
        read_current()
    }

    #[cold]
    fn read_current() -> Moment {
        CURRENT.with(|source| source.map_or_else(Moment::monotonic, Source::read))
    }

    /// Makes `source` the clock of this thread while `f` runs.
    pub(crate) fn enter<R>(source: &Source, f: impl FnOnce() -> R) -> R {
        CURRENT.enter(source, f)
    }

    #[cfg(all(test, not(loom)))]
    mod tests {
        use super::*;

        const HOUR: Duration = Duration::from_secs(3600);

        #[test]
        fn source_stands_while_it_is_paused_and_continues_from_there() {
            let source = Source::new();
            let before = Moment::monotonic();
            source.move_to(before.plus(HOUR));
            assert!(!source.is_paused() && !source.resume() && source.now() < before.plus(HOUR));
            assert!(source.pause() && !source.pause());
            let at = source.now();
            assert!(before <= at && at <= Moment::monotonic());
            while Moment::monotonic() <= at.plus(Duration::from_micros(100)) {}
            assert_eq!((source.now(), source.clone().now()), (at, at));
            assert_eq!(source.to_monotonic(at), None);
            assert_eq!(source.wait_until(at.plus(HOUR), at), None);
            assert_eq!(source.wait_until(at, at), Some(Duration::ZERO));
            source.move_to(at.plus(HOUR));
            source.move_to(at);
            assert_eq!(source.now(), at.plus(HOUR), "it never goes back");
            assert!(source.resume() && !source.is_paused());
            // It runs on, an hour ahead but for the time that it stood.
            let (now, real) = (source.now(), Moment::monotonic());
            assert!(now >= at.plus(HOUR) && now < real.plus(HOUR));
            let until = source.to_monotonic(now.plus(HOUR)).unwrap();
            assert_eq!(source.at(until), now.plus(HOUR));
            assert_eq!(source.to_monotonic(Moment::NEVER), Some(Moment::NEVER));
        }

        #[test]
        fn source_that_runs_on_at_the_end_of_its_clock_stays_there() {
            let source = Source::new();
            assert!(source.pause());
            source.move_to(Moment::LAST);
            assert!(source.resume());
            let later = Moment::monotonic().plus(HOUR);
            assert_eq!(
                (source.now(), source.at(later)),
                (Moment::LAST, Moment::LAST)
            );
            assert!(source.to_monotonic(Moment::LAST).unwrap() <= Moment::monotonic());
        }

        #[test]
        fn current_now_reads_the_source_that_was_entered_last() {
            let (outer, inner) = (Source::new(), Source::new());
            assert!(outer.pause() && inner.pause());
            inner.move_to(outer.now().plus(HOUR));
            enter(&outer, || {
                assert_eq!(Moment::now(), outer.now());
                enter(&inner, || assert_eq!(Moment::now(), inner.now()));
                assert_eq!(super::super::super::now(), outer.now().instant());
            });
            let before = Moment::monotonic();
            assert!(before <= Moment::now() && Moment::now() <= Moment::monotonic());
        }
    }
}

pub(crate) use imp::*;
