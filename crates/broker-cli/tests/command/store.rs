//! `broker store`: running stores, and files.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use broker::{Backend, SqliteOptions, Store, Timespan, Value};
use rustix::process::Signal;
use serde_json::json;

use crate::process::{DEADLINE, Ended, Peer, Running, command, run, run_with_input};
use crate::schema;

fn hosts() -> (Peer, Store) {
    let peer = Peer::plain();
    let store = peer
        .endpoint
        .attach_master("hosts", Backend::Memory)
        .unwrap();
    (peer, store)
}

fn at(store: &Store, key: &str) -> Option<Value> {
    store.get(key).unwrap()
}

#[test]
fn loading_into_a_file_ends_by_a_signal_and_says_where_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite").to_str().unwrap().to_owned();
    let seeded = ["store", "put", "--file", &path, "seed", "1c"];
    run(&seeded).expect(0);
    let entry = run(&["store", "dump", "--file", &path]).expect(0).out;
    for signal in [Signal::INT, Signal::TERM] {
        let mut load = command(&["store", "load", "--file", &path]);
        let mut load = Running::start(load.stdin(Stdio::piped()));
        // Open until the end, so that it is the signal that ends it.
        let mut input = load.input.take().unwrap();
        input.write_all(entry.as_bytes()).unwrap();
        input.write_all(b"nonsense\n").unwrap();
        // It reads, so it watches signals; more lines may come.
        load.says("line 2: ");
        load.signal(signal);
        let ended = load.end().expect(130);
        assert!(ended.err.contains("go on with --skip 2"), "{ended:?}");
    }
    let entries = run(&["store", "ls", "--file", &path]).expect(0);
    assert_eq!(entries.out.lines().count(), 1, "{entries:?}");
}

#[test]
fn a_running_store_is_changed_and_read() {
    let (peer, store) = hosts();
    let say = |arguments: &[&str]| peer.run(&[&["store"], arguments].concat());
    let expect = |arguments: &[&str], out: &str| {
        let ended = say(arguments).expect(0);
        assert_eq!(ended.out, out, "{arguments:?}");
    };
    expect(&["put", "hosts", "a", "5c"], "");
    assert_eq!(at(&store, "a"), Some(Value::Count(5)));
    expect(&["get", "hosts", "a"], "5c\n");
    expect(&["incr", "hosts", "a"], "");
    expect(&["incr", "hosts", "a", "2c"], "");
    expect(&["incr", "hosts", "new"], "");
    expect(&["get", "hosts", "a", "new"], "8c\n1c\n");
    expect(&["put-unique", "hosts", "b", "[1]"], "");
    say(&["put-unique", "hosts", "b", "[2]"]).expect(1);
    expect(&["append", "hosts", "b", "2", "x"], "");
    expect(&["append", "hosts", "text", "ab", "c"], "");
    expect(&["append", "hosts", "table", "{k: 1}"], "");
    expect(&["put", "hosts", "set", "{1}"], "");
    expect(&["append", "hosts", "set", "2"], "");
    expect(
        &["ls", "hosts", "--match", "\"?*e*t\""],
        "\"set\": {1, 2}\n\"text\": \"abc\"\n",
    );
    expect(
        &["get", "hosts", "b", "table"],
        "[1, 2, \"x\"]\n{\"k\": 1}\n",
    );
    expect(&["rm", "hosts", "text", "table", "set"], "");
    expect(&["ls", "hosts", "--keys"], "\"a\"\n\"b\"\n\"new\"\n");
    let ended = say(&["rm", "hosts", "zz"]).expect(0);
    assert!(ended.err.contains("not in the store: \"zz\""), "{ended:?}");
    let ended = say(&["get", "hosts", "a", "zz"]).expect(1);
    assert_eq!(ended.out, "8c\n");
    for line in say(&["ls", "hosts", "--json"]).expect(0).json() {
        schema::check("store", &line);
    }
    expect(&["clear", "hosts"], "");
    assert_eq!(store.len().unwrap(), 0);
    expect(&["put", "hosts", "a", "1", "--expiry", "20ms"], "");
    let deadline = std::time::Instant::now() + DEADLINE;
    while at(&store, "a").is_some() {
        assert!(std::time::Instant::now() < deadline);
    }
}

#[test]
fn what_the_master_refuses_is_an_error() {
    let (peer, store) = hosts();
    store.put("a", "text").unwrap();
    let ended = peer.run(&["store", "incr", "hosts", "a"]).expect(1);
    assert!(ended.err.contains("type"), "{ended:?}");
    let ended = peer.run(&["store", "append", "hosts", "a", "1"]).expect(1);
    assert!(
        ended.err.contains("cannot append a integer to a string"),
        "{ended:?}"
    );
    assert_eq!(at(&store, "a"), Some("text".into()));
}

