//! Runs seeds: `broker-sim [--seeds n] [--from n] | --seed n [--trace]`.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

/// Seeds that are run when nothing else is said.
const SEEDS: u64 = 10_000;

/// After so many failures the rest would tell nothing new.
const FAILURES_MAX: usize = 5;

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let (mut from, mut seeds, mut one, mut traced) = (0, SEEDS, None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok());
        let understood = match argument.as_str() {
            "--seeds" => number().map(|count| seeds = count),
            "--from" => number().map(|first| from = first),
            "--seed" => number().map(|seed| one = Some(seed)),
            "--trace" => {
                traced = true;
                Some(())
            }
            _ => None,
        };
        if understood.is_none() {
            writeln!(
                io::stderr(),
                "usage: broker-sim [--seeds n] [--from n] | --seed n [--trace]"
            )?;
            return Ok(ExitCode::from(2));
        }
    }
    if let Some(seed) = one {
        let marks = broker_sim::run(seed, traced);
        write!(out, "{marks}")?;
        return Ok(ExitCode::SUCCESS);
    }

    let (marks, failed) = broker_sim::run_all(from..from + seeds, FAILURES_MAX);
    write!(out, "{marks}")?;
    for seed in &failed {
        writeln!(
            out,
            "seed {seed} failed: {}",
            broker_sim::replay_command(*seed)
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
