//! Direction of imports inside of the runtime: `flow <- core <- {peer, transport, http, store} <- handles`,
//! and no circles between files of different folders.
//!
//! A file may import files of its own layer or of lower ones. The compiler cannot state that, as all of
//! it is one crate. Imports in tests do not count: they may look from anywhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::{Finding, TextFile};

/// The crate that has layers.
const ROOT: &str = "crates/broker/src/";

/// Modules and their layers, from the bottom up; the longest name that fits counts.
const LAYERS: &[(&str, u8)] = &[
    // What anything may use: it knows no endpoint.
    ("config", 0),
    ("error", 0),
    ("libraries", 0),
    ("lock", 0),
    ("log", 0),
    ("message", 0),
    ("policy", 0),
    ("recording", 0),
    ("signal", 0),
    ("sync", 0),
    ("zeek", 0),
    // TCP and TLS.
    ("net", 1),
    // The data path.
    ("flow", 2),
    // The control plane.
    ("core", 3),
    // One folder per kind of connection, data stores, and what is counted of all of them.
    ("stats", 4),
    ("peer", 4),
    ("transport", 4),
    ("http", 4),
    ("sqlite", 4),
    ("store", 4),
    // The public handles. That of store events is a subscriber.
    ("store/event", 5),
    ("durable", 5),
    ("endpoint", 5),
    ("hub", 5),
    ("publisher", 5),
    // A subscriber with a file.
    ("recorder", 5),
    ("status_subscriber", 5),
    ("subscriber", 5),
    ("zeromq", 5),
];

/// Checks all files of the runtime together.
pub(crate) fn check(files: &[TextFile]) -> Vec<Finding> {
    let texts: BTreeMap<&str, &str> = files
        .iter()
        .filter_map(|file| Some((module_of(&file.path)?, file.text.as_str())))
        .filter(|(module, _)| *module != "lib")
        .collect();
    let mut findings = Vec::new();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, text) in &texts {
        let Some(layer) = layer(module) else {
            let text = "has no layer: give it one in `xtask`";
            findings.push(Finding::error(path_of(module), text));
            continue;
        };
        for (number, path) in imports(module, text) {
            let Some(imported) = file_of(&path, &texts) else {
                continue;
            };
            if self::layer(imported).is_some_and(|imported| imported > layer) {
                let place = format!("{}:{number}", path_of(module));
                let text = format!("must not import `{imported}`, which is above it");
                findings.push(Finding::error(place, text));
            }
            if imported != *module {
                edges.entry(module).or_default().insert(imported);
            }
        }
    }
    findings.extend(circles(&edges));
    findings
}

/// `flow/routing` for `crates/broker/src/flow/routing.rs`.
fn module_of(path: &str) -> Option<&str> {
    path.strip_prefix(ROOT)?.strip_suffix(".rs")
}

fn path_of(module: &str) -> String {
    format!("{ROOT}{module}.rs")
}

