//! The files of `src/`.

use super::rust::{imports, tokens, without_tests, without_text, words};
use super::{read, root, rust_files};

/// One file of `src/`.
pub(super) struct Source {
    /// Its path below `src/`, with `/` between the parts.
    pub(super) path: String,
    /// Its text with comments, strings and test modules blanked out. Lines keep their numbers.
    pub(super) code: String,
}

impl Source {
    /// The top-level module that it belongs to.
    pub(super) fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Its module as a path from the root. `mod.rs` stands for its folder.
    pub(super) fn module_path(&self) -> Vec<&str> {
        let path = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let parts: Vec<&str> = path.split('/').collect();
        let heads = matches!(parts.last(), Some(&"mod" | &"lib"));
        parts[..parts.len() - usize::from(heads)].to_vec()
    }

    pub(super) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Whether it is the first file of a top-level module.
    pub(super) fn is_module_head(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        matches!(parts[..], [_] | [_, "mod.rs"])
    }

    /// The paths that it names in other modules and its own, from the root.
    pub(super) fn imports(&self) -> Vec<Vec<String>> {
        imports(&tokens(&self.code), &self.module_path())
    }

    /// The places of a word in the code, as `path:line: word`.
    pub(super) fn find_word(&self, word: &str) -> Vec<String> {
        let places = words(&self.code, word).into_iter();
        places
            .map(|at| format!("{}:{}: {word}", self.path, self.line_of(at)))
            .collect()
    }

    fn line_of(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }
}

/// The files of `src/`, without those that hold only tests.
pub(super) fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let files = rust_files("src");
    assert!(files.len() > 20, "the sources were not found");
    let sources = files.iter().map(|file| {
        let path = file.strip_prefix(&folder).expect("it was found there");
        Source {
            path: path.to_string_lossy().replace('\\', "/"),
            code: without_tests(&without_text(&read(file))),
        }
    });
    let is_test = |source: &Source| source.path.contains("/tests");
    sources.filter(|source| !is_test(source)).collect()
}
