//! [`IoState`] holds the state of one registered fd: its cached readiness, the turn of the last
//! event, and its waiters.
//!
//! A cached bit means that the next call is worth trying. Events set it. It is cleared when a call
//! has proved that nothing is left (`WouldBlock`, or a short read or write where that proves
//! something), and only if no event was merged since the caller read the readiness. The *round*
//! shows that: it is the number of the turn of the last merge, and a caller that clears bits passes
//! the round in which it saw them.
//!
//! READABLE, WRITABLE, PRIORITY and ERROR are set and cleared. READ_CLOSED and WRITE_CLOSED are
//! kept apart from them and do not set a cleared READABLE again. On a stream that `net` connected
//! or accepted they are final and stay set. On any other fd a hang-up may end: a FIFO gets its next
//! writer, a terminal is opened again, a socket counts as hung up until it is connected. There a
//! closed bit is cleared
//! - together with the cached bits of its direction, if the round allows it, when a call has
//!   returned `WouldBlock`;
//! - by poll(2), which is called before a caller sees such a bit, because the next writer of a FIFO
//!   opens it without an event;
//! - by an event with READABLE and without READ_CLOSED, or with WRITABLE and without WRITE_CLOSED.
//!   An event with ERROR sets READABLE and WRITABLE as well, so it clears no closed bit.
//!
//! A hang-up closes both sides, so a write side that it closed is cleared together with the read
//! side.

use super::direction::{CLOSED, Direction, Seen};
use super::registrations::RegistrationState;
use super::trigger_choice::Tally;
use super::wake_list::WakeList;
use super::waker_slot::{WakerSlot, Wakers};
use crate::interest::{Interest, Ready};
use std::task::Waker;

/// A waiter whose slot was taken, or that waits for several directions.
#[derive(Debug)]
struct Waiter {
    /// The id by which its future finds it. 0 for a waiter of a `poll_` method, which is never
    /// removed, only woken.
    id: u32,
    interest: Interest,
    slot: WakerSlot,
}

/// The waiters without a slot.
#[derive(Debug, Default)]
struct Overflow {
    waiters: Vec<Waiter>,
    /// How many of them belong to `poll_` methods.
    polled: usize,
}

/// The initial state of an [`IoState`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Initial {
    /// The readiness that is assumed at first.
    pub(super) readiness: Ready,
    /// Whether a short read or write proves that nothing is left.
    pub(super) short_proves: bool,
    /// The user's setting, which has to be on as well.
    pub(super) short_read_hint: bool,
    /// See `Flags::REARM`.
    pub(super) rearm: bool,
    /// See `Flags::CLOSED_IS_FINAL`.
    pub(super) closed_is_final: bool,
}

/// The cached readiness of one registered fd, and its waiters.
#[derive(Debug)]
pub(crate) struct IoState {
    pub(super) cached: Ready,
    pub(super) flags: Flags,
    /// The slots that are taken.
    waiting: Interest,
    /// Decides about the trigger of a Unix stream.
    pub(super) tally: Tally,
    /// The turn of the last merge.
    pub(super) round: u32,
    /// One waiter for reading and one for writing. A slot that is not taken has no meaning.
    slots: [WakerSlot; SLOTS],
    /// The id of the future in each slot, or 0 for a `poll_` method.
    ids: [u32; SLOTS],
    /// All other waiters; allocated with the first.
    overflow: Option<Box<Overflow>>,
}

/// Properties of a registration beside its cached readiness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flags(u8);

impl Flags {
    const NONE: Flags = Flags(0);
    /// The mechanism has to be armed again, and reports what is ready then. So a short read or
    /// write arms the mechanism, whatever it proves, unless the fd is hung up.
    const REARM: Flags = Flags(1);
    /// Closed sides stay closed, because `net` connected or accepted the stream.
    const CLOSED_IS_FINAL: Flags = Flags(2);
    /// Both closed bits came with one hang-up.
    const HUNG_UP: Flags = Flags(4);
    /// There has been urgent data. At its mark recv(2) of Linux fails with `EAGAIN` while a signal
    /// is pending, even if there is data behind the mark.
    const URGENT: Flags = Flags(8);
    /// The error that is cached was shown as readiness to read or to write.
    const ERROR_SHOWN: Flags = Flags(16);
    /// A short read or write does not prove that nothing is left. Not set for TCP streams that
    /// `net` made, unless the mechanism has to be armed again; set by urgent data and errors.
    const SHORT_PROVES_NOTHING: Flags = Flags(32);
    /// The user has switched the short-read hint off, or not switched it on for a pipe.
    const HINT_OFF: Flags = Flags(64);
    /// A closed bit is cached, so a short read does not prove that nothing is left: the end of the
    /// stream is.
    const CLOSED: Flags = Flags(128);
    /// A short read or write does not prove that nothing is left. One test covers all reasons: a
    /// separate test of the closed bits costs 5 of 420 instructions per request of the echo.
    const SHORT_DOUBTED: Flags =
        Flags(Flags::SHORT_PROVES_NOTHING.0 | Flags::HINT_OFF.0 | Flags::CLOSED.0);

