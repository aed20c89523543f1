//! Logs as files, one each, closed and begun anew now and then, as a logger of Zeek keeps them.
//!
//! A log is written to `conn.log`; when it is closed it gets its last line and then the name
//! `conn-2026-01-02-03-04-05.log`, with the time at which it was opened. Times are UTC.
//!
//! # What a killed writer leaves
//!
//! Beside `conn.log` lies `.conn.log.open`, made before it and removed after it got its last name, so
//! files of others are never taken for ours. The next writer finishes what it finds so: it cuts off
//! a line that was not written whole, adds the last line and gives the file its last name. Lines are
//! handed to the system whole, in order; what was handed over stays whatever happens to the process.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::Timestamp;
use broker::zeek::{LogRecord, SCHEMAS_PER_LOG_MAX, Schema};

use crate::outcome::Failure;

/// Logs that are open at a time: a Zeek with all its scripts has about a hundred, and a process may
/// have 1024 files open where nothing else is set.
pub(super) const FILES_MAX: usize = 512;

/// Bytes of lines after which they are handed to the system; also when nothing more is there to be
/// written.
const BUFFER_MAX: usize = 64 * 1024;

/// Bytes that are looked at when the end of the last line is searched for.
const CHUNK: usize = 64 * 1024;

/// Characters of a file's name without what is appended to it; file systems allow 255.
const STEM_MAX: usize = 200;

const EXTENSION: &str = "log";
const LOCK: &str = ".broker-logs.lock";
const MARK: &str = ".open";
const CLOSE: &str = "#close\t";

/// What lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Zeek's ASCII logs.
    Tsv,
    /// Zeek's JSON logs.
    Json,
}

/// A file that is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    /// Name of the log.
    pub(super) log: String,
    pub(super) file: PathBuf,
    /// Lines of records; not known of a file that another writer left.
    pub(super) records: Option<u64>,
    /// Bytes of a line that was not written whole.
    pub(super) torn_bytes: u64,
}

/// The logs that are being written in a folder.
#[derive(Debug)]
pub(super) struct LogFiles {
    folder: PathBuf,
    spelling: Spelling,
    rotation: Option<Duration>,
    /// When the files are to be closed next.
    due: Option<Timestamp>,
    /// Bound: `FILES_MAX`.
    open: Vec<OpenLog>,
    /// Where the last record went: the next one most often goes there too.
    last: usize,
    /// Records for which there was no file.
    refused: u64,
    /// Held locked as long as this writer is there.
    _lock: File,
}

/// A log that is being written.
#[derive(Debug)]
struct OpenLog {
    log: String,
    /// Field lists whose records go here, the newest first.
    /// Bound: `SCHEMAS_PER_LOG_MAX`.
    schemas: Vec<Arc<Schema>>,
    stem: String,
    opened: String,
    file: File,
    path: PathBuf,
    /// Lines that the system does not have yet.
    buffer: String,
    /// Bytes that it has.
    length: u64,
    records: u64,
}

impl LogFiles {
    /// Takes a folder over, made if it is not there, and finishes what a killed writer left in it.
    ///
    /// # Errors
    ///
    /// When another writer has the folder, or the system refuses.
    pub(super) fn open(
        folder: &Path,
        spelling: Spelling,
        rotation: Option<Duration>,
        now: Timestamp,
    ) -> Result<(Self, Vec<Closed>), Failure> {
        let failed = |error| cannot("write to", folder, &error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let what = format!(
                    "`{}` is being written by another `broker logs`",
                    folder.display()
                );
                return Err(Failure::failed(what));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let files = Self {
            folder: folder.to_owned(),
            spelling,
            rotation,
            due: rotation.map(|interval| next_rotation(now, interval)),
            open: Vec::new(),
            last: 0,
            refused: 0,
            _lock: lock,
        };
        let left = files.recover()?;
        Ok((files, left))
    }

    /// When [`Self::rotate`] is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Number of records that were refused because too many logs were open.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Writes a record to its log.
    pub(super) fn write(&mut self, record: &LogRecord, now: Timestamp) -> Result<(), Failure> {
        let Some(place) = self.place(record.schema(), now)? else {
            self.refused += 1;
            return Ok(());
        };
        self.last = place;
        let Some(log) = self.open.get_mut(place) else {
            return Ok(());
        };
        match self.spelling {
            Spelling::Tsv => log.buffer.push_str(&record.to_tsv()),
            Spelling::Json => record.write_json(&mut log.buffer),
        }
        log.buffer.push('\n');
        log.records += 1;
        if log.buffer.len() >= BUFFER_MAX {
            log.flush()
        } else {
            Ok(())
        }
    }

    /// Hands all lines to the system.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.open.iter_mut().try_for_each(OpenLog::flush)
    }

    /// Closes all files; the next records begin new ones.
    pub(super) fn rotate(&mut self, now: Timestamp) -> Result<Vec<Closed>, Failure> {
        self.due = self.rotation.map(|interval| next_rotation(now, interval));
        self.close(now)
    }

