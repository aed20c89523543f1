//! The guard of the hot path: instructions per message against a baseline that is in the repository.
//!
//! Instructions do not depend on what else the machine does, so a rise is a change of the code or of
//! a tool. Each case runs twice with different numbers of iterations; the difference per iteration
//! is free of start and preparation.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::tidy::Finding;

/// Where the baseline is.
const BASELINE: &str = "bench/baseline.json";

/// A rise beyond this fails: above what another minor version of a tool makes of the same source,
/// below what anybody would call a detail.
const RISE_PERCENT_MAX: f64 = 10.0;

/// The Rust cases with the numbers of iterations that are compared.
const RUST: &[(&str, u64, u64)] = &[
    ("encode-small", 2_000, 22_000),
    ("encode-medium", 2_000, 22_000),
    ("decode-small", 2_000, 22_000),
    ("decode-medium", 2_000, 22_000),
    ("match", 100, 1_100),
    ("publish-small", 2_000, 22_000),
    ("relay-small", 20_000, 80_000),
    ("relay-medium", 20_000, 80_000),
];

/// The Python cases with their number of iterations; all are compared with a run of none.
const PYTHON: &[(&str, u64)] = &[
    ("python-encode-small", 20_000),
    ("python-encode-medium", 10_000),
    ("python-decode-small", 20_000),
    ("python-decode-medium", 10_000),
];

/// What counts the instructions of a process and its children.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Counter {
    Valgrind,
    Perf,
}

/// What the counts were taken with, and the counts.
#[derive(Clone, Debug, PartialEq)]
struct Counts {
    /// Rises with each new baseline.
    number: u64,
    counter: String,
    architecture: String,
    toolchain: String,
    /// Major and minor version.
    python: String,
    instructions: Instructions,
}

/// How a case fares.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    Kept,
    /// By so many per cent, more than is allowed.
    Rose(f64),
    /// By so many per cent, so much that the baseline no longer guards it.
    Fell(f64),
    /// The baseline says nothing about it.
    Unknown,
}

