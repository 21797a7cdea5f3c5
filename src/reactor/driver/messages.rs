//! What other threads ask of the driver; see `remote.rs` for how it gets here.

#![forbid(unsafe_code)]

use super::super::io_state::{Direction, answers};
use super::super::remote::Message;
use super::super::wake_list::WakeList;
use super::Driver;
use crate::backend;
use crate::token::Token;
use std::cell::Cell;
use std::task::Waker;

impl Driver {
    /// Does what other threads have asked for, in the order they asked, also when it is called by a waker that one of
    /// the messages wakes.
    ///
    /// When such a waker panics the rest is left for the next call, which is owed then.
    pub(crate) fn handle_messages(&self) {
        struct Owed<'a>(&'a Cell<bool>);
        impl Drop for Owed<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        self.remote.drain(&mut self.messages.borrow_mut());
        let owed = Owed(&self.notified);
        while let Some(message) = self.next_message() {
            self.handle(message);
        }
        std::mem::forget(owed);
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
            } => self.arm_for(token, direction, waker),
            Message::LookAgain { token } => self.look_again(token),
            Message::Deregister { token, fd } => {
                // An error means that the number was closed already; there is nobody left to tell.
                let _ = self.deregister(token, fd);
            }
            Message::Timer {
                key,
                deadline,
                waker,
            } => self.wait_timer(key, deadline, waker),
            Message::Reset { key, deadline } => {
                let key = self.stand_ins.get(key).unwrap_or(key);
                let tick = self.deadline_tick(deadline);
                self.timers.borrow_mut().reset(key, tick);
            }
            Message::Cancel { key } => self.cancel_timer(key),
        }
    }

    /// Stores a foreign thread's waker, then looks at the fd once: what happened before is not lost, and what happens
    /// from now on comes as an event.
    fn arm_for(&self, token: Token, direction: Direction, waker: Waker) {
        let interest = direction.interest();
        let mut list = WakeList::default();
        let mut reactor = self.reactor.borrow_mut();
        let watched = reactor.watch(token, interest);
        let fd = reactor.fd(token);
        let (Some(fd), Some(state)) = (fd, reactor.get(token)) else {
            drop(reactor);
            // So that the waiter finds out.
            return waker.wake();
        };
        if direction == Direction::Priority {
            // The cached bit is cleared below, and reads stop at the mark all the same.
            state.distrust_short();
        }
        let round = state.round;
        let mut known = None;
        if state.waits(direction, &self.wakers, &waker) {
            known = Some(waker);
        } else {
            let slot = self.wakers.store_owned(waker);
            let replaced = state.store(0, interest, slot, &self.wakers, &mut list);
            debug_assert!(replaced.is_none(), "only futures replace what they stored");
        }
        let seen = watched
            .and_then(|()| reactor.clear(token, round, direction.bit()))
            .and_then(|()| backend::look(fd, interest))
            // What cannot be asked is found out by trying.
            .unwrap_or(answers(interest));
        if !seen.is_empty() {
            reactor.merge_one(token, seen, &self.wakers, &mut list);
        }
        drop(reactor);
        drop(known);
        list.wake_all();
    }
}
