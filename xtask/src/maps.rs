//! Maps name what is there: the table of modules in a crate's `lib.rs`, or in the file of a folder, has
//! every module of it and no other, and what the code map of ARCHITECTURE.md lists exists.

use std::collections::BTreeSet;

use crate::tidy::{Finding, TextFile};

/// Where the map of the whole repository is, and under which heading.
const CODE_MAP: (&str, &str) = ("ARCHITECTURE.md", "## Code map");

/// Files whose documentation must have a map.
const MAPPED: &[&str] = &[
    "crates/broker/src/lib.rs",
    "crates/broker/src/core.rs",
    "crates/broker/src/flow.rs",
    "crates/broker/src/http.rs",
    "crates/broker/src/net.rs",
    "crates/broker/src/peer.rs",
    "crates/broker/src/transport.rs",
    "crates/broker/src/transport/websocket.rs",
    "crates/broker-proto/src/lib.rs",
];

/// Checks one file; `exists` answers for paths relative to the repository.
pub(crate) fn check(file: &TextFile, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    if file.path == CODE_MAP.0 {
        return check_paths(file, exists);
    }
    if MAPPED.contains(&file.path.as_str()) {
        check_modules(file)
    } else {
        Vec::new()
    }
}

fn check_paths(file: &TextFile, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let section = file.text.lines().skip_while(|line| *line != CODE_MAP.1);
    let rows = section.skip(1).take_while(|line| !line.starts_with('#'));
    let paths: Vec<&str> = rows.filter_map(first_cell).flat_map(code_spans).collect();
    if paths.is_empty() {
        let text = format!("there is no table under `{}`", CODE_MAP.1);
        return vec![Finding::error(&*file.path, text)];
    }
    let missing = paths.into_iter().filter(|path| !exists(path));
    missing
        .map(|path| {
            let text = format!("the code map has `{path}`, which does not exist");
            Finding::error(&*file.path, text)
        })
        .collect()
}

fn check_modules(file: &TextFile) -> Vec<Finding> {
    let docs = file
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("//!"));
    let mapped: BTreeSet<&str> = docs
        .filter_map(|line| first_cell(line.trim_start()))
        .flat_map(code_spans)
        .collect();
    let modules: BTreeSet<&str> = file.text.lines().filter_map(module).collect();
    let unmapped = modules.difference(&mapped).map(|name| {
        let text = format!("the map of modules lacks `{name}`");
        Finding::error(&*file.path, text)
    });
    let unknown = mapped.difference(&modules).map(|name| {
        let text = format!("the map of modules has `{name}`, which is no module");
        Finding::error(&*file.path, text)
    });
    unmapped.chain(unknown).collect()
}

/// The name in a line that declares a module in a file of its own, tests aside.
fn module(line: &str) -> Option<&str> {
    let line = ["pub ", "pub(crate) "]
        .iter()
        .find_map(|visibility| line.strip_prefix(visibility))
        .unwrap_or(line);
    let name = line.strip_prefix("mod ")?.strip_suffix(';')?;
    (name != "tests").then_some(name)
}

/// The first cell of a row of a table.
fn first_cell(line: &str) -> Option<&str> {
    line.strip_prefix('|')?.split('|').next()
}

/// What stands between pairs of backticks.
fn code_spans(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = TextFile {
            path: path.into(),
            text: text.into(),
        };
        let found = check(&file, &|path| path == "crates/a");
        found.iter().map(ToString::to_string).collect()
    }

    const CRATE: &str = "crates/broker/src/lib.rs";

    #[test]
    fn a_map_has_every_module_and_no_other() {
        let map =
            "//! | module | what it is |\n//! |---|---|\n//! | `a`, [`b`] | two of `them` |\n";
        let modules =
            "pub(crate) mod a;\n#[cfg(feature = \"x\")]\npub mod b;\n#[cfg(test)]\nmod tests;\n";
        assert_eq!(findings(CRATE, &format!("{map}{modules}")), [""; 0]);
        assert_eq!(
            findings(CRATE, &format!("{map}mod a;\nmod c;\n")),
            [
                "error: crates/broker/src/lib.rs: the map of modules lacks `c`",
                "error: crates/broker/src/lib.rs: the map of modules has `b`, which is no module",
            ]
        );
        assert_eq!(findings("crates/broker/src/other.rs", "mod c;\n"), [""; 0]);
    }

    #[test]
    fn the_code_map_lists_what_exists() {
        let text = "## Code map\n\n| path | what |\n|---|---|\n| `crates/a` | `x` |\n";
        assert_eq!(findings("ARCHITECTURE.md", text), [""; 0]);
        let text = format!("{text}| `crates/b` | it |\n\n## Next\n\n| `crates/c` | it |\n");
        assert_eq!(
            findings("ARCHITECTURE.md", &text),
            ["error: ARCHITECTURE.md: the code map has `crates/b`, which does not exist"]
        );
        assert_eq!(findings("ARCHITECTURE.md", "## Other\n").len(), 1);
    }
}
