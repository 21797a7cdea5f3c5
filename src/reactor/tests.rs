//! The driver over a backend that does what a test tells it to: what is asked of the mechanism, who is woken, when.

mod messages;
mod readiness;
mod reentry;
mod turns;
mod waiters;

use super::Watch;
use super::clock::Moment;
use super::driver::{CURRENT, Driver, Parts, REMOTES, Seen};
use super::io_state::Direction;
use super::parker::Unparker;
use super::remote::{Message, Remote};
use super::waker_slot::KeyWakers;
use crate::backend::{Backend, Capabilities, Events, Notifier, Notify, Trigger};
use crate::budget;
use crate::interest::{Interest, Readiness};
use crate::sync::Arc;
use crate::sys::fake_waker::{KEYS, MIN_KEY, wake_key};
use crate::token::{RuntimeId, Token};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// One call of the mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Add(Token, Interest),
    Modify(Token, Interest),
    Rearm(Token, Interest),
    Remove(Token),
    Wait(Option<Duration>),
}

/// What one wait does; without a script it finds nothing.
enum Step {
    Events(Vec<(Token, Readiness)>),
    /// Something happens on another thread meanwhile, then these events come.
    Meanwhile(Box<dyn FnOnce()>, Vec<(Token, Readiness)>),
    Fails(io::ErrorKind),
}

/// The script and the record of a [`Fake`].
#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    steps: VecDeque<Step>,
    /// The next calls of `add` fail so.
    add_fails: VecDeque<io::ErrorKind>,
    modify_fails: bool,
    rearm_fails: bool,
}

struct Fake {
    script: Rc<RefCell<Script>>,
    capabilities: Capabilities,
    notifier: Notifier,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Backend for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn add(&mut self, _: BorrowedFd<'_>, token: Token, i: Interest, _: Trigger) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        script.calls.push(Call::Add(token, i));
        script
            .add_fails
            .pop_front()
            .map_or(Ok(()), |e| Err(e.into()))
    }

    fn modify(&mut self, _: RawFd, token: Token, i: Interest, _: Trigger) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        script.calls.push(Call::Modify(token, i));
        refused(script.modify_fails)
    }

    fn rearm(&mut self, _: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        script.calls.push(Call::Rearm(token, interest));
        refused(script.rearm_fails)
    }

    fn remove(&mut self, _: RawFd, token: Token) -> io::Result<()> {
        self.script.borrow_mut().calls.push(Call::Remove(token));
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let step = {
            let mut script = self.script.borrow_mut();
            script.calls.push(Call::Wait(timeout));
            script.steps.pop_front()
        };
        let batch = match step {
            None => return Ok(()),
            Some(Step::Fails(kind)) => return Err(kind.into()),
            Some(Step::Events(batch)) => batch,
            Some(Step::Meanwhile(meanwhile, batch)) => {
                meanwhile();
                batch
            }
        };
        for (token, readiness) in batch {
            events.push(token, readiness);
        }
        Ok(())
    }

    fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn refused(fails: bool) -> io::Result<()> {
    if fails {
        Err(io::ErrorKind::OutOfMemory.into())
    } else {
        Ok(())
    }
}

/// How often the loop's sleep was ended at a price.
#[derive(Default)]
struct Notifications(AtomicUsize);

impl Notify for Notifications {
    fn notify(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A driver, what it asked of its mechanism, and a pair of sockets to have fds.
struct Rig {
    driver: Driver,
    script: Rc<RefCell<Script>>,
    notifications: std::sync::Arc<Notifications>,
    here: UnixStream,
    there: UnixStream,
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Again for those that end it themselves, and after a failed assertion.
        if REMOTES.get(self.driver.id()).is_some() && !std::thread::panicking() {
            self.driver.shutdown();
        }
    }
}

/// As epoll: armed for ever, forgotten when closed.
fn edge() -> Capabilities {
    Capabilities {
        edge: true,
        close_removes: true,
        unasked: true,
        ..Capabilities::none()
    }
}

/// As poll: every delivery disarms.
fn rearming() -> Capabilities {
    Capabilities {
        edge: true,
        rearm: true,
        unasked: true,
        ..Capabilities::none()
    }
}

/// A stream of `net`.
const TCP: Watch = Watch::Tcp {
    connected: true,
    sole: true,
};

/// An `AsyncFd`.
const CUSTOM: Watch = Watch::Custom(Interest::READABLE.add(Interest::WRITABLE));

impl Rig {
    fn new(capabilities: Capabilities) -> Rig {
        Rig::looking_out(capabilities, Duration::ZERO, false)
    }

