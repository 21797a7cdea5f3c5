//! The backend over event ports, port_create(3C): illumos and Solaris.
//!
//! **What the kernel offers.** A queue with an fd. An associated fd puts one event into it, for
//! what is ready already or for what gets ready first, and is then forgotten: one-shot by nature,
//! level-triggered when armed. A wait costs what is ready, arming costs one call. Another thread
//! can put its own events into it.
//!
//! **Where it is odd.** (From the manual pages and the kernel source of illumos; what only the
//! source says is named here. Nothing of this was tried on such a system.)
//! - An event removes the whole association, including the directions that it does not report.
//! - An event reports what was true when it was queued. Associating again removes a queued event
//!   and checks again.
//! - `port_getn` may fail with `ETIME` and return events all the same. Interrupted, it leaves count
//!   and list as they were (libc), where a count of 1 does not mean an event; on Solaris it may
//!   return some (according to HAProxy). With a timeout of zero and nothing to report it succeeds.
//! - It uses number and file: closing the number silently ends the association, though the file
//!   lives on.
//! - Associations and queued events share a limit (`process.max-port-events`, 65,536 by default). A
//!   full port refuses `port_send`, though its queue may be empty, so that nothing ends the wait.
//! - Closing *any* duplicate of the port's fd in the process that associated ends all its
//!   associations (`port_close`). And the first association looks the port up by the number it was
//!   made with (`port_associate_fd`), so a port that was moved by dup2 may refuse it.
//! - A fork(2) inherits the port, and the child takes events out of the parent's queue. What the
//!   child closes ends only its own associations.
//! - Waits shorter than a clock tick, 10 ms by default, take a tick, and setting the system's clock
//!   ends a wait early (`cv_waituntil_sig`).
//! - A FIFO may be reported without data (illumos bug 6474): the reader's call would block, and it
//!   arms again.
//!
//! **What we do about it.** [`Slot`]s by fd number say what is armed. `add`, `modify` and `rearm`
//! associate at once. What a delivery has left armed is put on a list, and the next `wait`
//! associates it first. So a level-triggered fd is checked after it was served, and a reader that
//! re-arms in time costs one call per event. Once the port's fd was handed out it must also be
//! readable in between: then the end of a wait associates what is left, and the next one does so
//! again for level triggers, because the event is out of date. The list is marked before each
//! `port_getn`, so that no error is mistaken for an event. The user value is the registration's
//! number in a sequence (a pointer may have 32 bits) and must be the slot's. A full port is
//! notified by an alert instead, port_alert(3C), which needs no room. After a fork the child's port
//! has another number, which the notifiers look up.
//!
//! **Versions.** Solaris 10 and illumos. `POLLRDHUP` is illumos'. Only illumos' source says that a
//! port can be polled (`port_poll`).

use super::pollset::{HAS_RDHUP, directions, mask, readiness};
use super::{Backend, Capabilities, Events, Interest, Notifier, Notify, Token, Trigger};
use crate::sys::fd::FileId;
use crate::sys::timeout::timespec;
use port::Port;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use sys::{PortEvent, SOURCE_ALERT, SOURCE_FD, SOURCE_USER, Sys};

#[cfg(any(target_os = "illumos", target_os = "solaris"))]
mod kernel;
mod port;
pub(in crate::backend) mod sys;

/// The most events of one call. A longer list would gain nothing, and no count overflows.
const MAX_EVENTS: usize = 1 << 20;

pub(super) struct EventPorts<S: Sys> {
    sys: S,
    port: Arc<Port<S>>,
    /// By fd number.
    slots: Vec<Option<Slot>>,
    /// The numbers of slots that the next wait associates, and some that were associated or removed
    /// since.
    due: Vec<RawFd>,
    /// The kernel writes events into this.
    list: Vec<PortEvent>,
    /// The user value of the last registration.
    last_user: usize,
    /// Whether a host may be polling the port, so that it must be readable whenever a wait would
    /// report something.
    is_hosted: Cell<bool>,
}

/// One registration.
struct Slot {
    token: Token,
    user: usize,
    /// The whole interest.
    interest: Interest,
    trigger: Trigger,
    /// The armed part of it, as the kernel's mask. Hang-ups and errors are always armed, unless the
    /// state is `Silent`.
    armed: libc::c_short,
    state: State,
    /// The file that the number named when it was added.
    file: FileId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not associated until it is armed again.
    Silent,
    /// The next wait associates it.
    Due,
    /// Associated since the last delivery.
    Associated,
    /// Associated for a host, before the last delivery was served: has to be associated again.
    Early,
}

/// Opens a port of this system.
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
pub(super) fn open(capacity: usize) -> io::Result<EventPorts<kernel::Kernel>> {
    EventPorts::new(capacity, kernel::Kernel)
}

