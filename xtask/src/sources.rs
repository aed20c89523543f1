//! Rules about source files that no lint of the compiler covers.

use crate::tidy::{Finding, TextFile};

/// Lines of a Rust file, its tests aside, above which it is asked for its second noun.
const LINES_MAX: usize = 800;

/// The crates whose root must forbid unsafe code outright, so that no module can allow it again.
const FORBIDS_UNSAFE: &[&str] = &[
    "crates/broker-data/src/lib.rs",
    "crates/broker-proto/src/lib.rs",
    "crates/broker-zeek/src/lib.rs",
    "crates/broker-cli/src/lib.rs",
    "sim/src/lib.rs",
];

/// Words that announce unfinished work. Split so that this file does not accuse itself.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
];

/// Words in place of a noun: the first line of a module says what the module is.
const RIDDLES: &[&str] = &["whoever", "nobody", "somebody", "everybody", "anybody"];

/// Words that begin a question where the name of a thing is due.
const QUESTIONS: &[&str] = &["What", "Who", "Why", "How"];

/// Checks one file; documents are checked for unfinished work only.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in numbered(&file.text) {
        for word in UNFINISHED.iter().filter(|word| has_word(line, word)) {
            findings.push(Finding::error(
                format!("{}:{number}", file.path),
                format!("`{word}`: finish it, or describe the gap where a user will read it"),
            ));
        }
    }
    if file.path.ends_with(".rs") {
        check_rust(file, &mut findings);
    }
    findings
}

fn check_rust(file: &TextFile, findings: &mut Vec<Finding>) {
    let path = file.path.as_str();
    if path.rsplit('/').next() == Some("mod.rs") {
        findings.push(Finding::error(
            path,
            "name the module's file after the module, not `mod.rs`",
        ));
    }
    if FORBIDS_UNSAFE.contains(&path) && !file.text.contains("#![forbid(unsafe_code)]") {
        findings.push(Finding::error(path, "must say `#![forbid(unsafe_code)]`"));
    }
    check_header(file, findings);
    let in_proto = path.starts_with("crates/broker-proto/src/");
    for (number, line) in numbered(&file.text) {
        let code = line.trim_start();
        if code.starts_with(concat!("#[al", "low(")) || code.starts_with(concat!("#![al", "low(")) {
            findings.push(Finding::error(
                format!("{path}:{number}"),
                "use `#[expect(lint, reason = \"...\")]`, which fails when it is no longer needed",
            ));
        }
        if in_proto
            && !code.starts_with("//")
            && ["HashMap", "HashSet"]
                .iter()
                .any(|name| has_word(code, name))
        {
            findings.push(Finding::error(
                format!("{path}:{number}"),
                "hash order must not leak into the protocol: use a `BTreeMap` or a sorted `Vec`",
            ));
        }
    }
    let lines = lines_before_tests(&file.text);
    if lines > LINES_MAX && !is_test(path) {
        findings.push(Finding::warning(
            path,
            format!("{lines} lines without its tests: look for the second noun"),
        ));
    }
}

/// The first line of a module's documentation names a thing.
fn check_header(file: &TextFile, findings: &mut Vec<Finding>) {
    let header = file.text.lines().next().unwrap_or_default();
    let Some(header) = header.strip_prefix("//! ") else {
        return;
    };
    let place = format!("{}:1", file.path);
    let lower = header.to_lowercase();
    for word in RIDDLES.iter().filter(|word| has_word(&lower, word)) {
        let text = format!("`{word}` in the first line of a module: say who or what it is");
        findings.push(Finding::error(&*place, text));
    }
    let first = header.split(' ').next().unwrap_or_default();
    if QUESTIONS.contains(&first) && is_library(&file.path) {
        let text = format!("`{first}` begins the first line of a module: name the thing instead");
        findings.push(Finding::warning(place, text));
    }
}

/// Whether a file belongs to the library or the extension module.
fn is_library(path: &str) -> bool {
    [
        "crates/broker-data/src/",
        "crates/broker-proto/src/",
        "crates/broker-zeek/src/",
        "crates/broker/src/",
        "python/src/",
    ]
    .iter()
    .any(|root| path.starts_with(root))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("bench/")
}

/// Counts the lines above the test module, which by convention is the last item of a file.
fn lines_before_tests(text: &str) -> usize {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().zip(1..).map(|(line, number)| (number, line))
}

/// Tells whether `word` stands in `line` with no letter, digit or underscore on either side.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line
            .get(at + word.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = TextFile {
            path: path.into(),
            text: text.into(),
        };
        check(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unfinished_work_is_found_with_its_line() {
        let text = format!("fine\n// {} later\n", UNFINISHED[0]);
        let found = findings("crates/broker/src/hub.rs", &text);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("error: crates/broker/src/hub.rs:2: "),
            "{found:?}"
        );
    }

    #[test]
    fn a_longer_word_is_not_unfinished_work() {
        let text = format!("{}S and _{} are names\n", UNFINISHED[0], UNFINISHED[0]);
        assert_eq!(findings("README.md", &text), [""; 0]);
    }

    #[test]
    fn the_first_line_of_a_module_names_a_thing() {
        let path = "crates/broker/src/hub.rs";
        let found = findings(path, "//! A queue for whoever reads.\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("error: crates/broker/src/hub.rs:1: `whoever`"));
        let found = findings(path, "//! What hubs hold.\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("warning: crates/broker/src/hub.rs:1: `What`"));
        assert_eq!(
            findings("crates/broker-cli/src/a.rs", "//! What it is.\n"),
            [""; 0]
        );
        let fine = "//! Hubs: consumers and publishers in one.\n//!\n//! What nobody reads.\n";
        assert_eq!(findings(path, fine), [""; 0]);
    }

    #[test]
    fn mod_rs_is_an_error() {
        assert_eq!(findings("crates/broker/src/tls/mod.rs", "").len(), 1);
        assert_eq!(findings("crates/broker/src/tls.rs", "").len(), 0);
    }

    #[test]
    fn pure_crates_must_forbid_unsafe_code() {
        assert_eq!(
            findings("crates/broker-data/src/lib.rs", "//! Values.\n").len(),
            1
        );
        assert_eq!(
            findings("crates/broker-data/src/lib.rs", "#![forbid(unsafe_code)]\n").len(),
            0
        );
        assert_eq!(
            findings("crates/broker/src/lib.rs", "//! Runtime.\n").len(),
            0
        );
    }

    #[test]
    fn a_bare_allow_is_an_error() {
        let text = concat!(
            "    #[al",
            "low(dead_code)]\n#[expect(dead_code, reason = \"x\")]\n"
        );
        assert_eq!(findings("crates/broker/src/hub.rs", text).len(), 1);
    }

    #[test]
    fn hash_maps_stay_out_of_the_protocol_only() {
        let text = "use std::collections::HashMap;\n// A HashMap would leak its order.\n";
        assert_eq!(findings("crates/broker-proto/src/routes.rs", text).len(), 1);
        assert_eq!(findings("crates/broker/src/routes.rs", text).len(), 0);
    }

    #[test]
    fn a_long_file_is_a_warning_and_its_tests_do_not_count() {
        let long = "\n".repeat(LINES_MAX + 1);
        let found = findings("crates/broker/src/hub.rs", &long);
        assert!(found[0].starts_with("warning: "), "{found:?}");
        let tested = format!("#[cfg(test)]\n{long}");
        assert_eq!(findings("crates/broker/src/hub.rs", &tested), [""; 0]);
    }
}
