//! Makes, submits, renews and ends poll requests.

use super::abi::{Completion, Entry};
use super::completions::request_bits;
use super::{REMOVAL, Slot, Uring, WAKE_HOST, is_temporary, user_data};
use crate::sys;
use crate::sys::syscall::retry;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

/// How often the end of a request is tried.
const MAX_ATTEMPTS: usize = 100;

/// How long a wait pauses when the kernel is short of memory.
const PAUSE: Duration = Duration::from_millis(1);

/// Makes the request that ends another one. A removal has done so when it completes, but is refused
/// while wake-ups come: then the request is cancelled.
fn end_request(user_data: u64, attempts: usize) -> Entry {
    if attempts == 0 {
        Entry::poll_remove(user_data, user_data | REMOVAL)
    } else {
        Entry::cancel(user_data, user_data | REMOVAL)
    }
}

impl Uring {
    /// Submits the requests in the ring, without waiting.
    #[inline(never)]
    pub(super) fn flush(&self) -> io::Result<()> {
        retry(|| self.ring.enter(0, None))
    }

    /// Puts a request into the ring. If the ring is full, submits its requests first.
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

    /// Makes the request of a registration that has none. The next `enter` submits it.
    pub(super) fn arm(&mut self, fd: RawFd) -> io::Result<()> {
        self.last_request = self.last_request.wrapping_add(1).max(1);
        let request = self.last_request;
        let slot = &self.slots[fd as usize];
        let entry = Entry::poll_add(
            fd,
            request_bits(slot.interest),
            slot.is_multishot(),
            user_data(fd, request),
        );
        self.push(entry)?;
        self.slots[fd as usize].request = request;
        Ok(())
    }

    /// As `arm`, and submits it. Returns the kernel's error.
    pub(super) fn arm_now(&mut self, fd: RawFd) -> io::Result<()> {
        self.arm(fd)?;
        let had_overflow = self.ring.has_overflow();
        self.flush()?;
        if !had_overflow {
            self.note_no_wait_queue(fd);
        }
        let mut end = self.end_of(fd);
        while end.is_none() && self.ring.has_overflow() {
            self.empty_ring();
            self.flush()?;
            end = self.end_of(fd);
        }
        match end.unwrap_or(0) {
            0.. => Ok(()),
            // The file has no wait queue, and no part of the interest is ready. Another interest
            // may be.
            code if code == -libc::EINVAL => {
                let slot = &mut self.slots[fd as usize];
                (slot.request, slot.has_no_wait_queue) = (0, true);
                Ok(())
            }
            code => Err(io::Error::from_raw_os_error(-code)),
        }
    }

    /// Ends a request that its slot no longer has, and returns when the kernel has released the
    /// file.
    #[inline(never)]
    pub(super) fn end(&mut self, user_data: u64) -> io::Result<()> {
        let ended = self.end_in_ring(user_data);
        // Makes room for what comes next, and keeps the fd silent: none of this is ever reported.
        while let Some(completion) = self.ring.peek() {
            if self.is_live(completion) {
                break;
            }
            self.ring.pop();
        }
        if self.ring.ready() >= self.ring.sizes().1 / 2 {
            self.ring.retain(&mut |completion| self.is_live(completion));
        }
        ended
    }

