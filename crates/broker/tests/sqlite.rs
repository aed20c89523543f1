//! Stores in SQLite files: the original's files, damage, locks, full disks and killed writers.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]
#![expect(clippy::print_stdout, reason = "child processes answer on stdout")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use broker::proto::store::{Backend, BackendError, Entry};
use broker::{FailureMode, JournalMode, SqliteBackend, SqliteError, SqliteOptions, Synchronous};
use broker::{Timestamp, Value};
use broker_data::to_bytes;
use rusqlite::Connection;
use tempfile::TempDir;

/// What a child process is to do, and with which file.
const ROLE: &str = "BROKER_SQLITE_TEST_ROLE";
const FILE: &str = "BROKER_SQLITE_TEST_FILE";

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(path: &Path) -> SqliteBackend {
    SqliteBackend::open(&SqliteOptions::new(path)).unwrap()
}

fn refusal(options: &SqliteOptions) -> String {
    SqliteBackend::open(options).unwrap_err().to_string()
}

fn key(name: &str) -> Vec<u8> {
    to_bytes(name).unwrap()
}

fn number(value: u64) -> Vec<u8> {
    to_bytes(&value).unwrap()
}

fn entries(backend: &mut SqliteBackend) -> BTreeMap<Vec<u8>, Entry> {
    let mut entries = BTreeMap::new();
    let left_out = backend
        .for_each(&mut |key, value, expiry| {
            let value = value.to_vec();
            assert!(
                entries
                    .insert(key.to_vec(), Entry { value, expiry })
                    .is_none()
            );
        })
        .unwrap();
    assert_eq!(left_out, 0);
    entries
}

