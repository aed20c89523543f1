//! What holds for all values and for all texts.

use broker::data::to_bytes;
use broker::{Address, EnumValue, Port, Protocol, Set, Subnet, Table, Timespan, Timestamp, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{LiteralError, parse, to_text};

/// Any value, a few levels deep, with what is odd in it more often than chance would have it.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        vec(any::<u8>(), 0..12),
        "\\PC{0,12}".prop_map(String::into_bytes),
        "[a-z0-9:.,/@{}\\[\\]\"\\\\ -]{0,12}".prop_map(String::into_bytes),
    ];
    let address = any::<[u8; 16]>().prop_map(Address::from);
    let address = prop_oneof![
        address,
        any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from(bits).into())
    ];
    let protocol = (0..4u8).prop_map(|it| Protocol::from_number(it).unwrap_or_default());
    let real = prop_oneof![
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
        (-1e6..1e6f64).prop_map(f64::round),
    ];
    let ns = prop_oneof![
        any::<i64>(),
        (-1000..1000i64).prop_map(|it| it * 1_000_000_000),
        Just(0),
    ];
    let scalar = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::Count),
        any::<i64>().prop_map(Value::Integer),
        real.prop_map(Value::Real),
        text.clone().prop_map(|bytes| Value::String(bytes.into())),
        address.clone().prop_map(Value::Address),
        (address.clone(), any::<u8>())
            .prop_map(|(network, length)| Value::Subnet(Subnet::from_raw(network, length))),
        (address, 0..=32u8).prop_map(|(network, length)| Value::Subnet(
            Subnet::new(network, length).unwrap_or_default()
        )),
        (any::<u16>(), protocol)
            .prop_map(|(number, protocol)| Value::Port(Port::new(number, protocol))),
        ns.clone()
            .prop_map(|ns| Value::Timestamp(Timestamp::from_ns(ns))),
        ns.prop_map(|ns| Value::Timespan(Timespan::from_ns(ns))),
        text.prop_map(|name| Value::EnumValue(EnumValue::new(name))),
    ];
    scalar.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Vector),
            vec(inner.clone(), 0..5).prop_map(|it| Value::Set(it.into_iter().collect::<Set>())),
            vec((inner.clone(), inner), 0..5)
                .prop_map(|it| Value::Table(it.into_iter().collect::<Table>())),
        ]
    })
}

/// The bytes, with all kinds of NaN as one: no text tells them apart.
fn bytes(value: &Value) -> Vec<u8> {
    to_bytes(value).expect("a small value")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_reads_back_as_the_same_value(value in values()) {
        let text = to_text(&value);
        let read = parse(&text);
        prop_assert_eq!(read.as_ref(), Ok(&value), "{}", text);
        // Equality takes both zeros and all NaN for one; bytes do not, but for the bits of NaN.
        if !text.contains("real:nan") {
            prop_assert_eq!(bytes(&read.unwrap_or_default()), bytes(&value));
        }
    }

    #[test]
    fn what_is_written_is_one_line_without_control_characters(value in values()) {
        prop_assert!(!to_text(&value).chars().any(char::is_control));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        check(&text);
    }

    #[test]
    fn no_text_of_its_own_signs_makes_it_panic(
        text in "(?:[a-z0-9:.,/@{}\\[\\]\"\\\\ é-]|json:|str:|hex:|addr:|enum:|count:|\\\\x|\\\\u\\{){0,24}"
    ) {
        check(&text);
    }
}

/// Reads a text, and shows the error if there is one.
fn check(text: &str) {
    if let Err(error) = parse(text) {
        let shown = error.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        assert!(
            lines[2].ends_with('^') && lines[2].trim_start().starts_with('^'),
            "{shown}"
        );
        assert!(error.column() <= text.chars().count());
    }
}

