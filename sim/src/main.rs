//! Runs seeds: `broker-sim [--gateway | --replicas] [--seeds n] [--from n] [--threads n]`, or one of them
//! with `--seed n [--trace]`. With `--history FILE` it checks what clients of real servers recorded.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use broker_sim::Kind;

/// Seeds that are run when nothing else is said.
const SEEDS: u64 = 10_000;

/// After so many failures the rest would tell nothing new.
const FAILURES_MAX: usize = 5;

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let (mut from, mut seeds, mut one, mut traced) = (0, SEEDS, None, false);
    let mut is_gateway = false;
    let (mut kind, mut threads) = (Kind::Stores, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok());
        let understood = match argument.as_str() {
            "--seeds" => number().map(|count| seeds = count),
            "--from" => number().map(|first| from = first),
            "--seed" => number().map(|seed| one = Some(seed)),
            "--gateway" => {
                is_gateway = true;
                Some(())
            }
            "--threads" => number().map(|count| threads = count),
            "--replicas" => {
                kind = Kind::Replicas;
                Some(())
            }
            "--history" => return history(&mut out, arguments.next().as_deref()),
            "--trace" => {
                traced = true;
                Some(())
            }
            _ => None,
        };
        if understood.is_none() {
            writeln!(
                io::stderr(),
                "usage: broker-sim [--gateway | --replicas] [--seeds n] [--from n] [--threads n] | [--gateway | --replicas] --seed n [--trace] | --history FILE"
            )?;
            return Ok(ExitCode::from(2));
        }
    }
    if is_gateway {
        return gateway(&mut out, from, seeds, one, traced);
    }
    if let Some(seed) = one {
        let marks = broker_sim::run(kind, seed, traced);
        write!(out, "{marks}")?;
        return Ok(ExitCode::SUCCESS);
    }

    let (marks, failed) = broker_sim::run_all(kind, from..from + seeds, FAILURES_MAX, threads);
    write!(out, "{marks}")?;
    for seed in &failed {
        writeln!(
            out,
            "seed {seed} failed: {}",
            broker_sim::replay_command(kind, *seed)
        )?;
    }
    let missing = marks.missing();
    if !missing.is_empty() {
        writeln!(out, "never happened: {}", missing.join(", "))?;
    }
    writeln!(out, "{seeds} seeds from {from}, {} failed", failed.len())?;
    Ok(if failed.is_empty() && missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Checks a recorded history.
fn history(out: &mut impl Write, path: Option<&str>) -> io::Result<ExitCode> {
    let text = std::fs::read_to_string(path.unwrap_or_default())?;
    let report = broker_sim::history::check(&text).map_err(io::Error::other)?;
    for (key, why) in &report.violations {
        writeln!(out, "key {key}: {why}")?;
    }
    writeln!(
        out,
        "{} calls of {} keys, {} of them without a result, {} keys wrong",
        report.calls,
        report.keys,
        report.open,
        report.violations.len()
    )?;
    Ok(if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs schedules of endpoints with policies.
fn gateway(
    out: &mut impl Write,
    from: u64,
    seeds: u64,
    one: Option<u64>,
    traced: bool,
) -> io::Result<ExitCode> {
    if let Some(seed) = one {
        broker_sim::gateway::run(seed, traced);
        return Ok(ExitCode::SUCCESS);
    }
    let failed = broker_sim::gateway::run_all(from..from + seeds, FAILURES_MAX);
    for seed in &failed {
        let command = broker_sim::gateway::replay_command(*seed);
        writeln!(out, "schedule {seed} failed: {command}")?;
    }
    writeln!(
        out,
        "{seeds} schedules of policies from {from}, {} failed",
        failed.len()
    )?;
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
