//! `broker logs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker::View;
use broker::zeek::{
    Field, LogValue, LogWrite, Message, RecordWriter, Schema, WriterInfo, ZeekType,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::files;
use crate::process::{DEADLINE, Ended, Peer, Running};
use crate::schema;

/// A log with one of each that matters to lines.
fn conn() -> Schema {
    log(
        "conn",
        vec![
            Field::new("ts", ZeekType::Time),
            Field::new("id.orig_h", ZeekType::Addr),
            Field::new("id.resp_p", ZeekType::Port),
            Field::new("service", ZeekType::String),
            Field::of("tags", ZeekType::Table, ZeekType::String),
        ],
    )
}

fn log(path: &str, fields: Vec<Field>) -> Schema {
    let info = WriterInfo {
        path: path.into(),
        ..WriterInfo::default()
    };
    Schema::new(format!("{path}::LOG"), "Log::WRITER_ASCII", info, fields)
}

fn counts() -> Schema {
    log("counts", vec![Field::new("n", ZeekType::Count)])
}

fn announce(peer: &Peer, schema: &Schema) {
    let topic = format!("zeek/logs/{}", schema.stream());
    peer.endpoint.publish(&topic, schema).unwrap();
}

fn write(peer: &Peer, schema: &Schema, fill: impl FnOnce(&mut RecordWriter<'_>)) {
    let mut writer = RecordWriter::new(schema);
    fill(&mut writer);
    let blob = writer.finish().unwrap();
    let topic = format!("zeek/logs/{}", schema.stream());
    let message = LogWrite::new(schema, &blob);
    peer.endpoint.publish(&topic, &message).unwrap();
}

fn write_conn(peer: &Peer, host: &str, port: &str, service: Option<&str>, tags: &[&str]) {
    write(peer, &conn(), |writer| {
        writer.value(LogValue::Time(1.5)).unwrap();
        writer.value(LogValue::Addr(host.parse().unwrap())).unwrap();
        writer.value(LogValue::Port(port.parse().unwrap())).unwrap();
        match service {
            Some(service) => writer.value(LogValue::String(service.as_bytes())).unwrap(),
            None => writer.unset().unwrap(),
        }
        let tags: Vec<_> = tags
            .iter()
            .map(|it| Some(LogValue::String(it.as_bytes())))
            .collect();
        writer.elements(&tags).unwrap();
    });
}

fn write_counts(peer: &Peer, numbers: std::ops::Range<u64>) {
    let schema = counts();
    for number in numbers {
        write(peer, &schema, |writer| {
            writer.value(LogValue::Count(number)).unwrap()
        });
    }
}

#[test]
fn json_has_the_name_of_the_log_and_what_was_asked_for() {
    let peer = Peer::plain();
    let arguments = [
        "logs",
        "conn",
        "--json",
        "-n",
        "2",
        "-w",
        "id.orig_h in 10.0.0.0/8 and id.resp_p == 443",
        "--fields",
        "service,id.orig_h,tags",
    ];
    let logs = peer.start(&arguments);
    announce(&peer, &conn());
    announce(&peer, &counts());
    write_counts(&peer, 0..2);
    write_conn(&peer, "10.0.0.1", "443/tcp", Some("s\"l"), &["a"]);
    write_conn(&peer, "11.0.0.1", "443/tcp", None, &[]);
    write_conn(&peer, "10.0.0.1", "80/tcp", None, &[]);
    write_conn(&peer, "10.0.0.2", "443/tcp", None, &[]);
    let ended = logs.end().expect(0);
    assert_eq!(
        ended.out,
        "{\"_path\":\"conn\",\"service\":\"s\\\"l\",\"id.orig_h\":\"10.0.0.1\",\"tags\":[\"a\"]}\n\
         {\"_path\":\"conn\",\"id.orig_h\":\"10.0.0.2\",\"tags\":[]}\n"
    );
    assert_eq!(ended.err, "");
}

#[test]
fn tsv_is_zeeks_own_with_a_header_per_log() {
    let peer = Peer::plain();
    let logs = peer.start(&["logs", "--format", "tsv", "-n", "3"]);
    announce(&peer, &conn());
    announce(&peer, &counts());
    write_conn(
        &peer,
        "10.0.0.1",
        "443/tcp",
        Some("a\tb,\\"),
        &["x,y", "", "-"],
    );
    write_conn(&peer, "2001:db8::1", "53/udp", None, &[]);
    write_counts(&peer, 7..8);
    let ended = logs.end().expect(0);
    let out = without_stamps(&ended.out);
    assert_eq!(
        out,
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n\
         #path\tconn\n#open\tSTAMP\n#fields\tts\tid.orig_h\tid.resp_p\tservice\ttags\n\
         #types\ttime\taddr\tport\tstring\tset[string]\n\
         1.500000\t10.0.0.1\t443\ta\\x09b,\\\\\tx\\x2cy,(empty),\\x2d\n\
         1.500000\t2001:db8::1\t53\t-\t(empty)\n\
         #close\tSTAMP\n\
         #separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n\
         #path\tcounts\n#open\tSTAMP\n#fields\tn\n#types\tcount\n7\n#close\tSTAMP\n"
    );
}

/// The text with the times of `#open` and `#close` replaced.
fn without_stamps(text: &str) -> String {
    let line = |line: &str| match line.split_once('\t') {
        Some((name @ ("#open" | "#close"), stamp)) => {
            assert_eq!(stamp.len(), "2026-01-02-03-04-05".len());
            assert!(
                stamp.bytes().all(|b| b.is_ascii_digit() || b == b'-'),
                "{stamp}"
            );
            format!("{name}\tSTAMP\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn a_table_has_its_columns_below_one_another() {
    let peer = Peer::plain();
    let logs = peer.start(&[
        "logs",
        "--format",
        "table",
        "-n",
        "2",
        "--fields",
        "id.orig_h,service",
    ]);
    announce(&peer, &conn());
    write_conn(&peer, "10.0.0.1", "443/tcp", Some("ssl"), &[]);
    write_conn(&peer, "10.0.0.2", "443/tcp", None, &[]);
    let out = logs.end().expect(0).out;
    assert_eq!(
        out,
        "conn\nid.orig_h        service\n10.0.0.1         ssl\n10.0.0.2         -\n"
    );
}

#[test]
fn names_that_seem_to_be_misspelt_are_told() {
    let peer = Peer::plain();
    let logs = peer.start(&[
        "logs",
        "conn",
        "Counts",
        "-n",
        "1",
        "-w",
        "id.org_h or true",
    ]);
    announce(&peer, &counts());
    announce(&peer, &conn());
    write_conn(&peer, "10.0.0.1", "443/tcp", None, &[]);
    let ended = logs.end().expect(0);
    assert!(
        ended.err.contains("`Counts`") && ended.err.contains("`counts"),
        "{ended:?}"
    );
    assert!(
        ended
            .err
            .contains("no record had a field `id.org_h`; there is `id.orig_h`"),
        "{ended:?}"
    );
    let ended = peer.run(&["logs", "--timeout", "50ms"]);
    ended.expect(4);
    for (arguments, said) in [
        (&["logs", "-w", "a = b"][..], "=="),
        (&["logs", "--rotate", "1h"], "--write"),
        (
            &["logs", "--write", "/tmp/x", "--format", "table"],
            "--format tsv",
        ),
        (
            &["logs", "--write", "/tmp/x", "--rotate", "5ms"],
            "a second",
        ),
    ] {
        let ended = peer.run(arguments).expect(2);
        assert!(ended.err.contains(said), "{ended:?}");
    }
}

/// The closed files of a log in the order of their names, without the hidden ones.
fn closed(folder: &Path, log: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let prefix = format!("{log}-");
    let is_closed = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(&prefix)
    };
    let mut paths: Vec<_> = names.filter(is_closed).collect();
    paths.sort_unstable();
    paths
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".broker-logs.lock")
        .collect();
    names.sort_unstable();
    names
}

/// The lines of records of a file, which has to be complete.
#[track_caller]
fn records(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "{}: {text}", path.display());
    if text.starts_with('#') {
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("#close\t"), "{}: {last}", path.display());
        assert_eq!(text.matches("#close").count(), 1);
    }
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Waits until that is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn files_are_closed_with_a_last_line_and_a_last_name() {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new");
    let logs = peer.start(&["logs", "--write", text(&target), "-n", "3"]);
    announce(&peer, &conn());
    announce(&peer, &counts());
    write_conn(&peer, "10.0.0.1", "443/tcp", None, &[]);
    write_counts(&peer, 0..2);
    let ended = logs.end().expect(0);
    let (conn, counts) = (closed(&target, "conn"), closed(&target, "counts"));
    assert_eq!(records(&conn[0]), ["1.500000\t10.0.0.1\t443\t-\t(empty)"]);
    assert_eq!(records(&counts[0]), ["0", "1"]);
    let printed: Vec<_> = ended.out.lines().collect();
    assert_eq!(printed, [text(&conn[0]), text(&counts[0])]);
    assert_eq!(names(&target).len(), 2);
    let head = std::fs::read_to_string(&conn[0]).unwrap();
    let opened = head
        .lines()
        .nth(5)
        .unwrap()
        .strip_prefix("#open\t")
        .unwrap();
    assert!(text(&conn[0]).ends_with(&format!("conn-{opened}.log")));
}

#[test]
fn files_are_rotated_while_records_come() {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "logs",
        "--write",
        text(folder.path()),
        "--rotate",
        "1s",
        "--format",
        "json",
        "--json",
    ];
    let mut logs = peer.start(&arguments);
    announce(&peer, &counts());
    let mut number = 0;
    let mut lines = Vec::new();
    while lines.len() < 2 {
        write_counts(&peer, number..number + 1);
        number += 1;
        wait_until("a closed or a longer file", || {
            let closed = closed(folder.path(), "counts");
            let open = std::fs::read_to_string(folder.path().join("counts.log"));
            let open = open.unwrap_or_default();
            let count: usize = closed.iter().map(|it| records(it).len()).sum();
            count + open.lines().count() >= usize::try_from(number).unwrap()
                || closed.len() > lines.len()
        });
        if closed(folder.path(), "counts").len() > lines.len() {
            lines.push(logs.line());
        }
    }
    logs.signal(Signal::TERM);
    let ended = logs.end().expect(130);
    lines.extend(ended.out.lines().map(str::to_owned));
    let mut all = Vec::new();
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap();
        schema::check("logs", &line);
        let lines = records(Path::new(line["file"].as_str().unwrap()));
        assert_eq!(line["records"], lines.len());
        all.extend(lines);
    }
    let expected: Vec<_> = (0..number).map(|it| format!("{{\"n\":{it}}}")).collect();
    assert_eq!(all, expected);
    assert_eq!(closed(folder.path(), "counts").len(), lines.len());
}

