//! A backend of this host that counts its waits.

use reveille::backend::{
    Backend, BackendKind, Capabilities, Events, Interest, Notifier, Token, Trigger,
};
use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Counts the waits of a [`Counting`] backend.
#[derive(Clone, Default)]
pub(crate) struct Waits(Rc<Cell<usize>>);

/// Forwards every call.
#[derive(Debug)]
pub(crate) struct Counting {
    backend: Box<dyn Backend>,
    waits: Rc<Cell<usize>>,
}

impl Counting {
    pub(crate) fn open(kind: BackendKind) -> io::Result<(Counting, Waits)> {
        let waits = Waits::default();
        let counting = Counting {
            backend: kind.open(64)?,
            waits: waits.0.clone(),
        };
        Ok((counting, waits))
    }
}

/// The number of waits allowed to a loop that only rechecks fds with a lasting hang-up.
pub(crate) struct Rest<'a> {
    waits: &'a Waits,
    before: usize,
    begin: Instant,
}

impl Waits {
    /// Starts counting. From now on the loop should rest.
    pub(crate) fn rest(&self) -> Rest<'_> {
        Rest {
            waits: self,
            before: self.0.get(),
            begin: Instant::now(),
        }
    }
}

impl Rest<'_> {
    /// Asserts that the loop has made only a few more waits than one every 32 ms. A thread that is
    /// held up makes fewer.
    #[track_caller]
    pub(crate) fn assert(self, what: &str) {
        let most = 40 + self.begin.elapsed().as_millis() / 16;
        let waits = (self.waits.0.get() - self.before) as u128;
        assert!(waits <= most, "{what}: {waits} waits, at most {most}");
    }
}

impl Backend for Counting {
    fn name(&self) -> &str {
        self.backend.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.backend.add(fd, token, interest, trigger)
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.backend.modify(fd, token, interest, trigger)
    }

    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.backend.rearm(fd, token, interest)
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.backend.remove(fd, token)
    }

    fn forget(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.backend.forget(fd, token)
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.waits.set(self.waits.get() + 1);
        self.backend.wait(events, timeout)
    }

    fn notifier(&self) -> Notifier {
        self.backend.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.backend.as_fd()
    }
}
