//! [`RecheckList`] holds fds with a lasting hang-up or error and nothing else to report, and
//! rechecks them with poll(2). Examples are an unread error queue, and a FIFO or a terminal without
//! the other side.
//!
//! A hang-up or an error cannot be masked. A mechanism that has to be armed again after each event
//! would report such an fd every time it is armed. So the fd is not armed but put on this list, and
//! one call of poll(2) rechecks all fds of the list together. The first recheck comes 1 ms after a
//! change, and the interval doubles up to 32 ms. An fd whose result has changed is armed again.
//!
//! Some files report each change to one call of poll(2) only. Such a result is reported to the loop
//! from here.

use crate::backend::{self, Event, Events, Revents};
use crate::interest::{Interest, Ready};
use crate::reactor::clock::Moment;
use crate::token::{BuildKeyHasher, Token};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::time::Duration;

/// The time from a change to the first recheck.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// The longest interval between two rechecks.
pub(crate) const MAX_INTERVAL: Duration = Duration::from_millis(32);

/// An fd on the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deferred {
    pub(crate) fd: RawFd,
    /// The interest to report, beside hang-ups and errors.
    pub(crate) armed: Interest,
    /// The last result of poll(2).
    pub(crate) answer: Revents,
}

/// The fds on the list, by token, and the events that rechecks have found.
#[derive(Debug)]
pub(crate) struct RecheckList {
    list: HashMap<u64, Deferred, BuildKeyHasher>,
    /// Events that the next wait reports in addition to those of the mechanism.
    found: Vec<Event>,
    /// The time of the next recheck. Not later than now if `found` has events; `NEVER` if there is
    /// nothing to do.
    next_recheck: Moment,
    interval: Duration,
}

impl RecheckList {
    pub(crate) fn new() -> RecheckList {
        RecheckList {
            list: HashMap::default(),
            found: Vec::new(),
            next_recheck: Moment::NEVER,
            interval: MIN_INTERVAL,
        }
    }

    /// Returns the time of the next recheck, if there is anything to do.
    #[inline]
    pub(crate) fn next_recheck(&self) -> Option<Moment> {
        (self.next_recheck != Moment::NEVER).then_some(self.next_recheck)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next_recheck == Moment::NEVER
    }

    /// Adds an fd.
    pub(crate) fn insert(&mut self, token: Token, held: Deferred, now: Moment) {
        self.list.insert(token.to_u64(), held);
        self.recheck_soon(now);
    }

    /// Removes an fd. Returns false if it was not on the list.
    pub(crate) fn remove(&mut self, token: Token) -> bool {
        if self.is_empty() {
            return false;
        }
        let was_held = self.list.remove(&token.to_u64()).is_some();
        if self.list.is_empty() && self.found.is_empty() {
            self.next_recheck = Moment::NEVER;
        }
        was_held
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.found.clear();
        self.next_recheck = Moment::NEVER;
    }

    /// Makes the next wait report an event.
    pub(crate) fn report(&mut self, token: Token, readiness: Ready, now: Moment) {
        self.found.push(Event { token, readiness });
        self.next_recheck = now;
    }

    /// Moves the events that were found to a batch, as many as fit.
    pub(crate) fn take_found(&mut self, events: &mut Events, now: Moment) {
        let count = self.found.len().min(events.room());
        for event in self.found.drain(..count) {
            events.push(event.token, event.readiness);
        }
        if !self.found.is_empty() {
            self.next_recheck = now;
        }
    }

    /// Restarts with the shortest interval, after an event on any fd.
    pub(crate) fn recheck_soon(&mut self, now: Moment) {
        self.interval = MIN_INTERVAL;
        self.next_recheck = self.next_recheck.min(now.plus(MIN_INTERVAL));
    }

    /// Makes the next recheck due, if there is anything to do.
    #[cfg(feature = "test-util")]
    pub(crate) fn recheck_now(&mut self, now: Moment) {
        self.next_recheck = match self.is_empty() {
            true => Moment::NEVER,
            false => now,
        };
    }

