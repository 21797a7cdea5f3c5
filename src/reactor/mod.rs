//! Registered fds and the wakers that wait for them ([`Reactor`]), over one [`Backend`]; with
//! timers, the [`Driver`](driver::Driver).
//!
//! ```text
//! Backend::wait -> Event { token, readiness }
//!   -> Reactor::merge      index + generation -> IoState; a stale generation is dropped
//!   -> IoState::merge      bits |= seen, round = this turn; matching wakers -> WakeList
//! Timers::pop_expired      -> WakeList, which wakes tasks of this runtime at once
//!   -> WakeList::wake_all  wakes foreign wakers, when nothing is borrowed
//! ```
//!
//! Everything here belongs to one thread, the owner. Another thread, called *remote*, sends
//! messages through [`remote`], and [`parker`] ends the loop's sleep. This layer knows tasks only
//! as [`Waker`](std::task::Waker)s, and knows nothing of runtimes. The runtime publishes the driver
//! in a scoped thread-local, [`driver::CURRENT`].
//!
//! **Rule**: no foreign code (a waker's clone, wake or drop; a value's drop) runs while a cell of
//! the driver is borrowed. A function that could run foreign code collects into a
//! [`wake_list::WakeList`], or returns what is to be dropped.
//!
//! | file | holds |
//! |---|---|
//! | [`registrations`] | the table of registrations over a backend; `recheck_list` for lasting hang-ups |
//! | [`io_state`] | the cached readiness and the waiters of one fd |
//! | [`registration`], [`timer`] | what the handles of `io`, `net` and `time` hold |
//! | [`driver`] | one turn over reactor and timers |
//! | [`parker`], [`spin`] | how the loop sleeps, and how other threads end its sleep |
//! | [`remote`] | everything that happens off the owner's thread |
//! | [`waker_slot`], `wake_list` | wakers stored as one word; wakers to wake |
//! | [`clock`], `alarm`, [`slack`] | time: moments and ticks, a timer fd, timer slack |

#![forbid(unsafe_code)]

mod alarm;
pub(crate) mod clock;
pub(crate) mod direction;
pub(crate) mod driver;
pub(crate) mod io_state;
pub(crate) mod parker;
mod recheck_list;
pub(crate) mod registration;
pub(crate) mod registrations;
pub(crate) mod remote;
mod replaced_timers;
pub(crate) mod slack;
pub(crate) mod spin;
#[cfg(all(test, not(loom)))]
mod tests;
pub(crate) mod timer;
mod timer_places;
mod trigger_choice;
mod wake_list;
pub(crate) mod waker_slot;

use crate::backend::{self, Backend, Trigger};
use crate::interest::{Interest, Ready};
use crate::sys::socket::has_urgent_mark;
use crate::sys::unix_socket::READS_TELL_WHERE_THEY_STOP;
use crate::token::Token;
use direction::{Direction, Seen, ending_bits};
use io_state::{ANY_INTEREST, IoState};
use registrations::{RESERVED_INDEX, Rearm, Registrations, Removed, Terms};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;
use trigger_choice::Tally;
use wake_list::WakeList;
use waker_slot::Wakers;

/// A descriptor that is closed when its registration has ended.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) fd: OwnedFd,
    /// Whether code outside this crate has had the descriptor and may have duplicated it, so that
    /// closing it may not end the registration.
    pub(crate) lent: bool,
}

