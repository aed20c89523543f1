//! What `broker -h` shows: all commands on one screen, by what they are for.
//!
//! `broker --help` is clap's own list, which has a line per command and is longer than a screen.

use std::ffi::OsString;

/// Groups, commands that belong together, what they are for.
const ROWS: [(&str, &[&str], &str); 15] = [
    (
        "Messages",
        &["sub", "pub", "req"],
        "print, publish, ask and wait for the answer",
    ),
    (
        "",
        &["record", "replay"],
        "keep messages in a file, send them again",
    ),
    ("Zeek", &["logs"], "its logs, as lines, tables or files"),
    ("", &["zeek"], "ask its processes: globals, peers, shutdown"),
    (
        "",
        &["intel"],
        "tell it what to look for, see what it finds",
    ),
    ("Stores", &["store"], "look into them and change them"),
    (
        "Trouble",
        &["doctor"],
        "find out why messages do not arrive",
    ),
    ("", &["ping"], "who is there, how fast it answers"),
    ("", &["top", "status"], "how an endpoint is, live and once"),
    (
        "Running",
        &["node", "bridge"],
        "an endpoint that stays, and joins peers",
    ),
    (
        "",
        &["tls", "policy"],
        "certificates for it; who may do what",
    ),
    ("", &["nats"], "streams on servers of NATS"),
    ("", &["bench"], "how much goes from one end to the other"),
    (
        "Helpers",
        &["context", "value"],
        "places under names; what a text means",
    ),
    (
        "",
        &["completion", "man", "version"],
        "for shells and pages; what this is",
    ),
];

/// Columns in front of what a row is for.
const NAMES_WIDTH: usize = 24;

/// Whether the command line asks for nothing but the overview.
pub(crate) fn is_wanted(arguments: &[OsString]) -> bool {
    matches!(arguments, [_, only] if only == "-h")
}

/// The text, with the commands that there are.
pub(crate) fn text(command: &clap::Command) -> String {
    let known: Vec<&str> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    let mut text = format!(
        "{}\n\nUsage: broker [OPTIONS] COMMAND ...\n\n",
        command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default()
    );
    let mut pending = "";
    for (group, names, purpose) in ROWS {
        if !group.is_empty() {
            pending = group;
        }
        let names: Vec<_> = names
            .iter()
            .copied()
            .filter(|name| known.contains(name))
            .collect();
        if !names.is_empty() {
            let names = names.join(", ");
            text.push_str(&format!("  {pending:<9} {names:<NAMES_WIDTH$} {purpose}\n"));
            pending = "";
        }
    }
    let listed = |name: &&str| ROWS.iter().any(|(_, names, _)| names.contains(name));
    let others: Vec<_> = known.iter().copied().filter(|name| !listed(name)).collect();
    if !others.is_empty() {
        text.push_str(&format!("  {:<9} {}\n", "Also", others.join(", ")));
    }
    text.push_str(
        "\n  -c, --context NAME    named place to connect to\n      --json            print JSON, \
         one object per line\n      --color WHEN      auto, always or never\n  COMMAND -h for its \
         options, --help for everything, with examples\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_there_once_and_in_a_group() {
        let command = crate::arguments::command();
        let text = text(&command);
        assert!(!text.contains("Also"), "{text}");
        for name in command.get_subcommands().map(clap::Command::get_name) {
            let rows = ROWS.iter().filter(|(_, names, _)| names.contains(&name));
            assert_eq!(rows.count(), 1, "{name}");
        }
    }
}
