//! Runs every conformance case for every mechanism, and compares the results with the table in
//! docs/backends/mechanisms.md. The mechanisms of this host run for real, the others over fake
//! kernels.
//!
//! `cargo test --lib conformance_table -- --nocapture` prints a column for each trigger.
//! `REVEILLE_WRITE_DOCS=1 cargo test --lib conformance_table` writes the table instead of comparing
//! it. What this host cannot run is *skipped*, and neither compared nor written.

use super::*;
use crate::conformance::{self, Outcome, Report};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The mechanisms that run over a fake kernel.
const FAKED: [BackendKind; 3] = [
    BackendKind::Kqueue,
    BackendKind::EventPorts,
    BackendKind::DevPoll,
];

/// What a mechanism may not claim: the reason that the cases print, and the footnote.
const NOT_CLAIMED: [(&str, &str); 4] = [
    (
        "needs no rearm",
        "new data is reported without `rearm`, so there is nothing to re-arm (`rearm` is false)",
    ),
    (
        "no kernel object",
        "has no kernel object that a host could watch, and returns an error (`has_fd` is false)",
    ),
    (
        "cannot wake one loop only",
        "wakes every loop that watches a listener; the case checks that `add_exclusive` fails (`exclusive` is false)",
    ),
    (
        "does not report errors",
        "reports errors and hang-ups as readiness, if the interest has READABLE or WRITABLE (`errors` and `unasked` are false)",
    ),
];

/// How the reason begins if this host lacks what a case needs.
const OF_HOST: [&str; 4] = [
    "no fd above",
    "too few fds",
    "no terminal",
    "no error queue",
];

/// Tests that concern one mechanism: the id, the mechanism, the question, and the tests.
const OWN: [(&str, &str, &str, &[&str]); 10] = [
    (
        "B1",
        "select",
        "numbers far above `FD_SETSIZE`: they work, or `add` says why not",
        &[
            "select::select_high_fd",
            "select::add_refuses_a_number_beyond_the_limit_with_the_reason",
        ],
    ),
    (
        "B2",
        "select, devpoll",
        "an fd closed while registered: reported once, no spin (see C33)",
        &[
            "select::wait_reports_fds_closed_while_registered_once",
            "devpoll::wait_reports_a_closed_fd_once_and_removes_it",
        ],
    ),
    (
        "B3",
        "rtsig",
        "the signal queue overflows: nothing is lost",
        &[
            "rtsig::overflow_loses_no_fd",
            "rtsig::overflow_is_reported_to_every_loop_of_the_thread",
        ],
    ),
    (
        "B4",
        "rtsig",
        "a signal of the file that had the number before",
        &["rtsig::late_signal_is_no_event_of_the_next_owner"],
    ),
    (
        "B5",
        "rtsig",
        "files that send no signals",
        &["rtsig::silent_files_are_polled"],
    ),
    (
        "B6",
        "io-uring",
        "a multishot request that the kernel ends, full rings, a late completion",
        &[
            "uring::multishot_request_that_the_kernel_ends_is_renewed",
            "uring::conforms_in_tiny_rings_and_without_eventfd",
            "uring::remove_finds_its_completion_behind_more_than_fit",
            "uring::remove_ends_a_request_in_spite_of_a_wake_up",
            "uring::wait_drops_completions_of_removed_registrations",
        ],
    ),
    (
        "B7",
        "event-ports",
        "associating again; `ETIME` with events",
        &[
            "evport::wait_disarms_only_what_it_delivers",
            "evport::rearm_of_one_direction_keeps_the_other",
            "evport::wait_accepts_a_failure_with_events",
        ],
    ),
    (
        "B8",
        "devpoll",
        "a smaller interest, though the kernel only adds",
        &["devpoll::modify_to_less_removes_and_adds_again"],
    ),
    (
        "B9",
        "kqueue",
        "filters: receipts, and filters that a close removed",
        &[
            "kqueue::add_makes_one_call_for_both_filters_with_receipts",
            "kqueue::failed_add_leaves_no_filter_behind",
            "kqueue::remove_of_filters_that_a_close_removed_succeeds",
            "kqueue::add_after_forget_makes_one_call",
        ],
    ),
    (
        "B11",
        "epoll",
        "a file that lives on in a duplicate (see C39)",
        &[
            "epoll::wait_reports_a_living_duplicate_only_under_the_old_token",
            "epoll::add_takes_back_a_file_that_outlived_its_close",
            "epoll::add_exclusive_takes_back_a_listener_that_outlived_its_close",
        ],
    ),
];

