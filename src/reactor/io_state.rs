//! What the reactor knows of one registered fd: cached readiness, the turn that saw it last, and who waits.
//!
//! A cached bit says "the next call need not be refused": it is set by events and cleared when a call proved that
//! nothing is left (`WouldBlock`, or a short read or write where that proves something), and only if no event has
//! been merged since the readiness was looked at. That is what the *round* is for: it is the number of the turn of the
//! last merge, and whoever clears shows the round in which he looked.
//!
//! READABLE and WRITABLE open and close; READ_CLOSED, WRITE_CLOSED and ERROR stay once seen, as facts beside them,
//! and do not make a cleared READABLE true again.

use super::table::Kept;
use super::wake_list::WakeList;
use super::waker_slot::{WakerSlot, Wakers};
use crate::interest::{Interest, Readiness};
use std::task::Waker;

/// The one thing that a waiter of a `poll_` method waits for. Those of the first two index the slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
    Priority = 2,
    Error = 3,
}

impl Direction {
    pub(crate) const ALL: [Direction; 4] = [
        Direction::Read,
        Direction::Write,
        Direction::Priority,
        Direction::Error,
    ];

    /// The interest that a wait in this direction stands for.
    #[inline]
    pub(crate) const fn interest(self) -> Interest {
        match self {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
            Direction::Priority => Interest::PRIORITY,
            Direction::Error => Interest::ERROR,
        }
    }

    /// The direction of an interest that is a single one.
    pub(crate) fn of(interest: Interest) -> Option<Direction> {
        Direction::ALL
            .into_iter()
            .find(|direction| direction.interest() == interest)
    }

    /// The cached bit that opens and closes for this direction.
    #[inline]
    pub(crate) const fn bit(self) -> Readiness {
        match self {
            Direction::Read => Readiness::READABLE,
            Direction::Write => Readiness::WRITABLE,
            Direction::Priority => Readiness::PRIORITY,
            Direction::Error => Readiness::ERROR,
        }
    }
}

/// What ends a wait for `interest`. A closed side also answers those who wait for exceptional conditions or errors, for
/// nothing more will come; who waits to read or write is answered by the bit that the event set with it.
#[inline]
pub(crate) const fn answers(interest: Interest) -> Readiness {
    let mut bits = Readiness::EMPTY;
    if interest.is_readable() {
        bits = bits.or(Readiness::READABLE);
    }
    if interest.is_writable() {
        bits = bits.or(Readiness::WRITABLE);
    }
    if interest.is_priority() {
        bits = bits.or(Readiness::PRIORITY).or(Readiness::READ_CLOSED);
    }
    if interest.is_error() {
        bits = bits.or(Readiness::ERROR).or(Readiness::WRITE_CLOSED);
    }
    bits
}

/// A waiter that found its slot taken, or that waits for several things at once.
#[derive(Debug)]
struct Waiter {
    /// Names it for its future; 0 for one of a `poll_` method, which is not removed but woken for nothing at worst.
    id: u32,
    interest: Interest,
    slot: WakerSlot,
}

/// What futures see of one registered fd.
#[derive(Debug)]
pub(crate) struct IoState {
    /// The cached bits, and [`DISTRUST`].
    pub(super) cached: Readiness,
    /// The mechanism reports again what it is asked to look for again: then a short read or write always proves that the
    /// kernel's buffer is empty or full, and has to be told to it.
    pub(super) rearm: bool,
    /// Whose inline slot is taken, and [`MORE`].
    waiting: Interest,
    /// The turn of the last merge.
    pub(super) round: u32,
    /// One inline waiter to read, one to write; what is in a slot that is not taken means nothing.
    slots: [WakerSlot; SLOTS],
    /// The future that sits in that slot, or 0 for a `poll_` method's.
    ids: [u32; SLOTS],
    /// Everyone else; allocated with the first.
    #[allow(
        clippy::box_collection,
        reason = "8 bytes per fd instead of 24 for what is almost never there"
    )]
    more: Option<Box<Vec<Waiter>>>,
}

/// Directions that have a slot: the others are waited for seldom.
const SLOTS: usize = 2;

/// Kept beside the directions in `waiting`: there is somebody who sits in no slot.
const MORE: Interest = Interest::SPARE;

/// Kept beside the cached bits: a short read or write is not enough to clear one. So it is for all but TCP streams that
/// `net` made, and where the mechanism has to be told of what is cleared.
const DISTRUST: Readiness = Readiness::SPARE;

