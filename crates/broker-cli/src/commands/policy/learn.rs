//! `broker policy learn`: the smallest policy that allows what a record says was done.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use broker::policy::{
    AUDIT_NAME_BYTES_MAX, AUDIT_OTHERS, Content, Learned, Operation, Policy, PolicyFile, Prefixes,
    Request, Role, Unlearnable, decide,
};
use clap::Args;
use serde::Deserialize;

use crate::console::Console;
use crate::nearest::check_file;
use crate::outcome::{Exit, Failure, Outcome};

/// Bytes of a line of the record: several times what the longest has.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Lines that are named when they cannot be learned from; the others are counted.
const NAMED_MAX: usize = 8;

/// Print the smallest policy that allows what a record says was allowed
///
/// The record is that of a run with `permissive = true`, or with `audit.allowed = true`. What comes out is
/// roles and principals; tokens, certificates, limits and the record stay to be written.
#[derive(Debug, Args)]
pub(super) struct Learn {
    /// Files that `audit.file` named, the older ones as well; `-` for standard input
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Only of this principal (repeatable)
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principals: Vec<String>,
}

/// A line of the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Line {
    principal: String,
    action: String,
    resource: String,
    event: Option<String>,
    decision: String,
}

/// What was read.
#[derive(Default)]
struct Reading {
    learned: Learned,
    /// Bound: `broker::policy::REQUESTS_MAX`, as each is a request that was learned from.
    lines: BTreeSet<Line>,
    allowed: u64,
    denied: u64,
    /// Bound: [`NAMED_MAX`].
    named: Vec<String>,
    skipped: u64,
}

/// Why a line is not learned from.
enum Skipped {
    Line(String),
    Request(Unlearnable),
}

impl Learn {
    pub(super) fn run(&self, console: &mut Console) -> Outcome {
        let mut reading = Reading::default();
        for path in &self.records {
            if path.as_os_str() == "-" {
                let input = console.take_input();
                self.read("standard input", BufReader::new(input), &mut reading)?;
                continue;
            }
            check_file("the record", path)?;
            let unreadable = |error| unreadable(path, &error);
            let file = File::open(path).map_err(unreadable)?;
            let name = format!("`{}`", path.display());
            self.read(&name, BufReader::new(file), &mut reading)?;
        }
        for said in &reading.named {
            console.warn(said);
        }
        let more = reading.skipped.saturating_sub(reading.named.len() as u64);
        if more > 0 {
            console.warn(format_args!("{more} more lines cannot be learned from"));
        }
        if reading.allowed == 0 {
            return Err(
                Failure::failed("nothing was allowed in the record".to_owned())
                    .hint("a policy with `permissive = true` and `audit.file` makes one"),
            );
        }
        let policy = reading.learned.policy();
        let policy = policy.map_err(|error| Failure::failed(error.to_string()))?;
        let text = text(&policy);
        check(&text, &reading.lines)?;
        for warning in wide(&policy) {
            console.warn(warning);
        }
        console.buffer().extend_from_slice(text.as_bytes());
        console.say(format_args!(
            "lines of what was allowed {}, of what was denied {} (not learned from)",
            reading.allowed, reading.denied
        ));
        Ok(Exit::Done)
    }

    /// Learns from a record, line by line. Lines that make no sense are told and left out: the last may
    /// have been cut when a disk was full.
    fn read(
        &self,
        name: &str,
        mut record: impl BufRead,
        reading: &mut Reading,
    ) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for number in 1_u64.. {
            bytes.clear();
            let mut line = record.by_ref().take(LINE_BYTES_MAX);
            let read = line.read_until(b'\n', &mut bytes);
            let read = read.map_err(|error| unreadable(Path::new(name), &error))?;
            if read == 0 {
                return Ok(());
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            if let Err(skipped) = self.learn(&bytes, reading) {
                let cause = match skipped {
                    Skipped::Line(cause) => cause,
                    Skipped::Request(Unlearnable::TooMany) => {
                        let cause = Unlearnable::TooMany;
                        return Err(Failure::failed(format!("{name}, line {number}: {cause}")));
                    }
                    Skipped::Request(cause) => cause.to_string(),
                };
                reading.skipped += 1;
                if reading.named.len() < NAMED_MAX {
                    reading
                        .named
                        .push(format!("{name}, line {number}: {cause}"));
                }
            }
        }
        Ok(())
    }

    fn learn(&self, bytes: &[u8], reading: &mut Reading) -> Result<(), Skipped> {
        let skipped = |cause: &str| Err(Skipped::Line(cause.to_owned()));
        let line: Line = serde_json::from_slice(bytes)
            .map_err(|error| Skipped::Line(format!("no line of a record of decisions: {error}")))?;
        let is_wanted = self.principals.is_empty() || self.principals.contains(&line.principal);
        if !is_wanted {
            return Ok(());
        }
        match line.decision.as_str() {
            "allow" => reading.allowed += 1,
            "deny" => {
                reading.denied += 1;
                return Ok(());
            }
            _ => return skipped("the decision is neither allow nor deny"),
        }
        if line.resource == AUDIT_OTHERS {
            return skipped("there was too much at a time to tell what it was");
        }
        let names = [Some(&line.resource), line.event.as_ref()];
        for name in names.into_iter().flatten() {
            if name.len() >= AUDIT_NAME_BYTES_MAX {
                return skipped("a name that is so long that the record may have cut it");
            }
            if name.contains(char::REPLACEMENT_CHARACTER) {
                return skipped("a name that is not UTF-8, which a policy cannot have");
            }
        }
        let learned = match line.request() {
            Some(request) => reading.learned.observe(&line.principal, &request),
            None if line.action == "connect" => reading.learned.add_principal(&line.principal),
            None => {
                let action = line.action.escape_debug();
                return skipped(&format!("unknown action `{action}`"));
            }
        };
        learned.map_err(Skipped::Request)?;
        reading.lines.insert(line);
        Ok(())
    }
}

