//! Foreign code at every place that calls it: code that panics, spawns, wakes, aborts, drops a
//! handle, or tries to run a loop. The effects must be those of the table in docs/foreign_code.md:
//! they are the same at all places, except for where a panic goes, which task is current, and which
//! budget applies.

#[path = "../support/mod.rs"]
mod support;

mod fixture;
mod own_backend;
mod places;
mod waker;

use fixture::{Action, BUDGET, Fixture, UNBOUND, end};
use places::{Bound, PLACES, PanicTarget, Place};
use reveille::backend::{BackendKind, available};
use std::sync::atomic::Ordering::SeqCst;
use support::guarded;
use support::panics::{hushed, text_of};

fn mechanisms() -> Vec<BackendKind> {
    if let Ok(name) = std::env::var("REVEILLE_BACKEND") {
        return vec![name.parse().expect("a mechanism's name")];
    }
    let here = available().into_iter().filter(|one| one.is_available());
    here.map(|one| one.kind()).collect()
}

/// Runs one cell of the table.
fn run_cell(kind: BackendKind, place: &Place, action: Action) {
    let fixture = Fixture::new(kind, action, |builder| builder);
    let (fixture, target) = (place.enter)(fixture, kind, action);
    let seen = fixture.seen();
    assert_eq!(
        seen.is_current, place.is_current,
        "whether the runtime is current"
    );
    assert_eq!(seen.is_named, place.is_named, "whether a task is named");
    let is_bound = match place.bound {
        Bound::Poll => (1..=BUDGET).contains(&seen.operations),
        Bound::None => seen.operations == UNBOUND,
    };
    assert!(is_bound, "it could complete {} operations", seen.operations);
    let is_alive = fixture::is_alive();
    if is_alive {
        fixture.settle();
    }
    let panicked = action == Action::Panic;
    let expected = if panicked {
        place.panic
    } else {
        PanicTarget::Nothing
    };
    let unhandled = fixture.unhandled.load(SeqCst);
    let target = match (target, unhandled) {
        (target, 0) => target,
        (PanicTarget::Nothing, 1) => PanicTarget::ToThePolicy,
        both => panic!("two panics: {both:?}"),
    };
    assert_eq!(target, expected, "where the panic went");
    if target == PanicTarget::ToThePolicy {
        let is_named = fixture.is_named.load(SeqCst);
        assert_eq!(is_named, place.is_named, "whether the report names a task");
    }
    fixture.check_effect(is_alive);
    let refusal = match action {
        Action::BlockOn => Some("inside a running runtime"),
        Action::Turn => Some("inside this runtime's own loop"),
        _ => None,
    };
    if let Some(refusal) = refusal {
        let text = fixture.panic_text();
        assert_eq!(text.contains(refusal), place.is_in_loop, "{text}");
    }
    if is_alive {
        assert_eq!(
            fixture::runtime().block_on(async { 7 }),
            7,
            "the runtime works"
        );
        assert!(end(), "the drop of a runtime does not panic");
    }
}

/// Runs all cells of a mechanism. Returns the message of each one that fails.
fn failures(kind: BackendKind) -> Vec<String> {
    let mut failures = Vec::new();
    for place in PLACES {
        for action in Action::ALL {
            if let Err(payload) = hushed(|| run_cell(kind, place, action)) {
                let text = text_of(&*payload);
                failures.push(format!("{kind}, {}, {action:?}: {text}", place.name));
                fixture::forget();
            }
        }
    }
    failures
}

#[test]
fn foreign_code_has_the_effects_that_the_table_lists() {
    for kind in mechanisms() {
        guarded(kind.name(), || {
            let failures = failures(kind);
            assert!(failures.is_empty(), "{}", failures.join("\n"));
        });
    }
}

/// The rows of the table in the docs: the name of the place, whether it is in a loop, whether a
/// task is named, whether a budget applies, and where a panic goes.
fn rows() -> Vec<(String, bool, bool, bool, PanicTarget)> {
    let page = include_str!("../../docs/foreign_code.md");
    let (_, section) = page
        .split_once("## The places")
        .expect("there is such a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    // Without the feature, the places that signals enter do not exist.
    let rows = rows.filter(|row| cfg!(feature = "signal") || !row.contains("a signal |"));
    rows.skip(1)
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let panic = match cells[4] {
                "to the handle" => PanicTarget::ToTheHandle,
                "to the policy" => PanicTarget::ToThePolicy,
                "out of the call" => PanicTarget::OutOfTheCall,
                other => panic!("{}: {other}?", cells[0]),
            };
            let is_in_loop = cells[1] == "the loop" || cells[1].starts_with("a poll");
            let is_named = cells[2] == "yes";
            (
                cells[0].to_owned(),
                is_in_loop,
                is_named,
                cells[3].ends_with("budget"),
                panic,
            )
        })
        .collect()
}

#[test]
fn docs_list_all_places_of_foreign_code() {
    let places = PLACES.iter().map(|place| {
        let is_bound = place.bound == Bound::Poll;
        (
            place.name.to_owned(),
            place.is_in_loop,
            place.is_named,
            is_bound,
            place.panic,
        )
    });
    assert_eq!(rows(), places.collect::<Vec<_>>());
}