/// After these a short read is not the end of what can be read. One test for all of them.
const SHORT_PROVES_NOTHING_AFTER: Readiness = Readiness::READ_CLOSED
    .or(Readiness::WRITE_CLOSED)
    .or(Readiness::ERROR)
    .or(Readiness::PRIORITY)
    .or(DISTRUST);

/// Foreign wakers of one registration that may pile up before they are all woken: a bound for executors that come
/// with a new waker at every poll of an fd that never gets ready.
const MOST_WAITERS: usize = 4096;

impl IoState {
    pub(super) fn new(
        readiness: Readiness,
        short_proves: bool,
        rearm: bool,
        round: u32,
    ) -> IoState {
        let trust = if short_proves && !rearm {
            Readiness::EMPTY
        } else {
            DISTRUST
        };
        IoState {
            cached: readiness | trust,
            rearm,
            waiting: Interest::NONE,
            round,
            slots: [WakerSlot::EMPTY; SLOTS],
            ids: [0; SLOTS],
            more: None,
        }
    }

    /// Merges an event of turn `round` and moves the wakers it concerns to `list`.
    #[inline]
    pub(super) fn merge(
        &mut self,
        seen: Readiness,
        round: u32,
        wakers: &Wakers,
        list: &mut WakeList,
    ) {
        self.cached |= seen;
        self.round = round;
        self.wake_slots(answered_by(seen), wakers, list);
    }

    /// Wakes everyone who waits for any of `interest`, or moves their wakers to `list`.
    #[inline]
    pub(super) fn wake(&mut self, interest: Interest, wakers: &Wakers, list: &mut WakeList) {
        self.wake_slots(interest.add(MORE), wakers, list);
    }

