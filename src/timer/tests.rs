//! The promises of the wheel, case by case, and the faults of the wheel that it descends from.

use super::{TimerKey, Timers};

/// The values of a whole pass.
fn expire<T: Copy>(timers: &mut Timers<T>, now: u64) -> Vec<T> {
    timers.begin_expiry(now);
    std::iter::from_fn(|| timers.pop_expired())
        .map(|(_, value)| value)
        .collect()
}

/// Deadlines around every boundary of the levels, in order.
fn boundaries() -> Vec<u64> {
    (0..11)
        .flat_map(|level| [-1, 0, 1].map(|off| (1_u64 << (6 * level)).wrapping_add_signed(off)))
        .collect()
}

#[test]
fn fires_at_its_tick_and_not_before() {
    for start in [0, 1, 63, 64, 4095, 4096, (1 << 42) - 1, 1 << 42] {
        for distance in boundaries().into_iter().filter(|&distance| distance > 0) {
            let mut timers = Timers::new();
            assert!(expire(&mut timers, start).is_empty());
            timers.insert(start + distance, 'x');
            assert_eq!(timers.next_deadline(), Some(start + distance));
            assert!(
                expire(&mut timers, start + distance - 1).is_empty(),
                "{start} + {distance}: early"
            );
            assert_eq!(timers.next_deadline(), Some(start + distance));
            assert_eq!(
                expire(&mut timers, start + distance),
                ['x'],
                "{start} + {distance}"
            );
            assert!(timers.is_empty());
        }
    }
}

#[test]
fn cancelled_does_not_fire() {
    let mut timers = Timers::new();
    let key = timers.insert(10, 'a');
    timers.insert(10, 'b');
    assert_eq!(timers.cancel(key), Some('a'));
    assert_eq!(timers.cancel(key), None);
    assert_eq!(expire(&mut timers, 10), ['b']);
}

#[test]
fn key_is_stale_after_firing() {
    let mut timers = Timers::new();
    let key = timers.insert(10, 'a');
    assert_eq!(expire(&mut timers, 10), ['a']);
    assert!(!timers.reset(key, 20));
    assert_eq!(timers.cancel(key), None);
    assert_eq!(timers.deadline(key), None);
    assert_eq!(timers.get_mut(key), None);
    // The same place, another generation.
    let second = timers.insert(30, 'b');
    assert_eq!(second.index(), key.index());
    assert_eq!(timers.cancel(key), None);
    assert_eq!(timers.deadline(second), Some(30));
}

#[test]
fn value_can_be_replaced() {
    let mut timers = Timers::new();
    let key = timers.insert(10, 'a');
    *timers.get_mut(key).unwrap() = 'b';
    assert_eq!(expire(&mut timers, 10), ['b']);
}

/// The ancestor read the next pointer before the callback: the cancelled timer fired, those behind
/// it never did.
#[test]
fn cancelling_another_of_the_batch_spares_the_rest() {
    for victim in 0..5 {
        let mut timers = Timers::new();
        let keys: Vec<TimerKey> = (0..5).map(|value| timers.insert(100, value)).collect();
        timers.begin_expiry(100);
        let mut fired = vec![timers.pop_expired().unwrap().1];
        let expected = if fired[0] == victim {
            None
        } else {
            Some(victim)
        };
        assert_eq!(timers.cancel(keys[victim]), expected);
        fired.extend(std::iter::from_fn(|| timers.pop_expired()).map(|(_, value)| value));
        fired.sort_unstable();
        let kept: Vec<usize> = (0..5).filter(|&value| expected != Some(value)).collect();
        assert_eq!(fired, kept);
        assert!(timers.is_empty());
    }
}

/// The ancestor answered "done" to this and lost the timer.
#[test]
fn armed_anew_by_its_own_firing() {
    let mut timers = Timers::new();
    timers.insert(10, 'a');
    timers.begin_expiry(10);
    let (key, value) = timers.pop_expired().unwrap();
    assert!(!timers.reset(key, 20));
    timers.insert(20, value);
    assert_eq!(timers.pop_expired(), None);
    assert_eq!(timers.next_deadline(), Some(20));
    assert_eq!(expire(&mut timers, 20), ['a']);
}

