//! Tables in `docs/` that list places in the sources, or tests.

use std::collections::BTreeSet;

use super::names::in_braces;
use super::{assert_none, read, root, rust_files};

#[test]
fn table_of_unsafe_code_is_right() {
    let sources = root().join("src");
    let counted = |name: &str| count_unsafe(&read(&sources.join(name)));
    let table = read(&root().join("docs/unsafe.md"));
    let (mut faults, mut named) = (Vec::new(), BTreeSet::new());
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = in_braces(cells[1].trim_matches('`'));
        let found: usize = names.iter().map(|name| counted(name)).sum();
        if cells[2].parse() != Ok(found) {
            faults.push(format!("{}: {found} found, not {}", cells[1], cells[2]));
        }
        named.extend(names);
    }
    for file in rust_files("src") {
        let name = file.strip_prefix(&sources).expect("it was found there");
        let name = name.to_string_lossy().into_owned();
        if counted(&name) != 0 && !named.contains(&name) {
            faults.push(format!("{name}: {} found, and no row", counted(&name)));
        }
    }
    assert!(!named.is_empty(), "docs/unsafe.md has no table");
    assert_none(faults);
}

#[test]
fn table_of_ancestors_is_complete_and_names_existing_tests() {
    let files = rust_files("src").into_iter().chain(rust_files("tests"));
    let sources: Vec<String> = files.map(|file| read(&file)).collect();
    let exists = |name: &str| {
        let function = format!("fn {name}(");
        sources.iter().any(|source| source.contains(&function))
    };
    let page = read(&root().join("docs/ancestors.md"));
    let (mut faults, mut rows) = (Vec::new(), Vec::new());
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let is_row = cells[0].starts_with(|c: char| c.is_ascii_uppercase());
        let tests = match cells.len() {
            5 => cells[3],
            3 => cells[2],
            count => {
                faults.push(format!("{}: {count} cells", cells[0]));
                continue;
            }
        };
        if cells.len() == 5 && is_row {
            rows.push(cells[0].to_owned());
        }
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        let is_head = matches!(cells[0], "row" | "fault");
        if names.is_empty() && !is_head {
            faults.push(format!("{}: no test is named", cells[0]));
        }
        let missing = names.into_iter().filter(|name| !exists(name));
        faults.extend(missing.map(|name| format!("{}: there is no fn {name}", cells[0])));
    }
    let polled = (1..=36).filter(|number| *number != 19);
    let wanted = polled.map(|number| format!("A{number}"));
    let wanted: Vec<String> = wanted
        .chain((1..=25).map(|number| format!("FD{number}")))
        .collect();
    assert_eq!(rows, wanted, "rows found, and rows wanted");
    assert_none(faults);
}

/// Counts the lines with unsafe code, by the same rule as the command in docs/unsafe.md.
fn count_unsafe(source: &str) -> usize {
    let starts = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    let lines = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines
        .filter(|line| starts.iter().any(|start| line.contains(start)))
        .count()
}