    #[inline]
    const fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    #[inline]
    fn set(&mut self, flag: Flags, on: bool) {
        self.0 = if on {
            self.0 | flag.0
        } else {
            self.0 & !flag.0
        };
    }

    /// Whether the mechanism has to be armed again for bits that are cleared.
    #[inline]
    pub(super) const fn rearm(self) -> bool {
        self.has(Flags::REARM)
    }

    /// Whether `WouldBlock` of a read may be wrong without a later event to correct it. (A
    /// mechanism that has to be armed checks again.)
    #[inline]
    pub(super) const fn doubts_reads(self) -> bool {
        self.0 & (Flags::URGENT.0 | Flags::REARM.0) == Flags::URGENT.0
    }
}

/// How many directions have a slot. Waits for the others are rare.
const SLOTS: usize = 2;

/// The bits that are rare in events. One test covers all.
const UNUSUAL: Ready = CLOSED
    .union(Ready::PRIORITY)
    .union(Ready::ERROR)
    .union(Ready::INVALID);

/// The most waiters of `poll_` methods in one registration, before they are all woken. It bounds
/// the memory for an executor that uses a new waker at each poll of an fd that never gets ready.
/// Futures remove their waiters, so they are not counted.
const MAX_POLLED: usize = 4096;

impl IoState {
    /// Returns the wakers that wait.
    pub(super) fn waiters(&self) -> impl Iterator<Item = WakerSlot> {
        let taken = (0..SLOTS).filter(|index| self.is_taken(*index));
        let more = self.overflow.iter().flat_map(|overflow| &overflow.waiters);
        taken
            .map(|index| self.slots[index])
            .chain(more.map(|waiter| waiter.slot))
    }

    pub(super) fn new(initial: Initial, round: u32) -> IoState {
        let mut flags = Flags::NONE;
        flags.set(Flags::REARM, initial.rearm);
        flags.set(Flags::CLOSED_IS_FINAL, initial.closed_is_final);
        let short_proves = initial.short_proves && !initial.rearm;
        flags.set(Flags::SHORT_PROVES_NOTHING, !short_proves);
        flags.set(Flags::HINT_OFF, !initial.short_read_hint);
        IoState {
            cached: initial.readiness,
            flags,
            waiting: Interest::EMPTY,
            tally: Tally::FIRST,
            round,
            slots: [WakerSlot::EMPTY; SLOTS],
            ids: [0; SLOTS],
            overflow: None,
        }
    }

    /// Merges an event of turn `round`, and wakes the waiters that it concerns or moves them to
    /// `list`.
    // Inlined: as a call it costs 40 instructions more in each round trip of the echo.
    #[inline(always)]
    pub(super) fn merge(&mut self, seen: Ready, round: u32, wakers: &Wakers, list: &mut WakeList) {
        let answered = if self.cached.union(seen).intersects(UNUSUAL) {
            self.merge_unusual(seen)
        } else {
            answered_usual(seen)
        };
        self.cached |= seen;
        self.round = round;
        self.wake(answered, wakers, list);
    }

    /// Handles the rare bits of an event before it is merged: clears closed bits of sides that are
    /// open, and sets the flags. Returns which waiters the event answers.
    #[cold]
    fn merge_unusual(&mut self, seen: Ready) -> Interest {
        // An error sets READABLE and WRITABLE for a closed side as well.
        if !seen.intersects(Ready::ERROR.union(Ready::INVALID)) {
            let mut open = Ready::EMPTY;
            if seen.is_readable() {
                open |= Ready::READ_CLOSED;
            }
            if seen.is_writable() {
                open |= Ready::WRITE_CLOSED;
            }
            self.reopen(open - seen);
        }
        if seen.contains(CLOSED) {
            self.flags.set(Flags::HUNG_UP, true);
        }
        if seen.is_priority() {
            self.note_urgent();
        }
        if seen.is_error() {
            self.distrust_short();
        }
        let closed = self.cached.union(seen).intersects(CLOSED);
        self.flags.set(Flags::CLOSED, closed);
        answered(seen)
    }

