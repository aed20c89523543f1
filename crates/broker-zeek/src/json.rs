//! Records as lines of Zeek's JSON logs.

use std::fmt::Write as _;

use super::{LogElements, LogRecord, LogValue};

/// How points in time are written; those of Zeek's `LogAscii::json_timestamps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JsonTimes {
    /// Seconds since 1970 as a number with a fraction.
    #[default]
    Epoch,
    /// Milliseconds since 1970 as a whole number, cut off towards zero.
    Millis,
    /// Text such as `2023-11-14T22:13:20.123456Z`. Outside of the years 0 to 9999, for which there
    /// is no such text, it is `null`.
    Iso8601,
}

/// How bytes of strings are written that JSON has no characters for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JsonEscape {
    /// As Zeek does: what is not UTF-8, and control characters without a short escape, are the text
    /// `\xff`, which cannot be told from a string of these four characters.
    #[default]
    Zeek,
    /// What is not UTF-8 becomes replacement characters; control characters are JSON's escapes.
    Replace,
    /// What is not UTF-8 is escapes of surrogates such as `\udcff`, of which Python's `json` makes
    /// the surrogate escapes that stand for these bytes. Stricter readers refuse them.
    Surrogates,
}

/// The spelling of records as JSON; the default is that of Zeek's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct JsonOptions {
    /// Whether unset fields are written, as `null`.
    pub include_unset: bool,
    /// Spelling of points in time.
    pub times: JsonTimes,
    /// Spelling of what is no text.
    pub escape: JsonEscape,
}

/// Appends a record as one object.
pub(super) fn write_record(record: &LogRecord, options: JsonOptions, out: &mut String) {
    let writer = Writer(options);
    out.push('{');
    let mut separator = "";
    for (field, value) in record.fields() {
        if value.is_none() && !options.include_unset {
            continue;
        }
        out.push_str(separator);
        separator = ",";
        string(field.name.as_bytes(), options.escape, out);
        out.push(':');
        writer.value(value.as_ref(), out);
    }
    out.push('}');
}

struct Writer(JsonOptions);

impl Writer {
    fn value(&self, value: Option<&LogValue<'_>>, out: &mut String) {
        match value {
            None => out.push_str("null"),
            Some(LogValue::Time(seconds)) => self.time(*seconds, out),
            Some(
                LogValue::String(bytes)
                | LogValue::Enum(bytes)
                | LogValue::Func(bytes)
                | LogValue::File(bytes),
            ) => string(bytes, self.0.escape, out),
            Some(LogValue::Set(elements) | LogValue::Vector(elements)) => {
                self.elements(*elements, out);
            }
            Some(other) => plain(other, out),
        }
    }

    fn time(&self, seconds: f64, out: &mut String) {
        match self.0.times {
            JsonTimes::Epoch => number(seconds, out),
            JsonTimes::Millis => match whole(seconds * 1e3) {
                Some(milliseconds) => display(milliseconds, out),
                None => out.push_str("null"),
            },
            JsonTimes::Iso8601 => {
                let microseconds = whole((seconds * 1e6).round_ties_even());
                match microseconds.and_then(iso8601) {
                    Some(time) => quoted(time, out),
                    None => out.push_str("null"),
                }
            }
        }
    }

    fn elements(&self, elements: LogElements<'_>, out: &mut String) {
        out.push('[');
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            self.value(element.as_ref(), out);
        }
        out.push(']');
    }
}

/// The text of microseconds since 1970, unless they are out of the years that have four digits.
fn iso8601(microseconds: i64) -> Option<String> {
    const MICROSECONDS: i64 = 1_000_000;
    const DAY: i64 = 86_400;
    const YEARS: std::ops::RangeInclusive<i64> = 0..=9999;
    let (seconds, fraction) = (
        microseconds.div_euclid(MICROSECONDS),
        microseconds.rem_euclid(MICROSECONDS),
    );
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    YEARS.contains(&year).then(|| {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
    })
}

/// The date that many days after 1970-01-01 in the Gregorian calendar: years from March, in eras of
/// 400 years. The days come from 64 bits of microseconds, so nothing overflows.
#[expect(clippy::arithmetic_side_effects, reason = "the days are bounded")]
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + (month <= 2) as i64, month, day)
}

/// The whole part of a number, if it has one and fits.
fn whole(value: f64) -> Option<i64> {
    // Powers of two: exact, and below the first one that does not fit.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (value.abs() < LIMIT).then_some(value as i64)
}

/// Appends what is spelled in one way only.
fn plain(value: &LogValue<'_>, out: &mut String) {
    match value {
        LogValue::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        LogValue::Int(value) => display(value, out),
        LogValue::Count(value) => display(value, out),
        LogValue::Double(value) | LogValue::Interval(value) => number(*value, out),
        // Zeek drops the protocol.
        LogValue::Port(port) => display(port.number(), out),
        LogValue::Addr(address) => quoted(address, out),
        LogValue::Subnet(subnet) => quoted(subnet, out),
        LogValue::Time(_)
        | LogValue::String(_)
        | LogValue::Enum(_)
        | LogValue::Func(_)
        | LogValue::File(_)
        | LogValue::Set(_)
        | LogValue::Vector(_) => {}
    }
}