impl Line {
    fn request(&self) -> Option<Request<'_>> {
        let resource = self.resource.as_bytes();
        Some(match self.action.as_str() {
            "publish" => Request::Publish {
                topic: resource,
                content: match &self.event {
                    Some(event) => Content::Event(event.as_bytes()),
                    None => Content::Other,
                },
            },
            "subscribe" => Request::Subscribe { topic: resource },
            "http" => Request::Http { path: resource },
            action => Request::Store {
                name: resource,
                operation: Operation::parse(action)?,
            },
        })
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "cannot read the record `{}`: {error}",
        path.display()
    ))
}

/// Reads the policy again and asks it about each line, so that what is printed is what was meant.
fn check(text: &str, lines: &BTreeSet<Line>) -> Result<(), Failure> {
    let policy = PolicyFile::parse(text, "the policy that was learned")?.policy;
    for line in lines {
        let denied = line
            .request()
            .is_some_and(|request| !decide(&policy, &line.principal, &request).is_allowed());
        if denied {
            return Err(Failure::failed(format!(
                "the policy that was learned does not allow `{}` to {} `{}`",
                line.principal, line.action, line.resource
            )));
        }
    }
    Ok(())
}

/// What few want to have allowed.
fn wide(policy: &Policy) -> Vec<String> {
    let mut wide = Vec::new();
    for (name, role) in policy.roles() {
        for (key, prefixes) in [
            ("publish", &role.allow.publish),
            ("subscribe", &role.allow.subscribe),
        ] {
            if prefixes.find(b"").is_some() {
                wide.push(format!("the role `{name}` has all topics: {key} = [\"\"]"));
            }
        }
    }
    wide
}

/// A policy as a file.
fn text(policy: &Policy) -> String {
    let mut text = String::from(
        "# Learned from a record: what was done, and no more. Topics are beginnings.\n",
    );
    for (name, role) in policy.roles() {
        text.push_str(&format!("\n[roles.{}]\n", quoted(name)));
        put_role(&mut text, role);
    }
    for name in policy.principals() {
        let roles: Vec<_> = policy.roles_of(name).map(quoted).collect();
        text.push_str(&format!("\n[principals.{}]\n", quoted(name)));
        text.push_str(&format!("roles = [{}]\n", roles.join(", ")));
    }
    text
}

fn put_role(text: &mut String, role: &Role) {
    let rules = &role.allow;
    let mut put = |key: &str, values: Vec<String>| {
        // A line for each where they would not fit on one.
        let line = format!("{key} = [{}]\n", values.join(", "));
        if line.len() <= 80 {
            text.push_str(&line);
        } else {
            text.push_str(&format!("{key} = [\n    {},\n]\n", values.join(",\n    ")));
        }
    };
    let quoted_all = |prefixes: &Prefixes| -> Vec<String> {
        let prefixes = prefixes.iter().map(String::from_utf8_lossy);
        prefixes.map(|it| quoted(&it)).collect()
    };
    for (key, prefixes) in [("publish", &rules.publish), ("subscribe", &rules.subscribe)] {
        if !prefixes.is_empty() {
            put(key, quoted_all(prefixes));
        }
    }
    if let Some(events) = &rules.events_publish {
        let events = events.iter().map(|it| quoted(&it.to_string()));
        put("events.publish", events.collect());
    }
    if !rules.http.is_empty() {
        put("http", quoted_all(&rules.http));
    }
    for (name, operation) in &rules.stores {
        let name = quoted(&name.to_string());
        text.push_str(&format!("stores.{name} = {}\n", quoted(operation.name())));
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            character if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_policy_that_is_learned_can_be_read_again(
            asked in proptest::collection::vec((".{1,8}", ".{0,8}", 0..6_usize), 0..8),
        ) {
            let mut learned = Learned::default();
            let mut lines = BTreeSet::new();
            for (principal, resource, action) in asked {
                let action = ["publish", "subscribe", "http", "read", "write", "clear"][action];
                let line = Line {
                    principal,
                    action: action.to_owned(),
                    event: (action == "publish").then(|| format!("N::{resource}")),
                    resource,
                    decision: "allow".to_owned(),
                };
                let is_name = !line.principal.contains(char::is_control);
                let request = line.request().expect("an action that is known");
                if is_name && learned.observe(&line.principal, &request).is_ok() {
                    lines.insert(line);
                }
            }
            let text = text(&learned.policy().expect("names are names"));
            let checked = check(&text, &lines);
            prop_assert!(checked.is_ok(), "{text}");
        }
    }
}