fn layer(module: &str) -> Option<u8> {
    let fits = |name: &&(&str, u8)| {
        let rest = module.strip_prefix(name.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let longest = LAYERS
        .iter()
        .filter(fits)
        .max_by_key(|(name, _)| name.len());
    longest.map(|(_, layer)| *layer)
}

/// The folder that a file belongs to; the file of a folder belongs to it.
fn folder<'m>(module: &'m str, folders: &BTreeSet<&str>) -> &'m str {
    if folders.contains(module) {
        return module;
    }
    module.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The modules that a file names, as segments joined by `/`, with the line; tests aside.
fn imports(module: &str, text: &str) -> Vec<(usize, String)> {
    let code = text
        .lines()
        .take_while(|line| !matches!(*line, "#[cfg(test)]" | "#![cfg(test)]"))
        .map(|line| {
            if line.trim_start().starts_with("//") {
                ""
            } else {
                line
            }
        });
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (start, prefix) in [("crate::", ""), ("super::", parent(module))] {
        for (at, _) in code.match_indices(start) {
            let (before, rest) = code.split_at(at);
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            if before.chars().next_back().is_some_and(is_part) {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            let rest = rest.strip_prefix(start).unwrap_or(rest);
            for names in expanded(rest) {
                let path = format!("{prefix}/{}", names.replace("::", "/"));
                found.push((line, path.trim_matches('/').to_owned()));
            }
        }
    }
    found
}

/// The paths that a path with one pair of braces stands for; inner braces are left out.
fn expanded(path: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = path.find(|c| !is_name(c)).unwrap_or(path.len());
    let (stem, rest) = path.split_at(end);
    let group = rest
        .strip_prefix('{')
        .and_then(|rest| rest.split('}').next());
    match group.filter(|_| stem.is_empty() || stem.ends_with("::")) {
        Some(group) => group
            .split(',')
            .map(|name| {
                let name = name.trim();
                let end = name.find(|c| !is_name(c)).unwrap_or(name.len());
                format!("{stem}{}", name.get(..end).unwrap_or_default())
            })
            .collect(),
        None => vec![stem.to_owned()],
    }
}

/// What `super` is in a file.
fn parent(module: &str) -> &str {
    module.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The file that the longest part of a path names.
fn file_of<'f>(path: &str, texts: &BTreeMap<&'f str, &str>) -> Option<&'f str> {
    let mut path = path;
    loop {
        if let Some((module, _)) = texts.get_key_value(path) {
            return Some(module);
        }
        path = path.rsplit_once('/')?.0;
    }
}

/// Names each pair of folders whose files are in one circle.
fn circles(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Finding> {
    let modules = edges.iter().flat_map(|(from, to)| to.iter().chain([from]));
    let folders: BTreeSet<&str> = modules
        .filter_map(|module| Some(module.rsplit_once('/')?.0))
        .collect();
    let mut findings = Vec::new();
    for (from, imported) in edges {
        for to in imported {
            let is_inside = folder(from, &folders) == folder(to, &folders);
            if !is_inside && reaches(edges, to, from) {
                let text = format!("imports `{to}`, which imports it in turn, perhaps by others");
                findings.push(Finding::error(path_of(from), text));
            }
        }
    }
    findings
}

fn reaches(edges: &BTreeMap<&str, BTreeSet<&str>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut pending = vec![from];
    while let Some(module) = pending.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            pending.extend(edges.get(module).into_iter().flatten());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<TextFile> = files
            .iter()
            .map(|(module, text)| TextFile {
                path: path_of(module),
                text: (*text).to_owned(),
            })
            .collect();
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn imports_may_go_down() {
        let files = [
            ("flow/routing", "use crate::lock::Lock;\n"),
            ("lock", ""),
            (
                "core/shared",
                "use crate::flow::routing::{Routes, SharedMemo};\n",
            ),
            (
                "endpoint",
                "use crate::core::shared::Shared;\nuse crate::hub::Hub;\n",
            ),
            ("hub", "use crate::endpoint::finish;\n"),
        ];
        assert_eq!(findings(&files), [""; 0]);
    }

    #[test]
    fn an_import_upwards_is_an_error() {
        let routing = "//! See crate::core::shared.\n\nuse crate::core::shared::Shared;\n";
        let files = [("flow/routing", routing), ("core/shared", "")];
        assert_eq!(
            findings(&files),
            [
                "error: crates/broker/src/flow/routing.rs:3: must not import `core/shared`, \
              which is above it"
            ]
        );
    }

    #[test]
    fn each_name_of_a_group_is_an_import() {
        let hub =
            "use crate::{\n    flow, error::Error,\n};\nuse crate::net::{listener, dial::D};\n";
        let names: Vec<_> = imports("hub", hub).into_iter().collect();
        let expected = [
            (1, "flow"),
            (1, "error/Error"),
            (1, ""),
            (4, "net/listener"),
            (4, "net/dial/D"),
        ];
        let expected = expected.map(|(line, path)| (line, path.to_owned()));
        assert_eq!(names, expected);
        let files = [("net", "use crate::{\n    hub::Hub,\n};\n"), ("hub", "")];
        assert_eq!(findings(&files).len(), 1);
    }

    #[test]
    fn a_path_in_an_expression_is_an_import() {
        let routing = "fn f() {\n    crate::core::shared::start(1);\n}\n";
        let files = [("flow/routing", routing), ("core/shared", "")];
        assert_eq!(findings(&files).len(), 1);
    }

    #[test]
    fn tests_may_import_what_they_want() {
        let routing = "#[cfg(test)]\nmod tests {\n    use crate::core::shared::Shared;\n}\n";
        let files = [("flow/routing", routing), ("core/shared", "")];
        assert_eq!(findings(&files), [""; 0]);
    }

    #[test]
    fn a_circle_between_folders_is_an_error_and_one_inside_is_not() {
        let files = [
            ("flow/mailbox", "use crate::flow::mailbox::queue::Queue;\n"),
            (
                "flow/mailbox/queue",
                "use super::super::mailbox::Limits;\nuse crate::flow::mailbox::Limits;\n",
            ),
            ("flow/routing", "use crate::flow::target::Target;\n"),
            ("flow/target", "use crate::flow::routing::Routes;\n"),
        ];
        assert_eq!(findings(&files), [""; 0]);
        let files = [
            ("flow/routing", "use crate::flow::mailbox::queue::Queue;\n"),
            ("flow/mailbox/queue", "use crate::flow::routing::Target;\n"),
        ];
        let found = findings(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("flow/mailbox/queue.rs: imports `flow/routing`"));
    }

    #[test]
    fn a_file_without_a_layer_is_an_error() {
        let found = findings(&[("utils", "")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("utils.rs: has no layer"));
        assert_eq!(layer("store/event"), Some(5));
        assert_eq!(layer("store/events"), Some(4));
        assert_eq!(layer("stores"), None);
    }
}
