//! Reads `src/` and holds it to the rules of the house: who may import whom, and what may be called in one place only.
//!
//! The compiler cannot say these things. They keep the parts readable by themselves, and keep doors open: one clock
//! and one place for socket calls are what a simulation replaces.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A module may import what is below it, and nothing beside it.
const LAYERS: &[&[&str]] = &[
    &["interest", "token"],
    &["sys", "sync", "registry", "budget"],
    &["timer", "backend", "conformance"],
    &["task", "reactor"],
    &["runtime", "event_loop"],
    &["io", "net", "time"],
];

/// Who may import a module of the same layer.
const NEIGHBOURS: &[(&str, &str)] = &[
    // A table of runtimes has a lock.
    ("registry", "sync"),
    // The cases are about the trait.
    ("conformance", "backend"),
];

/// The modules that may hold unsafe code.
const UNSAFE: &[&str] = &["sys", "backend", "task"];

/// The modules that may name libc.
const LIBC: &[&str] = &["sys", "backend"];

/// The one place that reads the clock, with the system call below it, and the kit that judges real mechanisms by real time.
const CLOCK: &[&str] = &["reactor/clock.rs", "sys/clock.rs", "conformance/"];

/// What reads it, by `Instant` or as a number.
const CLOCK_CALLS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "clock_gettime",
    "monotonic_nanos",
];

/// The one place that makes socket calls, and the peers that the kit plays, which do what no server would.
const SOCKETS: &[&str] = &["sys/socket.rs", "sys/lab.rs"];

/// Calls that move bytes, open or close a connection, or ask about one.
const SOCKET_CALLS: &[&str] = &[
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recv",
    "recvfrom",
    "recvmsg",
    "send",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socket",
    "socketpair",
];