/// The ancestor fired it all the same.
#[test]
fn reset_to_later_of_one_that_is_due_holds_it_back() {
    for later in [101, 102, 163, 164, 5000, 1 << 43, u64::MAX] {
        let mut timers = Timers::new();
        let keys = [
            timers.insert(100, 0),
            timers.insert(100, 1),
            timers.insert(100, 2),
        ];
        timers.begin_expiry(100);
        assert_eq!(timers.pop_expired().unwrap().1, 0);
        assert!(timers.reset(keys[1], later));
        assert_eq!(timers.pop_expired().unwrap().1, 2);
        assert_eq!(timers.pop_expired(), None);
        assert_eq!(timers.next_deadline(), Some(later));
        assert!(expire(&mut timers, later - 1).is_empty());
        assert_eq!(expire(&mut timers, later), [1]);
    }
}

#[test]
fn reset_within_the_pass_keeps_the_order() {
    let mut timers = Timers::new();
    let key = timers.insert(50, 50);
    timers.insert(50, 51);
    timers.insert(60, 60);
    timers.insert(80, 80);
    timers.begin_expiry(100);
    timers.reset(key, 70);
    let fired: Vec<u64> = std::iter::from_fn(|| timers.pop_expired())
        .map(|(_, value)| value)
        .collect();
    assert_eq!(fired, [51, 60, 50, 80]);
}

#[test]
fn inserted_in_a_pass_belongs_to_the_next() {
    for now in [100, 1 << 20, (1 << 42) + 100, 1 << 43, u64::MAX] {
        let mut timers = Timers::new();
        timers.insert(10, 10);
        timers.begin_expiry(now);
        let mut rounds = 0;
        while let Some((_, value)) = timers.pop_expired() {
            timers.insert(value, value);
            timers.insert(now, value);
            rounds += 1;
        }
        assert_eq!(rounds, 1);
        assert!(timers.next_deadline().unwrap() <= now);
        // Not even a later tick is needed.
        assert_eq!(expire(&mut timers, now).len(), 2);
    }
}

#[test]
fn inserted_too_late_fires_in_the_next_pass() {
    let mut timers = Timers::new();
    assert!(expire(&mut timers, 1000).is_empty());
    for deadline in [1000, 3, 999, 0, 3] {
        timers.insert(deadline, deadline);
    }
    let key = timers.insert(5, 5);
    timers.insert(1001, 1001);
    assert_eq!(timers.next_deadline(), Some(0));
    assert_eq!(timers.cancel(key), Some(5));
    let mut fired = expire(&mut timers, 1001);
    assert_eq!(fired.pop(), Some(1001));
    fired.sort_unstable();
    assert_eq!(fired, [0, 3, 3, 999, 1000]);
}

#[test]
fn overdue_can_be_reset_and_cancelled() {
    let mut timers = Timers::new();
    assert!(expire(&mut timers, 1000).is_empty());
    let keys: Vec<TimerKey> = (0..6).map(|value| timers.insert(value, value)).collect();
    assert!(timers.reset(keys[0], 2000));
    assert!(timers.reset(keys[1], 7));
    timers.begin_expiry(1500);
    let (_, first) = timers.pop_expired().unwrap();
    let left: Vec<u64> = (1..6).filter(|&value| value != first).collect();
    assert!(timers.reset(keys[left[0] as usize], 2000));
    assert_eq!(timers.cancel(keys[left[1] as usize]), Some(left[1]));
    let mut fired: Vec<u64> = std::iter::from_fn(|| timers.pop_expired())
        .map(|(_, value)| value)
        .collect();
    fired.sort_unstable();
    assert_eq!(fired, left[2..]);
    assert_eq!(timers.next_deadline(), Some(2000));
    assert_eq!(expire(&mut timers, 2000).len(), 2);
}

#[test]
fn pass_cut_short_leaves_the_rest_to_the_next() {
    let mut timers = Timers::new();
    for deadline in [10, 20, 30, 40] {
        timers.insert(deadline, deadline);
    }
    timers.begin_expiry(35);
    assert_eq!(timers.pop_expired().unwrap().1, 10);
    assert_eq!(timers.pop_expired().unwrap().1, 20);
    timers.insert(5, 5);
    timers.insert(32, 32);
    assert_eq!(expire(&mut timers, 50), [5, 30, 32, 40]);
}

