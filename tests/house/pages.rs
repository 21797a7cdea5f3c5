//! The Markdown pages of the tree: their prose, their headings, their links.

use std::path::{Path, PathBuf};

use super::{assert_none, collect, read, root};

/// Prose, line by line.
pub(super) struct Page {
    pub(super) file: PathBuf,
    /// Below the root.
    pub(super) name: String,
    /// Each line with its number, without the lines of code blocks other than plain text.
    pub(super) lines: Vec<(usize, String)>,
}

impl Page {
    fn markdown(file: &Path) -> Page {
        let text = read(file);
        let lines = text.lines().map(str::to_owned).enumerate();
        Page::new(file, lines.map(|(at, line)| (at + 1, line)).collect())
    }

    /// The comments of a source that stand on lines of their own.
    pub(super) fn comments(file: &Path) -> Page {
        let text = read(file);
        let lines = text.lines().enumerate();
        let lines = lines.filter_map(|(at, line)| {
            let comment = line.trim_start().strip_prefix("//")?;
            Some((at + 1, comment.trim_start_matches(['/', '!']).to_owned()))
        });
        Page::new(file, lines.collect())
    }

    fn new(file: &Path, lines: Vec<(usize, String)>) -> Page {
        let name = file.strip_prefix(root()).expect("it is below the root");
        Page {
            name: name.to_string_lossy().replace('\\', "/"),
            file: file.to_owned(),
            lines: without_foreign_cells(without_code_blocks(lines)),
        }
    }

    /// The anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> Vec<String> {
        let lines = self.lines.iter();
        let headings = lines.filter_map(|(_, line)| {
            let title = line.trim_start_matches('#');
            (title.len() < line.len()).then(|| title.trim())
        });
        headings.map(anchor).collect()
    }

    /// The targets of `[text](target)` and of `[text]: target`, with their lines.
    fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in &self.lines {
            let mut rest = line.as_str();
            while let Some((_, behind)) = rest.split_once("](") {
                let target = behind.split(')').next().unwrap_or_default();
                links.push((*number, target.to_owned()));
                rest = behind;
            }
            if let Some((_, target)) = line.strip_prefix('[').and_then(|l| l.split_once("]: ")) {
                links.push((*number, target.trim().to_owned()));
            }
        }
        links
    }
}

/// Every page of the tree.
pub(super) fn pages() -> Vec<Page> {
    let mut files = Vec::new();
    collect(&root(), "md", &mut files);
    files.iter().map(|file| Page::markdown(file)).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = pages();
    let mut faults = Vec::new();
    for page in &pages {
        let folder = page.file.parent().expect("a file is in a folder");
        for (line, target) in page.links() {
            if target.contains("://") || !exists_in_package(&target) {
                continue;
            }
            let (path, heading) = match target.split_once('#') {
                Some((path, heading)) => (path, Some(heading)),
                None => (target.as_str(), None),
            };
            let file = match path {
                "" => page.file.clone(),
                path => folder.join(path),
            };
            if !file.exists() {
                faults.push(format!("{}:{line}: no file {path}", page.name));
            } else if let Some(heading) = heading {
                if !Page::markdown(&file).anchors().iter().any(|a| a == heading) {
                    faults.push(format!("{}:{line}: no heading #{heading} there", page.name));
                }
            }
        }
    }
    assert!(pages.len() > 8, "the pages were not found");
    assert_none(faults);
}

/// Whether a file below this folder is there to be checked: the published package is without some.
pub(super) fn exists_in_package(file: &str) -> bool {
    let left_out = [".ci/", "benches/", ".github/"];
    let folder = left_out.iter().find(|folder| file.contains(*folder));
    folder.is_none_or(|folder| root().join(folder).exists())
}

/// A heading in lower case, with dashes for blanks and without punctuation.
fn anchor(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Leaves out fenced blocks, unless they are marked as plain text.
fn without_code_blocks(lines: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let mut fence: Option<bool> = None;
    let mut kept = Vec::new();
    for (number, line) in lines {
        match (line.trim_start().strip_prefix("```"), fence) {
            (Some(_), Some(_)) => fence = None,
            (Some(language), None) => fence = Some(language == "text"),
            (None, Some(false)) => {}
            (None, _) => kept.push((number, line)),
        }
    }
    kept
}

/// Blanks out the cells of a table's first column if it is about another project.
fn without_foreign_cells(lines: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let mut foreign = false;
    let mut kept = Vec::new();
    for (number, line) in lines {
        let Some((first, others)) = line.strip_prefix("| ").and_then(|l| l.split_once(" | "))
        else {
            foreign = foreign && line.starts_with('|');
            kept.push((number, line));
            continue;
        };
        foreign = foreign || first.trim() == "tokio";
        let line = if foreign { others.to_owned() } else { line };
        kept.push((number, line));
    }
    kept
}
