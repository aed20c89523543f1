//! `broker record` and `broker replay`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use broker::Value;
use rustix::process::Signal;

use crate::process::{DEADLINE, Peer, Running, command, run};
use crate::schema;

fn publish(peer: &Peer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let topic = if number % 2 == 0 { "/t/even" } else { "/t/odd" };
        peer.endpoint.publish(topic, &number).unwrap();
    }
}

fn recorded(numbers: u64) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rec").to_str().unwrap().to_owned();
    let peer = Peer::plain();
    let record = peer.start(&["record", &file, "/t", "-n", &numbers.to_string()]);
    publish(&peer, 0..numbers);
    let ended = record.end().expect(0);
    assert!(
        ended.err.contains(&format!("{numbers} messages")),
        "{ended:?}"
    );
    (folder, file)
}

/// What `record --info` says.
fn info(file: &str) -> serde_json::Value {
    let lines = run(&["record", file, "--info", "--json"]).expect(0).json();
    schema::check("record", &lines[0]);
    lines[0].clone()
}

/// Replays to a peer and returns what came.
fn replayed(file: &str, arguments: &[&str], count: usize) -> Vec<(String, Value)> {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["/"]).unwrap();
    peer.run(&[&["replay", file], arguments].concat()).expect(0);
    let mut all = Vec::new();
    while let Some(message) = messages.try_recv() {
        let topic = String::from_utf8(message.topic().to_vec()).unwrap();
        all.push((topic, message.value()));
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

#[test]
fn what_is_recorded_is_sent_again() {
    let (_folder, file) = recorded(10);
    let told = info(&file);
    assert_eq!(told["messages"], 10);
    assert_eq!(told["topics"][0]["topic"], "/t/even");
    assert_eq!(told["topics"][0]["messages"], 5);
    let all = replayed(&file, &["--speed", "max"], 10);
    for (number, (topic, value)) in (0..).zip(all) {
        assert_eq!(topic, if number % 2 == 0 { "/t/even" } else { "/t/odd" });
        assert_eq!(value, Value::Count(number));
    }
    let all = replayed(&file, &["--speed", "max", "--map-topic", "/t/=/new/"], 10);
    assert_eq!(all[1].0, "/new/odd");
    replayed(&file, &["--speed", "max", "--from", "1h"], 0);
    replayed(
        &file,
        &["--speed", "max", "--to", "2001-01-01T00:00:00Z"],
        0,
    );
    replayed(
        &file,
        &[
            "--speed",
            "max",
            "--from",
            "2001-01-01T00:00:00Z",
            "--to",
            "1d",
        ],
        10,
    );
}

#[test]
fn the_pace_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rec").to_str().unwrap().to_owned();
    let peer = Peer::plain();
    let record = peer.start(&["record", &file, "/t", "-n", "2"]);
    publish(&peer, 0..1);
    // The first is in the file before the second is sent: the times differ by what is slept.
    wait_until(|| std::fs::metadata(&file).is_ok_and(|it| it.len() > 50));
    std::thread::sleep(Duration::from_millis(300));
    publish(&peer, 1..2);
    record.end().expect(0);
    let started = Instant::now();
    replayed(&file, &[], 2);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[track_caller]
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_program_under_test_connects_to_a_replay() {
    let (_folder, file) = recorded(4);
    let arguments = [
        "replay",
        &file,
        "--listen",
        "127.0.0.1:0",
        "--no-tls",
        "--speed",
        "max",
    ];
    let mut replay = Running::start(&mut command(&arguments));
    let said = replay.says("listening on");
    let url = said.rsplit(' ').next().unwrap().to_owned();
    let sub = run(&[
        "sub", "/t", "-n", "4", "--no-tls", "-u", &url, "--format", "{value}",
    ]);
    assert_eq!(sub.expect(0).out, "0c\n1c\n2c\n3c\n");
    replay.end().expect(0);
}

#[test]
fn a_loop_goes_on_until_it_is_interrupted() {
    let (_folder, file) = recorded(2);
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["/t"]).unwrap();
    let replay = peer.start(&["replay", &file, "--loop", "--speed", "1000"]);
    for _ in 0..7 {
        messages.recv_timeout(DEADLINE).unwrap().unwrap();
    }
    replay.signal(Signal::INT);
    replay.end().expect(130);
}

