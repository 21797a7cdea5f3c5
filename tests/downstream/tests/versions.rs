//! The table of versions in `docs/works-with.md`: what it says is what the tests here run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest compiler for this crate itself.
const OWN_RUST: (u32, u32) = (1, 85);

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the table, without the head.
fn rows() -> Vec<Vec<String>> {
    let page = read(package().join("../../docs/works-with.md"));
    let (_, table) = page.split_once("\n## Which versions\n").unwrap();
    let table = table.lines().skip_while(|line| !line.starts_with("|---"));
    let table = table.skip(1).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    table.map(cells).collect()
}

/// A link to each section of the page.
fn recipes() -> Vec<String> {
    let page = read(package().join("../../docs/works-with.md"));
    let heads = page.lines().filter_map(|line| line.strip_prefix("## "));
    let link = |head: &str| {
        let anchor = head.to_lowercase().replace(' ', "-");
        let anchor = anchor.replace(|c: char| !c.is_alphanumeric() && c != '-', "");
        format!("[{head}](#{anchor})")
    };
    heads.map(link).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(arguments).current_dir(package()).output();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The text of `cargo metadata`, which has one object for each package of the lock file that this
/// host uses. The others need not have been downloaded.
fn metadata() -> String {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let mut arguments = vec!["metadata", "--format-version=1", "--locked", "--offline"];
    arguments.extend(["--filter-platform", host.unwrap()]);
    cargo(&arguments)
}

/// The oldest compiler that a package states.
fn rust(metadata: &str, name: &str, version: &str) -> Option<(u32, u32)> {
    let start = format!(r#"{{"name":"{name}","version":"{version}","id":"#);
    let (_, package) = metadata.split_once(&start)?;
    let (_, value) = package.split_once(r#""rust_version":"#)?;
    let Some(value) = value.strip_prefix('"') else {
        return Some(OWN_RUST);
    };
    let mut numbers = value.split(['.', '"']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The lines of a source that are neither empty nor comments.
fn lines_of_code(path: PathBuf) -> usize {
    let text = read(path);
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.count()
}

#[test]
fn versions_in_the_table_are_those_of_the_lock_file() {
    let (metadata, mut faults) = (metadata(), Vec::new());
    let rows = rows();
    assert!(rows.len() > 15, "{} rows", rows.len());
    let recipes = recipes();
    let manifest = read(package().join("../../Cargo.toml"));
    let (_, features) = manifest.split_once("\n[features]\n").unwrap();
    let features = features.lines().take_while(|line| !line.starts_with('['));
    let features = features.filter_map(|line| line.split_once(" = "));
    let features: Vec<_> = features.map(|(name, _)| name).chain(["none"]).collect();
    for row in &rows {
        let [name, version, feature, glue, oldest, recipe, traps] = &row[..] else {
            panic!("{row:?} has {} cells", row.len());
        };
        let name = name.trim_matches('`');
        if !features.contains(&feature.trim_matches('`')) {
            faults.push(format!("{name}: this crate has no feature {feature}"));
        }
        if !recipes.contains(recipe) {
            faults.push(format!("{name}: there is no section {recipe}"));
        }
        if traps.is_empty() {
            faults.push(format!("{name}: its traps are not named"));
        }
        let Some(rust) = rust(&metadata, name, version) else {
            faults.push(format!("{name} {version} is not in the lock file"));
            continue;
        };
        let (major, minor) = rust.max(OWN_RUST);
        if *oldest != format!("{major}.{minor}") {
            faults.push(format!("{name}: Rust {major}.{minor}, not {oldest}"));
        }
        if let Some((count, file)) = glue.split_once("](") {
            let file = package()
                .join("../../docs")
                .join(file.trim_end_matches(')'));
            let found = lines_of_code(file);
            if count.trim_start_matches('[') != found.to_string() {
                faults.push(format!("{name}: {found} lines of glue, not {count}"));
            }
        } else if glue != "0" {
            faults.push(format!("{name}: {glue} lines of glue, and no file"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_crate_that_the_tests_use_is_in_the_table() {
    /// What is used beside the crates that the page is about.
    const HELPERS: &[&str] = &[
        "async-trait",
        "futures-io",
        "futures-util",
        "http-body-util",
        "libc",
        "prost",
        "reveille",
        "rustls",
        "serde",
        "tonic-prost",
        "tower-service",
    ];
    let manifest = read(package().join("Cargo.toml"));
    let (_, used) = manifest.split_once("\n[dev-dependencies]\n").unwrap();
    let (used, _) = used.split_once("\n[").unwrap();
    let rows = rows();
    let listed = |name: &str| rows.iter().any(|row| row[0].trim_matches('`') == name);
    let used = used.lines().filter_map(|line| line.split_once(" = "));
    let missing: Vec<_> = used
        .map(|(name, _)| name.trim())
        .filter(|name| !name.starts_with('#') && !HELPERS.contains(name) && !listed(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?} have no row");
}
