//! The cases that every [`Backend`] must pass: each checks one promise of the
//! [contract](crate::backend#the-contract).
//!
//! [`run`] checks one implementation, with every trigger that it supports, on real sockets and
//! pipes. There is no reactor in between: the cases do by hand what the reactor does, such as
//! `rearm` after a call that would block. A case that does not apply is *skipped*, with the reason.
//!
//! ```
//! use reveille::backend::BackendKind;
//! let report = reveille::conformance::run(&mut || BackendKind::Poll.open(64));
//! println!("{report}");
//! report.assert_ok();
//! ```
//!
//! `examples/own_backend.rs` in the repository checks a custom backend. Only what a backend claims
//! in its [`Capabilities`](crate::backend::Capabilities) is checked.
//!
//! What needs tasks, timers or the order of a turn is tested in those modules, not here.
//!
//! The cases are grouped by subject: `timing`, `waking`, `triggers`, `interests`, `closing`,
//! `reopening`, `batch`, `sharing`, `forking`, `concurrent_peers` and `api`. `harness` has what
//! they share. A new case is a function and a line in the list of its group.

#![forbid(unsafe_code)]

use crate::backend::{Backend, Trigger};
use crate::sys::fork;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod api;
mod batch;
mod closing;
mod concurrent_peers;
mod forking;
mod harness;
mod interests;
mod reopening;
mod report;
mod sharing;
mod timing;
mod triggers;
mod waking;

use harness::{Fault, Harness, Verdict};
pub use report::{CaseResult, Outcome, Report};

/// One case: a check of one promise.
struct Case {
    id: &'static str,
    name: &'static str,
    /// The triggers that the case is about.
    triggers: &'static [Trigger],
    run: Run,
    /// Whether the case forks. Other cases run while no child process exists.
    forks: bool,
}

/// The function of a case.
enum Run {
    /// Uses the backend of the harness alone.
    One(fn(&mut Harness) -> Verdict),
    /// Opens more backends beside the first.
    More(fn(&mut Harness, &mut Make<'_>) -> Verdict),
}

const ALL_TRIGGERS: &[Trigger] = &[Trigger::Edge, Trigger::Level, Trigger::Oneshot];

impl Case {
    /// Makes a case for every trigger.
    const fn new(id: &'static str, name: &'static str, run: fn(&mut Harness) -> Verdict) -> Case {
        Case {
            id,
            name,
            triggers: ALL_TRIGGERS,
            run: Run::One(run),
            forks: false,
        }
    }

    /// Makes a case that opens more backends, for every trigger.
    const fn with_more(
        id: &'static str,
        name: &'static str,
        run: fn(&mut Harness, &mut Make<'_>) -> Verdict,
    ) -> Case {
        Case {
            id,
            name,
            triggers: ALL_TRIGGERS,
            run: Run::More(run),
            forks: false,
        }
    }

    /// Restricts the case to some triggers.
    const fn only(self, triggers: &'static [Trigger]) -> Case {
        Case { triggers, ..self }
    }

    /// Marks a case that forks.
    const fn forking(self) -> Case {
        Case {
            forks: true,
            ..self
        }
    }

    fn check(&self, make: &mut Make<'_>, trigger: Trigger) -> Outcome {
        if !self.triggers.contains(&trigger) {
            return Outcome::Skipped(format!("not about {}", report::trigger_name(trigger)));
        }
        // Another thread may run cases of another backend at the same time.
        let _no_child = (!self.forks).then(fork::no_child);
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            let mut harness = Harness::new(make()?, trigger);
            match self.run {
                Run::One(run) => run(&mut harness),
                Run::More(run) => run(&mut harness, make),
            }
        }));
        match verdict {
            Ok(Ok(())) => Outcome::Ok,
            Ok(Err(Fault::Failed(reason))) => Outcome::Failed(reason),
            Ok(Err(Fault::Skipped(reason))) => Outcome::Skipped(reason),
            Err(panic) => Outcome::Failed(format!("panicked: {}", message(&*panic))),
        }
    }
}

type Make<'a> = dyn FnMut() -> io::Result<Box<dyn Backend>> + 'a;

/// Runs every case with every trigger, each time on a new backend from `make`.
///
/// A case that fails or panics is a failure in the report, and so is an error of `make`. Takes a
/// second or two, longer if something fails.
///
/// ```
/// use reveille::backend::BackendKind;
/// let report = reveille::conformance::run(&mut || BackendKind::Select.open(64));
/// assert!(report.is_ok(), "{report}");
/// ```
pub fn run(make: &mut dyn FnMut() -> io::Result<Box<dyn Backend>>) -> Report {
    run_except(make, &|_| None)
}

/// As [`run`], but skips the cases for whose id `except` returns a reason.
pub(crate) fn run_except(
    make: &mut Make<'_>,
    except: &dyn Fn(&str) -> Option<&'static str>,
) -> Report {
    let mut report = Report::default();
    let (name, capabilities) = match make() {
        Ok(backend) => (backend.name().to_owned(), backend.capabilities()),
        Err(error) => {
            report.fail_to_open(&error);
            return report;
        }
    };
    for &trigger in ALL_TRIGGERS {
        for case in cases() {
            let outcome = if !capabilities.supports(trigger) {
                Outcome::Skipped(format!("has no {} trigger", report::trigger_name(trigger)))
            } else if let Some(reason) = except(case.id) {
                Outcome::Skipped(reason.to_owned())
            } else {
                case.check(make, trigger)
            };
            report.push(CaseResult::new(case.id, case.name, &name, trigger, outcome));
        }
    }
    report
}

fn cases() -> impl Iterator<Item = &'static Case> {
    let mut cases: Vec<&Case> = [
        timing::CASES,
        waking::CASES,
        triggers::CASES,
        interests::CASES,
        closing::CASES,
        reopening::CASES,
        forking::CASES,
        sharing::CASES,
        batch::CASES,
        api::CASES,
        concurrent_peers::CASES,
    ]
    .into_iter()
    .flatten()
    .collect();
    cases.sort_by_key(|case| case.id);
    cases.into_iter()
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("with a value that is not a string")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every backend of this host, or the one that `REVEILLE_BACKEND` names. On Linux
    /// `backend/tests.rs` does this.
    #[test]
    #[cfg(not(target_os = "linux"))]
    fn run_passes_for_every_backend_of_the_host() {
        use crate::backend::{BackendKind, available};
        let only: Option<BackendKind> = std::env::var("REVEILLE_BACKEND")
            .ok()
            .filter(|name| !name.is_empty())
            .map(|name| name.parse().unwrap());
        let mut report = Report::default();
        for entry in available() {
            let kind = entry.kind();
            if only.is_some_and(|only| only != kind) {
                report.skip(kind.name(), "not the one that REVEILLE_BACKEND names");
            } else if let Some(reason) = entry.reason() {
                report.skip(kind.name(), reason);
            } else {
                report.merge(run(&mut || kind.open(64)));
            }
        }
        println!("{report}");
        report.assert_ok();
    }

    #[test]
    fn ids_of_cases_are_unique() {
        let ids: Vec<_> = cases().map(|case| case.id).collect();
        let mut unique = ids.clone();
        unique.dedup();
        assert_eq!(ids, unique);
    }
}
