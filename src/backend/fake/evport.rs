//! Fake event ports in this process.
//!
//! Sources: the manual pages port_create(3C), port_associate(3C), port_get(3C), port_send(3C) and
//! port_alert(3C) of illumos, and where these say nothing its kernel: `port.c`, `port_fd.c` and
//! `port_vnops.c` under `uts/common/fs/portfs`, `port.c` of libc.
//!
//! What it implements:
//! 1. At most one event per association, which ends when the event is retrieved (port_associate).
//! 2. An fd that is ready when it is associated has an event at once (port_associate).
//! 3. The event is queued when the fd gets ready, and not checked again: one that is retrieved may
//!    be out of date (`pollwakeup`). Here it is queued by the next call after that.
//! 4. Associating again replaces events and user value, and removes a queued event
//!    (`port_associate_fd`).
//! 5. `POLLHUP` and `POLLERR` need no bit, `POLLNVAL` never comes (`port_associate_fd`).
//! 6. Closing the number ends the association, and removes its queued event (`port_close_fd`); the
//!    file may live on in a duplicate.
//! 7. `dissociate` of what is not associated is `ENOENT`; by another process than the one that
//!    associated it `EACCES`; a number that is not open `EBADFD` (port_associate).
//! 8. A port that is not open is `EBADF`, one that is no port `EBADFD` (port_get).
//! 9. `getn` waits for as many events as `nget` says; a list of length 0 returns how many there
//!    are; wanting more than fit is `EINVAL` (port_get).
//! 10. A timeout that is negative or beyond a second's nanoseconds is `EINVAL` (port_get). One of
//!     zero ends with success and no events (`port_getn`), any other with `ETIME`, and with events
//!     if they came late (port_get).
//! 11. `EINTR` leaves count and list as the caller made them (libc). On Solaris it may come with
//!     events (according to HAProxy's commit "do not clear returned events list on signal"; not
//!     verified).
//! 12. Associated fds, delivered ones that were not dissociated or closed, and user events share a
//!     limit, beyond which there is `EAGAIN` (port_associate, port_send; `port_alloc_event_local`).
//! 13. An alert is delivered alone, to every `getn`, until it is ended (port_alert).
//! 14. A port can be polled: `POLLIN` when its queue is not empty (`port_poll`). An alert does not
//!     count.
//! 15. A FIFO may be reported without data (illumos bug 6474, after the notes of other event loops;
//!     not verified).
//!
//! The failures of 10 and 11 happen now and then by default: see [`Faults`]. A child that
//! uses its parent's port would take its events (port_create); this cannot be shown in one process,
//! so it fails.

use super::signal::Signal;
use crate::backend::evport::sys::{PortEvent, SOURCE_ALERT, SOURCE_FD, SOURCE_USER, Sys};
use crate::sys::fd::FileId;
use crate::sys::poll::poll;
use crate::sys::syscall::{check, retry};
use clock::Clock;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The fake kernel. All clones are the same one.
#[derive(Clone, Default)]
pub(in crate::backend) struct Fake {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    ports: HashMap<RawFd, Port>,
    faults: Faults,
    /// How many calls of `getn` have delivered something.
    deliveries: u32,
    /// How many times `associate` was called.
    associations: usize,
    /// Whether the next `getn` is interrupted.
    interrupt: bool,
    /// `process.max-port-events`.
    limit: Option<usize>,
}

/// How often a delivery returns an error and its events all the same: every nth; 0 is never.
#[derive(Clone, Copy)]
pub(in crate::backend) struct Faults {
    pub(in crate::backend) time: u32,
    pub(in crate::backend) signal: u32,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { time: 3, signal: 5 }
    }
}

struct Port {
    /// The port's fd: an epoll instance, because that is readable when other files are.
    number: RawFd,
    creator: u32,
    queue: VecDeque<PortEvent>,
    /// In the order in which they were associated.
    associated: Vec<Association>,
    alert: Option<libc::c_int>,
    /// Makes the port readable as long as the queue is not empty.
    queue_signal: Signal,
    /// Ends waits for an alert.
    alert_signal: Signal,
    /// Whether the next check treats FIFOs as readable.
    is_spurious: bool,
}

