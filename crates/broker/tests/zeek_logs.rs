//! Log streams, recorded with a real Zeek and made by hand, against the JSON logs they stand for.
//!
//! The recordings with Zeek are large and lie beside the repository; [`files`] finds them. Without
//! them their tests check nothing and say so, except where checks run: there they fail.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use broker::data::View;
use broker::zeek::{BatchBuilder, LogDecoder, Message};
use serde_json::Value;

#[path = "outside/files.rs"]
mod files;

/// The recordings that the tests read.
const RECORDINGS: [&str; 3] = [
    "zeek-logs-http.json",
    "zeek-logs-mixed.json",
    "zeek-logs-types.json",
];
/// Bytes before the topic: length of the frame, sender, receiver, kind, TTL, length of topic.
const TOPIC_OFFSET: usize = 41;
/// Where the kind of a frame stands; 1 is data.
const KIND_OFFSET: usize = 36;
/// The last frame of the handshake: tag 12 and nothing else.
const HANDSHAKE_END: &str = "000000010c";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of the recordings with a real Zeek, if they are there.
fn zeek_recordings() -> Option<PathBuf> {
    RECORDINGS
        .map(|name| files::find("zeek", name))
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .map(|paths| paths[0].parent().unwrap().to_owned())
}

fn load(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The values of the data messages that Zeek sent, without those of the handshake.
fn payloads(recording: &Value) -> Vec<Vec<u8>> {
    let frames = recording["frames"].as_array().unwrap();
    let start = frames
        .iter()
        .position(|frame| frame["hex"] == HANDSHAKE_END)
        .map_or(0, |at| at + 1);
    frames[start..]
        .iter()
        .filter(|frame| frame["dir"] == "in")
        .map(|frame| hex::decode(frame["hex"].as_str().unwrap()).unwrap())
        .filter(|frame| frame[KIND_OFFSET] == 1)
        .map(|frame| {
            let size = u16::from_be_bytes([frame[TOPIC_OFFSET - 2], frame[TOPIC_OFFSET - 1]]);
            frame[TOPIC_OFFSET + usize::from(size)..].to_vec()
        })
        .collect()
}

/// The records of all messages as JSON, by path.
fn decode(payloads: &[Vec<u8>]) -> BTreeMap<String, Vec<Value>> {
    let mut decoder = LogDecoder::new();
    let mut records = BTreeMap::<_, Vec<_>>::new();
    for payload in payloads {
        decoder.handle(&payload.clone().into());
        while let Some(record) = decoder.poll_record() {
            let record = record.unwrap();
            let line = serde_json::from_str(&record.to_json()).unwrap();
            records
                .entry(record.path().to_owned())
                .or_default()
                .push(line);
        }
    }
    records
}

/// Equal as JSON, where real numbers are equal when they read as the same one.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => {
            let is_real =
                |number: &serde_json::Number| number.to_string().contains(['.', 'e', 'E']);
            is_real(ours) == is_real(theirs)
                && (ours == theirs || is_real(ours) && ours.as_f64() == theirs.as_f64())
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|((name, a), (other, b))| name == other && same(a, b))
        }
        (ours, theirs) => ours == theirs,
    }
}

/// Compares with the JSON logs that the same process wrote; returns numbers of logs and records.
fn check(recording: &Value) -> (usize, usize) {
    let records = decode(&payloads(recording));
    let expected = recording["expected"].as_object().unwrap();
    let mut compared = 0;
    for (path, lines) in expected {
        let mut lines = &lines.as_array().unwrap()[..];
        if matches!(path.as_str(), "reporter" | "packet_filter") {
            // Zeek wrote the first line of both before anybody was connected.
            lines = &lines[1..];
        }
        let ours = records.get(path).map_or(&[][..], Vec::as_slice);
        assert_eq!(ours.len(), lines.len(), "{path}");
        for (ours, theirs) in ours.iter().zip(lines) {
            assert!(
                same(ours, theirs),
                "{path}:\n  ours   {ours}\n  theirs {theirs}"
            );
        }
        compared += lines.len();
    }
    for path in records.keys() {
        assert!(expected.contains_key(path), "{path} was not expected");
    }
    (expected.len(), compared)
}

#[test]
fn zeek_and_we_write_the_same_json() {
    let Some(folder) = zeek_recordings() else {
        return;
    };
    for (name, logs, records) in [
        ("zeek-logs-http.json", 6, 85),
        ("zeek-logs-mixed.json", 22, 330),
        ("zeek-logs-types.json", 6, 7),
    ] {
        let checked = check(&load(&folder.join(name)));
        assert_eq!(checked, (logs, records), "{name}");
    }
}

#[test]
fn our_own_recording() {
    let recording = load(&repository().join("examples/log_stream.json"));
    assert_eq!(check(&recording), (4, 5));
}

#[test]
fn records_that_overtake_their_field_list_are_kept() {
    let Some(folder) = zeek_recordings() else {
        return;
    };
    let recording = load(&folder.join("zeek-logs-mixed.json"));
    let payloads = payloads(&recording);
    let is_create = |payload: &&Vec<u8>| {
        matches!(
            Message::parse(View::trusted(payload)),
            Message::LogCreate(_)
        )
    };
    let (creates, writes): (Vec<_>, Vec<_>) = payloads.iter().partition(is_create);
    let late: Vec<_> = writes.into_iter().chain(creates).cloned().collect();
    assert_eq!(decode(&late), decode(&payloads));
}

#[test]
fn messages_of_zeek_can_be_built_as_zeek_built_them() {
    let Some(folder) = zeek_recordings() else {
        return;
    };
    for name in ["zeek-logs-mixed.json", "zeek-logs-types.json"] {
        for payload in payloads(&load(&folder.join(name))) {
            let again = match Message::parse(View::trusted(&payload)) {
                Message::Event(event) => broker::data::to_bytes(&event),
                Message::LogCreate(create) => {
                    let schema = create.schema().unwrap();
                    assert_eq!(broker::data::to_bytes(&schema).unwrap(), payload);
                    broker::data::to_bytes(&create)
                }
                Message::LogWrite(write) => broker::data::to_bytes(&write),
                Message::IdentifierUpdate(update) => broker::data::to_bytes(&update),
                Message::Batch(batch) => {
                    let mut builder = BatchBuilder::new();
                    for message in batch.messages() {
                        match message {
                            Message::LogWrite(write) => builder.push(&write).unwrap(),
                            other => panic!("{other:?}"),
                        }
                    }
                    assert_eq!(broker::data::to_bytes(&builder).unwrap(), payload);
                    broker::data::to_bytes(&batch)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(again.unwrap(), payload);
        }
    }
}