fn names(directory: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

// --- Files of the original -----------------------------------------------------------------------

mod vectors {
    use super::*;

    type Row = (Vec<u8>, Vec<u8>, Option<i64>);

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sqlite")
    }

    /// Copies a file with what lies beside it.
    fn copy(name: &str, directory: &TempDir) -> PathBuf {
        for suffix in ["", "-wal"] {
            let from = vectors().join(format!("{name}.sqlite{suffix}"));
            if from.exists() {
                let to = directory.path().join(format!("{name}.sqlite{suffix}"));
                fs::copy(from, to).unwrap();
            }
        }
        directory.path().join(format!("{name}.sqlite"))
    }

    fn listing(name: &str) -> serde_json::Value {
        let text = fs::read_to_string(vectors().join(format!("{name}.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn listed_rows(name: &str) -> Vec<Row> {
        let bytes = |row: &serde_json::Value, field: &str| {
            hex::decode(row[field].as_str().unwrap()).unwrap()
        };
        let listing = listing(name);
        let rows = listing["rows"].as_array().unwrap().iter();
        assert!(rows.len() > 0, "{name} lists no rows");
        rows.map(|row| {
            let expiry = row["expiry_ns"].as_i64();
            (bytes(row, "key_hex"), bytes(row, "value_hex"), expiry)
        })
        .collect()
    }

    fn rows(path: &Path) -> Vec<Row> {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection
            .prepare("select key, value, expiry from store order by rowid")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Everything about a file but its rows: schema, version, pragmas.
    fn frame(path: &Path) -> Vec<String> {
        let connection = Connection::open(path).unwrap();
        let mut lines = Vec::new();
        let queries = [
            "select type || ' ' || name || ' ' || coalesce(sql, '') from sqlite_master order by rowid",
            "select key || ' ' || value from meta",
            "select 'encoding ' || encoding from pragma_encoding",
            "select 'page size ' || page_size from pragma_page_size",
            "select 'user version ' || user_version from pragma_user_version",
            "select 'application id ' || application_id from pragma_application_id",
            "select 'auto vacuum ' || auto_vacuum from pragma_auto_vacuum",
            "select 'journal mode ' || journal_mode from pragma_journal_mode",
        ];
        for query in queries {
            let mut statement = connection.prepare(query).unwrap();
            let found = statement.query_map([], |row| row.get::<_, String>(0));
            lines.extend(found.unwrap().map(Result::unwrap));
        }
        lines
    }

    #[test]
    fn files_of_the_original_are_read() {
        for name in ["all-types", "expiry", "wal"] {
            let directory = directory();
            let path = copy(name, &directory);
            let mut backend = open(&path);
            let mut listed = listed_rows(name);
            let found = entries(&mut backend);
            let found: Vec<Row> = found
                .into_iter()
                .map(|(key, entry)| (key, entry.value, entry.expiry.map(Timestamp::ns)))
                .collect();
            for (key, value, expiry) in &listed {
                let entry = backend.get(key).unwrap().unwrap();
                assert_eq!(
                    (&entry.value, entry.expiry.map(Timestamp::ns)),
                    (value, *expiry)
                );
                assert_eq!(backend.contains(key), Ok(true));
            }
            listed.sort();
            assert_eq!(found, listed, "{name}");
            assert_eq!(backend.count(), Ok(listed.len() as u64));
            let mut expiring = backend.expiries().unwrap();
            expiring.sort();
            let listed_expiring: Vec<_> = listed
                .into_iter()
                .filter_map(|(key, _, expiry)| Some((key, Timestamp::from_ns(expiry?))))
                .collect();
            assert_eq!(expiring, listed_expiring);
            drop(backend);
            assert_eq!(names(&directory), [format!("{name}.sqlite")]);
        }
    }

    #[test]
    fn what_we_write_is_what_the_original_writes() {
        for name in ["all-types", "expiry", "wal"] {
            let directory = directory();
            let theirs = copy(name, &directory);
            let ours = directory.path().join("ours.sqlite");
            let mut options = SqliteOptions::new(&ours);
            if name == "wal" {
                options.journal_mode = Some(JournalMode::Wal);
                options.synchronous = Some(Synchronous::Normal);
            }
            let mut backend = SqliteBackend::open(&options).unwrap();
            for (key, value, expiry) in listed_rows(name) {
                let expiry = expiry.map(Timestamp::from_ns);
                backend.put(&key, &value, expiry).unwrap();
            }
            backend.commit().unwrap();
            drop(backend);
            assert_eq!(rows(&ours), rows(&theirs), "{name}");
            assert_eq!(frame(&ours), frame(&theirs), "{name}");
            let schema: Vec<_> = listing(name)["schema"].as_array().unwrap().clone();
            let schema = schema.iter().filter_map(|sql| sql.as_str());
            let frame = frame(&ours);
            for sql in schema {
                assert!(frame.iter().any(|line| line.ends_with(sql)), "{sql}");
            }
        }
    }

    #[test]
    fn the_version_is_written_at_each_open() {
        let directory = directory();
        let path = copy("all-types", &directory);
        Connection::open(&path)
            .unwrap()
            .execute("update meta set value = '2.4.2'", [])
            .unwrap();
        drop(open(&path));
        assert!(frame(&path).contains(&"broker_version 2.8.0".to_owned()));
    }
}

// --- What is where -------------------------------------------------------------------------------

#[test]
fn missing_directories_are_made() {
    let directory = directory();
    let path = directory.path().join("a/b/c.db");
    drop(open(&path));
    assert!(path.is_file());
}

#[test]
fn entries_survive_and_nothing_else_stays() {
    for journal_mode in [JournalMode::Delete, JournalMode::Wal] {
        let directory = directory();
        let mut options = SqliteOptions::new(directory.path().join("a.db"));
        options.journal_mode = Some(journal_mode);
        let mut backend = SqliteBackend::open(&options).unwrap();
        backend.put(&key("k"), &number(1), None).unwrap();
        backend.commit().unwrap();
        // Not committed, so it is as if it had never been.
        backend.put(&key("lost"), &number(2), None).unwrap();
        drop(backend);
        assert_eq!(names(&directory), ["a.db"], "{journal_mode:?}");
        let mut backend = SqliteBackend::open(&options).unwrap();
        assert_eq!(backend.count(), Ok(1));
        assert_eq!(backend.get(&key("k")).unwrap().unwrap().value, number(1));
    }
}

#[test]
fn memory_needs_no_file() {
    let options = SqliteOptions::new(":memory:");
    let mut one = SqliteBackend::open(&options).unwrap();
    let mut other = SqliteBackend::open(&options).unwrap();
    one.put(&key("k"), &number(1), None).unwrap();
    one.commit().unwrap();
    assert_eq!(one.count(), Ok(1));
    assert_eq!(other.count(), Ok(0));
    assert!(!Path::new(":memory:").exists());
}

#[test]
fn a_name_that_looks_like_a_uri_is_a_file() {
    let directory = directory();
    let path = directory.path().join("file:x?mode=memory");
    drop(open(&path));
    assert!(path.is_file());
}

#[test]
fn links_lead_to_one_file() {
    let directory = directory();
    let file = directory.path().join("data/a.db");
    let link = directory.path().join("link.db");
    // The file that the link leads to does not exist yet.
    std::os::unix::fs::symlink("data/a.db", &link).unwrap();
    let first = open(&link);
    assert!(file.is_file());
    assert!(refusal(&SqliteOptions::new(&file)).contains("in use"));
    drop(first);
    drop(open(&file));
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = directory();
    for failure_mode in [FailureMode::Fail, FailureMode::Delete] {
        let options = |path: &Path| SqliteOptions {
            failure_mode,
            ..SqliteOptions::new(path)
        };
        let text = refusal(&options(directory.path()));
        assert!(text.contains("SQLite backend failed to open database at '"));
        assert!(text.ends_with("it is a directory"), "{text}");
        assert!(refusal(&options(Path::new("/dev/null"))).ends_with("it is not a regular file"));
        assert!(refusal(&options(Path::new(""))).ends_with("not the name of a file"));
        let below_a_file = directory.path().join("f/a.db");
        fs::write(directory.path().join("f"), "").unwrap();
        assert!(refusal(&options(&below_a_file)).contains("cannot reach its directory"));
        let nul = Path::new("a\0b");
        assert!(SqliteBackend::open(&options(nul)).is_err());
    }
    assert!(directory.path().is_dir());
}

#[test]
fn every_refusal_has_the_code_of_the_original() {
    let error = SqliteBackend::open(&SqliteOptions::new("/")).unwrap_err();
    assert_eq!(error.code(), broker::ErrorCode::BackendFailure);
    assert_eq!(
        SqliteError::PathMissing.code(),
        broker::ErrorCode::BackendFailure
    );
}

#[test]
fn pragmas_are_issued_when_asked_for_only() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let mode = || -> String {
        let connection = Connection::open(&path).unwrap();
        connection
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap()
    };
    drop(open(&path));
    assert_eq!(mode(), "delete");
    let mut options = SqliteOptions::new(&path);
    for synchronous in [
        Synchronous::Off,
        Synchronous::Normal,
        Synchronous::Full,
        Synchronous::Extra,
    ] {
        options.synchronous = Some(synchronous);
        drop(SqliteBackend::open(&options).unwrap());
    }
    options.journal_mode = Some(JournalMode::Wal);
    drop(SqliteBackend::open(&options).unwrap());
    // The mode is a property of the file, and nobody asked for another one.
    drop(open(&path));
    assert_eq!(mode(), "wal");
    options.journal_mode = Some(JournalMode::Delete);
    drop(SqliteBackend::open(&options).unwrap());
    assert_eq!(mode(), "delete");
}

// --- Groups --------------------------------------------------------------------------------------

#[test]
fn a_group_is_seen_by_itself_at_once_and_by_others_after_its_commit() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let mut backend = open(&path);
    let other = Connection::open(&path).unwrap();
    let count = || -> i64 {
        other
            .query_row("select count(*) from store", [], |row| row.get(0))
            .unwrap()
    };
    backend.put(&key("k"), &number(1), None).unwrap();
    assert_eq!(backend.contains(&key("k")), Ok(true));
    assert_eq!(count(), 0);
    backend.commit().unwrap();
    assert_eq!(count(), 1);
    backend.clear().unwrap();
    backend.rollback();
    assert_eq!(backend.count(), Ok(1));
    // What others change is seen between groups.
    other.execute("delete from store", []).unwrap();
    assert_eq!(backend.count(), Ok(0));
    assert_eq!(backend.commit(), Ok(()));
}

#[test]
fn a_put_replaces_value_and_expiry() {
    let mut backend = open(Path::new(":memory:"));
    let at = Timestamp::from_ns(10);
    backend.put(&key("k"), &number(1), Some(at)).unwrap();
    assert_eq!(backend.expiries(), Ok(vec![(key("k"), at)]));
    backend.put(&key("k"), &number(2), None).unwrap();
    let entry = backend.get(&key("k")).unwrap().unwrap();
    assert_eq!((entry.value, entry.expiry), (number(2), None));
    assert_eq!(backend.expiries(), Ok(Vec::new()));
    assert_eq!(backend.count(), Ok(1));
}

#[test]
fn only_what_is_due_expires() {
    let mut backend = open(Path::new(":memory:"));
    let at = Timestamp::from_ns(10);
    backend.put(&key("due"), &number(1), Some(at)).unwrap();
    backend.put(&key("stays"), &number(1), None).unwrap();
    assert_eq!(
        backend.expire(&key("due"), Timestamp::from_ns(9)),
        Ok(false)
    );
    assert_eq!(backend.expire(&key("due"), at), Ok(true));
    assert_eq!(backend.expire(&key("stays"), at), Ok(false));
    assert_eq!(backend.expire(&key("absent"), at), Ok(false));
    assert_eq!(backend.erase(&key("stays")), Ok(true));
    assert_eq!(backend.erase(&key("stays")), Ok(false));
}

#[test]
fn large_values_and_many_entries_are_kept() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let mut backend = open(&path);
    let large = key(&"x".repeat(50 << 20));
    backend.put(&key("large"), &large, None).unwrap();
    for i in 0..100_000_u64 {
        backend.put(&number(i), &number(i), None).unwrap();
    }
    backend.commit().unwrap();
    drop(backend);
    let mut backend = open(&path);
    assert_eq!(backend.count(), Ok(100_001));
    assert!(backend.get(&key("large")).unwrap().unwrap().value == large);
}

#[test]
fn a_lock_of_another_fails_the_group_and_only_that() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let options = SqliteOptions {
        busy_timeout: Duration::ZERO,
        ..SqliteOptions::new(&path)
    };
    let mut backend = SqliteBackend::open(&options).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let failure = backend.put(&key("k"), &number(1), None).unwrap_err();
    assert!(failure.to_string().ends_with("database is locked"));
    assert!(failure.to_string().contains("a.db"));
    other.execute_batch("rollback").unwrap();
    // The lock is gone, but a part of this group would be missing.
    assert_eq!(
        backend.put(&key("l"), &number(1), None),
        Err(failure.clone())
    );
    assert_eq!(backend.get(&key("l")), Err(failure.clone()));
    assert_eq!(backend.commit(), Err(failure));
    backend.put(&key("k"), &number(2), None).unwrap();
    backend.commit().unwrap();
    assert_eq!(backend.count(), Ok(1));

    // A reader does not stop a group from beginning, but its commit.
    let mut reading = other.prepare("select key from store").unwrap();
    let mut rows = reading.query([]).unwrap();
    assert!(rows.next().unwrap().is_some());
    backend.put(&key("k"), &number(3), None).unwrap();
    assert!(backend.commit().is_err());
    drop(rows);
    assert_eq!(backend.get(&key("k")).unwrap().unwrap().value, number(2));
    backend.put(&key("k"), &number(4), None).unwrap();
    backend.commit().unwrap();
}

