//! `broker store`: looks into data stores and changes them, running or in files.

mod access;
mod entry;
mod holders;
mod load;

use std::path::PathBuf;
use std::time::Duration;

use broker::{Timespan, Timestamp, Value};
use clap::{Args, Subcommand};

use self::access::{Place, Purpose};
use super::value;
use crate::arguments::{ConnectionArguments, EndArguments, Global};
use crate::console::Console;
use crate::duration::duration;
use crate::literal;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::pattern;
use crate::session;

const EXAMPLES: &str = "Examples:
  broker store ls hosts -u localhost:9999             a running store
  broker store ls --file hosts.sqlite                 a file, while no program has it
  broker store get hosts 10.0.0.1
  broker store put hosts 10.0.0.1 '{name: printer}' --expiry 1d
  broker store incr --file hosts.sqlite hits
  broker store watch hosts                            changes as they come
  broker store dump --file old.sqlite | broker store load hosts -u localhost:9999

Running stores are used as a clone does, so their master may be this
implementation or the original. With --file there is no NAME.";

/// Look into data stores and change them, running or in files
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct StoreCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Ls(Ls),
    Get(Get),
    /// Set a key
    Put(Put),
    /// Set a key that is not there; exit code 1 if it is
    PutUnique(Put),
    Incr(Incr),
    Append(Append),
    Rm(Rm),
    Clear(Clear),
    Watch(Watch),
    Dump(Dump),
    Load(load::Load),
    Check(Check),
    Compact(Compact),
}

/// Where the store is.
#[derive(Debug, Clone, Args)]
struct Where {
    /// SQLite file, of this implementation or the original
    ///
    /// No program may have it. Commands that only look do not change it by a byte.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How long to wait for the master
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    timeout: Duration,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Print the entries
#[derive(Debug, Args)]
struct Ls {
    /// Name of the store
    #[arg(value_name = "NAME")]
    words: Vec<String>,
    /// Only keys like that, with * and ?, as they are printed
    #[arg(short, long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    /// Print keys only
    #[arg(short, long)]
    keys: bool,
    #[command(flatten)]
    place: Where,
}

/// Print the values of keys; exit code 1 if one is not there
#[derive(Debug, Args)]
struct Get {
    /// Name of the store, then keys
    #[arg(
        required = true,
        value_name = "NAME KEY",
        allow_negative_numbers = true
    )]
    words: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// Set a key
#[derive(Debug, Args)]
struct Put {
    /// Name of the store, a key, a value
    #[arg(
        required = true,
        value_name = "NAME KEY VALUE",
        allow_negative_numbers = true
    )]
    words: Vec<String>,
    /// Remove it after that time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expiry: Option<Duration>,
    #[command(flatten)]
    place: Where,
}

/// Add to a number: 1 unless an amount is given
#[derive(Debug, Args)]
struct Incr {
    /// Name of the store, a key, an amount
    #[arg(
        required = true,
        value_name = "NAME KEY [AMOUNT]",
        allow_negative_numbers = true
    )]
    words: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// Append to a string, vector, set or table
#[derive(Debug, Args)]
struct Append {
    /// Name of the store, a key, what is appended: to a table `{k: v}`
    #[arg(
        required = true,
        value_name = "NAME KEY VALUE",
        allow_negative_numbers = true
    )]
    words: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// Remove keys
#[derive(Debug, Args)]
struct Rm {
    /// Name of the store, then keys
    #[arg(
        required = true,
        value_name = "NAME KEY",
        allow_negative_numbers = true
    )]
    words: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// Remove everything