    /// As `wake`, for an `interest` with [`MORE`].
    #[inline]
    fn wake_slots(&mut self, interest: Interest, wakers: &Wakers, list: &mut WakeList) {
        let woken = self.waiting & interest;
        if woken.is_none() {
            return;
        }
        self.waiting = self.waiting - woken;
        if woken.is_readable() {
            list.take(wakers, self.slots[Direction::Read as usize]);
        }
        if woken.is_writable() {
            list.take(wakers, self.slots[Direction::Write as usize]);
        }
        if woken.contains(MORE) {
            self.wake_more(interest, wakers, list);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_more(&mut self, interest: Interest, wakers: &Wakers, list: &mut WakeList) {
        let Some(more) = &mut self.more else { return };
        more.retain_mut(|waiter| {
            let stays = (waiter.interest & interest).is_none();
            if !stays {
                list.take(wakers, waiter.slot);
            }
            stays
        });
        if !more.is_empty() {
            self.waiting |= MORE;
        }
    }

    /// Whether the slot of that index is taken.
    #[inline]
    fn is_taken(&self, index: usize) -> bool {
        self.waiting.contains(Direction::ALL[index].interest())
    }

    /// Whether a waiter of a `poll_` method with this waker is stored for the direction.
    #[inline]
    pub(super) fn waits(&self, direction: Direction, wakers: &Wakers, waker: &Waker) -> bool {
        let index = direction as usize;
        if index < SLOTS
            && self.is_taken(index)
            && self.ids[index] == 0
            && wakers.holds(self.slots[index], waker)
        {
            return true;
        }
        self.more.as_deref().is_some_and(|more| {
            more.iter().any(|waiter| {
                waiter.id == 0
                    && waiter.interest == direction.interest()
                    && wakers.holds(waiter.slot, waker)
            })
        })
    }

    /// Stores the waiter of a `poll_` method whose waker is a key, if there is a slot and it is free.
    #[inline]
    pub(super) fn store_key(&mut self, direction: Direction, slot: WakerSlot) -> bool {
        let index = direction as usize;
        if index >= SLOTS || self.is_taken(index) {
            return false;
        }
        self.slots[index] = slot;
        self.ids[index] = 0;
        self.waiting |= direction.interest();
        true
    }

    /// Stores a waiter. `id` is 0 for a `poll_` method; a future's waiter replaces the one it stored before.
    ///
    /// What it replaces is returned, to be dropped once nothing is borrowed. When too many waiters have piled up the
    /// others go to `list`.
    #[inline]
    pub(super) fn store(
        &mut self,
        id: u32,
        interest: Interest,
        slot: WakerSlot,
        wakers: &Wakers,
        list: &mut WakeList,
    ) -> Option<Waker> {
        let replaced = if id == 0 {
            None
        } else {
            self.remove(id, wakers)
        };
        if let Some(direction) = Direction::of(interest) {
            let index = direction as usize;
            if index < SLOTS && !self.is_taken(index) {
                self.slots[index] = slot;
                self.ids[index] = id;
                self.waiting |= interest;
                return replaced;
            }
        }
        self.store_more(Waiter { id, interest, slot }, wakers, list);
        replaced
    }

    #[cold]
    fn store_more(&mut self, waiter: Waiter, wakers: &Wakers, list: &mut WakeList) {
        let more = self.more.get_or_insert_default();
        if more.len() >= MOST_WAITERS {
            for old in more.drain(..) {
                list.take(wakers, old.slot);
            }
        }
        more.push(waiter);
        self.waiting |= MORE;
    }

    /// Whether the future `id` is stored with this waker.
    pub(super) fn holds(&self, id: u32, wakers: &Wakers, waker: &Waker) -> bool {
        let inline = (0..SLOTS).any(|index| {
            self.is_taken(index) && self.ids[index] == id && wakers.holds(self.slots[index], waker)
        });
        inline
            || self.more.as_deref().is_some_and(|more| {
                more.iter()
                    .any(|waiter| waiter.id == id && wakers.holds(waiter.slot, waker))
            })
    }

    /// Takes the future `id` off; its waker, if it is still there, is returned to be dropped once nothing is borrowed.
    pub(super) fn remove(&mut self, id: u32, wakers: &Wakers) -> Option<Waker> {
        for index in 0..SLOTS {
            if self.is_taken(index) && self.ids[index] == id {
                self.waiting = self.waiting - Direction::ALL[index].interest();
                return wakers.take(self.slots[index]);
            }
        }
        let more = self.more.as_deref_mut()?;
        let at = more.iter().position(|waiter| waiter.id == id)?;
        wakers.take(more.swap_remove(at).slot)
    }

    /// Clears `bits` if nothing was merged since `round`, and says what was cleared that the backend must look for again.
    #[inline]
    pub(super) fn clear(&mut self, round: u32, bits: Readiness) -> Readiness {
        if self.round != round {
            return Readiness::EMPTY;
        }
        let cleared = self.cached & bits;
        self.cached = self.cached - bits;
        cleared
    }

    /// The cached bits.
    #[inline]
    pub(super) fn readiness(&self) -> Readiness {
        self.cached - DISTRUST
    }

    /// Whether a read or write that moved less than asked proves that nothing is left, and clearing the bit is all there
    /// is to do.
    #[inline]
    pub(super) fn short_proves(&self) -> bool {
        !self.cached.intersects(SHORT_PROVES_NOTHING_AFTER)
    }

    /// Takes that back for good.
    pub(super) fn distrust_short(&mut self) {
        self.cached |= DISTRUST;
    }
}

impl Kept for IoState {
    fn vacate(&mut self) {
        // Deregistering has woken them all.
        debug_assert!(self.waiting.is_none());
        self.more = None;
    }
}

/// Which waiters an event answers, and [`MORE`]: a hang-up or an error answers all of them. One load from a table.
#[inline]
fn answered_by(seen: Readiness) -> Interest {
    const ANSWERED: [Interest; 128] = {
        let mut table = [Interest::NONE; 128];
        let mut bits = 0;
        while bits < table.len() {
            table[bits] = answered(Readiness::from_bits(bits as u8)).add(MORE);
            bits += 1;
        }
        table
    };
    ANSWERED[usize::from(seen.bits() & 127)]
}

const fn answered(seen: Readiness) -> Interest {
    if seen.intersects(
        Readiness::WRITE_CLOSED
            .or(Readiness::ERROR)
            .or(Readiness::INVALID),
    ) {
        return EVERYTHING;
    }
    let mut interest = Interest::NONE;
    if seen.intersects(Readiness::READABLE.or(Readiness::READ_CLOSED)) {
        interest = interest.add(Interest::READABLE);
    }
    if seen.is_writable() {
        interest = interest.add(Interest::WRITABLE);
    }
    if seen.intersects(Readiness::PRIORITY.or(Readiness::READ_CLOSED)) {
        interest = interest.add(Interest::PRIORITY);
    }
    interest
}

/// What every waiter waits for.
pub(super) const EVERYTHING: Interest = Interest::READABLE
    .add(Interest::WRITABLE)
    .add(Interest::PRIORITY)
    .add(Interest::ERROR);