#[test]
fn a_killed_writer_loses_nothing_that_was_written_and_leaves_no_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("counts.log");
    let mut expected = 0;
    for round in 0..4 {
        let peer = Peer::plain();
        let logs = peer.start(&["logs", "--write", text(folder.path())]);
        announce(&peer, &counts());
        write_counts(&peer, expected..expected + 5_000);
        wait_until("a line", || {
            std::fs::read_to_string(&open).is_ok_and(|it| it.lines().count() > 8)
        });
        logs.signal(Signal::KILL);
        assert_eq!(logs.end().code, None);
        let left = std::fs::read_to_string(&open).unwrap();
        let whole = &left[..=left.rfind('\n').unwrap()];
        let whole: Vec<_> = whole.lines().filter(|it| !it.starts_with('#')).collect();
        // What is there is what came first, without gaps.
        let first = expected;
        for (number, line) in (first..).zip(&whole) {
            assert_eq!(*line, number.to_string());
        }
        // It may have been stopped within a line, and has been if it was not.
        let mut is_torn = !left.ends_with('\n');
        if round % 2 == 0 {
            std::fs::write(&open, format!("{left}123")).unwrap();
            is_torn = true;
        }
        let peer = Peer::plain();
        let ended = peer.run(&["logs", "--write", text(folder.path()), "--timeout", "10ms"]);
        let ended = ended.expect(4);
        assert!(
            ended
                .err
                .contains("which a writer that was killed had left"),
            "{ended:?}"
        );
        assert_eq!(ended.err.contains("unfinished line"), is_torn, "{ended:?}");
        let file = ended.out.trim_end();
        assert_eq!(records(Path::new(file)), whole);
        expected += u64::try_from(whole.len()).unwrap();
        assert_eq!(names(folder.path()).len(), round + 1);
    }
}