/// Counts and compares; with `rewrite` makes what was counted the new baseline.
pub(crate) fn run(root: &Path, rewrite: bool) -> anyhow::Result<ExitCode> {
    let counter = match Counter::find() {
        Ok(counter) => counter,
        Err(reason) => return not_measured(&reason, rewrite),
    };
    let path = root.join(BASELINE);
    let baseline = match fs::read_to_string(&path) {
        Ok(text) => Some(Counts::parse(&text).with_context(|| format!("`{BASELINE}` is broken"))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound && rewrite => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read `{BASELINE}`")),
    };
    let python = root.join(".venv/bin/python");
    let mut here = Counts {
        number: baseline.as_ref().map_or(1, |baseline| baseline.number + 1),
        counter: counter.name().to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        toolchain: version_of("rustc", "--version")?,
        python: python_version(&python)?,
        instructions: Instructions::new(),
    };
    if let (Some(baseline), false) = (&baseline, rewrite)
        && let Some(reason) = baseline.is_of_another_kind(&here)
    {
        return not_measured(&reason, rewrite);
    }
    let same_python = |baseline: &Counts| rewrite || baseline.python == here.python;
    let with_python = baseline.as_ref().is_none_or(same_python);
    // A count is the same however busy the machine is, so the two halves run side by side.
    let (rust, of_python) = thread::scope(|scope| {
        let of_python = scope.spawn(|| {
            if with_python {
                count_python(root, counter, &python)
            } else {
                Ok(Instructions::new())
            }
        });
        (count_rust(root, counter), of_python.join())
    });
    here.instructions = rust?;
    here.instructions
        .append(&mut of_python.map_err(|_| anyhow!("counting Python panicked"))??);
    if let (Some(baseline), false) = (&baseline, with_python) {
        say(&format!(
            "not measured: conversions of Python {}, the baseline is of {}",
            here.python, baseline.python
        ))?;
    }
    match baseline {
        Some(baseline) if !rewrite => report(&baseline, &here),
        _ => {
            fs::write(&path, here.to_text())
                .with_context(|| format!("cannot write `{BASELINE}`"))?;
            say(&format!(
                "wrote `{BASELINE}`; say why in CHANGELOG.md, with the words `{}`",
                announcement(here.number)
            ))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A baseline that is not announced where users read what changed.
pub(crate) fn check(root: &Path) -> anyhow::Result<Option<Finding>> {
    let text = fs::read_to_string(root.join(BASELINE))
        .with_context(|| format!("cannot read `{BASELINE}`"))?;
    let changes = fs::read_to_string(root.join("CHANGELOG.md")).context("no changelog")?;
    Ok(unannounced(&Counts::parse(&text)?, &changes))
}

fn unannounced(baseline: &Counts, changes: &str) -> Option<Finding> {
    let words = announcement(baseline.number);
    let mentioned = changes.match_indices(&words).any(|(at, _)| {
        let next = changes[at + words.len()..].chars().next();
        !next.is_some_and(|next| next.is_ascii_digit())
    });
    let text = format!("CHANGELOG.md says nothing about `{words}`");
    (!mentioned).then(|| Finding::error(BASELINE, text))
}

fn announcement(number: u64) -> String {
    format!("instruction baseline {number}")
}

/// Says that nothing was measured. That is no failure of a check, but of the wish for a baseline.
fn not_measured(reason: &str, rewrite: bool) -> anyhow::Result<ExitCode> {
    say(&format!("not measured: {reason}"))?;
    Ok(if rewrite {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn report(baseline: &Counts, here: &Counts) -> anyhow::Result<ExitCode> {
    if baseline.toolchain != here.toolchain {
        say(&format!(
            "note: the baseline is of {}, this is {}",
            baseline.toolchain, here.toolchain
        ))?;
    }
    say(&format!(
        "{:<22}{:>14}{:>14}",
        "instructions each", "baseline", "now"
    ))?;
    let mut failed = false;
    for (name, now) in &here.instructions {
        let before = baseline.instructions.get(name).copied();
        let verdict = judge(before, *now);
        failed |= matches!(verdict, Verdict::Rose(_) | Verdict::Unknown);
        let before = before.map_or("none".to_owned(), |before| format!("{before:.1}"));
        say(&format!(
            "{name:<22}{before:>14}{now:>14.1}  {}",
            verdict.words()
        ))?;
    }
    if failed {
        say("bench-smoke failed; `make bench-smoke-baseline` accepts the new counts")?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn judge(before: Option<f64>, now: f64) -> Verdict {
    let Some(before) = before.filter(|before| *before > 0.0) else {
        return Verdict::Unknown;
    };
    let change = (now / before - 1.0) * 100.0;
    if change > RISE_PERCENT_MAX {
        Verdict::Rose(change)
    } else if change < -RISE_PERCENT_MAX {
        Verdict::Fell(-change)
    } else {
        Verdict::Kept
    }
}

impl Verdict {
    fn words(&self) -> String {
        match self {
            Self::Kept => "ok".to_owned(),
            Self::Rose(percent) => {
                format!("FAILED: {percent:.0} % more, allowed are {RISE_PERCENT_MAX:.0} %")
            }
            Self::Fell(percent) => {
                format!("ok, {percent:.0} % less: a new baseline would guard that")
            }
            Self::Unknown => "FAILED: not in the baseline".to_owned(),
        }
    }
}

// --- counting -------------------------------------------------------------------------------------

/// Instructions per iteration by the name of the case.
type Instructions = BTreeMap<String, f64>;

fn count_rust(root: &Path, counter: Counter) -> anyhow::Result<Instructions> {
    let program = build(root)?;
    let mut counts = Instructions::new();
    for (name, few, many) in RUST {
        let [low, high] = [few, many].map(|iterations| {
            let arguments: [OsString; 2] = [(*name).into(), iterations.to_string().into()];
            counter.count(&program, &arguments)
        });
        let each = per_iteration(low?, high?, many - few);
        counts.insert((*name).to_owned(), each);
    }
    Ok(counts)
}

fn count_python(root: &Path, counter: Counter, python: &Path) -> anyhow::Result<Instructions> {
    let script = root.join("bench/python/counted.py");
    let count = |name: &str, iterations: u64| {
        let arguments: [OsString; 3] = [
            script.clone().into(),
            name.into(),
            iterations.to_string().into(),
        ];
        counter.count(python, &arguments)
    };
    let (first, _) = PYTHON.first().context("no case")?;
    let start = count(first, 0)?;
    let mut counts = Instructions::new();
    for (name, iterations) in PYTHON {
        let each = per_iteration(start, count(name, *iterations)?, *iterations);
        counts.insert((*name).to_owned(), each);
    }
    Ok(counts)
}

/// Tenths are enough, and keep the file readable.
fn per_iteration(low: u64, high: u64, iterations: u64) -> f64 {
    let each = high.saturating_sub(low) as f64 / iterations as f64;
    (each * 10.0).round() / 10.0
}

/// Builds the counted program and returns its path.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--release"])
        .args(["-p", "broker-bench", "--no-default-features"])
        .args(["--bin", "broker-counted"])
        .current_dir(root)
        .status()
        .context("cannot run `cargo`")?;
    ensure!(built.success(), "`broker-counted` cannot be built");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    Ok(root.join(target).join("release/broker-counted"))
}

impl Counter {
    /// The first one that this machine has, or why there is none.
    fn find() -> Result<Self, String> {
        if Self::Valgrind.count("true".as_ref(), &[]).is_ok() {
            return Ok(Self::Valgrind);
        }
        match Self::Perf.count("true".as_ref(), &[]) {
            Ok(_) => Ok(Self::Perf),
            Err(_) => Err("neither valgrind nor perf counts instructions on this machine".into()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Valgrind => "valgrind",
            Self::Perf => "perf",
        }
    }

    /// Instructions of the program from its start to its end.
    fn count(self, program: &Path, arguments: &[OsString]) -> anyhow::Result<u64> {
        let mut command = match self {
            Self::Valgrind => {
                let mut command = Command::new("valgrind");
                command.args(["--tool=cachegrind", "--cache-sim=no"]);
                command.arg("--cachegrind-out-file=/dev/null");
                command
            }
            Self::Perf => {
                let mut command = Command::new("perf");
                command.args(["stat", "-x,", "-e", "instructions:u", "--"]);
                command
            }
        };
        // The order of Python's sets and dictionaries of strings must not vary.
        let output = command
            .arg(program)
            .args(arguments)
            .env("PYTHONHASHSEED", "0")
            .output()
            .with_context(|| format!("cannot run `{}`", self.name()))?;
        let talk = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "`{}` failed: {talk}",
            program.display()
        );
        let counted = match self {
            Self::Valgrind => parse_cachegrind(&talk),
            Self::Perf => parse_perf(&talk),
        };
        counted.with_context(|| format!("`{}` counted nothing: {talk}", self.name()))
    }
}

/// The line `==7== I   refs:      23,815,595`; newer versions write `I refs:`.
fn parse_cachegrind(talk: &str) -> Option<u64> {
    let line = talk.lines().find(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("I") && words.next() == Some("refs:")
    })?;
    line.split_whitespace()
        .last()?
        .replace(',', "")
        .parse()
        .ok()
}

/// The line `23815595,,instructions:u,...`.
fn parse_perf(talk: &str) -> Option<u64> {
    let line = talk.lines().find(|line| line.contains(",instructions"))?;
    line.split(',').next()?.parse().ok()
}

fn version_of(program: impl AsRef<OsStr>, flag: &str) -> anyhow::Result<String> {
    let program = program.as_ref();
    let Output { status, stdout, .. } = Command::new(program)
        .arg(flag)
        .output()
        .with_context(|| format!("cannot run `{}`", program.display()))?;
    ensure!(status.success(), "`{}` has no version", program.display());
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

/// Major and minor version: what the interpreter executes for a call changes with them.
fn python_version(python: &Path) -> anyhow::Result<String> {
    let version = version_of(python, "--version")?;
    let numbers = version.split_whitespace().last().unwrap_or_default();
    let mut numbers = numbers.split('.');
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => Ok(format!("{major}.{minor}")),
        _ => bail!("`{version}` is no version of Python"),
    }
}

// --- the file -------------------------------------------------------------------------------------

impl Counts {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: Value = serde_json::from_str(text)?;
        let text = |key: &str| {
            let value = file[key].as_str().map(Into::into);
            value.with_context(|| format!("`{key}` is missing"))
        };
        let instructions = file["instructions"].as_object();
        let instructions = instructions.context("`instructions` is missing")?;
        Ok(Self {
            number: file["number"].as_u64().context("`number` is missing")?,
            counter: text("counter")?,
            architecture: text("architecture")?,
            toolchain: text("toolchain")?,
            python: text("python")?,
            instructions: instructions
                .iter()
                .map(|(name, count)| Ok((name.clone(), count.as_f64().context("no number")?)))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    fn to_text(&self) -> String {
        let file = json!({
            "number": self.number,
            "counter": self.counter,
            "architecture": self.architecture,
            "toolchain": self.toolchain,
            "python": self.python,
            "instructions": self.instructions,
        });
        format!("{file:#}\n")
    }

    /// Why counts of `here` say nothing next to these.
    fn is_of_another_kind(&self, here: &Self) -> Option<String> {
        let differing = [
            ("counted by", &self.counter, &here.counter),
            ("of", &self.architecture, &here.architecture),
        ];
        let (how, theirs, ours) = differing.into_iter().find(|(_, a, b)| a != b)?;
        Some(format!("the baseline was {how} {theirs}, here is {ours}"))
    }
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(number: u64, instructions: &[(&str, f64)]) -> Counts {
        let instructions = instructions.iter();
        Counts {
            number,
            counter: "valgrind".into(),
            architecture: "x86_64".into(),
            toolchain: "rustc 1.90.0".into(),
            python: "3.11".into(),
            instructions: instructions.map(|(name, n)| ((*name).into(), *n)).collect(),
        }
    }

    #[test]
    fn a_rise_beyond_the_limit_fails() {
        assert_eq!(judge(Some(1000.0), 1099.0), Verdict::Kept);
        assert_eq!(judge(Some(1000.0), 905.0), Verdict::Kept);
        assert!(matches!(judge(Some(1000.0), 1101.0), Verdict::Rose(by) if by > 10.0));
        assert!(matches!(judge(Some(1000.0), 500.0), Verdict::Fell(by) if (by - 50.0).abs() < 0.1));
    }

    #[test]
    fn what_the_baseline_does_not_know_fails() {
        assert_eq!(judge(None, 1.0), Verdict::Unknown);
        assert_eq!(judge(Some(0.0), 1.0), Verdict::Unknown);
        let here = counts(2, &[("relay-small", 1.0)]);
        let failed = report(&counts(1, &[]), &here).unwrap();
        assert_eq!(failed, ExitCode::FAILURE);
    }

    #[test]
    fn one_case_that_rose_fails_all() {
        let baseline = counts(1, &[("encode-small", 40.0), ("relay-small", 1000.0)]);
        let here = |relay| counts(2, &[("encode-small", 41.0), ("relay-small", relay)]);
        assert_eq!(report(&baseline, &here(1090.0)).unwrap(), ExitCode::SUCCESS);
        assert_eq!(report(&baseline, &here(1150.0)).unwrap(), ExitCode::FAILURE);
    }

    #[test]
    fn counts_of_another_tool_or_machine_are_not_compared() {
        let baseline = counts(1, &[]);
        assert_eq!(baseline.is_of_another_kind(&counts(2, &[])), None);
        let mut here = counts(2, &[]);
        here.counter = "perf".into();
        let reason = baseline.is_of_another_kind(&here).unwrap();
        assert_eq!(reason, "the baseline was counted by valgrind, here is perf");
        let mut here = counts(2, &[]);
        here.architecture = "aarch64".into();
        assert!(baseline.is_of_another_kind(&here).is_some());
    }

    #[test]
    fn a_baseline_reads_back_as_it_was_written() {
        let written = counts(3, &[("encode-small", 40.5), ("relay-small", 1000.0)]);
        assert_eq!(Counts::parse(&written.to_text()).unwrap(), written);
        assert!(Counts::parse("{}").is_err());
    }

    #[test]
    fn a_baseline_must_be_announced_by_its_own_number() {
        let baseline = counts(3, &[]);
        assert!(unannounced(&baseline, "- Instruction baselines.").is_some());
        assert!(unannounced(&baseline, "- It is faster (instruction baseline 31).").is_some());
        assert!(unannounced(&baseline, "- It is faster (instruction baseline 3).").is_none());
    }

    #[test]
    fn the_counters_are_understood() {
        let talk = "==7== Cachegrind, a profiler\n==7== \n==7== I   refs:      23,815,595\n";
        assert_eq!(parse_cachegrind(talk), Some(23_815_595));
        assert_eq!(parse_cachegrind("==7== I refs: 1,000"), Some(1000));
        assert_eq!(parse_cachegrind("==7== no counts"), None);
        assert_eq!(parse_perf("4711,,instructions:u,1,100.00,,\n"), Some(4711));
        assert_eq!(parse_perf("<not supported>,,instructions:u,0,,,"), None);
    }
}
