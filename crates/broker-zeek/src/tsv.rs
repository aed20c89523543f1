//! Records as lines of Zeek's ASCII logs: values between tabs, under a header.
//!
//! The spelling is that of Zeek's ASCII writer with its defaults: UTF-8 stays, other bytes, control
//! characters and separators inside of values are `\x` and two digits, a backslash is doubled.

use std::fmt::Write as _;

use super::{LogElements, LogRecord, LogValue, Schema};

const SEPARATOR: char = '\t';
const SET_SEPARATOR: u8 = b',';
const EMPTY: &str = "(empty)";
const UNSET: &str = "-";
/// What lines of the header begin with, and lines of records must not.
const META: char = '#';

/// Appends the header. `opened` is the time of `#open` as it shall stand there.
pub(super) fn write_header(schema: &Schema, opened: &str, out: &mut String) {
    out.push_str("#separator \\x09\n");
    let mut line = |name: &str, values: &mut dyn Iterator<Item = String>| {
        out.push(META);
        out.push_str(name);
        for value in values {
            out.push(SEPARATOR);
            out.push_str(&value);
        }
        out.push('\n');
    };
    line("set_separator", &mut [",".to_owned()].into_iter());
    line("empty_field", &mut [EMPTY.to_owned()].into_iter());
    line("unset_field", &mut [UNSET.to_owned()].into_iter());
    line("path", &mut [escaped(schema.path())].into_iter());
    line("open", &mut [opened.to_owned()].into_iter());
    let fields = schema.fields();
    line(
        "fields",
        &mut fields.iter().map(|field| escaped(&field.name)),
    );
    line("types", &mut fields.iter().map(super::Field::type_name));
}

/// Appends the last line. `closed` is the time of `#close` as it shall stand there.
pub(super) fn write_footer(closed: &str, out: &mut String) {
    let _ = writeln!(out, "{META}close{SEPARATOR}{closed}");
}

/// Names come from the network: one must not break its line.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    text(name.as_bytes(), false, &mut out);
    out
}

/// Appends a record as one line, without its end.
pub(super) fn write_record(record: &LogRecord, out: &mut String) {
    let start = out.len();
    for (index, value) in record.values().enumerate() {
        if index > 0 {
            out.push(SEPARATOR);
        }
        self::value(value.as_ref(), false, out);
    }
    // It would read as a line of the header.
    if out.get(start..).unwrap_or_default().starts_with(META) {
        out.replace_range(start..=start, "\\x23");
    }
}

/// Appends a value; `in_set` if it is an element of a set or vector.
fn value(value: Option<&LogValue<'_>>, in_set: bool, out: &mut String) {
    let Some(value) = value else {
        return out.push_str(UNSET);
    };
    // Writing to a string cannot fail.
    let _ = match value {
        LogValue::Bool(value) => out.write_str(if *value { "T" } else { "F" }),
        LogValue::Int(value) => write!(out, "{value}"),
        LogValue::Count(value) => write!(out, "{value}"),
        LogValue::Double(value) => return double(*value, out),
        LogValue::Time(value) | LogValue::Interval(value) => return seconds(*value, out),
        LogValue::String(bytes)
        | LogValue::Enum(bytes)
        | LogValue::Func(bytes)
        | LogValue::File(bytes) => return string(bytes, in_set, out),
        LogValue::Port(port) => write!(out, "{}", port.number()),
        LogValue::Addr(address) => write!(out, "{address}"),
        LogValue::Subnet(subnet) => write!(out, "{subnet}"),
        LogValue::Set(elements) | LogValue::Vector(elements) => {
            return self::elements(*elements, out);
        }
    };
}

fn elements(elements: LogElements<'_>, out: &mut String) {
    if elements.is_empty() {
        return out.push_str(EMPTY);
    }
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(char::from(SET_SEPARATOR));
        }
        value(element.as_ref(), true, out);
    }
}

/// The greatest number of seconds that Zeek writes with decimals, in either direction.
const DECIMAL_MAX: f64 = i32::MAX as f64;