#[test]
fn conformance_table() {
    let report = check_all();
    println!("{report}");
    report.assert_ok();
    let ours = rows(&report);
    let page = in_repository("docs/backends/mechanisms.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, theirs, after) = split(&text);
    if std::env::var_os("REVEILLE_WRITE_DOCS").is_some() {
        let has_gap = ours.iter().flatten().any(|cell| is_gap(cell));
        assert!(!has_gap, "this host has not all of them:\n{ours:#?}");
        let new = format!("{before}{}{after}", markdown(&ours));
        fs::write(page, new).unwrap();
        return;
    }
    let theirs = cells(theirs);
    let is_same = theirs.len() == ours.len()
        && theirs.iter().zip(&ours).all(|(theirs, ours)| {
            let mut pairs = theirs.iter().zip(ours);
            theirs.len() == ours.len() && pairs.all(|(theirs, ours)| theirs == ours || is_gap(ours))
        });
    assert!(
        is_same,
        "docs/backends/mechanisms.md differs: REVEILLE_WRITE_DOCS=1 cargo test --lib conformance_table\n{}",
        markdown(&ours)
    );
    let rest = markdown(&[]);
    assert!(
        text.contains(&rest),
        "what is below the table differs:\n{rest}"
    );
}

#[test]
fn tests_of_single_mechanisms_exist() {
    for name in OWN.iter().flat_map(|(.., names)| *names) {
        let (module, function) = name.split_once("::").unwrap();
        let files = [format!("{module}.rs"), format!("{module}/tests.rs")];
        let has_it = files.iter().any(|file| {
            let source = fs::read_to_string(in_repository("src/backend").join(file));
            let lines: Vec<String> = source
                .iter()
                .flat_map(|text| text.lines())
                .map(|line| line.trim().to_owned())
                .collect();
            let head = ["#[test]".to_owned(), format!("fn {function}() {{")];
            lines.windows(2).any(|pair| pair == head)
        });
        assert!(has_it, "there is no test {name}");
    }
}

/// Checks each mechanism, or the one that `REVEILLE_BACKEND` names.
fn check_all() -> Report {
    let only = std::env::var("REVEILLE_BACKEND").ok();
    let only: Option<BackendKind> = only
        .filter(|name| !name.is_empty())
        .map(|name| name.parse().unwrap());
    let mut report = Report::default();
    for entry in available() {
        let kind = entry.kind();
        let reason = entry.reason().filter(|_| !FAKED.contains(&kind));
        if only.is_some_and(|only| only != kind) {
            report.skip(kind.name(), "not the one that REVEILLE_BACKEND names");
        } else if let Some(reason) = reason {
            report.skip(kind.name(), reason);
        } else {
            report.merge(conformance::run(&mut || open_here(kind)));
        }
    }
    report
}

fn open_here(kind: BackendKind) -> io::Result<Box<dyn Backend>> {
    Ok(match kind {
        BackendKind::Kqueue => Box::new(kqueue::Kqueue::<fake::kqueue::Fake<true, true>>::new(64)?),
        BackendKind::EventPorts => {
            let kernel = fake::evport::Fake::with_faults(fake::evport::Faults::default());
            Box::new(evport::EventPorts::new(64, kernel)?)
        }
        BackendKind::DevPoll => Box::new(devpoll::DevPoll::<fake::devpoll::FakeDevPoll>::new(64)?),
        real => real.open(64)?,
    })
}

/// Returns the table: the head, and a row for each case.
fn rows(report: &Report) -> Vec<Vec<String>> {
    let mut head = vec!["case".to_owned(), String::new(), "trigger".to_owned()];
    head.extend(BackendKind::ALL.map(|kind| match FAKED.contains(&kind) {
        true => format!("{kind} \\*"),
        false => kind.to_string(),
    }));
    let mut rows = vec![head];
    let first = report.results().first().expect("a case ran");
    let column = report.results().iter();
    let column = column.take_while(|cell| cell.trigger() == first.trigger());
    for (id, name) in column.map(|cell| (cell.id(), cell.name())) {
        let mut row = vec![id.to_owned(), name.to_owned(), about(report, id)];
        row.extend(BackendKind::ALL.map(|kind| cell(report, id, kind)));
        rows.push(row);
    }
    rows
}

/// Returns the results of a case, without the triggers that it is not about.
fn asked<'a>(
    report: &'a Report,
    id: &'a str,
) -> impl Iterator<Item = &'a conformance::CaseResult> + use<'a> {
    let cells = report.results().iter();
    cells.filter(move |cell| {
        let is_about =
            !matches!(cell.outcome(), Outcome::Skipped(why) if why.starts_with("not about"));
        cell.id() == id && is_about
    })
}

