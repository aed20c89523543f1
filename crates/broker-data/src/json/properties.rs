//! Properties of the JSON form that hold for all values and for all texts.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::cmp::Ordering;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::Value as Json;

use crate::json::{self, Form, JsonErrorKind, scalar};
use crate::value::arbitrary::values;
use crate::{
    DEPTH_MAX, Set, Table, Timestamp, Value, compare, decode, put_varbyte, to_bytes, validate,
};

const FORMS: [Form; 3] = [Form::Compatible, Form::Lossless, Form::Original];

/// Returns what is left of a value in the compatible form.
fn what_is_kept(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.to_string_lossy().into_owned().into()),
        Value::EnumValue(name) => {
            Value::EnumValue(name.name().to_string_lossy().into_owned().into())
        }
        Value::Timestamp(time) => {
            let ns = time.ns();
            // The earliest millisecond of all is not a time any more.
            let cut = ns.saturating_sub(ns.rem_euclid(1_000_000));
            Value::Timestamp(Timestamp::from_ns(cut))
        }
        Value::Subnet(subnet) => Value::Subnet(scalar::regular(*subnet)),
        Value::Vector(values) => Value::Vector(values.iter().map(what_is_kept).collect()),
        Value::Set(values) => Value::Set(values.iter().map(what_is_kept).collect::<Set>()),
        Value::Table(entries) => Value::Table(
            entries
                .iter()
                .map(|(key, mapped)| (what_is_kept(key), what_is_kept(mapped)))
                .collect::<Table>(),
        ),
        scalar => scalar.clone(),
    }
}

/// Tells whether elements or keys of a value become equal when it is written compatibly.
fn collapses(value: &Value) -> bool {
    match value {
        Value::Vector(values) => values.iter().any(collapses),
        Value::Set(values) => {
            let kept: Set = values.iter().map(what_is_kept).collect();
            kept.len() < values.len() || values.iter().any(collapses)
        }
        Value::Table(entries) => {
            let kept: Set = entries.iter().map(|(key, _)| what_is_kept(key)).collect();
            let inside = |(key, mapped): (&Value, &Value)| collapses(key) || collapses(mapped);
            kept.len() < entries.len() || entries.iter().any(inside)
        }
        _ => false,
    }
}

/// Encodes with all sets and tables in descending order, which is valid but not canonical.
fn backwards(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_backwards(&mut out, value);
    out
}

fn put_backwards(out: &mut Vec<u8>, value: &Value) {
    let head = |out: &mut Vec<u8>, length: usize| {
        out.push(value.kind().tag());
        put_varbyte(out, u32::try_from(length).unwrap());
    };
    match value {
        Value::Set(set) => {
            head(out, set.len());
            set.iter().rev().for_each(|value| put_backwards(out, value));
        }
        Value::Table(table) => {
            head(out, table.len());
            for (key, mapped) in table.iter().rev() {
                put_backwards(out, key);
                put_backwards(out, mapped);
            }
        }
        Value::Vector(values) => {
            head(out, values.len());
            values.iter().for_each(|value| put_backwards(out, value));
        }
        scalar => out.extend(to_bytes(scalar).unwrap()),
    }
}

fn parse(text: &str) -> Json {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let json = Json::deserialize(&mut reader).unwrap();
    reader.end().unwrap();
    json
}

/// Returns a number below `sides`.
fn dice(seed: &mut u64, sides: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*seed >> 33) % sides
}