#[test]
fn wrong_usage_and_stores_that_are_not_there() {
    let (peer, _store) = hosts();
    let ended = peer
        .run(&["store", "ls", "host", "--timeout", "100ms"])
        .expect(4);
    assert!(
        ended.err.contains("no peer has the master of `host`"),
        "{ended:?}"
    );
    for (arguments, said) in [
        (&["store", "ls"][..], "--file"),
        (
            &["store", "get", "hosts"],
            "expected the name of the store, then keys",
        ),
        (
            &["store", "put", "--file", "x", "a"],
            "with --file, expected a key and a value",
        ),
        (&["store", "put", "hosts", "a", "1x"], "^^"),
        (&["store", "check"], "--file"),
        (&["store", "lst"], "'ls"),
        (&["store", "ls", "--file", "/nonexistent"], "does not exist"),
    ] {
        let ended = peer.run(arguments);
        assert!(
            ended.code == Some(2) && ended.err.contains(said),
            "{arguments:?} {ended:?}"
        );
    }
}

#[test]
fn changes_are_shown_as_they_come() {
    for is_json in [false, true] {
        let (peer, store) = hosts();
        let mut arguments = vec!["store", "watch", "hosts", "-n", "4"];
        arguments.extend(is_json.then_some("--json"));
        let mut watch = peer.start(&arguments);
        watch.says("watching");
        store.put("a", &1u64).unwrap();
        store
            .put_for("a", &2u64, Some(Timespan::from_ns(1_000_000_000_000)))
            .unwrap();
        store
            .put_for("b", "x", Some(Timespan::from_ns(1_000_000)))
            .unwrap();
        let ended = watch.end().expect(0);
        if is_json {
            let lines = ended.json();
            for line in &lines {
                schema::check("store", line);
            }
            let update = &lines[1];
            assert_eq!(update["old"], json!({"@data-type": "count", "data": 1}));
            assert_eq!(update["value"]["data"], 2);
            assert_eq!(lines[3]["type"], "expire");
            continue;
        }
        let lines: Vec<_> = ended
            .out
            .lines()
            .map(|it| it.split_once(' ').unwrap().1)
            .collect();
        let expected = [
            "insert \"a\": 1c",
            "update \"a\": 1c -> 2c  (for 1000s)",
            "insert \"b\": \"x\"  (for 1ms)",
            "expire \"b\"",
        ];
        assert_eq!(lines, expected);
    }
}

// --- files ---------------------------------------------------------------------------------------

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sqlite")
}

/// Copies a file of the original with what lies beside it.
fn copy(name: &str, folder: &Path) -> String {
    for suffix in ["", "-wal"] {
        let from = vectors().join(format!("{name}.sqlite{suffix}"));
        if from.exists() {
            std::fs::copy(from, folder.join(format!("{name}.sqlite{suffix}"))).unwrap();
        }
    }
    folder
        .join(format!("{name}.sqlite"))
        .to_str()
        .unwrap()
        .to_owned()
}

/// Names and contents of all files of a folder.
fn contents(folder: &Path) -> BTreeMap<String, (u64, std::time::SystemTime)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let mut hasher = DefaultHasher::new();
        std::fs::read(entry.path()).unwrap().hash(&mut hasher);
        let modified = entry.metadata().unwrap().modified().unwrap();
        (
            entry.file_name().into_string().unwrap(),
            (hasher.finish(), modified),
        )
    });
    files.collect()
}

fn of_file(file: &str, arguments: &[&str]) -> Ended {
    run(&[&["store"], arguments, &["--file", file]].concat())
}

