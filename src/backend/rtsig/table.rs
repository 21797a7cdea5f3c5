//! The registrations, and which of them the next wait is to poll.
//!
//! A registration is *listed* when poll(2) has to be asked about it:
//!
//! ```text
//! add, modify, rearm, hint (a signal) ---> listed ---> polled, nothing there: off the list, a signal will tell
//!                                            ^  |
//!                                            |  +----> delivered: off the list, or (level) to its end
//!                                            +-- no signal can be relied on: stays
//! ```
//!
//! What is armed is kept as in `pollset.rs`. A number on the list is looked up again at every wait, and goes by the serial
//! number of its registration, so that nothing has to be searched when one is removed.

use super::super::pollset::{directions, mask, readiness};
use super::super::{Events, Interest, Readiness, Token, Trigger};
use crate::sys::fd::FileId;
use std::io;
use std::os::fd::RawFd;

/// No place.
const ABSENT: u32 = u32::MAX;

/// What the kernel always looks at: the signals and the notifier.
const SIGNALS: usize = 0;
const NOTIFIER: usize = 1;
const FIXED: usize = 2;

pub(super) struct Table {
    /// Dense: the last one moves into a hole.
    slots: Vec<Slot>,
    /// By fd number: its place there, or `ABSENT`.
    places: Vec<u32>,
    /// What is listed, those first that have waited longest.
    list: Vec<Listed>,
    /// Empty between waits: room for the next list, and for what is to stand at its end.
    spare: Vec<Listed>,
    repeated: Vec<Listed>,
    /// The numbers that a look has found closed.
    closed: Vec<RawFd>,
    /// What the kernel reads and writes: the fixed ones, then the list.
    fds: Vec<libc::pollfd>,
    last_serial: u64,
}

#[derive(Clone, Copy)]
struct Listed {
    number: RawFd,
    serial: u64,
}

pub(super) struct Slot {
    pub(super) number: RawFd,
    /// The file that the number named when it was added.
    pub(super) file: FileId,
    /// Whether the file sends signals to this loop.
    pub(super) hints: bool,
    token: Token,
    interest: Interest,
    trigger: Trigger,
    /// The armed directions.
    events: libc::c_short,
    /// Whether the kernel is to look at all: hang-ups and errors cannot be masked otherwise.
    armed: bool,
    listed: bool,
    /// A signal came since the last look at it.
    hinted: bool,
    serial: u64,
}

impl Slot {
    /// Whether it has to be polled although a look has found nothing, or after a delivery. Signals do not tell of files
    /// without hints, nor reliably of room: an AF_UNIX stream sends one only after a write that has failed.
    fn stays_listed(&self) -> bool {
        let waits_for_room = self.events & libc::POLLOUT != 0;
        self.armed && (!self.hints || waits_for_room)
    }

    /// Takes out what was delivered, as the trigger demands; whether to look again in the next wait.
    fn deliver(&mut self, revents: libc::c_short) -> (Readiness, bool) {
        let seen = readiness(revents);
        match self.trigger {
            Trigger::Level => {}
            Trigger::Edge => self.events &= !directions(seen),
            Trigger::Oneshot => self.events = 0,
        }
        let is_final = revents & (libc::POLLHUP | libc::POLLERR) != 0;
        if is_final || self.trigger == Trigger::Oneshot {
            self.armed = false;
        }
        let is_due = self.trigger == Trigger::Level || self.hinted;
        (seen, self.armed && is_due || self.stays_listed())
    }
}

impl Table {
    /// An empty one beside the two fixed fds.
    pub(super) fn new(signals: RawFd, notifier: RawFd, capacity: usize) -> Table {
        let fixed = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        Table {
            slots: Vec::with_capacity(capacity),
            places: Vec::new(),
            list: Vec::new(),
            spare: Vec::new(),
            repeated: Vec::new(),
            closed: Vec::new(),
            fds: vec![fixed(signals), fixed(notifier)],
            last_serial: 0,
        }
    }

    /// The registration of a number.
    pub(super) fn get(&self, number: RawFd) -> Option<&Slot> {
        self.slots.get(self.place(number)?)
    }

