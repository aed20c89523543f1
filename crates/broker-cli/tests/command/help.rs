//! Help texts, as they were looked at once.

use crate::process::{Ended, Running, command};

const COMMANDS: [&str; 24] = [
    "sub",
    "pub",
    "req",
    "logs",
    "store",
    "zeek",
    "intel",
    "record",
    "replay",
    "ping",
    "doctor",
    "bench",
    "status",
    "top",
    "node",
    "bridge",
    "policy",
    "nats",
    "tls",
    "value",
    "context",
    "completion",
    "man",
    "version",
];

/// Runs the command as on a terminal of 80 columns.
fn run(arguments: &[&str]) -> Ended {
    Running::start(command(arguments).env("COLUMNS", "80")).end()
}

#[test]
fn short_help_fits_a_screen() {
    for command in std::iter::once("").chain(COMMANDS) {
        let arguments = [command, "-h"];
        let arguments = arguments.iter().filter(|it| !it.is_empty());
        let out = run(&arguments.copied().collect::<Vec<_>>()).expect(0).out;
        assert!(
            out.lines().count() <= 24,
            "{command}: {}\n{out}",
            out.lines().count()
        );
        for line in out.lines() {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
        let name = if command.is_empty() {
            "broker"
        } else {
            command
        };
        insta::assert_snapshot!(format!("{name}-short"), out);
    }
}

#[test]
fn long_help_has_everything() {
    for command in COMMANDS {
        let out = run(&[command, "--help"]).expect(0).out;
        for line in out.lines() {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
        insta::assert_snapshot!(format!("{command}-long"), out);
    }
}