#[test]
fn files_of_the_original_are_read_and_not_changed() {
    let expired = ["expiry"];
    for name in ["all-types", "expiry", "wal"] {
        let folder = tempfile::tempdir().unwrap();
        let file = copy(name, folder.path());
        let before = contents(folder.path());
        let listing = std::fs::read_to_string(vectors().join(format!("{name}.json"))).unwrap();
        let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
        let rows = listing["rows"].as_array().unwrap();
        let is_there = |row: &&serde_json::Value| {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            row["expiry_ns"]
                .as_i64()
                .is_none_or(|it| i128::from(it) > i128::try_from(now.as_nanos()).unwrap())
        };
        let expected = rows.iter().filter(is_there).count();
        assert!(expected > 0 || expired.contains(&name), "{name}");
        for command in ["ls", "dump"] {
            let lines = of_file(&file, &[command, "--json"]).expect(0).json();
            assert_eq!(lines.len(), expected, "{name}");
            for line in &lines {
                schema::check("store", line);
            }
        }
        for row in rows.iter().filter(is_there) {
            let hex = |field: &str| bytes(row[field].as_str().unwrap());
            let key = broker::View::new(&hex("key_hex")).unwrap().to_value();
            let value = broker::View::new(&hex("value_hex")).unwrap().to_value();
            let (key, value) = (
                broker_cli::literal::to_text(&key),
                broker_cli::literal::to_text(&value),
            );
            let arguments = ["store", "get", "--file", &file, "--", &key];
            assert_eq!(run(&arguments).expect(0).out, value + "\n", "{key}");
        }
        let ended = of_file(&file, &["check"]).expect(0);
        assert!(
            ended.err.contains(&format!("{} entries", rows.len())),
            "{ended:?}"
        );
        of_file(&file, &["get", "\"absent\""]).expect(1);
        assert_eq!(contents(folder.path()), before, "{name}");
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn a_file_is_changed_as_a_running_store_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.sqlite");
    let file = file.to_str().unwrap();
    of_file(file, &["put", "a", "5c"]).expect(0);
    of_file(file, &["incr", "a"]).expect(0);
    of_file(file, &["append", "b", "1", "2"]).expect(0);
    of_file(file, &["put-unique", "a", "1"]).expect(1);
    let ended = of_file(file, &["incr", "b", "{1}"]);
    assert_eq!(
        ended.code,
        Some(0),
        "a vector takes what it is given: {ended:?}"
    );
    of_file(file, &["put", "text", "x"]).expect(0);
    let ended = of_file(file, &["incr", "text"]).expect(1);
    assert!(ended.err.contains("type"), "{ended:?}");
    of_file(file, &["put", "short", "1", "--expiry", "1h"]).expect(0);
    let out = of_file(file, &["ls", "--match", "\"short\""]).expect(0).out;
    assert!(out.starts_with("\"short\": 1  (until 20"), "{out}");
    of_file(file, &["rm", "short"]).expect(0);
    let out = of_file(file, &["ls"]).expect(0).out;
    assert_eq!(out, "\"a\": 6c\n\"b\": [1, 2, {1}]\n\"text\": \"x\"\n");
    of_file(file, &["clear"]).expect(0);
    assert_eq!(of_file(file, &["ls"]).expect(0).out, "");
}

#[test]
fn a_file_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = copy("all-types", folder.path());
    let every = |said: &str| {
        for arguments in [
            &["ls"][..],
            &["dump"],
            &["get", "1"],
            &["put", "1", "2"],
            &["check"],
            &["compact"],
            &["load"],
        ] {
            let ended = of_file(&file, arguments).expect(1);
            assert!(
                ended.err.contains("in use") && ended.err.contains(said),
                "{ended:?}"
            );
        }
    };
    // By a store of ours.
    let endpoint = broker::Endpoint::new().unwrap();
    let options = SqliteOptions::new(&file);
    endpoint
        .attach_master("s", Backend::Sqlite(options))
        .unwrap();
    every("");
    endpoint.shutdown().wait();
    of_file(&file, &["ls"]).expect(0);
    // By a program that does not know our lock, as the original.
    if Path::new("/proc/self/fd").exists() {
        let held = std::fs::File::open(&file).unwrap();
        every(&format!("process {}", std::process::id()));
        drop(held);
    }
    of_file(&file, &["ls"]).expect(0);
}

#[test]
fn files_that_are_no_store_are_refused_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(
        path("text"),
        "no database at all, and longer than a header ".repeat(9),
    )
    .unwrap();
    let interrupted = copy("all-types", folder.path());
    std::fs::write(path("all-types.sqlite-journal"), "begun").unwrap();
    let before = contents(folder.path());
    for (file, said) in [
        (path("text"), "not a database"),
        (path(""), "directory"),
        (interrupted, "was interrupted"),
    ] {
        let ended = of_file(&file, &["ls"]).expect(1);
        assert!(ended.err.contains(said), "{ended:?}");
    }
    let ended = of_file(&path("all-type.sqlite"), &["ls"]).expect(2);
    assert!(ended.err.contains("all-types.sqlite"), "{ended:?}");
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn what_is_dumped_can_be_loaded_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let original = copy("all-types", folder.path());
    of_file(&original, &["put", "soon", "[1]", "--expiry", "1h"]).expect(0);
    let dumped = of_file(&original, &["dump"]).expect(0).out;
    // Into a file, with the times at which entries expire.
    let ended = run_with_input(
        &mut command(&["store", "load", "--file", &path("copy")]),
        &dumped,
    );
    let lines = dumped.lines().count();
    assert!(
        ended
            .expect(0)
            .err
            .contains(&format!("{lines} entries set"))
    );
    assert_eq!(of_file(&path("copy"), &["dump"]).expect(0).out, dumped);
    // Into a running store and out of it again.
    let (peer, store) = hosts();
    std::fs::write(path("lines"), &dumped).unwrap();
    peer.run(&["store", "load", "hosts", &path("lines")])
        .expect(0);
    assert_eq!(store.len().unwrap(), lines as u64);
    let again = peer.run(&["store", "dump", "hosts"]).expect(0);
    let parts = |text: &str| -> Vec<_> {
        let lines = text
            .lines()
            .map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap());
        let mut parts: Vec<_> = lines
            .map(|it| (it["data"][0].to_string(), it["data"][1].to_string()))
            .collect();
        parts.sort();
        parts
    };
    assert_eq!(parts(&again.out), parts(&dumped));
}

