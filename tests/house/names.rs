//! Names in prose: each item, path and test file that a page or a comment names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::pages::{Page, exists_in_package, pages};
use super::rust::{Token, block, tokens, without_text};
use super::{assert_none, collect, read, root, rust_files};

/// Crates and modules of other projects. Paths below them are not checked.
const FOREIGN: &[&str] = &[
    "async_tungstenite",
    "axum",
    "clippy",
    "core",
    "futures",
    "futures_core",
    "hickory_resolver",
    "hyper",
    "hyper_util",
    "libc",
    "quinn",
    "redis",
    "smol",
    "std",
    "thread",
    "tokio",
    "tokio_postgres",
    "tonic",
];

/// Types and traits of other projects.
const FOREIGN_TYPES: &[&str] = &[
    "Arc",
    "AsFd",
    "BorrowedFd",
    "Command",
    "Duration",
    "ErrorKind",
    "Future",
    "Instant",
    "Rc",
    "RefCell",
    "Shutdown",
    "T",
    "Timespec",
    "UdpSocket",
    "Vec",
    "Waker",
];

/// Paths in `std` whose module has a namesake here.
const FOREIGN_PATHS: &[&str] = &["io::Error", "io::Result", "process::exit"];

/// Long names of other projects.
const FOREIGN_NAMES: &[&str] = &[
    "evfilt_write_knote_create",
    "max_io_events_per_tick",
    "port_alloc_event_local",
    "try_clone_to_owned",
    "unsafe_op_in_unsafe_fn",
];

/// Files that programs of the tree write.
const GENERATED: &[&str] = &["tables.md"];

#[test]
fn names_in_prose_exist() {
    let items = Items::of_the_crate();
    let mut faults = Vec::new();
    for page in prose() {
        if page.name.starts_with("benches/") {
            continue; // Those packages have items of their own.
        }
        for (line, text) in &page.lines {
            let unknown = paths_in(text).into_iter().filter(|path| !items.know(path));
            faults.extend(unknown.map(|path| format!("{}:{line}: no {path}", page.name)));
            let unknown = long_names_in(text).filter(|name| !items.defines(name));
            faults.extend(unknown.map(|name| format!("{}:{line}: no {name}", page.name)));
        }
    }
    assert_none(faults);
}

#[test]
fn files_in_prose_exist() {
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    collect(&root(), "", &mut files);
    let files: Vec<String> = files
        .iter()
        .map(|file| file.to_string_lossy().replace('\\', "/"))
        .collect();
    for page in prose() {
        let folder = page.file.parent().expect("a file is in a folder");
        let exists = |file: &str| folder.join(file).exists() || file_exists(file, &files);
        for (line, text) in &page.lines {
            let missing = files_in(text).into_iter().filter(|file| !exists(file));
            faults.extend(missing.map(|file| format!("{}:{line}: no {file}", page.name)));
        }
    }
    assert_none(faults);
}

/// ThreadSanitizer ignores a suppression that matches nothing, so a renamed function would lose its
/// own.
#[test]
fn suppressions_name_items_that_exist() {
    let file = root().join(".ci/tsan.supp");
    // The published package is without it.
    let suppressions = if file.exists() {
        read(&file)
    } else {
        String::new()
    };
    let items = Items::of_the_crate();
    let mut faults = Vec::new();
    for line in suppressions.lines().filter(|line| !line.starts_with('#')) {
        let (_, pattern) = line.split_once(':').expect("a kind and a pattern");
        let names = pattern.split(|c: char| !c.is_alphanumeric() && c != '_');
        let names = names.filter(|name| !matches!(*name, "" | "as" | "reveille"));
        let unknown = names.filter(|name| !items.defines(name));
        faults.extend(unknown.map(|name| format!("{line}: no {name}")));
    }
    assert_none(faults);
}

/// The pages and the comments of the sources. The changelog is left out, because it may name what
/// is gone.
fn prose() -> Vec<Page> {
    let pages = pages().into_iter();
    let mut all: Vec<Page> = pages.filter(|page| page.name != "CHANGELOG.md").collect();
    // The comments of this program name things that do not exist.
    let this = root().join("tests/house");
    let files = sources().filter(|file| !file.starts_with(&this));
    all.extend(files.map(|file| Page::comments(&file)));
    assert!(all.len() > 40, "the pages were not found");
    all
}

/// The library, its tests and its examples.
fn sources() -> impl Iterator<Item = PathBuf> {
    let files = ["src", "tests", "examples"].map(rust_files);
    files.into_iter().flatten()
}

/// The items that the crate, its tests and its examples define, by name.
struct Items {
    /// The items in the files of a module and of the modules below it.
    of_module: BTreeMap<String, BTreeSet<String>>,
    /// The functions, constants and types of an `impl` or a trait; variants and fields.
    of_type: BTreeMap<String, BTreeSet<String>>,
    /// The aliases of types, and what they stand for.
    aliases: Vec<(String, String)>,
}