#[derive(Debug, Args)]
struct Clear {
    /// Name of the store
    #[arg(value_name = "NAME")]
    words: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// Print the changes of a running store as they come
#[derive(Debug, Args)]
struct Watch {
    /// Name of the store
    name: String,
    #[command(flatten)]
    end: EndArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Print all entries as JSON, for `load`
///
/// Of a file with the time at which they expire; of a running store without, since a clone is not
/// told.
#[derive(Debug, Args)]
struct Dump {
    /// Name of the store
    #[arg(value_name = "NAME")]
    words: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// Look for damage in a file
#[derive(Debug, Args)]
struct Check {
    /// SQLite file
    #[arg(long, value_name = "FILE", required = true)]
    file: PathBuf,
}

/// Give back the room that removed entries left in a file
#[derive(Debug, Args)]
struct Compact {
    /// SQLite file
    #[arg(long, value_name = "FILE", required = true)]
    file: PathBuf,
}

impl StoreCommand {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        match self.what {
            What::Ls(command) => command.run(global, console),
            What::Get(command) => command.run(global, console),
            What::Put(command) => command.run(false, global, console),
            What::PutUnique(command) => command.run(true, global, console),
            What::Incr(command) => command.run(global, console),
            What::Append(command) => command.run(global, console),
            What::Rm(command) => command.run(global, console),
            What::Clear(command) => command.run(global, console),
            What::Watch(command) => command.run(global, console),
            What::Dump(command) => command.run(global, console),
            What::Load(command) => command.run(global, console),
            What::Check(command) => command.run(console),
            What::Compact(command) => command.run(console),
        }
    }
}

/// The name of the store, unless there is a file, and the words behind it.
fn split(
    place: &Where,
    words: Vec<String>,
    counts: std::ops::RangeInclusive<usize>,
    expected: &str,
) -> Result<(Place, Vec<String>), Failure> {
    let mut words = words.into_iter();
    let of = match &place.file {
        Some(file) => Place::File(file.clone()),
        None => match words.next() {
            Some(name) => Place::Running(name),
            None => {
                return Err(Failure::usage("which store?").hint("give its name, or --file FILE"));
            }
        },
    };
    let rest: Vec<String> = words.collect();
    if counts.contains(&rest.len()) {
        return Ok((of, rest));
    }
    let what = match &of {
        Place::File(_) => format!("with --file, expected {expected}"),
        Place::Running(_) => format!("expected the name of the store, then {expected}"),
    };
    Err(Failure::usage(what))
}

/// The words as values.
fn values(words: &[String], console: &mut Console) -> Result<Vec<Value>, Failure> {
    let numbered = (1..).zip(words);
    numbered
        .map(|(number, text)| value::read(text, number, console))
        .collect()
}

impl Ls {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let (of, _) = split(&self.place, self.words, 0..=0, "nothing else")?;
        let mut opened = access::open(of, Purpose::Read, &self.place, global)?;
        let mut skipped = 0;
        for entry in opened.entries(&mut skipped)? {
            let key = literal::to_text(&entry.key);
            let is_like = |pattern: &String| pattern::matches(pattern.as_bytes(), key.as_bytes());
            if self.pattern.as_ref().is_none_or(is_like) {
                if self.keys && !console.is_json() {
                    console.line(key)?
                } else {
                    entry.put(console)?
                }
            }
        }
        opened.leave();
        unreadable(skipped, console)
    }
}

/// Says that rows of a file could not be read.
fn unreadable(skipped: u64, console: &mut Console) -> Outcome {
    match skipped {
        0 => Ok(Exit::Done),
        _ => {
            console.flush()?;
            let what =
                format!("{skipped} rows of the file have no key, value or time that can be read");
            Err(Failure::failed(what).hint("`broker store check` looks for damage"))
        }
    }
}

impl Get {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let (of, keys) = split(&self.place, self.words, 1..=usize::MAX, "keys")?;
        let keys = values(&keys, console)?;
        let mut opened = access::open(of, Purpose::Read, &self.place, global)?;
        let mut missing = Vec::new();
        for key in keys {
            match opened.get(&key)? {
                None => missing.push(literal::to_text(&key)),
                Some(entry) if console.is_json() => entry.put(console)?,
                Some(entry) => console.line(literal::to_text(&entry.value))?,
            }
        }
        opened.leave();
        if missing.is_empty() {
            Ok(Exit::Done)
        } else {
            Err(Failure::failed(format!(
                "not in the store: {}",
                missing.join(", ")
            )))
        }
    }
}

impl Put {
    fn run(self, is_unique: bool, global: &Global, console: &mut Console) -> Outcome {
        let (of, words) = split(&self.place, self.words, 2..=2, "a key and a value")?;
        let words = values(&words, console)?;
        let [key, value] = words.as_slice() else {
            return Ok(Exit::Usage);
        };
        let expiry = self.expiry.map(Timespan::try_from).transpose();
        let expiry = expiry.map_err(|_| Failure::usage("--expiry is out of range"))?;
        let opened = access::open(of, Purpose::Write, &self.place, global)?;
        let store = opened.store()?;
        if is_unique {
            let answer = store.put_unique(key, value, expiry)?.wait()?;
            opened.finish()?;
            return if answer {
                Ok(Exit::Done)
            } else {
                Err(Failure::failed(format!(
                    "there is {} already",
                    literal::to_text(key)
                )))
            };
        }
        store.put_for(key, value, expiry)?;
        opened.finish()
    }
}

impl Incr {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let (of, words) = split(
            &self.place,
            self.words,
            1..=2,
            "a key and at most an amount",
        )?;
        let words = values(&words, console)?;
        let Some(key) = words.first() else {
            return Ok(Exit::Usage);
        };
        let mut opened = access::open(of, Purpose::Write, &self.place, global)?;
        let amount = match words.get(1) {
            Some(amount) => amount.clone(),
            None => match opened.get(key)?.map(|entry| entry.value) {
                Some(Value::Integer(_)) => Value::Integer(1),
                Some(Value::Real(_)) => Value::Real(1.0),
                _ => Value::Count(1),
            },
        };
        opened.store()?.increment(key, &amount)?;
        opened.finish()
    }
}