fn ok(text: &str) -> Value {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_table_of_the_documentation_holds() {
    let list = |items: &[Value]| Value::Vector(items.to_vec());
    let text = |text: &str| Value::from(text);
    let address = |text: &str| Value::Address(text.parse().expect("an address"));
    for (written, value) in [
        ("true", Value::Boolean(true)),
        ("none", Value::None),
        ("-5", Value::Integer(-5)),
        ("int:5", Value::Integer(5)),
        ("5c", Value::Count(5)),
        ("count:5", Value::Count(5)),
        ("1.5", Value::Real(1.5)),
        ("real:5", Value::Real(5.0)),
        ("real:-inf", Value::Real(f64::NEG_INFINITY)),
        ("\"a b\"", text("a b")),
        ("word", text("word")),
        ("/topic/a", text("/topic/a")),
        ("Notice::LOG", text("Notice::LOG")),
        ("a:b", text("a:b")),
        ("str:10.0.0.1", text("10.0.0.1")),
        ("str:a, b\"", text("a, b\"")),
        ("str:\"a\"", text("a")),
        ("hex:00ff", Value::String(vec![0, 255].into())),
        (
            "\"\\x00\\xff\\u{e9}\\n\"",
            Value::String(b"\0\xff\xc3\xa9\n".to_vec().into()),
        ),
        ("10.0.0.1", address("10.0.0.1")),
        ("[2001:db8::1]", address("2001:db8::1")),
        ("addr:2001:db8::1", address("2001:db8::1")),
        (
            "10.0.0.0/8",
            Value::Subnet("10.0.0.0/8".parse().expect("a subnet")),
        ),
        (
            "[fe80::]/10",
            Value::Subnet("fe80::/10".parse().expect("a subnet")),
        ),
        (
            "fe80::/10",
            Value::Subnet("fe80::/10".parse().expect("a subnet")),
        ),
        ("443/tcp", Value::Port("443/tcp".parse().expect("a port"))),
        ("1.5min", Value::Timespan(Timespan::from_secs(90))),
        ("-250ms", Value::Timespan(Timespan::from_millis(-250))),
        ("2d", Value::Timespan(Timespan::from_secs(172_800))),
        (
            "1970-01-01T00:00:01Z",
            Value::Timestamp(Timestamp::from_ns(1_000_000_000)),
        ),
        (
            "1970-01-01T01:00:01+01:00",
            Value::Timestamp(Timestamp::from_ns(1_000_000_000)),
        ),
        ("@1.5", Value::Timestamp(Timestamp::from_ns(1_500_000_000))),
        ("enum:Notice::LOG", Value::EnumValue("Notice::LOG".into())),
        ("[]", list(&[])),
        ("[a, b,]", list(&[text("a"), text("b")])),
        ("[[::1]]", list(&[address("::1")])),
        (
            "[ [ 1 ] , none]",
            list(&[list(&[Value::Integer(1)]), Value::None]),
        ),
        ("{}", Value::Set(Set::new())),
        (
            "{a, b}",
            Value::Set([text("a"), text("b")].into_iter().collect()),
        ),
        ("{:}", Value::Table(Table::new())),
        (
            "{443/tcp: a, Log::X: {1: 2}}",
            Value::Table(
                [
                    (Value::Port("443/tcp".parse().expect("a port")), text("a")),
                    (
                        text("Log::X"),
                        Value::Table(
                            [(Value::Integer(1), Value::Integer(2))]
                                .into_iter()
                                .collect(),
                        ),
                    ),
                ]
                .into_iter()
                .collect(),
            ),
        ),
        (
            "json:{\"@data-type\":\"count\",\"data\":5}",
            Value::Count(5),
        ),
        (
            "[json:{\"@data-type\":\"string\",\"data\":\"}\\\"\"}, 1]",
            list(&[text("}\""), Value::Integer(1)]),
        ),
    ] {
        assert_eq!(ok(written), value, "{written}");
    }
}

#[test]
fn a_wrong_text_is_shown_with_a_caret_under_the_place() {
    let shown = |text: &str| -> LiteralError { parse(text).expect_err(text) };
    for (text, expected) in [
        ("[1, 10.0.0.300]", "[1, 10.0.0.300]\n    ^^^^^^^^^^"),
        ("{a:1}", "{a:1}\n ^^^"),
        ("[1 2]", "[1 2]\n   ^"),
        ("[1", "[1\n  ^"),
        ("\"abc", "\"abc\n^^^^"),
        ("[\"a\\q\"]", "[\"a\\q\"]\n   ^^"),
        ("{1, 1}", "{1, 1}\n    ^"),
        ("{1: 2, 1: 3}", "{1: 2, 1: 3}\n       ^^^^"),
        (
            "99999999999999999999",
            "99999999999999999999\n^^^^^^^^^^^^^^^^^^^^",
        ),
        ("hello world", "hello world\n      ^^^^^"),
        ("[2001:db8::]/129", "[2001:db8::]/129\n^^^^^^^^^^^^^^^^"),
        ("@file", "@file\n^^^^^"),
        ("-", "-\n^"),
        ("", "\n^"),
    ] {
        assert_eq!(shown(text).excerpt(), expected, "{text}");
    }
    let long = format!("[{}, 1x]", "1, ".repeat(100).trim_end_matches(", "));
    let excerpt = shown(&long).excerpt();
    assert!(excerpt.starts_with("..."), "{excerpt}");
    assert!(excerpt.lines().all(|line| line.len() < 80), "{excerpt}");
    assert_eq!(
        shown("18446744073709551615").suggestion(),
        Some("as a count it is written `18446744073709551615c`")
    );
    let deep = "[".repeat(300);
    assert!(shown(&deep).to_string().contains("256"));
}

#[test]
fn spans_and_times_are_written_shortly() {
    for (value, text) in [
        (Value::Timespan(Timespan::ZERO), "0s"),
        (Value::Timespan(Timespan::from_millis(1500)), "1500ms"),
        (Value::Timespan(Timespan::from_secs(90)), "90s"),
        (Value::Timespan(Timespan::from_secs(7200)), "2h"),
        (Value::Timespan(Timespan::MIN), "-9223372036854775808ns"),
        (Value::Timestamp(Timestamp::EPOCH), "1970-01-01T00:00:00Z"),
        (
            Value::Timestamp(Timestamp::from_ns(1_500_000_000)),
            "1970-01-01T00:00:01.5Z",
        ),
        (Value::Port(Port::default()), "0/unknown"),
        (Value::EnumValue("odd name".into()), "enum:\"odd name\""),
        (Value::Real(5.0), "5.0"),
    ] {
        assert_eq!(to_text(&value), text);
    }
}