/// Appends a time or a span: six decimals. Beyond 32 bits, as the ends of many certificates are, Zeek
/// goes over to an exponent, and to as many digits as tell the number from its neighbours.
fn seconds(value: f64, out: &mut String) {
    if value.abs() <= DECIMAL_MAX || !value.is_finite() {
        return decimals(value, out);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    // As C writes them: a sign, and two digits at least. Numbers as large have no negative one.
    let _ = write!(out, "{digits}e+{exponent:0>2}");
}

/// Appends a number with six decimals.
fn decimals(value: f64, out: &mut String) {
    let _ = match value {
        value if value.is_nan() => out.write_str("nan"),
        // Without the sign of a zero.
        0.0 => out.write_str("0.000000"),
        value => write!(out, "{value:.6}"),
    };
}

/// Appends a number: at most six decimals, without zeros behind, and never with an exponent. Whole
/// numbers of 32 bits have `.0`, so that they differ from integers; greater ones have not.
fn double(value: f64, out: &mut String) {
    let start = out.len();
    decimals(value, out);
    if !value.is_finite() {
        return;
    }
    let text = out.get(start..).unwrap_or_default();
    let length = text.trim_end_matches('0').trim_end_matches('.').len();
    out.truncate(start.saturating_add(length));
    let whole = f64::from(i32::MIN)..=f64::from(i32::MAX);
    if value.fract() == 0.0 && whole.contains(&value) {
        out.push_str(".0");
    }
}

/// Appends a string. One that is empty, or reads as an unset field, is told apart.
fn string(bytes: &[u8], in_set: bool, out: &mut String) {
    match bytes {
        [] => out.push_str(EMPTY),
        [first, rest @ ..] if bytes == UNSET.as_bytes() => {
            hex_escape(*first, out);
            text(rest, in_set, out);
        }
        _ => text(bytes, in_set, out),
    }
}

/// Appends text with escapes.
fn text(bytes: &[u8], in_set: bool, out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match u8::try_from(character) {
                Ok(b'\\') => out.push_str("\\\\"),
                Ok(byte @ (0..0x20 | 0x7f)) => hex_escape(byte, out),
                Ok(SET_SEPARATOR) if in_set => hex_escape(SET_SEPARATOR, out),
                _ => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            hex_escape(*byte, out);
        }
    }
}