    /// Closes all files, also those behind one that cannot be closed.
    pub(super) fn close(&mut self, now: Timestamp) -> Result<Vec<Closed>, Failure> {
        let mut closed = Vec::new();
        let mut failure = None;
        for log in std::mem::take(&mut self.open) {
            match self.finish(log, now) {
                Ok(one) => closed.push(one),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => Ok(closed),
        }
    }

    /// The open log that records of this field list go to; `None` if there are too many.
    fn place(&mut self, schema: &Arc<Schema>, now: Timestamp) -> Result<Option<usize>, Failure> {
        let is_known = |log: &OpenLog| log.schemas.iter().any(|it| Arc::ptr_eq(it, schema));
        if self.open.get(self.last).is_some_and(is_known) {
            return Ok(Some(self.last));
        }
        if let Some(place) = self.open.iter().position(is_known) {
            return Ok(Some(place));
        }
        // A line of JSON names its fields; lines between tabs fit one header only.
        let fits = |log: &OpenLog| {
            log.log == schema.path()
                && (self.spelling == Spelling::Json
                    || log
                        .schemas
                        .first()
                        .is_some_and(|it| it.fields() == schema.fields()))
        };
        if let Some(place) = self.open.iter().position(fits) {
            if let Some(log) = self.open.get_mut(place) {
                log.schemas.insert(0, schema.clone());
                log.schemas.truncate(SCHEMAS_PER_LOG_MAX);
            }
            return Ok(Some(place));
        }
        if self.open.len() >= FILES_MAX {
            return Ok(None);
        }
        let log = self.begin(schema, now)?;
        self.open.push(log);
        Ok(Some(self.open.len() - 1))
    }

    fn begin(&self, schema: &Arc<Schema>, now: Timestamp) -> Result<OpenLog, Failure> {
        let first = file_stem(schema.path());
        let others = (2..).map(|number: usize| format!("{first}_{number}"));
        let is_free = |stem: &String| self.open.iter().all(|log| log.stem != *stem);
        let mut stems = std::iter::once(first.clone()).chain(others);
        let stem = stems.find(is_free).unwrap_or(first);
        let path = self.folder.join(format!("{stem}.{EXTENSION}"));
        if path.exists() {
            let what = format!("`{}` is not of this command", path.display());
            return Err(Failure::failed(what).hint("write into another folder, or move it away"));
        }
        let opened = stamp(now);
        let mark = mark_of(&path);
        std::fs::write(&mark, &opened).map_err(|error| cannot("write", &mark, &error))?;
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let buffer = match self.spelling {
            Spelling::Tsv => schema.tsv_header(&opened),
            Spelling::Json => String::new(),
        };
        Ok(OpenLog {
            log: schema.path().to_owned(),
            schemas: vec![schema.clone()],
            stem,
            opened,
            file: file.map_err(|error| cannot("write", &path, &error))?,
            path,
            buffer,
            length: 0,
            records: 0,
        })
    }

    fn finish(&self, mut log: OpenLog, now: Timestamp) -> Result<Closed, Failure> {
        if self.spelling == Spelling::Tsv {
            log.buffer.push_str(&Schema::tsv_footer(&stamp(now)));
        }
        log.flush()?;
        // The name of a closed file is a promise that it is whole, also after a loss of power.
        log.file
            .sync_all()
            .map_err(|error| cannot("write", &log.path, &error))?;
        let file = self.give_last_name(&log.path, &log.opened)?;
        Ok(Closed {
            log: log.log,
            file,
            records: Some(log.records),
            torn_bytes: 0,
        })
    }

    /// Renames a file that is finished, and only then removes its mark.
    fn give_last_name(&self, path: &Path, opened: &str) -> Result<PathBuf, Failure> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let first = format!("{stem}-{opened}.{EXTENSION}");
        let others = (2..).map(|number: usize| format!("{stem}-{opened}_{number}.{EXTENSION}"));
        let mut names = std::iter::once(first.clone()).chain(others);
        let is_free = |name: &String| !self.folder.join(name).exists();
        // Under the lock of the folder: no other writer takes the name in between.
        let name = names.find(is_free).unwrap_or(first);
        let target = self.folder.join(name);
        let renamed = std::fs::rename(path, &target);
        renamed.map_err(|error| cannot("rename", path, &error))?;
        let mark = mark_of(path);
        std::fs::remove_file(&mark).map_err(|error| cannot("remove", &mark, &error))?;
        Ok(target)
    }

