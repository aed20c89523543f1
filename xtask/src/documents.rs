//! Documents mention only what exists: relative links, headings, paths of the repository, `make`
//! targets.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::{Finding, TextFile};

/// First components of the paths that are looked up when a document names them in backticks.
const ROOTS: &[&str] = &[
    "crates/",
    "python/",
    "xtask/",
    "fuzz/",
    "bench/",
    "examples/",
    "docs/",
    "sim/",
    "tools/",
    "vectors/",
    ".ci/",
];

/// Checks one Markdown file; `exists` answers for paths relative to the repository.
pub(crate) fn check(
    file: &TextFile,
    makefile: &str,
    exists: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.path.ends_with(".md") {
        return findings;
    }
    let directory = directory(&file.path);
    let mut entries = BTreeSet::new();
    for (line, number) in file.text.lines().zip(1..) {
        let place = || format!("{}:{number}", file.path);
        // Changes that add lines are merged by keeping all of them.
        if file.path == "CHANGELOG.md" && line.starts_with("- ") && !entries.insert(line) {
            findings.push(Finding::error(place(), "this entry is there twice"));
        }
        for target in links(line) {
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') && !exists(&resolve(directory, target)) {
                findings.push(Finding::error(
                    place(),
                    format!("the link `{target}` leads nowhere"),
                ));
            }
        }
        for code in code_spans(line) {
            if is_path(code) && !exists(code) {
                findings.push(Finding::error(place(), format!("`{code}` does not exist")));
            }
            if let Some(targets) = code.strip_prefix("make ") {
                let named = targets
                    .split_whitespace()
                    .filter(|word| is_target_name(word));
                for target in named.filter(|target| !has_target(makefile, target)) {
                    findings.push(Finding::error(
                        place(),
                        format!("the Makefile has no target `{target}`"),
                    ));
                }
            }
        }
    }
    findings
}

/// Checks that every link to a heading finds it, in the same document or in another one.
pub(crate) fn check_anchors(files: &[TextFile]) -> Vec<Finding> {
    let documents = || files.iter().filter(|file| file.path.ends_with(".md"));
    let anchors: BTreeMap<&str, BTreeSet<String>> = documents()
        .map(|file| (file.path.as_str(), anchors(&file.text)))
        .collect();
    let mut findings = Vec::new();
    for file in documents() {
        for (line, number) in file.text.lines().zip(1..) {
            for link in links(line).filter(|link| !link.contains(':')) {
                let Some((target, anchor)) = link.split_once('#') else {
                    continue;
                };
                let path = if target.is_empty() {
                    file.path.clone()
                } else {
                    resolve(directory(&file.path), target)
                };
                if anchors
                    .get(path.as_str())
                    .is_some_and(|anchors| !anchors.contains(anchor))
                {
                    findings.push(Finding::error(
                        format!("{}:{number}", file.path),
                        format!("`{path}` has no heading `#{anchor}`"),
                    ));
                }
            }
        }
    }
    findings
}

/// Collects the anchors that a host of repositories gives to the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let heading = line.trim_start_matches('#');
        if in_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let anchor: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        anchors.insert(anchor);
    }
    anchors
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/')
        .map(|(directory, _)| directory)
        .unwrap_or_default()
}

/// Yields the targets of `[text](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

/// Yields what stands between pairs of backticks in a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Tells a repository path from a pattern or a placeholder.
fn is_path(code: &str) -> bool {
    ROOTS.iter().any(|root| code.starts_with(root))
        && code
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !code.contains("NNNN")
}

fn is_target_name(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn has_target(makefile: &str, target: &str) -> bool {
    makefile.lines().any(|line| {
        !line.starts_with('\t')
            && line
                .split_once(':')
                .is_some_and(|(names, _)| names.split_whitespace().any(|name| name == target))
    })
}

/// Joins a relative link with the directory of its document.
fn resolve(directory: &str, target: &str) -> String {
    let mut parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKEFILE: &str = "test-rust test: build\n\tcargo test: x\nFOO := 1\n";

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = TextFile {
            path: path.into(),
            text: text.into(),
        };
        let exists = |path: &str| ["README.md", "docs/adr/0030-a.md", "crates/x"].contains(&path);
        check(&file, MAKEFILE, &exists)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn links_are_resolved_from_the_directory_of_the_document() {
        assert_eq!(
            findings(
                "docs/adr/README.md",
                "[a](0030-a.md) [b](../../README.md#top)"
            ),
            [""; 0]
        );
        let found = findings("docs/adr/README.md", "first\n[a](0031-b.md)");
        assert_eq!(
            found,
            ["error: docs/adr/README.md:2: the link `0031-b.md` leads nowhere"]
        );
    }

    #[test]
    fn links_to_headings_find_them() {
        let file = |path: &str, text: &str| TextFile {
            path: path.into(),
            text: text.into(),
        };
        let text = "# Top\n## 8.2 What `x` does, and when\n```\n# no heading\n```\n\
                    [a](#82-what-x-does-and-when) [b](#no-heading) [c](other.md#top)";
        let found = check_anchors(&[file("docs/a.md", text), file("docs/other.md", "# Top")]);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["error: docs/a.md:6: `docs/a.md` has no heading `#no-heading`"]
        );
    }

    #[test]
    fn an_entry_of_the_changelog_stands_there_once() {
        let twice = "- It is new.\n\n- It is new.\n";
        assert_eq!(
            findings("CHANGELOG.md", twice),
            ["error: CHANGELOG.md:3: this entry is there twice"]
        );
        assert_eq!(findings("README.md", twice), [""; 0]);
    }

    #[test]
    fn links_to_other_places_are_not_followed() {
        assert_eq!(
            findings("README.md", "[site](https://example.org/x) [here](#below)"),
            [""; 0]
        );
    }

    #[test]
    fn paths_in_backticks_must_exist() {
        assert_eq!(
            findings(
                "README.md",
                "`crates/x` `crates/*/src` `docs/adr/NNNN-title.md`"
            ),
            [""; 0]
        );
        assert_eq!(findings("README.md", "`crates/y`").len(), 1);
    }

    #[test]
    fn make_targets_in_backticks_must_exist() {
        assert_eq!(
            findings("README.md", "`make test`, `make test-rust FUZZ_SECONDS=5`"),
            [""; 0]
        );
        assert_eq!(findings("README.md", "`make cargo`").len(), 1);
    }

    #[test]
    fn other_files_are_left_alone() {
        assert_eq!(findings("a.rs", "//! [x](nowhere.md)"), [""; 0]);
    }
}