struct Association {
    fd: RawFd,
    file: FileId,
    events: libc::c_short,
    user: usize,
    owner: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Armed,
    Queued,
    /// Delivered: kept by the kernel only so that associating it again is cheap.
    Spent,
}

fn fail<T>(errno: libc::c_int) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(errno))
}

impl Fake {
    /// Makes a kernel whose deliveries fail as given.
    pub(in crate::backend) fn with_faults(faults: Faults) -> Fake {
        let fake = Fake::default();
        fake.lock().faults = faults;
        fake
    }

    /// Interrupts the next `getn`, before it has checked anything.
    pub(in crate::backend) fn interrupt(&self) {
        self.lock().interrupt = true;
    }

    /// Sets the limit on events and associations of a port.
    pub(in crate::backend) fn limit(&self, limit: usize) {
        self.lock().limit = Some(limit);
    }

    /// Returns how many times `associate` was called so far.
    pub(in crate::backend) fn associations(&self) -> usize {
        self.lock().associations
    }

    /// Puts a record into the queue of every port.
    pub(in crate::backend) fn inject(&self, event: PortEvent) {
        for port in self.lock().ports.values_mut() {
            port.queue.push_back(event);
            port.update_signal();
        }
    }

    /// Makes every FIFO that is associated for reading be reported once without data.
    pub(in crate::backend) fn report_fifos(&self) {
        for port in self.lock().ports.values_mut() {
            port.is_spurious = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn any_port(&mut self, number: BorrowedFd<'_>) -> io::Result<&mut Port> {
        let number = number.as_raw_fd();
        FileId::of(number)?;
        match self.ports.get_mut(&number) {
            Some(port) => Ok(port),
            None => fail(libc::EBADFD),
        }
    }

    fn port(&mut self, number: BorrowedFd<'_>) -> io::Result<&mut Port> {
        let port = self.any_port(number)?;
        if port.creator != process::id() {
            return Err(io::Error::other("the port is the parent's"));
        }
        Ok(port)
    }

    /// Whether one more event or association is too many.
    fn is_full(&self, number: BorrowedFd<'_>) -> bool {
        let port = &self.ports[&number.as_raw_fd()];
        let users = port.queue.iter().filter(|event| event.source != SOURCE_FD);
        let used = port.associated.len() + users.count();
        self.limit.is_some_and(|limit| used >= limit)
    }
}

impl Sys for Fake {
    fn create(&self) -> io::Result<OwnedFd> {
        // SAFETY: the call takes no pointer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call has just made this fd, and no other code has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let port = Port {
            number: fd.as_raw_fd(),
            creator: process::id(),
            queue: VecDeque::new(),
            associated: Vec::new(),
            alert: None,
            queue_signal: Signal::new()?,
            alert_signal: Signal::new()?,
            is_spurious: false,
        };
        port.control(
            libc::EPOLL_CTL_ADD,
            port.queue_signal.number(),
            libc::POLLIN,
        )?;
        self.lock().ports.insert(fd.as_raw_fd(), port);
        Ok(fd)
    }

    fn associate(
        &self,
        number: BorrowedFd<'_>,
        fd: RawFd,
        events: libc::c_short,
        user: usize,
    ) -> io::Result<()> {
        let mut inner = self.lock();
        inner.associations += 1;
        let port = inner.port(number)?;
        let Ok(file) = FileId::of(fd) else {
            return fail(libc::EBADFD);
        };
        port.drop_closed(|known| known.fd == fd);
        let (place, owner) = match port.place(fd) {
            Some(place) => (place, port.associated[place].owner),
            None if inner.is_full(number) => return fail(libc::EAGAIN),
            None => (inner.port(number)?.associated.len(), process::id()),
        };
        let port = inner.port(number)?;
        // Behind all others, so that it is checked last.
        if place < port.associated.len() {
            port.forget(place);
        }
        port.associated.push(Association {
            fd,
            file,
            events,
            user,
            owner,
            state: State::Armed,
        });
        port.watch(fd, events);
        port.queue_ready()
    }

    fn dissociate(&self, number: BorrowedFd<'_>, fd: RawFd) -> io::Result<()> {
        let mut inner = self.lock();
        let port = inner.any_port(number)?;
        if FileId::of(fd).is_err() {
            return fail(libc::EBADFD);
        }
        port.drop_closed(|known| known.fd == fd);
        let Some(place) = port.place(fd) else {
            return fail(libc::ENOENT);
        };
        if port.associated[place].owner != process::id() {
            return fail(libc::EACCES);
        }
        match port.forget(place) {
            State::Spent => fail(libc::ENOENT),
            State::Armed | State::Queued => Ok(()),
        }
    }

    fn getn(
        &self,
        number: BorrowedFd<'_>,
        list: &mut [PortEvent],
        nget: &mut libc::c_uint,
        timeout: Option<&libc::timespec>,
    ) -> io::Result<()> {
        let wanted = *nget as usize;
        if wanted > list.len() && !list.is_empty() {
            return fail(libc::EINVAL);
        }
        let clock = Clock::start(timeout)?;
        let mut is_over = clock.is_zero();
        loop {
            let mut inner = self.lock();
            if std::mem::take(&mut inner.interrupt) {
                return fail(libc::EINTR);
            }
            let port = inner.port(number)?;
            port.queue_ready()?;
            port.drop_closed(|known| known.state == State::Queued);
            if list.is_empty() {
                *nget = port.queue.len() as libc::c_uint;
                return Ok(());
            }
            if let Some(events) = port.alert {
                list[0] = PortEvent {
                    events,
                    source: SOURCE_ALERT,
                    ..PortEvent::NONE
                };
                *nget = 1;
                return Ok(());
            }
            if port.queue.len() >= wanted || is_over {
                let given = port.deliver(list);
                *nget = given as libc::c_uint;
                let is_late = given < wanted && !clock.is_zero();
                return if is_late {
                    fail(libc::ETIME)
                } else {
                    inner.result_of(given)
                };
            }
            let mut fds = port.pollfds(&clock, wanted);
            drop(inner);
            poll(&mut fds, recheck_interval(wanted))?;
            is_over = fds[0].revents != 0;
        }
    }

    fn send(&self, number: BorrowedFd<'_>, events: libc::c_int, user: usize) -> io::Result<()> {
        let mut inner = self.lock();
        inner.port(number)?;
        if inner.is_full(number) {
            return fail(libc::EAGAIN);
        }
        let port = inner.port(number)?;
        port.queue.push_back(PortEvent {
            events,
            source: SOURCE_USER,
            user,
            ..PortEvent::NONE
        });
        port.update_signal();
        Ok(())
    }

    fn alert(&self, number: BorrowedFd<'_>, events: libc::c_int) -> io::Result<()> {
        let mut inner = self.lock();
        let port = inner.port(number)?;
        port.alert = (events != 0).then_some(events);
        port.alert_signal.set(events != 0);
        Ok(())
    }
}

impl Inner {
    /// Returns the result of a `getn` that has delivered so many events.
    fn result_of(&mut self, given: usize) -> io::Result<()> {
        if given == 0 {
            return Ok(());
        }
        self.deliveries += 1;
        let is_due = |every: u32| every != 0 && self.deliveries % every == 0;
        if is_due(self.faults.time) {
            fail(libc::ETIME)
        } else if is_due(self.faults.signal) {
            fail(libc::EINTR)
        } else {
            Ok(())
        }
    }
}

/// A caller that waits for several events is not woken by one, so it checks again after this time.
fn recheck_interval(wanted: usize) -> Option<Duration> {
    (wanted > 1).then_some(Duration::from_millis(1))
}

impl Port {
    fn place(&self, fd: RawFd) -> Option<usize> {
        self.associated.iter().position(|known| known.fd == fd)
    }