    /// Calls poll(2) if it is time. Removes the fds whose result has changed, and returns them.
    pub(crate) fn take_changed(&mut self, now: Moment) -> Vec<(Token, RawFd)> {
        if now < self.next_recheck {
            return Vec::new();
        }
        if self.list.is_empty() {
            self.next_recheck = Moment::NEVER;
            return Vec::new();
        }
        let polled = self.list.values().map(|held| (held.fd, held.armed));
        // If poll(2) fails, nothing counts as changed.
        let answers = backend::poll_revents_of_all(polled).unwrap_or_default();
        let mut changed = Vec::new();
        for ((token, held), answer) in self.list.iter().zip(answers) {
            if answer == held.answer {
                continue;
            }
            let (token, fresh) = (
                Token::from_u64(*token),
                answer.unmaskable_since(held.answer),
            );
            changed.push((token, held.fd));
            if !fresh.is_empty() {
                self.found.push(Event {
                    token,
                    readiness: fresh,
                });
            }
        }
        for (token, _) in &changed {
            self.list.remove(&token.to_u64());
        }
        self.interval = match changed.is_empty() {
            true => (self.interval * 2).min(MAX_INTERVAL),
            false => MIN_INTERVAL,
        };
        self.next_recheck = match self.list.is_empty() {
            true => Moment::NEVER,
            false => now.plus(self.interval),
        };
        changed
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn token(index: u32) -> Token {
        Token::new(index, 1)
    }

    /// Returns a socket whose peer has ended both sides, with no interest.
    fn hung_up() -> (UnixStream, UnixStream, Deferred) {
        let (here, there) = UnixStream::pair().unwrap();
        there.shutdown(Shutdown::Both).unwrap();
        let (fd, armed) = (here.as_raw_fd(), Interest::EMPTY);
        let answer = backend::poll_revents(fd, armed).unwrap();
        assert!(answer.is_only_hangup_or_error());
        (here, there, Deferred { fd, armed, answer })
    }

    #[test]
    fn next_recheck_doubles_its_interval_until_something_changes() {
        let (_here, _there, held) = hung_up();
        let mut rechecks = RecheckList::new();
        assert!(rechecks.is_empty() && rechecks.next_recheck().is_none());
        let mut now = Moment::monotonic();
        rechecks.insert(token(1), held, now);
        for millis in [1, 2, 4, 8, 16, 32, 32, 32] {
            let next = rechecks.next_recheck().unwrap();
            assert_eq!(next.since(now), Duration::from_millis(millis));
            // Too early: nothing is polled and nothing moves.
            assert_eq!(rechecks.take_changed(now), []);
            assert_eq!(rechecks.next_recheck(), Some(next));
            now = next;
            assert_eq!(rechecks.take_changed(now), []);
        }
        rechecks.recheck_soon(now);
        assert_eq!(rechecks.next_recheck().unwrap().since(now), MIN_INTERVAL);
        // A second fd does not delay the recheck.
        let (_here, _there, other) = hung_up();
        rechecks.insert(token(2), other, now.plus(MIN_INTERVAL / 2));
        assert_eq!(rechecks.next_recheck().unwrap().since(now), MIN_INTERVAL);
        assert!(rechecks.remove(token(1)) && !rechecks.remove(token(1)));
        assert!(rechecks.remove(token(2)));
        assert!(rechecks.is_empty());
    }

    #[test]
    fn take_changed_removes_only_what_has_changed() {
        let mut rechecks = RecheckList::new();
        let (_one, _peer, held) = hung_up();
        let (other, mut peer) = UnixStream::pair().unwrap();
        let fd = other.as_raw_fd();
        let armed = Interest::READABLE;
        let answer = backend::poll_revents(fd, armed).unwrap();
        let now = Moment::monotonic();
        rechecks.insert(token(1), held, now);
        rechecks.insert(token(2), Deferred { fd, armed, answer }, now);
        let now = rechecks.next_recheck().unwrap();
        assert_eq!(rechecks.take_changed(now), []);
        peer.write_all(b"x").unwrap();
        let now = rechecks.next_recheck().unwrap();
        assert_eq!(rechecks.take_changed(now), [(token(2), fd)]);
        assert_eq!(rechecks.next_recheck().unwrap().since(now), MIN_INTERVAL);
        assert!(rechecks.remove(token(1)) && rechecks.is_empty());
    }

    #[test]
    fn take_found_fills_only_the_room_of_a_batch() {
        let mut rechecks = RecheckList::new();
        let (now, ready) = (Moment::monotonic(), Ready::PRIORITY);
        for index in 0..3 {
            rechecks.report(token(index), ready, now);
        }
        let mut events = Events::with_capacity(2);
        for count in [2, 1] {
            assert_eq!(rechecks.next_recheck(), Some(now));
            assert_eq!(rechecks.take_changed(now), []);
            events.clear();
            rechecks.take_found(&mut events, now);
            assert_eq!(events.as_slice().len(), count);
        }
        assert!(rechecks.is_empty());
        // A new hang-up or error of an fd on the list is reported, not only armed.
        let (here, there) = UnixStream::pair().unwrap();
        let (fd, armed) = (here.as_raw_fd(), Interest::EMPTY);
        let answer = backend::poll_revents(fd, armed).unwrap();
        rechecks.insert(token(1), Deferred { fd, armed, answer }, now);
        there.shutdown(Shutdown::Both).unwrap();
        let now = rechecks.next_recheck().unwrap();
        assert_eq!(rechecks.take_changed(now), [(token(1), fd)]);
        events.clear();
        rechecks.take_found(&mut events, now);
        assert!(events.as_slice()[0].readiness.is_write_closed());
        assert!(rechecks.is_empty());
    }
}
