//! The conformance table: every case, every mechanism, from a run. Those of this host are run for real, the others over the
//! fake kernels.
//!
//! `cargo test --lib conformance_table -- --nocapture` prints it with a column for each trigger;
//! `REVEILLE_WRITE_DOCS=1 cargo test --lib conformance_table` writes it into docs/backends.md, which is compared with
//! what was seen otherwise. What this host cannot run is *skipped*, and neither compared nor written.

use super::*;
use crate::conformance::{self, Outcome, Report};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The mechanisms whose kernel this host is not.
const FAKED: [BackendKind; 3] = [
    BackendKind::Kqueue,
    BackendKind::EventPorts,
    BackendKind::DevPoll,
];

/// What a mechanism does not claim: what the kit says of it, and the footnote.
const NOT_CLAIMED: [(&str, &str); 4] = [
    (
        "arms itself again",
        "arms itself again by a new event: there is nothing to re-arm direction by direction (`rearm` is false)",
    ),
    (
        "no kernel object",
        "has no kernel object that a host's loop could watch, and says so (`has_fd` is false)",
    ),
    (
        "cannot choose one loop",
        "wakes every loop that watches a listener; that `add_exclusive` refuses is checked (`exclusive` is false)",
    ),
    (
        "tells no errors",
        "tells errors and hang-ups as readiness, to who asked for that (`errors` and `unasked` are false)",
    ),
];

/// How the kit begins to say that this host lacks what a case needs.
const OF_HOST: [&str; 2] = ["no fd above", "too few fds"];

/// What only one mechanism can be asked: id, mechanism, the question, and the tests that ask it.
const OWN: [(&str, &str, &str, &[&str]); 10] = [
    (
        "B1",
        "select",
        "numbers far above `FD_SETSIZE`, or a clear refusal",
        &[
            "select::select_high_fd",
            "select::a_number_beyond_the_limit_is_refused_with_the_reason",
        ],
    ),
    (
        "B2",
        "select, devpoll",
        "closed behind its back: told once, no spin (beside C33)",
        &[
            "select::closed_behind_back_are_found_among_the_open",
            "devpoll::a_closed_fd_is_told_once_and_taken_out",
        ],
    ),
    (
        "B3",
        "rtsig",
        "the queue of signals overflows: nothing is lost",
        &[
            "rtsig::overflow_loses_no_fd",
            "rtsig::overflow_is_told_to_every_loop_of_the_thread",
        ],
    ),
    (
        "B4",
        "rtsig",
        "a signal of the number's last owner",
        &["rtsig::a_stale_signal_is_no_event_of_the_next_owner"],
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
        "multishot ended by the kernel, full rings, a late answer",
        &[
            "uring::a_multishot_request_that_the_kernel_ends_is_made_anew",
            "uring::conforms_in_tiny_rings_and_without_eventfd",
            "uring::a_removal_finds_its_end_behind_more_answers_than_fit",
            "uring::a_removal_that_meets_a_wake_up_ends_the_request_all_the_same",
            "uring::an_answer_to_what_was_removed_reaches_nobody",
        ],
    ),
    (
        "B7",
        "event-ports",
        "associated again; `ETIME` that brings events",
        &[
            "evport::what_was_not_delivered_stays_armed_and_what_was_does_not",
            "evport::rearming_one_direction_keeps_the_other",
            "evport::a_failure_that_brings_events_is_none",
        ],
    ),
    (
        "B8",
        "devpoll",
        "less interest, though the kernel only adds",
        &["devpoll::less_interest_goes_out_and_in_again"],
    ),
    (
        "B9",
        "kqueue",
        "filters: receipts, and what a close took",
        &[
            "kqueue::both_filters_go_in_with_one_call_that_gives_receipts",
            "kqueue::a_failed_add_leaves_no_filter_behind",
            "kqueue::what_a_close_took_need_not_be_there_to_be_removed",
        ],
    ),
    (
        "B11",
        "epoll",
        "a file that lives on in a duplicate",
        &["epoll::a_duplicate_kept_alive_is_told_of_under_the_old_token_at_most"],
    ),
];

#[test]
fn conformance_table() {
    let report = judge_all();
    println!("{report}");
    report.assert_ok();
    let ours = rows(&report);
    let page = in_repository("docs/backends.md");
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
        "docs/backends.md differs: REVEILLE_WRITE_DOCS=1 cargo test --lib conformance_table\n{}",
        markdown(&ours)
    );
    let rest = markdown(&[]);
    assert!(
        text.contains(&rest),
        "what is below the table differs:\n{rest}"
    );
}

#[test]
fn what_only_one_mechanism_is_asked_is_asked() {
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

/// Judges each mechanism, or the one that `REVEILLE_BACKEND` names.
fn judge_all() -> Report {
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

/// The table: the head, and a row for each case.
fn rows(report: &Report) -> Vec<Vec<String>> {
    let mut head = vec!["case".to_owned(), String::new(), "trigger".to_owned()];
    head.extend(BackendKind::ALL.map(|kind| match FAKED.contains(&kind) {
        true => format!("{kind} \\*"),
        false => kind.to_string(),
    }));
    let mut rows = vec![head];
    let first = report.cells().first().expect("something was asked");
    let column = report.cells().iter();
    let column = column.take_while(|cell| cell.trigger() == first.trigger());
    for (id, name) in column.map(|cell| (cell.id(), cell.name())) {
        let mut row = vec![id.to_owned(), name.to_owned(), about(report, id)];
        row.extend(BackendKind::ALL.map(|kind| cell(report, id, kind)));
        rows.push(row);
    }
    rows
}

/// The outcomes of a case, but for the triggers that it is not about.
fn asked<'a>(
    report: &'a Report,
    id: &'a str,
) -> impl Iterator<Item = &'a conformance::Cell> + use<'a> {
    let cells = report.cells().iter();
    cells.filter(move |cell| {
        let is_about =
            !matches!(cell.outcome(), Outcome::Skipped(why) if why.starts_with("not about"));
        cell.id() == id && is_about
    })
}

fn lower(trigger: Trigger) -> String {
    format!("{trigger:?}").to_lowercase()
}

/// The triggers that a case is about.
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

/// What a case came to with one mechanism: one word if it is the same for all triggers.
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

/// A footnote for what is not claimed, the reason for what this host lacks.
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

/// The table, the footnotes, and the table of what only one mechanism is asked; without rows only what is below.
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

/// The cells of the first table of a text.
fn cells(text: &str) -> Vec<Vec<String>> {
    let table = text.lines().take_while(|line| line.starts_with('|'));
    let rows = table.filter(|line| !line.contains("---"));
    rows.map(|line| {
        let inner = line.trim_matches('|').split('|');
        inner.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// What is before, between and after the marks of the page.
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
