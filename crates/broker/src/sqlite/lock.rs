//! Keeps a second master away from a database file. See `docs/adr/0060-one-store-per-file.md`.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use crate::sqlite::error::SqliteOpenError;

/// What is appended to the name of the database file.
const SUFFIX: &str = "-lock";

/// How often the lock file may be deleted between opening and locking it. Each time another store
/// has just been closed; that many in a row is no accident.
const ATTEMPTS_MAX: u32 = 100;

/// Holds the lock of a database file until dropped.
///
/// The lock is on a file of its own, since closing any descriptor of the database file would drop
/// the locks that SQLite holds in this process. The system releases it with the process.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock of this database file, whose links must be resolved.
    pub(crate) fn take(database: &Path) -> Result<Self, SqliteOpenError> {
        let mut path = OsString::from(database);
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        let refused = |cause: io::Error| SqliteOpenError::Lock {
            lock: path.clone(),
            cause: cause.to_string(),
        };
        for _ in 0..ATTEMPTS_MAX {
            let file = File::from(
                open(
                    &path,
                    OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o644),
                )
                .map_err(|errno| refused(errno.into()))?,
            );
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(SqliteOpenError::InUse { lock: path }),
                Err(errno) => return Err(refused(errno.into())),
            }
            // Whoever held it before has deleted it: the lock is on a file that nobody else finds.
            if is_at(&file.metadata().map_err(refused)?, &path) {
                return Ok(Self { file, path });
            }
        }
        Err(refused(io::Error::other("it keeps being deleted")))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Deleted while locked, so that only the holder ever deletes. A failure leaves an empty
        // file that the next holder uses.
        if self
            .file
            .metadata()
            .is_ok_and(|file| is_at(&file, &self.path))
        {
            let _ = fs::remove_file(&self.path);
        }
        // A child made by a fork shares the lock, and would keep it if only the descriptor closed.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Whether a file is the one that this path leads to.
pub(crate) fn is_at(file: &Metadata, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        (directory, path)
    }

    #[test]
    fn a_second_lock_is_refused_and_leaves_the_first_alone() {
        let (_directory, path) = database();
        let first = FileLock::take(&path).unwrap();
        for _ in 0..2 {
            let refusal = FileLock::take(&path).unwrap_err();
            assert!(matches!(refusal, SqliteOpenError::InUse { .. }));
        }
        drop(first);
        FileLock::take(&path).unwrap();
    }

    #[test]
    fn nothing_stays_behind() {
        let (directory, path) = database();
        drop(FileLock::take(&path).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_file_of_a_dead_process_is_taken_over() {
        let (directory, path) = database();
        fs::write(directory.path().join("a.db-lock"), "").unwrap();
        drop(FileLock::take(&path).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_file_that_somebody_else_made_is_not_deleted() {
        let (directory, path) = database();
        let first = FileLock::take(&path).unwrap();
        fs::remove_file(directory.path().join("a.db-lock")).unwrap();
        let _second = FileLock::take(&path).unwrap();
        drop(first);
        assert!(directory.path().join("a.db-lock").exists());
    }

    #[test]
    fn a_descriptor_that_a_child_shares_does_not_keep_the_lock() {
        let (_directory, path) = database();
        let first = FileLock::take(&path).unwrap();
        let _shared = first.file.try_clone().unwrap();
        drop(first);
        FileLock::take(&path).unwrap();
    }

    #[test]
    fn takers_at_once_never_hold_it_together() {
        use std::sync::atomic::{AtomicU32, Ordering};

        let (_directory, path) = database();
        let holders = AtomicU32::new(0);
        let taken = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(lock) = FileLock::take(&path) {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert!(taken.load(Ordering::SeqCst) > 0);
    }
}
