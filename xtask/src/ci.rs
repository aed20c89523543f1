//! The check that guards the main branch: Makefile targets one after the other, each timed, while
//! what later ones need is built beside those that mostly wait.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context;

/// What runs, in this order: the quick ones that fail most often come first, then what shares
/// build output with its predecessor. Each is a target of the Makefile.
const STEPS: &[(&str, &str)] = &[
    ("fmt-check", "formatting"),
    ("tidy", "dependency direction, source rules, documents"),
    ("lint", "clippy over all targets and feature sets"),
    ("doc", "documentation without warnings"),
    ("test-rust", "Rust tests, doc tests, feature sets"),
    (
        "test-python",
        "Python tests on the wheel of this interpreter",
    ),
    ("test-abi3", "Python tests on the abi3 wheel"),
    (
        "abi3-others",
        "the abi3 wheel in the other CPythons of the machine",
    ),
    ("stubs", "type stubs against the module"),
    ("docs", "the site of the documentation, links included"),
    (
        "sim",
        "10,000 simulated clusters of data stores, as many schedules of policies, 20,000 of replicas",
    ),
    ("demo", "the demonstration"),
    ("smoke", "the wheel in an empty environment"),
    (
        "bench-smoke",
        "instruction counts of the hot path against their baseline",
    ),
    ("fuzz", "coverage-guided fuzzing on the kept corpora"),
];

/// What is made in the background: from the start of which step on, which target, and which step
/// has to wait for it. Tests wait for something most of the time, and a linter that looks at one crate
/// after another keeps one processor busy; compilers of other profiles fill the gaps, each in a folder
/// of its own. What is its own step, such as simulations, which ask for no clock, is over with its wait.
const AHEAD: &[(&str, &str, &str)] = &[
    ("lint", "fuzz-build", "fuzz"),
    ("doc", "wheel-cpython", "test-python"),
    ("test-rust", "sim-build", "sim"),
    ("test-python", "wheel-abi3", "test-abi3"),
    ("test-python", "docs-tools", "docs"),
    ("test-abi3", "sdist", "docs"),
    ("test-abi3", "sim", "sim"),
];

/// Where fuzzing begins, unless the environment says otherwise: a change must not fail for what was
/// there before it and is found by chance. `make fuzz` looks elsewhere each time.
const FUZZ_SEED: &str = "1";

/// Worlds of replicas: as many as take less than a minute. `make sim` runs more by itself.
const SIM_REPLICA_SEEDS: &str = "20000";

/// Runs every step until one fails; ends with a table of durations.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut finished: Vec<(&str, Duration)> = Vec::new();
    let mut failed = None;
    let mut ahead: Vec<Ahead> = Vec::new();
    let fuzz_seed = std::env::var_os("FUZZ_SEED").unwrap_or_else(|| FUZZ_SEED.into());
    for (number, (target, what)) in (1..).zip(STEPS) {
        say(&format!("== {number}/{} {target}: {what}", STEPS.len()))?;
        let begun = Instant::now();
        for (first, built, awaited_by) in AHEAD.iter().filter(|(first, ..)| first == target) {
            say(&format!("== {built} begins beside {first}"))?;
            ahead.push(Ahead::begin(root, built, awaited_by, &fuzz_seed)?);
        }
        let (mut ok, mut is_done) = (true, false);
        while ok && let Some(found) = ahead.iter().position(|one| one.awaited_by == *target) {
            let one = ahead.remove(found);
            is_done |= one.target == *target;
            ok = one.finish()?;
        }
        ok = ok
            && (is_done
                || make(root, Command::new("make"), target, &fuzz_seed)
                    .status()
                    .context("cannot run `make`")?
                    .success());
        let took = begun.elapsed();
        finished.push((target, took));
        if !ok {
            say(&format!("== {target} FAILED after {}", clock(took)))?;
            failed = Some(*target);
            break;
        }
        say(&format!("== {target} ok in {}", clock(took)))?;
    }
    for one in ahead {
        one.stop()?;
    }

    for (target, took) in &finished {
        say(&format!("{target:>12}  {}", clock(*took)))?;
    }
    say(&format!("{:>12}  {}", "total", clock(started.elapsed())))?;
    Ok(match failed {
        None => ExitCode::SUCCESS,
        Some(target) => {
            say(&format!("ci failed at `make {target}`"))?;
            ExitCode::FAILURE
        }
    })
}

/// Has a command that ends in `make` make a target, with what CI says of amounts and seeds.
fn make(root: &Path, mut command: Command, target: &str, fuzz_seed: &OsStr) -> Command {
    command
        .args(["--no-print-directory", target])
        .env("FUZZ_SEED", fuzz_seed)
        .env("SIM_REPLICA_SEEDS", SIM_REPLICA_SEEDS)
        .current_dir(root);
    command
}

/// A target that is made while another step runs.
struct Ahead {
    target: &'static str,
    awaited_by: &'static str,
    process: Child,
    /// What it prints, kept out of the output of the step beside it.
    log: std::path::PathBuf,
}

impl Ahead {
    fn begin(
        root: &Path,
        target: &'static str,
        awaited_by: &'static str,
        fuzz_seed: &OsStr,
    ) -> anyhow::Result<Self> {
        let folder = root.join("target");
        std::fs::create_dir_all(&folder).context("cannot make `target`")?;
        let log = folder.join(format!("ci-{target}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        let mut nice = Command::new("nice");
        nice.args(["-n", "10", "make"]);
        let process = make(root, nice, target, fuzz_seed)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot run `nice make`")?;
        Ok(Self {
            target,
            awaited_by,
            process,
            log,
        })
    }

    /// Waits for its end and prints what it printed; whether it succeeded.
    fn finish(mut self) -> anyhow::Result<bool> {
        let status = self.process.wait()?;
        say(&format!("== {} ended: {status}", self.target))?;
        io::stdout().lock().write_all(&std::fs::read(&self.log)?)?;
        Ok(status.success())
    }

    /// Ends it: `make` ends what it started when it is told to.
    fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill")
            .arg(self.process.id().to_string())
            .status()?;
        self.process.wait()?;
        Ok(())
    }
}

/// Prints a line on stdout at once, so that it stands before the output of the step.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{:>2}m{:02}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_a_target_of_the_makefile() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
        for (target, _) in STEPS {
            let rule = format!("\n{target}:");
            assert!(makefile.contains(&rule), "no target `{target}`");
        }
        for (first, built, awaited_by) in AHEAD {
            assert!(
                makefile.contains(&format!("\n{built}:")),
                "no target `{built}`"
            );
            let place = |step: &str| STEPS.iter().position(|(target, _)| *target == step);
            assert!(place(first).unwrap() < place(awaited_by).unwrap());
            // What is a step is not made by it once more.
            assert!(place(built).is_none_or(|_| built == awaited_by));
        }
    }

    #[test]
    fn durations_read_as_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_secs(725)), "12m05s");
        assert_eq!(clock(Duration::from_millis(900)), " 0m00s");
    }
}
