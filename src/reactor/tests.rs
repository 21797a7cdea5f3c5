//! Tests of the driver over a scripted backend: which calls the backend gets, what is woken, and
//! when.

mod closed;
mod drops;
mod messages;
mod readiness;
mod reentry;
mod trigger;
mod turns;
mod waiters;

use super::Closing;
use super::Watch;
use super::clock::{Clock, Moment, Source};
use super::direction::{Direction, Seen, ending_bits};
use super::driver::{CURRENT, Driver, Parts};
use super::parker::Parker;
use super::remote::REMOTES;
use super::remote::{Message, Remote};
use super::waker_slot::KeyWakers;
use crate::backend::{Backend, Capabilities, Events, Notifier, Notify, Trigger};
use crate::budget;
use crate::interest::{Interest, Ready};
use crate::panics::Payload;
use crate::place::Place;
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

/// One call of the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Add(Token, Interest),
    Modify(Token, Interest),
    Rearm(Token, Interest),
    Remove(Token),
    Forget(Token),
    Wait(Option<Duration>),
}

/// What one wait does. Without a script it finds nothing.
enum Step {
    Events(Vec<(Token, Ready)>),
    /// Something happens on another thread meanwhile, then these events come.
    Meanwhile(Box<dyn FnOnce()>, Vec<(Token, Ready)>),
    Fails(io::ErrorKind),
}

/// The script and the record of a [`Fake`].
#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    /// The triggers that `modify` was passed.
    triggers: Vec<Trigger>,
    steps: VecDeque<Step>,
    /// The errors of the next calls of `add`.
    add_fails: VecDeque<io::ErrorKind>,
    modify_fails: bool,
    rearm_fails: bool,
    remove_panics: bool,
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

    fn modify(&mut self, _: RawFd, token: Token, i: Interest, trigger: Trigger) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        script.triggers.push(trigger);
        script.calls.push(Call::Modify(token, i));
        refused(script.modify_fails)
    }

    fn rearm(&mut self, _: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        script.calls.push(Call::Rearm(token, interest));
        refused(script.rearm_fails)
    }

    fn remove(&mut self, _: RawFd, token: Token) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        script.calls.push(Call::Remove(token));
        if script.remove_panics {
            std::panic::resume_unwind(Box::new("remove"));
        }
        Ok(())
    }

    fn forget(&mut self, _: RawFd, token: Token) -> io::Result<()> {
        self.script.borrow_mut().calls.push(Call::Forget(token));
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

/// How often the loop's sleep was ended by a call of the notifier.
#[derive(Default)]
struct Notifications(AtomicUsize);

impl Notify for Notifications {
    fn notify(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

thread_local! {
    /// Panics that were reported and did not come out of a call.
    static REPORTED: RefCell<Vec<Payload>> = const { RefCell::new(Vec::new()) };
}

/// Takes the texts of the panics that were reported since the last call.
fn reported() -> Vec<&'static str> {
    let payloads = REPORTED.take().into_iter();
    payloads
        .map(|payload| *payload.downcast::<&str>().expect("a text"))
        .collect()
}

/// A driver, the calls of its backend, and a pair of sockets to register.
struct Rig {
    driver: Driver,
    script: Rc<RefCell<Script>>,
    notifications: std::sync::Arc<Notifications>,
    here: UnixStream,
    there: UnixStream,
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A second time for tests that end it themselves, and after a failed assertion.
        if REMOTES.get(self.driver.id()).is_some() && !std::thread::panicking() {
            self.driver.shutdown();
        }
    }
}

/// Like epoll: always armed, removed when closed.
fn edge() -> Capabilities {
    Capabilities {
        edge: true,
        close_removes: true,
        unasked: true,
        ..Capabilities::none()
    }
}

/// Like poll: every delivery disarms.
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
    owned: true,
};

/// An `AsyncFd`.
const CUSTOM: Watch = Watch::Custom(Interest::READABLE.union(Interest::WRITABLE));

impl Rig {
    fn new(capabilities: Capabilities) -> Rig {
        Rig::with_spin(capabilities, Duration::ZERO, false, None)
    }

    /// Makes a driver that spins for so long.
    fn with_spin(
        capabilities: Capabilities,
        spin: Duration,
        precise_timers: bool,
        slack: Option<Duration>,
    ) -> Rig {
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
            parker: Parker::new(notifier, spin),
            event_capacity: 16,
            clock: Clock::new(Source::new(), Duration::from_nanos(1)),
            precise_timers,
            timer_slack: slack,
            on_register: None,
            tracks_places: false,
            keys: KeyWakers {
                report_panic: |payload| REPORTED.with_borrow_mut(|panics| panics.push(payload)),
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
        self.driver
            .register(self.here.as_fd(), watch, Place::UNKNOWN)
            .unwrap()
    }

    /// Returns a descriptor to close with a registration.
    fn closing(&self, lent: bool) -> Closing {
        let fd = self.here.try_clone().unwrap().into();
        Closing { fd, lent }
    }

    fn end(&self, token: Token) {
        self.driver.deregister(token, None).unwrap();
    }

    /// Returns the calls of the backend since the last call.
    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.script.borrow_mut().calls)
    }

    fn next(&self, step: Step) {
        self.script.borrow_mut().steps.push_back(step);
    }

    /// Makes one turn without waiting.
    fn turn(&self) {
        self.driver.turn(Some(Duration::ZERO)).unwrap();
    }

    /// Makes one turn that brings these events.
    fn deliver(&self, events: &[(Token, Ready)]) {
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
        id: &mut u64,
        interest: Interest,
        waker: &Waker,
    ) -> Poll<io::Result<Seen>> {
        let cx = Context::from_waker(waker);
        self.driver
            .poll_ready_named(token, id, interest, ending_bits(interest), &cx)
    }

    /// Waits in one direction, which is not ready.
    fn wait(&self, token: Token, direction: Direction, waker: &Waker) {
        let polled = self.poll(token, direction, waker);
        assert!(polled.is_pending(), "{direction:?}: {polled:?}");
    }

    /// Returns what is cached.
    fn seen(&self, token: Token) -> Seen {
        self.driver.cached(token).unwrap()
    }

    fn cached(&self, token: Token) -> Ready {
        self.seen(token).readiness
    }

    fn remote(&self) -> Arc<Remote> {
        REMOTES.get(self.driver.id()).unwrap()
    }

    fn notifications(&self) -> usize {
        self.notifications.0.load(Ordering::SeqCst)
    }

    /// Returns the message of a remote thread that waits.
    fn arm(&self, token: Token, direction: Direction, waker: Waker) -> Message {
        Message::Arm {
            token,
            direction,
            waker,
            again: None,
        }
    }

    /// Sends a message and handles it at once.
    fn send(&self, message: Message) {
        assert!(self.remote().push(message).is_ok());
        self.driver.handle_messages();
    }
}

/// Returns a deadline that has come, and that no driver has seen yet.
fn now() -> Moment {
    Moment::now()
}

/// Returns a deadline that does not come.
fn later() -> Moment {
    Moment::after(Duration::from_secs(3600))
}
