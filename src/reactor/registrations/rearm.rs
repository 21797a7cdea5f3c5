//! Arms edge-triggered registrations again, and keeps lasting hang-ups and errors, which cannot be
//! masked, from ending every wait.
//!
//! | trigger | what happens while a hang-up or an error lasts |
//! |---|---|
//! | `Edge`, on a mechanism that has to be armed again | the fd is not armed but put on the [recheck list](super::super::recheck_list), until the result of poll(2) changes |
//! | `Edge`, on any other mechanism | nothing: its next event is a new one |
//! | `Level` without READABLE | the callback loop takes it out, until `modify` |
//! | `Level` with READABLE; `Oneshot` | nothing: the trigger means this |

use super::super::clock::Moment;
use super::super::recheck_list::Deferred;
use super::{Backing, RegistrationState, Registrations, live};
use crate::backend;
use crate::interest::{Interest, Ready};
use crate::sys::fd::FileId;
use crate::token::Token;
use std::io;
use std::time::Duration;

/// The suspicion at which poll(2) is called before an fd is armed again. An event with a hang-up or
/// an error sets it. On mechanisms without such events, arming the fd this often in a row without a
/// call that moved data reaches it.
const SUSPECT: u8 = 8;

/// How an edge-triggered registration is armed again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rearm {
    /// The directions that were delivered and have to be armed.
    pub(crate) interest: Interest,
    /// All directions that are armed afterwards.
    pub(crate) armed: Interest,
    /// The sides whose end was delivered to a handler that should not receive it again. Such a side
    /// is not armed while poll(2) reports its end. (A FIFO may get another writer, and an
    /// unconnected socket may listen.)
    pub(crate) ended: Ready,
}

impl<S: RegistrationState> Registrations<S> {
    /// Removes a level-triggered registration without READABLE from the backend, because it would
    /// report a hang-up or an error in every wait. It is watched again from the next `modify` on.
    /// If there is only an error, and the interest is not empty, it is also watched again when
    /// something of the interest is ready. Does nothing if the hang-up or error is over, like the
    /// error of a datagram socket after a call has returned it.
    #[cold]
    pub(crate) fn take_out(&mut self, token: Token) {
        let forked = self.is_forked();
        let Some(entry) = live(&mut self.entries, token) else {
            return;
        };
        if forked || !entry.backing.is_watched() {
            return;
        }
        debug_assert!(entry.state.fd().is_some(), "it could not be watched again");
        let (fd, armed) = (entry.fd, entry.watched);
        let mut held = None;
        if let Ok((once, answer)) = backend::poll_revents_twice(fd, armed) {
            if !once.is_empty() {
                self.rechecks.report(token, once, Moment::monotonic());
            }
            let waits = !armed.is_empty() && !answer.is_hung_up();
            if !answer.is_hangup_or_error() || waits && !answer.is_only_hangup_or_error() {
                return;
            }
            held = waits.then_some(Deferred { fd, armed, answer });
        }
        // After a failure, such as for a closed number, the token is not registered either.
        let _ = self.backend.remove(fd, token);
        entry.backing = Backing::TakenOut;
        self.taken_out.insert(fd, FileId::of(fd).ok());
        if let Some(held) = held {
            self.rechecks.insert(token, held, Moment::monotonic());
        }
    }

    /// Arms directions of an edge-triggered registration again, where the mechanism needs it.
    pub(crate) fn rearm(&mut self, token: Token, again: Rearm) -> io::Result<()> {
        self.check_forked()?;
        let reports_errors = self.capabilities.errors;
        let Some(entry) = live(&mut self.entries, token) else {
            return Ok(());
        };
        if !entry.backing.is_watched() {
            return Ok(());
        }
        if !reports_errors {
            entry.suspicion = entry.suspicion.saturating_add(1);
        }
        if entry.suspicion >= SUSPECT {
            return self.rearm_suspect(token, again);
        }
        self.backend.rearm(entry.fd, token, again.interest)
    }