    fn end_in_ring(&mut self, user_data: u64) -> io::Result<()> {
        let is_end = &mut |completion: Completion| {
            let has_ended = completion.user_data == user_data && !completion.stays_armed();
            let is_unknown = completion.result == -libc::ENOENT;
            has_ended || (completion.user_data == user_data | REMOVAL && is_unknown)
        };
        if self.ring.find(is_end).is_some() {
            return Ok(());
        }
        let mut attempts = 0;
        while attempts < MAX_ATTEMPTS {
            let pushed = self.push(end_request(user_data, attempts));
            let entered = if pushed.is_err() {
                pushed
            } else if attempts == 0 {
                self.ring.enter(0, None)
            } else {
                let patience = Some(Duration::from_millis(1));
                self.ring.enter(self.ring.ready() + 2, patience)
            };
            match entered.map_err(|error| error.raw_os_error()) {
                Ok(()) | Err(Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
                Err(code) => return Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
            }
            if self.ring.find(is_end).is_some() {
                return Ok(());
            }
            if self.ring.has_overflow() {
                // The completion is behind those that did not fit.
                self.empty_ring();
            } else {
                attempts += 1;
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Ends all requests except the notifier's, as far as the kernel allows it. Nothing is reported
    /// afterwards.
    pub(super) fn end_all(&self) {
        let armed = |(at, slot): (usize, &Slot)| {
            (slot.request != 0).then(|| user_data(at as RawFd, slot.request))
        };
        let mut ends: Vec<u64> = self.slots.iter().enumerate().filter_map(armed).collect();
        for attempt in 0..MAX_ATTEMPTS {
            if ends.is_empty() {
                return;
            }
            if attempt > 1 {
                // The thread that wakes it was stopped, on another processor.
                let _ = self.ring.enter(1, Some(Duration::from_millis(1)));
            }
            let mut left = Vec::new();
            for data in ends {
                while !self.ring.push(end_request(data, attempt)) {
                    if !self.flush_and_drop_answers(attempt, &mut left) {
                        return;
                    }
                }
            }
            while self.ring.unsubmitted() != 0 || self.ring.has_overflow() {
                if !self.flush_and_drop_answers(attempt, &mut left) {
                    return;
                }
            }
            ends = left;
        }
    }

    /// Submits the requests in the ring and drops all completions. Adds to `left` the requests that
    /// may not have ended. Returns false if the call failed.
    fn flush_and_drop_answers(&self, attempt: usize, left: &mut Vec<u64>) -> bool {
        let flushed = self.flush();
        self.ring.retain(&mut |completion| {
            let is_answer = completion.user_data & REMOVAL != 0 && completion.user_data < WAKE_HOST;
            // A request that was marked as cancelled has ended when it is no longer found.
            let is_marked = attempt > 0 && completion.result == 0;
            if is_answer && (is_marked || completion.result == -libc::EALREADY) {
                left.push(completion.user_data & !REMOVAL);
            }
            false
        });
        flushed.is_ok()
    }

    /// Moves the completions out of the ring into our own memory.
    #[cold]
    fn empty_ring(&mut self) {
        while let Some(completion) = self.ring.peek() {
            if self.is_live(completion) {
                self.moved.push_back(completion);
            }
            self.ring.pop();
        }
    }

    /// Returns how many completions there are.
    pub(super) fn ready(&self) -> u32 {
        self.moved.len() as u32 + self.ring.ready()
    }

    /// Makes the next wait renew the request of a registration.
    pub(super) fn queue(&mut self, fd: RawFd) {
        let slot = &mut self.slots[fd as usize];
        if !slot.is_queued {
            slot.is_queued = true;
            self.to_renew.push(fd);
        }
    }

    /// Renews the queued requests.
    fn arm_queued(&mut self) -> io::Result<()> {
        while let Some(fd) = self.to_renew.pop() {
            let slot = &self.slots[fd as usize];
            if slot.is_queued && slot.request == 0 {
                if let Err(error) = self.arm(fd) {
                    self.to_renew.push(fd);
                    return Err(error);
                }
                if self.slots[fd as usize].is_multishot() {
                    self.renewed.push(fd);
                }
            }
            self.slots[fd as usize].is_queued = false;
        }
        Ok(())
    }

    /// Makes the fd readable if the next wait has something to do that the fd does not show.
    pub(super) fn show_to_host(&self) -> io::Result<()> {
        if !self.hosted.get() {
            return Ok(());
        }
        let is_hidden = !self.to_renew.is_empty() || !self.moved.is_empty();
        if is_hidden && self.ring.ready() == 0 {
            self.push(Entry::nop(WAKE_HOST))?;
        }
        if self.ring.unsubmitted() != 0 {
            self.flush()?;
        }
        Ok(())
    }

    /// Records a temporary refusal, after which the call is repeated following a pause; passes on
    /// other errors.
    pub(super) fn tolerate(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if is_temporary(&error) => {
                self.needs_pause = true;
                Ok(())
            }
            result => result,
        }
    }

    /// After a refusal, waits for a moment or until there is a completion, and subtracts that time
    /// from the timeout.
    #[cold]
    pub(super) fn pause(&self, timeout: &mut Option<Duration>) -> io::Result<()> {
        let pause = timeout.map_or(PAUSE, |timeout| timeout.min(PAUSE));
        let mut left = Some(pause);
        let mut rings = [libc::pollfd {
            fd: self.ring.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        sys::poll::poll_counting_down(&mut rings, &mut left)?;
        let waited = pause.saturating_sub(left.unwrap_or_default());
        if let Some(timeout) = timeout {
            *timeout = timeout.saturating_sub(waited);
        }
        Ok(())
    }

    /// Enters the kernel if there is reason to. `old` completions exist already.
    pub(super) fn enter(&mut self, old: u32, timeout: Option<Duration>) -> io::Result<()> {
        let had_overflow = self.ring.has_overflow();
        self.renew_notifier()?;
        let armed = self.arm_queued();
        self.tolerate(armed)?;
        if old == 0 && timeout != Some(Duration::ZERO) && !self.needs_pause {
            let entered = self.ring.enter(1, timeout);
            self.tolerate(entered)?;
        } else if old == 0 || self.ring.unsubmitted() != 0 || self.ring.has_overflow() {
            let flushed = self.flush();
            self.tolerate(flushed)?;
        }
        while let Some(fd) = self.renewed.pop() {
            if !had_overflow {
                self.note_no_wait_queue(fd);
            }
        }
        Ok(())
    }
}