fn lower(trigger: Trigger) -> String {
    format!("{trigger:?}").to_lowercase()
}

/// Returns the triggers that a case is about.
fn about(report: &Report, id: &str) -> String {
    let mut triggers: Vec<Trigger> = Vec::new();
    for cell in asked(report, id) {
        if !triggers.contains(&cell.trigger()) {
            triggers.push(cell.trigger());
        }
    }
    match triggers[..] {
        [one] => lower(one),
        _ => "all".to_owned(),
    }
}

/// Returns the outcome of a case with one mechanism: one word if it is the same for all triggers.
fn cell(report: &Report, id: &str, kind: BackendKind) -> String {
    let mut seen: Vec<(String, Trigger)> = Vec::new();
    for cell in asked(report, id).filter(|cell| cell.backend() == kind.name()) {
        let text = match cell.outcome() {
            Outcome::Skipped(why) => gap(why),
            outcome => outcome.to_string(),
        };
        seen.push((text, cell.trigger()));
    }
    match seen.split_first() {
        None => "skipped".to_owned(),
        Some(((first, _), rest)) if rest.iter().all(|(text, _)| text == first) => first.clone(),
        Some(_) => {
            let parts = seen
                .iter()
                .map(|(text, trigger)| format!("{} {text}", lower(*trigger)));
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Returns the footnote for what is not claimed, or the reason if this host lacks something.
fn gap(why: &str) -> String {
    if let Some(at) = NOT_CLAIMED.iter().position(|(said, _)| *said == why) {
        return format!("- [{}]", at + 1);
    }
    let is_of_host = OF_HOST.iter().any(|start| why.starts_with(start));
    assert!(is_of_host, "neither in NOT_CLAIMED nor in OF_HOST: {why}");
    format!("skipped: {why}")
}

fn is_gap(cell: &str) -> bool {
    cell.contains("skipped")
}

/// Returns the table, the footnotes, and the second table. Without rows, returns only what follows
/// the first table.
fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let mut line = |cells: &[String]| writeln!(text, "| {} |", cells.join(" | ")).unwrap();
    for (at, row) in rows.iter().enumerate() {
        line(row);
        if at == 0 {
            line(&vec!["---".to_owned(); row.len()]);
        }
    }
    text.push_str("\n\\* over the fake kernel of the tests\n\n");
    for (at, (_, note)) in NOT_CLAIMED.iter().enumerate() {
        writeln!(text, "- \\[{}\\] {note}", at + 1).unwrap();
    }
    text.push_str(
        "\n| case | mechanism | question | tests, in `src/backend` |\n|---|---|---|---|\n",
    );
    for (id, kind, about, names) in OWN {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        writeln!(text, "| {id} | {kind} | {about} | {} |", names.join(", ")).unwrap();
    }
    text
}

/// Returns the cells of the first table of a text.
fn cells(text: &str) -> Vec<Vec<String>> {
    let table = text.lines().take_while(|line| line.starts_with('|'));
    let rows = table.filter(|line| !line.contains("---"));
    rows.map(|line| {
        let inner = line.trim_matches('|').split('|');
        inner.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// Returns what is before, between and after the marks of the page.
fn split(page: &str) -> (&str, &str, &str) {
    const BEGIN: &str =
        "<!-- written by REVEILLE_WRITE_DOCS=1 cargo test --lib conformance_table -->\n";
    const END: &str = "<!-- end of what is written -->";
    let begin = page.find(BEGIN).expect("the page has the first mark") + BEGIN.len();
    let end = page.find(END).expect("the page has the second mark");
    (&page[..begin], &page[begin..end], &page[end..])
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
