//! Sizes of files, the width of comments, sections that documentation must have, licenses, and
//! paths that exist on one machine only.

use std::fs;
use std::path::{Path, PathBuf};

use super::rust::without_text;
use super::{assert_none, collect, read, root, rust_files};

/// Above this a source file is split.
const MAX_SOURCE_LINES: usize = 800;

const MAX_FILE_BYTES: u64 = 512 * 1024;

/// Folders at the root of a machine that hold the files of its users.
const MACHINE_FOLDERS: &[&str] = &["work", "root", "home", "Users"];

#[test]
fn files_are_of_moderate_size() {
    let mut faults = Vec::new();
    for file in rust_files("src") {
        let lines = read(&file).lines().count();
        if lines > MAX_SOURCE_LINES {
            faults.push(format!("{}: {lines} lines", below_root(&file)));
        }
    }
    for file in own_files() {
        let bytes = fs::metadata(&file).expect("the file is there").len();
        if bytes > MAX_FILE_BYTES {
            faults.push(format!("{}: {bytes} bytes", below_root(&file)));
        }
    }
    assert_none(faults);
}

/// rustfmt keeps the width of code and leaves comments alone.
#[test]
fn comments_are_at_most_100_columns_wide() {
    let files = own_files().into_iter();
    let mut faults = Vec::new();
    for file in files.filter(|file| file.extension().is_some_and(|ending| ending == "rs")) {
        for (at, line) in read(&file).lines().enumerate() {
            let comment = line.trim_start();
            let text = comment.trim_start_matches(['/', '!']).trim_start();
            // A row of a table cannot be divided, and neither can a link.
            let is_whole = text.starts_with('|') || text.starts_with('[') || !text.contains(' ');
            if comment.starts_with("//") && !is_whole && line.chars().count() > 100 {
                faults.push(format!("{}:{}", below_root(&file), at + 1));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn async_functions_document_their_cancel_safety() {
    let (mut faults, mut found) = (Vec::new(), 0);
    for file in rust_files("src") {
        let source = read(&file);
        let code = without_text(&source);
        let (lines, code): (Vec<&str>, Vec<&str>) =
            (source.lines().collect(), code.lines().collect());
        let ends_an_item = |line: &&&str| line.trim_end().ends_with(['{', '}', ';']);
        for (at, line) in code.iter().enumerate() {
            let line = line.trim_start();
            // An async function, or a plain one that returns a future because it notes its caller.
            let returns_future = || {
                let mut rest = code[at..].iter();
                let end = rest.position(|line| ends_an_item(&line)).unwrap_or(0);
                code[at..=at + end].concat().contains("-> impl Future")
            };
            let is_async = line.starts_with("pub async fn")
                || line.starts_with("pub async unsafe fn")
                || line.starts_with("pub fn") && returns_future();
            if !is_async {
                continue;
            }
            found += 1;
            // Documentation and attributes reach up to the end of the item before this one.
            let above = code[..at]
                .iter()
                .rev()
                .take_while(|line| !ends_an_item(line));
            let first = at - above.count();
            let documented = lines[first..at].iter();
            if !documented
                .map(|line| line.trim())
                .any(|line| line == "/// # Cancel safety")
            {
                faults.push(format!("{}:{}: {line}", below_root(&file), at + 1));
            }
        }
    }
    assert!(found > 10, "only {found} async functions were found");
    assert_none(faults);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut faults = Vec::new();
    for file in own_files() {
        // What is not text names nothing.
        let text = fs::read_to_string(&file).unwrap_or_default();
        for (at, line) in text.lines().enumerate() {
            if let Some(path) = machine_path(line) {
                faults.push(format!("{}:{}: {path}", below_root(&file), at + 1));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn both_licenses_are_there() {
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(root().join(name).exists(), "{name} is missing");
    }
    let manifest = read(&root().join("Cargo.toml"));
    assert!(manifest.contains(r#"license = "MIT OR Apache-2.0""#));
}

/// A path as the pages write it.
fn below_root(file: &Path) -> String {
    let below = file.strip_prefix(root()).unwrap_or(file);
    below.to_string_lossy().into_owned()
}

/// The project's own files: what lies in its folders and beside them, but for what a build has
/// made.
fn own_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    assert!(files.len() > 100, "the files were not found");
    files
}

/// A path that begins in one of [`MACHINE_FOLDERS`].
fn machine_path(line: &str) -> Option<&str> {
    MACHINE_FOLDERS.iter().find_map(|folder| {
        let start = format!("/{folder}/");
        line.match_indices(&start).map(|(at, _)| at).find_map(|at| {
            let before = line[..at].chars().next_back();
            let behind = line[at + start.len()..].chars().next()?;
            // Behind these it is a part of a longer path, of an address or of a pattern.
            let is_part = |c: char| c.is_alphanumeric() || "_.~/$}*-".contains(c);
            let begins = !before.is_some_and(is_part);
            let goes_on = behind.is_alphanumeric() || behind == '_' || behind == '.';
            (begins && goes_on).then(|| &line[at..])
        })
    })
}

#[test]
fn machine_paths_are_found() {
    let path = format!("/{}/somebody/x", "home");
    assert_eq!(machine_path(&format!("see {path}")), Some(path.as_str()));
    assert_eq!(machine_path(&format!("https://example.org{path}")), None);
    assert_eq!(machine_path("src/net/tcp/stream.rs"), None);
}
