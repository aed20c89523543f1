//! The walks of ARCHITECTURE.md lead through functions that exist: each one that a row names is in the
//! file of the row.

use std::collections::BTreeMap;

use crate::tidy::{Finding, TextFile};

/// Where the walks are, and under which heading.
const WALKS: (&str, &str) = ("ARCHITECTURE.md", "## Walks");

/// Checks the walks against the sources they lead through.
pub(crate) fn check(files: &[TextFile]) -> Vec<Finding> {
    let Some(map) = files.iter().find(|file| file.path == WALKS.0) else {
        return Vec::new();
    };
    let sources: BTreeMap<&str, &str> = files
        .iter()
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let section = map.text.lines().zip(1..);
    let section = section
        .skip_while(|(line, _)| *line != WALKS.1)
        .skip(1)
        .take_while(|(line, _)| !line.starts_with("## "));
    let rows: Vec<(Vec<&str>, Vec<&str>, usize)> = section
        .filter_map(|(line, number)| {
            let mut cells = line.strip_prefix('|')?.split('|');
            let (files, functions) = (code_spans(cells.next()?), code_spans(cells.next()?));
            (!files.is_empty()).then_some((files, functions, number))
        })
        .collect();
    if rows.is_empty() {
        let text = format!("there is no walk under `{}`", WALKS.1);
        return vec![Finding::error(WALKS.0, text)];
    }
    let mut findings = Vec::new();
    for (files, functions, number) in rows {
        let place = format!("{}:{number}", WALKS.0);
        for file in files {
            let Some(source) = sources.get(file) else {
                let text = format!("a walk leads through `{file}`, which does not exist");
                findings.push(Finding::error(&*place, text));
                continue;
            };
            for function in functions.iter().filter(|name| !defines(source, name)) {
                let text = format!("`{file}` has no function `{function}`");
                findings.push(Finding::error(&*place, text));
            }
        }
    }
    findings
}

/// Whether a function of that name is defined outside of the tests of a file.
fn defines(source: &str, name: &str) -> bool {
    let code = source
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"));
    code.filter_map(|line| line.split_once("fn "))
        .filter_map(|(_, rest)| rest.strip_prefix(name))
        .any(|rest| rest.starts_with('(') || rest.starts_with('<'))
}

/// What stands between pairs of backticks.
fn code_spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(rows: &str) -> Vec<String> {
        let file = |path: &str, text: String| TextFile {
            path: path.into(),
            text,
        };
        let source = "fn one() {}\npub(crate) async fn two<T>(it: T) {}\n    // fn three()\n\
                      #[cfg(test)]\nmod tests {\n    fn four() {}\n}\n";
        let map = format!("## Walks\n\n| file | functions |\n|---|---|\n{rows}\n## Next\n");
        let files = [
            file("ARCHITECTURE.md", map),
            file("a.rs", source.to_owned()),
        ];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn functions_of_a_walk_are_in_the_file_of_their_row() {
        assert_eq!(findings("| `a.rs` | `one`, `two` |\n"), [""; 0]);
        assert_eq!(
            findings("| `a.rs` | `one`, `on`, `three` |\n| `b.rs` | `x` |\n"),
            [
                "error: ARCHITECTURE.md:5: `a.rs` has no function `on`",
                "error: ARCHITECTURE.md:5: `a.rs` has no function `three`",
                "error: ARCHITECTURE.md:6: a walk leads through `b.rs`, which does not exist",
            ]
        );
        assert_eq!(findings("| `a.rs` | `four` |\n").len(), 1);
    }

    #[test]
    fn walks_cannot_get_lost() {
        assert_eq!(
            findings(""),
            ["error: ARCHITECTURE.md: there is no walk under `## Walks`"]
        );
    }
}
