//! [`Program`]: what the tasks of a random program do, and [`Event`]: what is compared.

use std::time::Duration;

/// A step of a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// How long after the start.
    pub(crate) at: Duration,
    /// What the step has found out: how late a tick was due, whether a time limit has passed.
    pub(crate) found: Duration,
}

/// One step of a task.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Sleep(Duration),
    /// Until so long after the start, which may have passed.
    SleepUntil(Duration),
    /// Sleeps for the second duration, for at most the first.
    Timeout(Duration, Duration),
    /// As `Timeout`, for at most until so long after the start.
    TimeoutAt(Duration, Duration),
    /// Polls a sleep of the first duration, and moves it to the second from then.
    Reset(Duration, Duration),
    /// Polls a sleep of the first duration, sleeps for the second, and moves the first to the third
    /// from then.
    ResetLater(Duration, Duration, Duration),
    /// Polls a sleep and drops it.
    Drop(Duration),
    /// Takes a tick, sleeps, takes a tick, and so on.
    Interval {
        period: Duration,
        missed: Missed,
        pauses: Vec<Duration>,
        /// The interval starts again after so many ticks.
        reset: Option<usize>,
    },
    Yield,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Missed {
    Burst,
    Delay,
    Skip,
}

/// One step of the root.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    Advance(Duration),
    Sleep(Duration),
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) tasks: Vec<Vec<Step>>,
    /// What the root does, before it waits for the tasks.
    pub(crate) moves: Vec<Move>,
}

/// The unit of the durations.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Millis,
    Micros,
}

impl Program {
    pub(crate) fn random(random: &mut Random, unit: Unit) -> Program {
        let tasks = (0..random.below(6) + 1).map(|_| steps(random, unit));
        let tasks = tasks.collect();
        let moves = random.below(8);
        let moves = (0..moves).map(|_| match random.below(3) {
            0 => Move::Sleep(random.duration(unit)),
            _ => Move::Advance(random.duration(unit)),
        });
        Program {
            tasks,
            moves: moves.collect(),
        }
    }

    /// Makes a program of sleeps alone.
    pub(crate) fn sleeps(random: &mut Random, unit: Unit) -> Program {
        let tasks = (0..random.below(6) + 1).map(|_| {
            let steps = (0..random.below(8) + 1).map(|_| Step::Sleep(random.duration(unit)));
            steps.collect()
        });
        Program {
            tasks: tasks.collect(),
            moves: Vec::new(),
        }
    }

    /// Returns when each sleep of a task of [`sleeps`](Program::sleeps) ends exactly.
    pub(crate) fn ends_of_sleeps(&self, task: usize) -> Vec<Duration> {
        let mut at = Duration::ZERO;
        let ends = self.tasks[task].iter().map(|step| {
            let Step::Sleep(duration) = step else {
                panic!("{step:?}")
            };
            at += *duration;
            at
        });
        ends.collect()
    }
}

fn steps(random: &mut Random, unit: Unit) -> Vec<Step> {
    let count = random.below(8) + 1;
    (0..count).map(|_| step(random, unit)).collect()
}

fn step(random: &mut Random, unit: Unit) -> Step {
    match random.below(12) {
        0..=2 => Step::Sleep(random.duration(unit)),
        3 => Step::SleepUntil(random.duration(unit)),
        4 => Step::Timeout(random.duration(unit), random.duration(unit)),
        5 => Step::TimeoutAt(random.duration(unit), random.duration(unit)),
        6 => Step::Reset(random.duration(unit), random.duration(unit)),
        7 => Step::ResetLater(
            random.duration(unit),
            random.duration(unit),
            random.duration(unit),
        ),
        8 => Step::Drop(random.duration(unit)),
        9 | 10 => interval(random, unit),
        _ => Step::Yield,
    }
}

fn interval(random: &mut Random, unit: Unit) -> Step {
    let pauses = (0..random.below(6) + 1).map(|_| match random.below(2) {
        0 => Duration::ZERO,
        _ => random.duration(unit),
    });
    let pauses: Vec<Duration> = pauses.collect();
    let missed = match random.below(3) {
        0 => Missed::Burst,
        1 => Missed::Delay,
        _ => Missed::Skip,
    };
    let reset = match random.below(3) {
        0 => Some(random.below(pauses.len() as u64) as usize),
        _ => None,
    };
    // For shorter ones this crate has another rule for what is late.
    let period = random.duration(unit).max(Duration::from_millis(5));
    Step::Interval {
        period,
        missed,
        pauses,
        reset,
    }
}

/// Random numbers from a seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Mostly short, so that many steps end at the same time; sometimes zero, sometimes a year.
    fn duration(&mut self, unit: Unit) -> Duration {
        let bound = match self.below(20) {
            0 => 1,
            1..=9 => 20,
            10..=14 => 200,
            15..=17 => 100_000,
            18 => 100_000_000,
            _ => 31_536_000_000,
        };
        let count = self.below(bound);
        match unit {
            Unit::Millis => Duration::from_millis(count),
            Unit::Micros => Duration::from_micros(count),
        }
    }
}