impl Items {
    fn of_the_crate() -> Items {
        let mut items = Items {
            of_module: BTreeMap::new(),
            of_type: BTreeMap::new(),
            aliases: Vec::new(),
        };
        for file in sources() {
            let code = without_text(&read(&file));
            let tokens = tokens(&code);
            let below = file.strip_prefix(root()).expect("it was found there");
            let modules: Vec<String> = below
                .with_extension("")
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            let mut defined = items.types_in(&tokens);
            defined.extend(defined_names(&tokens));
            defined.extend(modules.iter().cloned());
            for module in modules.iter().map(String::as_str).chain(["crate"]) {
                let known = items.of_module.entry(module.to_owned()).or_default();
                known.extend(defined.iter().cloned());
            }
        }
        for (alias, original) in std::mem::take(&mut items.aliases) {
            items.alias(&original, &alias);
        }
        items
    }

    /// Enters the members of each type; returns the names of all types and variants.
    fn types_in(&mut self, tokens: &[Token<'_>]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, token) in tokens.iter().enumerate() {
            let name = match *token {
                "impl" if begins_an_item(tokens, at) => implemented_type(&tokens[at + 1..]),
                "trait" | "enum" | "struct" | "union" => tokens.get(at + 1).copied(),
                "type" => {
                    // An alias, and not an associated type: it names a type of the crate.
                    if let [alias, "=", original, ..] = tokens[at + 1..] {
                        self.aliases.push((alias.to_owned(), original.to_owned()));
                    }
                    continue;
                }
                "as" => {
                    // Another public name of the same type.
                    if let [original, "as", alias, ..] = tokens[at.saturating_sub(1)..] {
                        self.alias(original, alias);
                    }
                    continue;
                }
                _ => continue,
            };
            let Some(name) = name else { continue };
            let mut members = match block(&tokens[at..]) {
                Some(body) if matches!(*token, "enum" | "struct" | "union") => fields(body),
                Some(body) => defined_names(body),
                None => BTreeSet::new(),
            };
            found.insert(name.to_owned());
            if *token == "enum" {
                found.extend(members.iter().cloned());
            }
            let known = self.of_type.entry(name.to_owned()).or_default();
            known.append(&mut members);
        }
        found
    }

    fn alias(&mut self, original: &str, alias: &str) {
        let members = self.of_type.get(original).cloned().unwrap_or_default();
        let known = self.of_type.entry(alias.to_owned()).or_default();
        known.extend(members);
    }

    /// Whether the last name of a path is defined in the type or module before it.
    fn know(&self, path: &str) -> bool {
        let names: Vec<&str> = path
            .split("::")
            .skip_while(|name| matches!(*name, "reveille" | "crate" | "super" | "self"))
            .collect();
        let Some(first) = names.first() else {
            return true;
        };
        if FOREIGN.contains(first) || is_primitive(first) || FOREIGN_PATHS.contains(&path) {
            return true;
        }
        let owners = names.iter().rev().skip(1);
        if owners.clone().any(|owner| FOREIGN_TYPES.contains(owner)) {
            return true;
        }
        let last = names[names.len() - 1];
        match names.len() {
            1 => self.defines(last),
            count => self.owns(names[count - 2], last),
        }
    }

    /// Whether something in the tree has this name.
    fn defines(&self, name: &str) -> bool {
        self.of_module["crate"].contains(name)
    }

    fn owns(&self, owner: &str, name: &str) -> bool {
        let known = if owner.starts_with(char::is_uppercase) {
            self.of_type.get(owner)
        } else {
            self.of_module.get(owner)
        };
        known.is_some_and(|known| known.contains(name))
    }
}

fn is_primitive(name: &str) -> bool {
    matches!(name, "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64")
}

/// Whether an `impl` begins a block, in place of naming a type such as `impl Future`.
fn begins_an_item(tokens: &[Token<'_>], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| tokens[before]);
    matches!(
        before,
        None | Some("}" | ";" | "]" | "{" | "unsafe" | "default")
    )
}

/// The type of an `impl` block, from the tokens behind `impl`.
fn implemented_type<'a>(tokens: &[Token<'a>]) -> Option<&'a str> {
    let (mut depth, mut name) = (0, None);
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "<" => depth += 1,
            // The arrow of a function type closes nothing.
            ">" if at > 0 && tokens[at - 1] != "-" => depth -= 1,
            "for" if depth == 0 => name = None,
            "{" | "where" | ";" if depth == 0 => break,
            word if depth == 0 && word.starts_with(|c: char| c.is_alphabetic()) => {
                name = Some(word);
            }
            _ => {}
        }
    }
    name
}

