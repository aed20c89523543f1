//! Every kind of frame, as the original wrote it: read, and written again.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::path::Path;

use broker_proto::frame::{FRAME_LEN_SIZE, TTL, frame_size, write_envelope};
use broker_proto::message::{Handshake, MAGIC, ping, pong, routing_update};
use broker_proto::{EndpointId, Envelope, EnvelopeError, ErrorCode, Filter, Tag, Topic};
use serde_json::Value;

fn frames() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/frames.json");
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    vectors["frames"].as_array().unwrap().clone()
}

fn id(field: &Value) -> EndpointId {
    field.as_str().unwrap().parse().unwrap()
}

fn byte(field: &Value) -> u8 {
    u8::try_from(field.as_u64().unwrap()).unwrap()
}

fn filter(field: &Value) -> Filter {
    field
        .as_array()
        .unwrap()
        .iter()
        .map(|topic| Topic::from(topic.as_str().unwrap()))
        .collect()
}

fn handshake(fields: &Value) -> Handshake {
    match fields["type"].as_str().unwrap() {
        "hello" => Handshake::Hello {
            id: id(&fields["id"]),
            min: byte(&fields["min_version"]),
            max: byte(&fields["max_version"]),
        },
        "probe" => Handshake::Probe,
        "version_select" => Handshake::VersionSelect {
            id: id(&fields["id"]),
            version: byte(&fields["version"]),
        },
        "drop_conn" => {
            let code = ErrorCode::from_number(byte(&fields["code"])).unwrap();
            assert_eq!(fields["code_name"], code.name());
            let text = fields["description"].as_str().unwrap().to_owned();
            Handshake::DropConn {
                id: id(&fields["id"]),
                code,
                text,
            }
        }
        "originator_syn" => Handshake::OriginatorSyn(filter(&fields["filter"])),
        "responder_syn_ack" => Handshake::ResponderSynAck(filter(&fields["filter"])),
        "originator_ack" => Handshake::OriginatorAck,
        other => panic!("unknown message {other}"),
    }
}

fn tag(fields: &Value) -> Tag {
    match fields["type"].as_str().unwrap() {
        "data" => Tag::Data,
        "command" => Tag::Command,
        "routing_update" => Tag::RoutingUpdate,
        "ping" => Tag::Ping,
        "pong" => Tag::Pong,
        other => panic!("unknown message {other}"),
    }
}

/// A frame of phase 3, written from its fields; data and commands keep their payload.
fn rebuilt(fields: &Value, payload: &[u8]) -> Vec<u8> {
    let (sender, receiver) = (id(&fields["sender"]), id(&fields["receiver"]));
    match tag(fields) {
        Tag::RoutingUpdate => routing_update(sender, receiver, &filter(&fields["filter"])),
        Tag::Ping => ping(sender, receiver, payload),
        Tag::Pong => pong(sender, receiver, payload),
        tag @ (Tag::Data | Tag::Command) => {
            let topic = fields["topic"].as_str().unwrap().as_bytes();
            let mut out = Vec::new();
            write_envelope::<EnvelopeError>(&mut out, sender, receiver, tag, topic, |out| {
                out.extend_from_slice(payload);
                Ok(())
            })
            .unwrap();
            out
        }
    }
}

#[test]
fn every_frame_both_ways() {
    let frames = frames();
    assert_eq!(frames.len(), 44);
    for vector in &frames {
        let (name, fields) = (&vector["name"], &vector["fields"]);
        let frame = hex::decode(vector["hex"].as_str().unwrap()).unwrap();
        assert_eq!(frame_size(&frame), Some(frame.len()), "{name}");
        let payload = &frame[FRAME_LEN_SIZE..];
        if vector["phase"] != 3 {
            let message = handshake(fields);
            assert_eq!(Handshake::parse(payload), Ok(message.clone()), "{name}");
            assert_eq!(hex::encode(message.encode()), hex::encode(&frame), "{name}");
            if fields.get("magic").is_some() {
                assert_eq!(fields["magic"], hex::encode(MAGIC));
            }
            continue;
        }
        let envelope = Envelope::parse(payload).unwrap();
        assert_eq!(envelope.sender, id(&fields["sender"]), "{name}");
        assert_eq!(envelope.receiver, id(&fields["receiver"]), "{name}");
        assert_eq!(envelope.tag, tag(fields), "{name}");
        assert_eq!(envelope.ttl, TTL, "{name}");
        assert_eq!(
            fields["topic"].as_str().unwrap().as_bytes(),
            envelope.topic,
            "{name}"
        );
        match envelope.tag {
            Tag::Data => broker_data::validate(envelope.payload).unwrap(),
            Tag::RoutingUpdate => {
                let read = Filter::decode_update(envelope.payload).unwrap();
                assert_eq!(read, filter(&fields["filter"]), "{name}");
            }
            Tag::Ping | Tag::Pong => {
                assert_eq!(fields["payload"], hex::encode(envelope.payload), "{name}");
            }
            Tag::Command => {}
        }
        let again = rebuilt(fields, envelope.payload);
        assert_eq!(hex::encode(again), hex::encode(&frame), "{name}");
    }
}

#[test]
fn refusals_have_the_words_of_the_original() {
    let mut answered = 0;
    for vector in frames() {
        let note = vector["note"].as_str().unwrap_or_default();
        let Some(payload) = note.strip_prefix("answer to payload ") else {
            continue;
        };
        let payload = hex::decode(payload).unwrap();
        let Ok(Handshake::DropConn { code, text, .. }) =
            Handshake::parse(&hex::decode(vector["hex"].as_str().unwrap()).unwrap()[4..])
        else {
            panic!("{} is an answer of another kind", vector["name"]);
        };
        // That it comes at a bad time is not in the message itself.
        if code == ErrorCode::LogicError {
            assert!(Handshake::parse(&payload).is_ok());
            continue;
        }
        let refusal = Handshake::parse(&payload).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.text),
            (code, text),
            "{}",
            vector["name"]
        );
        answered += 1;
    }
    assert_eq!(answered, 5);
}