    /// Finishes the files that a killed writer left.
    fn recover(&self) -> Result<Vec<Closed>, Failure> {
        let entries = std::fs::read_dir(&self.folder);
        let entries = entries.map_err(|error| cannot("read", &self.folder, &error))?;
        let mut marks: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| marked_by(path).is_some())
            .collect();
        marks.sort_unstable();
        let mut closed = Vec::new();
        for mark in marks {
            let Some(path) = marked_by(&mark) else {
                continue;
            };
            let opened = std::fs::read_to_string(&mark);
            let opened = opened.map_err(|error| cannot("read", &mark, &error))?;
            let mut left = None;
            // A mark that is not whole was made by a writer that had no file yet.
            if is_stamp(&opened) && path.exists() {
                left = self.finish_left(&path, &opened)?;
            }
            if left.is_none() {
                std::fs::remove_file(&mark).map_err(|error| cannot("remove", &mark, &error))?;
            }
            closed.extend(left);
        }
        Ok(closed)
    }

    /// Finishes one file; one without a record is removed.
    fn finish_left(&self, path: &Path, opened: &str) -> Result<Option<Closed>, Failure> {
        let failed = |error: io::Error| cannot("finish", path, &error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        let modified = file.metadata().and_then(|it| it.modified());
        let torn_bytes = cut_torn_line(&mut file).map_err(failed)?;
        match kind_of(&mut file).map_err(failed)? {
            Left::Nothing => {
                std::fs::remove_file(path).map_err(failed)?;
                return Ok(None);
            }
            Left::Open => {
                let modified = modified.ok().and_then(|it| Timestamp::try_from(it).ok());
                let footer = Schema::tsv_footer(&stamp(modified.unwrap_or_default()));
                file.seek(SeekFrom::End(0)).map_err(failed)?;
                file.write_all(footer.as_bytes()).map_err(failed)?;
            }
            Left::Closed => {}
        }
        file.sync_all().map_err(failed)?;
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Some(Closed {
            log: stem,
            file: self.give_last_name(path, opened)?,
            records: None,
            torn_bytes,
        }))
    }
}

impl OpenLog {
    /// Hands the lines to the system, all or none.
    fn flush(&mut self) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(self.buffer.as_bytes());
        if let Err(error) = written {
            // What was written of it ends within a line.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(cannot("write", &self.path, &error));
        }
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {what} `{}`: {error}", path.display()))
}

/// The next point in time that is a multiple of the interval, counted from 1970 in UTC.
fn next_rotation(now: Timestamp, interval: Duration) -> Timestamp {
    let interval = i64::try_from(interval.as_nanos())
        .unwrap_or(i64::MAX)
        .max(1);
    let begun = now.ns().div_euclid(interval);
    Timestamp::from_ns(begun.saturating_add(1).saturating_mul(interval))
}

/// A time as Zeek writes it in its headers: `2026-01-02-03-04-05`.
pub(super) fn stamp(time: Timestamp) -> String {
    let text = crate::session::full_time(time);
    let length = "2026-01-02T03:04:05".len();
    text.get(..length).unwrap_or(&text).replace(['T', ':'], "-")
}

fn is_stamp(text: &str) -> bool {
    let shape = text
        .bytes()
        .map(|b| if b.is_ascii_digit() { b'0' } else { b });
    shape.eq(*b"0000-00-00-00-00-00")
}

/// The name of a file for a log. Names of logs come from the network: what is not a letter, a digit
/// or one of `_-.` becomes `%` and two digits, and so does a point in front.
fn file_stem(log: &str) -> String {
    let mut stem = String::new();
    for byte in log.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if is_plain && !(byte == b'.' && stem.is_empty()) {
            stem.push(char::from(byte))
        } else {
            stem.push_str(&format!("%{byte:02x}"))
        }
    }
    if stem.is_empty() {
        stem.push_str("%00");
    }
    stem.truncate(STEM_MAX);
    stem
}

/// The mark that stands beside a file while it is written.
fn mark_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{MARK}"))
}

/// The file that a mark stands beside, if it is a mark.
fn marked_by(mark: &Path) -> Option<PathBuf> {
    let name = mark.file_name()?.to_str()?;
    let name = name.strip_prefix('.')?.strip_suffix(MARK)?;
    name.ends_with(EXTENSION).then(|| mark.with_file_name(name))
}

/// Cuts off what stands behind the last end of a line; returns how many bytes that were.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    let mut chunk = vec![0; CHUNK];
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let size = usize::try_from(end - start).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get_mut(..size).unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    file.set_len(end)?;
    Ok(length - end)
}

/// What a writer that was killed left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// No record.
    Nothing,
    /// An ASCII log without its last line.
    Open,
    /// A log that is complete, such as every one in JSON.
    Closed,
}

fn kind_of(file: &mut File) -> io::Result<Left> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(&mut *file);
    let (mut line, mut is_tsv) = (Vec::new(), false);
    // Above the records of an ASCII log stand less than ten lines.
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(Left::Nothing);
        }
        if !line.starts_with(b"#") {
            break;
        }
        is_tsv = true;
    }
    if !is_tsv {
        return Ok(Left::Closed);
    }
    // The last line of a closed one has less bytes than this.
    let tail_max: i64 = 64;
    let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
    file.seek(SeekFrom::End(-tail_max.min(length)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let lines = tail.strip_suffix(b"\n").unwrap_or(&tail);
    let last = lines
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    Ok(if last.starts_with(CLOSE.as_bytes()) {
        Left::Closed
    } else {
        Left::Open
    })
}