#[test]
fn a_file_that_was_killed_between_its_last_line_and_its_last_name_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::plain();
    let header = counts().tsv_header("2026-01-02-03-04-05");
    let finish = |content: &str| {
        std::fs::write(folder.path().join("counts.log"), content).unwrap();
        std::fs::write(
            folder.path().join(".counts.log.open"),
            "2026-01-02-03-04-05",
        )
        .unwrap();
        let ended = peer.run(&["logs", "--write", text(folder.path()), "--timeout", "1ms"]);
        ended.expect(4).out.trim_end().to_owned()
    };
    let file = finish(&format!("{header}5\n#close\t2026-01-02-04-00-00\n"));
    assert!(file.ends_with("/counts-2026-01-02-03-04-05.log"), "{file}");
    assert_eq!(records(Path::new(&file)), ["5"]);
    // The name is taken now.
    let file = finish(&format!("{header}6\n"));
    assert!(
        file.ends_with("/counts-2026-01-02-03-04-05_2.log"),
        "{file}"
    );
    assert_eq!(records(Path::new(&file)), ["6"]);
    // Without a record there is nothing to keep.
    for content in ["", &header, &header[..20]] {
        assert_eq!(finish(content), "");
    }
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn files_of_others_are_left_alone() {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counts.log");
    std::fs::write(&file, "of a Zeek\n").unwrap();
    let logs = peer.start(&["logs", "--write", text(folder.path())]);
    announce(&peer, &counts());
    write_counts(&peer, 0..1);
    let ended = logs.end().expect(1);
    assert!(ended.err.contains("is not of this command"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of a Zeek\n");
    std::fs::remove_file(&file).unwrap();
    let first = peer.start(&["logs", "--write", text(folder.path())]);
    let ended = peer
        .run(&["logs", "--write", text(folder.path())])
        .expect(1);
    assert!(ended.err.contains("by another `broker logs`"), "{ended:?}");
    first.signal(Signal::INT);
    first.end().expect(130);
}

#[test]
fn names_of_logs_cannot_leave_the_folder() {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    let logs = peer.start(&["logs", "--write", text(&inside), "-n", "3"]);
    for path in ["../x", ".y", "/tmp/z"] {
        let schema = log(path, vec![Field::new("n", ZeekType::Count)]);
        announce(&peer, &schema);
        write(&peer, &schema, |writer| {
            writer.value(LogValue::Count(1)).unwrap()
        });
    }
    logs.end().expect(0);
    assert_eq!(names(folder.path()), ["inside"]);
    let names = names(&inside);
    for (name, start) in names.iter().zip(["%2e.%2fx-", "%2ey-", "%2ftmp%2fz-"]) {
        assert!(name.starts_with(start), "{names:?}");
    }
}

#[test]
fn nodes_with_other_fields_get_a_file_of_their_own() {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    let logs = peer.start(&["logs", "--write", text(folder.path()), "-n", "3"]);
    let other = log("counts", vec![Field::new("m", ZeekType::Int)]);
    announce(&peer, &counts());
    write_counts(&peer, 0..1);
    announce(&peer, &other);
    write(&peer, &other, |writer| {
        writer.value(LogValue::Int(-1)).unwrap()
    });
    write_counts(&peer, 1..2);
    logs.end().expect(0);
    let lines: Vec<_> = names(folder.path())
        .iter()
        .map(|name| records(&folder.path().join(name)))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.contains(&vec!["0".to_owned(), "1".to_owned()]));
    assert!(lines.contains(&vec!["-1".to_owned()]));
}

#[test]
fn a_full_disk_is_an_error_and_leaves_whole_lines() {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    // The largest file is 64 KiB: a write beyond is cut short, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("sh");
    command
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_broker"),
            "logs",
            "--no-tls",
            "-u",
            &peer.url,
        ])
        .args(["--write", text(folder.path())])
        .env("BROKER_CONFIG", "/nonexistent/contexts.toml")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let logs = Running::start(&mut command);
    peer.await_peer();
    announce(&peer, &counts());
    // What comes at once is written at once, or not at all: something has to be there before.
    write_counts(&peer, 0..10);
    let file = folder.path().join("counts.log");
    wait_until("the first records", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with("\n9\n"))
    });
    write_counts(&peer, 10..40_000);
    let ended = logs.end().expect(1);
    assert!(
        ended.err.contains("cannot write") && ended.err.contains("counts.log"),
        "{ended:?}"
    );
    let left = std::fs::read_to_string(&file).unwrap();
    assert!(left.ends_with('\n'));
    let numbers = left.lines().filter(|line| !line.starts_with('#'));
    for (number, line) in numbers.enumerate() {
        assert_eq!(line, number.to_string());
    }
}

