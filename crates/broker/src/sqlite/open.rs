//! From options to a database that is ready for use. Spec: stores 8.2, 8.3.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::sqlite::error::{SqliteError, SqliteOpenError};
use crate::sqlite::lock::FileLock;
use crate::sqlite::options::{FailureMode, SqliteOptions};
use crate::sqlite::{Expiries, load_expiries, tables};

/// The path that means a database without a file.
const MEMORY: &str = ":memory:";

/// How many symbolic links to a file that does not exist yet are followed; as many as Linux does.
const LINKS_MAX: u32 = 40;

/// SQLite counts milliseconds in 31 bits.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// Memory for pages of one file, in KiB as a negative number, taken as it is needed. SQLite's own 2
/// MiB are less than 20,000 small entries: beyond that each read would fetch pages, and a group that
/// changes more would write them, and wait for the disk, before its commit.
const CACHE_SIZE: &str = "PRAGMA cache_size=-16384";

/// What SQLite may leave beside a file after a crash. It belongs to that file alone.
const COMPANIONS: &[&str] = &["-journal", "-wal", "-shm"];

/// What an interrupted transaction leaves; the next writer undoes it.
const ROLLBACK_JOURNAL: &str = "-journal";

/// Keeps a connection from writing, whatever it is asked to do.
const QUERY_ONLY: &str = "PRAGMA query_only=ON";

/// The release of the original whose format this is. Nobody reads it. Spec: stores 8.2.
const VERSION: &str = "2.8.0";

/// Begins the transaction that makes the tables. Read-only files and locks show up here.
const BEGIN: &str = "begin immediate";
/// The text after `table` is stored in the file; it must stay that of the original.
const CREATE_META: &str = "create table if not exists meta(key text primary key, value text)";
const CREATE_STORE: &str =
    "create table if not exists store(key blob primary key, value blob, expiry integer)";
const SET_VERSION: &str = "replace into meta(key, value) values('broker_version', ?1)";

/// A database that is ready for use, with what was found in it.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) file: Option<DatabaseFile>,
    pub(crate) expiries: Expiries,
}

/// The file of a database, reserved for one store.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    /// Absolute, links resolved: the name that SQLite opens never depends on the current directory,
    /// and never looks like a URI to it.
    pub(crate) path: PathBuf,
    /// Device and number of the file that is open, to notice when it is gone.
    identity: (u64, u64),
    _lock: FileLock,
}

impl DatabaseFile {
    /// Whether the file is still where it was opened.
    pub(crate) fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity)
    }
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Why a step failed, and whether the file itself is to blame.
struct StepFailure {
    cause: SqliteOpenError,
    is_damage: bool,
}

impl From<SqliteOpenError> for StepFailure {
    fn from(cause: SqliteOpenError) -> Self {
        Self {
            cause,
            is_damage: false,
        }
    }
}

/// Turns what SQLite said about a step into a failure.
fn failed(
    step: impl FnOnce(String) -> SqliteOpenError,
) -> impl FnOnce(rusqlite::Error) -> StepFailure {
    |error| StepFailure {
        is_damage: matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ),
        cause: step(error.to_string()),
    }
}

/// Opens what the options name.
pub(crate) fn open(options: &SqliteOptions) -> Result<Opened, SqliteError> {
    let opened = if options.path == Path::new(MEMORY) {
        ready(options, Path::new(MEMORY)).map(|(connection, expiries)| Opened {
            connection,
            file: None,
            expiries,
        })
    } else {
        open_file(options)
    };
    opened.map_err(|failure| SqliteError::Open {
        path: options.path.clone(),
        cause: failure.cause,
    })
}

fn open_file(options: &SqliteOptions) -> Result<Opened, StepFailure> {
    let path = resolve(&options.path, LINKS_MAX)?;
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => return Err(SqliteOpenError::Directory.into()),
        Ok(found) if !found.is_file() => return Err(SqliteOpenError::NotAFile.into()),
        // What is wrong with a file that cannot be looked at, SQLite will say.
        Ok(_) | Err(_) => {}
    }
    let lock = FileLock::take(&path)?;
    tables::check_file(&path)?;
    let (connection, expiries) = match ready(options, &path) {
        Err(failure) if failure.is_damage && options.failure_mode == FailureMode::Delete => {
            tracing::warn!(
                event = "damaged-database-deleted",
                path = %path.display(),
                cause = %failure.cause,
            );
            delete(&path).map_err(|cause| SqliteOpenError::Delete(cause.to_string()))?;
            ready(options, &path)?
        }
        done => done?,
    };
    let found = fs::metadata(&path).map_err(|cause| SqliteOpenError::Path(cause.to_string()))?;
    let file = DatabaseFile {
        identity: identity(&found),
        path,
        _lock: lock,
    };
    Ok(Opened {
        connection,
        file: Some(file),
        expiries,
    })
}

/// Opens a file that is there to look at it, without changing a byte of it.
pub(crate) fn open_to_read(path: &Path) -> Result<Opened, SqliteError> {
    file_to_read(path).map_err(|failure| SqliteError::Open {
        path: path.to_owned(),
        cause: failure.cause,
    })
}

