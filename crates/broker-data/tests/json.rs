//! The recorded JSON cases: what is read, what is refused and how values are spelled; see
//! `vectors/README.md`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::cmp::Ordering;

use broker_data::json::{self, Form, JsonError};
use broker_data::{View, compare, validate};
use serde::Deserialize as _;
use serde_json::Value as Json;

/// How many cases were recorded.
const CASES: usize = 363;

/// Cases about the topic of a message, of which this crate knows nothing; those who do test them.
const ABOUT_TOPICS: [&str; 6] = [
    "no-topic",
    "topic-num",
    "topic-null",
    "topic-internal",
    "topic-reserved",
    "topic-store",
];

/// Cases that are read as another port than was meant, and refused here; see ADR 0051.
const REFUSED: [&str; 4] = ["port-upper", "port-other", "port-emptyproto", "port-dbl"];

/// Cases that are read to another value than recorded, and the value, because the recorded one is
/// wrong (the case is marked as not exact) or is nobody's wish.
const OTHER_VALUES: [(&str, &str); 10] = [
    ("real-tiny", "040000000000000001"),
    ("real-max", "047fefffffffffffff"),
    ("real-pi", "04400921fb54442d18"),
    // Not marked, but off by one in the last place like the one above.
    ("real-123456789.123456789", "04419d6f34547e6b75"),
    ("string-slash-esc", "0503612f62"),
    ("span-big", "0a7fffffffffffffff"),
    // These were refused, with the recommendation to read them.
    ("real-int", "04401c000000000000"),
    ("real-negint", "04c01c000000000000"),
    ("span-d", "0a00004e94914f0000"),
    ("span-0d", "0a0000000000000000"),
];

/// Cases that are written in another way than recorded: shortest reals, no JSON that is none, no
/// microseconds, no replacement of a solidus, correct times before 1970.
const OTHER_SPELLINGS: [(&str, &str); 37] = [
    ("real-0", "0.0"),
    ("real-neg0", "-0.0"),
    ("real-simple", "-7.5"),
    ("real-int", "7.0"),
    ("real-negint", "-7.0"),
    ("real-exp", "1000.0"),
    ("real-expneg", "0.0015"),
    ("real-expplus", "1000.0"),
    ("real-small", "1e-10"),
    ("real-tiny", "5e-324"),
    ("real-huge", "1e+308"),
    ("real-max", "1.7976931348623157e+308"),
    ("real-nan", "\"nan\""),
    ("real-dot", "0.5"),
    ("real-dotend", "5.0"),
    ("real-negdot", "-0.5"),
    ("real-third", "0.3333333333333333"),
    ("real-pi", "3.141592653589793"),
    ("real-big", "1.2345678901234567e+19"),
    ("real-1e22", "1e+22"),
    ("real-0.1", "0.1"),
    ("real-negexp-big", "-25000000000.0"),
    ("real-123456789.123456789", "123456789.12345679"),
    ("string-slash-esc", "\"a/b\""),
    ("string-v-esc", "\"\\u000b\""),
    ("string-u0000", "\"\\u0000\""),
    ("string-nonutf8", "\"\u{fffd}\u{fffd}\u{fffd}a\""),
    ("string-raw7f", "\"\u{7f}\\u001f\""),
    ("ts-pre", "\"1969-12-31T23:59:59.500\""),
    ("span-us", "\"1000ns\""),
    ("span-big", "\"9223372036854775807ns\""),
    ("span-d", "\"86400s\""),
    ("span-0d", "\"0s\""),
    // Refused by the original for their carriage returns.
    ("count-cr", "7"),
    ("leading-cr", "1"),
    ("trailing-cr", "1"),
    ("crlf-pretty", "1"),
];

struct Case {
    id: String,
    text: Vec<u8>,
    accepted: bool,
    recommended: Option<bool>,
    exact: bool,
    recorded: Json,
}

impl Case {
    fn is_accepted(&self) -> bool {
        self.recommended.unwrap_or(self.accepted) && !REFUSED.contains(&self.id.as_str())
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        let recorded = self.recorded["data_hex"].as_str();
        let other = OTHER_VALUES.iter().find(|(id, _)| *id == self.id);
        let hex = other.map(|(_, hex)| *hex).or(recorded)?;
        Some(hex::decode(hex).unwrap())
    }
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/json.json");
    let text = std::fs::read_to_string(path).expect("the vectors are in the repository");
    let vectors: Json = serde_json::from_str(&text).expect("the vectors are JSON");
    let cases = vectors["cases"].as_array().unwrap();
    // Less would be a test of nothing.
    assert_eq!(cases.len(), CASES);
    cases
        .iter()
        .map(|case| Case {
            id: case["id"].as_str().unwrap().to_owned(),
            text: match case["json_hex"].as_str() {
                Some(hex) => hex::decode(hex).unwrap(),
                None => case["json"].as_str().unwrap().as_bytes().to_vec(),
            },
            accepted: case["accepted"].as_bool().unwrap(),
            recommended: case["recommend"].as_str().map(|verdict| match verdict {
                "accept" => true,
                "reject" => false,
                other => panic!("{other}"),
            }),
            exact: case["exact"].as_bool().unwrap_or(true),
            recorded: case.clone(),
        })
        .filter(|case| !ABOUT_TOPICS.contains(&case.id.as_str()))
        .collect()
}

fn read(case: &Case, form: Form) -> Result<Vec<u8>, JsonError> {
    let mut out = b"untouched".to_vec();
    let result = json::decode(&case.text, form, &mut out);
    let value = out.split_off(9);
    assert_eq!(out, b"untouched", "{}", case.id);
    assert!(result.is_ok() || value.is_empty(), "{}", case.id);
    result.map(|()| value)
}

