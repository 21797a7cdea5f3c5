//! Requests: made, handed over, made anew, and ended.

use super::abi::{Completion, Entry};
use super::answers::asked;
use super::{LOOK, REMOVAL, Slot, Uring, user_data};
use crate::backend::Trigger;
use crate::sys::syscall::retry;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// How often a removal is tried. Twice is enough, in all that was seen.
const PATIENCE: usize = 100;

impl Uring {
    /// Hands over what was pushed, and does not wait.
    #[inline(never)]
    pub(super) fn flush(&self) -> io::Result<()> {
        retry(|| self.ring.enter(0, None))
    }

    /// Puts a request into the ring; when that is full, hands over what is in it first.
    #[inline(never)]
    pub(super) fn push(&self, entry: Entry) -> io::Result<()> {
        while !self.ring.push(entry) {
            let before = self.ring.unsubmitted();
            self.flush()?;
            if self.ring.unsubmitted() == before {
                return Err(io::Error::from_raw_os_error(libc::EBUSY));
            }
        }
        Ok(())
    }

    /// Makes the request of a registration that has none. The next `enter` hands it over.
    pub(super) fn arm(&mut self, fd: RawFd) -> io::Result<()> {
        self.last_request = self.last_request.wrapping_add(1).max(1);
        let request = self.last_request;
        let slot = &self.slots[fd as usize];
        let multishot = slot.trigger == Trigger::Edge || slot.is_deaf;
        let data = user_data(fd, request);
        self.push(Entry::poll_add(fd, asked(slot.interest), multishot, data))?;
        self.slots[fd as usize].request = request;
        Ok(())
    }

    /// As `arm`, and hands it over: the error is the kernel's.
    pub(super) fn arm_now(&mut self, fd: RawFd) -> io::Result<()> {
        self.arm(fd)?;
        let was_overflown = self.ring.is_overflown();
        self.flush()?;
        if !was_overflown {
            self.note_constant(fd);
        }
        let mut end = self.end_of(fd);
        while end.is_none() && self.ring.is_overflown() {
            self.empty_ring();
            self.flush()?;
            end = self.end_of(fd);
        }
        match end.unwrap_or(0) {
            0.. => Ok(()),
            // No wait queue, and nothing of what is asked for holds.
            code if code == -libc::EINVAL => Err(io::ErrorKind::Unsupported.into()),
            code => Err(io::Error::from_raw_os_error(-code)),
        }
    }

    /// Ends a request that its slot knows no longer, and comes back when the kernel has let go of the file.
    #[inline(never)]
    pub(super) fn end(&mut self, user_data: u64) -> io::Result<()> {
        let ended = self.end_in_ring(user_data);
        // Room for what comes next, and silence of the fd: nothing of this is ever reported.
        while let Some(answer) = self.ring.peek() {
            if self.is_live(answer) {
                break;
            }
            self.ring.pop();
        }
        if self.ring.ready() >= self.ring.sizes().1 / 2 {
            self.ring.retain(&mut |answer| self.is_live(answer));
        }
        ended
    }

