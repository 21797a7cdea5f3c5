//! [`HintList`] holds the registrations, and which of them the next wait polls.
//!
//! A registration is *listed* if the next wait has to poll it:
//!
//! ```text
//! add, modify, rearm, hint (a signal) --> listed
//! polled, nothing found               --> off the list until a signal comes
//! delivered                           --> off the list, or (level) to its end
//! no signal can be relied on          --> stays listed
//! ```
//!
//! What is armed is kept as in `pollset.rs`. Each wait looks the listed numbers up again and
//! compares the serial number of the registration, so that removing one needs no search.

use super::super::identity::Identity;
use super::super::pollset::{CHANGED, directions, mask, readiness};
use super::super::{Events, Interest, Ready, Token, Trigger};
use crate::sys::fd::FileKind;
use std::io;
use std::os::fd::RawFd;

/// No place.
const ABSENT: u32 = u32::MAX;

/// The entries that are always polled: the signals and the notifier.
const SIGNALS: usize = 0;
const NOTIFIER: usize = 1;
const FIXED: usize = 2;

pub(super) struct HintList {
    /// Dense: the last registration moves into a hole.
    slots: Vec<Slot>,
    /// By fd number: its place in `slots`, or `ABSENT`.
    places: Vec<u32>,
    /// The listed numbers, in the order of waiting.
    list: Vec<Listed>,
    /// Memory for the next list. Empty between waits.
    spare: Vec<Listed>,
    /// What will be at the end of the next list. Empty between waits.
    repeated: Vec<Listed>,
    /// The numbers that a poll has found closed.
    closed: Vec<RawFd>,
    /// The array that the kernel reads and writes: the fixed entries, then the list.
    fds: Vec<libc::pollfd>,
    last_serial: u64,
    /// Whether a slot may hold a result for the next batch.
    may_hold: bool,
}

#[derive(Clone, Copy)]
struct Listed {
    number: RawFd,
    serial: u64,
}

pub(super) struct Slot {
    pub(super) number: RawFd,
    /// The file that the number named when it was added.
    pub(super) file: Identity,
    /// Whether the file sends signals to this loop.
    pub(super) hints: bool,
    token: Token,
    interest: Interest,
    trigger: Trigger,
    /// The armed directions.
    events: libc::c_short,
    /// Whether the kernel should check the fd at all: hang-ups and errors cannot be masked
    /// otherwise.
    armed: bool,
    listed: bool,
    /// Whether a signal came since the fd was last polled.
    hinted: bool,
    /// The results that did not fit into the last batch, if the kernel reports them to one call
    /// only.
    held: libc::c_short,
    serial: u64,
}

impl Slot {
    /// Whether it stays on the list after a poll has found nothing, or after a delivery. Signals do
    /// not cover files without hints, and do not report room reliably: an AF_UNIX stream sends one
    /// only after a write that has failed.
    fn stays_listed(&self) -> bool {
        let waits_for_room = self.events & libc::POLLOUT != 0;
        self.armed && (!self.hints || waits_for_room)
    }

    /// Returns what is held and still in the interest.
    fn due(&self) -> libc::c_short {
        let armed_bits = if self.armed {
            self.events | libc::POLLERR
        } else {
            0
        };
        self.held & armed_bits
    }

    /// Keeps what a poll has found for the next batch, if the kernel will not report it again.
    fn hold(&mut self, revents: libc::c_short) {
        if self.file.kind == FileKind::Regular {
            self.held = revents & CHANGED;
        }
    }

    /// Disarms what was delivered, as the trigger demands. Returns what was found, and whether the
    /// next wait polls it again.
    fn deliver(&mut self, revents: libc::c_short) -> (Ready, bool) {
        let seen = readiness(revents);
        match self.trigger {
            Trigger::Level => {}
            Trigger::Edge => self.events &= !directions(seen),
            Trigger::Oneshot => self.events = 0,
        }
        let is_final = revents & (libc::POLLHUP | libc::POLLERR) != 0;
        self.armed &= match self.trigger {
            Trigger::Level => true,
            Trigger::Edge => !is_final,
            Trigger::Oneshot => false,
        };
        let is_due = self.trigger == Trigger::Level || self.hinted;
        (seen, self.armed && is_due || self.stays_listed())
    }
}

impl HintList {
    /// Makes a list with only the two fixed entries.
    pub(super) fn new(signals: RawFd, notifier: RawFd, capacity: usize) -> HintList {
        let fixed = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        HintList {
            slots: Vec::with_capacity(capacity),
            places: Vec::new(),
            list: Vec::new(),
            spare: Vec::new(),
            repeated: Vec::new(),
            closed: Vec::new(),
            fds: vec![fixed(signals), fixed(notifier)],
            last_serial: 0,
            may_hold: false,
        }
    }

