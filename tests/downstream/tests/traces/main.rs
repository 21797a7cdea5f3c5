//! Small programs print the same trace on this crate and on tokio's current-thread runtime with a
//! `LocalSet`, except for the differences that are listed here, each with its reason.
//!
//! Both clocks are paused, so each line of a trace has its exact time.

#![allow(
    clippy::duplicate_mod,
    reason = "`programs.rs` is compiled once for each runtime"
)]

mod log;
mod on_reveille;
mod on_tokio;

use log::Trace;
use reveille::Builder;
use reveille::backend::BackendKind;
use std::io::ErrorKind;

/// The programs whose traces differ, and why they may.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "budget_lets_others_run",
        "as `yields_of_tasks`: a task without any budget left has yielded",
    ),
    (
        "semaphore_in_order",
        "the root and a task are due at the same time: tokio polls the root apart from the tasks, \
         and before them",
    ),
    (
        "yields_of_tasks",
        "tokio wakes the tasks that have yielded together and the last one first; here they run \
         in the order in which they yielded",
    ),
];

#[test]
fn programs_print_what_they_print_on_tokio() {
    let theirs = on_tokio::run_all();
    assert!(theirs.len() >= 40, "{} programs", theirs.len());
    for (listed, _) in DIFFERENCES {
        assert!(theirs.iter().any(|(name, _)| name == listed), "no {listed}");
    }
    let mut mechanisms = 0;
    for kind in BackendKind::ALL {
        match Builder::new().backend(kind).build() {
            Ok(_) => compare(kind, &theirs),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                println!("skipped on {kind}: {error}");
                continue;
            }
            Err(error) => panic!("{kind}: {error}"),
        }
        mechanisms += 1;
    }
    assert!(mechanisms > 0);
}

/// Compares the traces of a mechanism with those of tokio.
fn compare(kind: BackendKind, theirs: &[Trace]) {
    let ours = on_reveille::run_all(kind);
    assert_eq!(ours.len(), theirs.len());
    let mut faults = Vec::new();
    for ((name, ours), (_, theirs)) in ours.iter().zip(theirs) {
        let reason = DIFFERENCES.iter().find(|(listed, _)| listed == name);
        if (ours == theirs) == reason.is_some() {
            let (ours, theirs) = (ours.join("\n    "), theirs.join("\n    "));
            let listed = reason.map_or("not listed", |(_, reason)| reason);
            faults.push(format!(
                "{name} ({listed})\n  reveille:\n    {ours}\n  tokio:\n    {theirs}"
            ));
        }
    }
    assert!(faults.is_empty(), "on {kind}:\n{}", faults.join("\n\n"));
}