/// The kind of an fd; decides which interest is registered first, and what may be assumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watch {
    /// A TCP stream of `net`: watched in both directions for its whole life, and a short read
    /// proves that nothing is left. `connected`: assumed writable until a write would block.
    /// `owned`: no other descriptor of the file exists.
    Tcp { connected: bool, owned: bool },
    /// A Unix stream of `net`: assumed writable until a write would block, and WRITABLE is added by
    /// the first wait for it, as for a `Custom` fd. On Linux the result of each read says whether
    /// it proves that nothing is left; elsewhere none does. `owned`: as above.
    Unix { owned: bool },
    /// A TCP connection that was just accepted; no other descriptor of it exists. It is assumed
    /// readable until a read would block, because most clients send at once, and the mechanism
    /// watches it from the first wait on. So a connection that is served and closed without a wait
    /// is never given to the mechanism.
    Accepted,
    /// A listening socket: READABLE only.
    Listener { owned: bool },
    /// A listening socket that other loops watch too; a connection wakes one of those that wait.
    ExclusiveListener,
    /// A datagram socket of `net`: assumed writable until a send would block, and WRITABLE is added
    /// by the first wait for it, as for a `Custom` fd. A batch of datagrams that is not full proves
    /// that nothing is left; a single datagram proves nothing.
    Datagram { owned: bool },
    /// An end of a pipe. A writing end is assumed writable until a write would block, and WRITABLE
    /// is added by the first wait for it. A short read proves that nothing is left, except in
    /// packet mode (`O_DIRECT`, set by the writer), where each read stops at the end of a packet:
    /// so the hint is off until the user switches it on. A short write proves nothing: one that
    /// finds no memory for the rest is short too. A hang-up of a FIFO ends. `owned`: no other
    /// descriptor of this end exists.
    Pipe { writes: bool, owned: bool },
    /// Any other fd. The first wait for WRITABLE adds it to the interest, because an edge-triggered
    /// registration with WRITABLE reports every send and every read of the peer on UDP and AF_UNIX.
    Custom(Interest),
}

/// What the mechanism watches of a TCP connection.
const WATCHED_OF_TCP: Interest = Interest::READABLE
    .union(Interest::WRITABLE)
    .union(Interest::PRIORITY);

impl Watch {
    /// Returns the first interest for the backend.
    fn interest(self) -> Interest {
        match self {
            Watch::Tcp { .. } => WATCHED_OF_TCP,
            Watch::Accepted => Interest::EMPTY,
            Watch::Unix { .. } => Interest::READABLE | Interest::PRIORITY,
            Watch::Listener { .. }
            | Watch::ExclusiveListener
            | Watch::Datagram { .. }
            | Watch::Pipe { writes: false, .. } => Interest::READABLE,
            Watch::Pipe { writes: true, .. } => Interest::EMPTY,
            Watch::Custom(interest) => interest - Interest::WRITABLE,
        }
    }

    /// Returns the assumed readiness: a connected socket, a datagram socket and a writing end of a
    /// pipe are writable. Only an accepted TCP connection is readable as well.
    fn readiness(self) -> Ready {
        match self {
            Watch::Tcp {
                connected: true, ..
            }
            | Watch::Unix { .. }
            | Watch::Datagram { .. }
            | Watch::Pipe { writes: true, .. } => Ready::WRITABLE,
            Watch::Accepted => Ready::READABLE | Ready::WRITABLE,
            _ => Ready::EMPTY,
        }
    }

    /// Returns how the fd is registered.
    fn terms(self) -> Terms {
        Terms {
            interest: self.interest(),
            trigger: Trigger::Edge,
            owned: match self {
                Watch::Tcp { owned, .. }
                | Watch::Unix { owned }
                | Watch::Listener { owned }
                | Watch::Datagram { owned }
                | Watch::Pipe { owned, .. } => owned,
                Watch::Accepted => true,
                Watch::ExclusiveListener | Watch::Custom(_) => false,
            },
        }
    }

    /// Returns the kind for a file that may have other descriptors.
    pub(crate) fn shared(self) -> Watch {
        match self {
            Watch::Tcp { connected, .. } => Watch::Tcp {
                connected,
                owned: false,
            },
            Watch::Accepted => Watch::Tcp {
                connected: true,
                owned: false,
            },
            Watch::Unix { .. } => Watch::Unix { owned: false },
            Watch::Listener { .. } => Watch::Listener { owned: false },
            Watch::Datagram { .. } => Watch::Datagram { owned: false },
            Watch::Pipe { writes, .. } => Watch::Pipe {
                writes,
                owned: false,
            },
            Watch::ExclusiveListener | Watch::Custom(_) => self,
        }
    }

