//! Options of a store in a SQLite file. Spec: stores 8.3.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use broker_data::Value;

use crate::sqlite::error::SqliteError;

/// How long a call waits for a lock of another process by default.
///
/// Half of the ten seconds after which a synchronous call of a store gives up (Spec: stores 2.3), so
/// that the caller learns the reason and not only that time ran out.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// Never: a power cut may destroy the file.
    Off,
    /// At the most critical moments: in WAL mode a power cut may undo the latest groups.
    Normal,
    /// At every commit.
    Full,
    /// At every commit, the directory included.
    Extra,
}

impl Synchronous {
    const PREFIX: &str = "Broker::SQLITE_SYNCHRONOUS_";

    pub(crate) const fn pragma(self) -> &'static str {
        match self {
            Self::Off => "PRAGMA synchronous=OFF",
            Self::Normal => "PRAGMA synchronous=NORMAL",
            Self::Full => "PRAGMA synchronous=FULL",
            Self::Extra => "PRAGMA synchronous=EXTRA",
        }
    }
}

/// How SQLite undoes what was not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalMode {
    /// A journal beside the file, deleted by each commit.
    Delete,
    /// A write-ahead log beside the file; readers do not block the writer.
    Wal,
}

impl JournalMode {
    const PREFIX: &str = "Broker::SQLITE_JOURNAL_MODE_";

    pub(crate) const fn pragma(self) -> &'static str {
        match self {
            Self::Delete => "PRAGMA journal_mode=DELETE",
            Self::Wal => "PRAGMA journal_mode=WAL",
        }
    }
}

/// What happens to a file that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureMode {
    /// Opening fails and leaves the file as it is.
    #[default]
    Fail,
    /// The file is deleted and replaced by an empty one. Only damage counts: a file that cannot be
    /// opened for another reason, such as a lock, stays.
    Delete,
}

impl FailureMode {
    const PREFIX: &str = "Broker::SQLITE_FAILURE_MODE_";
}

/// What is asked of a [`SqliteBackend`](crate::SqliteBackend).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The file, or `:memory:`. Missing directories are created.
    pub path: PathBuf,
    /// When SQLite waits for the disk; as SQLite likes (at every commit) when absent.
    pub synchronous: Option<Synchronous>,
    /// How SQLite undoes; as the file is (new ones: [`JournalMode::Delete`]) when absent.
    pub journal_mode: Option<JournalMode>,
    /// What happens to a damaged file.
    pub failure_mode: FailureMode,
    /// Whether the whole file is checked before it is used.
    pub integrity_check: bool,
    /// How long a call waits for a lock of another process, in milliseconds; 24 days at most.
    pub busy_timeout: Duration,
}

impl SqliteOptions {
    /// The defaults, for this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            synchronous: None,
            journal_mode: None,
            failure_mode: FailureMode::default(),
            integrity_check: false,
            busy_timeout: BUSY_TIMEOUT,
        }
    }

    /// Reads the options as applications name them: `path`, `synchronous`, `journal_mode`,
    /// `failure_mode`, `integrity_check`. Others are ignored.
    ///
    /// # Errors
    ///
    /// For the first of them, in the order synchronous, journal_mode, failure_mode,
    /// integrity_check, path, that is not what it has to be.
    pub fn from_table(table: &BTreeMap<String, Value>) -> Result<Self, SqliteError> {
        let synchronous = choice(
            table,
            "synchronous",
            Synchronous::PREFIX,
            &[
                ("OFF", Synchronous::Off),
                ("NORMAL", Synchronous::Normal),
                ("FULL", Synchronous::Full),
                ("EXTRA", Synchronous::Extra),
            ],
        )?;
        let journal_mode = choice(
            table,
            "journal_mode",
            JournalMode::PREFIX,
            &[("DELETE", JournalMode::Delete), ("WAL", JournalMode::Wal)],
        )?;
        let failure_mode = choice(
            table,
            "failure_mode",
            FailureMode::PREFIX,
            &[("DELETE", FailureMode::Delete), ("FAIL", FailureMode::Fail)],
        )?;
        let integrity_check = match table.get("integrity_check") {
            None => false,
            Some(value) => value.as_bool().ok_or(SqliteError::NotABoolean {
                option: "integrity_check",
            })?,
        };
        let path = table.get("path").ok_or(SqliteError::PathMissing)?;
        let path = path.as_bytes().ok_or(SqliteError::PathNotAString)?;
        Ok(Self {
            synchronous,
            journal_mode,
            failure_mode: failure_mode.unwrap_or_default(),
            integrity_check,
            ..Self::new(OsStr::from_bytes(path))
        })
    }
}

