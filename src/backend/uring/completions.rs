//! Turns the kernel's completions into events: finds the registration of each, checks whether it
//! still holds, and notes what has to be armed again.

use super::abi::Completion;
use super::{NO_OWNER, NOTIFIER, Slot, Uring, VACANT, user_data};
use crate::backend::pollset::{mask, readiness};
use crate::backend::{Events, Interest, Ready, Token, Trigger};
use crate::sys;
use crate::sys::syscall::retry;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

impl Uring {
    /// Returns the result with which the request of a registration has ended, if its completion is
    /// in the ring and was not processed yet.
    #[inline(never)]
    pub(super) fn end_of(&self, fd: RawFd) -> Option<i32> {
        let data = user_data(fd, self.slots[fd as usize].request);
        let is_end =
            &mut |completion: Completion| completion.user_data == data && !completion.stays_armed();
        self.ring.find(is_end).map(|completion| completion.result)
    }

    /// Checks, right after a multishot request was submitted, whether it has ended at once: then
    /// its file has no wait queue.
    ///
    /// A lack of room for the completion must not count as that. While the kernel holds completions
    /// that did not fit, it adds this one to them, and may move them all into the ring in the same
    /// call. So this must not be called if [`has_overflow`](super::Ring::has_overflow) was true
    /// before. If the overflow began later the ring was full, and still is: the end is not in it. A
    /// request on another io_uring's fd that is woken by a completion of that ring is ended too, so
    /// that the two do not wake each other forever, and has to be renewed.
    pub(super) fn note_no_wait_queue(&mut self, fd: RawFd) {
        if self.slots[fd as usize].is_multishot() {
            let ended = self.end_of(fd).is_some_and(|result| result >= 0);
            self.slots[fd as usize].has_no_wait_queue = ended && !may_be_rings(fd);
        }
    }

    /// Moves the completions into `events`, as many as fit. The first `old` existed before this
    /// wait began. Returns whether there was a notification.
    pub(super) fn deliver(&mut self, mut old: u32, events: &mut Events) -> io::Result<bool> {
        let mut is_notified = false;
        while let Some(completion) = self.moved.front().copied().or_else(|| self.ring.peek()) {
            if completion.user_data == NOTIFIER {
                is_notified = true;
                if !self.notify.edge_repeats() {
                    self.notify.drain();
                }
                if !completion.stays_armed() {
                    self.notifier_ended = true;
                    self.renew_notifier()?;
                }
            } else if let Some(fd) = self.fd_of(completion.user_data) {
                if !self.take(fd, completion, old > 0, events) {
                    break;
                }
            }
            if self.moved.pop_front().is_none() {
                self.ring.pop();
            }
            old = old.saturating_sub(1);
        }
        self.confirm(events);
        while let Some(data) = self.spent.pop() {
            let ended = self.end(data);
            self.tolerate(ended)?;
        }
        Ok(is_notified)
    }

    /// Processes one completion. Returns false if there is no room for it.
    fn take(
        &mut self,
        fd: RawFd,
        completion: Completion,
        is_old: bool,
        events: &mut Events,
    ) -> bool {
        let slot = &mut self.slots[fd as usize];
        if !slot.is_reported(events) && events.room() <= self.unsure.len() {
            return false;
        }
        let is_over = !completion.stays_armed();
        if is_over {
            slot.request = 0;
        }
        if completion.result < 0 {
            self.fail(fd, -completion.result, events);
            return true;
        }
        let bits = completion.result as libc::c_short;
        let (interest, is_edge) = (slot.interest, slot.trigger == Trigger::Edge);
        let is_wanted = bits & event_bits(interest, is_edge) != 0;
        if is_edge {
            if is_over && !slot.has_no_wait_queue {
                self.queue(fd);
            }
        } else if !is_wanted {
            slot.uses_multishot = true;
            if is_over && !slot.has_no_wait_queue {
                self.queue(fd);
            }
            return true;
        } else if !is_over {
            slot.request = 0;
            self.spent.push(completion.user_data);
        }
        let is_guess = bits & libc::POLLPRI != 0 && bits & libc::POLLRDBAND != 0;
        if is_guess || (is_old && !is_edge && !is_reported_once(fd, bits)) {
            self.unsure.push(libc::pollfd {
                fd,
                events: mask(interest),
                revents: bits,
            });
        } else if !is_edge {
            self.finish(fd, bits, events);
        } else if is_wanted {
            self.report(fd, seen(bits, interest), events);
        }
        true
    }

    /// Reports what still holds of the older completions and of the guesses. The rest is waited for
    /// again.
    fn confirm(&mut self, events: &mut Events) {
        if self.unsure.is_empty() {
            return;
        }
        let mut unsure = std::mem::take(&mut self.unsure);
        self.unsure_bits
            .extend(unsure.iter().map(|entry| entry.revents));
        // If poll(2) fails, the entries still hold what the completions reported.
        let _ = retry(|| sys::poll::poll(&mut unsure, Some(Duration::ZERO)));
        for (at, entry) in unsure.iter().enumerate() {
            let slot = &self.slots[entry.fd as usize];
            if slot.token == NO_OWNER {
                continue;
            }
            if slot.trigger != Trigger::Edge {
                match entry.revents {
                    0 => self.queue(entry.fd),
                    bits => self.finish(entry.fd, bits, events),
                }
                continue;
            }
            let bits = self.unsure_bits[at] & !libc::POLLPRI | entry.revents & libc::POLLPRI;
            if bits & event_bits(slot.interest, true) != 0 {
                self.report(entry.fd, seen(bits, slot.interest), events);
            }
        }
        self.unsure_bits.clear();
        unsure.clear();
        self.unsure = unsure;
    }

