//! The wheel compared with a sorted list: the same random operations on both. A failure prints its
//! seed.

use std::collections::{BTreeMap, BTreeSet};

use super::{TimerKey, Timers};

/// Xorshift with a multiplied output; enough randomness to find slots, and no dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A distance in ticks, of every magnitude alike: from 0 to beyond the wheel's reach.
    fn distance(&mut self) -> u64 {
        let bits = self.below(46);
        self.next() & ((1 << bits) - 1)
    }

    fn deadline(&mut self, now: u64) -> u64 {
        match self.below(16) {
            0 => u64::MAX,
            1 => now.saturating_sub(self.below(100)),
            2..=5 => now.saturating_add(1 + self.below(130)),
            // One beside, on or after the boundary of a slot, or of the level's reach seen from
            // here.
            6..=9 => {
                let unit = 1_u64 << (6 * self.below(8));
                let boundary = (now / unit)
                    .saturating_add(1 + self.below(2))
                    .saturating_mul(unit);
                boundary.saturating_add(self.below(3)).saturating_sub(1)
            }
            10 => {
                let reach = 1_u64 << (6 * self.below(8));
                now.saturating_add(reach)
                    .saturating_add(self.below(3))
                    .saturating_sub(1)
            }
            _ => now.saturating_add(self.distance()),
        }
    }
}

/// When an armed timer has to fire.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    /// In the first pass that reaches its deadline.
    First,
    /// Not in the running pass: it was inserted during it.
    Next,
    /// In the running pass or the next: it was reset during it to a tick that has passed.
    Either,
}

struct Known {
    key: TimerKey,
    deadline: u64,
    pass: Pass,
}

/// The capacity of a crowd.
const CROWD: usize = 600;

struct Model {
    timers: Timers<u64>,
    random: Random,
    now: u64,
    in_pass: bool,
    armed: BTreeMap<u64, Known>,
    stale: Vec<TimerKey>,
    /// Deadlines that were cancelled, reset or fired since the last whole pass reached them; only
    /// they may show up in `next_deadline` beside the true earliest.
    ghosts: BTreeSet<u64>,
    last_id: u64,
    /// So many may be armed at a time. A crowd is armed for few ticks, so that slots hold several
    /// blocks.
    capacity: usize,
}

impl Model {
    fn new(seed: u64) -> Model {
        Model {
            timers: Timers::new(),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 0,
            in_pass: false,
            armed: BTreeMap::new(),
            stale: Vec::new(),
            ghosts: BTreeSet::new(),
            last_id: 0,
            capacity: if seed % 10 == 0 { CROWD } else { 60 },
        }
    }

    fn pick(&mut self) -> Option<u64> {
        let nth = self.random.below(self.armed.len().max(1) as u64) as usize;
        self.armed.keys().nth(nth).copied()
    }

    fn insert(&mut self) {
        let crowded = self.capacity == CROWD && self.random.below(4) != 0;
        let near = (self.now / 64)
            .saturating_add(1 + 64 * self.random.below(2))
            .saturating_mul(64);
        let deadline = if crowded {
            near
        } else {
            self.random.deadline(self.now)
        };
        self.last_id += 1;
        let key = self.timers.insert(deadline, self.last_id);
        let late = self.in_pass && deadline <= self.now;
        let pass = if late { Pass::Next } else { Pass::First };
        self.armed.insert(
            self.last_id,
            Known {
                key,
                deadline,
                pass,
            },
        );
    }

    fn cancel(&mut self) {
        let Some(id) = self.pick() else { return };
        let known = self.armed.remove(&id).unwrap();
        assert_eq!(self.timers.cancel(known.key), Some(id));
        self.ghosts.insert(known.deadline);
        self.stale.push(known.key);
    }

    fn reset(&mut self) {
        let Some(id) = self.pick() else { return };
        let (now, in_pass) = (self.now, self.in_pass);
        let known = self.armed.get_mut(&id).unwrap();
        let deadline = match self.random.below(4) {
            0 => known.deadline.saturating_add(self.random.distance()),
            1 => known.deadline.saturating_add(64 * self.random.below(100)),
            2 => known.deadline.saturating_sub(self.random.distance()),
            _ => self.random.deadline(now),
        };
        assert!(self.timers.reset(known.key, deadline));
        self.ghosts.insert(known.deadline);
        known.deadline = deadline;
        known.pass = if in_pass && deadline <= now {
            Pass::Either
        } else {
            Pass::First
        };
    }