#[test]
fn modules_import_only_what_is_below_them() {
    let mut faults = Vec::new();
    for file in sources() {
        // The root names every module: that is its work.
        if file.path == "lib.rs" {
            continue;
        }
        for (line, name) in file.crate_paths() {
            if !may_import(file.module(), &name) {
                faults.push(format!("{}:{line}: imports crate::{name}", file.path));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn every_module_has_a_layer() {
    let known: BTreeSet<&str> = LAYERS.iter().copied().flatten().copied().collect();
    let files = sources();
    let found: BTreeSet<&str> = files.iter().map(Source::module).collect();
    let found: BTreeSet<&str> = found.into_iter().filter(|name| *name != "lib").collect();
    assert_eq!(found, known, "modules found, and modules in LAYERS");
}

#[test]
fn the_clock_is_read_in_one_place() {
    let mut faults = Vec::new();
    for file in sources().iter().filter(|file| !file.is_in(CLOCK)) {
        for call in CLOCK_CALLS {
            faults.extend(file.find_word(call));
        }
    }
    assert_none(faults);
}

/// What would read a clock that can be set, so that timers could fire early, late, or all at once.
const WALL_CLOCK: &[&str] = &[
    "SystemTime",
    "CLOCK_REALTIME",
    "CLOCK_TAI",
    "gettimeofday",
    "libc::time",
    "UNIX_EPOCH",
];

#[test]
fn nobody_asks_the_wall_clock() {
    let mut faults = Vec::new();
    for file in sources() {
        for word in WALL_CLOCK {
            faults.extend(file.find_word(word));
        }
    }
    assert_none(faults);
}

#[test]
fn socket_calls_are_made_in_one_place() {
    let mut faults = Vec::new();
    for file in sources().iter().filter(|file| !file.is_in(SOCKETS)) {
        for call in SOCKET_CALLS {
            faults.extend(file.find_word(&format!("libc::{call}")));
        }
    }
    assert_none(faults);
}

#[test]
fn libc_is_named_only_at_the_bottom() {
    let mut faults = Vec::new();
    for file in sources() {
        if !LIBC.contains(&file.module()) {
            faults.extend(file.find_word("libc"));
        }
    }
    assert_none(faults);
}

#[test]
fn unsafe_code_is_forbidden_where_it_is_not_needed() {
    let mut faults = Vec::new();
    for file in sources() {
        if UNSAFE.contains(&file.module()) {
            continue;
        }
        faults.extend(file.find_word("unsafe"));
        // The root cannot forbid it: those that need it are below it too.
        let head = file.is_module_head() && file.path != "lib.rs";
        if head && !file.code.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{}: has no #![forbid(unsafe_code)]", file.path));
        }
    }
    assert_none(faults);
}

#[test]
fn the_table_of_unsafe_code_is_right() {
    let (root, mut files) = (Path::new(env!("CARGO_MANIFEST_DIR")), Vec::new());
    collect(&root.join("src"), &mut files);
    let read = |path: &Path| fs::read_to_string(path).expect("it is readable");
    let counted = |name: &str| count_unsafe(&read(&root.join("src").join(name)));
    let table = read(&root.join("docs/unsafe.md"));
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
    for file in &files {
        let name = file
            .strip_prefix(root.join("src"))
            .expect("it was found there");
        let name = name.to_string_lossy().into_owned();
        if counted(&name) != 0 && !named.contains(&name) {
            faults.push(format!("{name}: {} found, and no row", counted(&name)));
        }
    }
    assert!(!named.is_empty(), "docs/unsafe.md has no table");
    assert_none(faults);
}

#[test]
fn the_table_of_ancestors_is_whole_and_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    collect(&root.join("tests"), &mut files);
    let sources: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("a source is readable"))
        .collect();
    let exists = |name: &str| {
        let function = format!("fn {name}(");
        sources.iter().any(|source| source.contains(&function))
    };
    let page = fs::read_to_string(root.join("docs/ancestors.md")).expect("the page is there");
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

/// Lines with unsafe code, by the same rule as the command in docs/unsafe.md.
fn count_unsafe(source: &str) -> usize {
    let starts = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    let lines = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines
        .filter(|line| starts.iter().any(|start| line.contains(start)))
        .count()
}

/// The names that `a/{b,c}.rs` stands for.
fn in_braces(name: &str) -> Vec<String> {
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

fn may_import(from: &str, to: &str) -> bool {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    match (layer(from), layer(to)) {
        (Some(from_layer), Some(to_layer)) => {
            from == to || to_layer < from_layer || NEIGHBOURS.contains(&(from, to))
        }
        // Through the root's re-exports anybody could be meant.
        _ => false,
    }
}

#[track_caller]
fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// One file of `src/`.
struct Source {
    /// Below `src/`, with `/` between the parts.
    path: String,
    /// With comments, strings and test modules blanked out, line by line the same.
    code: String,
}

impl Source {
    /// The module right below the root that it belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Whether it is the file that begins such a module.
    fn is_module_head(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        matches!(parts[..], [_] | [_, "mod.rs"])
    }

    /// Every first name behind `crate::`, with its line; those of `crate::{a, b::c}` one by one.
    fn crate_paths(&self) -> Vec<(usize, String)> {
        let mut paths = Vec::new();
        for at in words(&self.code, "crate::") {
            let line = self.line_of(at);
            let rest = &self.code[at + "crate::".len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => first_names(group),
                None => vec![name_at(rest)],
            };
            paths.extend(names.into_iter().map(|name| (line, name)));
        }
        paths
    }

    /// Where a word stands in the code, as faults.
    fn find_word(&self, word: &str) -> Vec<String> {
        let places = words(&self.code, word).into_iter();
        places
            .map(|at| format!("{}:{}: {word}", self.path, self.line_of(at)))
            .collect()
    }

    fn line_of(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }
}

/// Where `word` stands with nothing before or behind it that would make it part of another one.
fn words(code: &str, word: &str) -> Vec<usize> {
    let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    let places = code.match_indices(word);
    places
        .filter(|(at, _)| {
            let before = code[..*at].chars().next_back();
            let behind = code[at + word.len()..].chars().next();
            // `$crate::` names where a macro comes from, not where it is used.
            !before.is_some_and(|c| part_of_a_name(c) || c == '$')
                && (word.ends_with(':') || !behind.is_some_and(part_of_a_name))
        })
        .map(|(at, _)| at)
        .collect()
}

/// The name that a text begins with.
fn name_at(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first names of the paths in a group, up to its closing brace.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut path) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut path)),
            c if depth == 0 => path.push(c),
            _ => {}
        }
    }
    names.push(path);
    let names = names.iter().map(|path| name_at(path.trim()));
    names.filter(|name| !name.is_empty()).collect()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let sources = files.iter().map(|file| {
        let text = fs::read_to_string(file).expect("a source is readable");
        let path = file
            .strip_prefix(&root)
            .expect("it was found below the root");
        Source {
            path: path.to_string_lossy().replace('\\', "/"),
            code: without_tests(&without_text(&text)),
        }
    });
    // Files that are nothing but tests.
    let is_test = |source: &Source| source.path.contains("/tests");
    sources.filter(|source| !is_test(source)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src can be listed") {
        let path = entry.expect("src can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Blanks out comments, strings and characters.
fn without_text(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let before = code.chars().next_back();
        let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            string(rest)
        } else if !in_name && (rest.starts_with("r\"") || rest.starts_with("r#")) {
            raw_string(rest)
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            rest = &rest[length..];
        }
    }
    code
}