fn hex_escape(byte: u8, out: &mut String) {
    let _ = write!(out, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{Field, RecordWriter, WriterInfo, ZeekType};

    fn schema(fields: Vec<Field>) -> Arc<Schema> {
        let info = WriterInfo {
            path: "demo".into(),
            ..WriterInfo::default()
        };
        Arc::new(Schema::new("Demo::LOG", "Log::WRITER_ASCII", info, fields))
    }

    fn written(value: &LogValue<'_>) -> String {
        let mut out = String::new();
        super::value(Some(value), false, &mut out);
        out
    }

    /// A record of strings, and a vector of the same.
    fn line(strings: &[&[u8]]) -> String {
        let mut fields: Vec<_> = (0..strings.len())
            .map(|index| Field::new(format!("f{index}"), ZeekType::String))
            .collect();
        fields.push(Field::of("all", ZeekType::Vector, ZeekType::String));
        let schema = schema(fields);
        let mut writer = RecordWriter::new(&schema);
        for string in strings {
            writer.value(LogValue::String(string)).unwrap();
        }
        let all: Vec<_> = strings
            .iter()
            .map(|it| Some(LogValue::String(it)))
            .collect();
        writer.elements(&all).unwrap();
        LogRecord::new(schema.clone(), writer.finish().unwrap().into())
            .unwrap()
            .to_tsv()
    }

    #[test]
    fn a_header_describes_the_fields() {
        let schema = schema(vec![
            Field::new("ts", ZeekType::Time),
            Field::of("tags", ZeekType::Table, ZeekType::String),
        ]);
        assert_eq!(
            schema.tsv_header("2023-11-14-22-13-20"),
            "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n\
             #path\tdemo\n#open\t2023-11-14-22-13-20\n#fields\tts\ttags\n#types\ttime\tset[string]\n"
        );
        assert_eq!(Schema::tsv_footer("x"), "#close\tx\n");
    }

    /// What Zeek writes for a value of each type: as a field, as an element of a set or vector.
    #[test]
    fn each_type_has_one_form() {
        use LogValue::{
            Addr, Bool, Count, Double, Enum, File, Func, Int, Interval, Port, String as Text,
            Subnet, Time,
        };
        let port = |text: &str| Port(text.parse().unwrap());
        let addr = |text: &str| Addr(text.parse().unwrap());
        let subnet = |text: &str| Subnet(text.parse().unwrap());
        let table: &[(LogValue<'_>, &str, &str)] = &[
            (Bool(true), "T", "T"),
            (Bool(false), "F", "F"),
            (Int(0), "0", "0"),
            (
                Int(i64::MIN),
                "-9223372036854775808",
                "-9223372036854775808",
            ),
            (
                Count(u64::MAX),
                "18446744073709551615",
                "18446744073709551615",
            ),
            (port("443/tcp"), "443", "443"),
            (port("8/icmp"), "8", "8"),
            (port("0/?"), "0", "0"),
            (addr("192.168.0.1"), "192.168.0.1", "192.168.0.1"),
            (addr("::ffff:10.0.0.1"), "10.0.0.1", "10.0.0.1"),
            (addr("2001:DB8::1"), "2001:db8::1", "2001:db8::1"),
            (addr("::"), "::", "::"),
            (subnet("10.0.0.0/8"), "10.0.0.0/8", "10.0.0.0/8"),
            (subnet("2001:db8::/32"), "2001:db8::/32", "2001:db8::/32"),
            (subnet("::/0"), "::/0", "::/0"),
            (Enum(b"tcp"), "tcp", "tcp"),
            (
                Enum(b"Notice::ACTION_LOG"),
                "Notice::ACTION_LOG",
                "Notice::ACTION_LOG",
            ),
            (Func(b"f\n{ }"), "f\\x0a{ }", "f\\x0a{ }"),
            (File(b"/tmp/a,b"), "/tmp/a,b", "/tmp/a\\x2cb"),
            // Numbers: at most six decimals, a whole one of 32 bits told from an integer.
            (Double(0.0), "0.0", "0.0"),
            (Double(-0.0), "0.0", "0.0"),
            (Double(-2.5), "-2.5", "-2.5"),
            (Double(0.1), "0.1", "0.1"),
            (Double(100.0), "100.0", "100.0"),
            (Double(1.5e-10), "0", "0"),
            (Double(1_234.567_890_1), "1234.56789", "1234.56789"),
            (Double(0.999_999_9), "1", "1"),
            (Double(2_147_483_647.0), "2147483647.0", "2147483647.0"),
            (Double(2_147_483_648.0), "2147483648", "2147483648"),
            (Double(-2_147_483_648.0), "-2147483648.0", "-2147483648.0"),
            (
                Double(1e22),
                "10000000000000000000000",
                "10000000000000000000000",
            ),
            (Double(f64::NAN), "nan", "nan"),
            (Double(f64::INFINITY), "inf", "inf"),
            (Double(f64::NEG_INFINITY), "-inf", "-inf"),
            // Times and spans: six decimals, beyond 32 bits an exponent.
            (
                Time(1_300_475_168.853_899),
                "1300475168.853899",
                "1300475168.853899",
            ),
            (Time(0.0), "0.000000", "0.000000"),
            (Time(-0.0), "0.000000", "0.000000"),
            (Time(-1.0), "-1.000000", "-1.000000"),
            (
                Time(2_147_483_647.0),
                "2147483647.000000",
                "2147483647.000000",
            ),
            (Time(2_147_483_648.0), "2.147483648e+09", "2.147483648e+09"),
            (Time(2_385_642_157.0), "2.385642157e+09", "2.385642157e+09"),
            (
                Time(2_385_642_157.25),
                "2.38564215725e+09",
                "2.38564215725e+09",
            ),
            // The limit is the number, not its whole part; fractions stay, as far as the number has any.
            (
                Time(2_147_483_647.5),
                "2.1474836475e+09",
                "2.1474836475e+09",
            ),
            (
                Time(-2_147_483_647.5),
                "-2.1474836475e+09",
                "-2.1474836475e+09",
            ),
            (
                Time(2_385_642_157.123_456),
                "2.385642157123456e+09",
                "2.385642157123456e+09",
            ),
            (Time(4e9), "4e+09", "4e+09"),
            (Time(-3_155_673_600.0), "-3.1556736e+09", "-3.1556736e+09"),
            (Time(1e100), "1e+100", "1e+100"),
            (Time(f64::NAN), "nan", "nan"),
            (Time(f64::INFINITY), "inf", "inf"),
            (Interval(90.25), "90.250000", "90.250000"),
            (Interval(-1.5), "-1.500000", "-1.500000"),
            (Interval(0.000_000_4), "0.000000", "0.000000"),
            // A zero has no sign, what is rounded to one keeps it.
            (Interval(-0.0), "0.000000", "0.000000"),
            (Interval(-0.000_000_4), "-0.000000", "-0.000000"),
            (Interval(3e9), "3e+09", "3e+09"),
            // Strings: what reads as something else is told apart; the one ambiguity of the format
            // is a string that spells the empty field.
            (Text(b"a,b"), "a,b", "a\\x2cb"),
            (Text(b""), "(empty)", "(empty)"),
            (Text(b"(empty)"), "(empty)", "(empty)"),
            (Text(b"-"), "\\x2d", "\\x2d"),
            (Text(b"--"), "--", "--"),
            (Text(b"#a"), "\\x23a", "#a"),
            (Text(b"a#"), "a#", "a#"),
            (Text(b"a\tb\nc"), "a\\x09b\\x0ac", "a\\x09b\\x0ac"),
            (Text(b"\\x09"), "\\\\x09", "\\\\x09"),
            (
                Text("h\u{e9}\u{1f600}".as_bytes()),
                "h\u{e9}\u{1f600}",
                "h\u{e9}\u{1f600}",
            ),
            (Text("\u{85}".as_bytes()), "\u{85}", "\u{85}"),
            (Text(b"\x00\xff\x7f"), "\\x00\\xff\\x7f", "\\x00\\xff\\x7f"),
            (Text(b"\xed\xa0\x80"), "\\xed\\xa0\\x80", "\\xed\\xa0\\x80"),
            (Text(b"\xc0\xaf"), "\\xc0\\xaf", "\\xc0\\xaf"),
            (Text(b"\xf0\x9f\x98"), "\\xf0\\x9f\\x98", "\\xf0\\x9f\\x98"),
        ];
        for (value, field, element) in table {
            let kind = value.kind();
            let schema = schema(vec![
                Field::new("f", kind),
                Field::of("none", ZeekType::Table, kind),
                Field::of("one", ZeekType::Table, kind),
                Field::of("more", ZeekType::Vector, kind),
            ]);
            let mut writer = RecordWriter::new(&schema);
            writer.value(*value).unwrap();
            writer.elements(&[]).unwrap();
            writer.elements(&[Some(*value)]).unwrap();
            writer.elements(&[Some(*value), None]).unwrap();
            let record = LogRecord::new(schema.clone(), writer.finish().unwrap().into()).unwrap();
            let line = format!("{field}\t(empty)\t{element}\t{element},-");
            assert_eq!(record.to_tsv(), line, "{value:?}");
        }
    }

    #[test]
    fn only_the_first_field_can_be_taken_for_a_header() {
        assert_eq!(line(&[b"#a", b"#b"]), "\\x23a\t#b\t#a,#b");
        assert_eq!(line(&[]), "(empty)");
    }

    #[test]
    fn unset_fields_and_elements() {
        let schema = schema(vec![
            Field::new("a", ZeekType::String),
            Field::of("v", ZeekType::Vector, ZeekType::Count),
        ]);
        let mut writer = RecordWriter::new(&schema);
        writer.unset().unwrap();
        writer.elements(&[None, Some(LogValue::Count(1))]).unwrap();
        let record = LogRecord::new(schema.clone(), writer.finish().unwrap().into()).unwrap();
        assert_eq!(record.to_tsv(), "-\t-,1");
    }

    /// What a reader of such logs makes of a value.
    fn unescaped(text: &str) -> Vec<u8> {
        let bytes = text.as_bytes();
        let (mut out, mut at) = (Vec::new(), 0);
        while let Some(byte) = bytes.get(at) {
            match (byte, bytes.get(at + 1)) {
                (b'\\', Some(b'x')) => {
                    out.push(u8::from_str_radix(&text[at + 2..at + 4], 16).unwrap());
                    at += 4;
                }
                (b'\\', _) => {
                    out.push(b'\\');
                    at += 2;
                }
                _ => {
                    out.push(*byte);
                    at += 1;
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn lines_read_back(strings in prop::collection::vec(
            prop::collection::vec(prop_oneof![any::<u8>(), Just(b','), Just(b'-'), Just(b'#')], 0..6),
            1..4,
        )) {
            let slices: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
            let line = line(&slices);
            prop_assert!(!line.starts_with('#') && !line.contains('\n'));
            let fields: Vec<&str> = line.split('\t').collect();
            prop_assert_eq!(fields.len(), strings.len() + 1);
            let elements: Vec<&str> = fields[strings.len()].split(',').collect();
            prop_assert_eq!(elements.len(), strings.len());
            for (string, texts) in strings.iter().zip(fields.iter().zip(&elements)) {
                for text in [texts.0, texts.1] {
                    prop_assert_ne!(*text, UNSET);
                    // The one ambiguity that the format has.
                    if *text != EMPTY {
                        prop_assert_eq!(&unescaped(text), string);
                    }
                }
            }
        }

        #[test]
        fn numbers_are_near(value in -1e15..1e15_f64) {
            let text = written(&LogValue::Double(value));
            prop_assert!((text.parse::<f64>().unwrap() - value).abs() <= 5.1e-7 * value.abs().max(1.0));
            prop_assert!(!text.contains(['e', 'E']));
        }
    }
}