    /// Returns the initial state; `rearm` is `Capabilities::rearm`.
    fn state(self, rearm: bool) -> io_state::Initial {
        io_state::Initial {
            readiness: self.readiness(),
            short_read_hint: !matches!(self, Watch::Pipe { .. }),
            short_proves: match self {
                Watch::Tcp { .. }
                | Watch::Accepted
                | Watch::Datagram { .. }
                | Watch::Pipe { writes: false, .. } => true,
                Watch::Unix { .. } => READS_TELL_WHERE_THEY_STOP,
                _ => false,
            },
            rearm,
            closed_is_final: matches!(
                self,
                Watch::Tcp { owned: true, .. } | Watch::Accepted | Watch::Unix { owned: true }
            ),
        }
    }
}

/// The registrations that futures wait for. The driver calls the table directly for what concerns
/// only the table.
#[derive(Debug)]
pub(crate) struct Reactor {
    table: Registrations<IoState>,
    /// The number of this turn. Never 0, which stands for a reading that no turn made.
    round: u32,
    /// Streams that were reported too often without a read, while a turn merges its events.
    unread: Vec<Token>,
}

impl Reactor {
    pub(crate) fn new(backend: Box<dyn Backend>, event_capacity: usize) -> Reactor {
        Reactor {
            table: Registrations::new(backend, event_capacity),
            round: 1,
            unread: Vec::new(),
        }
    }

    /// Registers an fd. After an error nothing is left behind.
    pub(crate) fn register(&mut self, fd: BorrowedFd<'_>, watch: Watch) -> io::Result<Token> {
        let rearm = self.table.capabilities().rearm;
        let state = IoState::new(watch.state(rearm), self.round);
        let mut terms = watch.terms();
        terms.interest = self.effective_interest(terms.interest);
        let capabilities = self.table.capabilities();
        let custom = matches!(watch, Watch::Custom(interest) if interest.is_readable());
        if custom && capabilities.priority && !capabilities.rearm && has_urgent_mark(fd) {
            terms.interest |= Interest::PRIORITY;
        }
        let watched = match watch {
            Watch::ExclusiveListener => self.table.watch_exclusive(fd)?,
            Watch::Accepted => self.table.watch_later(fd, terms)?,
            _ => self.table.watch(fd, terms)?,
        };
        Ok(self.table.insert(watched, state))
    }

    /// Returns the interest that the backend needs for a wait for `interest` to end with a hang-up.
    /// A mechanism without `Capabilities::unasked` reports a hang-up only with READABLE or
    /// WRITABLE.
    #[inline]
    fn effective_interest(&self, interest: Interest) -> Interest {
        let either = Interest::READABLE | Interest::WRITABLE;
        if self.table.capabilities().unasked
            || interest.is_empty()
            || !(interest & either).is_empty()
        {
            interest
        } else {
            interest | either
        }
    }

    /// Returns the state of a live registration.
    #[inline]
    pub(crate) fn get(&mut self, token: Token) -> Option<&mut IoState> {
        self.table.get(token).map(|entry| &mut entry.state)
    }

    /// Ends a registration. Its events are dropped from now on, and its waiters are woken to find
    /// it gone. The backend removes the fd, unless the caller closes the fd right away (`closing`)
    /// and that is enough.
    pub(crate) fn deregister(
        &mut self,
        token: Token,
        closing: bool,
        wakers: &Wakers,
        list: &mut WakeList,
    ) -> Removed {
        let Some((state, removed)) = self.table.deregister(token, closing) else {
            return Ok(Ok(()));
        };
        state.wake(ANY_INTEREST, wakers, list);
        removed
    }

    /// Clears cached bits that were seen in `round`, and arms the mechanism for them. After an
    /// error the bits stay set, because a wait for them would never end.
    #[inline]
    pub(crate) fn clear(&mut self, token: Token, round: u32, bits: Ready) -> io::Result<()> {
        let rearm = self.table.capabilities().rearm;
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        let mut bits = bits;
        if entry.state.flags.doubts_reads() && bits.is_readable() && is_readable(entry.fd) {
            bits = bits - Ready::READABLE;
        }
        let cleared = entry.state.clear(round, bits);
        if rearm && !cleared.is_empty() {
            return self.rearm_or_restore(token, cleared);
        }
        Ok(())
    }