/// Lines of a long load; `BROKER_LOAD_LINES=1000000` is the whole of it.
fn long_load() -> u64 {
    let chosen = std::env::var("BROKER_LOAD_LINES").ok();
    chosen.map_or(20_000, |lines| lines.parse().unwrap())
}

#[test]
fn a_long_load_is_complete_and_dumps_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let line = |number: u64| {
        let key = format!("{{\"@data-type\":\"count\",\"data\":{number}}}");
        format!("{{\"@data-type\":\"vector\",\"data\":[{key},{key}]}}\n")
    };
    let lines: String = (0..long_load()).map(line).collect();
    std::fs::write(path("lines"), lines).unwrap();
    let ended = of_file(&path("first"), &["load", &path("lines")]).expect(0);
    let said = format!("{} entries set", long_load());
    assert!(ended.err.contains(&said), "{ended:?}");
    let dumped = of_file(&path("first"), &["dump"]).expect(0).out;
    assert_eq!(dumped.lines().count() as u64, long_load());
    std::fs::write(path("dumped"), &dumped).unwrap();
    of_file(&path("second"), &["load", &path("dumped")]).expect(0);
    let again = of_file(&path("second"), &["dump"]).expect(0).out;
    assert!(again == dumped, "the dump of a loaded dump is another one");
}

#[test]
fn lines_that_are_refused_are_told_and_the_others_loaded() {
    let (peer, store) = hosts();
    let good = |number: u64| {
        let key = json!({"@data-type": "count", "data": number});
        json!({"type": "entry", "@data-type": "vector", "data": [key, key]}).to_string() + "\n"
    };
    let gone = json!({"@data-type": "vector", "data": [
        {"@data-type": "count", "data": 9}, {"@data-type": "count", "data": 9},
        {"@data-type": "timestamp", "data": "2001-01-01T00:00:00.000000000"}]});
    let mut text: String = (0..12_000).map(good).collect();
    text.push_str(&format!(
        "no json\n{gone}\n{{\"@data-type\":\"count\",\"data\":1}}\n"
    ));
    text.push_str(&good(12_000));
    let ended = run_with_input(&mut peer.command(&["store", "load", "hosts"]), &text).expect(1);
    for said in [
        "line 12001: ",
        "line 12003: ",
        "2 lines were refused",
        "1 left out",
        "12001 entries set",
    ] {
        assert!(ended.err.contains(said), "{said}: {ended:?}");
    }
    assert_eq!(store.len().unwrap(), 12_001);
    store.clear().unwrap();
    let mut load = peer.command(&["store", "load", "hosts", "--skip", "12003"]);
    run_with_input(&mut load, &text).expect(0);
    assert_eq!(store.len().unwrap(), 1);
}

#[test]
fn damage_is_found_and_room_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.sqlite").to_str().unwrap().to_owned();
    let lines: String = (0..2_000u64)
        .map(|number| {
            let key = json!({"@data-type": "count", "data": number});
            let value = json!({"@data-type": "string", "data": "x".repeat(200)});
            json!({"@data-type": "vector", "data": [key, value]}).to_string() + "\n"
        })
        .collect();
    let load = &["store", "load", "--file", &file];
    run_with_input(&mut command(load), &lines).expect(0);
    let size = || std::fs::metadata(&file).unwrap().len();
    let large = size();
    of_file(&file, &["clear"]).expect(0);
    of_file(&file, &["compact"]).expect(0);
    assert!(size() < large / 4);
    run_with_input(&mut command(load), &lines).expect(0);
    let mut content = std::fs::read(&file).unwrap();
    let middle = content.len() / 2;
    content[middle..middle + 8192].fill(0xff);
    std::fs::write(&file, content).unwrap();
    let ended = of_file(&file, &["check"]).expect(1);
    assert!(
        ended.err.contains("damaged") || ended.err.contains("malformed"),
        "{ended:?}"
    );
}

#[test]
fn a_signal_ends_a_watch() {
    let (peer, _store) = hosts();
    let mut watch: Running = peer.start(&["store", "watch", "hosts"]);
    watch.says("watching");
    watch.signal(rustix::process::Signal::TERM);
    watch.end().expect(130);
}