    /// Notes that there is or was urgent data: reads stop at its mark, even after PRIORITY is
    /// cleared.
    pub(super) fn note_urgent(&mut self) {
        self.flags.set(Flags::URGENT, true);
        self.distrust_short();
    }

    /// Marks an error as shown that the caller has found pending. Returns whether it was not shown
    /// as readiness before.
    pub(super) fn show_error(&mut self) -> bool {
        let is_news = !self.flags.has(Flags::ERROR_SHOWN);
        self.flags.set(Flags::ERROR_SHOWN, true);
        self.cached |= Ready::ERROR;
        self.distrust_short();
        is_news
    }

    /// Whether a closed side may have been opened again without an event.
    #[inline]
    pub(super) fn is_closed_in_doubt(&self) -> bool {
        self.cached.intersects(CLOSED) && !self.flags.has(Flags::CLOSED_IS_FINAL)
    }

    /// Clears closed bits, and returns which: with the read side also the write side, if the same
    /// hang-up closed it.
    pub(super) fn reopen(&mut self, mut open: Ready) -> Ready {
        if self.flags.has(Flags::CLOSED_IS_FINAL) {
            return Ready::EMPTY;
        }
        if open.is_read_closed() && self.flags.has(Flags::HUNG_UP) {
            open |= Ready::WRITE_CLOSED;
        }
        let open = self.cached & open & CLOSED;
        self.cached = self.cached - open;
        self.flags
            .set(Flags::CLOSED, self.cached.intersects(CLOSED));
        if !open.is_empty() {
            self.flags.set(Flags::HUNG_UP, false);
        }
        open
    }

    /// Wakes all waiters for any of `interest`, or moves their wakers to `list`.
    #[inline]
    pub(super) fn wake(&mut self, interest: Interest, wakers: &Wakers, list: &mut WakeList) {
        let woken = self.waiting & interest;
        self.waiting = self.waiting - woken;
        if woken.is_readable() {
            list.take(wakers, self.slots[Direction::Read as usize]);
        }
        if woken.is_writable() {
            list.take(wakers, self.slots[Direction::Write as usize]);
        }
        if self.overflow.is_some() {
            self.wake_overflow(interest, wakers, list);
        }
    }

    #[cold]
    fn wake_overflow(&mut self, interest: Interest, wakers: &Wakers, list: &mut WakeList) {
        let Some(overflow) = &mut self.overflow else {
            return;
        };
        overflow.wake(wakers, list, |waiter| {
            !(waiter.interest & interest).is_empty()
        });
    }

