//! Lists the registrations and the timers of a driver, for reports.

#![forbid(unsafe_code)]

use super::super::clock::Moment;
use super::Driver;
use crate::place::Place;
use crate::timer::TimerKey;
use crate::token::Token;
use std::cell::RefCell;
use std::os::fd::RawFd;

/// A registered fd.
#[derive(Debug)]
pub(crate) struct RegisteredFd {
    pub(crate) token: Token,
    pub(crate) fd: RawFd,
    /// The packed keys of the tasks that wait for it.
    pub(crate) waiting: Vec<usize>,
}

/// A timer that has not fired.
#[derive(Debug)]
pub(crate) struct ArmedTimer {
    pub(crate) key: TimerKey,
    /// On the clock of the runtime; `Moment::NEVER` if it never comes.
    pub(crate) deadline: Moment,
    /// The packed key of the task that waits for it. `None` for other wakers.
    pub(crate) waiting: Option<usize>,
    /// Where it was created, if that is tracked.
    pub(crate) place: Place,
}

impl Driver {
    /// Returns all registered fds. It visits every place of the table.
    pub(crate) fn registered_fds(&self) -> Vec<RegisteredFd> {
        let reactor = self.reactor.borrow();
        let registered = reactor.table.live().map(|entry| {
            let waiters = entry.state.waiters();
            RegisteredFd {
                token: entry.token(),
                fd: entry.fd,
                waiting: waiters
                    .filter_map(|slot| self.wakers.as_key(slot))
                    .collect(),
            }
        });
        registered.collect()
    }

    /// Returns all timers that have not fired. It visits every place of the table.
    pub(crate) fn armed_timers(&self) -> Vec<ArmedTimer> {
        let timers = self.timers.borrow();
        let places = self.timer_places.as_ref().map(RefCell::borrow);
        let place = |key| places.as_ref().and_then(|places| places.get(key));
        let armed = timers.iter().map(|(key, tick, slot)| ArmedTimer {
            key,
            deadline: self.clock.moment_at(tick).unwrap_or(Moment::NEVER),
            waiting: self.wakers.as_key(*slot),
            place: place(key).unwrap_or(Place::UNKNOWN),
        });
        armed.collect()
    }
}
