//! What came out: one cell per case, backend and trigger, and the table of them.

use crate::backend::Trigger;
use std::fmt;
use std::io;

/// How one case ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As the contract says.
    Ok,
    /// Not as the contract says: what was seen.
    Failed(String),
    /// Not asked: why.
    Skipped(String),
}

/// One case, asked of one backend for one trigger.
#[derive(Clone, Debug)]
pub struct Cell {
    id: &'static str,
    name: &'static str,
    backend: String,
    trigger: Trigger,
    outcome: Outcome,
}

impl Cell {
    pub(super) fn new(
        id: &'static str,
        name: &'static str,
        backend: &str,
        trigger: Trigger,
        outcome: Outcome,
    ) -> Cell {
        Cell {
            id,
            name,
            backend: backend.to_owned(),
            trigger,
            outcome,
        }
    }

    /// The case's id, such as `C16`.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// The case's name, such as `half_close`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The backend's name.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The trigger of the case's registrations.
    pub fn trigger(&self) -> Trigger {
        self.trigger
    }

    /// How it ended.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    fn column(&self) -> Column<'_> {
        (&self.backend, self.trigger)
    }
}

/// The cells of one backend and trigger.
type Column<'a> = (&'a str, Trigger);

/// The judgement of one or more backends.
///
/// `Display` prints it as a table, a column for each trigger that a backend claims, and below it what was counted, what was
/// skipped as a whole, and each failure with what was seen.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    cells: Vec<Cell>,
    /// Backends that were not asked anything, and why.
    absent: Vec<(String, String)>,
    /// Backends that could not be opened.
    unopened: Vec<String>,
}

impl Report {
    /// All cells, in the order in which they were asked.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The cells that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Cell> {
        let failed = |cell: &&Cell| matches!(cell.outcome, Outcome::Failed(_));
        self.cells.iter().filter(failed)
    }

    /// Whether nothing failed.
    pub fn is_ok(&self) -> bool {
        self.unopened.is_empty() && self.failures().next().is_none()
    }

    /// Ends the test if something failed.
    ///
    /// # Panics
    ///
    /// With all failures, unless [`is_ok`](Report::is_ok).
    pub fn assert_ok(&self) {
        assert!(self.is_ok(), "\n{}", Failures(self));
    }

    /// Notes that a backend was not asked, and why: it is printed, never counted as passed.
    pub fn skip(&mut self, backend: &str, reason: &str) {
        self.absent.push((backend.to_owned(), reason.to_owned()));
    }

    /// Puts another backend's report beside this one.
    pub fn merge(&mut self, other: Report) {
        self.cells.extend(other.cells);
        self.absent.extend(other.absent);
        self.unopened.extend(other.unopened);
    }

    pub(super) fn push(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    pub(super) fn fail_to_open(&mut self, error: &io::Error) {
        self.unopened.push(error.to_string());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = unique(self.cells.iter().map(Cell::column));
        let (unasked, asked): (Vec<Column<'_>>, Vec<Column<'_>>) = columns
            .into_iter()
            .partition(|&column| self.unasked(column).is_some());
        for line in self.table(&asked) {
            let line = line.join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        for (backend, trigger) in asked {
            let counts = self.counts((backend, trigger));
            writeln!(f, "{backend} {}: {counts}", lower(trigger))?;
        }
        for (backend, trigger) in unasked {
            let reason = self.unasked((backend, trigger)).unwrap_or_default();
            writeln!(f, "{backend} {}: skipped: {reason}", lower(trigger))?;
        }
        for (backend, reason) in &self.absent {
            writeln!(f, "{backend}: skipped: {reason}")?;
        }
        Failures(self).fmt(f)
    }
}

impl Report {
    fn of<'a>(&'a self, column: Column<'a>) -> impl Iterator<Item = &'a Cell> {
        self.cells
            .iter()
            .filter(move |cell| cell.column() == column)
    }

    /// Why no case at all was asked for this trigger, if it is so.
    fn unasked<'a>(&'a self, column: Column<'a>) -> Option<&'a str> {
        let mut reasons = self.of(column).map(|cell| match &cell.outcome {
            Outcome::Skipped(reason) => Some(reason.as_str()),
            _ => None,
        });
        let first = reasons.next()??;
        reasons.all(|reason| reason == Some(first)).then_some(first)
    }

    /// "30 ok, 1 failed, 4 skipped".
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

    /// The table's lines, all cells of a column equally wide.
    fn table(&self, columns: &[Column<'_>]) -> Vec<Vec<String>> {
        let rows = unique(self.cells.iter().map(|cell| (cell.id, cell.name)));
        if columns.is_empty() {
            return Vec::new();
        }
        let mut head = vec![String::new(), String::new()];
        head.extend(
            columns
                .iter()
                .map(|&(name, trigger)| format!("{name} {}", lower(trigger))),
        );
        let mut lines = vec![head];
        for (id, name) in rows {
            let mut line = vec![id.to_owned(), name.to_owned()];
            for &column in columns {
                let here = |cell: &&Cell| cell.id == id && cell.column() == column;
                let cell = self.cells.iter().find(here);
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

/// Each item once, in the order of its first appearance.
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
    /// The cell's text. The reason of a failure stands below the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ok => f.write_str("ok"),
            Outcome::Failed(_) => f.write_str("FAILED"),
            Outcome::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// One line per failure.
struct Failures<'a>(&'a Report);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0.unopened {
            writeln!(f, "FAILED to open: {error}")?;
        }
        for cell in &self.0.cells {
            if let Outcome::Failed(reason) = &cell.outcome {
                let (id, name, backend) = (cell.id, cell.name, &cell.backend);
                let trigger = lower(cell.trigger);
                writeln!(f, "FAILED {id} {name}, {backend} {trigger}: {reason}")?;
            }
        }
        Ok(())
    }
}

pub(super) fn lower(trigger: Trigger) -> &'static str {
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
    fn the_table_shows_every_outcome() {
        let mut report = Report::default();
        for (id, name, outcome) in [
            ("C01", "one", Outcome::Ok),
            ("C02", "two", Outcome::Failed("too late".into())),
            ("C03", "three", Outcome::Skipped("not about edge".into())),
        ] {
            report.push(Cell::new(id, name, "toy", Trigger::Edge, outcome));
        }
        for id in ["C01", "C02"] {
            let outcome = Outcome::Skipped("has no level trigger".into());
            report.push(Cell::new(id, "x", "toy", Trigger::Level, outcome));
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