    /// Arms the mechanism for bits that were cleared. After an error the bits are set again.
    #[cold]
    fn rearm_or_restore(&mut self, token: Token, cleared: Ready) -> io::Result<()> {
        let armed = self.rearm(token, cleared);
        if let (Err(_), Some(state)) = (&armed, self.get(token)) {
            state.restore(cleared);
        }
        armed
    }

    /// Checks with poll(2) whether the sides that are cached as closed are still closed, and clears
    /// those that are not.
    #[cold]
    fn check_closed(&mut self, token: Token) {
        let Some(entry) = self.table.get(token) else {
            return;
        };
        // If poll(2) fails, the bits stay.
        let Ok(now) = backend::poll_now(entry.fd, Interest::READABLE) else {
            return;
        };
        if now.is_invalid() {
            return;
        }
        let open = Ready::READ_CLOSED | Ready::WRITE_CLOSED;
        let open = entry.state.reopen(open - now);
        if entry.state.flags.rearm() && !open.is_empty() {
            // After an error the bits are set again, and end the wait as before.
            let _ = self.rearm_or_restore(token, open);
        }
    }

    /// Returns the cached readiness if it ends a wait for `ends`.
    #[inline]
    fn seen(&mut self, token: Token, ends: Ready) -> io::Result<Option<Seen>> {
        let mut state = self.get(token).ok_or_else(deregistered)?;
        if !state.cached.intersects(ends) {
            return Ok(None);
        }
        if state.is_closed_in_doubt() {
            self.check_closed(token);
            state = self.get(token).ok_or_else(deregistered)?;
        }
        Ok(state.cached.intersects(ends).then(|| state.seen()))
    }

    /// Arms the directions of cleared bits again.
    #[cold]
    fn rearm(&mut self, token: Token, cleared: Ready) -> io::Result<()> {
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        // Errors are reported for every interest, so their report has to be armed too.
        let watched = entry.watched | Interest::ERROR;
        let (mut interest, mut armed) = (Interest::EMPTY, Interest::EMPTY);
        for direction in Direction::ALL {
            let is_cleared = cleared.intersects(ending_bits(direction.interest()));
            // A direction whose bit is cached was delivered and need not be reported again.
            let is_armed = is_cleared || !entry.state.cached.intersects(direction.bit());
            if watched.contains(direction.interest()) && is_cleared {
                interest |= direction.interest();
            }
            if watched.contains(direction.interest()) && is_armed {
                armed |= direction.interest();
            }
        }
        if interest.is_empty() {
            Ok(())
        } else {
            let again = Rearm {
                interest,
                armed,
                ended: Ready::EMPTY,
            };
            self.table.rearm(token, again)
        }
    }

    /// Makes a mechanism that has to be armed report data and room again, even where it is armed.
    /// Such a mechanism reports what others do to the file, but not what this process has just
    /// done. Other mechanisms report both.
    pub(crate) fn recheck(&mut self, token: Token) {
        if self.table.capabilities().rearm {
            let both = Ready::READABLE | Ready::WRITABLE;
            // After an error the fd is not registered, and its waiters know; or the next arming
            // fails too.
            let _ = self.rearm(token, both);
        }
    }

    /// Clears the bit of a direction and arms it again. After an error the bit is set again.
    #[cold]
    fn clear_and_rearm(&mut self, token: Token, bit: Ready) -> io::Result<()> {
        if let Some(entry) = self.table.get(token) {
            entry.state.cached = entry.state.cached - bit;
        }
        // The call has moved data, so it was not made without need.
        self.table.trust(token);
        self.rearm_or_restore(token, bit)
    }

    /// Adds `interest` to the backend's interest, if the first interest left it out. An accepted
    /// connection is watched from now on.
    #[inline]
    pub(crate) fn watch(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        let Some(entry) = self.table.get(token) else {
            return Ok(());
        };
        let before = entry.watched;
        let added = if entry.is_watched_later() {
            WATCHED_OF_TCP
        } else {
            interest
        };
        // Errors are reported without ERROR in the interest.
        let watched = self.effective_interest(before | added) - Interest::ERROR;
        if before.contains(watched) {
            return Ok(());
        }
        self.watch_by_edge(token, watched)
    }

