//! `broker store load`: entries from lines of JSON.

use std::io::{self, BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use clap::Args;

use super::access::{self, Opened, Purpose};
use super::entry::Entry;
use super::{Where, split};
use crate::arguments::Global;
use crate::console::Console;
use crate::outcome::{Exit, Failure, Outcome};

/// Lines with problems that are told one by one; further ones are counted.
const PROBLEMS_TOLD_MAX: u64 = 10;

/// Requests after which it is waited until the master has them, so that what is told to be done is.
const SETTLE_AFTER: u64 = 10_000;

/// Lines that are read ahead.
const LINES_AHEAD: usize = 1024;

/// How often it is looked for signals while no line comes.
const NAP: Duration = Duration::from_millis(100);

/// Set entries that `dump` printed
///
/// Loading a line again changes nothing, so what was interrupted can be begun again, or gone on with
/// after the lines that are said to be done: --skip N.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// Name of the store, then a file with lines; standard input unless given
    #[arg(value_name = "NAME [LINES]")]
    words: Vec<String>,
    /// Leave out the first N lines
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: u64,
    #[command(flatten)]
    place: Where,
}

impl Load {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let (of, words) = split(&self.place, self.words, 0..=1, "a file with lines")?;
        let input: Box<dyn Read + Send> = match words.first().filter(|it| *it != "-") {
            None => console.take_input(),
            Some(path) => {
                let path = PathBuf::from(path);
                crate::nearest::check_file("file", &path)?;
                let file = std::fs::File::open(&path);
                Box::new(file.map_err(|error| {
                    Failure::failed(format!("cannot read `{}`: {error}", path.display()))
                })?)
            }
        };
        let mut opened = access::open(of, Purpose::Load, &self.place, global)?;
        let mut progress = Progress::default();
        let mut outcome = Ok(Exit::Done);
        let lines = read_lines(input);
        loop {
            if opened.is_interrupted() {
                outcome = Ok(Exit::Interrupted);
                break;
            }
            let line = match lines.recv_timeout(NAP) {
                Ok(Ok(line)) => line,
                Ok(Err(error)) => {
                    outcome = Err(Failure::failed(format!("cannot read lines: {error}")));
                    break;
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            progress.line += 1;
            if progress.line <= self.skip || line.trim().is_empty() {
                continue;
            }
            match Entry::of_json(&line) {
                Err(problem) => progress.refuse(&problem, console),
                Ok(entry) => progress.put(&entry, &mut opened, console),
            }
            if progress.unsettled >= SETTLE_AFTER {
                outcome = opened.settle().map(|()| Exit::Done);
                if outcome.is_err() {
                    break;
                }
                progress.settled();
                console.progress(format_args!(
                    "{} lines, {} refused",
                    progress.line, progress.refused
                ));
            }
        }
        let outcome = match outcome {
            Ok(exit) => opened.settle().map(|()| exit),
            Err(failure) => Err(failure),
        };
        opened.leave();
        if outcome.is_ok() {
            progress.settled();
        }
        progress.tell(console);
        match outcome {
            Ok(Exit::Done) if progress.refused > 0 => {
                let what = format!("{} lines were refused", progress.refused);
                Err(Failure::failed(what))
            }
            Ok(Exit::Interrupted) => {
                console.say(format_args!("go on with --skip {}", progress.done_lines));
                Ok(Exit::Interrupted)
            }
            Ok(exit) => Ok(exit),
            Err(failure) => Err(failure.hint(format!("go on with --skip {}", progress.done_lines))),
        }
    }
}

/// Reads lines in a thread of its own: a read of a terminal cannot be interrupted, and need not be waited
/// for. The thread ends with the input, or when nobody takes its lines any more.
fn read_lines(input: Box<dyn Read + Send>) -> Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::sync_channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in BufReader::new(input).lines() {
            let is_over = line.is_err();
            if sender.send(line).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

/// How far it is.
#[derive(Debug, Default)]
struct Progress {
    line: u64,
    /// Lines up to which everything is done.
    done_lines: u64,
    loaded: u64,
    /// Requests that may still be refused.
    unsettled: u64,
    expired: u64,
    refused: u64,
}

impl Progress {
    fn put(&mut self, entry: &Entry, opened: &mut Opened, console: &mut Console) {
        if entry.expiry.is_some_and(|it| super::left(it) <= 0) {
            self.expired += 1;
            return;
        }
        match opened.load(entry) {
            Ok(()) => {
                self.loaded += 1;
                self.unsettled += 1;
            }
            Err(problem) => self.refuse(&problem, console),
        }
    }

    fn refuse(&mut self, problem: &str, console: &mut Console) {
        self.refused += 1;
        if self.refused <= PROBLEMS_TOLD_MAX {
            console.warn(format_args!("line {}: {problem}", self.line));
        }
    }

    fn settled(&mut self) {
        self.unsettled = 0;
        self.done_lines = self.line;
    }

    fn tell(&self, console: &mut Console) {
        if self.refused > PROBLEMS_TOLD_MAX {
            let further = self.refused - PROBLEMS_TOLD_MAX;
            console.warn(format_args!("{further} more lines were refused"));
        }
        let mut text = format!("{} lines: {} entries set", self.done_lines, self.loaded);
        if self.expired > 0 {
            text.push_str(&format!(", {} left out whose time is over", self.expired));
        }
        console.say(text);
    }
}