/// The ancestor compared with the slot of the last deadline, not with the one the timer was in:
/// 1010 pushed to 1025 and on to 1085, one revolution of 60 behind it, fired at 1131.
#[test]
fn pushed_later_by_whole_revolutions() {
    for revolution in [60, 64, 64 * 64, 64 * 64 * 64] {
        for turns in 1..4 {
            let mut timers = Timers::new();
            assert!(expire(&mut timers, 1000).is_empty());
            let key = timers.insert(1010, 'a');
            assert!(timers.reset(key, 1025));
            let last = 1025 + turns * revolution;
            assert!(timers.reset(key, last));
            for now in [1010, 1025, last - 1] {
                assert!(expire(&mut timers, now).is_empty());
            }
            assert_eq!(timers.next_deadline(), Some(last));
            assert_eq!(expire(&mut timers, last), ['a']);
        }
    }
}

#[test]
fn pushed_later_without_end_does_not_fire() {
    let mut timers = Timers::new();
    let key = timers.insert(3000, 'a');
    for now in (0..100_000).step_by(7) {
        assert!(timers.reset(key, now + 3000));
        assert!(expire(&mut timers, now).is_empty());
        assert!(timers.next_deadline().unwrap() > now);
    }
    let deadline = timers.deadline(key).unwrap();
    assert_eq!(expire(&mut timers, deadline), ['a']);
}

#[test]
fn reset_to_earlier_fires_earlier() {
    for earlier in [1, 63, 64, 65, 4096, 1 << 30] {
        let mut timers = Timers::new();
        let key = timers.insert(1 << 43, 'a');
        assert!(timers.reset(key, earlier));
        assert_eq!(timers.next_deadline(), Some(earlier));
        assert!(expire(&mut timers, earlier - 1).is_empty());
        assert_eq!(expire(&mut timers, earlier), ['a']);
    }
}

#[test]
fn far_deadlines_wait_beyond_the_levels() {
    let mut timers = Timers::new();
    let far = [
        1 << 42,
        (1 << 42) + 1,
        3 << 42,
        (3 << 42) + 70,
        1 << 60,
        u64::MAX,
    ];
    for deadline in far {
        timers.insert(deadline, deadline);
    }
    for deadline in far {
        assert_eq!(timers.next_deadline(), Some(deadline));
        assert!(expire(&mut timers, deadline - 1).is_empty());
        assert_eq!(expire(&mut timers, deadline), [deadline]);
    }
}

#[test]
fn never_does_not_wake_the_loop() {
    let mut timers = Timers::new();
    let key = timers.insert(u64::MAX, 'n');
    let before = timers.wheel.steps;
    for now in (0..1_000_000_000_000).step_by(1_000_000_007) {
        assert!(expire(&mut timers, now).is_empty());
        assert_eq!(timers.next_deadline(), Some(u64::MAX));
    }
    assert_eq!(timers.wheel.steps, before);
    assert_eq!(timers.cancel(key), Some('n'));
}

/// The ancestor scanned a slot for every second that had passed: 31 million for a clock set a year
/// ahead.
#[test]
fn stall_costs_what_is_occupied() {
    const YEAR: u64 = 365 * 24 * 3600 * 61_035;
    let mut timers = Timers::new();
    assert!(expire(&mut timers, YEAR).is_empty());
    assert_eq!(timers.wheel.steps, 0);
    let deadlines: Vec<u64> = (0..40).map(|bit| YEAR + (1 << bit)).collect();
    for &deadline in deadlines.iter().rev() {
        timers.insert(deadline, deadline);
    }
    timers.wheel.steps = 0;
    assert_eq!(expire(&mut timers, 10 * YEAR), deadlines);
    // At most a visit and a move for each level.
    assert!(
        timers.wheel.steps <= 40 * 2 * 7,
        "{} steps",
        timers.wheel.steps
    );
}

#[test]
fn lone_timer_moves_once() {
    for distance in boundaries().into_iter().filter(|&distance| distance > 0) {
        let mut timers = Timers::new();
        timers.insert(distance, ());
        timers.wheel.steps = 0;
        assert_eq!(expire(&mut timers, distance).len(), 1);
        assert!(
            timers.wheel.steps <= 3,
            "{distance}: {} steps",
            timers.wheel.steps
        );
    }
}