// --- recordings of a real Zeek -------------------------------------------------------------------

/// Bytes before the topic: length of the frame, sender, receiver, kind, TTL, length of topic.
const TOPIC_OFFSET: usize = 41;
/// Where the kind of a frame stands; 1 is data.
const KIND_OFFSET: usize = 36;
/// The last frame of the handshake: tag 12 and nothing else.
const HANDSHAKE_END: &str = "000000010c";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// Publishes what a Zeek sent to a subscriber of its logs; returns the number of records.
fn replay(peer: &Peer, recording: &Value) -> usize {
    let frames = recording["frames"].as_array().unwrap();
    let start = frames
        .iter()
        .position(|frame| frame["hex"] == HANDSHAKE_END);
    let mut records = 0;
    for frame in &frames[start.map_or(0, |at| at + 1)..] {
        let hex = bytes(frame["hex"].as_str().unwrap());
        if frame["dir"] != "in" || hex[KIND_OFFSET] != 1 {
            continue;
        }
        let size = u16::from_be_bytes([hex[TOPIC_OFFSET - 2], hex[TOPIC_OFFSET - 1]]);
        let (topic, payload) = hex[TOPIC_OFFSET..].split_at(size.into());
        let view = View::new(payload).unwrap();
        records += match Message::parse(view) {
            Message::LogWrite(_) => 1,
            Message::Batch(batch) => batch.len(),
            _ => 0,
        };
        let topic = std::str::from_utf8(topic).unwrap();
        peer.endpoint.publish(topic, &view).unwrap();
    }
    records
}

