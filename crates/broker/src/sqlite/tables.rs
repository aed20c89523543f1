//! Whether a database is ours to use: a file with tables of something else stays as it is.
//!
//! See `docs/adr/0101-files-of-others.md`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::sqlite::error::SqliteOpenError;

/// What SQLite keeps for itself is nobody's.
const TABLES: &str = "select name from sqlite_schema \
                      where type in ('table', 'view') and name not like 'sqlite\\_%' escape '\\' \
                      order by name";
const COLUMNS: &str = "select count(*) from pragma_table_info(?1) where name = ?2";

/// Our tables with their columns. The first is the one that entries are in.
const STORE: (&str, &[&str]) = ("store", &["key", "value", "expiry"]);
const META: (&str, &[&str]) = ("meta", &["key", "value"]);

/// Tables of others that a message names; the rest is counted.
const NAMED_MAX: usize = 4;

/// Looks at a file without changing it or leaving anything beside it. What cannot be looked at is
/// left to those who open it.
pub(super) fn check_file(path: &Path) -> Result<(), SqliteOpenError> {
    open_unchanged(path).map_or(Ok(()), |connection| check(&connection))
}

/// Looks at the tables of an open database.
pub(super) fn check(connection: &Connection) -> Result<(), SqliteOpenError> {
    match find_foreign(connection) {
        Ok(foreign) if !foreign.is_empty() => Err(SqliteOpenError::Foreign {
            tables: named(&foreign),
        }),
        // What damage means is up to the steps of opening.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The tables of others in a database that has none of ours to keep entries in.
fn find_foreign(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(TABLES)?;
    let tables = statement.query_map([], |row| row.get::<_, String>(0))?;
    let tables: Vec<String> = tables.collect::<rusqlite::Result<_>>()?;
    let is_ours = |(table, columns): (&str, &[&str])| -> rusqlite::Result<bool> {
        for column in columns {
            let count: i64 = connection.query_row(COLUMNS, [table, column], |row| row.get(0))?;
            if count == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let has = |name: &str| tables.iter().any(|it| it.eq_ignore_ascii_case(name));
    // The one is made after the other: a process may have ended in between.
    let begun = tables.len() == 1 && has(META.0) && is_ours(META)?;
    let meta_fits = !has(META.0) || is_ours(META)?;
    if begun || (has(STORE.0) && is_ours(STORE)? && meta_fits) {
        Ok(Vec::new())
    } else {
        Ok(tables)
    }
}

fn named(tables: &[String]) -> String {
    let quoted: Vec<String> = tables
        .iter()
        .take(NAMED_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    let mut text = quoted.join(", ");
    if tables.len() > NAMED_MAX {
        let _ = write!(text, " and {} more", tables.len() - NAMED_MAX);
    }
    text
}

/// Opens a file so that neither reading it nor closing it writes anything.
pub(super) fn open_unchanged(path: &Path) -> rusqlite::Result<Connection> {
    let beside = |suffix: &str| {
        let mut name = OsString::from(path);
        name.push(suffix);
        fs::metadata(name).map_or(0, |found| found.len())
    };
    if beside("-wal") == 0 {
        // All there is is in the file itself; a lock would be a write to some file systems.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        return Connection::open_with_flags(immutable_uri(path), flags);
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if beside("-shm") == 0 {
        // Then the index of the log is in memory and not in a file.
        connection.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
    }
    Ok(connection)
}

/// The URI of a file that SQLite takes for one that never changes.
fn immutable_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            other => {
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri + "?immutable=1"
}
