//! The cases that every [`Backend`] must pass: its [contract](crate::backend#the-contract), as a program.
//!
//! [`run`] judges one implementation, for every trigger it claims, with real sockets and pipes and no reactor in
//! between: the cases do by hand what the layer above does, such as `rearm` after a call that would block. A case
//! that does not apply says *skipped* and why.
//!
//! ```
//! use reveille::backend::BackendKind;
//! let report = reveille::conformance::run(&mut || BackendKind::Poll.open(64));
//! println!("{report}");
//! report.assert_ok();
//! ```
//!
//! `examples/own_backend.rs` writes a backend of its own and has it judged. A backend that cannot do something says so in
//! its [`Capabilities`](crate::backend::Capabilities), and is asked only for what it claims.
//!
//! What needs tasks, timers or the order of a turn is not judged here, but by the tests of those layers.
//!
//! The cases stand by theme in `timing`, `waking`, `triggers`, `interests`, `closing`, `batch`, `sharing`, `forking`, `unrest`
//! and `api`, what they share in `bench`. A new case is a function and a line in its theme's list.

#![forbid(unsafe_code)]

use crate::backend::{Backend, Trigger};
use crate::sys::fork;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod api;
mod batch;
mod bench;
mod closing;
mod forking;
mod interests;
mod report;
mod sharing;
mod timing;
mod triggers;
mod unrest;
mod waking;

use bench::{Bench, Fault, Verdict};
pub use report::{Cell, Outcome, Report};

/// One question to a backend.
struct Case {
    id: &'static str,
    name: &'static str,
    /// The triggers to which it applies.
    triggers: &'static [Trigger],
    run: Run,
    /// It makes a child, so it cannot ask that there be none.
    forks: bool,
}

/// What a case needs.
enum Run {
    One(fn(&mut Bench) -> Verdict),
    /// Further backends beside the first.
    More(fn(&mut Bench, &mut Make<'_>) -> Verdict),
}

const EVERY: &[Trigger] = &[Trigger::Edge, Trigger::Level, Trigger::Oneshot];

impl Case {
    /// A case for every trigger.
    const fn new(id: &'static str, name: &'static str, run: fn(&mut Bench) -> Verdict) -> Case {
        Case {
            id,
            name,
            triggers: EVERY,
            run: Run::One(run),
            forks: false,
        }
    }

    /// A case that needs further backends, for every trigger.
    const fn with_more(
        id: &'static str,
        name: &'static str,
        run: fn(&mut Bench, &mut Make<'_>) -> Verdict,
    ) -> Case {
        Case {
            id,
            name,
            triggers: EVERY,
            run: Run::More(run),
            forks: false,
        }
    }

    /// The same for these triggers only.
    const fn only(self, triggers: &'static [Trigger]) -> Case {
        Case { triggers, ..self }
    }

    /// The same, which makes a child.
    const fn forking(self) -> Case {
        Case {
            forks: true,
            ..self
        }
    }

    fn judge(&self, make: &mut Make<'_>, trigger: Trigger) -> Outcome {
        if !self.triggers.contains(&trigger) {
            return Outcome::Skipped(format!("not about {}", report::lower(trigger)));
        }
        // Another thread may judge another backend at the same time.
        let _no_child = (!self.forks).then(fork::no_child);
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            let mut bench = Bench::new(make()?, trigger);
            match self.run {
                Run::One(run) => run(&mut bench),
                Run::More(run) => run(&mut bench, make),
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

/// Asks a backend every question, for every trigger, each time with a new one from `make`.
///
/// A failed or panicking case is a failed cell of the report. Takes a second or two, longer if
/// something fails.
pub fn run(make: &mut dyn FnMut() -> io::Result<Box<dyn Backend>>) -> Report {
    run_but(make, &|_| None)
}

/// The same, but leaves out the cases, by id, of which `except` says why they cannot be asked here.
pub(crate) fn run_but(
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
    for &trigger in EVERY {
        for case in cases() {
            let outcome = if !capabilities.supports(trigger) {
                Outcome::Skipped(format!("has no {} trigger", report::lower(trigger)))
            } else if let Some(reason) = except(case.id) {
                Outcome::Skipped(reason.to_owned())
            } else {
                case.judge(make, trigger)
            };
            report.push(Cell::new(case.id, case.name, &name, trigger, outcome));
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
        forking::CASES,
        sharing::CASES,
        batch::CASES,
        api::CASES,
        unrest::CASES,
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
        .unwrap_or("with a value that is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every backend of this host, or the one that `REVEILLE_BACKEND` names. On Linux `backend/tests.rs` does this.
    #[test]
    #[cfg(not(target_os = "linux"))]
    fn every_backend_of_the_host_conforms() {
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
    fn ids_are_unique() {
        let ids: Vec<_> = cases().map(|case| case.id).collect();
        let mut unique = ids.clone();
        unique.dedup();
        assert_eq!(ids, unique);
    }
}
