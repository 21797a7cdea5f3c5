//! A backend that records the calls it receives and the events it reports, and can refuse fds.

use reveille::backend::{
    Backend, BackendKind, Capabilities, Events, Interest, Notifier, Releaser, Token, Trigger,
};
use reveille::{Builder, Runtime};
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

/// One call that begins or ends a registration, with the fd's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Add(RawFd),
    Remove(RawFd),
    Forget(RawFd),
}

/// What a [`Recording`] has seen and what it refuses, shared with the test.
#[derive(Clone, Default, Debug)]
pub(crate) struct Record(Rc<RefCell<Seen>>);

#[derive(Default, Debug)]
struct Seen {
    calls: Vec<Call>,
    events: usize,
    waits: usize,
    refuse: Option<fn(RawFd) -> bool>,
    refusals: usize,
}

impl Record {
    /// Returns the calls since the last call of this.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.borrow_mut().calls)
    }

    /// Returns the number of events since the last call of this.
    pub(crate) fn events(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().events)
    }

    /// Returns the number of waits since the last call of this.
    pub(crate) fn waits(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().waits)
    }

    /// From now on refuses to add fds for which `refuse` returns true, with EPERM.
    pub(crate) fn refuse(&self, refuse: fn(RawFd) -> bool) {
        self.0.borrow_mut().refuse = Some(refuse);
    }

    /// Returns the number of refusals since the last call of this.
    pub(crate) fn take_refusals(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().refusals)
    }

    fn check(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut seen = self.0.borrow_mut();
        if seen.refuse.is_some_and(|refuse| refuse(fd.as_raw_fd())) {
            seen.refusals += 1;
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Ok(())
    }

    fn push(&self, call: Call) {
        self.0.borrow_mut().calls.push(call);
    }
}

/// A backend of this host and its record.
#[derive(Debug)]
pub(crate) struct Recording {
    inner: Box<dyn Backend>,
    record: Record,
}

/// Returns a runtime on a backend of that kind and its record, or `None` if this host does not have
/// the backend.
pub(crate) fn recorded(kind: BackendKind) -> Option<(Runtime, Record)> {
    let (recording, record) = recording(kind)?;
    let runtime = Builder::new().with_backend(recording).build().unwrap();
    Some((runtime, record))
}

/// As [`recorded`], without a runtime.
pub(crate) fn recording(kind: BackendKind) -> Option<(Recording, Record)> {
    let inner = match kind.open(64) {
        Ok(inner) => inner,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            println!("skipped on {kind}: {error}");
            return None;
        }
    };
    let record = Record::default();
    let recording = Recording {
        inner,
        record: record.clone(),
    };
    Some((recording, record))
}

impl Backend for Recording {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.record.check(fd)?;
        self.record.push(Call::Add(fd.as_raw_fd()));
        self.inner.add(fd, token, interest, trigger)
    }

    fn add_exclusive(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.record.check(fd)?;
        self.record.push(Call::Add(fd.as_raw_fd()));
        self.inner.add_exclusive(fd, token)
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        self.inner.modify(fd, token, interest, trigger)
    }

    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.rearm(fd, token, interest)
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.record.push(Call::Remove(fd));
        self.inner.remove(fd, token)
    }

    fn forget(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.record.push(Call::Forget(fd));
        self.inner.forget(fd, token)
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.record.0.borrow_mut().waits += 1;
        let waited = self.inner.wait(events, timeout);
        self.record.0.borrow_mut().events += events.as_slice().len();
        waited
    }

    fn after_fork(&mut self) -> io::Result<()> {
        self.inner.after_fork()
    }

    fn notifier(&self) -> Notifier {
        self.inner.notifier()
    }

    fn releaser(&self) -> Option<Releaser> {
        self.inner.releaser()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.inner.as_fd()
    }
}