fn choice<T: Copy>(
    table: &BTreeMap<String, Value>,
    option: &'static str,
    prefix: &'static str,
    choices: &[(&str, T)],
) -> Result<Option<T>, SqliteError> {
    let Some(value) = table.get(option) else {
        return Ok(None);
    };
    let name = value.as_enum().ok_or(SqliteError::NotAnEnum { option })?;
    let name = name
        .as_bytes()
        .strip_prefix(prefix.as_bytes())
        .ok_or(SqliteError::WrongPrefix { option, prefix })?;
    let chosen = choices.iter().find(|(text, _)| text.as_bytes() == name);
    let (_, chosen) = chosen.ok_or(SqliteError::InvalidValue { option })?;
    Ok(Some(*chosen))
}

#[cfg(test)]
mod tests {
    use broker_data::EnumValue;

    use super::*;

    fn table<const N: usize>(options: [(&str, Value); N]) -> BTreeMap<String, Value> {
        let named = options.map(|(name, value)| (name.to_owned(), value));
        BTreeMap::from(named)
    }

    fn member(name: &str) -> Value {
        Value::from(EnumValue::new(name))
    }

    fn refusal(options: &BTreeMap<String, Value>) -> String {
        SqliteOptions::from_table(options).unwrap_err().to_string()
    }

    #[test]
    fn a_path_is_enough() {
        let options = SqliteOptions::from_table(&table([("path", Value::from("a.db"))]));
        assert_eq!(options, Ok(SqliteOptions::new("a.db")));
    }

    #[test]
    fn every_choice_has_its_name() {
        for (name, synchronous) in [
            ("Broker::SQLITE_SYNCHRONOUS_OFF", Synchronous::Off),
            ("Broker::SQLITE_SYNCHRONOUS_NORMAL", Synchronous::Normal),
            ("Broker::SQLITE_SYNCHRONOUS_FULL", Synchronous::Full),
            ("Broker::SQLITE_SYNCHRONOUS_EXTRA", Synchronous::Extra),
        ] {
            let options = table([("path", Value::from("a")), ("synchronous", member(name))]);
            let options = SqliteOptions::from_table(&options).unwrap();
            assert_eq!(options.synchronous, Some(synchronous));
        }
        for (name, journal_mode) in [
            ("Broker::SQLITE_JOURNAL_MODE_DELETE", JournalMode::Delete),
            ("Broker::SQLITE_JOURNAL_MODE_WAL", JournalMode::Wal),
        ] {
            let options = table([("path", Value::from("a")), ("journal_mode", member(name))]);
            let options = SqliteOptions::from_table(&options).unwrap();
            assert_eq!(options.journal_mode, Some(journal_mode));
        }
        for (name, failure_mode) in [
            ("Broker::SQLITE_FAILURE_MODE_DELETE", FailureMode::Delete),
            ("Broker::SQLITE_FAILURE_MODE_FAIL", FailureMode::Fail),
        ] {
            let options = table([("path", Value::from("a")), ("failure_mode", member(name))]);
            let options = SqliteOptions::from_table(&options).unwrap();
            assert_eq!(options.failure_mode, failure_mode);
        }
    }

    #[test]
    fn refusals_have_the_known_texts() {
        let cases = [
            (
                table([("synchronous", Value::from("FULL"))]),
                "SQLite backend option 'synchronous' not an enum value",
            ),
            (
                table([("journal_mode", member("WAL"))]),
                "SQLite backend option 'journal_mode' not starting with prefix \
                 Broker::SQLITE_JOURNAL_MODE_",
            ),
            (
                table([("failure_mode", member("Broker::SQLITE_FAILURE_MODE_PANIC"))]),
                "SQLite backend option 'failure_mode' has an invalid value",
            ),
            (
                table([("integrity_check", Value::from(1_u64))]),
                "SQLite backend option 'integrity_check' not a boolean",
            ),
            (
                table([]),
                "SQLite backend options are missing required 'path' string",
            ),
            (
                table([("path", Value::from(1_u64))]),
                "SQLite backend option 'path' is not a string",
            ),
        ];
        for (options, text) in cases {
            assert_eq!(refusal(&options), text);
        }
    }

    #[test]
    fn the_first_bad_option_is_named() {
        let mut options = table([
            ("synchronous", Value::None),
            ("journal_mode", Value::None),
            ("failure_mode", Value::None),
            ("integrity_check", Value::None),
        ]);
        for name in [
            "synchronous",
            "journal_mode",
            "failure_mode",
            "integrity_check",
        ] {
            assert!(refusal(&options).contains(name), "{name}");
            options.remove(name);
        }
        assert!(refusal(&options).contains("path"));
    }

    #[test]
    fn other_options_are_ignored() {
        let options = table([("path", Value::from("a")), ("page_size", Value::None)]);
        assert!(SqliteOptions::from_table(&options).is_ok());
    }
}