    /// Whether the slot with that index is taken.
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
        self.overflow.as_deref().is_some_and(|overflow| {
            overflow.waiters.iter().any(|waiter| {
                waiter.id == 0
                    && waiter.interest == direction.interest()
                    && wakers.holds(waiter.slot, waker)
            })
        })
    }

    /// Stores the waiter of a `poll_` method whose waker is a key, if there is a slot and it is
    /// free.
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

    /// Stores a waiter. `id` is 0 for a `poll_` method; a future's waiter replaces the one it
    /// stored before.
    ///
    /// Returns the waker that it replaces, to be dropped when nothing is borrowed. If there are too
    /// many waiters of `poll_` methods, the others go to `list`.
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
        self.store_overflow(Waiter { id, interest, slot }, wakers, list);
        replaced
    }

    #[cold]
    fn store_overflow(&mut self, waiter: Waiter, wakers: &Wakers, list: &mut WakeList) {
        let overflow = self.overflow.get_or_insert_default();
        if waiter.id == 0 {
            if overflow.polled == MAX_POLLED {
                overflow.wake(wakers, list, |old| old.id == 0);
            }
            overflow.polled += 1;
        }
        overflow.waiters.push(waiter);
    }

    /// Whether the future `id` is stored with this waker.
    pub(super) fn holds(&self, id: u32, wakers: &Wakers, waker: &Waker) -> bool {
        let inline = (0..SLOTS).any(|index| {
            self.is_taken(index) && self.ids[index] == id && wakers.holds(self.slots[index], waker)
        });
        inline
            || self.overflow.as_deref().is_some_and(|overflow| {
                overflow
                    .waiters
                    .iter()
                    .any(|waiter| waiter.id == id && wakers.holds(waiter.slot, waker))
            })
    }

    /// Removes the waiter of future `id`. Returns its waker if it is still stored; drop it when
    /// nothing is borrowed.
    pub(super) fn remove(&mut self, id: u32, wakers: &Wakers) -> Option<Waker> {
        for index in 0..SLOTS {
            if self.is_taken(index) && self.ids[index] == id {
                self.waiting = self.waiting - Direction::ALL[index].interest();
                return wakers.take(self.slots[index]);
            }
        }
        debug_assert!(id != 0, "a waiter of a `poll_` method has no id");
        let waiters = &mut self.overflow.as_deref_mut()?.waiters;
        let at = waiters.iter().position(|waiter| waiter.id == id)?;
        wakers.take(waiters.swap_remove(at).slot)
    }

    /// Clears `bits` if nothing was merged since `round`. Returns what was cleared and has to be
    /// armed again.
    #[inline]
    pub(super) fn clear(&mut self, round: u32, bits: Ready) -> Ready {
        if self.round != round {
            return Ready::EMPTY;
        }
        let mut cleared = self.cached & (bits - CLOSED);
        self.cached = self.cached - cleared;
        if self.cached.intersects(bits & CLOSED) {
            cleared |= self.reopen(bits);
        }
        if cleared.is_error() {
            self.flags.set(Flags::ERROR_SHOWN, false);
        }
        cleared
    }

    /// Sets bits again that were cleared but could not be armed.
    #[cold]
    pub(super) fn restore(&mut self, cleared: Ready) {
        self.cached |= cleared;
        self.flags
            .set(Flags::CLOSED, self.cached.intersects(CLOSED));
        if cleared.contains(CLOSED) {
            self.flags.set(Flags::HUNG_UP, true);
        }
    }

    /// Returns the cached readiness as a caller sees it now.
    #[inline]
    pub(super) fn seen(&self) -> Seen {
        let readiness = self.cached;
        Seen {
            round: self.round,
            readiness,
            final_sides: if self.flags.has(Flags::CLOSED_IS_FINAL) {
                readiness & CLOSED
            } else {
                Ready::EMPTY
            },
        }
    }

    /// Whether a short read or write proves that nothing is left, and clearing the bit is all there
    /// is to do.
    #[inline]
    pub(super) fn short_proves(&self) -> bool {
        debug_assert_eq!(
            self.cached.intersects(CLOSED),
            self.flags.has(Flags::CLOSED)
        );
        !self.flags.has(Flags::SHORT_DOUBTED)
    }

    /// Whether a short read or write clears the bit and arms the mechanism, which reports again
    /// what is left. Not after a hang-up: if the end of a pipe is all that is left, poll(2) reports
    /// the hang-up alone, which does not count as news.
    #[inline]
    pub(super) fn rearms_after_short(&self) -> bool {
        self.flags.rearm() && !self.flags.has(Flags::HUNG_UP)
    }

    /// Stops relying on short reads and writes, permanently.
    pub(super) fn distrust_short(&mut self) {
        self.flags.set(Flags::SHORT_PROVES_NOTHING, true);
    }

    /// Switches the user's setting. Switching it on has no effect if short results prove nothing
    /// for another reason.
    pub(super) fn set_short_read_hint(&mut self, on: bool) {
        self.flags.set(Flags::HINT_OFF, !on);
    }
}

impl Overflow {
    /// Wakes the chosen waiters.
    fn wake(&mut self, wakers: &Wakers, list: &mut WakeList, is_chosen: impl Fn(&Waiter) -> bool) {
        let polled = &mut self.polled;
        self.waiters.retain_mut(|waiter| {
            let stays = !is_chosen(waiter);
            if !stays {
                *polled -= usize::from(waiter.id == 0);
                list.take(wakers, waiter.slot);
            }
            stays
        });
    }
}

impl RegistrationState for IoState {
    fn vacate(&mut self) {
        // Deregistering has woken all waiters.
        debug_assert!(self.waiting.is_empty());
        self.overflow = None;
    }
}

/// Returns which waiters an event without [`UNUSUAL`] bits answers.
#[inline]
fn answered_usual(seen: Ready) -> Interest {
    let mut interest = Interest::EMPTY;
    if seen.is_readable() {
        interest |= Interest::READABLE;
    }
    if seen.is_writable() {
        interest |= Interest::WRITABLE;
    }
    interest
}

/// Returns which waiters an event answers: a hang-up or an error answers all of them.
fn answered(seen: Ready) -> Interest {
    if seen.intersects(Ready::WRITE_CLOSED | Ready::ERROR | Ready::INVALID) {
        return ANY_INTEREST;
    }
    let mut interest = answered_usual(seen);
    if seen.is_read_closed() {
        interest |= Interest::READABLE | Interest::PRIORITY;
    }
    if seen.is_priority() {
        interest |= Interest::PRIORITY;
    }
    interest
}

/// Every interest that a waiter may have.
pub(crate) const ANY_INTEREST: Interest = Interest::READABLE
    .union(Interest::WRITABLE)
    .union(Interest::PRIORITY)
    .union(Interest::ERROR);
