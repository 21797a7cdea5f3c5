//! From the kernel's answers to events: whose each one is, whether it still holds, and what is to be armed again.

use super::abi::Completion;
use super::{NOBODY, NOTIFIER, Slot, Uring, VACANT, user_data};
use crate::backend::pollset::{mask, readiness};
use crate::backend::{Events, Interest, Readiness, Token, Trigger};
use crate::sys;
use crate::sys::syscall::retry;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

impl Uring {
    /// With what the request of a registration has ended, if that is in the ring and was not looked at yet.
    #[inline(never)]
    pub(super) fn end_of(&self, fd: RawFd) -> Option<i32> {
        let data = user_data(fd, self.slots[fd as usize].request);
        let is_end = &mut |answer: Completion| answer.user_data == data && !answer.is_more();
        self.ring.find(is_end).map(|answer| answer.result)
    }

    /// Looks, right after a multishot request was handed over, whether it has ended at once: then its file has no wait
    /// queue. Or the answer did not fit, which must not be taken for that: while the kernel holds other answers it adds
    /// this one to them, room in the ring or not, and may move them all into the ring in the same call; so nobody calls
    /// this who had [`is_overflown`](super::Ring::is_overflown) before. When that began later the ring was full, and
    /// still is: the end is not in it. A request on another io_uring's fd that is woken by an answer of that one is ended
    /// too, so that the two do not wake each other for ever, and has to be made anew.
    pub(super) fn note_constant(&mut self, fd: RawFd) {
        if self.slots[fd as usize].trigger == Trigger::Edge {
            let ended = self.end_of(fd).is_some_and(|result| result >= 0);
            self.slots[fd as usize].is_constant = ended && !may_be_rings(fd);
        }
    }

