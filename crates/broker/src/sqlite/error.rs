//! Errors of files that hold a store. The texts of the original are kept where it has one, because
//! operators search their logs for them. Spec: stores 8.3.

use std::path::PathBuf;

use broker_proto::ErrorCode;

/// Why a [`SqliteBackend`](crate::SqliteBackend) was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// An option that chooses is something else than a member of an enumeration.
    #[error("SQLite backend option '{option}' not an enum value")]
    NotAnEnum {
        /// Its name.
        option: &'static str,
    },
    /// An option that chooses is a member of another enumeration.
    #[error("SQLite backend option '{option}' not starting with prefix {prefix}")]
    WrongPrefix {
        /// Its name.
        option: &'static str,
        /// How its choices begin.
        prefix: &'static str,
    },
    /// An option that chooses has none of its choices.
    #[error("SQLite backend option '{option}' has an invalid value")]
    InvalidValue {
        /// Its name.
        option: &'static str,
    },
    /// An option is something else than true or false.
    #[error("SQLite backend option '{option}' not a boolean")]
    NotABoolean {
        /// Its name.
        option: &'static str,
    },
    /// No file was named.
    #[error("SQLite backend options are missing required 'path' string")]
    PathMissing,
    /// The file's name is something else than a string.
    #[error("SQLite backend option 'path' is not a string")]
    PathNotAString,
    /// The file cannot be used.
    #[error("SQLite backend failed to open database at '{}': {cause}", path.display())]
    Open {
        /// The file as it was named.
        path: PathBuf,
        /// What went wrong.
        cause: SqliteOpenError,
    },
}

impl SqliteError {
    /// The code the original reports, the same for all.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::BackendFailure
    }
}

/// The step of opening that failed, and why in the words of SQLite or of the system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteOpenError {
    /// The name is not that of a file.
    #[error("not the name of a file")]
    NotAFileName,
    /// There is nothing.
    #[error("there is no such file")]
    Missing,
    /// A writer was interrupted, and only another one can undo what it had begun.
    #[error(
        "a writer was interrupted and left `{}`: a program that writes to the file has to open it \
         first, this one was not changed", journal.display()
    )]
    Interrupted {
        /// What it left.
        journal: PathBuf,
    },
    /// There is a directory.
    #[error("it is a directory")]
    Directory,
    /// There is something else than a file.
    #[error("it is not a regular file")]
    NotAFile,
    /// The way to the file cannot be followed or made.
    #[error("cannot reach its directory: {0}")]
    Path(String),
    /// Another master, here or in another process, uses the file.
    #[error(
        "the file is in use by another store; give each store a file of its own, or end the \
         process that holds `{}`", lock.display()
    )]
    InUse {
        /// The file whose lock says so.
        lock: PathBuf,
    },
    /// The file is a database of something else.
    #[error(
        "the file is the database of something else, with the tables {tables}; give the store a \
         file of its own, this one was not changed"
    )]
    Foreign {
        /// Their names, in backticks.
        tables: String,
    },
    /// The lock that keeps others away cannot be made.
    #[error("cannot lock `{}`: {cause}", lock.display())]
    Lock {
        /// The file to lock.
        lock: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// SQLite cannot open the file.
    #[error("failed to open database '{}': {cause}", path.display())]
    Database {
        /// The file, links resolved.
        path: PathBuf,
        /// What SQLite said.
        cause: String,
    },
    /// A setting was refused.
    #[error("failed to run '{pragma}': {cause}")]
    Pragma {
        /// The statement.
        pragma: &'static str,
        /// What SQLite said.
        cause: String,
    },
    /// The first table cannot be made; a file that is no database ends here.
    #[error("failed to create meta data table: {0}")]
    MetaTable(String),
    /// The second table cannot be made.
    #[error("failed to create store table: {0}")]
    StoreTable(String),
    /// The version cannot be written; a file that cannot be written at all ends here.
    #[error("failed to write the version: {0}")]
    Version(String),
    /// The check of the whole file found damage.
    #[error("integrity check failed: {0}")]
    Integrity(String),
    /// The entries that expire cannot be read.
    #[error("failed to load expiry times: {0}")]
    Expiries(String),
    /// The damaged file was to be deleted.
    #[error("cannot delete the damaged file: {0}")]
    Delete(String),
}
