//! Entries in a SQLite file that the original can read and write, too.
//!
//! Spec: stores 8.2, 8.3. Invariants:
//!
//! - A group of writes is one transaction, begun by its first write. When the group is lost, for
//!   whatever reason, nothing of it can be read and its commit fails.
//! - The file serves one store at a time; see `docs/adr/0060-one-store-per-file.md`.
//! - Nothing that is in the file can make a call panic; it fails or leaves the row out.

mod error;
mod lock;
mod open;
mod options;
mod tables;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use broker_data::{DecodeErrorKind, Timestamp, canonical};
use broker_proto::store::backend::{Backend, BackendError, Entry, VisitEntry};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params};

use crate::sqlite::open::{DatabaseFile, Opened};

pub use error::{SqliteError, SqliteOpenError};
pub use options::{BUSY_TIMEOUT, FailureMode, JournalMode, SqliteOptions, Synchronous};

const GET: &str = "select value, expiry from store where key = ?1";
const CONTAINS: &str = "select 1 from store where key = ?1";
/// Keeps the row where it is, unlike `replace`, so that the index of the keys is not touched.
const PUT: &str = "insert into store(key, value, expiry) values(?1, ?2, ?3) \
                   on conflict(key) do update set value = excluded.value, expiry = excluded.expiry";
const ERASE: &str = "delete from store where key = ?1";
const EXPIRE: &str = "delete from store where key = ?1 and expiry <= ?2";
const CLEAR: &str = "delete from store";
const COUNT: &str = "select count(*) from store";
const ENTRIES: &str = "select key, value, expiry from store order by key";
const KEYS: &str = "select key from store order by key";
/// Keys that no call finds, of other types, are before these.
const KEYS_AFTER: &str = "select key from store where key > ?1 order by key limit ?2";
const EXPIRIES: &str = "select key, expiry from store where expiry is not null";
/// Takes the right to write at once: waiting for it later, with a snapshot of an older state in
/// hand, could only fail.
const BEGIN: &str = "begin immediate";
/// Takes nothing but a lasting look at the latest state, from the first read on.
const BEGIN_READS: &str = "begin deferred";
const COMMIT: &str = "commit";
const ROLLBACK: &str = "rollback";
const INTEGRITY: &str = "PRAGMA integrity_check(100)";
const COMPACT: &str = "vacuum";

/// Keys that expire, with their times.
type Expiries = Vec<(Vec<u8>, Timestamp)>;

/// A back end in a SQLite file.
///
/// Calls wait for the disk and for locks of other processes; give each a thread of its own. Others
/// may read the file at any time, with SQLite's own tools as well.
pub struct SqliteBackend {
    // Declared first: closed before the lock is released, as fields are dropped in order.
    connection: Connection,
    file: Option<DatabaseFile>,
    group: Group,
    /// What was found when opening, until the first write.
    expiries_at_open: Option<Expiries>,
}

/// The writes since the last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    /// There are none.
    Empty,
    /// There are none, but reads share a transaction.
    Reading,
    /// They are in a transaction.
    Open,
    /// They are gone, for this reason, which nobody may miss: all calls fail until the group ends.
    Lost(BackendError),
}