/// The names behind `fn`, `struct` and similar keywords, and those in a `pub use`.
fn defined_names(tokens: &[Token<'_>]) -> BTreeSet<String> {
    let keywords = [
        "fn", "const", "static", "type", "mod", "trait", "struct", "enum", "union",
    ];
    let mut names = BTreeSet::new();
    let mut in_use = false;
    for (at, pair) in tokens.windows(2).enumerate() {
        let is_public = at > 0 && matches!(tokens[at - 1], "pub" | ")");
        in_use = (in_use || pair[0] == "use" && is_public) && pair[0] != ";";
        let behind = match pair[1] {
            "ref" | "mut" => continue,
            name => name,
        };
        if (in_use || keywords.contains(&pair[0]))
            && behind.starts_with(|c: char| c.is_alphabetic() || c == '_')
        {
            names.insert(behind.to_owned());
        }
    }
    // The statics of a `thread_local!`, and names that other macros receive first, stand behind
    // `!`.
    for four in tokens.windows(4) {
        if let [name, "!", open, given] = four {
            if matches!(*open, "(" | "{") && *name != "macro_rules" {
                names.insert((*given).to_owned());
            }
        }
    }
    names
}

/// The variants of an enum, or the fields of a structure.
fn fields(body: &[Token<'_>]) -> BTreeSet<String> {
    let (mut depth, mut names, mut begins) = (0, BTreeSet::new(), true);
    for token in body {
        match *token {
            "{" | "(" | "[" | "<" => depth += 1,
            "}" | ")" | "]" | ">" => depth -= 1,
            "," if depth == 0 => begins = true,
            "#" | "pub" => {}
            word if depth == 0 && begins => {
                names.insert(word.to_owned());
                begins = false;
            }
            _ => {}
        }
    }
    names
}

/// Every path `a::b` in a text. `a::{b, c}` counts as two.
fn paths_in(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (mut paths, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find("::") {
        let start = rest[..at].rfind(|c| !is_part(c)).map_or(0, |end| {
            end + rest[end..].chars().next().map_or(1, char::len_utf8)
        });
        let mut end = at;
        while rest[end..].starts_with("::") && rest[end + 2..].starts_with(is_part) {
            let name = &rest[end + 2..];
            end += 2 + name.find(|c| !is_part(c)).unwrap_or(name.len());
        }
        let path = &rest[start..end];
        let group = rest[end..].strip_prefix("::{");
        match group.and_then(|group| group.split_once('}')) {
            Some((group, _)) => {
                let names = group.split(',').map(str::trim);
                paths.extend(names.map(|name| format!("{path}::{name}")));
                end += "::{".len() + group.len();
            }
            None if path.contains("::") && !path.starts_with(':') => paths.push(path.to_owned()),
            None => {}
        }
        rest = &rest[(at + 2).max(end)..];
    }
    paths
}

/// Every name of four words and more between backticks, such as those of tests. Shorter ones are
/// often foreign.
fn long_names_in(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let names = quoted.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let long = names.filter(|name| name.matches('_').count() >= 3 && !name.contains("__"));
    long.filter(|name| !FOREIGN_NAMES.contains(name) && name.to_lowercase() == **name)
}

/// Every file name in a text that may be ours. `a/{b,c}.rs` counts as two.
fn files_in(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || "_-./{},".contains(c);
    let mut files = Vec::new();
    for word in text.split(|c| !is_part(c)) {
        let word = word.trim_matches(',').trim_end_matches('.');
        let word = word.strip_prefix("./").unwrap_or(word);
        let ours = [".rs", ".md", ".py", ".sh", ".toml", ".supp"];
        let is_file = ours
            .iter()
            .any(|end| word.ends_with(end) && word.len() > end.len());
        let is_folder = FOLDERS.iter().any(|folder| word.starts_with(folder));
        if is_file || is_folder {
            files.extend(in_braces(word));
        }
    }
    files
}

/// Folders at the root. A name below them needs no ending.
const FOLDERS: &[&str] = &[".ci/", "benches/", "docs/", "examples/", "src/", "tests/"];

/// Whether some file in the tree has a path that ends like this, or the root has it.
fn file_exists(file: &str, files: &[String]) -> bool {
    let end = format!("/{file}");
    !exists_in_package(file)
        || GENERATED.contains(&file)
        || root().join(file).exists()
        || files.iter().any(|known| known.ends_with(&end))
}

/// The names that `a/{b,c}.rs` stands for.
pub(super) fn in_braces(name: &str) -> Vec<String> {
    let parts = name
        .split_once('{')
        .and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    match parts {
        Some((head, (group, tail))) => group
            .split(',')
            .map(|part| format!("{head}{part}{tail}"))
            .collect(),
        None => vec![name.to_owned()],
    }
}
