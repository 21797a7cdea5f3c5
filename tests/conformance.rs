//! The kit that judges backends, as somebody uses it who has written one: it passes what claims little and keeps it, and
//! fails what claims too much.
#![cfg(feature = "conformance")]

use reveille::backend::{
    Backend, BackendKind, Capabilities, Events, Interest, Notifier, Readiness, Token, Trigger,
};
use reveille::conformance::{Outcome, Report, run};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The backend that every Unix has, with something about it changed.
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

    /// What becomes of what was seen.
    fn tell(&self, seen: Readiness) -> Readiness {
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
            event.readiness = self.change.tell(event.readiness);
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

/// One at a time: limits of numbers are about all that the process has open.
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
    let cells = report.cells().iter().filter(|cell| cell.id() == id);
    cells.map(|cell| cell.outcome()).collect()
}

/// As select where its bitmaps end.
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
fn a_limit_of_numbers_is_respected() {
    // Below what the cases would take otherwise.
    let report = judge(&Limited(800));
    report.assert_ok();
    assert_eq!(outcomes(&report, "C36"), [&Outcome::Ok; 3]);
    assert_eq!(outcomes(&report, "C26"), [&Outcome::Ok; 3]);
}

/// Names a limit that it does not have.
#[derive(Clone, Debug)]
struct Timid;

impl Change for Timid {
    fn claim(&self, capabilities: &mut Capabilities) {
        capabilities.max_fd = Some(700);
    }
}

/// Takes errors for readiness, and says otherwise.
#[derive(Clone, Debug)]
struct Blind {
    claims: bool,
}

impl Change for Blind {
    fn claim(&self, capabilities: &mut Capabilities) {
        capabilities.errors = self.claims;
    }

    fn tell(&self, seen: Readiness) -> Readiness {
        seen - (Readiness::ERROR | Readiness::WRITE_CLOSED)
    }
}

#[test]
fn a_false_claim_is_found() {
    let report = judge(&Timid);
    assert!(!report.is_ok());
    assert!(report.failures().all(|cell| cell.id() == "C36"));
    let report = judge(&Blind { claims: true });
    assert!(!report.is_ok());
    assert!(report.failures().all(|cell| cell.id() == "C35"));
}

/// Only what futures need.
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
fn what_is_not_claimed_is_not_asked() {
    let report = judge(&Modest);
    report.assert_ok();
    for cell in report.cells() {
        let is_skipped = matches!(cell.outcome(), Outcome::Skipped(_));
        assert!(is_skipped || cell.trigger() == Trigger::Edge, "{cell:?}");
    }
    let text = report.to_string();
    assert!(text.contains("changed level: skipped: has no level trigger"));
    assert!(text.contains("changed edge: "), "{text}");
}