impl fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBackend")
            .field("file", &self.file)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl SqliteBackend {
    /// Opens a file, or makes it.
    ///
    /// # Errors
    ///
    /// When the file cannot be used, whatever the reason: it is no database, damaged where every
    /// use would notice, read-only, locked, or serves another store.
    pub fn open(options: &SqliteOptions) -> Result<Self, SqliteError> {
        let Opened {
            connection,
            file,
            expiries,
        } = open::open(options)?;
        Ok(Self::new(connection, file, expiries))
    }

    /// Opens a file that is there to look at it. Nothing changes it by a byte: neither opening nor
    /// closing does, and calls that would write fail.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and when there is no file, no store in it, or an interrupted writer
    /// left something to be undone.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        let Opened {
            connection,
            file,
            expiries,
        } = open::open_to_read(path.as_ref())?;
        Ok(Self::new(connection, file, expiries))
    }

    const fn new(connection: Connection, file: Option<DatabaseFile>, expiries: Expiries) -> Self {
        Self {
            connection,
            file,
            group: Group::Empty,
            expiries_at_open: Some(expiries),
        }
    }

    /// Looks for damage in the whole file; returns what SQLite says about it, at most a hundred
    /// lines, or nothing.
    ///
    /// # Errors
    ///
    /// When the file cannot be read at all.
    pub fn find_damage(&mut self) -> Result<Vec<String>, BackendError> {
        let findings = self.read(INTEGRITY, |statement| {
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(findings.into_iter().filter(|it| it != "ok").collect())
    }

    /// Writes the file anew without the room that removed entries left.
    ///
    /// # Errors
    ///
    /// When the disk refuses: it takes twice the size of the file for a while. Writes that are not
    /// committed are lost.
    pub fn compact(&mut self) -> Result<(), BackendError> {
        self.rollback();
        self.read(COMPACT, |statement| statement.execute([]).map(drop))
    }

    /// Runs one step that reads.
    fn read<T>(
        &mut self,
        sql: &'static str,
        step: impl FnOnce(&mut CachedStatement<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, BackendError> {
        if let Group::Lost(cause) = &self.group {
            return Err(cause.clone());
        }
        let done = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| step(&mut statement));
        done.map_err(|error| self.failed(&error))
    }

    /// Runs one step that writes, in the group's transaction. Returns how many rows it changed.
    fn write(&mut self, sql: &'static str, parameters: impl Params) -> Result<usize, BackendError> {
        match self.group {
            Group::Empty | Group::Reading => self.begin()?,
            Group::Open | Group::Lost(_) => {}
        }
        self.read(sql, |statement| statement.execute(parameters))
    }

    /// Begins a group. When that fails the group is lost from the start: its other calls fail
    /// without waiting for the same lock again.
    fn begin(&mut self) -> Result<(), BackendError> {
        self.expiries_at_open = None;
        // What only reads cannot always go over to writing, if others wrote meanwhile.
        self.undo();
        let moved = self.file.as_ref().filter(|file| !file.is_in_place());
        let begun = if let Some(file) = moved {
            // SQLite would go on writing into a file that nobody can find any more.
            Err(BackendError::Failed(format!(
                "database `{}` was moved, replaced or deleted while in use",
                file.path.display()
            )))
        } else {
            self.read(BEGIN, |statement| statement.execute([]))
        };
        self.group = match &begun {
            Ok(_) => Group::Open,
            Err(cause) => Group::Lost(cause.clone()),
        };
        begun.map(drop)
    }

    /// Notes what a failure means for the group, and words it.
    fn failed(&mut self, error: &rusqlite::Error) -> BackendError {
        let cause = BackendError::Failed(match &self.file {
            Some(file) => format!("database `{}`: {error}", file.path.display()),
            None => error.to_string(),
        });
        // SQLite ends the transaction by itself after failures such as a full disk.
        if self.connection.is_autocommit() {
            match self.group {
                Group::Open => self.group = Group::Lost(cause.clone()),
                Group::Reading => self.group = Group::Empty,
                Group::Empty | Group::Lost(_) => {}
            }
        }
        cause
    }

    /// Undoes an open transaction.
    fn undo(&mut self) {
        if self.connection.is_autocommit() {
            return;
        }
        let undone = self
            .connection
            .prepare_cached(ROLLBACK)
            .and_then(|mut statement| statement.execute([]));
        if let Err(error) = undone {
            // The next group tries again and, failing that, cannot begin.
            tracing::warn!(event = "rollback-failed", %error);
        }
    }
}

impl Backend for SqliteBackend {
    fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, BackendError> {
        let found = self.read(GET, |statement| {
            statement
                .query_row([key], |row| {
                    Ok(stored_entry(row.get_ref(0)?, row.get_ref(1)?))
                })
                .optional()
        })?;
        found.transpose()
    }

    fn contains(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        self.read(CONTAINS, |statement| statement.exists([key]))
    }

    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        expiry: Option<Timestamp>,
    ) -> Result<(), BackendError> {
        self.write(PUT, (key, value, expiry.map(Timestamp::ns)))
            .map(drop)
    }

    fn erase(&mut self, key: &[u8]) -> Result<bool, BackendError> {
        self.write(ERASE, [key]).map(|erased| erased > 0)
    }

    fn expire(&mut self, key: &[u8], now: Timestamp) -> Result<bool, BackendError> {
        self.write(EXPIRE, (key, now.ns()))
            .map(|expired| expired > 0)
    }

    fn clear(&mut self) -> Result<(), BackendError> {
        self.write(CLEAR, []).map(drop)
    }

    fn count(&mut self) -> Result<u64, BackendError> {
        let count = self.read(COUNT, |statement| {
            statement.query_row([], |row| row.get::<_, i64>(0))
        })?;
        Ok(count.unsigned_abs())
    }

    fn for_each(&mut self, visit: &mut VisitEntry<'_>) -> Result<u64, BackendError> {
        self.read(ENTRIES, |statement| {
            let mut left_out = 0;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let key = findable_key(row.get_ref(0)?);
                let value = stored_value(row.get_ref(1)?);
                let expiry = stored_expiry(row.get_ref(2)?);
                if let (Some(key), Ok(value), Ok(expiry)) = (key, value, expiry) {
                    visit(key, &value, expiry);
                } else {
                    left_out += 1;
                }
            }
            Ok(left_out)
        })
    }

    fn for_each_key(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), BackendError> {
        self.read(KEYS, |statement| {
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                match stored_value(row.get_ref(0)?) {
                    Ok(key) => visit(&key),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(()))
        })?
    }

    fn keys_after(
        &mut self,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, BackendError> {
        self.read(KEYS_AFTER, |statement| {
            let mut rows = statement.query((after, i64::try_from(limit).unwrap_or(i64::MAX)))?;
            let (mut count, mut last) = (0, None);
            while let Some(row) = rows.next()? {
                let key = row.get_ref(0)?;
                count += 1;
                if count == limit {
                    last = stored_bytes(key).map(<[u8]>::to_vec);
                }
                if let Some(key) = findable_key(key) {
                    visit(key);
                }
            }
            Ok(last)
        })
    }

    fn expiries(&mut self) -> Result<Expiries, BackendError> {
        if matches!(self.group, Group::Empty | Group::Reading)
            && let Some(expiries) = self.expiries_at_open.take()
        {
            return Ok(expiries);
        }
        self.read(EXPIRIES, expiries_of)
    }

    fn begin_reads(&mut self) -> Result<(), BackendError> {
        if self.group == Group::Empty {
            self.undo();
            self.read(BEGIN_READS, |statement| statement.execute([]))?;
            self.group = Group::Reading;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), BackendError> {
        match &self.group {
            Group::Empty => return Ok(()),
            Group::Reading | Group::Open | Group::Lost(_) => {}
        }
        let committed = self.read(COMMIT, |statement| statement.execute([]));
        self.undo();
        self.group = Group::Empty;
        committed.map(drop)
    }

    fn rollback(&mut self) {
        self.undo();
        self.group = Group::Empty;
    }
}

/// Loads the keys that expire, with their times.
fn load_expiries(connection: &Connection) -> rusqlite::Result<Expiries> {
    expiries_of(&mut connection.prepare_cached(EXPIRIES)?)
}

fn expiries_of(statement: &mut CachedStatement<'_>) -> rusqlite::Result<Expiries> {
    let mut expiries = Vec::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key = findable_key(row.get_ref(0)?);
        if let (Some(key), Ok(Some(at))) = (key, stored_expiry(row.get_ref(1)?)) {
            expiries.push((key.to_vec(), at));
        }
    }
    Ok(expiries)
}

fn stored_entry(value: ValueRef<'_>, expiry: ValueRef<'_>) -> Result<Entry, BackendError> {
    Ok(Entry {
        value: stored_value(value)?.into_owned(),
        expiry: stored_expiry(expiry)?,
    })
}

/// The value in a column, in its canonical encoding. Bytes behind it are ignored.
fn stored_value(column: ValueRef<'_>) -> Result<Cow<'_, [u8]>, BackendError> {
    let bytes = stored_bytes(column)
        .ok_or_else(|| BackendError::InvalidData(format!("{} column", column.data_type())))?;
    let value = match canonical(bytes) {
        Err(error) if error.kind == DecodeErrorKind::End => {
            canonical(bytes.get(..error.offset).unwrap_or_default())
        }
        value => value,
    };
    value.map_err(|error| BackendError::InvalidData(error.to_string()))
}

/// The key in a column when it is stored as it is looked for; no call finds it otherwise.
fn findable_key(column: ValueRef<'_>) -> Option<&[u8]> {
    let ValueRef::Blob(bytes) = column else {
        return None;
    };
    matches!(canonical(bytes), Ok(Cow::Borrowed(_))).then_some(bytes)
}

/// Columns have no fixed type in SQLite: what was written as text by hand has bytes as well.
fn stored_bytes(column: ValueRef<'_>) -> Option<&[u8]> {
    match column {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Some(bytes),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    }
}

fn stored_expiry(column: ValueRef<'_>) -> Result<Option<Timestamp>, BackendError> {
    match column {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(ns) => Ok(Some(Timestamp::from_ns(ns))),
        ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => Err(
            BackendError::InvalidData(format!("{} as expiry", column.data_type())),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(directory: &tempfile::TempDir) -> SqliteBackend {
        SqliteBackend::open(&SqliteOptions::new(directory.path().join("a.db"))).unwrap()
    }

    const KEY: &[u8] = &[1, 0];
    const OTHER: &[u8] = &[1, 1];
    const VALUE: &[u8] = &[0];

    #[test]
    fn a_full_disk_is_an_error_and_committed_entries_stay() {
        let directory = tempfile::tempdir().unwrap();
        let mut backend = backend(&directory);
        backend.put(KEY, VALUE, None).unwrap();
        backend.commit().unwrap();
        let limit = "PRAGMA max_page_count = 8";
        let limited: i64 = backend
            .connection
            .query_row(limit, [], |row| row.get(0))
            .unwrap();
        assert_eq!(limited, 8);
        let mut large = broker_data::to_bytes(&*"x".repeat(10_000)).unwrap();
        backend.put(OTHER, &large, None).unwrap();
        large.extend_from_within(..);
        let failure = backend.put(KEY, &large, None).unwrap_err();
        assert!(failure.to_string().ends_with("database or disk is full"));
        // Whether the group is lost is up to SQLite. Either way it is never half there.
        let committed = backend.commit();
        assert_eq!(backend.contains(OTHER), Ok(committed.is_ok()));
        assert_eq!(backend.get(KEY).unwrap().unwrap().value, VALUE);
        backend.erase(OTHER).unwrap();
        backend.put(KEY, OTHER, None).unwrap();
        backend.commit().unwrap();
        assert_eq!(backend.get(KEY).unwrap().unwrap().value, OTHER);
    }

    #[test]
    fn a_group_that_sqlite_rolled_back_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let mut backend = backend(&directory);
        backend
            .connection
            .execute_batch(
                "create trigger t before insert on store when new.key = x'0101' \
                 begin select raise(rollback, 'by itself'); end",
            )
            .unwrap();
        backend.put(KEY, VALUE, None).unwrap();
        let failure = backend.put(OTHER, VALUE, None).unwrap_err();
        assert!(failure.to_string().ends_with("by itself"));
        assert_eq!(backend.put(KEY, VALUE, None), Err(failure.clone()));
        assert_eq!(backend.get(KEY), Err(failure.clone()));
        assert_eq!(backend.contains(KEY), Err(failure.clone()));
        assert_eq!(backend.erase(KEY), Err(failure.clone()));
        assert_eq!(backend.expiries(), Err(failure.clone()));
        assert_eq!(backend.commit(), Err(failure));
        assert_eq!(backend.count(), Ok(0));
        backend.put(KEY, VALUE, None).unwrap();
        backend.commit().unwrap();
        assert_eq!(backend.count(), Ok(1));

        backend.put(OTHER, VALUE, None).unwrap_err();
        backend.rollback();
        assert_eq!(backend.commit(), Ok(()));
        assert_eq!(backend.count(), Ok(1));
    }

    #[test]
    fn a_failure_that_leaves_the_transaction_open_leaves_the_group() {
        let directory = tempfile::tempdir().unwrap();
        let mut backend = backend(&directory);
        backend
            .connection
            .execute_batch(
                "create trigger t before insert on store when new.key = x'0101' \
                 begin select raise(abort, 'not this'); end",
            )
            .unwrap();
        backend.put(KEY, VALUE, None).unwrap();
        backend.put(OTHER, VALUE, None).unwrap_err();
        backend.commit().unwrap();
        assert_eq!(backend.contains(KEY), Ok(true));
        assert_eq!(backend.contains(OTHER), Ok(false));
    }

    #[test]
    fn a_run_of_reads_sees_one_state_and_may_go_over_to_writing() {
        let directory = tempfile::tempdir().unwrap();
        let mut backend = Box::new(backend(&directory));
        let other = Connection::open(directory.path().join("a.db")).unwrap();
        other.execute_batch("PRAGMA journal_mode=WAL").unwrap();
        let insert = |key: &[u8]| {
            let sql = "insert into store(key, value) values(?1, x'00')";
            other.execute(sql, [key]).unwrap();
        };
        // As a master calls it.
        <Box<_> as Backend>::begin_reads(&mut backend).unwrap();
        assert_eq!(backend.count(), Ok(0));
        insert(KEY);
        assert_eq!(backend.count(), Ok(0));
        // Writing goes on from the latest state.
        backend.put(OTHER, VALUE, None).unwrap();
        assert_eq!(backend.count(), Ok(2));
        backend.begin_reads().unwrap();
        backend.commit().unwrap();

        backend.begin_reads().unwrap();
        assert_eq!(backend.count(), Ok(2));
        insert(VALUE);
        assert_eq!(backend.count(), Ok(2));
        backend.commit().unwrap();
        assert_eq!(backend.count(), Ok(3));
        backend.begin_reads().unwrap();
        backend.rollback();
        assert_eq!(backend.group, Group::Empty);
    }

    #[test]
    fn a_walk_in_steps_sees_each_key_once_and_none_that_cannot_be_found() {
        let directory = tempfile::tempdir().unwrap();
        let mut backend = backend(&directory);
        // Encodings of false and true, and of counts.
        let mut all: Vec<Vec<u8>> = vec![KEY.to_vec(), OTHER.to_vec()];
        all.extend((0..9_u64).map(|number| broker_data::to_bytes(&number).unwrap()));
        all.sort();
        for key in &all {
            backend.put(key, VALUE, None).unwrap();
        }
        backend.commit().unwrap();
        // Written by hand: a text, and bytes that are no value or have more behind them.
        backend
            .connection
            .execute_batch(
                "insert into store(key, value) values('text', x'00'), (x'ff', x'00'), (x'010000', x'00')",
            )
            .unwrap();
        for limit in 1..16 {
            let (mut keys, mut after) = (Vec::new(), Some(Vec::new()));
            while let Some(last) = after {
                let visit = &mut |key: &[u8]| keys.push(key.to_vec());
                after = backend.keys_after(&last, limit, visit).unwrap();
            }
            assert_eq!(keys, all, "{limit} at a time");
        }
    }

    #[test]
    fn expiries_found_at_open_are_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = Timestamp::from_ns(7);
        let mut first = backend(&directory);
        first.put(KEY, VALUE, Some(at)).unwrap();
        first.commit().unwrap();
        drop(first);
        let mut second = backend(&directory);
        assert_eq!(second.expiries(), Ok(vec![(KEY.to_vec(), at)]));
        second.erase(KEY).unwrap();
        assert_eq!(second.expiries(), Ok(Vec::new()));
        second.rollback();
        drop(second);
        let mut third = backend(&directory);
        third.erase(KEY).unwrap();
        third.commit().unwrap();
        assert_eq!(third.expiries(), Ok(Vec::new()));
    }
}