#[test]
fn every_case_has_the_recorded_or_recommended_verdict() {
    let mut wrong = Vec::new();
    for case in cases() {
        let result = read(&case, Form::Compatible);
        if result.is_ok() != case.is_accepted() {
            wrong.push(format!("{}: {result:?}", case.id));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(cases().len(), CASES - ABOUT_TOPICS.len());
}

#[test]
fn what_is_accepted_has_the_recorded_value() {
    let mut checked = 0;
    for case in cases().iter().filter(|case| case.is_accepted()) {
        let id = &case.id;
        let bytes = read(case, Form::Compatible).unwrap();
        assert_eq!(validate(&bytes), Ok(()), "{id}");
        let Some(recorded) = case.bytes() else {
            // Recommended against the recorded verdict; all of them are about white space.
            assert!(id.contains("cr"), "{id}");
            continue;
        };
        assert!(
            case.exact
                || OTHER_VALUES.iter().any(|(other, _)| other == id)
                || id == "real-nan"
                || id == "ts-pre"
                || id == "span-min64",
            "{id} is recorded as wrong"
        );
        // The original keeps the order of the text; equal values are what counts.
        let equal = compare(&bytes, &recorded) == Ordering::Equal;
        assert!(equal, "{id}: {:?}", View::trusted(&bytes));
        checked += 1;
    }
    assert_eq!(checked, 187);
}

#[test]
fn what_is_refused_against_the_record_is_read_from_servers() {
    let refused = |case: &Case| REFUSED.contains(&case.id.as_str());
    let cases: Vec<Case> = cases().into_iter().filter(refused).collect();
    assert_eq!(cases.len(), REFUSED.len());
    for case in cases {
        assert!(read(&case, Form::Lossless).is_err(), "{}", case.id);
        assert_eq!(
            read(&case, Form::Original).ok(),
            case.bytes(),
            "{}",
            case.id
        );
    }
}

#[test]
fn what_is_refused_has_the_recorded_code() {
    let mut checked = 0;
    for case in cases().iter().filter(|case| !case.is_accepted()) {
        let id = &case.id;
        let error = read(case, Form::Compatible).unwrap_err();
        assert!(error.offset <= case.text.len(), "{id}: {error}");
        let recorded = &case.recorded["error"];
        assert_eq!(
            error.code(),
            recorded["code"]
                .as_str()
                .unwrap_or("deserialization_failed"),
            "{id}"
        );
        let Some(context) = recorded["context"].as_str() else {
            continue;
        };
        // What follows the class is not stable, and the original has no class for duplicates.
        let context = context.strip_prefix("input #1 ").expect(id);
        let (class, _) = context.split_once(" -> ").unwrap_or((context, ""));
        let class = match class {
            "caused an internal error" => "contained invalid data",
            other => other,
        };
        assert!(error.to_string().starts_with(class), "{id}: {error}");
        checked += 1;
    }
    assert_eq!(checked, 127);
}

fn is_json(text: &str) -> bool {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    Json::deserialize(&mut reader).is_ok() && reader.end().is_ok()
}

#[test]
fn values_are_spelled_as_recorded_or_as_clients_need_them() {
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.is_accepted()) {
        let bytes = read(case, Form::Compatible).unwrap();
        let written = json::to_text(&bytes, Form::Compatible).unwrap();
        assert!(is_json(&written), "{}: {written}", case.id);
        let recorded = case.recorded["out_json"].as_str().unwrap_or_default();
        let fields = recorded.find("\"@data-type\"").unwrap_or(recorded.len());
        // The one real that is not alone in its message.
        let recorded = recorded[fields..].replace("12.480000", "12.48");
        let other = OTHER_SPELLINGS.iter().find(|(id, _)| *id == case.id);
        let same = match other {
            Some((_, data)) => written.ends_with(&format!("\"data\":{data}}}")),
            None => written.strip_prefix('{') == Some(recorded.as_str()),
        };
        if !same {
            wrong.push(format!("{}: {written}", case.id));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_other_forms_read_the_same_values() {
    for case in cases() {
        // Deep nesting is what the others are there for.
        if case.id.starts_with("nest-") {
            continue;
        }
        let compatible = read(&case, Form::Compatible);
        assert_eq!(read(&case, Form::Lossless), compatible, "{}", case.id);
        if let Ok(bytes) = compatible {
            assert_eq!(read(&case, Form::Original), Ok(bytes), "{}", case.id);
        }
    }
}

#[test]
fn a_client_reads_what_the_original_writes() {
    let mut checked = 0;
    for case in cases().iter().filter(|case| case.accepted) {
        let recorded = &case.recorded;
        let text = match recorded["out_json_hex"].as_str() {
            Some(hex) => hex::decode(hex).unwrap(),
            None => recorded["out_json"].as_str().unwrap().as_bytes().to_vec(),
        };
        let read = json::from_text(&text, Form::Original);
        let bytes = read.unwrap_or_else(|error| panic!("{}: {error}", case.id));
        let id = case.id.as_str();
        let sent = hex::decode(recorded["data_hex"].as_str().unwrap()).unwrap();
        // Six decimals and milliseconds lose something, and some of its numbers are wrong.
        let lossy = bytes.first() == Some(&4)
            || id.starts_with("ts-")
            || id == "all-types"
            || id == "zeek-event-ts";
        assert!(lossy || compare(&bytes, &sent) == Ordering::Equal, "{id}");
        checked += 1;
    }
    assert_eq!(checked, 222);
}
