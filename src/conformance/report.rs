//! [`Report`] holds the result of each case for each backend and trigger, and prints them as a
//! table.

use crate::backend::Trigger;
use std::fmt;
use std::io;

/// The outcome of one case.
///
/// ```
/// use reveille::conformance::Outcome;
/// let skipped = Outcome::Skipped("no kernel object".into());
/// assert_eq!(Outcome::Ok.to_string(), "ok");
/// assert_eq!(skipped.to_string(), "skipped: no kernel object");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The backend did what the contract says.
    Ok,
    /// The backend did something else, which the text describes.
    Failed(String),
    /// The case does not apply, for the reason in the text.
    Skipped(String),
}

/// The result of one case for one backend and one trigger; see [`Report::results`].
#[derive(Clone, Debug)]
pub struct CaseResult {
    id: &'static str,
    name: &'static str,
    backend: String,
    trigger: Trigger,
    outcome: Outcome,
}

impl CaseResult {
    pub(super) fn new(
        id: &'static str,
        name: &'static str,
        backend: &str,
        trigger: Trigger,
        outcome: Outcome,
    ) -> CaseResult {
        CaseResult {
            id,
            name,
            backend: backend.to_owned(),
            trigger,
            outcome,
        }
    }

    /// Returns the id of the case, such as `C16`.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// Returns the name of the case, such as `half_close`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the name of the backend.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Returns the trigger of the registrations.
    pub fn trigger(&self) -> Trigger {
        self.trigger
    }

    /// Returns the outcome.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    fn column(&self) -> Column<'_> {
        (&self.backend, self.trigger)
    }
}

/// Names the results of one backend and trigger.
type Column<'a> = (&'a str, Trigger);

/// The results of all cases for one or more backends.
///
/// `Display` prints a table with a column for each trigger that a backend supports. Below it are
/// the counts, what was skipped as a whole, and the reason of each failure.
///
/// ```
/// use reveille::backend::BackendKind;
/// use reveille::conformance::{CaseResult, Outcome, Report};
///
/// let mut report: Report = reveille::conformance::run(&mut || BackendKind::Poll.open(64));
/// report.skip("kqueue", "only on the BSDs and macOS");
/// let eof: Vec<&CaseResult> = report.results().iter().filter(|r| r.id() == "C28").collect();
/// assert_eq!(eof.len(), 3);
/// assert!(eof.iter().all(|r| *r.outcome() == Outcome::Ok && r.backend() == "poll"));
/// assert!(report.is_ok() && report.failures().count() == 0);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    results: Vec<CaseResult>,
    /// Backends that were skipped, with the reason.
    absent: Vec<(String, String)>,
    /// The errors of backends that could not be opened.
    unopened: Vec<String>,
}

impl Report {
    /// Returns all results, in the order in which the cases ran.
    pub fn results(&self) -> &[CaseResult] {
        &self.results
    }

    /// Returns the results that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseResult> {
        let failed = |cell: &&CaseResult| matches!(cell.outcome, Outcome::Failed(_));
        self.results.iter().filter(failed)
    }

    /// Returns whether nothing failed.
    pub fn is_ok(&self) -> bool {
        self.unopened.is_empty() && self.failures().next().is_none()
    }

    /// Panics if something failed. For tests.
    ///
    /// # Panics
    ///
    /// If [`is_ok`](Report::is_ok) is false, with all failures.
    pub fn assert_ok(&self) {
        assert!(self.is_ok(), "\n{}", Failures(self));
    }

    /// Notes that a backend was skipped, and why. The report prints it and does not count it as
    /// passed.
    pub fn skip(&mut self, backend: &str, reason: &str) {
        self.absent.push((backend.to_owned(), reason.to_owned()));
    }

    /// Adds the results of another report.
    pub fn merge(&mut self, other: Report) {
        self.results.extend(other.results);
        self.absent.extend(other.absent);
        self.unopened.extend(other.unopened);
    }

    pub(super) fn push(&mut self, cell: CaseResult) {
        self.results.push(cell);
    }

    pub(super) fn fail_to_open(&mut self, error: &io::Error) {
        self.unopened.push(error.to_string());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = unique(self.results.iter().map(CaseResult::column));
        let (skipped, checked): (Vec<Column<'_>>, Vec<Column<'_>>) = columns
            .into_iter()
            .partition(|&column| self.skipped_reason(column).is_some());
        for line in self.table(&checked) {
            let line = line.join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        for (backend, trigger) in checked {
            let counts = self.counts((backend, trigger));
            writeln!(f, "{backend} {}: {counts}", trigger_name(trigger))?;
        }
        for (backend, trigger) in skipped {
            let reason = self.skipped_reason((backend, trigger)).unwrap_or_default();
            writeln!(f, "{backend} {}: skipped: {reason}", trigger_name(trigger))?;
        }
        for (backend, reason) in &self.absent {
            writeln!(f, "{backend}: skipped: {reason}")?;
        }
        Failures(self).fmt(f)
    }
}