impl<S: Sys> EventPorts<S> {
    pub(super) fn new(capacity: usize, sys: S) -> io::Result<EventPorts<S>> {
        let port = Arc::new(Port::new(sys.clone(), sys.create()?));
        Ok(EventPorts {
            sys,
            port,
            slots: Vec::new(),
            due: Vec::new(),
            list: Vec::with_capacity(capacity.min(MAX_EVENTS)),
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
        let associated = self.sys.associate(self.port.as_fd(), fd, events, user);
        associated.map_err(|error| match error.raw_os_error() {
            Some(libc::EBADFD) => io::Error::from_raw_os_error(libc::EBADF),
            // This `EAGAIN` does not mean that the call would block.
            Some(libc::EAGAIN) => io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the port holds as many fds as its limit allows: raise process.max-port-events",
            ),
            _ => error,
        })
    }

    /// Associates what the last deliveries have left armed. An fd that cannot be associated is
    /// reported if it fits; otherwise it stays on the list.
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
                    // Whatever the error is, the next call on the fd or the next arming returns it.
                    libc::POLLERR
                };
                events.push(token, readiness(seen));
            }
            false
        });
        self.due = due;
    }

    /// As `associate_due`, at the end of a wait, for a host that polls the port: it becomes
    /// readable when the next wait has something to report.
    fn associate_early(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        due.retain(|&fd| {
            let (armed, user, trigger) = match self.slot(fd) {
                Some(slot) if slot.state == State::Due => (slot.armed, slot.user, slot.trigger),
                slot => return slot.is_some_and(|slot| slot.state == State::Early),
            };
            if self.associate(fd, armed, user).is_err() {
                // The next wait reports it, so there must be a next wait.
                let _ = self.port.notify();
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

    /// Fills the list with at most `most` events. Returns how many there are.
    fn get(&mut self, most: usize, timeout: Option<Duration>) -> io::Result<usize> {
        let most = most.min(MAX_EVENTS);
        if self.list.len() < most {
            self.list.resize(most, PortEvent::NONE);
        }
        self.list[0] = PortEvent::NONE;
        let mut count = 1;
        let timeout = timeout.map(timespec);
        let port = self.port.as_fd();
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

    /// Moves the first `count` records of the list into `events`. Returns whether the only one was
    /// an alert, which hides all others.
    fn deliver(&mut self, count: usize, events: &mut Events) -> io::Result<bool> {
        let mut is_alert = false;
        for at in 0..count {
            let event = self.list[at];
            match event.source {
                SOURCE_FD => self.deliver_fd(event, events),
                SOURCE_USER => self.port.acknowledge(),
                SOURCE_ALERT => {
                    self.sys.alert(self.port.as_fd(), 0)?;
                    self.port.acknowledge();
                    is_alert = true;
                }
                // Another source.
                _ => {}
            }
        }
        Ok(is_alert)
    }

    /// Reports an event of an fd. The kernel has ended the association, so what is left armed of it
    /// goes on the list.
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
            // What the kernel found, such as `POLLNVAL`, has no bit in an event.
            bits = libc::POLLERR;
        }
        let seen = readiness(bits);
        let is_final = bits & (libc::POLLHUP | libc::POLLERR) != 0;
        match slot.trigger {
            Trigger::Level => {}
            Trigger::Edge => slot.armed &= !directions(seen),
            Trigger::Oneshot => slot.armed = 0,
        }
        let is_silent = match slot.trigger {
            Trigger::Level => false,
            Trigger::Edge => is_final,
            Trigger::Oneshot => true,
        };
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
            // The kernel would accept it, but the slot would stay armed for the next file with this
            // number.
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

    /// Arms only directions of the interest (or errors, which need no interest), and only for an
    /// edge trigger.
    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let slot = self.find(fd, token)?;
        let interest = interest & (slot.interest | Interest::ERROR);
        let (armed, user) = (slot.armed | mask(interest), slot.user);
        let is_armed = slot.state == State::Associated && slot.armed == armed;
        if slot.trigger != Trigger::Edge || interest.is_empty() || is_armed {
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
        match self.sys.dissociate(self.port.as_fd(), fd) {
            // The number was closed, and may have been given to another file.
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
        // This only closes the inherited port. What is associated with it belongs to the parent.
        self.port.replace(self.sys.create()?);
        self.slots.clear();
        self.due.clear();
        Ok(())
    }

    fn notifier(&self) -> Notifier {
        Notifier::new(self.port.clone())
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.is_hosted.replace(true) && !self.due.is_empty() {
            // What is on the list makes the port readable from the next wait on.
            self.port.notify()?;
        }
        Ok(self.port.as_fd())
    }
}

impl<S: Sys> fmt::Debug for EventPorts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventPorts")
            .field("port", &self.port.as_fd())
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