fn file_to_read(path: &Path) -> Result<Opened, StepFailure> {
    let path = fs::canonicalize(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => SqliteOpenError::Missing,
        _ => SqliteOpenError::Path(cause.to_string()),
    })?;
    let found = fs::metadata(&path).map_err(|cause| SqliteOpenError::Path(cause.to_string()))?;
    if found.is_dir() {
        return Err(SqliteOpenError::Directory.into());
    }
    if !found.is_file() {
        return Err(SqliteOpenError::NotAFile.into());
    }
    let lock = FileLock::take(&path)?;
    let mut journal = path.as_os_str().to_owned();
    journal.push(ROLLBACK_JOURNAL);
    if fs::metadata(&journal).is_ok_and(|journal| journal.len() > 0) {
        let journal = PathBuf::from(journal);
        return Err(SqliteOpenError::Interrupted { journal }.into());
    }
    let not_opened = |cause: String| SqliteOpenError::Database {
        path: path.clone(),
        cause,
    };
    let connection = tables::open_unchanged(&path).map_err(failed(&not_opened))?;
    run_pragma(&connection, QUERY_ONLY).map_err(failed(&not_opened))?;
    tables::check(&connection)?;
    let expiries = load_expiries(&connection).map_err(failed(SqliteOpenError::Expiries))?;
    let file = DatabaseFile {
        identity: identity(&found),
        path,
        _lock: lock,
    };
    Ok(Opened {
        connection,
        file: Some(file),
        expiries,
    })
}

/// Finds the file that a path leads to, and makes the directories that are missing.
fn resolve(path: &Path, links_left: u32) -> Result<PathBuf, SqliteOpenError> {
    let unreachable = |cause: io::Error| SqliteOpenError::Path(cause.to_string());
    match fs::canonicalize(path) {
        Ok(path) => return Ok(path),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(unreachable(cause)),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(SqliteOpenError::NotAFileName);
    };
    let parent = match parent {
        here if here == Path::new("") => Path::new("."),
        parent => parent,
    };
    match fs::read_link(path) {
        Ok(target) if links_left > 0 => resolve(&parent.join(target), links_left - 1),
        Ok(_) => Err(SqliteOpenError::Path("too many symbolic links".to_owned())),
        Err(_) => {
            fs::create_dir_all(parent).map_err(unreachable)?;
            Ok(fs::canonicalize(parent).map_err(unreachable)?.join(name))
        }
    }
}

/// Deletes a database and what belongs to it. The file goes first: SQLite discards what it finds
/// beside a file that is new.
fn delete(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    for suffix in COMPANIONS {
        let mut companion = path.as_os_str().to_owned();
        companion.push(suffix);
        match fs::remove_file(companion) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// All steps of the original in its order, then the expiries: damage that would show up when the
/// store starts has to show up here.
fn ready(options: &SqliteOptions, path: &Path) -> Result<(Connection, Expiries), StepFailure> {
    // One thread at a time uses a connection, so SQLite needs no mutex of its own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let not_opened = |cause: String| SqliteOpenError::Database {
        path: path.to_owned(),
        cause,
    };
    let connection = Connection::open_with_flags(path, flags).map_err(failed(not_opened))?;
    connection
        .busy_timeout(options.busy_timeout.min(BUSY_TIMEOUT_MAX))
        .map_err(failed(not_opened))?;
    let synchronous = options.synchronous.map(|mode| mode.pragma());
    let journal_mode = options.journal_mode.map(|mode| mode.pragma());
    let set = |pragma| {
        run_pragma(&connection, pragma)
            .map_err(failed(|cause| SqliteOpenError::Pragma { pragma, cause }))
    };
    for pragma in [synchronous, journal_mode].into_iter().flatten() {
        set(pragma)?;
    }
    create_tables(&connection)?;
    // Only now, because it reads the file: what is no database has to show up above.
    set(CACHE_SIZE)?;
    if options.integrity_check {
        check_integrity(&connection)?;
    }
    let expiries = load_expiries(&connection).map_err(failed(SqliteOpenError::Expiries))?;
    Ok((connection, expiries))
}

/// Runs a setting; some answer with a row, which is of no interest.
fn run_pragma(connection: &Connection, pragma: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(pragma)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Creates what is missing and writes the version, in one transaction: one wait for the disk
/// instead of three.
fn create_tables(connection: &Connection) -> Result<(), StepFailure> {
    let step = |sql: &str| connection.execute_batch(sql);
    step(BEGIN).map_err(failed(SqliteOpenError::MetaTable))?;
    // Something else may have made its tables since the file was looked at.
    tables::check(connection)?;
    step(CREATE_META).map_err(failed(SqliteOpenError::MetaTable))?;
    step(CREATE_STORE).map_err(failed(SqliteOpenError::StoreTable))?;
    connection
        .execute(SET_VERSION, [VERSION])
        .and_then(|_| step("commit"))
        .map_err(failed(SqliteOpenError::Version))
}

/// Checks the whole file; the result must be one row that says so.
fn check_integrity(connection: &Connection) -> Result<(), StepFailure> {
    let finding = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| {
            row.get::<_, String>(0)
        })
        .map_err(failed(SqliteOpenError::Integrity))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(StepFailure {
        cause: SqliteOpenError::Integrity(finding),
        is_damage: true,
    })
}
