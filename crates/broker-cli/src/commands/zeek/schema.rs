//! `broker zeek schema`: the events that scripts declare, as a schema for policies.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use broker::data::json::put_string;
use clap::Args;

use super::scripts::Scripts;
use crate::console::Console;
use crate::outcome::{Exit, Failure, Outcome};

/// One script: more than Zeek has, and no file that only looks like one.
const SCRIPT_BYTES_MAX: u64 = 16 << 20;

/// Directories inside of one another.
const DEPTH_MAX: usize = 64;

/// Print the events that scripts declare, as a schema for policies
///
/// Read is what stands in `global NAME: event(...)`; no Zeek is asked. Records that have a name allow any
/// fields, as every script can add some, and what no script declares is `any`, and told.
#[derive(Debug, Clone, Args)]
pub(super) struct SchemaArguments {
    /// Scripts, or directories with *.zeek in them; - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only this event, or with * at the end those that begin so (repeatable)
    #[arg(long = "event", value_name = "NAME")]
    events: Vec<String>,
    /// Write the fields of records, too: all scripts that add some have to be among the paths
    #[arg(long)]
    fields: bool,
}

impl SchemaArguments {
    pub(super) fn run(&self, console: &mut Console) -> Outcome {
        let mut scripts = Scripts::default();
        for path in &self.paths {
            if path.as_os_str() == "-" {
                let mut bytes = Vec::new();
                let mut input = console
                    .take_input()
                    .take(SCRIPT_BYTES_MAX.saturating_add(1));
                let read = input.read_to_end(&mut bytes);
                read.map_err(|error| {
                    Failure::failed(format!("cannot read standard input: {error}"))
                })?;
                add(&mut scripts, path, &bytes)?;
            } else {
                read(&mut scripts, path, 0)?;
            }
        }
        let (declarations, unknown) =
            scripts.declarations(self.fields, |event| self.is_meant(event));
        if declarations.is_empty() {
            let what = "no such event is declared there";
            return Err(Failure::failed(what).hint("read is `global NAME: event(...)`"));
        }
        for it in &declarations {
            if it.is_open {
                console.warn(format_args!(
                    "`{}` is declared in several ways, or with more than a schema takes: any arguments are \
                     allowed",
                    it.event
                ));
            }
            if console.is_json() {
                let mut line = String::from("{\"type\":\"declaration\",\"event\":");
                put_string(&mut line, &it.event);
                line.push_str(",\"text\":");
                put_string(&mut line, &it.text);
                line.push('}');
                console.line(line)?;
            } else {
                console.line(&it.text)?;
            }
        }
        if !unknown.is_empty() {
            console.warn(format_args!(
                "{} declared in none of the scripts, and `any` in the schema",
                listed(&unknown)
            ));
        }
        Ok(Exit::Done)
    }

    fn is_meant(&self, event: &str) -> bool {
        let fits = |wanted: &String| match wanted.strip_suffix('*') {
            Some(start) => event.starts_with(start),
            None => event == wanted,
        };
        self.events.is_empty() || self.events.iter().any(fits)
    }
}

/// Names with the verb that they need.
fn listed(names: &BTreeSet<String>) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", quoted.join(", "))
}

/// Reads a script, or all of a directory in the order of their names. Links to directories are followed
/// where they are given only.
fn read(scripts: &mut Scripts, path: &Path, depth: usize) -> Result<(), Failure> {
    let fails = |error: std::io::Error| {
        Failure::usage(format!("cannot read `{}`: {error}", path.display()))
    };
    let metadata = std::fs::metadata(path).map_err(fails)?;
    if !metadata.is_dir() {
        if metadata.len() > SCRIPT_BYTES_MAX {
            return Err(too_large(path));
        }
        return add(scripts, path, &std::fs::read(path).map_err(fails)?);
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fails)? {
        let entry = entry.map_err(fails)?;
        let is_directory = entry.file_type().map_err(fails)?.is_dir();
        let path = entry.path();
        let is_script = path.extension().is_some_and(|it| it == "zeek");
        if is_directory && depth < DEPTH_MAX || !is_directory && is_script && path.is_file() {
            entries.push(path);
        }
    }
    entries.sort();
    let mut inner = entries.iter();
    inner.try_for_each(|path| read(scripts, path, depth.saturating_add(1)))
}

fn add(scripts: &mut Scripts, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if u64::try_from(bytes.len()).is_ok_and(|size| size > SCRIPT_BYTES_MAX) {
        return Err(too_large(path));
    }
    scripts.read(&String::from_utf8_lossy(bytes));
    Ok(())
}

fn too_large(path: &Path) -> Failure {
    let limit = SCRIPT_BYTES_MAX >> 20;
    Failure::failed(format!(
        "{}: no script has more than {limit} MiB",
        path.display()
    ))
}