#[test]
fn position_follows_the_clock() {
    let mut timers = Timers::new();
    assert!(expire(&mut timers, 1_000_000_000).is_empty());
    timers.insert(1_000_000_001, 'a');
    assert_eq!(expire(&mut timers, 1_000_000_001), ['a']);
    // Filed where it fires: one step to get there, one to visit.
    assert_eq!(timers.wheel.steps, 2);
}

#[test]
fn time_does_not_go_back() {
    let mut timers = Timers::new();
    timers.insert(100, 'a');
    assert!(expire(&mut timers, 99).is_empty());
    assert!(expire(&mut timers, 5).is_empty());
    timers.insert(50, 'b');
    assert_eq!(expire(&mut timers, 6), ['b']);
    assert_eq!(expire(&mut timers, 100), ['a']);
}

/// The clock of a test: it goes to the next deadline at once, and to no tick between.
#[test]
fn paused_clock_jumps_from_deadline_to_deadline() {
    let mut timers = Timers::new();
    let deadlines: Vec<u64> = boundaries()
        .into_iter()
        .filter(|&deadline| deadline > 0)
        .collect();
    for &deadline in &deadlines {
        timers.insert(deadline, deadline);
    }
    let mut fired = Vec::new();
    while let Some(now) = timers.next_deadline() {
        let values = expire(&mut timers, now);
        assert!(values.iter().all(|&deadline| deadline == now) && !values.is_empty());
        fired.extend(values);
    }
    let mut expected = deadlines;
    expected.sort_unstable();
    assert_eq!(fired, expected);
}

#[test]
fn stale_minimum_wakes_once_at_most() {
    for (cancelled, kept) in [
        (100, 120),
        (130, 190),
        (5000, 8000),
        (1 << 43, (1 << 43) + 9),
    ] {
        let mut timers = Timers::new();
        let key = timers.insert(cancelled, 'c');
        timers.insert(kept, 'k');
        timers.cancel(key);
        let mut wakes = 0;
        while let Some(now) = timers.next_deadline() {
            wakes += 1;
            assert!(now <= kept);
            expire(&mut timers, now);
        }
        assert!(wakes <= 2, "{wakes} wakes");
    }
}

#[test]
fn empty_waits_for_ever() {
    let mut timers = Timers::new();
    assert_eq!(timers.next_deadline(), None);
    let key = timers.insert(77, ());
    timers.cancel(key);
    assert_eq!(timers.next_deadline(), None);
    timers.insert(78, ());
    assert_eq!(expire(&mut timers, 78).len(), 1);
    assert_eq!(timers.next_deadline(), None);
    assert_eq!((timers.len(), timers.is_empty()), (0, true));
}

#[test]
fn drain_gives_back_every_value() {
    let mut timers = Timers::new();
    let keys: Vec<TimerKey> = [5, 70, 1 << 20, 1 << 50, u64::MAX]
        .map(|tick| timers.insert(tick, tick))
        .into();
    assert_eq!(expire(&mut timers, 5), [5]);
    timers.insert(1, 1);
    let mut values = timers.drain();
    values.sort_unstable();
    assert_eq!(values, [1, 70, 1 << 20, 1 << 50, u64::MAX]);
    assert!(timers.is_empty());
    assert!(keys.iter().all(|&key| timers.cancel(key).is_none()));
}

#[test]
fn reset_within_its_slot_is_told_to_the_loop() {
    // Slots of level 2 are 4,096 ticks wide: both deadlines are in the second.
    let mut timers = Timers::new();
    let key = timers.insert(3 * 4096 - 1, 'a');
    let other = timers.insert(3 * 4096 - 2, 'b');
    timers.wheel.steps = 0;
    assert!(timers.reset(key, 2 * 4096 + 5));
    assert_eq!(
        (timers.wheel.steps, timers.next_deadline()),
        (0, Some(2 * 4096 + 5))
    );
    assert_eq!(timers.deadline(key), Some(2 * 4096 + 5));
    assert!(expire(&mut timers, 2 * 4096 + 4).is_empty());
    assert_eq!(expire(&mut timers, 2 * 4096 + 5), ['a']);
    assert!(timers.reset(other, 2 * 4096 + 6));
    assert_eq!(timers.next_deadline(), Some(2 * 4096 + 6));
    assert_eq!(expire(&mut timers, 4 * 4096), ['b']);
}

