//! From a value to the text that is read back as the same value.
//!
//! It works on encoded values, item by item: this is what prints messages.

use std::io::Write as _;

use broker::data::json::{self, Form};
use broker::data::{Item, Reader, to_bytes};
use broker::{Subnet, Timespan, Timestamp, Value, View};

use crate::harmless::is_hidden;

/// The text of a value.
#[must_use]
pub fn to_text(value: &Value) -> String {
    let mut out = Vec::new();
    // Every value in memory has an encoding, unless it is larger than a message can be.
    let bytes = to_bytes(value).unwrap_or_default();
    put(&mut out, &mut Reader::new(&bytes));
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends the text of a value. It is UTF-8 and has no control characters.
pub fn write(out: &mut Vec<u8>, value: View<'_>) {
    put(out, &mut Reader::new(value.bytes()));
}

/// Appends the elements of a vector with commas between them.
pub(crate) fn write_elements(out: &mut Vec<u8>, vector: View<'_>) {
    let mut reader = Reader::new(vector.bytes());
    if let Ok(Item::Vector(count)) = reader.next_item() {
        put_elements(out, &mut reader, count);
    }
}

fn put_elements(out: &mut Vec<u8>, reader: &mut Reader<'_>, count: usize) {
    for index in 0..count {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        put(out, reader);
    }
}

/// Values that were validated are nested at most `DEPTH_MAX` deep, and so is the recursion.
fn put(out: &mut Vec<u8>, reader: &mut Reader<'_>) {
    let Ok(item) = reader.next_item() else {
        return;
    };
    let digits = |out: &mut Vec<u8>, text: std::fmt::Arguments<'_>| {
        // Writing to memory does not fail.
        let _ = out.write_fmt(text);
    };
    match item {
        Item::None => out.extend_from_slice(b"none"),
        Item::Boolean(true) => out.extend_from_slice(b"true"),
        Item::Boolean(false) => out.extend_from_slice(b"false"),
        Item::Count(value) => digits(out, format_args!("{value}c")),
        Item::Integer(value) => digits(out, format_args!("{value}")),
        Item::Real(value) if value.is_finite() => digits(out, format_args!("{value:?}")),
        Item::Real(value) if value.is_nan() => out.extend_from_slice(b"real:nan"),
        Item::Real(value) => digits(out, format_args!("real:{value}")),
        Item::String(bytes) => write_string(out, bytes),
        Item::EnumValue(bytes) => put_enum(out, bytes),
        Item::Address(address) if address.is_v4() => digits(out, format_args!("{address}")),
        Item::Address(address) => digits(out, format_args!("[{address}]")),
        Item::Subnet(subnet) => put_subnet(out, subnet),
        Item::Port(port) => {
            let name = match port.protocol() {
                broker::Protocol::Unknown => "unknown",
                known => known.name(),
            };
            digits(out, format_args!("{}/{name}", port.number()));
        }
        Item::Timestamp(time) => put_time(out, time),
        Item::Timespan(span) => put_span(out, span),
        Item::Vector(count) => {
            out.push(b'[');
            put_elements(out, reader, count);
            out.push(b']');
        }
        Item::Set(count) => {
            out.push(b'{');
            put_elements(out, reader, count);
            out.push(b'}');
        }
        Item::Table(0) => out.extend_from_slice(b"{:}"),
        Item::Table(count) => {
            out.push(b'{');
            for index in 0..count {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                put(out, reader);
                out.extend_from_slice(b": ");
                put(out, reader);
            }
            out.push(b'}');
        }
    }
}

/// Appends a string in quotes. What is not text becomes `\x00`, what would not be seen, or could
/// do something to a terminal, `\u{0}`.
pub(crate) fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(is_plain) {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            for sign in chunk.valid().chars() {
                put_char(out, sign);
            }
            for byte in chunk.invalid() {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push(b'"');
}

fn put_char(out: &mut Vec<u8>, sign: char) {
    let escaped: &[u8] = match sign {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        sign if is_hidden(sign) => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(sign));
            return;
        }
        sign => {
            out.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
            return;
        }
    };
    out.extend_from_slice(escaped);
}

fn put_enum(out: &mut Vec<u8>, name: &[u8]) {
    out.extend_from_slice(b"enum:");
    let is_word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match std::str::from_utf8(name) {
        Ok(text) if text.split("::").all(is_word) => out.extend_from_slice(name),
        _ => write_string(out, name),
    }
}

/// Networks with host bits or odd lengths have no text of their own.
fn put_subnet(out: &mut Vec<u8>, subnet: Subnet) {
    if Subnet::new(subnet.network(), subnet.length()) == Some(subnet) {
        let _ = if subnet.network().is_v4() {
            write!(out, "{subnet}")
        } else {
            write!(out, "[{}]/{}", subnet.network(), subnet.length())
        };
        return;
    }
    let mut text = String::new();
    let bytes = to_bytes(&Value::Subnet(subnet)).unwrap_or_default();
    if json::encode(&bytes, Form::Lossless, &mut text).is_ok() {
        out.extend_from_slice(b"json:");
        out.extend_from_slice(text.as_bytes());
    }
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    let mut text = String::with_capacity(32);
    json::put_timestamp(&mut text, time, Form::Lossless);
    let short = text.trim_end_matches('0').trim_end_matches('.');
    out.extend_from_slice(short.as_bytes());
    out.push(b'Z');
}

/// Units from the largest to the smallest.
const UNITS: [(i64, &str); 7] = [
    (86_400_000_000_000, "d"),
    (3_600_000_000_000, "h"),
    (60_000_000_000, "min"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
];

/// In the largest unit that it is a whole number of.
fn put_span(out: &mut Vec<u8>, span: Timespan) {
    let ns = span.ns();
    let fits = |(unit, _): &&(i64, &str)| ns != 0 && ns % unit == 0;
    let (unit, name) = UNITS
        .iter()
        .find(fits)
        .copied()
        .unwrap_or((1_000_000_000, "s"));
    let _ = write!(out, "{}{name}", ns / unit);
}
