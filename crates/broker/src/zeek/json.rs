//! Records as lines of Zeek's JSON logs.

use std::fmt::Write as _;

use super::{LogElements, LogRecord, LogValue};

/// Appends a record as one object, without the fields that are unset.
pub(super) fn write_record(record: &LogRecord, out: &mut String) {
    out.push('{');
    let mut separator = "";
    for (field, value) in record.fields() {
        if let Some(value) = value {
            out.push_str(separator);
            separator = ",";
            string(field.name.as_bytes(), out);
            out.push(':');
            self::value(&value, out);
        }
    }
    out.push('}');
}

fn value(value: &LogValue<'_>, out: &mut String) {
    match value {
        LogValue::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        LogValue::Int(value) => display(value, out),
        LogValue::Count(value) => display(value, out),
        LogValue::Double(value) | LogValue::Time(value) | LogValue::Interval(value) => {
            number(*value, out);
        }
        LogValue::String(bytes)
        | LogValue::Enum(bytes)
        | LogValue::Func(bytes)
        | LogValue::File(bytes) => string(bytes, out),
        // Zeek drops the protocol.
        LogValue::Port(port) => display(port.number(), out),
        LogValue::Addr(address) => quoted(address, out),
        LogValue::Subnet(subnet) => quoted(subnet, out),
        LogValue::Set(elements) | LogValue::Vector(elements) => self::elements(*elements, out),
    }
}

fn elements(elements: LogElements<'_>, out: &mut String) {
    out.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match element {
            Some(element) => value(&element, out),
            None => out.push_str("null"),
        }
    }
    out.push(']');
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
fn string(bytes: &[u8], out: &mut String) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        text(chunk.valid(), out);
        for byte in chunk.invalid() {
            hex_escape(*byte, out);
        }
    }
    out.push('"');
}

fn text(text: &str, out: &mut String) {
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
            other => hex_escape(other, out),
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
        string(bytes, &mut out);
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

    proptest! {
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