    fn end_in_ring(&mut self, user_data: u64) -> io::Result<()> {
        let is_end = &mut |answer: Completion| {
            let answers = answer.user_data == user_data && !answer.is_more();
            let is_unknown = answer.result == -libc::ENOENT;
            answers || (answer.user_data == user_data | REMOVAL && is_unknown)
        };
        if self.ring.find(is_end).is_some() {
            return Ok(());
        }
        let mut attempts = 0;
        while attempts < PATIENCE {
            // Anew each time: the last one may have met a wake-up, and been refused.
            self.push(Entry::poll_remove(user_data, user_data | REMOVAL))?;
            let entered = if attempts == 0 {
                self.ring.enter(0, None)
            } else {
                let patience = Some(Duration::from_millis(1));
                self.ring.enter(self.ring.ready() + 2, patience)
            };
            match entered.map_err(|error| error.raw_os_error()) {
                Ok(()) | Err(Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {}
                Err(code) => return Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
            }
            if self.ring.find(is_end).is_some() {
                return Ok(());
            }
            if self.ring.is_overflown() {
                // It is behind those that did not fit.
                self.empty_ring();
            } else {
                attempts += 1;
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Ends all requests but the notifier's, as far as the kernel lets it. Nothing is reported afterwards.
    pub(super) fn end_all(&self) {
        let armed = |(at, slot): (usize, &Slot)| {
            (slot.request != 0).then(|| user_data(at as RawFd, slot.request))
        };
        let mut ends: Vec<u64> = self.slots.iter().enumerate().filter_map(armed).collect();
        for attempt in 0..PATIENCE {
            if ends.is_empty() {
                return;
            }
            if attempt > 1 {
                // Who wakes it is held up, on another processor.
                let _ = self.ring.enter(1, Some(Duration::from_millis(1)));
            }
            let mut refused = Vec::new();
            for data in ends {
                while !self.ring.push(Entry::poll_remove(data, data | REMOVAL)) {
                    if !self.flush_and_drop_answers(&mut refused) {
                        return;
                    }
                }
            }
            while self.ring.unsubmitted() != 0 || self.ring.is_overflown() {
                if !self.flush_and_drop_answers(&mut refused) {
                    return;
                }
            }
            ends = refused;
        }
    }

    /// Hands over what was pushed. Of the answers only those are kept that refuse a removal. False: the call has failed.
    fn flush_and_drop_answers(&self, refused: &mut Vec<u64>) -> bool {
        let flushed = self.flush();
        self.ring.retain(&mut |answer| {
            if answer.result == -libc::EALREADY {
                refused.push(answer.user_data & !REMOVAL);
            }
            false
        });
        flushed.is_ok()
    }

    /// Moves the answers out of the ring, into memory of ours.
    #[cold]
    fn empty_ring(&mut self) {
        while let Some(answer) = self.ring.peek() {
            if self.is_live(answer) {
                self.moved.push_back(answer);
            }
            self.ring.pop();
        }
    }

    /// How many answers there are.
    pub(super) fn ready(&self) -> u32 {
        self.moved.len() as u32 + self.ring.ready()
    }

    /// Has the next wait make the request of a registration anew.
    pub(super) fn queue(&mut self, fd: RawFd) {
        let slot = &mut self.slots[fd as usize];
        if !slot.is_queued {
            slot.is_queued = true;
            self.again.push(fd);
        }
    }

    /// Makes the requests anew that were queued.
    fn arm_queued(&mut self) -> io::Result<()> {
        while let Some(fd) = self.again.pop() {
            let slot = &self.slots[fd as usize];
            if slot.is_queued && slot.request == 0 {
                if let Err(error) = self.arm(fd) {
                    self.again.push(fd);
                    return Err(error);
                }
                if self.slots[fd as usize].trigger == Trigger::Edge {
                    self.renewed.push(fd);
                }
            }
            self.slots[fd as usize].is_queued = false;
        }
        Ok(())
    }

    /// Leaves nothing for the next wait to do that the fd does not show.
    pub(super) fn show_to_host(&self) -> io::Result<()> {
        if !self.hosted.get() {
            return Ok(());
        }
        let is_hidden = !self.again.is_empty() || !self.moved.is_empty();
        if is_hidden && self.ring.ready() == 0 {
            self.push(Entry::nop(LOOK))?;
        }
        if self.ring.unsubmitted() != 0 {
            self.flush()?;
        }
        Ok(())
    }

    /// Enters the kernel if there is reason to. `old` answers are there already.
    pub(super) fn enter(&mut self, old: u32, timeout: Option<Duration>) -> io::Result<()> {
        let was_overflown = self.ring.is_overflown();
        self.arm_queued()?;
        if old == 0 && timeout != Some(Duration::ZERO) {
            self.ring.enter(1, timeout)?;
        } else if old == 0 || self.ring.unsubmitted() != 0 || self.ring.is_overflown() {
            self.flush()?;
        }
        while let Some(fd) = self.renewed.pop() {
            if !was_overflown {
                self.note_constant(fd);
            }
        }
        Ok(())
    }
}