    /// Takes WRITABLE out of the interest again, if the fd counts as writable, so that no task
    /// waits for it. An edge trigger would report each read of the peer. A mechanism that has to be
    /// armed reports nothing that is not armed.
    pub(crate) fn unwatch_writable(&mut self, token: Token) {
        let rearm = self.table.capabilities().rearm;
        let Some(entry) = self.table.get(token) else {
            return;
        };
        let left = entry.watched - Interest::WRITABLE;
        if rearm || !entry.state.cached.is_writable() || left == entry.watched {
            return;
        }
        // After an error it is still watched, which costs only events.
        let _ = self.watch_by_edge(token, left);
    }

    /// Watches with an edge trigger, which a Unix stream may not have had.
    fn watch_by_edge(&mut self, token: Token, interest: Interest) -> io::Result<()> {
        self.table.modify(token, interest, Trigger::Edge)?;
        if let Some(state) = self.get(token) {
            state.tally = Tally::NONE;
        }
        Ok(())
    }

    /// Watches a Unix stream with a level trigger, if the mechanism and the stream's state allow
    /// it. See `trigger_choice.rs`.
    #[cold]
    fn watch_by_level(&mut self, token: Token) {
        let capabilities = self.table.capabilities();
        // A custom backend may pass on the capabilities of epoll without `level`.
        if !(capabilities.cheap_level && capabilities.level) {
            return;
        }
        let Some(entry) = self.table.get(token) else {
            return;
        };
        entry.state.tally = Tally::NONE;
        let interest = entry.watched;
        if !interest.is_writable() {
            // After an error it is still watched with an edge trigger.
            let _ = self.table.modify(token, interest, Trigger::Level);
        }
    }

    /// Watches the streams with an edge trigger again that were reported too often without a read.
    #[cold]
    fn watch_unread_by_edge(&mut self) {
        while let Some(token) = self.unread.pop() {
            if let Some(entry) = self.table.get(token) {
                let interest = entry.watched;
                // After an error, it is tried again at the next report.
                let _ = self.watch_by_edge(token, interest);
            }
        }
    }

    /// Waits for events and merges them. Returns whether one of them has the reserved index.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        wakers: &Wakers,
        list: &mut WakeList,
    ) -> io::Result<bool> {
        self.round = self.round.wrapping_add(1).max(1);
        match self.table.wait(timeout) {
            Ok(()) => Ok(self.merge(wakers, list)),
            // A signal and no event: an empty turn, so that timers fire, hooks run and signal flags
            // are checked.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn merge(&mut self, wakers: &Wakers, list: &mut WakeList) -> bool {
        let mut reserved = false;
        let round = self.round;
        self.table.for_each_event(|event, entry| match entry {
            Some(entry) => {
                entry.state.merge(event.readiness, round, wakers, list);
                if entry.trigger == Trigger::Level && entry.state.tally.note_report() {
                    self.unread.push(event.token);
                }
            }
            None => reserved |= event.token.index() == RESERVED_INDEX,
        });
        if !self.unread.is_empty() {
            self.watch_unread_by_edge();
        }
        reserved
    }

    /// Merges a result of poll(2) for one registration, as if a turn had brought it.
    pub(crate) fn merge_one(
        &mut self,
        token: Token,
        seen: Ready,
        wakers: &Wakers,
        list: &mut WakeList,
    ) {
        self.round = self.round.wrapping_add(1).max(1);
        let round = self.round;
        if let Some(state) = self.get(token) {
            state.merge(seen, round, wakers, list);
        }
    }
}

/// Whether poll(2) finds data to read. An error alone does not count: the read that would block did
/// not return it.
#[cold]
fn is_readable(fd: RawFd) -> bool {
    backend::poll_now_ignoring_errors(fd, Interest::READABLE).is_ok_and(Ready::is_readable)
}

#[cold]
fn deregistered() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the fd is no longer registered",
    )
}
