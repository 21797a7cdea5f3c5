//! A custom mechanism, one method of which is the foreign code.

use super::fixture::Fixture;
use reveille::backend::{
    Backend, Capabilities, Events, Interest, Notifier, Notify, Token, Trigger,
};
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The method that is the foreign code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Add,
    Wait,
    Remove,
    Notify,
}

/// A fixture that is set after the code that uses it was created. Before that the code does
/// nothing.
#[derive(Clone, Default)]
pub(crate) struct Late(pub(crate) Arc<OnceLock<Arc<Fixture>>>);

impl Late {
    pub(crate) fn run_action(&self) {
        if let Some(fixture) = self.0.get() {
            fixture.run_action();
        }
    }
}

/// A mechanism that watches nothing and never waits.
pub(crate) struct OwnBackend {
    pub(crate) late: Late,
    pub(crate) part: Part,
}

impl OwnBackend {
    fn run_action(&self, part: Part) -> io::Result<()> {
        if self.part == part {
            self.late.run_action();
        }
        Ok(())
    }
}

impl fmt::Debug for OwnBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnBackend")
    }
}

struct Notifies(Late, Part);

impl Notify for Notifies {
    fn notify(&self) -> io::Result<()> {
        if self.1 == Part::Notify {
            self.0.run_action();
        }
        Ok(())
    }
}

impl Backend for OwnBackend {
    fn name(&self) -> &str {
        "own"
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::none();
        (can.edge, can.level, can.rearm) = (true, true, true);
        can
    }

    fn add(&mut self, _: BorrowedFd<'_>, _: Token, _: Interest, _: Trigger) -> io::Result<()> {
        self.run_action(Part::Add)
    }

    fn modify(&mut self, _: RawFd, _: Token, _: Interest, _: Trigger) -> io::Result<()> {
        Ok(())
    }

    fn rearm(&mut self, _: RawFd, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, _: RawFd, _: Token) -> io::Result<()> {
        self.run_action(Part::Remove)
    }

    fn wait(&mut self, events: &mut Events, _: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.run_action(Part::Wait)
    }

    fn notifier(&self) -> Notifier {
        Notifier::new(Arc::new(Notifies(self.late.clone(), self.part)))
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