    /// All registrations.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Adds what is not registered yet, to be looked at.
    pub(super) fn add(
        &mut self,
        (number, file, hints): (RawFd, FileId, bool),
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
            serial: self.last_serial,
        });
        self.look_at(place);
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
        self.look_at(place);
        Ok(())
    }

    /// Arms directions again; only those that were asked for (or errors, which need not be), and only for an edge trigger.
    pub(super) fn rearm(
        &mut self,
        number: RawFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let place = self.find(number, token)?;
        let slot = &mut self.slots[place];
        let interest = interest & (slot.interest | Interest::ERROR);
        if slot.trigger == Trigger::Edge && !interest.is_none() {
            slot.armed = true;
            slot.events |= mask(interest);
            self.look_at(place);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, number: RawFd, token: Token) -> io::Result<Slot> {
        let place = self.find(number, token)?;
        Ok(self.forget(place))
    }

    /// Forgets what a number stood for; whether a file sends signals for it.
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

    /// A signal says that there may be something. Stale ones and those of others name numbers that mean something else
    /// by now, or nothing: at worst a look is wasted. What is listed already may have been looked at before the signal
    /// came, and be taken off for what that look has found.
    pub(super) fn hint(&mut self, number: RawFd) {
        if let Some(place) = self.place(number) {
            let slot = &mut self.slots[place];
            if slot.armed && slot.hints {
                slot.hinted = true;
                self.look_at(place);
            }
        }
    }

    /// Hints may have been lost.
    pub(super) fn hint_all(&mut self) {
        for place in 0..self.slots.len() {
            self.hint(self.slots[place].number);
        }
    }

    /// What a wait is to look at.
    pub(super) fn fds(&mut self) -> &mut [libc::pollfd] {
        self.fds.truncate(FIXED);
        let mut list = std::mem::take(&mut self.list);
        list.retain(|listed| self.push_fd(*listed));
        self.list = list;
        &mut self.fds
    }

    /// What was hinted at since `settle`, to be looked at in addition.
    pub(super) fn hinted_fds(&mut self) -> &mut [libc::pollfd] {
        let from = self.fds.len();
        for at in from - FIXED..self.list.len() {
            // What is hinted at is registered.
            self.push_fd(self.list[at]);
        }
        &mut self.fds[from..]
    }

    /// Whether it is a registration still, and if so, has it polled.
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

    /// Takes off the list what a look has found nothing of, and says whether it has found anything. To be done before
    /// signals are read: one that came after the look puts its fd back.
    pub(super) fn settle(&mut self) -> bool {
        let (mut kept, mut is_ready) = (0, false);
        for at in 0..self.list.len() {
            let (listed, polled) = (self.list[at], self.fds[FIXED + at]);
            is_ready |= polled.revents != 0;
            let Some(place) = self.place(listed.number) else {
                continue;
            };
            let slot = &mut self.slots[place];
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

    /// Whether the last look saw signals.
    pub(super) fn is_signalled(&self) -> bool {
        self.fds[SIGNALS].revents != 0
    }

    /// Whether the last look saw a notification.
    pub(super) fn is_notified(&self) -> bool {
        self.fds[NOTIFIER].revents != 0
    }

    /// Moves what was seen into `events`, as much as fits, and makes the next list: what did not fit comes before what
    /// repeats itself. True when a number was found closed whose file may send signals still.
    pub(super) fn deliver(&mut self, events: &mut Events) -> bool {
        debug_assert_eq!(self.list.len(), self.fds.len() - FIXED, "not polled");
        let mut is_lost = false;
        let list = std::mem::take(&mut self.list);
        let mut kept = std::mem::take(&mut self.spare);
        for (listed, polled) in list.iter().zip(&self.fds[FIXED..]) {
            if polled.revents == 0 || events.room() == 0 {
                kept.push(*listed);
                continue;
            }
            let place = self.places[listed.number as usize] as usize;
            let slot = &mut self.slots[place];
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

    fn look_at(&mut self, place: usize) {
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
    use crate::sys::fd::identify;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// Data comes, and its signal is read, after the look that has found room, and before that is delivered.
    #[test]
    fn a_hint_that_comes_behind_a_look_is_not_lost() {
        let (here, _there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        let token = Token::new(1, 1);
        let mut table = Table::new(-1, -1, 4);
        let (file, _) = identify(fd).unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        table.add((fd, file, true), token, both, Trigger::Edge);
        table.fds()[FIXED].revents = libc::POLLOUT;
        assert!(table.settle());
        table.hint(fd);
        assert!(table.hinted_fds().is_empty());
        let mut events = Events::with_capacity(4);
        table.deliver(&mut events);
        assert_eq!(events.as_slice()[0].readiness, Readiness::WRITABLE);
        assert_eq!(table.fds().len(), FIXED + 1, "nobody looks for the data");
        assert_eq!(table.fds()[FIXED].events, mask(Interest::READABLE));
        // Looked at once more, and then left to the signals.
        assert!(!table.settle());
        assert_eq!(table.fds().len(), FIXED);
    }
}
