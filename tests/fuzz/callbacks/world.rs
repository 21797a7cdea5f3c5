//! The expected state of every fd, timer and message of a loop.

use super::super::harness::{Dice, Planned, is_planned};
use super::super::support::panics::text_of;
use reveille::backend::{Interest, Trigger};
use reveille::event_loop::{EventLoop, Key, TimerKey};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

/// Counts the values that were made and not dropped.
pub(super) struct Track(Rc<Cell<i64>>);

impl Track {
    pub(super) fn new(tracks: &Rc<Cell<i64>>) -> Track {
        tracks.set(tracks.get() + 1);
        Track(tracks.clone())
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// An attached value.
pub(super) struct Watched {
    pub(super) stream: UnixStream,
    pub(super) _track: Track,
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Where one of the streams is.
pub(super) enum Where {
    Attached(Key<Watched>),
    Detached(Watched),
    Gone,
}

/// One stream, and what the checks need to know about it.
pub(super) struct Line {
    pub(super) place: Where,
    /// `None`: the peer has closed, and the end must be reported.
    pub(super) peer: Option<UnixStream>,
    pub(super) interest: Interest,
    pub(super) trigger: Trigger,
    /// A one-shot fd that was called and not armed since.
    pub(super) is_spent: bool,
    /// It is paused. The pause may end at any time, which arms it.
    pub(super) may_resume: bool,
    pub(super) sent: usize,
    pub(super) received: usize,
    pub(super) has_ended: bool,
    /// The earliest time at which its timeout may fire.
    pub(super) timeout: Option<Instant>,
}

/// One timer that belongs to no fd.
pub(super) struct Alarm {
    pub(super) timer: Option<TimerKey>,
    pub(super) due: Instant,
    pub(super) is_armed: bool,
}

/// All faults found.
#[derive(Clone, Default)]
pub(super) struct Faults(Rc<RefCell<Vec<String>>>);

impl Faults {
    pub(super) fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.0.borrow_mut().push(what.to_owned());
        }
    }

    pub(super) fn take_faults(&self) -> Vec<String> {
        self.0.take()
    }
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) lines: Vec<Line>,
    pub(super) alarms: Vec<Alarm>,
    /// The numbers of deferred functions and of those that were called.
    pub(super) deferred: usize,
    pub(super) done: usize,
    /// The last message received.
    pub(super) received: u64,
    pub(super) tracks: Rc<Cell<i64>>,
    /// The number of actions left.
    pub(super) left: usize,
    /// Whether foreign code is acting.
    pub(super) is_acting: bool,
    /// Whether the loop runs.
    pub(super) is_inside: bool,
    faults: Faults,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        World {
            left: 30 + dice.below(400),
            dice,
            lines: Vec::new(),
            alarms: Vec::new(),
            deferred: 0,
            done: 0,
            received: 0,
            tracks: Rc::default(),
            is_acting: false,
            is_inside: false,
            faults: Faults::default(),
        }
    }

    /// The values that outlive the loop.
    pub(super) fn shared(&self) -> Faults {
        self.faults.clone()
    }

    pub(super) fn check(&self, holds: bool, what: &str) {
        self.faults.check(holds, what);
    }

    pub(super) fn take_faults(&self) -> Vec<String> {
        self.faults.take_faults()
    }

    pub(super) fn spend(&mut self) -> bool {
        let has_left = self.left > 0;
        self.left -= usize::from(has_left);
        has_left
    }

    /// The handler of messages.
    pub(super) fn receive(event_loop: &mut EventLoop<World>, number: u64) {
        let world = event_loop.data_mut();
        let is_next = number == world.received + 1;
        world.received = number;
        world.check(is_next, "a message came out of its order");
        super::acts::enter(event_loop);
    }

    /// Whether everything has arrived.
    pub(super) fn is_settled(&self) -> bool {
        let is_quiet = |line: &Line| match line.place {
            Where::Attached(_) => {
                let is_whole = line.received == line.sent;
                is_whole && (line.peer.is_some() || line.has_ended) && line.timeout.is_none()
            }
            _ => true,
        };
        let timers = self.alarms.iter().all(|alarm| !alarm.is_armed);
        self.lines.iter().all(is_quiet) && timers && self.deferred == self.done
    }
}

/// Runs code that may panic as planned.
pub(super) fn guarded(event_loop: &mut EventLoop<World>, f: impl FnOnce(&mut EventLoop<World>)) {
    let ran = catch_unwind(AssertUnwindSafe(|| f(event_loop)));
    event_loop.data_mut().is_acting = false;
    if let Err(payload) = ran {
        let what = format!("a panic: {}", text_of(&*payload));
        event_loop.data().check(payload.is::<Planned>(), &what);
        is_planned(payload);
    }
}
