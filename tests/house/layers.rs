//! Which module may import which: layers among the modules of the root, no circles among the files
//! of a module.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, sources};
use super::{assert_none, read, root};

/// The layers, lowest first. A module may import the modules below it, and none beside it.
const LAYERS: &[&[&str]] = &[
    &["interest", "token", "panics"],
    &["sys", "sync", "registry", "budget", "place"],
    &["timer", "backend", "conformance"],
    &["task", "reactor"],
    &["blocking", "signals"],
    &["settings"],
    &["runtime", "event_loop"],
    &["io", "net", "time", "signal"],
    &["process"],
    &["traits"],
];

/// Modules that import one of the same layer.
const NEIGHBORS: &[(&str, &str)] = &[
    // The budget is published in a scoped thread-local.
    ("budget", "sys"),
    // The table of runtimes has locks, and memory that is never freed.
    ("registry", "sync"),
    ("registry", "sys"),
    // The table of places has memory that is never freed.
    ("place", "sys"),
    // The lock that the child of a fork can take needs unsafe code.
    ("sync", "sys"),
    // The cases judge the trait.
    ("conformance", "backend"),
];

#[test]
fn modules_import_only_lower_layers() {
    let mut faults = Vec::new();
    for file in sources() {
        // The root names every module.
        if file.path == "lib.rs" {
            continue;
        }
        let imports = file.imports().into_iter();
        let wrong = imports.filter(|path| !may_import(file.module(), &path[0]));
        faults
            .extend(wrong.map(|path| format!("{}: imports crate::{}", file.path, path.join("::"))));
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

/// Each row begins with the modules of one layer, highest first; what follows is prose.
#[test]
fn drawing_of_the_layers_is_right() {
    let page = read(&root().join("docs/architecture.md"));
    let drawing = page.split("```").nth(1).expect("the page has a drawing");
    let known: BTreeSet<&str> = LAYERS.iter().copied().flatten().copied().collect();
    let rows = drawing.lines().skip(1).map(|row| {
        let words = row.split_whitespace().filter(|word| *word != "|");
        words.take_while(|word| known.contains(word)).collect()
    });
    let rows: Vec<BTreeSet<&str>> = rows.collect();
    let layers = LAYERS.iter().rev();
    let layers: Vec<BTreeSet<&str>> = layers.map(|row| row.iter().copied().collect()).collect();
    assert_eq!(rows, layers, "rows of the drawing, and LAYERS");
}

/// A file may name what its module's own `mod.rs` defines, such as the type to which it adds
/// methods: only imports of siblings count.
#[test]
fn files_of_a_module_import_each_other_in_no_circle() {
    let sources = sources();
    let folders = sources
        .iter()
        .filter_map(|file| file.path.strip_suffix("/mod.rs"));
    let mut faults = Vec::new();
    for folder in folders {
        for circle in circles(&siblings(folder, &sources)) {
            faults.push(format!("{folder}: a circle of {}", circle.join(", ")));
        }
    }
    assert_none(faults);
}

#[test]
fn modules_of_the_root_import_each_other_in_no_circle() {
    let mut graph = Graph::new();
    for file in sources().iter().filter(|file| file.path != "lib.rs") {
        let imported = graph.entry(file.module().to_owned()).or_default();
        let names = file.imports().into_iter().map(|path| path[0].clone());
        imported.extend(names.filter(|name| name != file.module()));
    }
    assert_eq!(circles(&graph), Vec::<Vec<String>>::new());
}

/// Which names import which.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The imports among the files and folders that lie in one folder.
fn siblings(folder: &str, sources: &[Source]) -> Graph {
    let home: Vec<String> = folder.split('/').map(str::to_owned).collect();
    let name_in = |path: &str| {
        let below = path.strip_prefix(folder)?.strip_prefix('/')?;
        let name = below.split('/').next()?;
        Some(name.strip_suffix(".rs").unwrap_or(name).to_owned())
    };
    let names: BTreeSet<String> = sources
        .iter()
        .filter_map(|file| name_in(&file.path))
        .collect();
    // Where `mod.rs` has an item from: `pub use child::Item`.
    let mut origins: BTreeMap<String, String> = BTreeMap::new();
    for file in sources {
        if file.path == format!("{folder}/mod.rs") {
            for path in file.imports() {
                if let Some([child, .., item]) = path.strip_prefix(&home[..]) {
                    origins.insert(item.clone(), child.clone());
                }
            }
        }
    }
    let mut graph = Graph::new();
    for file in sources {
        let Some(from) = name_in(&file.path).filter(|name| name != "mod") else {
            continue;
        };
        for path in file.imports() {
            let Some([name, ..]) = path.strip_prefix(&home[..]) else {
                continue;
            };
            let to = match names.contains(name) {
                true => name.clone(),
                false => match origins.get(name) {
                    Some(child) => child.clone(),
                    None => continue,
                },
            };
            if to != from {
                graph.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    graph
}

/// The sets of names each of which can be reached from each other one.
fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|name| (name, reached(graph, name)))
        .collect();
    let mut found = BTreeSet::new();
    for (name, names) in &reach {
        if names.contains(name) {
            let both = names
                .iter()
                .filter(|other| reach.get(*other).is_some_and(|r| r.contains(name)));
            found.insert(both.map(|other| (*other).clone()).collect());
        }
    }
    found.into_iter().collect()
}

fn reached<'g>(graph: &'g Graph, from: &str) -> BTreeSet<&'g String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if found.insert(next) {
                open.push(next.clone());
            }
        }
    }
    found
}

pub(super) fn may_import(from: &str, to: &str) -> bool {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    match (layer(from), layer(to)) {
        (Some(from_layer), Some(to_layer)) => {
            from == to || to_layer < from_layer || NEIGHBORS.contains(&(from, to))
        }
        // A re-export of the root hides which module is meant.
        _ => false,
    }
}
