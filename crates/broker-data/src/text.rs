//! The text form: `(1, T, {a -> 80/tcp})`.
//!
//! It is the one the original prints for `str(data)`: strings are raw, reals have six decimals.
//! It is for people and cannot be parsed back.

use std::fmt;
use std::io::Write as _;

use crate::bin::order;
use crate::bin::reader::{Item, Reader};
use crate::{Value, View};

const NEXT: &[u8] = b", ";
const MAPS_TO: &[u8] = b" -> ";

impl Value {
    /// Returns the text form, in which strings are the bytes they are, UTF-8 or not.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_value(&mut out, self);
        out
    }
}

impl View<'_> {
    /// Returns the text form, in which strings are the bytes they are, UTF-8 or not.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_encoded(&mut out, &order::ordered(self.bytes()));
        out
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Set(set) => put_values(out, b'{', set.as_slice(), b'}'),
        Value::Vector(values) => put_values(out, b'(', values, b')'),
        Value::Table(table) => {
            out.push(b'{');
            let mut between: &[u8] = b"";
            for (key, mapped) in table {
                out.extend_from_slice(between);
                put_value(out, key);
                out.extend_from_slice(MAPS_TO);
                put_value(out, mapped);
                between = NEXT;
            }
            out.push(b'}');
        }
        scalar => put_scalar(out, scalar_item(scalar)),
    }
}

fn put_values(out: &mut Vec<u8>, open: u8, values: &[Value], close: u8) {
    out.push(open);
    let mut between: &[u8] = b"";
    for value in values {
        out.extend_from_slice(between);
        put_value(out, value);
        between = NEXT;
    }
    out.push(close);
}

fn scalar_item(value: &Value) -> Item<'_> {
    match value {
        Value::None => Item::None,
        Value::Boolean(value) => Item::Boolean(*value),
        Value::Count(value) => Item::Count(*value),
        Value::Integer(value) => Item::Integer(*value),
        Value::Real(value) => Item::Real(*value),
        Value::String(value) => Item::String(value.as_bytes()),
        Value::Address(value) => Item::Address(*value),
        Value::Subnet(value) => Item::Subnet(*value),
        Value::Port(value) => Item::Port(*value),
        Value::Timestamp(value) => Item::Timestamp(*value),
        Value::Timespan(value) => Item::Timespan(*value),
        Value::EnumValue(value) => Item::EnumValue(value.as_bytes()),
        Value::Set(value) => Item::Set(value.len()),
        Value::Table(value) => Item::Table(value.len()),
        Value::Vector(value) => Item::Vector(value.len()),
    }
}

/// A container of which some items are still to be written.
struct Open {
    remaining: usize,
    is_table: bool,
    close: u8,
}

/// Writes an ordered encoding, up to where it cannot be read.
fn put_encoded(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut open: Vec<Open> = Vec::new();
    while let Ok(item) = reader.next_item() {
        let (start, remaining, is_table, close) = match item {
            Item::Vector(count) => (b'(', count, false, b')'),
            Item::Set(count) => (b'{', count, false, b'}'),
            Item::Table(count) => (b'{', count.saturating_mul(2), true, b'}'),
            scalar => {
                put_scalar(out, scalar);
                if put_ends(out, &mut open) {
                    return;
                }
                continue;
            }
        };
        out.push(start);
        if remaining > 0 {
            open.push(Open {
                remaining,
                is_table,
                close,
            });
            continue;
        }
        out.push(close);
        if put_ends(out, &mut open) {
            return;
        }
    }
}

/// Writes what follows a value: separators and closing signs. Returns whether that was all.
fn put_ends(out: &mut Vec<u8>, open: &mut Vec<Open>) -> bool {
    while let Some(top) = open.last_mut() {
        top.remaining = top.remaining.saturating_sub(1);
        if top.remaining > 0 {
            let behind_key = top.is_table && !top.remaining.is_multiple_of(2);
            out.extend_from_slice(if behind_key { MAPS_TO } else { NEXT });
            return false;
        }
        out.push(top.close);
        open.pop();
    }
    true
}

fn put_scalar(out: &mut Vec<u8>, item: Item<'_>) {
    let text = |out: &mut Vec<u8>, text: fmt::Arguments<'_>| {
        // Writing to memory does not fail.
        let _ = out.write_fmt(text);
    };
    match item {
        Item::None => out.extend_from_slice(b"nil"),
        Item::Boolean(value) => out.push(if value { b'T' } else { b'F' }),
        Item::Count(value) => text(out, format_args!("{value}")),
        Item::Integer(value) => text(out, format_args!("{value}")),
        Item::Real(value) if value.is_nan() => {
            let sign: &[u8] = if value.is_sign_negative() { b"-" } else { b"" };
            out.extend_from_slice(sign);
            out.extend_from_slice(b"nan");
        }
        Item::Real(value) => text(out, format_args!("{value:.6}")),
        Item::String(bytes) | Item::EnumValue(bytes) => out.extend_from_slice(bytes),
        Item::Address(value) => text(out, format_args!("{value}")),
        Item::Subnet(value) => text(out, format_args!("{value}")),
        Item::Port(value) => text(out, format_args!("{value}")),
        Item::Timestamp(value) => text(out, format_args!("{value}")),
        Item::Timespan(value) => text(out, format_args!("{value}")),
        // Containers are written by the callers, which know what is inside.
        Item::Set(_) | Item::Table(_) | Item::Vector(_) => {}
    }
}