    /// Removes an association, with its queued event.
    fn forget(&mut self, place: usize) -> State {
        let gone = self.associated.remove(place);
        match gone.state {
            State::Armed => self.unwatch(gone.fd),
            State::Queued => {
                let is_its = |event: &PortEvent| {
                    event.source == SOURCE_FD && event.object == gone.fd as usize
                };
                self.queue.retain(|event| !is_its(event));
                self.update_signal();
            }
            State::Spent => {}
        }
        gone.state
    }

    /// Ends the chosen associations whose number was closed, as close(2) does. Checking all at
    /// every call would take too long.
    fn drop_closed(&mut self, is_chosen: impl Fn(&Association) -> bool) {
        let mut place = 0;
        while let Some(known) = self.associated.get(place) {
            if !is_chosen(known) || FileId::of(known.fd).ok() == Some(known.file) {
                place += 1;
            } else {
                self.forget(place);
            }
        }
    }

    /// Queues what has become ready.
    fn queue_ready(&mut self) -> io::Result<()> {
        let spurious = std::mem::take(&mut self.is_spurious);
        let is_armed = |known: &&Association| known.state == State::Armed;
        let armed = self.associated.iter().filter(is_armed);
        let mut fds: Vec<_> = armed.map(|known| pollfd(known.fd, known.events)).collect();
        retry(|| poll(&mut fds, Some(Duration::ZERO)))?;
        if spurious {
            for entry in fds.iter_mut().filter(|entry| is_fifo(entry.fd)) {
                entry.revents |= entry.events & libc::POLLIN;
            }
        }
        for entry in fds.iter().filter(|entry| entry.revents != 0) {
            self.drop_closed(|known| known.fd == entry.fd);
            let Some(place) = self.place(entry.fd) else {
                continue;
            };
            let known = &mut self.associated[place];
            let seen = entry.revents & (known.events | libc::POLLHUP | libc::POLLERR);
            known.state = State::Queued;
            let user = known.user;
            self.queue.push_back(PortEvent {
                events: libc::c_int::from(seen),
                source: SOURCE_FD,
                pad: 0,
                object: entry.fd as usize,
                user,
            });
            self.unwatch(entry.fd);
        }
        self.update_signal();
        Ok(())
    }

