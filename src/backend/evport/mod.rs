//! Event ports, port_create(3C): illumos and Solaris.
//!
//! **What the kernel offers.** A queue with an fd. An fd that is associated with it puts one event into it, for what is
//! ready already or for what gets ready first, and is then forgotten: one-shot by nature, level-triggered when
//! armed. A wait costs what is ready, arming one call. Another thread can put events of its own into it.
//!
//! **Where it is odd.** (The manual pages and the kernel source are illumos'; where only the source says it, it stands
//! here. Nothing of this was tried on such a system.)
//! - An event takes the whole association away, also the directions that it does not tell of.
//! - It says what was true when it was queued. Associating again takes a queued event back and looks anew.
//! - `port_getn` fails with `ETIME` and has events all the same. Interrupted, it leaves count and list as they were (libc),
//!   where a count of 1 does not mean an event; on Solaris it may have some (HAProxy says so). With a timeout of zero and
//!   nothing to tell it succeeds.
//! - It goes by number and file: closing the number ends the association, silently, though the file lives on.
//! - What is associated and what is queued share a limit (`process.max-port-events`, 65,536 by default): a full port
//!   refuses `port_send`, though nothing may be in its queue to end the wait.
//! - Closing *any* duplicate of the port's fd in the process that associated ends all its associations (`port_close`). And
//!   the first association looks the port up by the number it was made with (`port_associate_fd`), so a port that was
//!   moved by dup2 may refuse it.
//! - A port is inherited by fork(2), and the child takes events out of the parent's queue. What the child closes ends
//!   only its own associations.
//! - Waits shorter than a clock tick, 10 ms by default, last a tick, and setting the system's clock ends a wait early
//!   (`cv_waituntil_sig`).
//! - A FIFO may be reported with nothing in it (illumos bug 6474): the reader's call would block, and it arms again.
//!
//! **What we do about it.** [`Slot`]s by fd number say what is armed. `add`, `modify` and `rearm` associate at once. What a
//! delivery has left armed waits in a list for the next `wait`, which associates it before it looks: so a level-triggered
//! fd is looked at after it was served, and a reader that re-arms in time costs one call an event. Once somebody has
//! asked for the port's fd it must also be readable in between: then the end of a wait associates what is left, and the
//! next one does so again for level triggers, for the event is out of date. The list is marked before each
//! `port_getn`, so that no error is mistaken for an event. The user value is the registration's number in a sequence
//! (a pointer may have 32 bits) and must be the slot's. A full port is notified by an alert instead, port_alert(3C),
//! which needs no room. After a fork the child's port has a number of its own, which the notifiers look up.
//!
//! **Versions.** Solaris 10 and illumos. `POLLRDHUP` is illumos'. That a port can be polled is in illumos' source only
//! (`port_poll`).

use super::pollset::{HAS_RDHUP, directions, mask, readiness};
use super::{Backend, Capabilities, Events, Interest, Notifier, Notify, Token, Trigger};
use crate::sys::fd::FileId;
use crate::sys::timeout::timespec;
use door::Door;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use sys::{PortEvent, SOURCE_ALERT, SOURCE_FD, SOURCE_USER, Sys};

mod door;
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
mod kernel;
pub(in crate::backend) mod sys;

/// A list of this many is as good as any longer one, and no count overflows.
const MOST_EVENTS: usize = 1 << 20;

/// Opens the host's.
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
pub(super) fn open(capacity: usize) -> io::Result<EventPorts<kernel::Kernel>> {
    EventPorts::new(capacity, kernel::Kernel)
}

pub(super) struct EventPorts<S: Sys> {
    sys: S,
    door: Arc<Door<S>>,
    /// By fd number.
    slots: Vec<Option<Slot>>,
    /// The numbers of slots that are to be associated by the next wait; also some that were, or are gone.
    due: Vec<RawFd>,
    /// What the kernel writes into.
    list: Vec<PortEvent>,
    /// The user value of the last registration.
    last_user: usize,
    /// Somebody may be polling the port, so it must be readable whenever a wait would report something.
    is_hosted: Cell<bool>,
}

/// One registration.
struct Slot {
    token: Token,
    user: usize,
    /// All that was asked for.
    interest: Interest,
    trigger: Trigger,
    /// What is armed of it, as the kernel's mask. Hang-ups and errors always are, while the state is not `Silent`.
    armed: libc::c_short,
    state: State,
    /// The file that the number named when it was added.
    file: FileId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not to be associated until it is armed again.
    Silent,
    /// To be associated by the next wait.
    Due,
    /// Associated, since the last delivery.
    Associated,
    /// Associated when that delivery had not been served yet, for the sake of who polls the port: to be done again.
    Early,
}

