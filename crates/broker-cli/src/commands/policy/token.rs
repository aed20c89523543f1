//! `broker policy token`: secrets of clients, of which a policy keeps a digest.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use broker::Timestamp;
use broker::data::json::{Form, put_string, put_timestamp};
use broker::policy::{PolicyFile, SECRET_BYTES, Secret};
use clap::{Args, Subcommand};

use super::read;
use crate::console::Console;
use crate::nearest::read_file;
use crate::outcome::{Exit, Failure, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum TokenAction {
    Add(Add),
    /// List the tokens of a policy: whose they are, when they end
    List {
        /// The policy
        file: PathBuf,
    },
}

/// Make a token, print its secret once, and add its digest to a policy
///
/// The secret is the only thing on standard output. It has 256 random bits and is kept nowhere: whoever
/// loses it makes a new one and removes the old from the file.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Name of the token
    name: String,
    /// The policy
    file: PathBuf,
    /// Principal that it is for
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "roles",
        conflicts_with = "roles"
    )]
    principal: Option<String>,
    /// Role of a principal that is called like the token (repeatable)
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// How long it is good for; for ever by default
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
}

impl TokenAction {
    pub(super) fn run(self, console: &mut Console) -> Outcome {
        match self {
            Self::Add(add) => add.run(console),
            Self::List { file } => list(&file, console),
        }
    }
}

impl Add {
    fn run(&self, console: &mut Console) -> Outcome {
        let text = read_file("the policy", &self.file)?;
        // What is wrong already is not this token's fault.
        let policy = PolicyFile::parse(&text, &self.file)?.policy;
        if policy.tokens().any(|(name, _)| name == self.name) {
            let what = format!("there is a token `{}` already", self.name);
            return Err(Failure::usage(what).hint("take another name, or remove its table first"));
        }
        let mut random = [0; SECRET_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::failed(format!("no random numbers: {error}")))?;
        let secret = Secret::from_random(random);
        let longer = format!("{text}{}{}", separator(&text), self.entry(&secret)?);
        PolicyFile::parse(&longer, &self.file)?;
        replace(&self.file, &longer)?;
        if console.is_json() {
            let mut line = String::from("{\"type\":\"token\",\"name\":");
            put_string(&mut line, &self.name);
            line.push_str(",\"secret\":");
            put_string(&mut line, secret.reveal());
            line.push('}');
            console.line(line)?;
        } else {
            console.line(secret.reveal())?;
            console.say(format_args!(
                "added `{}` to `{}`; this is the only time that its secret is shown",
                self.name,
                self.file.display()
            ));
        }
        Ok(Exit::Done)
    }

    /// The table of the token.
    fn entry(&self, secret: &Secret) -> Result<String, Failure> {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut entry = format!(
            "[tokens.{}]\nsha256 = \"{}\"\n",
            quoted_key(&self.name),
            secret.digest()
        );
        if let Some(principal) = &self.principal {
            entry.push_str(&format!("principal = {}\n", quoted(principal)));
        } else {
            let roles: Vec<_> = self.roles.iter().map(|role| quoted(role)).collect();
            entry.push_str(&format!("roles = [{}]\n", roles.join(", ")));
        }
        if let Some(days) = self.days {
            let end = SystemTime::now() + Duration::from_secs(u64::from(days) * 24 * 3600);
            let end = Timestamp::try_from(end)
                .map_err(|_| Failure::usage("the token would end after the year 2262"))?;
            let mut text = String::new();
            put_timestamp(&mut text, end, Form::Compatible);
            entry.push_str(&format!("expires = {text}Z\n"));
        }
        Ok(entry)
    }
}

/// A key in quotes, with TOML's escapes.
fn quoted_key(name: &str) -> String {
    let mut quoted = String::new();
    put_string(&mut quoted, name);
    quoted
}

/// What goes between the text of a file and a table behind it.
fn separator(text: &str) -> &'static str {
    match text {
        "" => "",
        _ if text.ends_with('\n') => "\n",
        _ => "\n\n",
    }
}

/// Replaces a file at once, under the permissions that it has: others see the old or the new one.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    // A link stays one; what it leads to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = target.clone().into_os_string();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mode = fs::metadata(&target)?.permissions().mode();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &target)
    })();
    written.map_err(|error: std::io::Error| {
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(&temporary);
        }
        Failure::failed(format!(
            "cannot write the policy `{}`: {error}",
            path.display()
        ))
    })
}

fn list(path: &Path, console: &mut Console) -> Outcome {
    let policy = read(path, console)?;
    for (name, token) in policy.tokens() {
        let end = token.expires.map(|end| {
            let mut text = String::new();
            put_timestamp(&mut text, end, Form::Compatible);
            text + "Z"
        });
        if console.is_json() {
            let mut line = String::from("{\"type\":\"token\",\"name\":");
            put_string(&mut line, name);
            line.push_str(",\"principal\":");
            put_string(&mut line, &token.principal);
            line.push_str(",\"expires\":");
            match &end {
                Some(end) => put_string(&mut line, end),
                None => line.push_str("null"),
            }
            line.push('}');
            console.line(line)?;
        } else {
            let end = end.as_deref().unwrap_or("never");
            console.line(format_args!("{name}  {}  ends: {end}", token.principal))?;
        }
    }
    Ok(Exit::Done)
}
