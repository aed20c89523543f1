//! Dependency direction: `broker-data <- {broker-zeek, broker-proto} <- broker <- {broker-cli, bench, ...}
//! <- python`.
//!
//! The rule the compiler cannot state is what a crate must *not* reach. It is read from
//! `cargo metadata`, so renames, target sections and features cannot hide an edge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::tidy::Finding;

/// Our packages from the inside out. A package may depend only on packages of a lower layer, also
/// in its tests: a dev-dependency that points outwards is still a door between rooms.
const LAYERS: &[(&str, u8)] = &[
    ("broker-data", 0),
    ("broker-proto", 1),
    ("broker-zeek", 1),
    ("broker-sim", 2),
    ("broker", 2),
    ("broker-bench", 3),
    ("broker-cli", 3),
    ("broker-python", 4),
];

/// Packages that decide and never do I/O, with what each of them may have all the same: records of a
/// log share the bytes of their message, and a log name that looks misspelt is logged.
const PURE: &[(&str, &[&str])] = &[
    ("broker-data", &[]),
    ("broker-proto", &[]),
    ("broker-zeek", &["bytes", "tracing"]),
];

/// What must not be in the tree of a pure package: runtimes, sockets, clocks, random sources, and
/// `bytes`, which would tie values to one buffer type.
const IMPURE: &[&str] = &[
    "async-std",
    "bytes",
    "crossbeam-channel",
    "futures",
    "futures-core",
    "futures-util",
    "getrandom",
    "mio",
    "openssl",
    "openssl-sys",
    "rand",
    "rustix",
    "smol",
    "socket2",
    "tokio",
    "tracing",
];

/// One package of the resolved dependency graph.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    name: String,
    member: bool,
    /// Everything the manifest names, with build- and dev-dependencies.
    direct: BTreeSet<String>,
    /// Identifiers of the packages linked into a build, without dev-dependencies.
    linked: Vec<String>,
}

/// Packages by cargo's identifier; two versions of one name are two packages.
pub(crate) type Graph = BTreeMap<String, Package>;

/// Asks cargo for the resolved graph of the workspace at `root`.
pub(crate) fn read(root: &Path) -> anyhow::Result<Graph> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("cannot run `cargo metadata`")?;
    ensure!(
        output.status.success(),
        "`cargo metadata` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&serde_json::from_slice(&output.stdout).context("`cargo metadata` printed no JSON")?)
}

fn parse(metadata: &Value) -> anyhow::Result<Graph> {
    let members: BTreeSet<&str> = texts(&metadata["workspace_members"]).collect();
    let mut graph = Graph::new();
    for package in items(&metadata["packages"]) {
        let id = package["id"].as_str().context("a package without an id")?;
        let name = package["name"]
            .as_str()
            .context("a package without a name")?;
        let direct = items(&package["dependencies"])
            .filter_map(|dep| dep["name"].as_str())
            .map(Into::into);
        graph.insert(
            id.to_owned(),
            Package {
                name: name.to_owned(),
                member: members.contains(id),
                direct: direct.collect(),
                linked: Vec::new(),
            },
        );
    }
    for node in items(&metadata["resolve"]["nodes"]) {
        let linked = items(&node["deps"])
            .filter(|dep| items(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null()))
            .filter_map(|dep| dep["pkg"].as_str())
            .map(Into::into)
            .collect();
        let id = node["id"].as_str().context("a node without an id")?;
        graph
            .get_mut(id)
            .with_context(|| format!("unknown package `{id}`"))?
            .linked = linked;
    }
    Ok(graph)
}

/// Checks layers and purity.
pub(crate) fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, package) in graph.iter().filter(|(_, package)| package.member) {
        let place = format!("package {}", package.name);
        if let Some(layer) = layer(&package.name) {
            for dependency in &package.direct {
                let reached = if dependency == "xtask" {
                    Some(u8::MAX)
                } else {
                    self::layer(dependency)
                };
                if reached.is_some_and(|reached| reached >= layer) {
                    findings.push(Finding::error(
                        &place,
                        format!("must not depend on `{dependency}`: dependencies point inwards"),
                    ));
                }
            }
        } else {
            for dependency in package
                .direct
                .iter()
                .filter(|name| self::layer(name).is_some())
            {
                findings.push(Finding::error(
                    &place,
                    format!("has no layer but depends on `{dependency}`: give it one in `xtask`"),
                ));
            }
        }
        let pure = PURE.iter().find(|(name, _)| *name == package.name);
        if let Some((_, permitted)) = pure {
            let tree = tree(graph, id);
            let banned = IMPURE.iter().filter(|name| !permitted.contains(name));
            for banned in banned.filter(|banned| tree.contains(**banned)) {
                findings.push(Finding::error(
                    &place,
                    format!("has `{banned}` in its tree: pure packages never do I/O"),
                ));
            }
        }
    }
    findings
}

