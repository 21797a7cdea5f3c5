//! Checks of the tree that the compiler does not make. They read the sources and the pages, and run
//! nothing.
//!
//! | file | what it checks |
//! |---|---|
//! | `layers.rs` | which module may import which; no circles of imports |
//! | `places.rs` | unsafe code, libc, the clock and socket calls stay in the places made for them |
//! | `tables.rs` | tables in `docs/` that list places or tests |
//! | `names.rs` | items and files that prose names exist |
//! | `pages.rs` | links between the pages lead to existing files and headings |
//! | `text.rs` | sizes of files, width of comments, `# Cancel safety` sections, licenses, paths of one machine |
//!
//! One clock and one place for socket calls are what a simulation would replace.

mod layers;
mod names;
mod pages;
mod places;
mod rust;
mod source;
mod tables;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

#[track_caller]
fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The Rust files below a folder of the root.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&root().join(folder), "rs", &mut files);
    files
}

/// The files below a folder whose names end so; those that a build has made are left out.
fn collect(folder: &Path, ending: &str, files: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().unwrap_or_default();
        if name == "target" || name == "out" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            collect(&path, ending, files);
        } else if ending.is_empty() || path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
}