    /// A driver that looks out for other threads for so long.
    fn looking_out(capabilities: Capabilities, spin: Duration, precise_timers: bool) -> Rig {
        // Places that no runtime of the other tests reaches.
        static PLACE: AtomicU16 = AtomicU16::new(30_000);
        let notifications = std::sync::Arc::new(Notifications::default());
        let notifier = Notifier::new(notifications.clone());
        let script = Rc::new(RefCell::new(Script::default()));
        let backend = Fake {
            script: script.clone(),
            capabilities,
            notifier: notifier.clone(),
        };
        let driver = Driver::new(Parts {
            id: RuntimeId::new(PLACE.fetch_add(1, Ordering::SeqCst), 1),
            backend: Box::new(backend),
            unparker: Unparker::new(notifier),
            event_capacity: 16,
            timer_tick: Duration::from_nanos(1),
            spin,
            precise_timers,
            keys: KeyWakers {
                vtable: &KEYS,
                wake: wake_key,
                min_key: MIN_KEY,
            },
        });
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        there.set_nonblocking(true).unwrap();
        Rig {
            driver: driver.unwrap(),
            script,
            notifications,
            here,
            there,
        }
    }

    fn register(&self, watch: Watch) -> Token {
        self.driver.register(self.here.as_fd(), watch).unwrap()
    }

    fn end(&self, token: Token) {
        self.driver.deregister(token, None).unwrap();
    }

    /// What was asked of the mechanism since the last call.
    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.script.borrow_mut().calls)
    }

    fn next(&self, step: Step) {
        self.script.borrow_mut().steps.push_back(step);
    }

    /// One turn without waiting.
    fn turn(&self) {
        self.driver.turn(Some(Duration::ZERO)).unwrap();
    }

    /// One turn that brings these events.
    fn deliver(&self, events: &[(Token, Readiness)]) {
        self.next(Step::Events(events.to_vec()));
        self.turn();
    }

    fn poll(&self, token: Token, direction: Direction, waker: &Waker) -> Poll<io::Result<Seen>> {
        self.driver
            .poll_ready(token, direction, &Context::from_waker(waker))
    }

    fn poll_named(
        &self,
        token: Token,
        id: &mut u32,
        interest: Interest,
        waker: &Waker,
    ) -> Poll<io::Result<Seen>> {
        let cx = Context::from_waker(waker);
        self.driver.poll_ready_named(token, id, interest, &cx)
    }

    /// Waits in one direction, which is not ready.
    fn wait(&self, token: Token, direction: Direction, waker: &Waker) {
        let polled = self.poll(token, direction, waker);
        assert!(polled.is_pending(), "{direction:?}: {polled:?}");
    }

    /// What is cached.
    fn seen(&self, token: Token) -> Seen {
        self.driver.cached(token).unwrap()
    }

    fn cached(&self, token: Token) -> Readiness {
        self.seen(token).readiness
    }

    fn remote(&self) -> Arc<Remote> {
        REMOTES.get(self.driver.id()).unwrap()
    }

    fn notifications(&self) -> usize {
        self.notifications.0.load(Ordering::SeqCst)
    }

    /// A message of another thread that waits.
    fn arm(&self, token: Token, direction: Direction, waker: Waker) -> Message {
        Message::Arm {
            token,
            direction,
            waker,
        }
    }

    /// Sends and handles it at once.
    fn send(&self, message: Message) {
        assert!(self.remote().push(message).is_ok());
        self.driver.handle_messages();
    }
}

/// A deadline that has come, and that no driver has seen yet.
fn now() -> Moment {
    Moment::now()
}

/// A deadline that does not come.
fn later() -> Moment {
    Moment::after(Duration::from_secs(3600))
}