    /// As `rearm`, for a registration that may have a lasting hang-up or error: puts it on the
    /// recheck list if there is nothing else to report.
    #[cold]
    fn rearm_suspect(&mut self, token: Token, again: Rearm) -> io::Result<()> {
        let Rearm {
            mut interest,
            mut armed,
            ended,
        } = again;
        let Some(entry) = live(&mut self.entries, token) else {
            return Ok(());
        };
        let fd = entry.fd;
        let Ok((once, mut answer)) = backend::poll_revents_twice(fd, armed) else {
            // The mechanism returns the error.
            return self.backend.rearm(fd, token, interest);
        };
        entry.suspicion = if answer.is_hangup_or_error() {
            SUSPECT
        } else {
            0
        };
        if !once.is_empty() {
            self.rechecks.report(token, once, Moment::monotonic());
        }
        for (direction, stays_ended) in [
            (
                Interest::READABLE,
                ended.is_read_closed() && answer.is_read_closed(),
            ),
            (
                Interest::WRITABLE,
                ended.is_write_closed() && answer.is_hung_up(),
            ),
        ] {
            if stays_ended {
                (interest, armed) = (interest - direction, armed - direction);
                answer = answer.without(direction);
            }
        }
        if answer.is_only_hangup_or_error() {
            let held = Deferred { fd, armed, answer };
            self.rechecks.insert(token, held, Moment::monotonic());
            return Ok(());
        }
        // The fd was on the recheck list, so its other directions are not armed either.
        if self.rechecks.remove(token) {
            interest |= armed;
        }
        self.backend.rearm(fd, token, interest)
    }

    /// Notes that a call has moved data, on mechanisms without events for hang-ups and errors.
    pub(crate) fn trust(&mut self, token: Token) {
        if !self.capabilities.errors {
            if let Some(entry) = self.get(token) {
                entry.suspicion = 0;
            }
        }
    }

    /// Returns when the loop has to make a turn for the recheck list, if there is anything on it.
    #[inline]
    pub(crate) fn next_recheck(&self) -> Option<Moment> {
        self.rechecks.next_recheck()
    }

    /// Returns the time until [`next_recheck`](Registrations::next_recheck).
    #[inline]
    pub(crate) fn until_next_recheck(&self) -> Option<Duration> {
        self.next_recheck()
            .map(|next| next.since(Moment::monotonic()))
    }

    /// Notes which events contain a hang-up or an error, on a mechanism that has to be armed again.
    pub(super) fn note_hangups_and_errors(&mut self) {
        for event in self.events.as_slice() {
            if backend::is_hangup_or_error(event.readiness) {
                if let Some(entry) = live(&mut self.entries, event.token) {
                    entry.suspicion = SUSPECT;
                }
            }
        }
    }

    /// Rechecks the fds of the list, whether or not it is time.
    #[cfg(feature = "test-util")]
    pub(crate) fn recheck_now(&mut self) {
        if !self.rechecks.is_empty() {
            self.rechecks.recheck_now(Moment::monotonic());
            self.recheck();
        }
    }

    /// Rechecks the fds of the list, if it is time. Arms those that have changed, so that the next
    /// wait reports them, and reports now those that cannot be armed.
    #[cold]
    pub(super) fn recheck(&mut self) {
        let now = Moment::monotonic();
        if !self.events.as_slice().is_empty() {
            self.rechecks.recheck_soon(now);
        }
        for (token, fd) in self.rechecks.take_changed(now) {
            let Some(entry) = live(&mut self.entries, token) else {
                continue;
            };
            let (interest, trigger) = (entry.watched, entry.trigger);
            let armed = match entry.backing {
                Backing::TakenOut => self.modify(token, interest, trigger),
                _ => self.backend.rearm(fd, token, interest | Interest::ERROR),
            };
            if armed.is_err() {
                let both = Ready::READABLE | Ready::WRITABLE;
                let invalid = both | Ready::INVALID;
                self.rechecks.report(token, invalid, now);
            }
        }
        self.rechecks.take_found(&mut self.events, now);
    }
}