/// Runs `logs` on a recording into a folder, a file per log.
fn written(recording: &Value, format: &str) -> (tempfile::TempDir, BTreeMap<String, PathBuf>) {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "logs",
        "--write",
        text(folder.path()),
        "--format",
        format,
        "--json",
    ];
    let logs = peer.start(&arguments);
    let count = replay(&peer, recording);
    let count_written = || -> usize {
        let lines = names(folder.path())
            .into_iter()
            .filter(|it| it.ends_with(".log"))
            .map(|name| {
                let text = std::fs::read(folder.path().join(name)).unwrap_or_default();
                text.split(|b| *b == b'\n')
                    .filter(|it| !it.is_empty() && it[0] != b'#')
                    .count()
            });
        lines.sum()
    };
    wait_until("all records", || count_written() >= count);
    logs.signal(Signal::TERM);
    let ended: Ended = logs.end().expect(130);
    let files = ended.json().into_iter().map(|line| {
        schema::check("logs", &line);
        let file = PathBuf::from(line["file"].as_str().unwrap());
        (line["log"].as_str().unwrap().to_owned(), file)
    });
    let files = files.collect();
    (folder, files)
}

/// The lines that Zeek wrote to its own JSON logs while it was recorded.
fn expected(recording: &Value) -> BTreeMap<String, Vec<Value>> {
    let logs = recording["expected"].as_object().unwrap();
    let logs = logs.iter().map(|(path, lines)| {
        // Zeek wrote the first line of both before anybody was connected.
        let skipped = usize::from(matches!(path.as_str(), "reporter" | "packet_filter"));
        (path.clone(), lines.as_array().unwrap()[skipped..].to_vec())
    });
    logs.filter(|(_, lines)| !lines.is_empty()).collect()
}

/// Equal as JSON; numbers that are not whole to the six decimals of ASCII logs.
fn same(ours: &Value, theirs: &Value, is_rounded: bool) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            ours == theirs || is_rounded && (ours - theirs).abs() <= 1e-6
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len() && pairs.all(|(a, b)| same(a, b, is_rounded))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let is_same = |(name, value): (&String, &Value)| {
                theirs
                    .get(name)
                    .is_some_and(|it| same(value, it, is_rounded))
            };
            ours.len() == theirs.len() && ours.iter().all(is_same)
        }
        (ours, theirs) => ours == theirs,
    }
}