impl Report {
    fn of<'a>(&'a self, column: Column<'a>) -> impl Iterator<Item = &'a CaseResult> {
        self.results
            .iter()
            .filter(move |cell| cell.column() == column)
    }

    /// Returns the reason if all cases of this backend and trigger were skipped for the same one.
    fn skipped_reason<'a>(&'a self, column: Column<'a>) -> Option<&'a str> {
        let mut reasons = self.of(column).map(|cell| match &cell.outcome {
            Outcome::Skipped(reason) => Some(reason.as_str()),
            _ => None,
        });
        let first = reasons.next()??;
        reasons.all(|reason| reason == Some(first)).then_some(first)
    }

    /// Returns the counts, as "30 ok, 1 failed, 4 skipped".
    fn counts(&self, column: Column<'_>) -> String {
        let (mut ok, mut failed, mut skipped) = (0, 0, 0);
        for cell in self.of(column) {
            match cell.outcome {
                Outcome::Ok => ok += 1,
                Outcome::Failed(_) => failed += 1,
                Outcome::Skipped(_) => skipped += 1,
            }
        }
        format!("{ok} ok, {failed} failed, {skipped} skipped")
    }

    /// Returns the lines of the table. All cells of a column have the same width.
    fn table(&self, columns: &[Column<'_>]) -> Vec<Vec<String>> {
        let rows = unique(self.results.iter().map(|cell| (cell.id, cell.name)));
        if columns.is_empty() {
            return Vec::new();
        }
        let mut head = vec![String::new(), String::new()];
        head.extend(
            columns
                .iter()
                .map(|&(name, trigger)| format!("{name} {}", trigger_name(trigger))),
        );
        let mut lines = vec![head];
        for (id, name) in rows {
            let mut line = vec![id.to_owned(), name.to_owned()];
            for &column in columns {
                let here = |cell: &&CaseResult| cell.id == id && cell.column() == column;
                let cell = self.results.iter().find(here);
                line.push(cell.map_or(String::new(), |cell| cell.outcome.to_string()));
            }
            lines.push(line);
        }
        for column in 0..columns.len() + 2 {
            let width = lines
                .iter()
                .map(|line| line[column].len())
                .max()
                .unwrap_or(0);
            for line in &mut lines {
                line[column] = format!("{:width$}", line[column]);
            }
        }
        lines
    }
}

/// Returns each item once, in the order of its first appearance.
fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    for item in items {
        if !list.contains(&item) {
            list.push(item);
        }
    }
    list
}

impl fmt::Display for Outcome {
    /// Writes the text of a cell of the table. The reason of a failure is below the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ok => f.write_str("ok"),
            Outcome::Failed(_) => f.write_str("FAILED"),
            Outcome::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// Prints one line per failure.
struct Failures<'a>(&'a Report);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0.unopened {
            writeln!(f, "FAILED to open: {error}")?;
        }
        for cell in &self.0.results {
            if let Outcome::Failed(reason) = &cell.outcome {
                let (id, name, backend) = (cell.id, cell.name, &cell.backend);
                let trigger = trigger_name(cell.trigger);
                writeln!(f, "FAILED {id} {name}, {backend} {trigger}: {reason}")?;
            }
        }
        Ok(())
    }
}

pub(super) fn trigger_name(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Edge => "edge",
        Trigger::Level => "level",
        Trigger::Oneshot => "oneshot",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_prints_every_outcome() {
        let mut report = Report::default();
        for (id, name, outcome) in [
            ("C01", "one", Outcome::Ok),
            ("C02", "two", Outcome::Failed("too late".into())),
            ("C03", "three", Outcome::Skipped("not about edge".into())),
        ] {
            report.push(CaseResult::new(id, name, "toy", Trigger::Edge, outcome));
        }
        for id in ["C01", "C02"] {
            let outcome = Outcome::Skipped("has no level trigger".into());
            report.push(CaseResult::new(id, "x", "toy", Trigger::Level, outcome));
        }
        report.skip("kqueue", "only on the BSDs and macOS");
        let text = report.to_string();
        for part in [
            "toy edge",
            "C01  one    ok",
            "C02  two    FAILED",
            "C03  three  skipped: not about edge",
            "toy edge: 1 ok, 1 failed, 1 skipped",
            "toy level: skipped: has no level trigger",
            "kqueue: skipped: only on the BSDs and macOS",
            "FAILED C02 two, toy edge: too late",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert_eq!(text.matches("has no level trigger").count(), 1, "{text}");
        assert!(!report.is_ok());
        assert_eq!(report.failures().count(), 1);
    }
}
