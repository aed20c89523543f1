//! Collects every finding before reporting: one broken rule never hides another.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::citations::Library;
use crate::{bench_smoke, decisions, documents, layers, locks, manifests, maps, sources, walks};

/// Directories that hold no source of ours.
const SKIPPED: &[&str] = &[
    "target",
    "dist",
    "node_modules",
    "artifacts",
    "__pycache__",
    "corpus",
    "proptest-regressions",
];

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Weight {
    /// Fails the run.
    Error,
    /// Is printed, nothing more.
    Warning,
}

/// One broken rule at one place.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Finding {
    pub(crate) weight: Weight,
    /// A path relative to the repository, with `:line` where a line is to blame.
    pub(crate) place: String,
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn error(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            weight: Weight::Error,
            place: place.into(),
            text: text.into(),
        }
    }

    pub(crate) fn warning(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            weight: Weight::Warning,
            place: place.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Error => "error",
            Weight::Warning => "warning",
        };
        write!(f, "{weight}: {}: {}", self.place, self.text)
    }
}

/// A file of the tree: its path relative to the repository and its text.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Checks the whole tree below `root`; fails when at least one error was found.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let mut findings = manifests::check(&manifests::read(root)?);
    findings.extend(bench_smoke::check(root)?);
    let files = text_files(root)?;
    let makefile = fs::read_to_string(root.join("Makefile")).context("cannot read `Makefile`")?;
    findings.extend(decisions::check(&files));
    findings.extend(layers::check(&files));
    findings.extend(walks::check(&files));
    let library = Library::of(&files);
    for file in &files {
        findings.extend(sources::check(file));
        findings.extend(library.check(file));
        findings.extend(locks::check(file));
        findings.extend(maps::check(file, &|path| root.join(path).exists()));
        findings.extend(documents::check(file, &makefile, &|path| {
            root.join(path).exists()
        }));
    }
    findings.extend(documents::check_anchors(&files));
    findings.sort();

    let mut out = io::stderr().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.weight == Weight::Error)
        .count();
    let warnings = findings.len() - errors;
    writeln!(
        out,
        "tidy: {} files, {errors} errors, {warnings} warnings",
        files.len()
    )?;
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads every file that is ours to keep tidy, in path order.
pub(crate) fn text_files(root: &Path) -> anyhow::Result<Vec<TextFile>> {
    let mut paths = Vec::new();
    collect(root, &mut paths).with_context(|| format!("cannot list `{}`", root.display()))?;
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        let relative = path.strip_prefix(root).unwrap_or(&path);
        files.push(TextFile {
            path: relative.to_string_lossy().into_owned(),
            text,
        });
    }
    Ok(files)
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            // A dot directory is a tool's (`.git`, `.venv`, caches).
            if !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
                collect(&path, paths)?;
            }
        } else if kind.is_file() && is_ours(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    matches!(extension, "rs" | "py" | "pyi" | "md" | "toml") || name == "Makefile"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_walk_skips_build_output_and_tool_directories() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "a.rs",
            "notes.md",
            "data.bin",
            "target/b.rs",
            ".venv/c.py",
            "crates/d.rs",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }

        let files = text_files(root.path()).unwrap();

        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a.rs", "crates/d.rs", "notes.md"]);
    }

    #[test]
    fn a_finding_reads_like_a_compiler_message() {
        let finding = Finding::error("a.rs:3", "not allowed");
        assert_eq!(finding.to_string(), "error: a.rs:3: not allowed");
    }
}
