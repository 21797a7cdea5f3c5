//! `reveille::conformance`, used by the author of a backend: a backend that claims little and keeps
//! it passes, and one that claims too much fails.
#![cfg(feature = "conformance")]

use reveille::backend::{
    Backend, BackendKind, Capabilities, Events, Interest, Notifier, Ready, Token, Trigger,
};
use reveille::conformance::{Outcome, Report, run};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The backend that every Unix has, with one change.
#[derive(Debug)]
struct Changed<C> {
    inner: Box<dyn Backend>,
    change: C,
}

trait Change: std::fmt::Debug + Clone + 'static {
    fn claim(&self, _capabilities: &mut Capabilities) {}

    fn highest(&self) -> RawFd {
        RawFd::MAX
    }

    /// Changes the readiness that is reported.
    fn report(&self, seen: Ready) -> Ready {
        seen
    }
}

impl<C: Change> Backend for Changed<C> {
    fn name(&self) -> &str {
        "changed"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        self.change.claim(&mut capabilities);
        capabilities
    }

    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        if !self.capabilities().supports(trigger) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.inner.add(fd, token, interest, trigger)?;
        let number = fd.as_raw_fd();
        if number > self.change.highest() {
            self.inner.remove(number, token)?;
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(())
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
        self.inner.remove(fd, token)
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.wait(events, timeout)?;
        for event in events.as_mut_slice() {
            event.readiness = self.change.report(event.readiness);
        }
        Ok(())
    }

    fn notifier(&self) -> Notifier {
        self.inner.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.inner.as_fd()
    }
}

/// Runs one test at a time, because a limit of numbers concerns every open fd of the process.
static ALONE: Mutex<()> = Mutex::new(());

fn judge(change: &impl Change) -> Report {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let report = run(&mut || {
        Ok(Box::new(Changed {
            inner: BackendKind::Poll.open(64)?,
            change: change.clone(),
        }))
    });
    println!("{report}");
    report
}

/// How one case ended, for each trigger.
fn outcomes<'a>(report: &'a Report, id: &str) -> Vec<&'a Outcome> {
    let cells = report.results().iter().filter(|cell| cell.id() == id);
    cells.map(|cell| cell.outcome()).collect()
}

/// Refuses high numbers, as select does beyond its bitmaps.
#[derive(Clone, Debug)]
struct Limited(RawFd);

impl Change for Limited {
    fn claim(&self, capabilities: &mut Capabilities) {
        capabilities.max_fd = Some(self.0);
    }

    fn highest(&self) -> RawFd {
        self.0
    }
}

#[test]
fn kit_respects_a_limit_of_numbers() {
    // Lower than the numbers that the cases use by default.
    let report = judge(&Limited(800));
    report.assert_ok();
    assert_eq!(outcomes(&report, "C36"), [&Outcome::Ok; 3]);
    assert_eq!(outcomes(&report, "C26"), [&Outcome::Ok; 3]);
}

/// Claims a limit that it does not have.
#[derive(Clone, Debug)]
struct Timid;

impl Change for Timid {
    fn claim(&self, capabilities: &mut Capabilities) {
        capabilities.max_fd = Some(700);
    }
}

/// Reports errors as readiness, although it claims to report them apart.
#[derive(Clone, Debug)]
struct Blind {
    claims: bool,
}

impl Change for Blind {
    fn claim(&self, capabilities: &mut Capabilities) {
        capabilities.errors = self.claims;
    }

    fn report(&self, seen: Ready) -> Ready {
        seen - (Ready::ERROR | Ready::WRITE_CLOSED)
    }
}

#[test]
fn kit_finds_a_false_claim() {
    let report = judge(&Timid);
    assert!(!report.is_ok());
    assert!(report.failures().all(|cell| cell.id() == "C36"));
    let report = judge(&Blind { claims: true });
    assert!(!report.is_ok());
    assert!(report.failures().all(|cell| cell.id() == "C35"));
}

/// A faulty backend: it goes on reporting a side as closed after the side has opened again.
#[derive(Debug, Default)]
struct Sticky(Cell<Ready>);

/// A clone has seen nothing yet.
impl Clone for Sticky {
    fn clone(&self) -> Sticky {
        Sticky::default()
    }
}

impl Change for Sticky {
    fn report(&self, seen: Ready) -> Ready {
        let closed = Ready::READ_CLOSED | Ready::WRITE_CLOSED;
        self.0.set(self.0.get() | seen & closed);
        seen | self.0.get()
    }
}

#[test]
fn kit_finds_a_side_that_never_opens_again() {
    let report = judge(&Sticky::default());
    for id in ["C41", "C42", "C43"] {
        let found = outcomes(&report, id)
            .into_iter()
            .all(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Skipped(_)));
        assert!(found, "{id}");
    }
    assert!(report.failures().any(|cell| cell.id() == "C41"));
}

/// Claims only what futures need.
#[derive(Clone, Debug)]
struct Modest;

impl Change for Modest {
    fn claim(&self, capabilities: &mut Capabilities) {
        capabilities.level = false;
        capabilities.oneshot = false;
        capabilities.read_closed = false;
    }
}

#[test]
fn kit_skips_what_is_not_claimed() {
    let report = judge(&Modest);
    report.assert_ok();
    for cell in report.results() {
        let is_skipped = matches!(cell.outcome(), Outcome::Skipped(_));
        assert!(is_skipped || cell.trigger() == Trigger::Edge, "{cell:?}");
    }
    let text = report.to_string();
    assert!(text.contains("changed level: skipped: has no level trigger"));
    assert!(text.contains("changed edge: "), "{text}");
}