    fn try_stale_key(&mut self) {
        if self.stale.is_empty() {
            return;
        }
        let nth = self.random.below(self.stale.len() as u64) as usize;
        let key = self.stale[nth];
        assert_eq!(self.timers.cancel(key), None);
        assert_eq!(self.timers.deadline(key), None);
        assert_eq!(self.timers.get_mut(key), None);
        assert!(!self.timers.reset(key, self.now.saturating_add(1)));
    }

    fn change(&mut self) {
        match self.random.below(11) {
            10 => self.timers.shrink(),
            0..=4 if self.armed.len() < self.capacity => self.insert(),
            0..=5 => self.cancel(),
            6..=8 => self.reset(),
            _ => self.try_stale_key(),
        }
    }

    fn begin(&mut self) {
        let target = match self.random.below(8) {
            0 => self.now,
            1..=2 => self.now.saturating_add(1 + self.random.below(3)),
            3..=4 => self
                .timers
                .next_deadline()
                .filter(|&tick| tick < 1 << 60)
                .unwrap_or(self.now),
            5 => self
                .timers
                .next_deadline()
                .unwrap_or(1)
                .saturating_sub(1)
                .min(self.now.saturating_add(1 << 50)),
            6 => self.now.saturating_add(self.random.below(200)),
            _ => self.now.saturating_add(self.random.distance()),
        };
        self.timers.begin_expiry(target);
        self.now = self.now.max(target);
        self.in_pass = true;
        for known in self.armed.values_mut() {
            known.pass = Pass::First;
        }
    }

    /// One pass with changes between the pops, in one of eight cut short.
    fn pass(&mut self) {
        self.begin();
        let cut = if self.random.below(8) == 0 {
            self.random.below(5)
        } else {
            u64::MAX
        };
        // What was armed behind the position counts as due there.
        let mut last = self.timers.wheel.position;
        let floor = last;
        for _ in 0..cut {
            let Some((key, id)) = self.timers.pop_expired() else {
                self.check_whole_pass();
                break;
            };
            let known = self
                .armed
                .remove(&id)
                .expect("a cancelled timer does not fire, and none twice");
            assert_eq!(known.key, key);
            assert!(
                known.deadline <= self.now,
                "fired early: {} at {}",
                known.deadline,
                self.now
            );
            let tick = known.deadline.max(floor);
            assert!(tick >= last, "out of order: {tick} after {last}");
            assert!(
                known.pass != Pass::Next,
                "{} was inserted in the running pass",
                known.deadline
            );
            last = tick;
            self.stale.push(key);
            self.ghosts.insert(known.deadline);
            while self.random.below(3) == 0 {
                self.change();
                self.check();
            }
        }
        self.in_pass = false;
    }

    fn check_whole_pass(&mut self) {
        let now = self.now;
        for known in self.armed.values() {
            let left = known.deadline <= now && known.pass == Pass::First;
            assert!(!left, "{} has not fired by {now}", known.deadline);
        }
        self.ghosts.retain(|&ghost| ghost > now);
    }

    fn check(&self) {
        assert_eq!(self.timers.len(), self.armed.len());
        assert_eq!(self.timers.is_empty(), self.armed.is_empty());
        let earliest = self.armed.values().map(|known| known.deadline).min();
        let next = self.timers.next_deadline();
        assert_eq!(next.is_some(), earliest.is_some());
        if let (Some(next), Some(earliest)) = (next, earliest) {
            assert!(
                next <= earliest,
                "would sleep until {next}, past {earliest}"
            );
            let explained = next == earliest || earliest <= self.now || self.ghosts.contains(&next);
            assert!(
                explained,
                "would wake at {next}, where nothing was; {earliest} is the earliest"
            );
        }
    }

    fn check_entries(&self) {
        let mut seen = 0;
        for (key, deadline, &id) in self.timers.iter() {
            let known = &self.armed[&id];
            assert_eq!((known.key, known.deadline), (key, deadline));
            assert_eq!(self.timers.deadline(key), Some(deadline));
            seen += 1;
        }
        assert_eq!(seen, self.armed.len());
    }
}

/// Says which seed it was when a check panics.
struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the failing seed is {}", self.0);
        }
    }
}

#[test]
fn behaves_like_a_sorted_list() {
    for seed in 1..=300 {
        let _name = NameSeed(seed);
        let mut model = Model::new(seed);
        for _ in 0..if model.capacity == CROWD { 2000 } else { 400 } {
            match model.random.below(5) {
                0 if model.capacity < CROWD || model.random.below(30) == 0 => model.pass(),
                _ => model.change(),
            }
            model.check();
        }
        model.check_entries();
        let left = model.timers.drain();
        assert_eq!(left.len(), model.armed.len());
        assert_eq!(model.timers.next_deadline(), None);
    }
}