impl Append {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let (of, words) = split(&self.place, self.words, 2..=usize::MAX, "a key and values")?;
        let words = values(&words, console)?;
        let Some((key, added)) = words.split_first() else {
            return Ok(Exit::Usage);
        };
        let mut opened = access::open(of, Purpose::Write, &self.place, global)?;
        let mut stored = opened.get(key)?.map(|entry| entry.value);
        let store = opened.store()?;
        for value in added {
            match (&stored, value) {
                (Some(Value::Set(_)), element) => store.insert_into(key, element)?,
                (Some(Value::Vector(_)), element) => store.push(key, element)?,
                (None | Some(Value::Table(_)), Value::Table(entries)) => {
                    for (index, value) in entries {
                        store.insert_into_table(key, index, value)?;
                    }
                }
                (None | Some(Value::String(_)), Value::String(text)) => store.append(key, text)?,
                (None, element) => store.push(key, element)?,
                (Some(stored), value) => {
                    let (stored, value) = (stored.kind(), value.kind());
                    return Err(Failure::failed(format!(
                        "cannot append a {value} to a {stored}"
                    )));
                }
            }
            // What the first began, the others go on with.
            stored = stored.or_else(|| match value {
                Value::String(_) | Value::Table(_) => Some(value.clone()),
                _ => Some(Value::Vector(Vec::new())),
            });
        }
        opened.finish()
    }
}

impl Rm {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let (of, keys) = split(&self.place, self.words, 1..=usize::MAX, "keys")?;
        let keys = values(&keys, console)?;
        let mut opened = access::open(of, Purpose::Write, &self.place, global)?;
        let mut missing = Vec::new();
        for key in &keys {
            if opened.get(key)?.is_none() {
                missing.push(literal::to_text(key));
            }
            opened.store()?.erase(key)?;
        }
        opened.finish()?;
        if !missing.is_empty() {
            console.warn(format_args!("not in the store: {}", missing.join(", ")));
        }
        Ok(Exit::Done)
    }
}

impl Clear {
    fn run(self, global: &Global, _: &mut Console) -> Outcome {
        let (of, _) = split(&self.place, self.words, 0..=0, "nothing else")?;
        let opened = access::open(of, Purpose::Write, &self.place, global)?;
        opened.store()?.clear()?;
        opened.finish()
    }
}

impl Dump {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let (of, _) = split(&self.place, self.words, 0..=0, "nothing else")?;
        let mut opened = access::open(of, Purpose::Read, &self.place, global)?;
        let mut skipped = 0;
        let entries = opened.entries(&mut skipped)?;
        let all = entries.len();
        // Between lines of data on the same terminal it would only disturb.
        let is_told = !console.output_is_terminal();
        for (done, entry) in entries.into_iter().enumerate() {
            entry.put_json(console.buffer())?;
            console.spill()?;
            if is_told {
                console.progress(format_args!("{done} of {all} entries"));
            }
        }
        opened.leave();
        unreadable(skipped, console)
    }
}

impl Check {
    fn run(self, console: &mut Console) -> Outcome {
        holders::refuse_open_file(&self.file)?;
        let mut backend = access::file_to_read(&self.file)?;
        console.progress("looking for damage");
        let mut problems = backend.find_damage().map_err(access::storage)?;
        let mut entries = 0_u64;
        let left_out = broker::proto::store::Backend::for_each(&mut backend, &mut |_, _, _| {
            entries += 1;
            console.progress(format_args!("{entries} entries read"));
        });
        match left_out.map_err(access::storage)? {
            0 => {}
            left_out => problems.push(format!("{left_out} rows that cannot be read")),
        }
        for problem in &problems {
            console.line(problem)?;
        }
        let file = self.file.display();
        match problems.len() {
            0 => {
                console.say(format_args!("`{file}` is in order: {entries} entries"));
                Ok(Exit::Done)
            }
            _ => Err(Failure::failed(format!("`{file}` is damaged"))),
        }
    }
}

impl Compact {
    fn run(self, console: &mut Console) -> Outcome {
        crate::nearest::check_file("file", &self.file)?;
        holders::refuse_open_file(&self.file)?;
        let size = || std::fs::metadata(&self.file).map_or(0, |it| it.len());
        let before = size();
        let mut backend = access::file_to_write(&self.file)?;
        backend.compact().map_err(access::storage)?;
        drop(backend);
        console.say(format_args!("{before} bytes before, {} after", size()));
        Ok(Exit::Done)
    }
}

impl Watch {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let place = Where {
            file: None,
            timeout: self.end.timeout.unwrap_or(Duration::from_secs(10)),
            connection: self.connection.clone(),
        };
        let opened = access::open(
            Place::Running(self.name.clone()),
            Purpose::Read,
            &place,
            global,
        )?;
        opened.watch(&self.end, console)
    }
}

/// Nanoseconds until a point in time.
fn left(expiry: Timestamp) -> i64 {
    expiry.ns().saturating_sub(session::now().ns())
}
