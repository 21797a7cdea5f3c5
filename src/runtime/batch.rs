//! [`Batch`] decides when a batch of polls ends: cheap polls are counted, expensive ones are timed.
//!
//! ```text
//! polls   1  2     4           8                       16 ... at most MAX_GAP apart
//!         |  |     |           |                       |
//! checks  1  2     3           4                       5      a check reads the clock
//! ```
//!
//! The first check starts the stopwatch. Each later check sets the number of polls until the next
//! check, the *gap*, and decides whether the batch ends.
//!
//! | time since the previous check | the next gap | the batch |
//! |---|---|---|
//! | at least [`SLICE`] | 1 | ends |
//! | at least [`QUICK`] | 1 | ends [`MAX_TIME`] after the first check |
//! | less, over a whole gap | doubled, at most [`MAX_GAP`] | ends [`MAX_TIME`] after the first check |
//! | less, over fewer polls because the queue is empty | unchanged | ends |
//!
//! The gap is kept from batch to batch, and the last poll of a batch is followed by a check, so
//! that no expensive poll goes unnoticed. A batch of one poll reads no clock.
//!
//! As a result a batch makes at most two polls that take longer than a slice. When cheap polls turn
//! expensive, one batch makes at most `MAX_GAP` expensive ones.
//!
//! A batch of moderate polls may last for five slices, because then 64 connections with an echo of
//! 10 us each are served in one batch. With one slice it took seven batches, with a wait in the
//! kernel after each; ten slices save no more waits.

use crate::reactor::clock::Moment;
use std::cell::Cell;
use std::time::Duration;

/// A batch ends at the first check that comes at least this long after the previous check.
const SLICE: Duration = Duration::from_micros(100);

/// A batch ends at the first check that comes at least this long after its first check.
const MAX_TIME: Duration = Duration::from_micros(500);

/// Polls are cheap while a whole gap of them takes less than this.
const QUICK: Duration = Duration::from_micros(25);

/// The largest number of polls between two checks: the clock then costs less than a nanosecond per
/// poll.
const MAX_GAP: u32 = 32;

/// The state that is kept from batch to batch.
#[derive(Debug)]
pub(super) struct Pace {
    /// The number of polls between two checks.
    gap: Cell<u32>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { gap: Cell::new(1) }
    }
}

/// One batch of polls. It consists of stretches, each of which ends with a check.
#[derive(Debug)]
pub(super) struct Batch {
    /// The number of polls that are left of this stretch.
    polls: u32,
    /// The number of polls that may be made after this stretch.
    left: u32,
    /// The results of the checks, if there was one.
    checks: Option<Checks>,
}

/// The results of a batch's checks.
#[derive(Debug)]
struct Checks {
    /// When the first one was made.
    first: Moment,
    /// When the latest one was made.
    latest: Moment,
    /// The number of polls from the latest one to the next one.
    gap: u32,
}

impl Batch {
    /// Begins a batch of at most `polls` polls, which is at least 1.
    #[inline]
    pub(super) fn new(polls: u32) -> Batch {
        Batch {
            polls: 1,
            left: polls - 1,
            checks: None,
        }
    }

    /// Ends the batch: no more polls and no check are made.
    #[inline]
    pub(super) fn end(&mut self) {
        *self = Batch {
            polls: 0,
            left: 0,
            checks: None,
        };
    }

    /// Returns the number of polls until [`end_stretch`](Batch::end_stretch) has to be called. The
    /// caller counts it down with each poll.
    #[inline]
    pub(super) fn polls(&mut self) -> &mut u32 {
        &mut self.polls
    }

    /// Ends a stretch: all of its polls were made, or the queue is `empty` now. Checks the clock,
    /// which it reads with `now`, if that is due. Returns whether the batch continues.
    #[inline]
    pub(super) fn end_stretch(
        &mut self,
        pace: &Pace,
        empty: bool,
        now: impl FnOnce() -> Moment,
    ) -> bool {
        let over = empty || self.left == 0;
        // One poll needs no clock.
        let is_due = !over || self.checks.is_some();
        is_due && self.check(pace, over, now)
    }

    // Inlined it would cost a turn for one event, which does not call it, 25 of 656 instructions.
    #[inline(never)]
    fn check(&mut self, pace: &Pace, over: bool, now: impl FnOnce() -> Moment) -> bool {
        let gap = &pace.gap;
        let Some(checks) = &mut self.checks else {
            let now = now();
            // The poll before this check counts: the two stretches together are at most one gap.
            self.begin_stretch(now, now, (gap.get() - 1).max(1));
            return true;
        };
        if self.polls == checks.gap {
            // Nothing was polled since the latest check.
            return false;
        }
        let (now, first) = (now(), checks.first);
        let before = std::mem::replace(&mut checks.latest, now);
        if now >= before.plus(QUICK) {
            gap.set(1);
        } else if self.polls == 0 {
            gap.set((gap.get() * 2).min(MAX_GAP));
        }
        if over || now >= before.plus(SLICE) || now >= first.plus(MAX_TIME) {
            return false;
        }
        self.begin_stretch(first, now, gap.get());
        true
    }

