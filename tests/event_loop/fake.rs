//! A fake mechanism that follows a script and records its calls.

use super::*;
use reveille::backend::{Backend, Capabilities, Event, Events, Notifier, Notify, Ready, Token};
use reveille::event_loop::Builder;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

/// What the mechanism has to do, and the calls it has received.
#[derive(Default)]
pub(super) struct Script {
    /// The calls, as short texts.
    pub(super) calls: Vec<String>,
    /// The call that fails from now on.
    pub(super) refuses: Option<&'static str>,
    /// The results of the waits. A wait that fails leaves the last batch in place.
    pub(super) batches: VecDeque<Result<Vec<Event>, ErrorKind>>,
    /// What happens during the next wait.
    pub(super) meanwhile: Option<Box<dyn FnOnce()>>,
    /// The tokens of the added fds, in order.
    tokens: Vec<Token>,
    /// Whether an edge must be armed again.
    pub(super) rearm: bool,
}

impl Script {
    fn call(&mut self, what: &'static str, more: String) -> io::Result<()> {
        self.calls.push(format!("{what} {more}"));
        if self.refuses == Some(what) {
            return Err(ErrorKind::OutOfMemory.into());
        }
        Ok(())
    }

    /// Adds a batch: indices of added fds, with their readiness.
    pub(super) fn report(&mut self, batch: &[(usize, Ready)]) {
        let events = batch.iter().map(|(at, readiness)| Event {
            token: self.tokens[*at],
            readiness: *readiness,
        });
        let events = events.collect();
        self.batches.push_back(Ok(events));
    }

    pub(super) fn count(&self, what: &str) -> usize {
        let calls = self.calls.iter();
        calls.filter(|call| call.starts_with(what)).count()
    }
}

pub(super) type Shared = Rc<RefCell<Script>>;

pub(super) struct Fake(pub(super) Shared);

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

struct Deaf;

impl Notify for Deaf {
    fn notify(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether a descriptor is open.
fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

impl Backend for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.edge = true;
        capabilities.level = true;
        capabilities.oneshot = true;
        capabilities.close_removes = true;
        capabilities.rearm = self.0.borrow().rearm;
        capabilities
    }

    fn add(
        &mut self,
        _: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        _: Trigger,
    ) -> io::Result<()> {
        let mut script = self.0.borrow_mut();
        script.call("add", format!("{interest:?}"))?;
        script.tokens.push(token);
        Ok(())
    }

    fn modify(
        &mut self,
        _: RawFd,
        _: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        let mut script = self.0.borrow_mut();
        script.call("modify", format!("{interest:?} {trigger:?}"))
    }

    fn rearm(&mut self, _: RawFd, _: Token, interest: Interest) -> io::Result<()> {
        self.0.borrow_mut().call("rearm", format!("{interest:?}"))
    }

    fn remove(&mut self, fd: RawFd, _: Token) -> io::Result<()> {
        let what = if is_open(fd) { "open" } else { "closed" };
        self.0.borrow_mut().call("remove", what.to_owned())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let mut script = self.0.borrow_mut();
        script.calls.push(format!("wait {timeout:?}"));
        if let Some(meanwhile) = script.meanwhile.take() {
            meanwhile();
        }
        match script.batches.pop_front() {
            // The events are not cleared, as in a careless mechanism.
            Some(Err(kind)) => Err(kind.into()),
            Some(Ok(batch)) => {
                events.clear();
                for event in batch {
                    events.push(event.token, event.readiness);
                }
                Ok(())
            }
            None => {
                events.clear();
                Ok(())
            }
        }
    }

    fn after_fork(&mut self) -> io::Result<()> {
        self.0.borrow_mut().call("after_fork", String::new())
    }

    fn notifier(&self) -> Notifier {
        Notifier::new(Arc::new(Deaf))
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// The index and the cause of each call of a handler.
pub(super) type Log = Vec<(usize, Cause)>;

/// Makes a loop over the fake mechanism with `count` fds.
pub(super) fn fake(
    rearm: bool,
    trigger: Trigger,
    interest: Interest,
    count: usize,
) -> (Shared, EventLoop<Log>, Vec<Key<UnixStream>>) {
    let script = Shared::default();
    script.borrow_mut().rearm = rearm;
    let builder = Builder::new().with_backend(Fake(script.clone()));
    let mut event_loop = builder.build(Log::new()).unwrap();
    let keys = (0..count).map(|at| {
        let (here, _there) = pair();
        let handler = move |event_loop: &mut EventLoop<Log>, _, cause| {
            event_loop.data_mut().push((at, cause));
        };
        event_loop.attach(here, interest, trigger, handler).unwrap()
    });
    let keys = keys.collect();
    (script, event_loop, keys)
}