    /// Returns the registration of a number.
    pub(super) fn get(&self, number: RawFd) -> Option<&Slot> {
        self.slots.get(self.place(number)?)
    }

    /// Returns all registrations.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Adds a number that is not registered, and lists it.
    pub(super) fn add(
        &mut self,
        (number, file, hints): (RawFd, Identity, bool),
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) {
        let at = number as usize;
        if at >= self.places.len() {
            self.places.resize(at + 1, ABSENT);
        }
        let place = self.slots.len();
        self.places[at] = u32::try_from(place).expect("fd numbers fit in 31 bits");
        self.last_serial += 1;
        self.slots.push(Slot {
            number,
            file,
            hints,
            token,
            interest,
            trigger,
            events: mask(interest),
            armed: true,
            listed: false,
            hinted: false,
            held: 0,
            serial: self.last_serial,
        });
        self.enlist(place);
    }

    pub(super) fn modify(
        &mut self,
        number: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let place = self.find(number, token)?;
        let slot = &mut self.slots[place];
        slot.interest = interest;
        slot.trigger = trigger;
        slot.events = mask(interest);
        slot.armed = true;
        self.enlist(place);
        Ok(())
    }

    /// Arms directions again: only those of the interest (or errors, which need no interest), and
    /// only for an edge trigger.
    pub(super) fn rearm(
        &mut self,
        number: RawFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let place = self.find(number, token)?;
        let slot = &mut self.slots[place];
        let interest = interest & (slot.interest | Interest::ERROR);
        if slot.trigger == Trigger::Edge && !interest.is_empty() {
            slot.armed = true;
            slot.events |= mask(interest);
            self.enlist(place);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, number: RawFd, token: Token) -> io::Result<Slot> {
        let place = self.find(number, token)?;
        Ok(self.forget(place))
    }

    /// Forgets the registration of a number. Returns whether its file sends signals.
    pub(super) fn forget_number(&mut self, number: RawFd) -> bool {
        let place = self.place(number);
        place.is_some_and(|place| self.forget(place).hints)
    }

    /// Forgets all registrations.
    pub(super) fn clear(&mut self, signals: RawFd) {
        self.slots.clear();
        self.places.clear();
        self.list.clear();
        self.fds[SIGNALS].fd = signals;
    }

    /// Lists a number because of a signal. Late signals and those of other files name numbers that
    /// mean something else by now, or nothing: at worst a poll is wasted. A number that is already
    /// listed may have been polled before the signal came, and would be taken off the list because
    /// of that.
    pub(super) fn hint(&mut self, number: RawFd) {
        if let Some(place) = self.place(number) {
            let slot = &mut self.slots[place];
            if slot.armed && slot.hints {
                slot.hinted = true;
                self.enlist(place);
            }
        }
    }

    /// Lists every number with hints, because hints may have been lost.
    pub(super) fn hint_all(&mut self) {
        for place in 0..self.slots.len() {
            self.hint(self.slots[place].number);
        }
    }

    /// Whether the next batch has something to deliver whatever the kernel sees.
    pub(super) fn is_due(&self) -> bool {
        self.may_hold && self.slots.iter().any(|slot| slot.due() != 0)
    }

    /// Returns the array for a wait.
    pub(super) fn fds(&mut self) -> &mut [libc::pollfd] {
        self.fds.truncate(FIXED);
        let mut list = std::mem::take(&mut self.list);
        list.retain(|listed| self.push_fd(*listed));
        self.list = list;
        &mut self.fds
    }

    /// Returns the part of the array for what was hinted at since `unlist_idle`.
    pub(super) fn hinted_fds(&mut self) -> &mut [libc::pollfd] {
        let from = self.fds.len();
        for at in from - FIXED..self.list.len() {
            // What is hinted at is registered.
            self.push_fd(self.list[at]);
        }
        &mut self.fds[from..]
    }

    /// Adds an entry to the array if the registration still exists. Returns whether it does.
    fn push_fd(&mut self, listed: Listed) -> bool {
        let place = self.place(listed.number);
        let slot = place
            .map(|place| &mut self.slots[place])
            .filter(|slot| slot.serial == listed.serial);
        let is_there = slot.is_some();
        if let Some(slot) = slot {
            slot.hinted = false;
            self.fds.push(libc::pollfd {
                fd: slot.number,
                events: slot.events,
                revents: 0,
            });
        }
        is_there
    }

    /// Takes off the list what the poll has found idle. Returns whether it has found anything. Must
    /// be called before signals are read: a signal that came after the poll lists its fd again.
    pub(super) fn unlist_idle(&mut self) -> bool {
        let (mut kept, mut is_ready) = (0, false);
        self.may_hold = false;
        for at in 0..self.list.len() {
            let (listed, mut polled) = (self.list[at], self.fds[FIXED + at]);
            let Some(place) = self.place(listed.number) else {
                is_ready |= polled.revents != 0;
                continue;
            };
            let slot = &mut self.slots[place];
            polled.revents |= slot.due();
            slot.held = 0;
            is_ready |= polled.revents != 0;
            slot.listed = polled.revents != 0 || slot.stays_listed();
            if slot.listed {
                self.list[kept] = listed;
                self.fds[FIXED + kept] = polled;
                kept += 1;
            }
        }
        self.list.truncate(kept);
        self.fds.truncate(FIXED + kept);
        is_ready
    }

    /// Whether the last poll found signals.
    pub(super) fn is_signalled(&self) -> bool {
        self.fds[SIGNALS].revents != 0
    }

    /// Whether the last poll found a notification.
    pub(super) fn is_notified(&self) -> bool {
        self.fds[NOTIFIER].revents != 0
    }

    /// Moves what was found into `events`, as much as fits, and makes the next list: what did not
    /// fit comes before what repeats. Returns true if a number was found closed whose file may
    /// still send signals.
    pub(super) fn deliver(&mut self, events: &mut Events) -> bool {
        debug_assert_eq!(self.list.len(), self.fds.len() - FIXED, "not polled");
        let mut is_lost = false;
        let list = std::mem::take(&mut self.list);
        let mut kept = std::mem::take(&mut self.spare);
        for (listed, polled) in list.iter().zip(&self.fds[FIXED..]) {
            if polled.revents == 0 {
                kept.push(*listed);
                continue;
            }
            let place = self.places[listed.number as usize] as usize;
            let slot = &mut self.slots[place];
            if events.room() == 0 {
                slot.hold(polled.revents);
                self.may_hold |= slot.held != 0;
                kept.push(*listed);
                continue;
            }
            let (token, (seen, again)) = (slot.token, slot.deliver(polled.revents));
            events.push(token, seen);
            slot.listed = again;
            if seen.is_invalid() {
                self.closed.push(listed.number);
            } else if again {
                self.repeated.push(*listed);
            }
        }
        while let Some(number) = self.closed.pop() {
            is_lost |= self.forget_number(number);
        }
        kept.append(&mut self.repeated);
        self.list = kept;
        self.spare = list;
        self.spare.clear();
        is_lost
    }

    fn enlist(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        if !slot.listed {
            slot.listed = true;
            self.list.push(Listed {
                number: slot.number,
                serial: slot.serial,
            });
        }
    }

    fn place(&self, number: RawFd) -> Option<usize> {
        let at = usize::try_from(number).ok()?;
        match *self.places.get(at)? {
            ABSENT => None,
            place => Some(place as usize),
        }
    }

    fn find(&self, number: RawFd, token: Token) -> io::Result<usize> {
        match self.place(number) {
            Some(place) if self.slots[place].token == token => Ok(place),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn forget(&mut self, place: usize) -> Slot {
        let slot = self.slots.swap_remove(place);
        if let Some(moved) = self.slots.get(place) {
            self.places[moved.number as usize] = place as u32;
        }
        self.places[slot.number as usize] = ABSENT;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// Data comes, and its signal is read, after the poll that has found room, and before that is
    /// delivered.
    #[test]
    fn hint_after_a_poll_is_not_lost() {
        let (here, _there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        let token = Token::new(1, 1);
        let mut table = HintList::new(-1, -1, 4);
        let file = Identity::of(fd).unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        table.add((fd, file, true), token, both, Trigger::Edge);
        table.fds()[FIXED].revents = libc::POLLOUT;
        assert!(table.unlist_idle());
        table.hint(fd);
        assert!(table.hinted_fds().is_empty());
        let mut events = Events::with_capacity(4);
        table.deliver(&mut events);
        assert_eq!(events.as_slice()[0].readiness, Ready::WRITABLE);
        assert_eq!(table.fds().len(), FIXED + 1, "the data is not polled for");
        assert_eq!(table.fds()[FIXED].events, mask(Interest::READABLE));
        // Looked at once more, and then left to the signals.
        assert!(!table.unlist_idle());
        assert_eq!(table.fds().len(), FIXED);
    }
}
