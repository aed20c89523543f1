//! What a real cluster with the backend ZeroMQ sent, read and written again.
//!
//! The recording is large and lies beside the repository. Without it these tests check nothing and say
//! so, except where checks run: there they fail.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use broker_data::{Timestamp, to_bytes};
use broker_zeek::Message;
use broker_zeek::zeromq::{
    EventParts, EventReader, LogBatchReader, LogBatchWriter, Membership, MembershipOutput,
};
use serde_json::Value;

#[path = "../../broker/tests/outside/files.rs"]
mod files;
#[path = "../../broker/tests/outside/zeek_json.rs"]
mod zeek_json;

use zeek_json::same;

fn recording() -> Option<Value> {
    let path = files::find("zeek", "zeek-zeromq.json")?;
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn frames(message: &Value) -> Vec<Vec<u8>> {
    let frames = list(&message["frames"]).iter();
    frames
        .map(|frame| hex::decode(frame.as_str().unwrap()).unwrap())
        .collect()
}

fn parts(frames: &[Vec<u8>]) -> impl ExactSizeIterator<Item = &[u8]> {
    frames.iter().map(Vec::as_slice)
}

#[test]
fn every_record_equals_what_zeek_wrote_as_json() {
    let Some(recording) = recording() else {
        return;
    };
    let mut reader = LogBatchReader::new();
    let mut compared = 0;
    for message in list(&recording["logs"]["real"]) {
        let batch = reader.read_message(parts(&frames(message))).unwrap();
        let expected = list(&message["expected"]);
        assert_eq!(batch.records().len(), expected.len());
        for (record, expected) in batch.records().iter().zip(expected) {
            let ours = serde_json::from_str(&record.to_json()).unwrap();
            assert!(
                same(&ours, expected),
                "{}:\n  ours   {ours}\n  theirs {expected}",
                record.path()
            );
            compared += 1;
        }
    }
    assert!(compared > 80, "{compared}");
}

#[test]
fn batches_are_written_as_zeek_writes_them() {
    let Some(recording) = recording() else {
        return;
    };
    let logs = &recording["logs"];
    let mut reader = LogBatchReader::new();
    for message in list(&logs["small"]).iter().chain(list(&logs["real"])) {
        let frames = frames(message);
        let batch = reader.read_message(parts(&frames)).unwrap();
        let decoded = &message["decoded"];
        let schema = batch.schema().clone();
        assert_eq!(schema.stream(), decoded["stream"]);
        assert_eq!(schema.path(), decoded["path"]);
        assert_eq!(batch.filter(), decoded["filter"]);
        for (field, expected) in schema.fields().iter().zip(list(&decoded["fields"])) {
            assert_eq!(field.name, expected["name"]);
            assert_eq!(u64::from(field.kind.number()), expected["type"]);
            assert_eq!(u64::from(field.element_kind.number()), expected["subtype"]);
            assert_eq!(field.is_optional, expected["optional"]);
        }
        let mut writer = LogBatchWriter::new(schema, batch.filter());
        for record in batch.records() {
            writer.push(record).unwrap();
        }
        assert_eq!(hex::encode(writer.finish()), hex::encode(&frames[3]));
    }
}

#[test]
fn events_of_a_cluster_are_read_and_written_as_they_came() {
    let Some(recording) = recording() else {
        return;
    };
    let mut events = 0;
    let mut reader = EventReader::new("another");
    for session in list(&recording["sessions"]) {
        for message in list(&session["messages"]) {
            if message["dir"] != "cluster->recorder" || message["socket"] != "XSUB" {
                continue;
            }
            let frames = frames(message);
            // What the recorder itself sent wrongly on purpose comes back to it as it was.
            let is_of_zeek = frames
                .get(1)
                .is_some_and(|sender| sender.starts_with(b"zeromq_"));
            let Some(read) = reader.read(parts(&frames)) else {
                assert!(!is_of_zeek, "{message}");
                continue;
            };
            let (topic, sender, value) = (read.topic, read.sender, read.value);
            let Message::Event(event) = Message::parse(value) else {
                assert!(!is_of_zeek, "{message}");
                continue;
            };
            events += 1;
            if frames[2] == b"broker-bin-v1" {
                assert_eq!(to_bytes(&event).unwrap(), frames[3]);
                let again = EventParts::new(topic, sender, &event).unwrap();
                assert!(again.as_array().into_iter().eq(parts(&frames)));
            }
        }
    }
    assert!(events > 60, "{events}");
    assert!(reader.counts().bad > 0 && reader.counts().read >= events);
}

#[test]
fn the_nodes_of_a_recorded_cluster_come_and_go() {
    let Some(recording) = recording() else {
        return;
    };
    let now = Timestamp::from_ns(0);
    let mut membership = Membership::observer();
    let mut reader = EventReader::new("another");
    let mut ups = Vec::new();
    let mut downs = Vec::new();
    for message in list(&recording["sessions"][0]["messages"]) {
        if message["dir"] != "cluster->recorder" {
            continue;
        }
        let frames = frames(message);
        match (message["socket"].as_str(), frames.as_slice()) {
            (Some("XPUB"), [notice]) if notice[0] == 1 => {
                membership.handle_subscribed(now, &notice[1..]);
            }
            (Some("XPUB"), [notice]) => membership.handle_unsubscribed(&notice[1..]),
            _ => {
                let value = reader.read(parts(&frames)).map(|read| read.value);
                if let Some(Message::Event(event)) = value.map(Message::parse) {
                    membership.handle_event(now, &event);
                }
            }
        }
        while let Some(output) = membership.poll_output() {
            match output {
                MembershipOutput::Up(node) => ups.push(node.name),
                MembershipOutput::Down(node) => downs.push(node.name),
                MembershipOutput::Seen(_) => {}
                MembershipOutput::Publish { .. } => panic!("an observer says nothing"),
            }
        }
    }
    ups.sort();
    ups.dedup();
    assert_eq!(ups, ["logger-1", "manager", "worker-1"]);
    // The worker was killed, came back and was ended; at last all were.
    assert_eq!(membership.nodes().count(), 0);
    downs.sort();
    assert_eq!(downs, ["logger-1", "manager", "worker-1", "worker-1"]);
}