/// Writes JSON in another way: other order of fields, blanks, escapes where none are needed.
fn respell(json: &Json, out: &mut String, seed: &mut u64) {
    out.push_str(["", " ", "\r\n", "\t"][usize::try_from(dice(seed, 4)).unwrap()]);
    match json {
        Json::Array(items) => {
            let mut sign = '[';
            for item in items {
                out.push(sign);
                respell(item, out, seed);
                sign = ',';
            }
            out.push_str(if sign == '[' { "[ ]" } else { "]" });
        }
        Json::Object(fields) => {
            let mut fields: Vec<(&str, &Json)> =
                fields.iter().map(|(key, value)| (&**key, value)).collect();
            let extra = parse(r#"{"data":[1,{"data":"x"}],"y":"\u0000"}"#);
            if fields.iter().any(|(name, _)| *name == "@data-type") {
                fields.push(("other", &extra));
            }
            for index in (1..fields.len()).rev() {
                let other = usize::try_from(dice(seed, index as u64 + 1)).unwrap();
                fields.swap(index, other);
            }
            let mut sign = '{';
            for (key, value) in fields {
                out.push(sign);
                out.push_str(" \"");
                for character in key.chars() {
                    if dice(seed, 8) == 0 {
                        out.push_str(&format!("\\u{:04x}", u32::from(character)));
                    } else {
                        out.push(character);
                    }
                }
                out.push_str("\" :");
                respell(value, out, seed);
                sign = ',';
            }
            out.push_str(if sign == '{' { "{ }" } else { " }" });
        }
        scalar => out.push_str(&scalar.to_string()),
    }
    out.push(' ');
}

/// Reads a text in every form and checks what holds for any text.
fn exercise(text: &[u8]) {
    for form in FORMS {
        let mut out = vec![7];
        match json::decode(text, form, &mut out) {
            Ok(()) => {
                let bytes = &out[1..];
                assert_eq!(validate(bytes), Ok(()));
                // What is written is canonical.
                assert_eq!(to_bytes(&decode(bytes).unwrap()).unwrap(), bytes);
                let written = json::to_text(bytes, Form::Lossless).unwrap();
                let again = json::from_text(written.as_bytes(), Form::Lossless);
                assert_eq!(again.as_deref(), Ok(bytes));
                assert!(out.len() <= 1 + text.len());
            }
            Err(error) => {
                assert_eq!(out, [7]);
                assert!(error.offset <= text.len(), "{error}");
            }
        }
        let _ = json::fields(text, form, ["type", "topic"]);
        let _ = json::strings(text, form);
    }
}

proptest! {
    #[test]
    fn the_lossless_form_loses_nothing(value in values()) {
        let bytes = to_bytes(&value).unwrap();
        let text = json::to_text(&bytes, Form::Lossless).unwrap();
        parse(&text);
        prop_assert_eq!(json::from_text(text.as_bytes(), Form::Lossless), Ok(bytes));
    }

    #[test]
    fn the_compatible_form_keeps_what_it_can(value in values()) {
        let bytes = to_bytes(&value).unwrap();
        let text = json::to_text(&bytes, Form::Compatible).unwrap();
        parse(&text);
        let early = text.contains("1677-09-21T00:12:43.145");
        let read = json::from_text(text.as_bytes(), Form::Compatible);
        match read {
            Ok(bytes) => prop_assert_eq!(decode(&bytes), Ok(what_is_kept(&value))),
            Err(error) if error.kind == JsonErrorKind::Unique => prop_assert!(collapses(&value)),
            Err(error) => prop_assert!(early, "{}", error),
        }
    }

    #[test]
    fn the_order_in_the_bytes_does_not_show(value in values()) {
        let bytes = backwards(&value);
        for form in FORMS {
            let text = json::to_text(&bytes, form).unwrap();
            prop_assert_eq!(&text, &json::to_text(&to_bytes(&value).unwrap(), form).unwrap());
        }
    }

    #[test]
    fn the_spelling_of_the_text_does_not_matter(value in values(), seed: u64) {
        let bytes = to_bytes(&value).unwrap();
        let text = json::to_text(&bytes, Form::Lossless).unwrap();
        let mut other = String::new();
        respell(&parse(&text), &mut other, &mut { seed });
        prop_assert_eq!(json::from_text(other.as_bytes(), Form::Lossless), Ok(bytes));
    }

    #[test]
    fn sets_in_any_order_are_read(values in vec(values(), 0..8), seed: usize) {
        let set = values.into_iter().collect::<Set>();
        let mut elements: Vec<String> = set
            .iter()
            .map(|value| json::to_text(&to_bytes(value).unwrap(), Form::Lossless).unwrap())
            .collect();
        let length = elements.len().max(1);
        elements.rotate_left(seed % length);
        elements.reverse();
        let text = format!(r#"{{"@data-type":"set","data":[{}]}}"#, elements.join(","));
        let read = json::from_text(text.as_bytes(), Form::Lossless);
        prop_assert_eq!(read, Ok(to_bytes(&set).unwrap()));

        if let Some(first) = elements.first() {
            let text = text.replacen(first, &format!("{first},{first}"), 1);
            let error = json::from_text(text.as_bytes(), Form::Lossless).unwrap_err();
            prop_assert_eq!(error.kind, JsonErrorKind::Unique);
        }
    }

    #[test]
    fn any_bytes_do_no_harm(bytes: Vec<u8>) {
        exercise(&bytes);
        for form in FORMS {
            let written = json::to_text(&bytes, form);
            prop_assert_eq!(written.is_ok(), validate(&bytes).is_ok());
        }
    }

    #[test]
    fn almost_json_does_no_harm(value in values(), at: usize, byte: u8, cut: bool) {
        let text = json::to_text(&to_bytes(&value).unwrap(), Form::Lossless).unwrap();
        let mut text = text.into_bytes();
        let at = at % text.len();
        if cut {
            text.truncate(at);
        } else {
            text[at] = byte;
        }
        exercise(&text);
    }

    #[test]
    fn almost_values_do_no_harm(value in values(), at: usize, byte: u8) {
        let mut bytes = to_bytes(&value).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        for form in FORMS {
            let mut out = String::from("before");
            let written = json::encode(&bytes, form, &mut out);
            // Of several faults they may report different ones.
            prop_assert_eq!(written.is_ok(), validate(&bytes).is_ok());
            if written.is_err() {
                prop_assert_eq!(&out, "before");
            } else {
                parse(&out[6..]);
            }
        }
    }

    #[test]
    fn times_agree_with_another_calendar(ns: i64) {
        let bytes = to_bytes(&Timestamp::from_ns(ns)).unwrap();
        let text = json::to_text(&bytes, Form::Lossless).unwrap();
        let days = ns.div_euclid(86_400_000_000_000);
        let [year, month, day] = civil(days);
        let expected = format!("{year:04}-{month:02}-{day:02}T");
        prop_assert!(text.contains(&expected), "{} {}", text, expected);
    }
}

/// The date of a day, counted from 1970, by counting years and months.
fn civil(days: i64) -> [i64; 3] {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut rest) = (1970, days);
    while rest < 0 {
        year -= 1;
        rest += if leap(year) { 366 } else { 365 };
    }
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if rest < length {
            break;
        }
        rest -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    [year, month, rest + 1]
}

/// Puts a value into as many containers of one kind.
fn nested(kind: &str, depth: usize) -> String {
    let (open, close) = match kind {
        "table" => (r#"[{"key":"#, r#","value":{"@data-type":"none"}}]"#),
        _ => ("[", "]"),
    };
    let open = format!(r#"{{"@data-type":"{kind}","data":{open}"#);
    let scalar = r#"{"@data-type":"count","data":1}"#;
    let close = format!("{close}}}");
    format!("{}{scalar}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn depth_is_limited_by_levels_or_by_containers() {
    // The limit is there so that this fits a small stack, also without optimisation.
    let run = || {
        for kind in ["vector", "set", "table"] {
            for form in [Form::Lossless, Form::Original] {
                let text = nested(kind, DEPTH_MAX);
                let bytes = json::from_text(text.as_bytes(), form).unwrap();
                assert_eq!(validate(&bytes), Ok(()));
                assert_eq!(decode(&bytes).map(|value| value.kind().name()), Ok(kind));
                let written = json::to_text(&bytes, form).unwrap();
                let again = json::from_text(written.as_bytes(), form).unwrap();
                assert_eq!(compare(&again, &bytes), Ordering::Equal);
                let text = nested(kind, DEPTH_MAX + 1);
                let error = json::from_text(text.as_bytes(), form).unwrap_err();
                assert_eq!(error.kind, JsonErrorKind::Depth);
            }
            let levels = if kind == "table" { 3 } else { 2 };
            let most = (Form::LEVELS_COMPATIBLE - 1) / levels;
            let text = nested(kind, most);
            assert!(json::from_text(text.as_bytes(), Form::Compatible).is_ok());
            let text = nested(kind, most + 1);
            let error = json::from_text(text.as_bytes(), Form::Compatible).unwrap_err();
            let limit = Form::LEVELS_COMPATIBLE;
            assert_eq!(error.kind, JsonErrorKind::Levels(limit));
        }
        let mut bytes = [14, 1].repeat(DEPTH_MAX + 1);
        bytes.push(0);
        assert!(json::to_text(&bytes, Form::Compatible).is_err());
        // Fields that are skipped count, too.
        for text in ["[", "{\"a\":"] {
            for form in FORMS {
                let text = text.repeat(100_000);
                let error = json::from_text(text.as_bytes(), form).unwrap_err();
                assert!(matches!(error.kind, JsonErrorKind::Levels(_)), "{error}");
            }
        }
    };
    let small = thread::Builder::new().stack_size(1 << 20);
    small.spawn(run).unwrap().join().unwrap();
}

#[test]
fn data_may_come_before_its_type_down_to_the_last_level() {
    let mut text = String::from("1");
    for _ in 0..DEPTH_MAX {
        text = format!(r#"{{"data":[{text}],"@data-type":"vector"}}"#);
    }
    let text = text.replacen('1', r#"{"data":1,"@data-type":"count"}"#, 1);
    let bytes = json::from_text(text.as_bytes(), Form::Lossless).unwrap();
    assert_eq!(validate(&bytes), Ok(()));
}

#[test]
fn long_strings_and_containers_have_long_lengths() {
    for length in [127, 128, 16_383, 16_384, 100_000] {
        let plain = "x".repeat(length);
        for text in [plain.clone(), plain.replacen('x', "\\u0078", 1)] {
            let text = format!(r#"{{"@data-type":"string","data":"{text}"}}"#);
            let read = json::from_text(text.as_bytes(), Form::Compatible);
            assert_eq!(read, Ok(to_bytes(&*plain).unwrap()));
        }
        let values = Value::Vector(vec![Value::Count(1); length]);
        let set: Set = (0..length as u64).map(Value::Count).collect();
        for value in [values, Value::Set(set)] {
            let bytes = to_bytes(&value).unwrap();
            let text = json::to_text(&bytes, Form::Compatible).unwrap();
            assert_eq!(
                json::from_text(text.as_bytes(), Form::Compatible),
                Ok(bytes)
            );
        }
    }
}