    /// Reports a level or one-shot registration, which has no request now.
    fn finish(&mut self, fd: RawFd, bits: libc::c_short, events: &mut Events) {
        let slot = &self.slots[fd as usize];
        self.report(fd, seen(bits, slot.interest), events);
        if bits & libc::POLLNVAL != 0 {
            self.slots[fd as usize] = VACANT;
        } else if self.slots[fd as usize].trigger == Trigger::Level {
            self.queue(fd);
        }
    }

    /// Handles a request that has failed or was cancelled.
    #[cold]
    fn fail(&mut self, fd: RawFd, code: i32, events: &mut Events) {
        let both = Ready::READABLE | Ready::WRITABLE;
        match code {
            // Its file has no wait queue, and nothing of the interest is ready or ever will be.
            libc::EINVAL => self.slots[fd as usize].has_no_wait_queue = true,
            // The number was closed while it was registered.
            libc::EBADF => {
                self.report(fd, both | Ready::INVALID, events);
                self.slots[fd as usize] = VACANT;
            }
            // Another thread takes back the file or a duplicate of it, or the kernel could not
            // finish the request.
            libc::ECANCELED | libc::EINTR => self.queue(fd),
            libc::ENOMEM | libc::EAGAIN | libc::EBUSY => {
                self.needs_pause = true;
                self.queue(fd);
            }
            // An unknown failure. A call on the fd will return the cause, and the next request
            // shows whether it lasts.
            _ => {
                self.report(fd, both | Ready::ERROR, events);
                if self.slots[fd as usize].trigger != Trigger::Oneshot {
                    self.queue(fd);
                }
            }
        }
    }

    /// Adds bits to the event of an fd in this batch.
    #[inline(never)]
    fn report(&mut self, fd: RawFd, seen: Ready, events: &mut Events) {
        let slot = &mut self.slots[fd as usize];
        if slot.is_reported(events) {
            events.as_mut_slice()[slot.place as usize].readiness |= seen;
        } else {
            slot.place = events.as_slice().len() as u32;
            events.push(Token::from_u64(slot.token), seen);
        }
    }
}

impl Slot {
    /// Whether the request stays armed after a completion.
    pub(super) fn is_multishot(&self) -> bool {
        self.trigger == Trigger::Edge || self.uses_multishot
    }

    /// Whether this batch has an event of it.
    fn is_reported(&self, events: &Events) -> bool {
        let event = events.as_slice().get(self.place as usize);
        event.is_some_and(|event| event.token.to_u64() == self.token)
    }
}

/// Returns the bits of a request. The kernel's poll requests are not woken for `POLLPRI` alone. For
/// any data, TCP wakes them with `POLLIN | POLLPRI | POLLRDBAND`, and they pass that on without a
/// check. The socket itself never reports `POLLRDBAND`: with that bit, `POLLPRI` is a guess.
pub(super) fn request_bits(interest: Interest) -> libc::c_short {
    if interest.is_priority() {
        mask(interest) | libc::POLLIN | libc::POLLRDBAND
    } else {
        mask(interest)
    }
}

/// Returns the bits for which a completion becomes an event. Only edge registrations include the
/// end of the peer's side, because they do not mind a repetition.
fn event_bits(interest: Interest, is_edge: bool) -> libc::c_short {
    let end = if is_edge { libc::POLLRDHUP } else { 0 };
    mask(interest) | libc::POLLERR | libc::POLLHUP | end
}

/// Translates the bits for an interest: data and the end of the peer's side set READABLE only if
/// the interest has it.
fn seen(bits: libc::c_short, interest: Interest) -> Ready {
    if interest.is_readable() {
        return readiness(bits);
    }
    let ended = match bits & libc::POLLRDHUP {
        0 => Ready::EMPTY,
        _ => Ready::READ_CLOSED,
    };
    readiness(bits & !(libc::POLLIN | libc::POLLRDHUP)) | ended
}

/// Whether another poll would not report the same again. Most files of /proc report each change to
/// one poll only; other files, such as sockets, report priority data or an error until a call has
/// taken it.
fn is_reported_once(fd: RawFd, bits: libc::c_short) -> bool {
    bits & (libc::POLLPRI | libc::POLLERR) != 0
        && matches!(sys::fd::identify(fd), Ok((_, sys::fd::FileKind::Regular)))
}

/// Whether the file is none of the kinds that cannot be polled. It may be an io_uring, or something
/// that watches one.
fn may_be_rings(fd: RawFd) -> bool {
    matches!(sys::fd::identify(fd), Ok((_, sys::fd::FileKind::Other)))
}