impl<S: Sys> EventPorts<S> {
    pub(super) fn new(capacity: usize, sys: S) -> io::Result<EventPorts<S>> {
        let door = Arc::new(Door::new(sys.clone(), sys.create()?));
        Ok(EventPorts {
            sys,
            door,
            slots: Vec::new(),
            due: Vec::new(),
            list: Vec::with_capacity(capacity.min(MOST_EVENTS)),
            last_user: 0,
            is_hosted: Cell::new(false),
        })
    }

    fn slot(&mut self, fd: RawFd) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    fn find(&mut self, fd: RawFd, token: Token) -> io::Result<&mut Slot> {
        match self.slot(fd) {
            Some(slot) if slot.token == token => Ok(slot),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn forget(&mut self, fd: RawFd) {
        self.slots[fd as usize] = None;
    }

    fn associate(&self, fd: RawFd, events: libc::c_short, user: usize) -> io::Result<()> {
        let associated = self.sys.associate(self.door.port(), fd, events, user);
        associated.map_err(|error| match error.raw_os_error() {
            Some(libc::EBADFD) => io::Error::from_raw_os_error(libc::EBADF),
            // Not a call that would block.
            Some(libc::EAGAIN) => io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the port holds as many fds as process.max-port-events allows",
            ),
            _ => error,
        })
    }

    /// Associates what the last deliveries have left armed. What cannot be is told, if it fits; else it stays due.
    fn associate_due(&mut self, events: &mut Events) {
        let mut due = std::mem::take(&mut self.due);
        due.retain(|&fd| {
            let Some(&mut Slot {
                state: State::Due | State::Early,
                armed,
                user,
                token,
                ..
            }) = self.slot(fd)
            else {
                return false;
            };
            let associated = self.associate(fd, armed, user);
            let state = match &associated {
                Ok(()) => State::Associated,
                Err(_) if events.room() == 0 => return true,
                Err(_) => State::Silent,
            };
            if let Some(slot) = self.slot(fd) {
                slot.state = state;
            }
            if let Err(error) = associated {
                let seen = if error.raw_os_error() == Some(libc::EBADF) {
                    self.forget(fd);
                    libc::POLLNVAL
                } else {
                    // Whatever it is, the next call on the fd or the next arming says so.
                    libc::POLLERR
                };
                events.push(token, readiness(seen));
            }
            false
        });
        self.due = due;
    }

    /// The same at the end of a wait, for who polls the port: it is readable when the next wait has something to report.
    fn associate_early(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        due.retain(|&fd| {
            let (armed, user, trigger) = match self.slot(fd) {
                Some(slot) if slot.state == State::Due => (slot.armed, slot.user, slot.trigger),
                slot => return slot.is_some_and(|slot| slot.state == State::Early),
            };
            if self.associate(fd, armed, user).is_err() {
                // The next wait tells, and there must be one.
                let _ = self.door.notify();
                return true;
            }
            let is_level = trigger == Trigger::Level;
            if let Some(slot) = self.slot(fd) {
                slot.state = if is_level {
                    State::Early
                } else {
                    State::Associated
                };
            }
            is_level
        });
        self.due = due;
    }

    /// Fills the list with at most `most` events, and says how many there are.
    fn get(&mut self, most: usize, timeout: Option<Duration>) -> io::Result<usize> {
        let most = most.min(MOST_EVENTS);
        if self.list.len() < most {
            self.list.resize(most, PortEvent::NONE);
        }
        self.list[0] = PortEvent::NONE;
        let mut count = 1;
        let timeout = timeout.map(timespec);
        let port = self.door.port();
        let got = self
            .sys
            .getn(port, &mut self.list[..most], &mut count, timeout.as_ref());
        if self.list[0] == PortEvent::NONE {
            count = 0;
        }
        match got {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted && count > 0 => {}
            got => got?,
        }
        Ok(count as usize)
    }

    /// Moves the list's first `count` into `events`; whether the only one was an alert, which hides all others.
    fn deliver(&mut self, count: usize, events: &mut Events) -> io::Result<bool> {
        let mut is_alert = false;
        for at in 0..count {
            let event = self.list[at];
            match event.source {
                SOURCE_FD => self.deliver_fd(event, events),
                SOURCE_USER => self.door.heard(),
                SOURCE_ALERT => {
                    self.sys.alert(self.door.port(), 0)?;
                    self.door.heard();
                    is_alert = true;
                }
                // Nothing of ours.
                _ => {}
            }
        }
        Ok(is_alert)
    }

    /// The association is gone: what is left of it is due again.
    fn deliver_fd(&mut self, event: PortEvent, events: &mut Events) {
        let Ok(fd) = RawFd::try_from(event.object) else {
            return;
        };
        let Some(slot) = self.slot(fd) else { return };
        if slot.user != event.user || slot.state != State::Associated {
            return;
        }
        let mut bits = event.events as libc::c_short;
        if bits == 0 {
            // What the kernel saw, such as POLLNVAL, is nothing that an event can say.
            bits = libc::POLLERR;
        }
        let seen = readiness(bits);
        let is_final = bits & (libc::POLLHUP | libc::POLLERR) != 0;
        match slot.trigger {
            Trigger::Level => {}
            Trigger::Edge => slot.armed &= !directions(seen),
            Trigger::Oneshot => slot.armed = 0,
        }
        let is_silent = is_final || slot.trigger == Trigger::Oneshot;
        let token = slot.token;
        slot.state = if is_silent { State::Silent } else { State::Due };
        events.push(token, seen);
        if !is_silent {
            self.due.push(fd);
        }
    }
}

impl<S: Sys> Backend for EventPorts<S> {
    fn name(&self) -> &str {
        "event-ports"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edge: true,
            level: true,
            oneshot: true,
            rearm: true,
            // The kernel would, but the slot would be armed on for whoever gets the number.
            close_removes: false,
            has_fd: true,
            read_closed: HAS_RDHUP,
            errors: true,
            priority: true,
            unasked: true,
            ..Capabilities::none()
        }
    }

    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let file = FileId::of(fd)?;
        if self.slot(fd).is_some_and(|slot| slot.file == file) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let user = self.last_user.wrapping_add(1);
        let armed = mask(interest);
        self.associate(fd, armed, user)?;
        self.last_user = user;
        let at = fd as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(Slot {
            token,
            user,
            interest,
            trigger,
            armed,
            state: State::Associated,
            file,
        });
        Ok(())
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let user = self.find(fd, token)?.user;
        let armed = mask(interest);
        self.associate(fd, armed, user)?;
        let slot = self.find(fd, token)?;
        slot.interest = interest;
        slot.trigger = trigger;
        slot.armed = armed;
        slot.state = State::Associated;
        Ok(())
    }

    /// Only what was asked for (or errors, which need not be), and only for an edge trigger.
    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let slot = self.find(fd, token)?;
        let interest = interest & (slot.interest | Interest::ERROR);
        let (armed, user) = (slot.armed | mask(interest), slot.user);
        let is_armed = slot.state == State::Associated && slot.armed == armed;
        if slot.trigger != Trigger::Edge || interest.is_none() || is_armed {
            return Ok(());
        }
        self.associate(fd, armed, user)?;
        let slot = self.find(fd, token)?;
        slot.armed = armed;
        slot.state = State::Associated;
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        let state = self.find(fd, token)?.state;
        self.forget(fd);
        if !matches!(state, State::Associated | State::Early) {
            return Ok(());
        }
        match self.sys.dissociate(self.door.port(), fd) {
            // The number was closed, and may have been given to another file since.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBADFD | libc::ENOENT)) => {
                Ok(())
            }
            removed => removed,
        }
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.associate_due(events);
        let mut timeout = timeout;
        while events.room() > 0 {
            if !events.as_slice().is_empty() {
                timeout = Some(Duration::ZERO);
            }
            let count = match self.get(events.room(), timeout) {
                Err(error)
                    if error.kind() == io::ErrorKind::Interrupted
                        && !events.as_slice().is_empty() =>
                {
                    0
                }
                got => got?,
            };
            if !self.deliver(count, events)? {
                break;
            }
            timeout = Some(Duration::ZERO);
        }
        if self.is_hosted.get() {
            self.associate_early();
        }
        Ok(())
    }

    fn after_fork(&mut self) -> io::Result<()> {
        // The inherited one is only closed here: what is associated with it is the parent's.
        self.door.replace(self.sys.create()?);
        self.slots.clear();
        self.due.clear();
        Ok(())
    }

    fn notifier(&self) -> Notifier {
        Notifier::new(self.door.clone())
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.is_hosted.replace(true) && !self.due.is_empty() {
            // What is due makes the port readable from the next wait on.
            self.door.notify()?;
        }
        Ok(self.door.port())
    }
}

impl<S: Sys> fmt::Debug for EventPorts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventPorts")
            .field("port", &self.door.port())
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
