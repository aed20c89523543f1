//! Citations lead somewhere: sections of the protocol description, and decision records.
//!
//! Understood are, in comments and documents:
//!
//! - `Spec:` with a document and sections, as in "Spec: wire 8.2, 9, stores 3.1 to 3.3";
//! - a document and a section without that word, as in "the table of wire 7.3";
//! - in the description itself "§8.2", "wire.md §8.2", "section 6.6";
//! - `ADR` with a number, paths of decision records, and in these any number of four digits that
//!   begins with 0.

use std::collections::{BTreeMap, BTreeSet};

use crate::decisions;
use crate::tidy::{Finding, TextFile};

/// Where the protocol description lives.
const DESCRIPTION: &str = "docs/spec/";

/// Names of documents that are everyday words before a number: they are citations only behind
/// `Spec:`, or in a list that began with another document.
const COMMON_WORDS: &[&str] = &["endpoint"];

/// What can be cited.
pub(crate) struct Library {
    /// Documents of the description by name, with the numbers of their sections.
    documents: BTreeMap<String, BTreeSet<String>>,
    /// File names of the decision records.
    decisions: BTreeSet<String>,
}

/// A word of a file, with the line it stands in.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    line: usize,
}

impl Library {
    /// Collects what the files of the tree offer.
    pub(crate) fn of(files: &[TextFile]) -> Self {
        let mut library = Self {
            documents: BTreeMap::new(),
            decisions: BTreeSet::new(),
        };
        for file in files {
            if let Some(name) = document_name(&file.path).filter(|name| *name != "README") {
                let sections = file.text.lines().filter_map(section_of_heading);
                library
                    .documents
                    .insert(name.into(), sections.map(Into::into).collect());
            }
            if let Some(name) = decisions::record_name(&file.path) {
                library.decisions.insert(name.into());
            }
        }
        library
    }

    fn has_decision(&self, number: &str) -> bool {
        self.decisions
            .iter()
            .any(|name| name.split('-').next() == Some(number))
    }