    /// Moves the answers into `events`, as many as fit. The first `old` were there before this wait began. Returns
    /// whether there was a notification.
    pub(super) fn deliver(&mut self, mut old: u32, events: &mut Events) -> io::Result<bool> {
        let mut is_notified = false;
        while let Some(answer) = self.moved.front().copied().or_else(|| self.ring.peek()) {
            if answer.user_data == NOTIFIER {
                is_notified = true;
                if !self.notify.edge_repeats() {
                    self.notify.drain();
                }
                if !answer.is_more() {
                    self.watch_notifier()?;
                }
            } else if let Some(fd) = self.whose(answer.user_data) {
                if !self.take(fd, answer, old > 0, events) {
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
            self.end(data)?;
        }
        Ok(is_notified)
    }

    /// Takes one answer. False: there is no room for it.
    fn take(&mut self, fd: RawFd, answer: Completion, is_old: bool, events: &mut Events) -> bool {
        let slot = &mut self.slots[fd as usize];
        if !slot.is_reported(events) && events.room() <= self.unsure.len() {
            return false;
        }
        let is_over = !answer.is_more();
        if is_over {
            slot.request = 0;
        }
        if answer.result < 0 {
            self.fail(fd, -answer.result, events);
            return true;
        }
        let bits = answer.result as libc::c_short;
        let (interest, is_edge) = (slot.interest, slot.trigger == Trigger::Edge);
        let is_wanted = bits & wanted(interest, is_edge) != 0;
        if is_edge {
            if is_over && !slot.is_constant {
                self.queue(fd);
            }
        } else if !is_wanted {
            slot.is_deaf = true;
            if is_over {
                self.queue(fd);
            }
            return true;
        } else if !is_over {
            slot.request = 0;
            self.spent.push(answer.user_data);
        }
        let is_guess = bits & libc::POLLPRI != 0 && bits & libc::POLLRDBAND != 0;
        if is_guess || (is_old && !is_edge) {
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

    /// Reports what still holds of the older answers, and what is true of those that guess. What is not is waited for
    /// again.
    fn confirm(&mut self, events: &mut Events) {
        if self.unsure.is_empty() {
            return;
        }
        let mut unsure = std::mem::take(&mut self.unsure);
        self.told.extend(unsure.iter().map(|entry| entry.revents));
        // On failure the entries still hold what the answers said.
        let _ = retry(|| sys::poll::poll(&mut unsure, Some(Duration::ZERO)));
        for (at, entry) in unsure.iter().enumerate() {
            let slot = &self.slots[entry.fd as usize];
            if slot.token == NOBODY {
                continue;
            }
            if slot.trigger != Trigger::Edge {
                match entry.revents {
                    0 => self.queue(entry.fd),
                    bits => self.finish(entry.fd, bits, events),
                }
                continue;
            }
            let bits = self.told[at] & !libc::POLLPRI | entry.revents & libc::POLLPRI;
            if bits & wanted(slot.interest, true) != 0 {
                self.report(entry.fd, seen(bits, slot.interest), events);
            }
        }
        self.told.clear();
        unsure.clear();
        self.unsure = unsure;
    }

    /// Reports a level or one-shot registration, which has no request now.
    fn finish(&mut self, fd: RawFd, bits: libc::c_short, events: &mut Events) {
        let slot = &self.slots[fd as usize];
        self.report(fd, seen(bits, slot.interest), events);
        let is_final = bits & (libc::POLLERR | libc::POLLHUP) != 0;
        if bits & libc::POLLNVAL != 0 {
            self.slots[fd as usize] = VACANT;
        } else if self.slots[fd as usize].trigger == Trigger::Level && !is_final {
            self.queue(fd);
        }
    }

    /// A request was refused: the number was closed behind our back, or the kernel is short of something.
    #[cold]
    fn fail(&mut self, fd: RawFd, code: i32, events: &mut Events) {
        let both = Readiness::READABLE | Readiness::WRITABLE;
        if code == libc::EINVAL {
            // Its file has no wait queue, and nothing of what is asked for holds or ever will.
            self.slots[fd as usize].is_constant = true;
        } else if code == libc::EBADF {
            self.report(fd, both | Readiness::INVALID, events);
            self.slots[fd as usize] = VACANT;
        } else {
            self.report(fd, both | Readiness::ERROR, events);
        }
    }

    /// Adds to what this batch says of an fd.
    #[inline(never)]
    fn report(&mut self, fd: RawFd, seen: Readiness, events: &mut Events) {
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
    /// Whether this batch reports it.
    fn is_reported(&self, events: &Events) -> bool {
        let event = events.as_slice().get(self.place as usize);
        event.is_some_and(|event| event.token.to_u64() == self.token)
    }
}

/// What the kernel is asked for. Its poll requests are not woken for `POLLPRI` alone; and they are told by TCP, for
/// any data, that there may be `POLLIN | POLLPRI | POLLRDBAND`, and pass that on without a look. The socket itself never
/// says `POLLRDBAND`: where that comes, `POLLPRI` is a guess.
pub(super) fn asked(interest: Interest) -> libc::c_short {
    if interest.is_priority() {
        mask(interest) | libc::POLLIN | libc::POLLRDBAND
    } else {
        mask(interest)
    }
}

/// What makes an event of an answer. That a peer has ended its side is told to whoever may hear of it twice.
fn wanted(interest: Interest, is_edge: bool) -> libc::c_short {
    let end = if is_edge { libc::POLLRDHUP } else { 0 };
    mask(interest) | libc::POLLERR | libc::POLLHUP | end
}

/// What the bits say to who asked for `interest`: data and a peer's end make readable only for who wants to read.
fn seen(bits: libc::c_short, interest: Interest) -> Readiness {
    if interest.is_readable() {
        return readiness(bits);
    }
    let ended = match bits & libc::POLLRDHUP {
        0 => Readiness::EMPTY,
        _ => Readiness::READ_CLOSED,
    };
    readiness(bits & !(libc::POLLIN | libc::POLLRDHUP)) | ended
}

/// Whether the file is none of the kinds that cannot be polled: rings, or what watches them.
fn may_be_rings(fd: RawFd) -> bool {
    matches!(sys::fd::identify(fd), Ok((_, sys::fd::FileKind::Other)))
}