    fn begin_stretch(&mut self, first: Moment, latest: Moment, gap: u32) {
        let gap = gap.min(self.left);
        self.left -= gap;
        self.polls = gap;
        self.checks = Some(Checks { first, latest, gap });
    }

    /// Returns the latest reading of the clock, which is the end of the batch unless that made one
    /// poll.
    #[inline]
    pub(super) fn reading(&self) -> Option<Moment> {
        self.checks.as_ref().map(|checks| checks.latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Duration = Duration::from_nanos(10);
    const EXPENSIVE: Duration = Duration::from_millis(1);

    /// A loop whose clock advances only by polls.
    struct Rig {
        pace: Pace,
        interval: u32,
        now: Moment,
        readings: u32,
    }

    impl Rig {
        fn new(interval: u32) -> Rig {
            Rig {
                pace: Pace::new(),
                interval,
                now: Moment::now(),
                readings: 0,
            }
        }

        /// Makes one batch over a queue of `queued` polls, each of which takes the time that `cost`
        /// returns. Returns the number of polls and how many of them were expensive.
        fn batch(&mut self, queued: u32, mut cost: impl FnMut() -> Duration) -> (u32, u32) {
            let (mut polls, mut expensive) = (0, 0);
            let mut batch = Batch::new(self.interval);
            loop {
                let stretch = batch.polls();
                while *stretch > 0 && polls < queued {
                    let cost = cost();
                    expensive += u32::from(cost == EXPENSIVE);
                    self.now = self.now.plus(cost);
                    polls += 1;
                    *stretch -= 1;
                }
                let now = || {
                    self.readings += 1;
                    self.now
                };
                if !batch.end_stretch(&self.pace, polls == queued, now) {
                    let reading = batch.reading();
                    assert!(reading.is_none_or(|reading| reading == self.now));
                    assert!(reading.is_some() || polls == 1);
                    return (polls, expensive);
                }
            }
        }
    }

    #[test]
    fn batch_ends_after_two_expensive_polls() {
        let mut rig = Rig::new(128);
        for _ in 0..10 {
            assert_eq!(rig.batch(1000, || EXPENSIVE), (2, 2));
        }
    }

    #[test]
    fn batch_of_cheap_polls_reads_the_clock_rarely() {
        let mut rig = Rig::new(128);
        rig.batch(1000, || CHEAP);
        rig.readings = 0;
        for _ in 0..10 {
            assert_eq!(rig.batch(1000, || CHEAP), (128, 0));
        }
        assert_eq!(rig.readings, 10 * (128 / MAX_GAP + 1));
    }

    #[test]
    fn batch_of_one_poll_reads_no_clock() {
        let mut rig = Rig::new(128);
        assert_eq!(rig.batch(1, || EXPENSIVE), (1, 1));
        rig.interval = 1;
        assert_eq!(rig.batch(1000, || EXPENSIVE), (1, 1));
        assert_eq!(rig.readings, 0);
    }

    #[test]
    fn batch_notices_expensive_polls_within_one_gap() {
        // At any position in a batch, and whatever ends the batches.
        for cheap in 0..300 {
            for queued in [2, 3, 20, 32, 33, 1000] {
                let (mut rig, mut polls) = (Rig::new(128), 0);
                let mut cost = || {
                    polls += 1;
                    if polls <= cheap { CHEAP } else { EXPENSIVE }
                };
                let batches = (0..400).map(|_| rig.batch(queued, &mut cost).1);
                let mut batches = batches.skip_while(|expensive| *expensive == 0);
                let first = batches.next().expect("there are expensive polls");
                assert!(first <= MAX_GAP, "{first} after {cheap} of {queued}");
                for then in batches {
                    assert!(then <= 2, "{then} after {cheap} of {queued}");
                }
            }
        }
    }

    #[test]
    fn batch_treats_a_mix_of_polls_as_expensive() {
        // One of `period` polls is expensive, from the beginning.
        for period in 1..80 {
            for queued in [2, 3, 7, 20, 33, 1000] {
                let (mut rig, mut polls) = (Rig::new(128), 0);
                let mut cost = || {
                    polls += 1;
                    if polls % period == 0 {
                        EXPENSIVE
                    } else {
                        CHEAP
                    }
                };
                for _ in 0..1000 {
                    let (_, expensive) = rig.batch(queued, &mut cost);
                    assert!(
                        expensive <= 2,
                        "{expensive}, one of {period}, {queued} queued"
                    );
                }
            }
        }
    }

    #[test]
    fn batch_of_moderate_polls_ends_after_its_time_and_a_gap() {
        for micros in 1..100 {
            let (mut rig, cost) = (Rig::new(u32::MAX), Duration::from_micros(micros));
            for _ in 0..100 {
                let begin = rig.now;
                rig.batch(u32::MAX, || cost);
                // The poll before the first check, the time of a batch, and the time until the
                // check that ends it: either twice that of the longest quick gap, or one poll.
                let limit = cost + MAX_TIME + (2 * QUICK).max(cost);
                assert!(rig.now.since(begin) <= limit, "polls of {cost:?}");
            }
        }
    }
}