fn layer(name: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(layered, _)| *layered == name)
        .map(|(_, layer)| *layer)
}

/// Returns the names of all packages linked into `id`, without itself.
fn tree<'a>(graph: &'a Graph, id: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let mut pending: Vec<&str> = vec![id];
    let mut seen = BTreeSet::new();
    while let Some(id) = pending.pop() {
        for next in graph
            .get(id)
            .map(|package| package.linked.as_slice())
            .unwrap_or_default()
        {
            if seen.insert(next.as_str()) {
                names.extend(graph.get(next).map(|package| package.name.as_str()));
                pending.push(next);
            }
        }
    }
    names
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Builds metadata of workspace members from `(name, linked, dev)`.
    fn metadata(packages: &[(&str, &[&str], &[&str])]) -> Value {
        let outside = ["tokio", "thiserror", "mio", "bytes"];
        let names = || packages.iter().map(|(name, _, _)| *name).chain(outside);
        json!({
            "workspace_members": packages.iter().map(|(name, _, _)| name).collect::<Vec<_>>(),
            "packages": names().map(|name| {
                let direct = packages.iter().filter(|(member, _, _)| *member == name)
                    .flat_map(|(_, linked, dev)| linked.iter().chain(*dev))
                    .map(|dep| json!({"name": dep})).collect::<Vec<_>>();
                json!({"id": name, "name": name, "dependencies": direct})
            }).collect::<Vec<_>>(),
            "resolve": {"nodes": packages.iter().map(|(name, linked, dev)| {
                let normal = linked.iter().map(|dep| json!({"pkg": dep, "dep_kinds": [{"kind": null}]}));
                let test = dev.iter().map(|dep| json!({"pkg": dep, "dep_kinds": [{"kind": "dev"}]}));
                json!({"id": name, "deps": normal.chain(test).collect::<Vec<_>>()})
            }).chain([json!({
                "id": "tokio", "deps": [{"pkg": "mio", "dep_kinds": [{"kind": null}]}]
            })]).collect::<Vec<_>>()},
        })
    }

    fn findings(packages: &[(&str, &[&str], &[&str])]) -> Vec<String> {
        check(&parse(&metadata(packages)).unwrap())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_intended_direction_passes() {
        let packages: &[(&str, &[&str], &[&str])] = &[
            ("broker-data", &["thiserror"], &[]),
            ("broker-proto", &["broker-data", "thiserror"], &[]),
            ("broker", &["broker-data", "broker-proto", "tokio"], &[]),
            ("broker-python", &["broker"], &[]),
            ("xtask", &[], &[]),
        ];
        assert_eq!(findings(packages), [""; 0]);
    }

    #[test]
    fn an_edge_outwards_is_an_error_also_in_tests() {
        let found = findings(&[
            ("broker-data", &[], &["broker-proto"]),
            ("broker-proto", &["broker-data"], &[]),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("package broker-data: must not depend on `broker-proto`"));
    }

    #[test]
    fn a_runtime_deep_in_the_tree_of_a_pure_package_is_an_error() {
        let found = findings(&[("broker-proto", &["tokio"], &[])]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`mio`") && found[1].contains("`tokio`"));
    }

    #[test]
    fn a_pure_package_may_have_what_is_permitted_to_it_and_nothing_else() {
        let found = findings(&[
            ("broker-zeek", &["bytes"], &[]),
            ("broker-proto", &["bytes"], &[]),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("package broker-proto: has `bytes`"));
        assert_eq!(findings(&[("broker-zeek", &["tokio"], &[])]).len(), 2);
    }

    #[test]
    fn a_test_of_a_pure_package_may_use_a_runtime() {
        assert_eq!(findings(&[("broker-proto", &[], &["tokio"])]), [""; 0]);
    }

    #[test]
    fn a_package_without_a_layer_must_not_reach_ours() {
        let found = findings(&[
            ("broker-data", &[], &[]),
            ("surprise", &["broker-data"], &[]),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("package surprise: has no layer"));
    }
}