/// Undoes the escapes of an ASCII log, and spells what is no text as Zeek's JSON does.
fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        match (first, behind) {
            (b'\\', [b'x', a, b, end @ ..]) => {
                let digits = [*a, *b];
                let digits = std::str::from_utf8(&digits).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
                rest = end;
            }
            (b'\\', [b'\\', end @ ..]) => {
                out.push(b'\\');
                rest = end;
            }
            (byte, end) => {
                out.push(*byte);
                rest = end;
            }
        }
    }
    let mut text = String::new();
    for chunk in out.utf8_chunks() {
        for sign in chunk.valid().chars() {
            match sign {
                '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => text.push(sign),
                sign if sign.is_ascii_control() => {
                    text.push_str(&format!("\\x{:02x}", u32::from(sign)));
                }
                sign => text.push(sign),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// What a reader of ASCII logs makes of a field, as JSON.
fn field(kind: &str, text: &str) -> Option<Value> {
    if text == "-" {
        return None;
    }
    let inner = |prefix: &str| kind.strip_prefix(prefix)?.strip_suffix(']');
    if let Some(inner) = inner("set[").or_else(|| inner("vector[")) {
        let elements = match text {
            "(empty)" => Vec::new(),
            text => text
                .split(',')
                .map(|it| field(inner, it).unwrap_or(Value::Null))
                .collect(),
        };
        return Some(Value::Array(elements));
    }
    Some(match kind {
        "bool" => Value::Bool(text == "T"),
        "count" | "int" | "port" | "double" | "time" | "interval" => {
            serde_json::from_str(text).unwrap()
        }
        _ if text == "(empty)" => Value::String(String::new()),
        _ => Value::String(unescaped(text)),
    })
}

/// Reads an ASCII log by its own header.
fn read_tsv(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let header = |name: &str| -> Vec<String> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("#{name}\t")));
        line.unwrap().split('\t').map(str::to_owned).collect()
    };
    let (fields, kinds) = (header("fields"), header("types"));
    let record = |line: String| {
        let cells: Vec<_> = line.split('\t').collect();
        assert_eq!(cells.len(), fields.len(), "{line}");
        let named = fields
            .iter()
            .zip(&kinds)
            .zip(cells)
            .filter_map(|((name, kind), cell)| Some((name.clone(), field(kind, cell)?)));
        Value::Object(named.collect())
    };
    records(path).into_iter().map(record).collect()
}

fn check(recording: &Value) -> usize {
    let mut compared = 0;
    let expected = expected(recording);
    for format in ["json", "tsv"] {
        let (_folder, files) = written(recording, format);
        let names: Vec<_> = files.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>());
        for (log, file) in &files {
            let ours: Vec<Value> = match format {
                "tsv" => read_tsv(file),
                _ => records(file)
                    .iter()
                    .map(|it| serde_json::from_str(it).unwrap())
                    .collect(),
            };
            let theirs = &expected[log];
            assert_eq!(ours.len(), theirs.len(), "{log}");
            for (ours, theirs) in ours.iter().zip(theirs) {
                let is_same = same(ours, theirs, format == "tsv");
                assert!(
                    is_same,
                    "{format} {log}:\n  ours   {ours}\n  theirs {theirs}"
                );
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn files_have_what_zeek_wrote_to_its_own() {
    let mut compared = Vec::new();
    for name in ["zeek-logs-http.json", "zeek-logs-mixed.json"] {
        let Some(path) = files::find("zeek", name) else {
            return;
        };
        let recording = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        compared.push(check(&recording));
    }
    assert_eq!(compared, [2 * 85, 2 * 330]);
}

#[test]
fn files_have_what_is_in_our_own_recording() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/log_stream.json");
    let recording = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(check(&recording), 2 * 5);
}

#[test]
fn what_is_no_log_is_told_and_harms_nothing() {
    let peer = Peer::plain();
    let logs = peer.start(&["logs", "-n", "1"]);
    for number in 0..20u64 {
        peer.endpoint.publish("zeek/logs/x", &number).unwrap();
    }
    announce(&peer, &counts());
    write_counts(&peer, 0..1);
    let ended = logs.end().expect(0);
    assert_eq!(ended.out, "{\"_path\":\"counts\",\"n\":0}\n");
    assert_eq!(
        ended.err.matches("not a message of Zeek").count(),
        10,
        "{ended:?}"
    );
    assert!(
        ended.err.contains("10 more messages gave no record"),
        "{ended:?}"
    );
}