/// The length of the block comment that a text begins with; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string literal that a text begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the raw string literal that a text begins with; 0 for a raw name such as `r#type`.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let open = 1 + hashes;
    if !text[open..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = &text[open + 1..];
    body.find(&end)
        .map_or(text.len(), |at| open + 1 + at + end.len())
}

/// The length of the character literal that a text begins with; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            // What is escaped may be a quote.
            chars.next();
            let end = chars.find(|(_, c)| *c == '\'');
            end.map_or(text.len(), |(at, _)| at + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// Blanks out `mod name { ... }` behind a `cfg` that asks for `test`: tests may measure time and call what they like.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(") {
        let attribute = rest[at..].find(")]").map_or(rest.len(), |end| at + end + 2);
        let tested = !words(&rest[at..attribute], "test").is_empty()
            && !rest[at..attribute].contains("any(");
        let behind = rest[attribute..].trim_start();
        let end = match behind.starts_with("mod ") && tested {
            true => block_end(rest, attribute),
            false => None,
        };
        let end_of_kept = if end.is_some() { at } else { attribute };
        kept.push_str(&rest[..end_of_kept]);
        let next = end.unwrap_or(attribute);
        kept.extend(rest[end_of_kept..next].chars().filter(|c| *c == '\n'));
        rest = &rest[next..];
    }
    kept.push_str(rest);
    kept
}

/// Where the braces close that open behind `from`; `None` if a `;` comes first.
fn block_end(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code[from..].char_indices() {
        match c {
            ';' if depth == 0 => return None,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(from + at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn the_reader_sees_code_and_nothing_else() {
    let source = r##"
// libc::socket in a comment
/* and /* nested */ libc */ use crate::{sys::fd, token::Token};
const TEXT: &str = "libc \" unsafe"; const RAW: &str = r#"unsafe " libc"#;
fn f<'a>(x: &'a str) -> char { '"'; '\''; crate::task::f(x) }
#[cfg(all(test, not(loom)))]
mod tests { fn g() { Instant::now(); } }
fn unsafely() {}
"##;
    let code = without_tests(&without_text(source));
    let file = Source {
        path: "net/tcp/stream.rs".into(),
        code,
    };
    for word in ["libc", "unsafe", "Instant::now"] {
        assert_eq!(file.find_word(word), Vec::<String>::new());
    }
    let names = file.crate_paths();
    let expected = [(3, "sys"), (3, "token"), (5, "task")];
    assert_eq!(names, expected.map(|(line, name)| (line, name.to_owned())));
    assert_eq!(
        file.find_word("unsafely"),
        ["net/tcp/stream.rs:8: unsafely"]
    );
    assert_eq!(file.module(), "net");
    assert!(may_import("net", "reactor") && !may_import("reactor", "task"));
    assert!(!may_import("net", "Builder") && !may_import("timer", "backend"));
}
