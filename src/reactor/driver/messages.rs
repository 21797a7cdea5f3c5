//! Handles the messages of other threads to the driver. `remote.rs` sends them.

#![forbid(unsafe_code)]

use super::super::direction::{Direction, ending_bits};
use super::super::recheck_list::MAX_INTERVAL;
use super::super::registrations::Entry;
use super::super::remote::Message;
use super::super::wake_list::WakeList;
use super::Driver;
use crate::backend;
use crate::token::Token;
use std::task::Waker;
use std::time::Duration;

impl Driver {
    /// Handles the messages of other threads in the order of their arrival, even if a waker that
    /// runs meanwhile calls this function again. Never panics: panics of wakers are reported.
    pub(crate) fn handle_messages(&self) {
        self.remote.drain(&mut self.messages.borrow_mut());
        while let Some(message) = self.next_message() {
            self.handle(message);
        }
    }

    fn next_message(&self) -> Option<Message> {
        self.messages.borrow_mut().pop_front()
    }

    fn handle(&self, message: Message) {
        match message {
            Message::Arm {
                token,
                direction,
                waker,
                again,
            } => {
                self.arm_for(token, direction, waker, again.is_some());
                // Known to it is a hang-up or an error: poll(2) does not distinguish that from
                // another one that came before the waiter was stored, and `arm_for` has cleared the
                // bits of both. So it tries its call once more.
                if let Some(again) = again {
                    self.wake_after(MAX_INTERVAL, again);
                }
            }
            Message::Recheck { token } => self.recheck(token),
            Message::Urgent { token } => self.note_urgent(token),
            Message::ShortReadHint { token, on } => self.set_short_read_hint(token, on),
            Message::Deregister { token, closing } => {
                let is_kept = closing.is_none();
                // An error means that the number was closed before. No caller waits for the result.
                let _ = self.deregister(token, closing);
                if is_kept {
                    self.remote.note_handled_end();
                }
            }
            Message::Timer {
                key,
                deadline,
                place,
                waker,
            } => self.wait_timer(key, deadline, place, waker),
            Message::WakeAfter { pause, waker, .. } => self.wake_after(pause, waker),
            Message::Reset { key, deadline } => {
                self.reset_timer(key, deadline);
            }
            Message::Cancel { key } => self.cancel_timer(key),
        }
    }

    /// Stores the waker of another thread, then polls the fd once: a change that came before is
    /// found by the poll, and a later one comes as an event.
    ///
    /// `knows_hang_up`: the waiter knows that a hang-up or an error lasts. If the poll finds
    /// nothing else, the waiter is not woken.
    ///
    /// If the mechanism refuses an accepted connection, the waiter is woken after a pause and tries
    /// its call again, because no message could take the error to it.
    fn arm_for(&self, token: Token, direction: Direction, waker: Waker, knows_hang_up: bool) {
        let interest = direction.interest();
        let mut list = WakeList::default();
        let mut reactor = self.reactor.borrow_mut();
        let entry = reactor.table.peek(token);
        let watched = if entry.is_some_and(Entry::is_watched_later) {
            let watch = || reactor.watch(token, interest);
            let Some(watched) = self.remote.while_fds_are_open(watch) else {
                drop(reactor);
                // The number may be that of another file. The waiter polls again, and its next
                // message comes after those that end registrations; or its own has ended.
                return self.wakers.guard(|| waker.wake());
            };
            watched
        } else {
            reactor.watch(token, interest)
        };
        let entry = reactor.table.peek(token);
        if watched.is_err() && entry.is_some_and(Entry::is_watched_later) {
            drop(reactor);
            // Woken now, it would find nothing and send this message again at once, and so on.
            return self.wake_after(MAX_INTERVAL, waker);
        }
        let fd = entry.map(|entry| entry.fd);
        let (Some(fd), Some(state)) = (fd, reactor.get(token)) else {
            drop(reactor);
            // The waiter polls again and finds that the registration has ended.
            return self.wakers.guard(|| waker.wake());
        };
        if direction == Direction::Priority {
            // The waiter may read the urgent byte before an event reports it here.
            state.note_urgent();
        }
        let round = state.round;
        let mut unused = None;
        if state.waits(direction, &self.wakers, &waker) {
            unused = Some(waker);
        } else {
            let slot = self.wakers.store_owned(waker);
            let replaced = state.store(0, interest, slot, &self.wakers, &mut list);
            debug_assert!(replaced.is_none(), "only futures replace what they stored");
        }
        let seen = watched
            .and_then(|()| reactor.clear(token, round, direction.bit()))
            .and_then(|()| backend::poll_now(fd, interest))
            // If poll(2) fails, the waiter tries its call.
            .unwrap_or(ending_bits(interest));
        let is_known = knows_hang_up
            && backend::poll_revents(fd, interest)
                .is_ok_and(backend::Revents::is_only_hangup_or_error);
        if !seen.is_empty() && !is_known {
            reactor.merge_one(token, seen, &self.wakers, &mut list);
        }
        drop(reactor);
        if let Some(waker) = unused {
            self.wakers.guard(|| drop(waker));
        }
        list.wake_all(&self.wakers);
    }

    /// Wakes a waiter after a pause. No handle can cancel that.
    #[cold]
    pub(crate) fn wake_after(&self, pause: Duration, waker: Waker) {
        let slot = self.wakers.store_owned(waker);
        let tick = self.deadline_tick(self.clock.now().plus(pause));
        self.timers.borrow_mut().insert(tick, slot);
    }
}