    /// Checks the citations of one file.
    pub(crate) fn check(&self, file: &TextFile) -> Vec<Finding> {
        let mut findings = Vec::new();
        // The checks' own sources are full of examples.
        if file.path.starts_with("xtask/") {
            return findings;
        }
        let words = words(file);
        let mut error = |word: &Word<'_>, text: String| {
            findings.push(Finding::error(format!("{}:{}", file.path, word.line), text));
        };
        let own = document_name(&file.path);
        let among_decisions = decisions::record_name(&file.path).is_some();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let next = words.get(at);
            if opened(word.text).eq_ignore_ascii_case("spec:") {
                match next {
                    Some(next) if self.documents.contains_key(core(next.text)) => {}
                    // A sentence about citations, not a citation.
                    _ if file.path.ends_with(".md") => {}
                    _ => error(
                        word,
                        "`Spec:` is followed by no document of docs/spec".into(),
                    ),
                }
            } else if core(word.text) == "ADR"
                && let Some(number) = next.map(|next| core(next.text))
                && is_record_number(number)
                && !self.has_decision(number)
            {
                error(word, format!("there is no decision record {number}"));
            } else if among_decisions
                && is_record_number(core(word.text))
                && core(word.text).starts_with('0')
                && !self.has_decision(core(word.text))
            {
                error(
                    word,
                    format!("there is no decision record {}", core(word.text)),
                );
            } else if let Some(name) = record_path(word.text)
                && !self.decisions.contains(name)
            {
                error(word, format!("`docs/adr/{name}` does not exist"));
            }
            let after_spec = at
                .checked_sub(2)
                .and_then(|before| words.get(before))
                .is_some_and(|before| opened(before.text).eq_ignore_ascii_case("spec:"));
            if let Some(sections) = self.documents.get(core(word.text))
                && (after_spec || !COMMON_WORDS.contains(&core(word.text)))
                && continues(word.text)
            {
                at = self.check_list(&words, at, core(word.text), sections, &mut error);
            }
            if let Some(own) = own {
                self.check_own(&words, at - 1, own, &mut error);
            }
        }
        findings
    }

    /// Checks the sections from `at` on, which belong to `document` until another one is named;
    /// returns where the list ends.
    fn check_list<'a>(
        &'a self,
        words: &[Word<'_>],
        mut at: usize,
        document: &str,
        sections: &'a BTreeSet<String>,
        error: &mut impl FnMut(&Word<'_>, String),
    ) -> usize {
        let mut document = document.to_string();
        let mut sections = sections;
        while let Some(word) = words.get(at) {
            let text = core(word.text);
            if is_section(text) {
                if !sections.contains(text) {
                    error(
                        word,
                        format!("`docs/spec/{document}.md` has no section {text}"),
                    );
                }
            } else if let Some(others) = self.documents.get(text) {
                document = text.into();
                sections = others;
            } else if !matches!(text, "to" | "and") {
                break;
            }
            at += 1;
            if !continues(word.text) {
                break;
            }
        }
        at
    }

    /// Checks a word of the description itself: "§8.2", "section 6.6", with "wire.md" before it
    /// where the section is that of another document.
    fn check_own(
        &self,
        words: &[Word<'_>],
        at: usize,
        own: &str,
        error: &mut impl FnMut(&Word<'_>, String),
    ) {
        let Some(word) = words.get(at) else { return };
        let (number, before) = if let Some(number) = opened(word.text).strip_prefix('§') {
            (core(number), at.checked_sub(1))
        } else if let Some(before) = at.checked_sub(1)
            && words
                .get(before)
                .is_some_and(|it| matches!(core(it.text), "section" | "sections"))
        {
            (core(word.text), before.checked_sub(1))
        } else {
            return;
        };
        let named = before
            .and_then(|before| words.get(before))
            .and_then(|it| core(it.text).strip_suffix(".md"))
            .filter(|name| self.documents.contains_key(*name));
        let document = named.unwrap_or(own);
        let known = self
            .documents
            .get(document)
            .is_none_or(|sections| sections.contains(number));
        if is_section(number) && !known {
            error(
                word,
                format!("`docs/spec/{document}.md` has no section {number}"),
            );
        }
    }
}

/// Returns "wire" for `docs/spec/wire.md`.
fn document_name(path: &str) -> Option<&str> {
    path.strip_prefix(DESCRIPTION)?.strip_suffix(".md")
}

/// Returns "8.2" for `### 8.2 Matching`, and "8" for `## 8. Operation`.
fn section_of_heading(line: &str) -> Option<&str> {
    let heading = line
        .strip_prefix("## ")
        .or_else(|| line.strip_prefix("### "))?;
    let number = heading.split_whitespace().next()?.trim_end_matches('.');
    is_section(number).then_some(number)
}

/// Splits a file into words; of a source file only those of its comments and doc strings count,
/// which is approximated by lines of source being free of citations.
fn words(file: &TextFile) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    for (line, number) in file.text.lines().zip(1..) {
        let line = line.trim_start();
        let line = ["//!", "///", "//", "#"]
            .iter()
            .find_map(|prefix| line.strip_prefix(prefix))
            .unwrap_or(line);
        words.extend(
            line.split_whitespace()
                .map(|text| Word { text, line: number }),
        );
    }
    words
}

/// Strips what may stand before a word: brackets and quotes.
fn opened(word: &str) -> &str {
    word.trim_start_matches(['(', '[', '"', '\'', '`', '*'])
}

/// Strips what may stand around a word: brackets, quotes, punctuation.
fn core(word: &str) -> &str {
    let word = opened(word);
    // A link: its text is the word.
    let word = word.split("](").next().unwrap_or(word);
    word.trim_end_matches(['.', ',', ';', ':', ')', ']', '"', '\'', '`', '*'])
}

/// Tells whether a list of citations may go on behind a word.
fn continues(word: &str) -> bool {
    !word.ends_with(['.', ')', ':', '"', '`', '|'])
}

/// Tells "8", "8.2" from other words.
fn is_section(text: &str) -> bool {
    let mut parts = text.split('.');
    let short_number = |part: &str| {
        (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    parts.next().is_some_and(short_number)
        && parts.next().is_none_or(short_number)
        && parts.next().is_none()
}

fn is_record_number(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns "0011-title.md" for a word with `docs/adr/0011-title.md` in it.
fn record_path(word: &str) -> Option<&str> {
    let (_, rest) = word.split_once("adr/")?;
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'))
        .unwrap_or(rest.len());
    let name = rest.get(..end)?.trim_end_matches('.');
    name.get(..4).filter(|number| is_record_number(number))?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.into(),
            text: text.into(),
        }
    }

    fn findings(path: &str, text: &str) -> Vec<String> {
        let library = Library::of(&[
            file(
                "docs/spec/wire.md",
                "# Wire\n## 8. Operation\n### 8.2 Matching\n",
            ),
            file(
                "docs/spec/stores.md",
                "## 0. Facts\n## 3. Commands\n### 3.1 Tags\n",
            ),
            file("docs/spec/README.md", "## 5. No section\n"),
            file("docs/adr/0011-redundant.md", ""),
        ]);
        let found = library.check(&file(path, text));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sections_that_exist_are_fine() {
        for text in [
            "// Spec: wire 8.2.",
            "//! Spec: wire 8, 8.2, stores 3 to 3.1. Version 9.9 of something",
            "/// numbers (Spec:\n/// stores 3.1), so 9 of them",
            "// the table of wire 8.2",
            "//! Spec: wire, stores 0.",
            "// see ADR 0011, docs/adr/0011-redundant.md.",
            "let spec: wire = 9.9;",
        ] {
            let text = text.replace("let spec: wire", "let x: wire");
            assert_eq!(findings("a.rs", &text), [""; 0], "{text}");
        }
    }

    #[test]
    fn sections_that_do_not_exist_are_errors_with_their_line() {
        let found = findings(
            "a.rs",
            "//! First.\n//! Spec: wire 8.2,\n//! 8.3, stores 4.",
        );
        assert_eq!(
            found,
            [
                "error: a.rs:3: `docs/spec/wire.md` has no section 8.3",
                "error: a.rs:3: `docs/spec/stores.md` has no section 4"
            ]
        );
        assert_eq!(findings("a.py", "# the table of wire 7.3").len(), 1);
        assert_eq!(findings("a.md", "as (wire 8, stores 2) says").len(), 1);
    }

    #[test]
    fn documents_must_exist() {
        assert_eq!(findings("a.rs", "// Spec: README 5.").len(), 1);
        assert_eq!(findings("a.rs", "// Spec: wires 8.2.").len(), 1);
        assert_eq!(findings("a.rs", "// (spec: wires 8.2)").len(), 1);
    }

    #[test]
    fn the_description_cites_itself() {
        let text = "§8.2, (section 8), stores.md §3.1, `stores.md` section 3, §9 of a law";
        let found = findings("docs/spec/wire.md", text);
        assert_eq!(
            found,
            ["error: docs/spec/wire.md:1: `docs/spec/wire.md` has no section 9"]
        );
        assert_eq!(findings("docs/spec/wire.md", "`stores.md` §8").len(), 1);
    }

    #[test]
    fn decisions_must_exist() {
        assert_eq!(findings("a.rs", "// ADR 0012.").len(), 1);
        assert_eq!(findings("a.py", "see docs/adr/0012-other.md").len(), 1);
        assert_eq!(
            findings("docs/adr/0011-redundant.md", "as in (0010)").len(),
            1
        );
        assert_eq!(
            findings("docs/adr/0011-redundant.md", "(0011), 1024").len(),
            0
        );
        assert_eq!(findings("docs/zeek.md", "mode 0600").len(), 0);
    }
}