#[test]
fn a_short_lock_is_waited_for() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let options = SqliteOptions {
        busy_timeout: Duration::MAX,
        ..SqliteOptions::new(&path)
    };
    let mut backend = SqliteBackend::open(&options).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    std::thread::scope(|scope| {
        let put = scope.spawn(|| {
            backend.put(&key("k"), &number(1), None).unwrap();
            backend.commit()
        });
        other
            .execute_batch("insert into store(key, value) values(x'0100', x'0100'); commit")
            .unwrap();
        assert_eq!(put.join().unwrap(), Ok(()));
    });
    assert_eq!(backend.count(), Ok(2));
}

#[test]
fn a_file_that_is_gone_fails_writes() {
    for journal_mode in [JournalMode::Delete, JournalMode::Wal] {
        let directory = directory();
        let stores = directory.path().join("stores");
        let mut options = SqliteOptions::new(stores.join("a.db"));
        options.journal_mode = Some(journal_mode);
        let mut backend = SqliteBackend::open(&options).unwrap();
        backend.put(&key("k"), &number(1), None).unwrap();
        backend.commit().unwrap();
        fs::remove_dir_all(&stores).unwrap();
        let failure = backend.put(&key("k"), &number(2), None).unwrap_err();
        assert!(failure.to_string().contains("moved, replaced or deleted"));
        assert_eq!(backend.commit(), Err(failure));
        // Whatever reads answer now, they answer.
        let _ = backend.get(&key("k"));
        let _ = backend.count();
        drop(backend);
        // A new file at the same place is another one.
        let mut backend = SqliteBackend::open(&options).unwrap();
        assert_eq!(backend.count(), Ok(0));
    }
}

