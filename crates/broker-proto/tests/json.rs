//! The recorded JSON messages, topics included; their values are checked in `broker-data`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use broker_data::json::Form;
use broker_proto::json::message::{DESERIALIZATION_FAILED, Refusal, read_data, write_data};
use serde_json::Value as Json;

/// Cases that are read as another port than was meant, and refused here; see ADR 0051.
const REFUSED: [&str; 4] = ["port-upper", "port-other", "port-emptyproto", "port-dbl"];

fn cases() -> Vec<Json> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/json.json");
    let text = std::fs::read_to_string(path).expect("the vectors are in the repository");
    let mut vectors: Json = serde_json::from_str(&text).expect("the vectors are JSON");
    match vectors["cases"].take() {
        Json::Array(cases) => cases,
        other => panic!("{other}"),
    }
}

fn text(case: &Json) -> Vec<u8> {
    match case["json_hex"].as_str() {
        Some(hex) => hex::decode(hex).unwrap(),
        None => case["json"].as_str().unwrap().as_bytes().to_vec(),
    }
}

#[test]
fn every_message_has_the_recorded_or_recommended_verdict() {
    let cases = cases();
    assert_eq!(cases.len(), 363);
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let accepted = match case["recommend"].as_str() {
            Some(recommended) => recommended == "accept",
            None => case["accepted"].as_bool().unwrap() && !REFUSED.contains(&id),
        };
        match read_data(&text(case), Form::Compatible, &mut Vec::new()) {
            Ok(_) => assert!(accepted, "{id}"),
            Err(refusal) => {
                assert!(!accepted, "{id}: {refusal}");
                assert_eq!(refusal.code(), DESERIALIZATION_FAILED);
                assert!(refusal.context(1).starts_with("input #1 "), "{id}");
            }
        }
    }
}

#[test]
fn topics_that_clients_may_not_use_are_refused_as_recommended() {
    let mut checked = 0;
    for case in cases() {
        let id = case["id"].as_str().unwrap();
        let refusal = read_data(&text(&case), Form::Compatible, &mut Vec::new()).err();
        match id {
            "no-topic" | "topic-num" | "topic-null" => assert_eq!(refusal, Some(Refusal::Topic)),
            "topic-internal" | "topic-reserved" | "topic-store" => {
                assert!(matches!(refusal, Some(Refusal::Reserved(_))), "{refusal:?}");
            }
            _ => continue,
        }
        checked += 1;
    }
    assert_eq!(checked, 6);
}

/// Reals, microseconds and what is no JSON are spelled in another way; see `broker-data`.
#[test]
fn messages_are_written_as_recorded() {
    let mut checked = 0;
    for case in cases() {
        let mut payload = Vec::new();
        let Ok(topic) = read_data(&text(&case), Form::Compatible, &mut payload) else {
            continue;
        };
        let Some(recorded) = case["out_json"].as_str() else {
            continue;
        };
        let id = case["id"].as_str().unwrap();
        let other = id.starts_with("real-")
            || [
                "string-slash-esc",
                "string-v-esc",
                "string-u0000",
                "string-raw7f",
            ]
            .contains(&id)
            || ["ts-pre", "span-us", "span-big"].contains(&id);
        if other {
            continue;
        }
        let mut out = String::new();
        write_data(&mut out, topic.as_bytes(), &payload, Form::Compatible).unwrap();
        assert_eq!(out, recorded.replace("12.480000", "12.48"), "{id}");
        checked += 1;
    }
    assert_eq!(checked, 154);
}