#[test]
fn a_killed_recorder_loses_nothing_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rec").to_str().unwrap().to_owned();
    let mut kept = 0;
    for round in 0..4u64 {
        let peer = Peer::plain();
        let record = peer.start(&["record", &file, "/t"]);
        let before = std::fs::metadata(&file).unwrap().len();
        publish(&peer, 0..5_000);
        wait_until(|| std::fs::metadata(&file).unwrap().len() > before);
        record.signal(Signal::KILL);
        record.end();
        // The system may have written a part of a block only.
        if round % 2 == 1 {
            let mut content = std::fs::read(&file).unwrap();
            content.extend_from_slice(b"BLK\n\0\0\x01\0\0\0\0\x05unfinished");
            std::fs::write(&file, content).unwrap();
        }
        let told = info(&file);
        let messages = told["messages"].as_u64().unwrap();
        assert!(messages > kept, "{told}");
        assert!(
            round % 2 == 0 || told["torn_bytes"].as_u64().unwrap() > 0,
            "{told}"
        );
        kept = messages;
    }
    let peer = Peer::plain();
    let mut record = peer.start(&["record", &file, "/t", "-n", "1"]);
    record.says("of an unfinished block are cut off");
    publish(&peer, 0..1);
    record.end().expect(0);
    let told = info(&file);
    assert_eq!(
        (told["messages"].as_u64().unwrap(), &told["torn_bytes"]),
        (kept + 1, &0.into())
    );
    replayed(
        &file,
        &["--speed", "max"],
        usize::try_from(kept).unwrap() + 1,
    );
}

#[test]
fn damage_and_other_files_are_told() {
    let (folder, file) = recorded(4);
    let mut content = std::fs::read(&file).unwrap();
    let good = content.clone();
    let last = content.len() - 1;
    content[last] ^= 1;
    std::fs::write(&file, &content).unwrap();
    let ended = run(&["record", &file, "--info"]).expect(0);
    assert!(
        ended.err.contains("the checksum of a block is wrong"),
        "{ended:?}"
    );
    // Damage that is followed by more is not the trace of a crash.
    content.extend_from_slice(&good[16..]);
    std::fs::write(&file, &content).unwrap();
    let peer = Peer::plain();
    let ended = peer.run(&["record", &file, "/t", "-n", "1"]);
    assert!(ended.expect(1).err.contains("is damaged at byte"));
    assert_eq!(std::fs::read(&file).unwrap(), content);
    let text = folder.path().join("text").to_str().unwrap().to_owned();
    std::fs::write(&text, "some text that is longer than a header").unwrap();
    for arguments in [
        &["record", &text, "--info"][..],
        &["replay", &text, "-u", "h"],
    ] {
        let ended = run(arguments).expect(2);
        assert!(ended.err.contains("it is no recording"), "{ended:?}");
    }
    let ended = peer.run(&["record", &text, "/t"]).expect(2);
    assert!(ended.err.contains("it is no recording"), "{ended:?}");
    for (arguments, said) in [
        (&["record", "x"][..], "<TOPIC>"),
        (&["replay", "/nonexistent"], "does not exist"),
        (&["replay", &file, "--speed", "0"], "`max`"),
        (&["replay", &file, "--from", "x"], "--from"),
        (&["replay", &file, "--map-topic", "x"], "`=`"),
    ] {
        let ended = run(arguments).expect(2);
        assert!(ended.err.contains(said), "{ended:?}");
    }
}

#[test]
fn a_recording_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rec").to_str().unwrap().to_owned();
    let peer = Peer::plain();
    let first = peer.start(&["record", &file, "/t"]);
    let ended = peer.run(&["record", &file, "/t"]).expect(1);
    assert!(
        ended.err.contains("by another `broker record`"),
        "{ended:?}"
    );
    first.signal(Signal::TERM);
    first.end().expect(130);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_whole_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rec");
    let peer = Peer::plain();
    // The largest file is 64 KiB: a write beyond is cut short, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\"";
    let mut record = Command::new("sh");
    record
        .args(["-c", script, env!("CARGO_BIN_EXE_broker"), "record"])
        .arg(&file)
        .args(["/t", "--no-tls", "-u", &peer.url])
        .env("BROKER_CONFIG", "/nonexistent/contexts.toml")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let record = Running::start(&mut record);
    peer.await_peer();
    publish(&peer, 0..5_000);
    let ended = record.end().expect(1);
    assert!(ended.err.contains("cannot write"), "{ended:?}");
    let told = info(Path::new(&file).to_str().unwrap());
    assert_eq!(told["torn_bytes"], 0, "{told}");
}