// --- Damage --------------------------------------------------------------------------------------

#[test]
fn rows_that_are_no_values_are_left_out() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let mut backend = open(&path);
    backend.put(&key("good"), &number(1), None).unwrap();
    backend.commit().unwrap();
    let other = Connection::open(&path).unwrap();
    let insert = |key: &str, value: &str, expiry: &str| {
        let sql = format!("insert into store values({key}, {value}, {expiry})");
        other.execute(&sql, []).unwrap();
    };
    // Trailing bytes behind a value, and behind a key.
    insert("x'050174'", "x'0100ffff'", "null");
    insert("x'05016bff'", "x'0100'", "7");
    assert_eq!(backend.get(&key("t")).unwrap().unwrap().value, [1, 0]);
    assert_eq!(backend.get(&key("k")), Ok(None));
    let mut keys = Vec::new();
    backend
        .for_each_key(&mut |key| keys.push(key.to_vec()))
        .unwrap();
    assert_eq!(keys, [key("k"), key("t"), key("good")]);

    insert("x'050176'", "x'ff'", "null");
    insert("x'05016e'", "null", "null");
    insert("x'050165'", "x'0100'", "'soon'");
    for name in ["v", "n", "e"] {
        let failure = backend.get(&key(name)).unwrap_err();
        assert!(matches!(failure, BackendError::InvalidData(_)), "{name}");
        assert_eq!(backend.contains(&key(name)), Ok(true));
    }
    insert("x'0f'", "x'0100'", "8");
    insert("null", "x'0100'", "9");
    insert("'text'", "x'0100'", "null");
    let failure = backend.for_each_key(&mut |_| ()).unwrap_err();
    assert!(matches!(failure, BackendError::InvalidData(_)));

    let mut found = Vec::new();
    let left_out = backend.for_each(&mut |key, _, _| found.push(key.to_vec()));
    assert_eq!(left_out, Ok(7));
    assert_eq!(found, [key("t"), key("good")]);
    drop(backend);
    let mut backend = open(&path);
    assert_eq!(backend.expiries(), Ok(Vec::new()));
    assert_eq!(backend.count(), Ok(9));
    backend.clear().unwrap();
    backend.commit().unwrap();
    assert_eq!(backend.count(), Ok(0));
}

#[test]
fn unsorted_sets_are_read_as_sorted() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let mut backend = open(&path);
    Connection::open(&path)
        .unwrap()
        .execute(
            "insert into store(key, value) values(x'050173', x'0c0201010100')",
            [],
        )
        .unwrap();
    let value = backend.get(&key("s")).unwrap().unwrap().value;
    assert_eq!(value, [0x0c, 2, 1, 0, 1, 1]);
}

/// Makes a file of some dozen pages, all used.
fn filled(path: &Path, expiry: Option<Timestamp>) {
    let mut backend = open(path);
    for i in 0..400_u64 {
        let value = to_bytes(&*"v".repeat(200)).unwrap();
        backend.put(&number(i), &value, expiry).unwrap();
    }
    backend.commit().unwrap();
}

const PAGE: usize = 4096;