    /// Moves events from the queue to the caller.
    fn deliver(&mut self, list: &mut [PortEvent]) -> usize {
        let count = list.len().min(self.queue.len());
        for (to, event) in list.iter_mut().zip(self.queue.drain(..count)) {
            if event.source == SOURCE_FD {
                let is_its = |known: &&mut Association| {
                    known.fd as usize == event.object && known.user == event.user
                };
                if let Some(known) = self.associated.iter_mut().find(is_its) {
                    known.state = State::Spent;
                }
            }
            *to = event;
        }
        self.update_signal();
        count
    }

    /// Returns the fds that end the wait for `wanted` events. The first is the clock's.
    fn pollfds(&self, clock: &Clock, wanted: usize) -> Vec<libc::pollfd> {
        let mut fds = vec![
            pollfd(clock.number(), libc::POLLIN),
            pollfd(self.alert_signal.number(), libc::POLLIN),
        ];
        if wanted == 1 {
            fds.push(pollfd(self.number, libc::POLLIN));
        }
        fds
    }

    fn update_signal(&mut self) {
        self.queue_signal.set(!self.queue.is_empty());
    }

    /// Makes the port readable when the fd becomes ready. What cannot be watched is always ready.
    fn watch(&self, fd: RawFd, events: libc::c_short) {
        let added = self.control(libc::EPOLL_CTL_ADD, fd, events);
        if added.is_err_and(|error| error.raw_os_error() == Some(libc::EEXIST)) {
            let _ = self.control(libc::EPOLL_CTL_MOD, fd, events);
        }
    }

    fn unwatch(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0);
    }

    fn control(&self, what: libc::c_int, fd: RawFd, events: libc::c_short) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: 0,
        };
        // SAFETY: the event outlives the call, which keeps no pointer to it; a number that is not
        // open is an error.
        check(unsafe { libc::epoll_ctl(self.number, what, fd, &mut event) }).map(drop)
    }
}

fn pollfd(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

fn is_fifo(fd: RawFd) -> bool {
    fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|file| file.file_type().is_fifo())
}

mod clock;
#[cfg(test)]
mod tests;