#[test]
fn places_are_taken_in_order_again_after_all_have_fired() {
    let mut timers = Timers::new();
    for round in 1..4 {
        // Fires in another order than it is armed.
        let keys: Vec<TimerKey> = (0..500)
            .map(|value| timers.insert(round * 1000 + value * 7 % 500, value))
            .collect();
        assert!((0..).zip(&keys).all(|(index, key)| key.index() == index));
        assert_eq!(expire(&mut timers, round * 1000 + 500).len(), 500);
    }
}

#[test]
fn index_with_spent_generations_is_retired() {
    let mut timers = Timers::new();
    let first = timers.insert(5, 'a');
    timers.cancel(first);
    timers.entries.age(first.index());
    let last = timers.insert(5, 'b');
    assert_eq!(last.index(), first.index());
    timers.cancel(last);
    let fresh = timers.insert(5, 'c');
    assert_ne!(fresh.index(), first.index());
    assert!(!timers.reset(last, 9));
    assert_eq!(expire(&mut timers, 5), ['c']);
}

#[test]
fn shrink_frees_the_entries_after_the_last_timer() {
    let mut timers = Timers::new();
    let keys: Vec<_> = (0..1000).map(|value| timers.insert(5, value)).collect();
    for key in keys[..300].iter().chain(&keys[301..]) {
        timers.cancel(*key);
    }
    timers.shrink();
    assert_eq!(timers.entries.places(), 301);
    assert!(timers.room() <= 2, "{}", timers.room());
    // The freed places are used before new ones, and no old key comes back.
    let again: Vec<_> = (0..1000).map(|value| timers.insert(6, value)).collect();
    assert_eq!(timers.entries.places(), 1001);
    for old in &keys {
        assert!(!again.contains(old));
        assert_eq!(timers.cancel(*old).is_some(), *old == keys[300]);
    }
    assert_eq!(expire(&mut timers, 6).len(), 1000);
    timers.shrink();
    assert_eq!((timers.entries.places(), timers.room()), (0, 0));
}

#[test]
fn shrink_keeps_an_index_with_spent_generations() {
    let mut timers = Timers::new();
    let first = timers.insert(5, 'a');
    timers.entries.age(first.index());
    timers.cancel(first);
    let last = timers.insert(5, 'b');
    timers.cancel(last);
    let other = timers.insert(5, 'c');
    timers.cancel(other);
    timers.shrink();
    assert_eq!(timers.entries.places(), 1);
    assert_eq!(timers.insert(5, 'd').index(), 1);
}

/// New entries must not begin where a removed one has almost ended.
#[test]
fn shrink_leaves_new_entries_many_generations() {
    let mut timers = Timers::new();
    let first = timers.insert(5, 'a');
    timers.cancel(first);
    timers.entries.age(first.index());
    for _ in 0..100 {
        timers.shrink();
        let key = timers.insert(5, 'b');
        assert_eq!(timers.cancel(key), Some('b'));
    }
    timers.shrink();
    assert_eq!(timers.entries.places(), 1);
}

#[test]
fn key_packs_into_a_word_that_is_not_zero() {
    let mut timers = Timers::new();
    let key = timers.insert(5, ());
    assert_ne!(key.to_u64(), 0);
    assert_eq!(size_of::<Option<TimerKey>>(), 8);
}

/// A slot that once had many timers does not keep their memory, no matter how it was emptied.
#[test]
fn slot_gives_large_room_back() {
    const CROWD: usize = 5000;
    // Fired from the lowest level, filed again from a higher one, cancelled, and those without end.
    for (deadline, cancels) in [(5, false), (5000, false), (5000, true), (1 << 50, true)] {
        let mut timers = Timers::new();
        let keys: Vec<_> = (0..CROWD).map(|i| timers.insert(deadline, i)).collect();
        assert!(timers.room() >= CROWD);
        if cancels {
            for key in keys {
                timers.cancel(key);
            }
        } else {
            assert_eq!(expire(&mut timers, deadline).len(), CROWD);
        }
        assert!(timers.room() <= 2048, "{deadline}: {}", timers.room());
    }
}