fn damage(path: &Path, page: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[page * PAGE..(page + 1) * PAGE].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_pages_are_errors() {
    let directory = directory();
    let path = directory.path().join("a.db");
    filled(&path, None);
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / PAGE;
    assert!(pages > 20, "{pages}");
    for page in 0..pages {
        fs::write(&path, &whole).unwrap();
        damage(&path, page);
        let mut options = SqliteOptions::new(&path);
        let mut failures = 0;
        match SqliteBackend::open(&options) {
            Err(_) => failures += 1,
            Ok(mut backend) => {
                for i in 0..400 {
                    failures += u32::from(backend.get(&number(i)).is_err());
                }
                failures += u32::from(backend.count().is_err());
                failures += u32::from(backend.for_each(&mut |_, _, _| ()).is_err());
                failures += u32::from(backend.for_each_key(&mut |_| ()).is_err());
                failures += u32::from(backend.expiries().is_err());
                failures += u32::from(backend.put(&number(7), &number(7), None).is_err());
                failures += u32::from(backend.erase(&number(399)).is_err());
                failures += u32::from(backend.commit().is_err());
                failures += u32::from(backend.clear().is_err());
                backend.rollback();
            }
        }
        assert!(failures > 0, "page {page}");

        fs::write(&path, &whole).unwrap();
        damage(&path, page);
        options.integrity_check = true;
        let text = refusal(&options);
        assert!(text.contains("SQLite backend failed to open database at '"));
        assert!(path.exists());
        options.failure_mode = FailureMode::Delete;
        let mut backend = SqliteBackend::open(&options).unwrap();
        assert_eq!(backend.count(), Ok(0), "page {page}");
    }
}

#[test]
fn damage_among_the_expiries_is_found_when_opening() {
    let directory = directory();
    let path = directory.path().join("a.db");
    filled(&path, Some(Timestamp::from_ns(1)));
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for page in 3..whole.len() / PAGE {
        fs::write(&path, &whole).unwrap();
        damage(&path, page);
        if let Err(error) = SqliteBackend::open(&SqliteOptions::new(&path)) {
            let text = error.to_string();
            assert!(text.contains("failed to load expiry times: "), "{text}");
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn what_is_no_database_is_an_error_or_deleted() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let garbage = vec![b'#'; 8192];
    fs::write(&path, &garbage).unwrap();
    let mut options = SqliteOptions::new(&path);
    let text = refusal(&options);
    let cause = "failed to create meta data table: file is not a database";
    assert!(text.ends_with(cause), "{text}");
    options.journal_mode = Some(JournalMode::Wal);
    let text = refusal(&options);
    let cause = "failed to run 'PRAGMA journal_mode=WAL': file is not a database";
    assert!(text.ends_with(cause), "{text}");
    assert_eq!(fs::read(&path).unwrap(), garbage);
    assert_eq!(names(&directory), ["a.db"]);

    // What lies beside the file belongs to it, and must not be applied to the new one.
    fs::write(directory.path().join("a.db-journal"), &garbage).unwrap();
    fs::write(directory.path().join("a.db-wal"), &garbage).unwrap();
    options.failure_mode = FailureMode::Delete;
    let mut backend = SqliteBackend::open(&options).unwrap();
    backend.put(&key("k"), &number(1), None).unwrap();
    backend.commit().unwrap();
    drop(backend);
    assert_eq!(names(&directory), ["a.db"]);
    assert_eq!(open(&path).count(), Ok(1));
}

/// All files of a directory.
fn contents(directory: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let names = names(directory).into_iter();
    let path = |name: &str| directory.path().join(name);
    names
        .map(|name| (name.clone(), fs::read(path(&name)).unwrap()))
        .collect()
}

/// Opening must fail because of tables of something else, and leave every byte as it is.
fn assert_left_alone(directory: &TempDir, path: &Path) {
    let before = contents(directory);
    for failure_mode in [None, Some(FailureMode::Delete)] {
        for journal_mode in [None, Some(JournalMode::Wal), Some(JournalMode::Delete)] {
            let mut options = SqliteOptions::new(path);
            options.journal_mode = journal_mode;
            options.failure_mode = failure_mode.unwrap_or(options.failure_mode);
            options.synchronous = Some(Synchronous::Full);
            let text = refusal(&options);
            assert!(text.contains("the database of something else"), "{text}");
            assert!(text.contains("`urls`"), "{text}");
            let after = contents(directory);
            assert!(after.keys().eq(before.keys()), "{:?}", after.keys());
            for (name, bytes) in &before {
                // Readers note in the index of the log how far they have read.
                assert!(name.ends_with("-shm") || after[name] == *bytes, "{name}");
            }
        }
    }
}

#[test]
fn a_database_of_something_else_is_left_alone() {
    for pragma in ["", "pragma journal_mode=wal;", "pragma user_version=7;"] {
        let directory = directory();
        let path = directory.path().join("history ?#%25.db");
        let other = Connection::open(&path).unwrap();
        let sql = "create table urls(id integer primary key, url text);
                   create table meta(key longvarchar not null unique primary key, value longvarchar);
                   insert into urls values(1, 'https://zeek.org')";
        other.execute_batch(&format!("{pragma} {sql}")).unwrap();
        // While it is in use, with what it has beside it.
        assert_left_alone(&directory, &path);
        let in_use = contents(&directory);
        drop(other);
        assert_left_alone(&directory, &path);
        assert_eq!(names(&directory), ["history ?#%25.db"]);
        // As a crash leaves it: with and without the index of the log.
        for shm in [true, false] {
            let crashed = self::directory();
            let is_left = |name: &str| shm || !name.ends_with("-shm");
            for (name, bytes) in in_use.iter().filter(|(name, _)| is_left(name)) {
                fs::write(crashed.path().join(name), bytes).unwrap();
            }
            assert_left_alone(&crashed, &crashed.path().join("history ?#%25.db"));
        }
    }
}

#[test]
fn tables_of_others_with_the_names_of_ours_are_not_ours() {
    for sql in [
        "create table store(key, value); create table urls(id)",
        "create table store(id integer, price real); create table urls(id)",
        "create table store(key, value, expiry); create table meta(id); create table urls(id)",
        "create table meta(key, value); create table urls(id)",
        "create view urls as select 1",
    ] {
        let directory = directory();
        let path = directory.path().join("a.db");
        let other = Connection::open(&path).unwrap();
        other.execute_batch(sql).unwrap();
        drop(other);
        assert_left_alone(&directory, &path);
    }
}

#[test]
fn files_without_tables_and_with_ours_are_used() {
    for sql in [
        "",
        "pragma user_version=1",
        "create table meta(key text primary key, value text)",
        "create table store(key blob primary key, value blob, expiry integer)",
        // The original took the file of something else.
        "create table urls(id); create table meta(key text primary key, value text);
         create table store(key blob primary key, value blob, expiry integer)",
    ] {
        let directory = directory();
        let path = directory.path().join("a.db");
        let other = Connection::open(&path).unwrap();
        other.execute_batch(sql).unwrap();
        drop(other);
        let mut backend = open(&path);
        backend.put(&key("k"), &number(1), None).unwrap();
        backend.commit().unwrap();
        drop(backend);
        assert_eq!(open(&path).count(), Ok(1), "{sql}");
    }
    let directory = directory();
    let path = directory.path().join("a.db");
    fs::write(&path, "").unwrap();
    assert_eq!(open(&path).count(), Ok(0));
}

#[test]
fn a_locked_file_is_never_deleted() {
    let directory = directory();
    let path = directory.path().join("a.db");
    filled(&path, None);
    let options = SqliteOptions {
        failure_mode: FailureMode::Delete,
        busy_timeout: Duration::ZERO,
        ..SqliteOptions::new(&path)
    };
    let other = Connection::open(&path).unwrap();
    for lock in ["begin immediate", "begin exclusive"] {
        other.execute_batch(lock).unwrap();
        let text = refusal(&options);
        assert!(text.ends_with("database is locked"), "{text}");
        other.execute_batch("rollback").unwrap();
    }
    drop(other);
    let mut backend = SqliteBackend::open(&options).unwrap();
    assert_eq!(backend.count(), Ok(400));
    // Nor is one that another store uses.
    assert!(refusal(&options).contains("in use by another store"));
    assert_eq!(backend.count(), Ok(400));
}

#[test]
fn a_refused_second_store_does_not_disturb_the_first() {
    let directory = directory();
    let path = directory.path().join("a.db");
    let mut first = open(&path);
    first.put(&key("k"), &number(1), None).unwrap();
    let text = refusal(&SqliteOptions::new(&path));
    assert!(text.contains("a.db"), "{text}");
    // The first still holds the right to write: it would have lost that with any descriptor of the
    // file closed in this process.
    assert_eq!(child("write", &path).output(), "database is locked");
    first.commit().unwrap();
    assert_eq!(child("write", &path).output(), "written");
    drop(first);
    drop(open(&path));
}

// --- Other processes -----------------------------------------------------------------------------

/// This program once more, in a role.
struct Role(Command);

fn child(role: &str, path: &Path) -> Role {
    let mut command = Command::new(env::current_exe().unwrap());
    role_of(&mut command, role, path);
    Role(command)
}

fn role_of(command: &mut Command, role: &str, path: &Path) {
    command
        .args(["plays_a_role", "--exact", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .env(FILE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
}

/// What a line of ours begins with; the test harness prints others.
const ANSWER: &str = "answer: ";

impl Role {
    fn output(mut self) -> String {
        let output = self.0.stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{stderr}");
        // The harness may have begun the line.
        let answer = text.lines().find_map(|line| line.split_once(ANSWER));
        answer.unwrap().1.to_owned()
    }
}

/// What child processes do. Without a role there is nothing to do.
#[test]
#[ignore = "other tests run it in processes of their own"]
fn plays_a_role() {
    let Ok(role) = env::var(ROLE) else {
        return;
    };
    let path = PathBuf::from(env::var_os(FILE).unwrap());
    let options = SqliteOptions::new(&path);
    match role.as_str() {
        "open" => match SqliteBackend::open(&options) {
            Ok(_) => println!("{ANSWER}opened"),
            Err(error) => println!("{ANSWER}{error}"),
        },
        "write" => {
            let connection = Connection::open(&path).unwrap();
            connection.busy_timeout(Duration::ZERO).unwrap();
            match connection.execute("replace into store(key, value) values(x'0100', x'00')", []) {
                Ok(_) => println!("{ANSWER}written"),
                Err(error) => println!("{ANSWER}{error}"),
            }
        }
        "read" => {
            let connection = Connection::open(&path).unwrap();
            let count: i64 = connection
                .query_row("select count(*) from store", [], |row| row.get(0))
                .unwrap();
            println!("{ANSWER}{count}");
        }
        "fill the disk" => fill_the_disk(&options),
        "crash" => crash::write_forever(&path),
        role => panic!("no such role: {role}"),
    }
}

#[test]
fn a_second_process_is_refused_and_readers_are_not() {
    for journal_mode in [JournalMode::Delete, JournalMode::Wal] {
        let directory = directory();
        let path = directory.path().join("a.db");
        let mut options = SqliteOptions::new(&path);
        options.journal_mode = Some(journal_mode);
        let mut backend = SqliteBackend::open(&options).unwrap();
        backend.put(&key("k"), &number(1), None).unwrap();
        backend.commit().unwrap();
        let refusal = child("open", &path).output();
        assert!(refusal.contains("a.db") && refusal.contains("in use by another store"));
        assert_eq!(child("read", &path).output(), "1");
        backend.put(&key("l"), &number(1), None).unwrap();
        assert_eq!(child("read", &path).output(), "1");
        backend.commit().unwrap();
        drop(backend);
        assert_eq!(child("open", &path).output(), "opened");
        assert_eq!(names(&directory), ["a.db"]);
    }
}

/// Writes groups until the system refuses, and checks what is left.
fn fill_the_disk(options: &SqliteOptions) {
    let mut backend = SqliteBackend::open(options).unwrap();
    let value = to_bytes(&*"v".repeat(1000)).unwrap();
    let mut committed = 0_u64;
    let failure = loop {
        let put = (0..5).try_for_each(|i| backend.put(&number(committed + i), &value, None));
        match put.and_then(|()| backend.commit()) {
            Ok(()) => committed += 5,
            Err(failure) => break failure,
        }
        assert!(committed < 10_000, "the disk has no limit");
    };
    backend.rollback();
    assert!(committed > 0);
    assert_eq!(backend.count(), Ok(committed));
    // The store goes on: it can still make room.
    assert_eq!(backend.erase(&number(0)), Ok(true));
    backend.commit().unwrap();
    assert_eq!(backend.count(), Ok(committed - 1));
    println!("{ANSWER}{failure}");
}

#[test]
fn a_disk_that_takes_no_more_is_an_error() {
    for mode in ["DELETE", "WAL"] {
        let directory = directory();
        let path = directory.path().join("a.db");
        let mut options = SqliteOptions::new(&path);
        options.journal_mode = Some(match mode {
            "WAL" => JournalMode::Wal,
            _ => JournalMode::Delete,
        });
        drop(SqliteBackend::open(&options).unwrap());
        // Files of this process may not grow beyond that many blocks; without the trap the system
        // would end it instead of refusing.
        let mut limited = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\"";
        limited
            .args(["-c", script])
            .arg(env::current_exe().unwrap());
        role_of(&mut limited, "fill the disk", &path);
        let failure = Role(limited).output();
        assert!(failure.contains("disk"), "{failure}");
        options.integrity_check = true;
        let mut backend = SqliteBackend::open(&options).unwrap();
        assert!(backend.count().unwrap() > 0);
    }
}

/// Runs a role as somebody for whom "read-only" means something, which it does not for root.
fn child_without_privileges(role: &str, path: &Path, scratch: &TempDir) -> String {
    // The program itself must be readable, wherever it was built.
    let program = scratch.path().join("program");
    // By another process: a file that this one writes could still be open in what another test has
    // just forked, and then it cannot be executed.
    let copied = Command::new("cp")
        .arg(env::current_exe().unwrap())
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(program);
    // What we have made is ours.
    let is_root = fs::metadata(scratch.path()).unwrap().uid() == 0;
    if is_root {
        const NOBODY: u32 = 65534;
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    role_of(&mut command, role, path);
    Role(command).output()
}

#[test]
fn what_may_only_be_read_is_an_error() {
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let scratch = directory();
    mode(scratch.path(), 0o755);
    let stores = scratch.path().join("stores");
    fs::create_dir(&stores).unwrap();
    let path = stores.join("a.db");
    filled(&path, None);

    mode(&path, 0o444);
    mode(&stores, 0o777);
    let text = child_without_privileges("open", &path, &scratch);
    assert!(text.contains("readonly database"), "{text}");

    mode(&path, 0o666);
    mode(&stores, 0o555);
    let text = child_without_privileges("open", &path, &scratch);
    assert!(
        text.contains("a.db-lock") && text.contains("Permission denied"),
        "{text}"
    );
    let text = child_without_privileges("open", &stores.join("new.db"), &scratch);
    assert!(text.contains("Permission denied"), "{text}");
    let text = child_without_privileges("open", &stores.join("new/new.db"), &scratch);
    assert!(text.contains("cannot reach its directory"), "{text}");
    mode(&stores, 0o755);
    assert_eq!(open(&path).count(), Ok(400));
}

// --- Killed writers ------------------------------------------------------------------------------

mod crash {
    use super::*;

    /// How often a writer is killed; `make crash` sets more.
    const CYCLES: &str = "BROKER_CRASH_CYCLES";
    const CYCLES_DEFAULT: u64 = 30;

    /// The seed of the moments; a failure prints it.
    const SEED: &str = "BROKER_CRASH_SEED";

    /// The entry that says which group was the last.
    const LAST: &str = "last group";

    /// Longest time between what a kill waits for and the kill.
    const DELAY_MAX: Duration = Duration::from_millis(20);

    /// Most acknowledgements a kill waits for.
    const ACKNOWLEDGED_MAX: u64 = 30;

    /// Groups after which a file is begun anew: the model is computed from the first group on.
    const GROUPS_MAX: u64 = 1000;

    /// The name of the file in WAL mode.
    const WAL: &str = "wal.db";

    /// One change of a group.
    enum Change {
        Put(u64, Vec<u8>, Option<Timestamp>),
        Erase(u64),
        Clear,
    }

    /// The changes of a group, from its number alone.
    fn changes(group: u64) -> Vec<Change> {
        let mut random = Random(group);
        if group.is_multiple_of(97) {
            return vec![Change::Clear];
        }
        let count = 1 + random.below(40);
        let change = |_| {
            let key = random.below(300);
            match random.below(5) {
                0 => Change::Erase(key),
                1 => Change::Put(key, number(group), Some(Timestamp::from_ns(i64::MAX))),
                _ => {
                    // Some take pages of their own.
                    let length = random.below(3) * random.below(3000);
                    let text = "x".repeat(usize::try_from(length).unwrap());
                    let value = Value::Vector(vec![group.into(), text.as_str().into()]);
                    Change::Put(key, to_bytes(&value).unwrap(), None)
                }
            }
        };
        (0..count).map(change).collect()
    }

    /// What the store must hold after this many groups.
    fn model(groups: u64) -> BTreeMap<Vec<u8>, Entry> {
        let mut entries = BTreeMap::new();
        for group in 1..=groups {
            for change in changes(group) {
                match change {
                    Change::Put(key, value, expiry) => {
                        entries.insert(number(key), Entry { value, expiry });
                    }
                    Change::Erase(key) => {
                        entries.remove(&number(key));
                    }
                    Change::Clear => entries.clear(),
                }
            }
        }
        if groups > 0 {
            let value = number(groups);
            entries.insert(
                key(LAST),
                Entry {
                    value,
                    expiry: None,
                },
            );
        }
        entries
    }

    fn last_group(backend: &mut SqliteBackend) -> u64 {
        let entry = backend.get(&key(LAST)).unwrap();
        entry.map_or(0, |entry| {
            let value = broker_data::decode(&entry.value).unwrap();
            value.as_count().unwrap()
        })
    }

    fn options(path: &Path) -> SqliteOptions {
        let mut options = SqliteOptions::new(path);
        if path.file_name().is_some_and(|name| name == WAL) {
            options.journal_mode = Some(JournalMode::Wal);
        }
        options
    }

    /// Writes groups and says of each that it is committed, until killed.
    pub(super) fn write_forever(path: &Path) {
        let mut backend = SqliteBackend::open(&options(path)).unwrap();
        let mut group = last_group(&mut backend);
        loop {
            group += 1;
            for change in changes(group) {
                match change {
                    Change::Put(key, value, expiry) => {
                        backend.put(&number(key), &value, expiry).unwrap();
                    }
                    Change::Erase(key) => {
                        backend.erase(&number(key)).unwrap();
                    }
                    Change::Clear => backend.clear().unwrap(),
                }
            }
            backend.put(&key(LAST), &number(group), None).unwrap();
            backend.commit().unwrap();
            println!("{ANSWER}{group}");
        }
    }

    /// Reads acknowledgements until `enough` or the end; returns the last.
    fn read_acknowledged(lines: &mut impl BufRead, enough: u64) -> Option<u64> {
        let mut last = None;
        let mut seen = 0;
        let mut line = String::new();
        while seen < enough && lines.read_line(&mut line).unwrap() > 0 {
            // A line that was cut short acknowledges nothing.
            if let Some((_, group)) = line.split_once(ANSWER)
                && let Some(group) = group.strip_suffix('\n')
            {
                last = Some(group.parse().unwrap());
                seen += 1;
            }
            line.clear();
        }
        last
    }

    fn start(path: &Path) -> Child {
        child("crash", path)
            .0
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What a killed writer left behind.
    struct Remains {
        /// How many groups it had committed, its predecessors included.
        groups: u64,
        /// Whether there was something for SQLite to undo or to take over.
        has_journal: bool,
    }

    /// Runs a writer, kills it, and checks what it left behind.
    fn cycle(path: &Path, random: &mut Random) -> Remains {
        let mut writer = start(path);
        let mut lines = BufReader::new(writer.stdout.take().unwrap());
        let wait_for = random.below(ACKNOWLEDGED_MAX);
        let delay = Duration::from_nanos(random.below(DELAY_MAX.as_nanos() as u64));
        let acknowledged = read_acknowledged(&mut lines, wait_for);
        let moment = Instant::now() + delay;
        // Busy, because the moment is to be anywhere, not where a timer ticks.
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        writer.kill().unwrap();
        // What it had said before.
        let acknowledged = read_acknowledged(&mut lines, u64::MAX).or(acknowledged);
        let mut complaint = String::new();
        let mut stderr = writer.stderr.take().unwrap();
        stderr.read_to_string(&mut complaint).unwrap();
        assert!(!complaint.contains("panicked"), "{complaint}");
        writer.wait().unwrap();
        let has_journal = ["-journal", "-wal"].iter().any(|suffix| {
            let mut companion = path.as_os_str().to_owned();
            companion.push(suffix);
            fs::metadata(companion).is_ok_and(|file| file.len() > 0)
        });

        let checked = SqliteOptions {
            integrity_check: true,
            ..options(path)
        };
        let mut backend = SqliteBackend::open(&checked).unwrap();
        let groups = last_group(&mut backend);
        let acknowledged = acknowledged.unwrap_or(0);
        assert!(
            acknowledged <= groups,
            "acknowledged {acknowledged}, found {groups}"
        );
        assert_eq!(entries(&mut backend), model(groups));
        Remains {
            groups,
            has_journal,
        }
    }

    #[test]
    fn what_was_acknowledged_survives_a_kill() {
        let from_env = |name| env::var(name).ok().map(|text| text.parse().unwrap());
        let cycles = from_env(CYCLES).unwrap_or(CYCLES_DEFAULT);
        let seed = from_env(SEED).unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap().as_nanos() as u64
        });
        println!("to repeat the moments: {SEED}={seed} {CYCLES}={cycles}");
        let mut random = Random(seed);
        let directory = directory();
        let paths = ["delete.db", WAL].map(|name| directory.path().join(name));
        let mut groups = [0; 2];
        let mut survived = 0;
        let mut journals = 0;
        for number in 0..cycles {
            let index = usize::from(number % 2 == 1);
            let remains = cycle(&paths[index], &mut random);
            assert!(remains.groups >= groups[index]);
            survived += remains.groups - groups[index];
            journals += u64::from(remains.has_journal);
            groups[index] = remains.groups;
            if groups[index] > GROUPS_MAX {
                fs::remove_file(&paths[index]).unwrap();
                groups[index] = 0;
            }
        }
        println!("{cycles} kills, {survived} groups survived, {journals} journals left behind");
        assert!(survived > 0);
    }

    /// A small generator (splitmix64): good enough for moments and sizes.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % limit
        }
    }
}
