//! Rust code without its comments, strings and tests.

use super::layers::may_import;
use super::source::Source;

/// The positions of `word` where it is not a part of a longer word.
pub(super) fn words(code: &str, word: &str) -> Vec<usize> {
    let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    let places = code.match_indices(word);
    places
        .filter(|(at, _)| {
            let before = code[..*at].chars().next_back();
            let behind = code[at + word.len()..].chars().next();
            // `$crate::` names the crate of the macro, not that of the caller.
            !before.is_some_and(|c| part_of_a_name(c) || c == '$')
                && (word.ends_with(':') || !behind.is_some_and(part_of_a_name))
        })
        .map(|(at, _)| at)
        .collect()
}

/// Blanks out comments, strings and characters.
pub(super) fn without_text(source: &str) -> String {
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

/// The length of the block comment that a text begins with. Block comments nest.
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
            // The escaped character may be a quote.
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

/// Blanks out each `mod name { ... }` behind a `cfg` with `test`. Tests may read the clock and call
/// everything.
pub(super) fn without_tests(code: &str) -> String {
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

/// The end of the braces that open behind `from`, or `None` if a `;` comes first.
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

/// A name, a number, or one character of punctuation.
pub(super) type Token<'a> = &'a str;

/// The tokens of code that has no comments or strings.
pub(super) fn tokens(code: &str) -> Vec<Token<'_>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut rest) = (Vec::new(), code.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = match is_part(first) {
            true => rest.find(|c| !is_part(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The tokens between the first braces, or `None` if a `;` comes first.
pub(super) fn block<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
    let open = tokens
        .iter()
        .position(|token| matches!(*token, "{" | ";"))?;
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match *token {
            "{" => depth += 1,
            "}" if depth == 1 => return Some(&tokens[open + 1..at]),
            "}" => depth -= 1,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Every path from `crate`, `super` or `self`, and every path in a `use`, as a path from the root.
/// One that begins with the name of a crate looks like a path within `module`.
pub(super) fn imports(tokens: &[Token<'_>], module: &[&str]) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    // The module of the current token, and the depth of braces at which each inline module began.
    let (mut module, mut depth, mut inline) = (module.to_vec(), 0, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        let behind = tokens.get(at + 1).copied().unwrap_or_default();
        let begins = match *token {
            "{" => {
                depth += 1;
                if at >= 2 && tokens[at - 2] == "mod" {
                    module.push(before);
                    inline.push(depth);
                }
                false
            }
            "}" => {
                if inline.last() == Some(&depth) {
                    module.pop();
                    inline.pop();
                }
                depth -= 1;
                false
            }
            "crate" | "super" | "self" => behind == ":" && !matches!(before, ":" | "$"),
            _ => before == "use",
        };
        if begins {
            let mut paths = Vec::new();
            expand(&tokens[at..], &mut Vec::new(), &mut paths);
            found.extend(paths.iter().map(|path| from_root(&module, path)));
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// A path as the root would write it.
fn from_root(module: &[&str], path: &[&str]) -> Vec<String> {
    let (mut start, mut names) = (module, path);
    match path[0] {
        "crate" => (start, names) = (&[], &path[1..]),
        "self" => names = &path[1..],
        _ => {}
    }
    while let ["super", rest @ ..] = names {
        start = &start[..start.len().saturating_sub(1)];
        names = rest;
    }
    let all = start.iter().chain(names);
    all.map(|name| (*name).to_owned()).collect()
}

/// Adds the paths that begin here, `a::{b, c}` as two. Returns their number of tokens.
fn expand<'a>(
    tokens: &[Token<'a>],
    path: &mut Vec<&'a str>,
    found: &mut Vec<Vec<&'a str>>,
) -> usize {
    let (length, mut at) = (path.len(), 0);
    loop {
        match tokens[at..] {
            ["{", ..] => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at += expand(&tokens[at..], path, found).max(1);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                at += 1;
                break;
            }
            [name, ":", ":", ..] => {
                path.push(name);
                at += 3;
            }
            [name, "as", _, ..] => {
                path.push(name);
                found.push(path.clone());
                at += 3;
                break;
            }
            [name, ..] => {
                path.push(name);
                found.push(path.clone());
                at += 1;
                break;
            }
            [] => break,
        }
    }
    path.truncate(length);
    at
}

#[test]
fn imports_are_read_from_the_root() {
    let code = "use super::{a::X, b::{self, Y as Z}}; use std::io;
        mod sub { use super::super::k; } fn f() { crate::q::g(); self::h() }";
    let found = imports(&tokens(code), &["task", "slab"]);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    let expected = [
        "task::a::X",
        "task::b::self",
        "task::b::Y",
        "task::slab::std::io",
        "task::k",
        "q::g",
        "task::slab::h",
    ];
    assert_eq!(found, expected);
}

#[test]
fn reader_sees_only_code() {
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
    let imports = file.imports().into_iter().map(|path| path.join("::"));
    let imports: Vec<String> = imports.collect();
    assert_eq!(imports, ["sys::fd", "token::Token", "task::f"]);
    assert_eq!(
        file.find_word("unsafely"),
        ["net/tcp/stream.rs:8: unsafely"]
    );
    assert_eq!(file.module(), "net");
    assert!(may_import("net", "reactor") && !may_import("reactor", "task"));
    assert!(!may_import("net", "Builder") && !may_import("timer", "backend"));
}