fn display(value: impl std::fmt::Display, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

/// For text that needs no escapes.
fn quoted(value: impl std::fmt::Display, out: &mut String) {
    let _ = write!(out, "\"{value}\"");
}

/// Numbers in this range are written without an exponent.
const PLAIN: std::ops::Range<f64> = 1e-6..1e21;

/// Appends the shortest digits that read back as the number, always with a point or an exponent.
fn number(value: f64, out: &mut String) {
    if !value.is_finite() {
        out.push_str("null");
    } else if value == 0.0 || PLAIN.contains(&value.abs()) {
        let start = out.len();
        let _ = write!(out, "{value}");
        if !out.get(start..).unwrap_or_default().contains('.') {
            out.push_str(".0");
        }
    } else {
        let _ = write!(out, "{value:e}");
    }
}

/// Appends a string. Zeek turns bytes that are no UTF-8, and control characters that JSON has no
/// short escape for, into `\xff` first; the result is then escaped as JSON demands.
fn string(bytes: &[u8], escape: JsonEscape, out: &mut String) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        text(chunk.valid(), escape, out);
        match (escape, chunk.invalid()) {
            (_, []) => {}
            (JsonEscape::Zeek, bytes) => bytes.iter().for_each(|byte| hex_escape(*byte, out)),
            (JsonEscape::Replace, _) => out.push(char::REPLACEMENT_CHARACTER),
            (JsonEscape::Surrogates, bytes) => {
                // PEP 383: they are the low surrogates from 0xdc80 on.
                bytes.iter().for_each(|byte| {
                    let _ = write!(out, "\\udc{byte:02x}");
                });
            }
        }
    }
    out.push('"');
}

fn text(text: &str, escape: JsonEscape, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(needs_escape) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let byte = special.bytes().next().unwrap_or_default();
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other if escape == JsonEscape::Zeek => hex_escape(other, out),
            other => {
                let _ = write!(out, "\\u{other:04x}");
            }
        }
        rest = special.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
}

const fn needs_escape(byte: u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f)
}

fn hex_escape(byte: u8, out: &mut String) {
    let _ = write!(out, "\\\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number_text(value: f64) -> String {
        let mut out = String::new();
        number(value, &mut out);
        out
    }

    fn string_text(bytes: &[u8]) -> String {
        let mut out = String::new();
        string(bytes, JsonEscape::Zeek, &mut out);
        out
    }

    #[test]
    fn numbers() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (1.5e-10, "1.5e-10"),
            (0.000_5, "0.0005"),
            (1_300_475_168.853_899, "1300475168.853899"),
            (0.004_919_052_124_023_437_5, "0.0049190521240234375"),
            (1e20, "100000000000000000000.0"),
            (1e22, "1e22"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            assert_eq!(number_text(value), text);
        }
    }

    #[test]
    fn strings() {
        for (bytes, text) in [
            (&b""[..], r#""""#),
            (b"plain", r#""plain""#),
            ("h\u{e9}".as_bytes(), "\"h\u{e9}\""),
            (b"\"q\" \\ \n\r\t\x08\x0c", r#""\"q\" \\ \n\r\t\b\f""#),
            (b"\x00\xff\x7f", r#""\\x00\\xff\\x7f""#),
            (b"a\xc3", r#""a\\xc3""#),
        ] {
            assert_eq!(string_text(bytes), text);
        }
    }

    fn spelled(bytes: &[u8], escape: JsonEscape) -> String {
        let mut out = String::new();
        string(bytes, escape, &mut out);
        out
    }

    #[test]
    fn escapes() {
        for (bytes, replaced, surrogates) in [
            (&b"a\xffb"[..], "\"a\u{fffd}b\"", r#""a\udcffb""#),
            (b"\x00\x7f\n", r#""\u0000\u007f\n""#, r#""\u0000\u007f\n""#),
            (
                b"\xed\xa0\x80",
                "\"\u{fffd}\u{fffd}\u{fffd}\"",
                r#""\udced\udca0\udc80""#,
            ),
        ] {
            assert_eq!(spelled(bytes, JsonEscape::Replace), replaced);
            assert_eq!(spelled(bytes, JsonEscape::Surrogates), surrogates);
        }
    }

    #[test]
    fn times() {
        let time = |seconds: f64, times: JsonTimes| {
            let options = JsonOptions {
                times,
                ..JsonOptions::default()
            };
            let mut out = String::new();
            Writer(options).value(Some(&LogValue::Time(seconds)), &mut out);
            out
        };
        for (seconds, epoch, millis, text) in [
            (
                1_700_000_000.123_456,
                "1700000000.123456",
                "1700000000123",
                r#""2023-11-14T22:13:20.123456Z""#,
            ),
            (0.0, "0.0", "0", r#""1970-01-01T00:00:00.000000Z""#),
            (-0.25, "-0.25", "-250", r#""1969-12-31T23:59:59.750000Z""#),
            // No seventh digit, as rounding the fraction alone would bring.
            (
                1.999_999_6,
                "1.9999996",
                "1999",
                r#""1970-01-01T00:00:02.000000Z""#,
            ),
            (
                253_402_300_799.0,
                "253402300799.0",
                "253402300799000",
                r#""9999-12-31T23:59:59.000000Z""#,
            ),
            (
                253_402_300_800.0,
                "253402300800.0",
                "253402300800000",
                "null",
            ),
            (
                951_782_400.0,
                "951782400.0",
                "951782400000",
                r#""2000-02-29T00:00:00.000000Z""#,
            ),
            (1e30, "1e30", "null", "null"),
            (f64::NAN, "null", "null", "null"),
        ] {
            assert_eq!(time(seconds, JsonTimes::Epoch), epoch);
            assert_eq!(time(seconds, JsonTimes::Millis), millis);
            assert_eq!(time(seconds, JsonTimes::Iso8601), text);
        }
    }

    proptest! {
        #[test]
        fn replaced_strings_are_what_they_say(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = spelled(&bytes, JsonEscape::Replace);
            let read: String = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn numbers_read_back(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(number_text(value).parse::<f64>(), Ok(value));
        }

        #[test]
        fn strings_are_json(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = string_text(&bytes);
            prop_assert!(serde_json::from_str::<String>(&text).is_ok(), "{}", text);
        }
    }
}
