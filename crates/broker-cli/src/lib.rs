//! The `broker` command: what it understands, what it does, what it prints.
//!
//! [`run`] is the whole of it; the binary and the Python package call it with the streams of their
//! process. Everything that speaks to peers is in `broker`; this crate parses and prints.
//!
//! ```
//! let mut console = broker_cli::Console::new(std::io::empty(), std::io::sink(), std::io::sink());
//! assert_eq!(broker_cli::run(["broker", "value", "5c"], &mut console), 0);
//! assert_eq!(broker_cli::run(["broker", "valeu", "5c"], &mut console), 2);
//! ```
//!
//! # Map
//!
//! | module | what it is |
//! |---|---|
//! | `commands` | one file per command: its options, what it does; what only one needs is in a folder of its name |
//! | `arguments`, `overview` | the command line as a whole; options that several commands have; the shortest help |
//! | `compatibility` | `broker-node`, `broker-pipe`, `broker-throughput` |
//! | [`literal`] | values as text, read and written |
//! | `condition`, `template`, `path`, `pattern` | `--where`, `--format`, and what they have in common |
//! | `incoming` | a message that came, as a line and as JSON |
//! | `target`, `contexts` | where to: URLs, TLS, the file of contexts |
//! | `session` | an endpoint with its peers: connect, lose, connect again, leave |
//! | `console`, `outcome`, `interrupt` | streams, exit codes, signals |
//! | `http_client`, `node_status` | asking a node over HTTP; what it tells |
//! | `duration`, `nearest` | `10s`; what a mistyped name may have meant |
//! | `harmless` | texts of strangers, for terminals |
//!
//! Everything but `session`, `http_client` and `commands` is free of sockets and clocks.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod compatibility;
mod condition;
mod console;
mod contexts;
mod duration;
mod harmless;
mod http_client;
mod incoming;
mod interrupt;
pub mod literal;
mod nearest;
mod node_status;
mod outcome;
mod overview;
mod path;
mod pattern;
mod session;
mod target;
mod template;

use std::ffi::OsString;

pub use commands::doctor::{Diagnosis, diagnose};
pub use console::Console;

/// Runs the command with its arguments, the name of the program first, and returns the exit code.
/// Under the names of the original's tools (`broker-node`, `broker-pipe`, `broker-throughput`) it
/// does what those do.
///
/// It takes over SIGINT and SIGTERM while something is under way; a second one of them ends the
/// process at once.
pub fn run<I, T>(arguments: I, console: &mut Console) -> i32
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    if let Some(tool) = compatibility::Tool::named(arguments.first()) {
        return tool.run(&arguments, console);
    }
    let exit = match arguments::parse(arguments) {
        Err(error) => {
            let exit = console.show_usage(&error);
            console.finish(Ok(exit))
        }
        Ok(arguments) => {
            console.set_up(arguments.global.color, arguments.global.json);
            let outcome = commands::run(arguments, console);
            console.finish(outcome)
        }
    };
    exit as i32
}
